"""Edge: what python-xlib says about the focus, the layout and the screen. One connection of its own, one user at a time.

The X input focus is where keys go, with or without a window manager; the application is the WM_CLASS of the window that has it
or of its nearest ancestor that names one. Unknown is unknown: None, never a guess.
"""

from __future__ import annotations

from typing import Any

from Xlib import X, display
from Xlib import error as xerror

from byleave.core.events import Screen, Window

ANCESTORS_MAX = 32
TITLE_CHARS_MAX = 256


class Desktop:
    """A connection to the X server in `DISPLAY`. Methods raise `xerror.ConnectionClosedError` when the server is gone."""

    def __init__(self, *, titles: bool) -> None:
        self._display = display.Display()
        self._titles = titles
        self._rules = self._display.intern_atom("_XKB_RULES_NAMES")
        self._active = self._display.intern_atom("_NET_ACTIVE_WINDOW")
        self._name = self._display.intern_atom("_NET_WM_NAME")
        self._root = self._display.screen().root

    @property
    def screen(self) -> Screen:
        size = self._root.get_geometry()
        return Screen(size.width, size.height)

    def layout(self) -> str:
        """The keyboard layout, "us" or "de(nodeadkeys)"; empty when unknown, or when there are several."""
        found = self._root.get_full_property(self._rules, X.AnyPropertyType)
        parts = bytes(found.value).decode("latin-1").split("\0") if found is not None else []
        if len(parts) < 4 or not parts[2] or "," in parts[2]:
            return ""
        return f"{parts[2]}({parts[3]})" if parts[3] else parts[2]

    def focus_id(self) -> int:
        """A number for what has the focus, one round trip; 0 for nothing."""
        focus = self._display.get_input_focus().focus
        if focus == X.PointerRoot:
            child = self._root.query_pointer().child
            return int(child.id) if child else 0
        return 0 if isinstance(focus, int) else int(focus.id)

    def window(self, window_id: int, layout: str) -> Window | None:
        """The application window that `window_id` belongs to, or None."""
        found = self._named(window_id) or self._named(self._active_id())
        if found is None:
            return None
        owner, app = found
        title = self._title(owner) if self._titles else ""
        return Window(int(owner.id) & 0x7FFFFFFF, app, title=title, layout=layout)

    def _named(self, window_id: int) -> tuple[Any, str] | None:
        if not window_id:
            return None
        try:
            at = self._display.create_resource_object("window", window_id)
            for _ in range(ANCESTORS_MAX):
                names = at.get_wm_class()
                if names:
                    return at, str(names[1] or names[0]).lower()
                parent = at.query_tree().parent
                if not parent or parent == self._root:
                    return None
                at = parent
        except xerror.BadWindow:  # closed while we asked
            return None
        return None

    def _active_id(self) -> int:
        found = self._root.get_full_property(self._active, X.AnyPropertyType)
        return int(found.value[0]) if found is not None and len(found.value) else 0

    def _title(self, window: Any) -> str:
        try:
            found = window.get_full_property(self._name, X.AnyPropertyType)
        except xerror.BadWindow:
            return ""
        return bytes(found.value).decode("utf-8", "replace")[:TITLE_CHARS_MAX] if found is not None else ""
