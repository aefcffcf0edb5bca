"""What a key puts, by the X server's own keyboard map: groups, shift levels, caps lock, AltGr (XKB protocol). Pure.

Promises  the symbol is the one that a program of this screen gets for that key and state; where the map says nothing, none.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from byleave.core.errors import Broken
from byleave.core.events import Modifiers
from byleave.producers.hooks.keysyms import key_of

LOCK = 2
_REAL = Modifiers.SHIFT, Modifiers.CAPS, Modifiers.CONTROL
_BY_NAME = {"alt": Modifiers.ALT, "alt_r": Modifiers.ALT, "cmd": Modifiers.META, "cmd_r": Modifiers.META,
            "alt_gr": Modifiers.ALTGR}  # fmt: skip
_HEAD = struct.Struct("=2xBBHBBBBHB")
_LAYOUT = re.compile(r"\+([^+|:]+)(?::(\d))?")
_SHIFT_LEVELS = {0: 0, 1: 1}
_CASED = (0x00, 0x01, 0x02, 0x03, 0x06, 0x07, 0x13)
"""Sets of symbols whose cases X servers know: of a lone one in a ChangeKeyboardMapping they make both."""


@dataclass(frozen=True, slots=True)
class Type:
    """Which level a state of the modifiers in `mask` chooses, and which of them the choice leaves in effect."""

    mask: int
    levels: Mapping[int, int]
    kept: Mapping[int, int]


_PLAIN, _ALPHABETIC = Type(1, _SHIFT_LEVELS, {}), Type(1 | LOCK, {1: 1, LOCK: 1}, {})


@dataclass(frozen=True, slots=True)
class Key:
    """One key: a type for each group, and the symbols of all groups, `width` to a group."""

    groups: Sequence[Type]
    beyond: int
    width: int
    symbols: Sequence[int]


@dataclass(slots=True)
class Keymap:
    """A keyboard map. `modifiers` has what each of the eight real modifiers is; `layouts` the name of each group."""

    keys: dict[int, Key]
    layouts: Sequence[str] = ()
    modifiers: Sequence[Modifiers] = field(default=(*_REAL, *[Modifiers.NONE] * 5))

    def key(self, keycode: int, state: int) -> str:
        """The `key` of a KeyEvent for a keycode under the state that its event carries."""
        symbol, in_effect = self.symbol(keycode, state)
        name = key_of(symbol)
        return name.upper() if in_effect & LOCK and name.isalpha() and len(name) == len(name.upper()) == 1 else name

    def symbol(self, keycode: int, state: int) -> tuple[int, int]:
        """The symbol, 0 for none, and the modifiers that are still in effect upon it."""
        key = self.keys.get(keycode)
        group = _group(key, state >> 13 & 3) if key else -1
        if key is None or group < 0:
            return 0, 0
        chosen = key.groups[group]
        held = state & chosen.mask
        place = group * key.width + chosen.levels.get(held, 0)
        return key.symbols[place], state & 0xFF & ~(chosen.mask & ~chosen.kept.get(held, 0))

    def held(self, state: int) -> Modifiers:
        """The modifiers in an event's state."""
        found = Modifiers.NONE
        for bit, modifier in enumerate(self.modifiers):
            if state & 1 << bit:
                found |= modifier
        return found

    def layout(self, state: int) -> str:
        """The name of the group in an event's state, "us" or "de(nodeadkeys)"; empty when unknown."""
        group = state >> 13 & 3
        return self.layouts[group] if group < len(self.layouts) else ""

    def change(self, first: int, rows: Iterable[Sequence[int]]) -> None:
        """What a ChangeKeyboardMapping request does to keys from `first` on; each row at most two groups of two levels."""
        for keycode, row in enumerate(rows, first):
            pairs = [_pair(*pair) for pair in (tuple(row[:2]), tuple(row[2:4])) if any(pair)]
            types = [_ALPHABETIC if _cases(low) == (low, high) != (low, low) else _PLAIN for low, high in pairs]
            self.keys[keycode] = Key(types, 0, 2, tuple(symbol for pair in pairs for symbol in pair))


def read_keymap(reply: bytes) -> Keymap:
    """The types and symbols in the reply to XkbGetMap, from its eighth byte on. Raises Broken."""
    try:
        _, _, _, _, types, _, first, _, keys = _HEAD.unpack_from(reply)
        at, known = 32, list[Type]()
        for _ in range(types):
            found, at = _type(reply, at)
            known.append(found)
        found_keys = {}
        for keycode in range(first, first + keys):
            *of_group, info, width, count = struct.unpack_from("=6BH", reply, at)
            symbols = struct.unpack_from(f"={count}I", reply, at + 8)
            if any(symbols):
                found_keys[keycode] = Key([known[n] for n in of_group[: info & 15]], info, width, symbols)
            at += 8 + 4 * count
    except (struct.error, IndexError):
        raise Broken("the X server's keyboard map cannot be read") from None
    return Keymap(found_keys)


def layouts(symbols: str) -> tuple[str, ...]:
    """The layout of each group in the name of a map's symbols: "pc+us(dvorak)+fr:2+inet(evdev)" has us(dvorak) and fr."""
    found: dict[int, str] = {}
    for name, group in _LAYOUT.findall(symbols):
        found.setdefault(int(group or 1), name)
    return tuple(found.get(group, "") for group in range(1, 5))


def modifier_names(keymap: Keymap, keycodes: Sequence[Iterable[int]]) -> Sequence[Modifiers]:
    """What each real modifier is, by the keys that set it; `keycodes` as GetModifierMapping tells them."""
    found = [*_REAL]
    for codes in keycodes[len(_REAL) :]:
        names = (_BY_NAME.get(key_of(keymap.symbol(code, 0)[0]), Modifiers.NONE) for code in codes)
        found.append(next((name for name in names if name), Modifiers.NONE))
    return found


def _type(reply: bytes, at: int) -> tuple[Type, int]:
    mask, _, _, _, entries, preserves = struct.unpack_from("=BBHBBBx", reply, at)
    at += 8
    rows = [struct.unpack_from("=BBBBHxx", reply, at + 8 * n) for n in range(entries)]
    at += 8 * entries
    kept = [reply[at + 4 * n] for n in range(entries)] if preserves else [0] * entries
    active = [(row[1], row[2], keep) for row, keep in zip(rows, kept, strict=True) if row[0]]
    found = Type(mask, {held: level for held, level, _ in active}, {held: keep for held, _, keep in active})
    return found, at + 4 * entries * preserves


def _group(key: Key, group: int) -> int:
    """The group that counts where the key has fewer (XKB protocol, 4.1): wrapped, the last, or the one that is named."""
    count = len(key.groups)
    if group < count:
        return group
    if not count:
        return -1
    if key.beyond & 0x80:
        named = key.beyond >> 4 & 3
        return named if named < count else 0
    return count - 1 if key.beyond & 0x40 else group % count


def _pair(low: int, high: int = 0) -> tuple[int, int]:
    """Two levels of one group: a lone letter stands for both of its cases (X11 protocol, keyboards)."""
    return (low, high) if high else _cases(low)


def _cases(symbol: int) -> tuple[int, int]:
    char = key_of(symbol)
    low, high = char.lower(), char.upper()
    if symbol >> 8 not in _CASED or not len(char) == len(low) == len(high) == 1 or low == high:
        return symbol, symbol
    return _symbol(low), _symbol(high)


def _symbol(char: str) -> int:
    return ord(char) if ord(char) < 0x100 else 0x1000000 + ord(char)
