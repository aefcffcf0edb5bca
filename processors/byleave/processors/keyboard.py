"""What the names of keys mean. Names are pynput's; a single character is itself.

Promises  only names in `NAMED` are ever written; anything else is an unknown key.
"""

from __future__ import annotations

from byleave.core.events import Modifiers
from byleave.core.rows import KeyClass

EDITING = frozenset(("backspace", "delete"))
MOVING = frozenset(("left", "right", "home", "end"))
AWAY = frozenset(("up", "down", "page_up", "page_down"))
"""Keys after which nobody knows where the caret is."""
NAMED: dict[str, KeyClass] = dict.fromkeys(EDITING, KeyClass.EDIT) | dict.fromkeys(MOVING | AWAY, KeyClass.NAVIGATION)
NAMED |= {"enter": KeyClass.ENTER, "tab": KeyClass.TAB, "space": KeyClass.SPACE}
NAMED |= dict.fromkeys([f"f{n}" for n in range(1, 25)], KeyClass.FUNCTION)
NAMED |= dict.fromkeys(
    ["esc", "insert", "menu", "print_screen", "pause", "media_next", "media_previous", "media_play_pause", "media_volume_down",
     "media_volume_mute", "media_volume_up"],
    KeyClass.FUNCTION)  # fmt: skip
COMMAND = Modifiers.CONTROL | Modifiers.ALT | Modifiers.META
SHORTCUTS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789+-=/[],.`")
NO_EFFECT_ON_TEXT = frozenset("cisu")
"""Letters whose shortcut leaves the text and the caret as they are everywhere (copy, italics, save, underline)."""
MODIFIER_NAMES = {
    Modifiers.CONTROL: "ctrl", Modifiers.ALT: "alt", Modifiers.META: "cmd", Modifiers.SHIFT: "shift", Modifiers.ALTGR: "alt_gr",
    Modifiers.CAPS: "caps_lock",
}  # fmt: skip
"""How rows name modifiers, in their order there."""
_IN_SHORTCUTS = COMMAND | Modifiers.SHIFT


def plain_key(key: str, modifiers: Modifiers) -> str:
    """The letter behind a control character: some systems report ctrl+c as U+0003. Other control characters are unknown."""
    if len(key) == 1 and key < " ":
        if key in "\r\n":
            return "enter"
        if key == "\t":
            return "tab"
        return chr(ord(key) + 96) if modifiers & Modifiers.CONTROL and 1 <= ord(key) <= 26 else ""
    return "space" if key == " " and modifiers & COMMAND else key


def is_command(key: str, modifiers: Modifiers) -> bool:
    """Whether the key is a shortcut and no text.

    AltGr puts text; Windows reports it as ctrl with alt, and the option key of macOS, which also does, as alt.
    """
    held = modifiers & COMMAND
    if not held or modifiers & Modifiers.ALTGR:
        return False
    if len(key) != 1 or (key.isascii() and key.isalnum()):
        return True
    return not (held == Modifiers.CONTROL | Modifiers.ALT or (held == Modifiers.ALT and not key.isascii()))


def shortcut_names(key: str, modifiers: Modifiers) -> tuple[str, ...]:
    """Names for the row of a shortcut, modifiers first: ("ctrl", "s"). `key` is in SHORTCUTS or NAMED."""
    return (*(name for bit, name in MODIFIER_NAMES.items() if modifiers & bit & _IN_SHORTCUTS), key)
