"""What a key symbol of X stands for: a character, a dead key's accent, or a name (X11 protocol, appendix A). Pure.

Promises  a symbol that is not known here is an unknown key, never a guess. Names are pynput's, characters Unicode.
"""

from __future__ import annotations

from unicodedata import normalize

_MULTI_KEY = 0xFF20
_PUTS_NOTHING = frozenset(("shift", "shift_r", "ctrl", "ctrl_r", "alt", "alt_r", "cmd", "cmd_r", "alt_gr", "caps_lock"))
_CODEC = {
    0x00: "latin-1", 0x01: "iso8859-2", 0x02: "iso8859-3", 0x03: "iso8859-4", 0x04: "shift_jis", 0x05: "iso8859-6",
    0x06: "koi8-r", 0x0C: "iso8859-8", 0x0D: "iso8859-11", 0x13: "iso8859-15",
}  # fmt: skip
"""The older symbols number a character by the place it has in one of these, the set in the high byte."""
_RUNS = {
    0x6A1: "ђѓёєѕіїјљњћќґўџ№ЂЃЁЄЅІЇЈЉЊЋЌҐЎЏ", 0x7A1: "ΆΈΉΊΪ ΌΎΫ Ώ", 0x7B1: "άέήίϊΐόύϋΰώ", 0x7C1: "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣ ΤΥΦΧΨΩ",
    0x7E1: "αβγδεζηθικλμνξοπρσςτυφχψω", 0x8BC: "≤≠≥", 0x8FB: "←↑→↓", 0xAA9: "—–", 0xAAE: "…", 0xAC9: "™", 0xAD0: "‘’“”",  # noqa: RUF001
    0xAFD: "‚„", 0x20AC: "€",  # noqa: RUF001
}  # fmt: skip
"""Those that follow none, by the first of each run; a blank is no symbol."""
_KANA = range(0x4A1, 0x4DE)
_DIRECT = range(0x1000100, 0x1110000)
_KEYPAD = {0xFFAA: "*", 0xFFAB: "+", 0xFFAC: ",", 0xFFAD: "-", 0xFFAE: ".", 0xFFAF: "/", 0xFFBD: "="} | {
    0xFFB0 + n: str(n) for n in range(10)
}
_DEAD = dict(zip(range(0xFE50, 0xFE5E), "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327\u0328\u0345",
                 strict=True)) | {0xFE60: "\u0323", 0xFE61: "\u0309", 0xFE62: "\u031b"}  # fmt: skip
_NAMES = {
    "backspace": (0xFF08,), "tab": (0xFF09, 0xFE20, 0xFF89), "enter": (0xFF0D, 0xFF8D), "pause": (0xFF13,), "esc": (0xFF1B,),
    "scroll_lock": (0xFF14,), "home": (0xFF50, 0xFF95), "left": (0xFF51, 0xFF96), "up": (0xFF52, 0xFF97),
    "right": (0xFF53, 0xFF98), "down": (0xFF54, 0xFF99), "page_up": (0xFF55, 0xFF9A), "page_down": (0xFF56, 0xFF9B),
    "end": (0xFF57, 0xFF9C), "print_screen": (0xFF61,), "insert": (0xFF63, 0xFF9E), "menu": (0xFF67,), "num_lock": (0xFF7F,),
    "delete": (0xFFFF, 0xFF9F), "shift": (0xFFE1,), "shift_r": (0xFFE2,), "ctrl": (0xFFE3,), "ctrl_r": (0xFFE4,),
    "caps_lock": (0xFFE5,), "alt": (0xFFE9, 0xFFE7), "alt_r": (0xFFEA, 0xFFE8), "cmd": (0xFFEB,), "cmd_r": (0xFFEC,),
    "alt_gr": (0xFE03, 0xFF7E), "space": (0x20, 0xFF80), "media_volume_down": (0x1008FF11,), "media_volume_mute": (0x1008FF12,),
    "media_volume_up": (0x1008FF13,), "media_play_pause": (0x1008FF14,), "media_previous": (0x1008FF16,),
    "media_next": (0x1008FF17,),
} | {f"f{n}": (0xFFBD + n,) for n in range(1, 25)}  # fmt: skip
_BY_SYMBOL = {symbol: name for name, symbols in _NAMES.items() for symbol in symbols} | _KEYPAD | _DEAD
_BY_SYMBOL |= {first + n: char for first, run in _RUNS.items() for n, char in enumerate(run) if char != " "}


def key_of(symbol: int) -> str:
    """The `key` of a KeyEvent: one character, a combining accent, a name, or empty where the symbol is not known."""
    return _BY_SYMBOL.get(symbol) or _character(symbol)


class Compose:
    """Follows the compose key: what the keys after it put is known only to the program that has the focus."""

    def __init__(self) -> None:
        self._open = False

    def pressed(self, symbol: int, key: str) -> str:
        """The `key` of a press; unknown from a compose key on until a named key ends whatever was composed."""
        if symbol == _MULTI_KEY:
            self._open = True
        elif self._open and (len(key) < 2 or key == "space"):
            return ""
        elif key not in _PUTS_NOTHING:
            self._open = False
        return key


def _character(symbol: int) -> str:
    of, place = symbol >> 8, symbol & 0xFF
    found = ""
    if symbol in _DIRECT:
        found = chr(symbol - 0x1000000)
    elif of == 0x04:
        found = normalize("NFKC", bytes([place]).decode(_CODEC[of])) if symbol in _KANA else ""
    elif of in _CODEC and place >= (0xC0 if of == 0x06 else 0x20):
        found = bytes([place]).decode(_CODEC[of], "ignore")
    return found if len(found) == 1 and found.isprintable() else ""
