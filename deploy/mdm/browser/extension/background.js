// Adds up what the pages say, and tells the agent's native host: {seq, at, site}. `site` is the host name of the one page that
// has the keyboard, as the browser vouches for it, or empty. `seq` rises by one; where it leaps, something was lost, and what was
// so in between is not known. Private windows do not exist for this extension ("incognito": "not_allowed").
"use strict";
const HOST = "org.byleave.site";
const RETRY_MS = 5000; // where no host is installed, how often one is looked for
const pages = new Set(); // ports of the pages that say yes
let host = null, triedAt = 0, seq = 0, at = 0;

chrome.runtime.onConnect.addListener((page) => {
  page.onMessage.addListener((told) => {
    if (told.here) pages.add(page);
    else pages.delete(page);
    if (told.jammed) seq += 1; // it did not see where the keyboard was
    tell(told.at);
  });
  page.onDisconnect.addListener(() => {
    if (!pages.delete(page)) return;
    seq += 1; // it went without a word: since its last one, anything may have had the keyboard
    tell(Date.now());
  });
});

function tell(toldAt) {
  const now = Date.now();
  if (host === null) {
    if (now - triedAt < RETRY_MS) return;
    triedAt = now;
    seq = 0;
    host = chrome.runtime.connectNative(HOST); // an open one keeps this worker awake
    host.onDisconnect.addListener(() => { host = null; void chrome.runtime.lastError; });
  }
  at = Math.max(at, Math.min(toldAt, now));
  seq += 1;
  host.postMessage({ seq, at, site: pages.size === 1 ? hostOf([...pages][0].sender) : "" }); // two at once: until one is gone
}

function hostOf(sender) {
  try {
    return new URL(sender.origin ?? sender.url).hostname.toLowerCase();
  } catch {
    return "";
  }
}
