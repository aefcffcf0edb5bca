"""The managed extension in a real browser on a real X server: only what is typed into an agreed site is captured (P1).

Chromium runs the extension of `deploy/mdm/browser`, which talks to the native host, which asks the agent's socket; the events
come from the X server. What a scope lets through is what would be captured.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from byleave.control.documents import Manifest
from byleave.core.clock import boot_ms
from byleave.core.events import Kind
from byleave.producers.focus_hold import FocusHold
from byleave.producers.hooks.live import LiveSource
from byleave.producers.hooks.source import FOCUS_HOLD_MS, Observed
from byleave.producers.inquiries import Inquiries
from byleave.producers.scope import Scope
from demo.desktop import open_desktop

pytestmark = pytest.mark.display

ROOT = Path(__file__).resolve().parents[2]
MDM = ROOT / "deploy" / "mdm" / "browser"
EXTENSION = "amopehpigjoeodhpeiopgjhafnacoelo"
CHROMIUM = (
    "chromium", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--password-store=basic", "--window-position=0,0", "--window-size=900,700",
)  # fmt: skip
PAGE = b"""<input id=a autofocus><input id=b type=password><script>
addEventListener("keydown", (e) => {
  if (e.key.length > 2 && !/Tab|Enter/.test(e.key)) e.preventDefault();
  if (e.key === "F2") document.getElementById("b").type = "text";
  if (e.key === "PageUp") document.activeElement.type = "password";
  if (e.key === "F4") document.getElementById("a").focus();
  if (e.key === "F7") document.body.append(Object.assign(document.createElement("iframe"), {src: "http://wiki.example/"}));
  if (e.key === "F8") document.querySelector("iframe").focus();
  const jam = { F9: 3500, Insert: 1200 }[e.key] ?? 0;
  for (const until = Date.now() + jam; Date.now() < until; );
});</script>"""


class _Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>page %s</title>" % self.path.encode() + PAGE)

    def log_message(self, *_: object) -> None:
        pass


class Browser:
    """A screen with a browser on it, and the endpoint's way from the hook to the scope, turned by hand."""

    def __init__(self, folder: Path, sites: tuple[str, ...]) -> None:
        self.folder, self.desktop = folder, open_desktop()
        self.pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
        threading.Thread(target=self.pages.serve_forever, daemon=True).start()
        homes = {"HOME": str(folder), "BYLEAVE_HOME": str(folder / "home")}
        self.environment = {**os.environ, **self.desktop.environment(), **homes}
        endpoint = folder / "home" / "endpoints" / "ep-a"
        endpoint.mkdir(parents=True)
        self.source = LiveSource(self.environment)
        self.inquiries = Inquiries(endpoint, {"site": self.source.hear})
        self.hold = FocusHold(FOCUS_HOLD_MS)
        manifest = Manifest("byleave.", "t", ("pointer", "key", "window"), ("chromium",), sites, (), (), 1, "", "", 0, 1)
        self.scope = Scope(manifest)
        self.captured: list[Observed] = []
        self.focus: Observed | None = None
        self.presses = 0
        self._install_host()
        self.source.start(boot_ms(), titles=False)
        self.program = self.open("http://crm.example/")

    def _install_host(self) -> None:
        start = self.folder / "start-host"
        start.write_text(
            f'#!/bin/sh\nexec {sys.executable} -m byleave.producers.browser_host --endpoint ep-a --extension {EXTENSION} "$@"\n'
        )
        start.chmod(0o755)
        told = json.loads((MDM / "chromium" / "org.byleave.site.json").read_text())
        hosts = self.folder / "profile" / "NativeMessagingHosts"
        hosts.mkdir(parents=True)
        (hosts / "org.byleave.site.json").write_text(json.dumps({**told, "path": str(start)}))

    def open(self, *words: str) -> subprocess.Popen[bytes]:
        port = self.pages.server_address[1]
        return subprocess.Popen(
            [*CHROMIUM, f"--user-data-dir={self.folder / 'profile'}", f"--load-extension={MDM / 'extension'}",
             f"--host-resolver-rules=MAP * 127.0.0.1:{port}", *words],
            env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def turn(self) -> None:
        for event in self.source.poll(boot_ms(), 0.02):
            if event.kind is Kind.FOCUS:
                self.focus = event
            self.presses += event.kind is Kind.PRESS
            for certain in self.hold.feed(event):
                self._see(certain)
        for certain in self.hold.settle(self.source.settled_ms):
            self._see(certain)

    def _see(self, event: Observed) -> None:
        admitted = self.scope.admit(event)
        if admitted is not None:
            self.captured.append(admitted)

    @property
    def text(self) -> str:
        return "".join(e.key for e in self.captured if e.kind is Kind.PRESS and len(e.key) == 1)

    def until(self, condition: Callable[[], object], within_s: float = 20.0) -> None:
        end = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < end, f"not in time; text {self.text!r}, alive {self.source.alive}, focus {self.focus}"
            self.turn()

    def site(self) -> str | None:
        """What the agent takes for the site that has the keyboard, once the focus is that old that typing counts."""
        focus = self.focus
        if focus is None or focus.window is None or boot_ms() < focus.at_ms + FOCUS_HOLD_MS + 50:
            return "?"
        return None if focus.window.secure else focus.window.site

    def press(self, *words: str) -> None:
        subprocess.run(["xdotool", *words], env=self.environment, check=True, timeout=60)

    def keys(self, *words: str) -> None:
        before = self.presses
        self.press(*words)
        self.until(lambda: self.presses > before)

    def decided(self) -> None:
        """Waits until it is known what becomes of all that was typed."""
        done = boot_ms()
        self.until(lambda: self.source.settled_ms > done + FOCUS_HOLD_MS)

    def type(self, text: str) -> None:
        self.keys("type", "--delay", "5", text)

    def work(self, number: str) -> None:
        """Types digits into an agreed site until they are captured: a machine that is busy elsewhere may be in doubt."""
        for _ in range(5):
            self.until(lambda: self.site() == "crm.example")
            self.type(number)
            self.decided()
            if number in self.text:
                return
        raise AssertionError(f"{number} is not in {self.text}")

    def go(self, site: str) -> None:
        self.keys("key", "ctrl+l")
        self.until(lambda: self.site() is None)
        self.type(f"http://{site}/")
        self.keys("key", "Return")

    def window(self, *words: str) -> None:
        """Gives the keyboard to the window that xdotool finds by `words`."""
        command = ["xdotool", "search", "--sync", "--onlyvisible", *words, "windowfocus"]
        subprocess.run(command, env=self.environment, check=True, timeout=60, stdout=subprocess.DEVNULL)

    def host(self) -> int:
        """The native host, a child of the browser."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                ours = str(self.folder).encode() in (path.parent / "environ").read_bytes()
                if ours and b"byleave.producers.browser_host" in path.read_bytes().split(b"\0"):
                    return int(path.parent.name)
        raise AssertionError("no native host runs")

    def close(self) -> None:
        assert self.source.stop()
        self.program.terminate()
        self.program.wait(10)
        self.inquiries.close()
        self.pages.shutdown()
        self.pages.server_close()
        self.desktop.close()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    made = Browser(tmp_path, ("crm.example",))
    yield made
    made.close()


def test_of_all_that_is_typed_into_a_browser_only_the_agreed_site_is_captured(browser: Browser) -> None:
    browser.work("314159")
    browser.press("key", "Prior", "type", "--delay", "20", "it became a password field under the hands")
    browser.until(lambda: browser.site() is None)
    browser.decided()
    browser.go("crm.example")
    browser.work("27")
    browser.keys("key", "Tab")
    browser.until(lambda: browser.site() is None)
    browser.type("hunter2")
    browser.keys("key", "F2")
    browser.type("shown")
    browser.go("wiki.example")
    browser.until(lambda: browser.site() == "wiki.example")
    assert browser.scope.dropped == 0
    browser.type("bravo")
    browser.until(lambda: browser.scope.dropped >= 10)
    assert browser.text.isdigit()
    assert {e.window.site for e in browser.captured if e.window} == {"crm.example"}


@pytest.mark.prove
def test_a_private_window_a_foreign_frame_a_jammed_page_and_a_dead_host_give_nothing(browser: Browser) -> None:
    browser.work("314")
    browser.keys("key", "F7")
    browser.keys("key", "F8")  # the frame has the keyboard
    browser.until(lambda: browser.site() is None)
    browser.type("bravo")
    browser.keys("key", "Escape")
    browser.go("crm.example")
    browser.work("159")
    browser.keys("key", "F9")  # nothing is heard of a page that does not answer
    browser.until(lambda: browser.site() is None)
    browser.type("delta")
    browser.work("265")
    address = ("mousemove", "400", "60", "click", "1", "type", "--delay", "30", "typed into the address bar")
    browser.keys("key", "Insert", "sleep", "0.05", *address)  # nor does it know where the keyboard was meanwhile
    browser.decided()
    browser.go("crm.example")
    browser.work("358")
    browser.program.send_signal(signal.SIGSTOP)  # typed ahead of a browser that stands still, while its pages do not
    browser.press("key", "ctrl+l", "type", "--delay", "30", "typed ahead of the browser")
    browser.program.send_signal(signal.SIGCONT)
    browser.decided()
    browser.go("crm.example")
    browser.work("846")
    os.kill(browser.host(), signal.SIGKILL)
    browser.until(lambda: browser.site() is None)
    browser.type("foxtrot")
    browser.work("979")  # another host was started
    browser.window("--class", "xterm")
    browser.until(lambda: browser.site() == "")
    browser.type("hotel")
    browser.window("--name", "^page / ")
    browser.work("323")
    private = browser.open("--incognito", "http://crm.example/alone")
    browser.until(lambda: browser.site() is None)
    browser.window("--name", "^page /alone")
    browser.type("juliett")
    browser.decided()
    private.wait(10)
    assert browser.text.isdigit()
