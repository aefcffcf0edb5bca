"""Where a text may go on unseen: before it, after a lost caret, and behind it, where it was cut off.

Promises  a token at such an edge stays only if it is a plain word of three letters or more, in small letters where it may go on
          (names begin like words: "And", "Jar"); a row of numbers that the edge cuts goes whole.
"""

from __future__ import annotations

import re
from itertools import pairwise

from byleave.processors.tokens import Token, What

PLAIN_LETTERS_MIN = 3
_PLAIN = frozenset((What.WORD, What.CAPITAL, What.NAMELIKE))
_IN_ROW = frozenset((What.SMALL, What.NUMBER, What.EXEMPT, What.IDENTIFIER))
_ROW_GAP = re.compile(r"[^\w\n]{1,3}")


def doubt_edges(text: str, tokens: list[Token], left: int, *, right: bool) -> None:
    """Labels what cannot be judged at the edges. `left`: where text begins that may go on from something unseen."""
    behind = [token for token in tokens if token.end > left]
    if behind and not any(char.isspace() for char in text[left : behind[0].start]):
        _doubt(text, behind, plain=behind[0].what in _PLAIN)
    last = tokens[-1]
    if right and not any(char.isspace() for char in text[last.end :]):
        _doubt(text, tokens[::-1], plain=last.what is What.WORD and text[last.start].islower())


def _doubt(text: str, inwards: list[Token], *, plain: bool) -> None:
    first = inwards[0]
    if not plain or len(first.lower) < PLAIN_LETTERS_MIN:
        _remove(first)
    for outer, token in pairwise(inwards):
        low, high = (outer, token) if outer.start < token.start else (token, outer)
        if not ({outer.what, token.what} <= _IN_ROW and _ROW_GAP.fullmatch(text, low.end, high.start)):
            return
        _remove(token)


def _remove(token: Token) -> None:
    token.label = token.label or ("NUMBER" if token.lower.isdigit() else "WORD")
