// Runs in every page and frame, and says one thing: whether the keyboard is here, in something that is no password field, and
// when that was so, and whether the page stood still before. It reads which element has the focus and of what kind that is; never text, value, title or address.
"use strict";
(() => {
  const AGAIN_MS = 500; // how often a yes is repeated: whoever hears nothing believes nothing
  const TICK_MS = 100, LATE_MS = 80; // a page that stood still for longer did not see where the keyboard went
  const NAMES = /pass(wor[dt]|phrase|code)|passwd|pwd|one-?time|\botp\b|\bpin\b|\bcv[cv]\b|cc-(number|csc)/i;
  const ELSEWHERE = /^(iframe|frame|fencedframe|object|embed)$/i; // the frame speaks for itself
  const secrets = new WeakSet(); // every field that was a password field once: "show password" makes it no other field
  let port = null, said = false, toldAt = 0, awakeAt = 0, jammed = false, again = 0;

  // A frame is part of its page only where it is of the same origin: a payment form within a shop is another site.
  const alone = self === top || Array.from(location.ancestorOrigins ?? ["?"]).every((origin) => origin === self.origin);

  function focused() {
    let element = document.activeElement;
    for (;;) {
      const root = element instanceof HTMLElement ? chrome.dom.openOrClosedShadowRoot(element) : null;
      if (!root?.activeElement) return element;
      element = root.activeElement;
    }
  }

  function secret(element) {
    for (const field of document.querySelectorAll("input[type=password]")) secrets.add(field);
    if (element instanceof HTMLInputElement && element.type === "password") secrets.add(element);
    const names = ["autocomplete", "name", "id", "aria-label", "placeholder"].map((name) => element?.getAttribute(name) ?? "");
    const shown = element instanceof HTMLElement ? getComputedStyle(element).webkitTextSecurity ?? "none" : "none";
    return secrets.has(element) || shown !== "none" || NAMES.test(names.join(" "));
  }

  function here() {
    if (!alone || !document.hasFocus()) return false; // not with the address bar, another frame, tab or window
    try {
      const element = focused();
      return !ELSEWHERE.test(element?.tagName ?? "") && !secret(element);
    } catch {
      return false;
    }
  }

  function look() {
    clearTimeout(again);
    const now = Date.now();
    jammed ||= said && now - awakeAt > TICK_MS + LATE_MS;
    awakeAt = now;
    const due = now - toldAt >= AGAIN_MS || jammed;
    const yes = here(); // at each tick: a field may become one for passwords while it has the keyboard, and no event tells
    if (yes) again = setTimeout(look, TICK_MS);
    if (yes !== said || (due && yes)) say(yes, now);
    said = yes;
  }

  function say(yes, now) {
    try {
      if (port === null) {
        port = chrome.runtime.connect();
        port.onDisconnect.addListener(() => { port = null; });
      }
      port.postMessage({ here: yes, at: now, jammed });
      toldAt = now;
      jammed = false;
    } catch {
      clearTimeout(again); // the extension was removed or replaced: nobody listens any more
    }
  }

  for (const event of ["focus", "blur", "focusin", "focusout", "pageshow", "pagehide", "visibilitychange"]) {
    addEventListener(event, () => { look(); queueMicrotask(look); }, true); // at "focusout", where it goes is not known yet
  }
  look();
})();
