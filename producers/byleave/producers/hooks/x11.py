"""Edge: what python-xlib says about the focus, the keyboard and the screen. One connection of its own, one user at a time.

The X input focus is where keys go, with or without a window manager; the application is the WM_CLASS of the window that has it
or of its nearest ancestor that names one. Unknown is unknown: None, never a guess.

While another client holds a keyboard grab, as terminals do for "secure keyboard" and dialogs that ask for a passphrase, the
window counts as secure. Who holds it cannot be asked; whether anybody does can: a grab for a window that is not on the screen
is never given, and refused as AlreadyGrabbed only where somebody has one (X11 protocol, GrabKeyboard).
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from Xlib import X, Xatom, display
from Xlib import error as xerror
from Xlib.ext.record import RawField
from Xlib.protocol import request, rq

from byleave.core.errors import Broken
from byleave.core.events import Screen, Window
from byleave.producers import never
from byleave.producers.hooks.keymap import Keymap, layouts, modifier_names, read_keymap

ANCESTORS_MAX = 32
TITLE_CHARS_MAX = 256
_CORE_KEYBOARD = 0x100
_USE, _SELECT, _STATE, _MAP, _NAMES = 0, 1, 4, 8, 17
_NEW_KEYBOARD = 0


class _Ask(rq.ReplyRequest):  # type: ignore[misc]
    """A request of the XKB extension, which python-xlib does not know; `data` is its reply from the eighth byte on."""

    _request = rq.Struct(rq.Card8("opcode"), rq.Card8("minor"), rq.RequestLength(), RawField("body"))
    _reply = rq.Struct(rq.Pad(2), rq.Card16("sequence_number"), rq.ReplyLength(), RawField("data"))


class _Tell(rq.Request):  # type: ignore[misc]
    _request = _Ask._request


class Looked(NamedTuple):
    """What has the focus (0: nothing), whether nothing may be captured in it, and the state of modifiers and group."""

    window: int
    secure: bool
    state: int


class Desktop:
    """A connection to the X server in `DISPLAY`. Methods raise `xerror.ConnectionClosedError` when the server is gone."""

    def __init__(self, *, titles: bool) -> None:
        """Raises Broken where the server has no XKB."""
        self._display = display.Display()
        self._titles = titles
        self._active = self._display.intern_atom("_NET_ACTIVE_WINDOW")
        self._name = self._display.intern_atom("_NET_WM_NAME")
        self._process = self._display.intern_atom("_NET_WM_PID")
        self._root = self._display.screen().root
        self._looked_at = 0
        self._owner: tuple[Any, str] | None = None
        self._never_shown = self._root.create_window(0, 0, 1, 1, 0, X.CopyFromParent)
        found = self._display.query_extension("XKEYBOARD")
        if not found or not found.present:
            raise Broken("the X server has no keyboard extension: no layout can be known")
        self._xkb, self._xkb_event = found.major_opcode, found.first_event
        self._ask(_USE, struct.pack("=HH", 1, 0)).reply()
        select = struct.pack("=6H", _CORE_KEYBOARD, 3, 0, 1, 0xFF, 7)  # all of new keyboards; types, symbols, modifiers of maps
        _Tell(display=self._display.display, opcode=self._xkb, minor=_SELECT, body=select)
        self._display.flush()

    def fileno(self) -> int:
        """Readable when something was said, or the server is gone."""
        return int(self._display.fileno())

    @property
    def screen(self) -> Screen:
        size = self._root.get_geometry()
        return Screen(size.width, size.height)

    def keymap(self) -> Keymap:
        """The map in force, with the names of its layouts and modifiers. Raises Broken."""
        found = self._ask(_MAP, struct.pack("=HHH18x", _CORE_KEYBOARD, 3, 0))
        names = self._ask(_NAMES, struct.pack("=HHI", _CORE_KEYBOARD, 0, 4))
        modifiers = self._display.get_modifier_mapping()
        keymap = read_keymap(found.data)
        (symbols,) = struct.unpack_from("=I", names.data, 24)
        keymap.layouts = layouts(self._display.get_atom_name(symbols)) if symbols else ()
        keymap.modifiers = modifier_names(keymap, modifiers)
        return keymap

    def heard(self) -> tuple[bool, bool]:
        """Whether, since the last call, another keyboard came into use, and whether keys were mapped anew."""
        another = mapped = False
        while self._display.pending_events():
            event = self._display.next_event()
            if event.type == self._xkb_event:
                another, mapped = another or event.detail == _NEW_KEYBOARD, True
        return another, mapped

    def look(self) -> Looked:
        """One round trip, and another for the title: a terminal's changes while the focus stays."""
        focus = request.GetInputFocus(display=self._display.display, defer=True)
        grab = request.GrabKeyboard(
            display=self._display.display, defer=True, owner_events=True, grab_window=self._never_shown, time=X.CurrentTime,
            pointer_mode=X.GrabModeAsync, keyboard_mode=X.GrabModeAsync,
        )  # fmt: skip
        state = self._ask(_STATE, struct.pack("=Hxx", _CORE_KEYBOARD)).data
        focus.reply()
        grab.reply()
        window_id = self._window_id(focus.focus)
        secure = grab.status == X.AlreadyGrabbed or self._forbidden(window_id)
        return Looked(window_id, secure, state[0] | (state[4] & 3) << 13)

    def process(self) -> int:
        """The process that says that the window looked at last is its own; 0 where none does."""
        try:
            found = self._owner[0].get_full_property(self._process, X.AnyPropertyType) if self._owner else None
        except xerror.BadWindow:
            return 0
        return int(found.value[0]) if found is not None and len(found.value) else 0

    def _forbidden(self, window_id: int) -> bool:
        if window_id != self._looked_at or self._owner is None:
            self._looked_at, self._owner = window_id, self._find(window_id)
        if self._owner is None:
            return True
        owner, app = self._owner
        return never.forbids(Window(0, app, title=self._title(owner)))

    def _find(self, window_id: int) -> tuple[Any, str] | None:
        return self._named(window_id) or self._named(self._active_id())

    def _window_id(self, focus: Any) -> int:
        if focus == X.PointerRoot:
            child = self._root.query_pointer().child
            return int(child.id) if child else 0
        return 0 if isinstance(focus, int) else int(focus.id)

    def _ask(self, minor: int, body: bytes) -> Any:
        return _Ask(display=self._display.display, opcode=self._xkb, minor=minor, body=body)

    def window(self, window_id: int, layout: str, *, secure: bool) -> Window | None:
        """The application window of `window_id`, or None. A secure one's title is its part of never.toml, at most."""
        found = self._find(window_id)
        if found is None:
            return None
        owner, app = found
        title = self._title(owner)[:TITLE_CHARS_MAX] if self._titles or secure else ""
        if secure:
            title = never.category(Window(0, app, title=title)) or ""
        return Window(int(owner.id) & 0x7FFFFFFF, app, title=title, layout=layout, secure=secure)

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
            found = window.get_full_property(self._name, X.AnyPropertyType) or window.get_full_property(
                Xatom.WM_NAME, X.AnyPropertyType
            )
        except xerror.BadWindow:
            return ""
        return bytes(found.value).decode("utf-8", "replace") if found is not None else ""
