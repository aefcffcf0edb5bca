"""Which site has the keyboard, by the word of the browser's managed extension, put in its place between the events (P1).

What a hook saw and what the extension said are two streams; they become one, in order of time. A word of another site is a
focus change like any other, with the 200 ms around it. Pure: times are this machine's boot clock and come as arguments.

Promises  an event passes under a site only once the same source has said afterwards that it was still that site.
          No site, two at once, a lost word, and silence of more than STALE_MS are doubt: the window counts as a password
          prompt, nothing of it is captured, nothing is counted. Only where no extension ever spoke is a browser an application
          without sites.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from byleave.core.errors import Forged
from byleave.core.events import Kind, Window
from byleave.producers.hooks.source import POLL_EVENTS_MAX, Observed

_BROWSERS = re.compile(
    r"(brave-browser|chromium|epiphany|firefox|google-chrome|librewolf|microsoft-edge|opera|tor[ -]browser|vivaldi|waterfox)"
    r"([-_. ].*)?|navigator|org\.gnome\.epiphany"
)
"""By their window classes, lower case, with whatever a channel or a package puts behind them."""
STALE_MS = 2_000
"""The extension repeats itself twice a second while a page has the keyboard."""
WAITING_MAX, NEWS_MAX, SOURCES_MAX = 16_384, 256, 8
"""Events and words that wait for each other, and native hosts that are told apart. Beyond, all of it is in doubt."""
_SITE = re.compile(r"[a-z0-9._:\[\]-]{0,253}")
_DOUBT = None

Word = tuple[int, int, int, str]
"""Whose it is, its number there, when that was so, and the site."""


def is_browser(window: Window | None) -> bool:
    return window is not None and _BROWSERS.fullmatch(window.app.lower()) is not None


class BrowserSites:
    """What is said, by which native host, and what waits for a word. One thread, but for `hear`."""

    def __init__(self) -> None:
        self._inbox: deque[Word] = deque(maxlen=NEWS_MAX)
        self._hearing = threading.Lock()
        self._sources: dict[int, tuple[int, int, str]] = {}
        self._heard_ms = 0
        self._whose: int | None = None
        self._news: deque[tuple[int, str | None]] = deque()
        self._said: str | None = ""
        self._said_ms = 0
        self._window: Window | None = None
        self._waiting: deque[Observed] = deque()
        self._placed_ms = 0
        self._open = False

    def open(self, *, window: bool) -> None:
        """A run window begins or ends: nothing of what waited is left, nor what was said, but that somebody spoke."""
        for queue in (self._waiting, self._news, self._sources):
            queue.clear()
        with self._hearing:
            while len(self._inbox) > 1:
                self._inbox.popleft()
        self._said = "" if self._said == "" else _DOUBT
        self._window, self._placed_ms, self._open = None, 0, window

    def hear(self, question: dict[str, Any], now_ms: int) -> dict[str, Any]:
        """Takes in what a native host tells: `of`, its process, and `news`: [seq, at_ms, site] each, `site` empty for none.

        Between two run windows only the newest is remembered. Any thread. Raises Forged on anything else; what was not taken
        in is missed in its source's numbers.
        """
        of, news = question.get("of"), question.get("news")
        for unverified in news if isinstance(news, list) else [None]:
            match (of, unverified):
                case (int(), [int(seq), int(at_ms), str(site)]) if _SITE.fullmatch(site):
                    with self._hearing:
                        if not self._open:
                            self._inbox.clear()
                        self._inbox.append((of, seq, min(at_ms, now_ms), site))
                case _:
                    raise Forged("a word of the browser has other fields", reason="malformed")
        return {}

    def place(self, found: Iterable[Observed], settled_ms: int, now_ms: int) -> list[Observed]:
        """The events whose site is known, in order, at most POLL_EVENTS_MAX. `settled_ms`: the hook told all up to then."""
        self._waiting.extend(found)
        with self._hearing:
            heard = list(self._inbox)
            self._inbox.clear()
        for one in heard:
            self._take(one)
        silent = self._said and not self._news and now_ms - self._said_ms > STALE_MS
        if silent or len(self._waiting) > WAITING_MAX:
            self._give_up(self._said_ms)
        placed: list[Observed] = []
        while len(placed) < POLL_EVENTS_MAX:
            event, word = self._waiting[0] if self._waiting else None, self._news[0] if self._news else None
            if word and word[0] <= (event.at_ms if event else settled_ms):
                self._news.popleft()
                placed.extend(self._believe(*word))
            elif event and (word or self._said_ms >= event.at_ms or not self._asks(event)):
                placed.append(self._pass(self._waiting.popleft()))
            else:
                break
        return placed

    def settled(self, told_ms: int) -> int:
        """Up to when all is told and placed, if the hook told all up to `told_ms`."""
        known_ms = self._said_ms if self._window and self._said else told_ms
        return min(told_ms, known_ms, self._waiting[0].at_ms - 1 if self._waiting else told_ms)

    def _take(self, word: Word) -> None:
        of, seq, at_ms, site = word
        at_ms, before = max(self._heard_ms, at_ms), self._sources.get(of)
        if before is None and len(self._sources) >= SOURCES_MAX:
            self._give_up(self._heard_ms)
        lost = before is not None and seq != before[0] + 1  # since its last word, anything may have had the keyboard
        others = any(said and at_ms - heard_ms <= STALE_MS for o, (_, heard_ms, said) in self._sources.items() if o != of)
        self._sources[of] = (seq, at_ms, site)
        if others and not (site or lost or (before and before[2])):
            return  # it had not the keyboard, nor has it
        if lost or self._whose not in (None, of):
            self._note(self._heard_ms, _DOUBT)  # another's word confirms nothing
        self._whose = of if site and not others else None
        self._note(at_ms, site if self._whose is not None else _DOUBT)

    def _note(self, at_ms: int, said: str | None) -> None:
        self._heard_ms = at_ms
        if len(self._news) >= NEWS_MAX:
            self._give_up(self._news[0][0])
        self._news.append((at_ms, said))

    def _give_up(self, since_ms: int) -> None:
        """All since then is in doubt, until there is another word."""
        self._sources.clear()
        self._news.clear()
        self._news.append((since_ms, _DOUBT))

    def _asks(self, event: Observed) -> bool:
        """Whether it needs a later word: it is of a browser, and a site is said to have the keyboard."""
        window = event.window if event.kind is Kind.FOCUS else self._window
        return bool(self._said) and is_browser(window)

    def _believe(self, at_ms: int, said: str | None) -> Iterable[Observed]:
        changed, self._said, self._said_ms = said != self._said, said, at_ms
        if changed and self._window:
            yield Observed(max(at_ms, self._placed_ms), Kind.FOCUS, window=self._sited(self._window))

    def _pass(self, event: Observed) -> Observed:
        self._placed_ms = max(self._placed_ms, event.at_ms)
        if event.kind is not Kind.FOCUS:
            return event
        self._window = event.window if is_browser(event.window) else None
        return replace(event, window=self._sited(self._window)) if self._window else event

    def _sited(self, window: Window) -> Window:
        return replace(window, site=self._said or "", secure=window.secure or self._said is _DOUBT)
