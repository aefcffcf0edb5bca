"""What of the observed events was agreed to (P1): an allow-list of applications and kinds, decided at each event by its focus.

Pure but for its memory of one session. Promises  an event of an application, kind or site that the manifest does not name,
without a known focus or (for keys) without a known layout does not pass, and all that remains of it is a count. Of what
`never.toml` lists, below a password prompt and without a known focus not even that, whatever the manifest names.
"""

from __future__ import annotations

from dataclasses import replace

from byleave.control.documents import Manifest
from byleave.control.promised import promise_of
from byleave.core.events import Kind, Window
from byleave.core.targets import PASSWORD, Target
from byleave.producers import never
from byleave.producers.browser import is_browser
from byleave.producers.hooks.source import Observed

WINDOWS_MAX = 4_096
"""Windows that a session numbers; beyond, the session's numbers start anew."""
DOWN_MAX = 256
"""Keys and buttons remembered as down."""

_KEYS = (Kind.PRESS, Kind.RELEASE, Kind.PASTE)


class Scope:
    """One session's filter. `dropped` counts what did not pass."""

    def __init__(self, manifest: Manifest) -> None:
        promise = promise_of(manifest)
        self._kinds, self._applications, self._sites = promise.kinds, promise.applications, promise.sites
        self._blank = promise.blank
        self._window: Window | None = None
        self._inside = self._counted = False
        self._handles: dict[int, int] = {}
        self._down: set[str | int] = set()
        self.dropped = 0

    @property
    def application(self) -> str:
        """The application that events are admitted of now, or nothing."""
        return self._window.app if self._window is not None and self._inside else ""

    def admit(self, event: Observed) -> Observed | None:
        """The event as it may be captured, or None. A FOCUS decides for what follows it."""
        if event.kind is Kind.FOCUS:
            return self._focus(event)
        if event.target is not None and event.target.role == PASSWORD:
            return None  # nor its release, then
        if not self._allows(event):
            self.dropped += self._counted
            return None
        blank = self._blank[_kind(event)]
        if event.kind is Kind.BUTTON_DOWN:
            target = replace(event.target or Target(), **self._blank["target"]) if "target" in self._kinds else None
            return replace(event, target=target, **blank)
        return replace(event, **blank) if blank else event

    def _focus(self, event: Observed) -> Observed | None:
        window = event.window
        self._window = window
        self._down.clear()  # a release in another window would tell of a key that was pressed elsewhere
        unsited = bool(self._sites) and is_browser(window) and window is not None and not window.site
        self._counted = window is not None and not unsited and not never.forbids(window)
        self._inside = (
            window is not None
            and self._counted
            and window.app.lower() in self._applications
            and (not window.site or not self._sites or window.site.lower() in self._sites)
        )
        if not self._inside or window is None or "window" not in self._kinds:
            return None
        site = window.site if self._sites else ""
        told = {"handle": self._number(window.handle), "site": site, **self._blank["window"]}
        return replace(event, window=replace(window, **told))

    def _allows(self, event: Observed) -> bool:
        kind = _kind(event)
        if not self._inside or kind not in self._kinds:
            return False
        if kind == "key" and (self._window is None or not self._window.layout):
            return False  # an unknown layout is another text than the person wrote
        what = event.key.lower() if kind == "key" else event.button  # shift may be let go before the letter
        if event.kind in (Kind.PRESS, Kind.BUTTON_DOWN):
            if len(self._down) < DOWN_MAX:
                self._down.add(what)
        elif event.kind in (Kind.RELEASE, Kind.BUTTON_UP):
            if what not in self._down:
                return False  # it went down where nothing may be captured: its end would tell of it
            self._down.discard(what)
        return True

    def _number(self, handle: int) -> int:
        """Windows are numbered within the session: the system's own numbers would link sessions."""
        if handle not in self._handles and len(self._handles) >= WINDOWS_MAX:
            self._handles.clear()
        return self._handles.setdefault(handle, len(self._handles))


def _kind(event: Observed) -> str:
    return "key" if event.kind in _KEYS else "pointer"
