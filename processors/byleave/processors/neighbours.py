"""What goes because something removed stands beside it: the most valuable rule on text that nobody has seen.

Promises  a number, an initial, a part of a name or an address beside what is removed goes with it; in a line of which most
          words are unknown no word is trusted to be English.
"""

from __future__ import annotations

import re
from itertools import pairwise

from byleave.processors.lexicon import load_words
from byleave.processors.tokens import Token, What
from byleave.processors.vocabulary import GRAMMAR, Vocabulary

_IN_NAME = re.compile(r" ?|\. ?|-|'|,? ?\n ?|, ")
_PAY = re.compile(r"\d[\d.,]*[kKmM]")
_MEDICAL_TAILS = load_words("medical_tails")
FOREIGN_WORDS_MIN, FOREIGN_SHARE_MIN = 3, 0.4
"""So many unknown lower-case words in a line, and such a share of its words, make it doubtful which language it is."""
CLOSE = re.compile(r"[ .,'/_\-]{0,3}|\s{0,2},?\s{0,2}")
"""What may stand between two neighbours."""
_PARTICLES = frozenset(
    ("bin", "ibn", "ten", "ter", "van", "von", "den", "der", "del", "della", "di", "da", "dos", "du", "san", "st", "santa")
)
TITLES = frozenset(("mr", "mrs", "ms", "dr", "prof", "miss", "sir", "madam", "mx"))
_FIELDS = load_words("fields")
CAPITALS = frozenset((What.CAPITAL, What.NAMELIKE))
_KNOWN, _LETTERED = CAPITALS | {What.WORD}, CAPITALS | {What.WORD, What.UNKNOWN}
_SHORT = frozenset((What.SMALL, What.EXEMPT, What.LETTER))


def pull_neighbours(text: str, tokens: list[Token], vocabulary: Vocabulary) -> None:
    """What is in doubt goes with what is gone beside it: once along the text, once back."""
    for before, token in pairwise(tokens):
        if before.label and not token.label and _is_close(text[before.end : token.start]):
            token.label = _pulled(before, token, vocabulary, text, behind=True)
    for before, token, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if before.label and after.label and not token.label and _is_between(text, before, token, after):
            token.label = "WORD"
    for after, token in pairwise(reversed(tokens)):
        if after.label and not token.label and _is_close(text[token.end : after.start]):
            token.label = _pulled(after, token, vocabulary, text, behind=False)


def _is_close(gap: str) -> bool:
    return gap == " " or CLOSE.fullmatch(gap) is not None


def _is_between(text: str, before: Token, token: Token, after: Token) -> bool:
    """Whether what stands between two things that go is their glue: "Rúa do Paseo", a piece of a key; not "Anna and Ben"."""
    gaps = [text[a:b] for a, b in ((before.end, token.start), (token.end, after.start))]
    if all(len(gap) == 1 and gap in "=/+_-~" for gap in gaps):
        return True
    if token.what not in _KNOWN or token.lower in GRAMMAR or token.lower in _FIELDS:
        return False
    return all(gap in (" ", ", ") for gap in gaps)


def doubt_lines(text: str, tokens: list[Token]) -> None:
    """Where most words of a line are unknown, those that are known may be of another language too, and go."""
    line: list[Token] = []
    if sum(token.what is What.UNKNOWN for token in tokens) < FOREIGN_WORDS_MIN:
        return
    for token in tokens:
        if line and "\n" in text[line[-1].end : token.start]:
            _end_line(text, line)
            line = []
        if token.what in _LETTERED and token.lower[0].isalpha():
            line.append(token)
    _end_line(text, line)


def _end_line(text: str, line: list[Token]) -> None:
    strange = sum(token.what is What.UNKNOWN and bool(token.label) and text[token.start].islower() for token in line)
    if strange >= FOREIGN_WORDS_MIN and strange >= FOREIGN_SHARE_MIN * sum(token.lower not in GRAMMAR for token in line):
        for token in line:
            token.label = token.label or "WORD"


def _pulled(gone: Token, doubtful: Token, vocabulary: Vocabulary, text: str, *, behind: bool) -> str:
    """The label that `doubtful` gets from `gone` beside it, or none. `behind`: it stands after what is gone."""
    what, label, upper = doubtful.what, gone.label, text[doubtful.start].isupper()
    gap = text[gone.end : doubtful.start] if behind else text[doubtful.end : gone.start]
    if what in _SHORT:
        return _pulled_small(text, label, doubtful)
    if label == "MEDICAL" and what in (What.CAPITAL, What.WORD) and gap == " ":
        near = doubtful.lower not in GRAMMAR and gone.what not in (What.CAPITAL, What.WORD)
        return "MEDICAL" if near and (not behind or doubtful.lower in _MEDICAL_TAILS) else ""
    if what in CAPITALS and doubtful.lower not in _FIELDS:
        heading = text[doubtful.end : doubtful.end + 1] == ":"
        return _pulled_capital(gone, what, upper and not heading and _IN_NAME.fullmatch(gap) is not None)
    if label != "NAME":
        return ""
    if not behind and gap == " " and doubtful.lower in _PARTICLES:
        return "NAME"
    part = what is What.WORD and doubtful.lower not in GRAMMAR and doubtful.lower not in _FIELDS
    return "NAME" if part and doubtful.lower in (vocabulary.surnames if behind else TITLES) else ""


def _pulled_small(text: str, label: str, doubtful: Token) -> str:
    """Numbers always, sizes and times beside health, initials beside names."""
    if doubtful.what is What.LETTER:
        initial = text[doubtful.start].isupper() or text[doubtful.end : doubtful.end + 1] == "."
        dotted = label == "WORD" and text[doubtful.end : doubtful.end + 2] == ". "
        return label if label in ("NAME", "ADDRESS", "MEDICAL") and initial else "NAME" if dotted else ""
    if doubtful.what is What.SMALL or label == "MEDICAL" or _PAY.fullmatch(doubtful.lower):
        return "MEDICAL" if label == "MEDICAL" else "NUMBER"
    return ""


def _pulled_capital(gone: Token, what: What, part: bool) -> str:
    """Capitals do not pull capitals, else a headline would go for one name in it. `part`: it stands as parts of a name do."""
    if gone.label == "ADDRESS" or (part and gone.label == "NUMBER" and 4 <= len(gone.lower) <= 5):
        return "ADDRESS"
    if part and gone.label in ("NAME", "WORD") and gone.what is not What.CAPITAL:
        return "NAME"
    return "NAME" if gone.label == "NAME" and what is What.NAMELIKE else ""
