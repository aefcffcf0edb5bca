"""One pass over a text that says which of many expressions can match in it, by Hyperscan where its wheel exists.

Promises  never says no where `re` says yes: each expression is widened before it is compiled (long repetitions become open
          ones), and a text that the two libraries could read in different ways is not asked about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_REPEAT = re.compile(r"\{(\d+),(\d+)\}")
_POSSESSIVE = re.compile(r"([})])\+")
_DISPUTED = re.compile("[\x0b\x0c\x1c-\x1f\u0130\u0131\u017f\u212a]")
"""Blanks to `re` that are none to Hyperscan or the other way round, and letters beyond ASCII that `re` takes for s, i and k."""
VERSION = "0.6.0"
"""The last wheel with Intel's library. That of later ones, Vectorscan, says no where it should say yes."""
COMPILE_CHARS = 50_000
"""Compiled (1.5 s of CPU) only when so much has been read without it (0.3 s): a short run never pays for it."""
REPEAT_MAX = 8
"""Longer repetitions make the automaton large and its compilation slow."""

Prefilter = Callable[[str], Sequence[int] | None]


class _StandIns(dict[int, str]):
    """For each character beyond ASCII one that the same classes of an expression take, and no letter of a word."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if code < 0x80 or char == "\ufffd":
            return char if code < 0x80 else "\x02"
        return "1" if char.isdecimal() else "_" if char.isalnum() else "\x01"


def prefilter(expressions: Sequence[str], compile_chars: int = COMPILE_CHARS) -> Prefilter | None:
    """A function from a text to the places of the expressions that may match in it, in order; None: any may.

    It says None until it has been asked about `compile_chars`; then it compiles, once. Returns None where this Hyperscan is
    not installed. The function has one scratch space: it is for one thread at a time.
    """
    try:
        import hyperscan
    except ImportError:
        return None
    if hyperscan.__version__ != VERSION:
        return None
    database, table, asked, compiled = hyperscan.Database(), _StandIns(), 0, False
    wide = [_widened(expression).encode() for expression in expressions]
    flags = hyperscan.HS_FLAG_PREFILTER | hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_ALLOWEMPTY
    foreign = {place for place, expression in enumerate(expressions) if not expression.isascii()}

    def possible(text: str) -> Sequence[int] | None:
        nonlocal asked, compiled
        asked += len(text)
        if asked < compile_chars or _DISPUTED.search(text):
            return None
        if not compiled:
            database.compile(expressions=wide, ids=list(range(len(wide))), flags=[flags] * len(wide))
            compiled = True
        found = set() if text.isascii() else foreign.copy()
        plain = text if text.isascii() else text.translate(table)
        database.scan(plain.encode("ascii"), match_event_handler=lambda place, *_: found.add(place))
        return sorted(found)

    return possible


def _widened(expression: str) -> str:
    """An expression in the words of both libraries that matches wherever the given one does in plain text."""
    expression = _REPEAT.sub(_open, expression.replace(r"\ufffd", r"\x02"))
    return _POSSESSIVE.sub(r"\1", expression).replace("(?P<v>", "(?:")


def _open(repeat: re.Match[str]) -> str:
    low, high = int(repeat[1]), int(repeat[2])
    return repeat[0] if high <= REPEAT_MAX else f"{{{min(low, REPEAT_MAX)},}}"
