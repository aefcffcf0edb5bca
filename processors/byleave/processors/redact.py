"""Text to the spans that must go: the vocabulary gate, patterns and cues, places and neighbours.

Promises  what the gate does not know to be harmless is removed as one typed placeholder; where gate and patterns overlap, the
          more sensitive label wins and the span is one; what is in doubt goes if something removed stands beside it.

Steps     tokens, each by itself -> numbers in groups -> patterns and cues -> edges -> names by place
          -> neighbours -> what the text is about -> spans
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from byleave.processors.edges import doubt_edges
from byleave.processors.harmless import find_harmless
from byleave.processors.identifiers import is_ordinary, stands_as_code
from byleave.processors.lexicon import load_labels
from byleave.processors.neighbours import CLOSE, doubt_lines, pull_neighbours
from byleave.processors.places import judge_places, same_names
from byleave.processors.reassemble import UNKNOWN_CHAR
from byleave.processors.rules import Rules
from byleave.processors.tighten import tighten
from byleave.processors.tokens import Token, What, tokens_of
from byleave.processors.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` (exclusive) of a text, what stood there, and which step of the rules says so."""

    start: int
    end: int
    label: str
    rule: str = field(default="", compare=False)


LABELS = tuple(load_labels())
"""What a placeholder may say. Where two claim a span, the later wins: it says more, or is worse."""
NUMBERED = frozenset(("NAME", "USERNAME", "EMAIL", "PHONE", "ADDRESS", "IP"))
"""Labels whose values are told apart within one record."""
_LISTED = NUMBERED - {"ADDRESS"}
"""Labels of which a comma parts two values."""
_RANK = {label: rank for rank, label in enumerate(LABELS)}
_GONE = {What.UNKNOWN: "WORD", What.HALF: "WORD", What.NUMBER: "NUMBER", What.IDENTIFIER: "WORD", What.MEDICAL: "MEDICAL"}
_NUMBERS = frozenset((What.SMALL, What.NUMBER))
_JOINED = re.compile(r"\s{0,2},?\s{0,2}|[^\w\n]{0,4}")
"""What may stand between two parts of one thing."""
_GROUP_GAP = re.compile(r"[ .\-/()]{1,3}")
_OPENS = re.compile(r"(?:<|\$\{|\{\{ ?)$")
_INVISIBLE = frozenset(("Cf", "Cc", "Co", "Cn", "Cs"))
GROUPED_DIGITS_MIN = 7
"""So many digits in a row of number tokens are one long number."""
SPELLED_LETTERS_MIN, SPELLED_MIXED_MIN = 3, 6
"""So many single letters in a row spell something; so many letters and digits too."""


def find_spans(context: str, text: str, rules: Rules, *, open_left: bool = False, open_right: bool = False) -> list[Span]:
    """What must go from `text`, in order, not overlapping.

    `context` is what stood before it, for cues and for tokens that go on across the seam. `open_left`, `open_right`: the text
    may go on there unseen; a token at such an edge stays only if it is a plain word of three letters or more.
    """
    whole, base, vocabulary = _plain(context + text), len(context), rules.vocabulary
    tokens = tokens_of(whole, vocabulary)
    if not tokens:
        return []
    for token in tokens:
        token.label = _GONE.get(token.what, "")
    _code(whole, tokens, vocabulary)
    _groups(whole, tokens)
    _say(tokens, "vocabulary")
    _patterns(whole, tokens, rules)
    _say(tokens, "pattern")
    doubt_edges(whole, tokens, base if open_left else len(whole), right=open_right)
    _say(tokens, "edge")
    judge_places(whole, tokens, vocabulary)
    same_names(whole, tokens)
    _say(tokens, "place")
    if any(token.label for token in tokens):
        doubt_lines(whole, tokens)
        pull_neighbours(whole, tokens, vocabulary)
        _say(tokens, "neighbour")
    tighten(tokens, rules.topics.of(whole, {token.label for token in tokens}), vocabulary)
    _say(tokens, "topic")
    return _spans(whole, tokens, base)


def _say(tokens: list[Token], rule: str) -> None:
    for token in tokens:
        if token.label != token.said:
            token.said, token.rule = token.label, rule


def sanitized_text(text: str, spans: list[Span]) -> str:
    """`text` with a typed placeholder in place of each span.

    Where one record names several people or contacts, or one of them twice, they are told apart by a number in order of
    appearance: "<NAME:1> wrote to <NAME:2>". The number says nothing across records. Secrets, amounts and health never have
    one: that two are the same would tell something.
    """
    values = [(span.label, _same(text[span.start : span.end])) for span in spans]
    often = Counter(label for label, _ in values)
    seen: dict[str, list[str]] = {}
    parts, at = [], 0
    for span, (label, value) in zip(spans, values, strict=True):
        number = ""
        if label in NUMBERED and often[label] > 1:
            known = seen.setdefault(label, [])
            known += [] if value in known else [value]
            number = f":{known.index(value) + 1}"
        parts += [text[at : span.start], f"<{label}{number}>"]
        at = span.end
    return "".join([*parts, text[at:]])


def _same(value: str) -> str:
    """What is left of a value when case, blanks and the genitive are not looked at."""
    return "".join(value.casefold().split()).removesuffix("'s").removesuffix("’s")  # noqa: RUF001


def _plain(text: str) -> str:
    """`text` with one plain character for each: blanks, digits and wide letters as in ASCII, invisible ones as unknown."""
    return text if text.isascii() else "".join(map(_plain_char, text))


def _plain_char(char: str) -> str:
    if char < "\x80":
        return char
    if char.isspace():
        return "\n" if char in "\x85\u2028\u2029" else " "
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    if "\uff01" <= char <= "\uff5e":
        return chr(ord(char) - 0xFEE0)
    return UNKNOWN_CHAR if unicodedata.category(char) in _INVISIBLE else char


def safe_cut(text: str, spans: list[Span], limit: int) -> int:
    """The longest prefix within `limit` that ends behind a blank and has no span beside its end; 0 if there is none."""
    touched = {place for span in spans for place in range(span.start, span.end + 2)}
    for cut in range(min(limit, len(text)), 0, -1):
        if text[cut - 1].isspace() and cut not in touched:
            return cut
    return 0


def _code(text: str, tokens: list[Token], vocabulary: Vocabulary) -> None:
    """Lets unknown words through that can only be names in code, by where they stand and what they look like."""
    unknown = {token.lower: token.lower.removesuffix("'s") for token in tokens if token.what is What.UNKNOWN}
    plain = {word for word, base in unknown.items() if base not in vocabulary.family and is_ordinary(base, vocabulary)}
    for token in tokens:
        named = token.what is What.HALF or (token.what is What.UNKNOWN and token.lower in plain)
        if named and stands_as_code(text, token.start, token.end):
            token.label, token.what = "", What.CODE


def _groups(text: str, tokens: list[Token]) -> None:
    """Long numbers that are written in groups, and words that are spelled letter by letter."""
    group: list[Token] = []
    for token in tokens:
        digits = token.what in _NUMBERS and token.lower[-1].isdigit()
        if not digits and token.what is not What.LETTER:
            continue
        single = bool(group) and len(group[-1].lower) == len(token.lower) == 1
        same = single or (bool(group) and digits == group[-1].lower[-1].isdigit())
        gap = text[group[-1].end : token.start] if same else ""
        if gap != " " and not _GROUP_GAP.fullmatch(gap):
            _end_group(group)
            group = []
        group.append(token)
    _end_group(group)


def _end_group(group: list[Token]) -> None:
    if len(group) < 2:
        return
    size = sum(char.isdigit() for token in group for char in token.lower)
    long = size >= GROUPED_DIGITS_MIN
    mixed = len(group) >= SPELLED_MIXED_MIN and 0 < size < len(group)
    if long or mixed or (size == 0 and len(group) >= SPELLED_LETTERS_MIN):
        for token in group:
            token.label = token.label or ("NUMBER" if long else "WORD")


def _patterns(text: str, tokens: list[Token], rules: Rules) -> None:
    """Puts the labels of patterns on the tokens that they cover, in part or in whole; lets known codes through."""
    starts = [token.start for token in tokens]
    for start, end in find_harmless(text):
        for token in tokens[bisect_left(starts, start) : bisect_left(starts, end)]:
            if token.end <= end and token.what is not What.MEDICAL:
                token.label, token.what = "", What.EXEMPT
    for start, end, label in rules.patterns.find(text):
        for token in tokens[max(bisect_left(starts, start) - 1, 0) : bisect_left(starts, end)]:
            if start < token.end and _RANK[label] >= _RANK.get(token.label, -1) and not _holds_a_place(text, token, label):
                token.label = label


def _holds_a_place(text: str, token: Token, label: str) -> bool:
    """Whether a pattern takes what only stands where a secret would, a whole private network, or a package with its version."""
    if label == "EMAIL":
        return token.what is What.CODE and "@" in token.lower
    if (label == "API_KEY" and token.what is What.WORD) or (label in ("API_KEY", "PASSWORD") and token.what is What.CODE):
        return (
            _OPENS.search(text[max(token.start - 3, 0) : token.start]) is not None and text[token.end : token.end + 1] in ">}"
        )
    return (token.what, label) in ((What.FILLER, "API_KEY"), (What.EXEMPT, "IP"))


def _spans(text: str, tokens: list[Token], base: int) -> list[Span]:
    """Labelled tokens as spans of the text behind `base`; neighbours with next to nothing between them are one."""
    out: list[Span] = []
    start = end = -1
    label = rule = ""
    for token in tokens:
        if not token.label or token.end <= base:
            continue
        gap = text[end : token.start]
        several = label == token.label and label in _LISTED and "," in gap
        if label and not several and (gap == " " or (_JOINED if label == token.label else CLOSE).fullmatch(gap)):
            if _RANK[token.label] > _RANK[label]:
                label, rule = token.label, token.rule
        else:
            out += [Span(start - base, end - base, label, rule)] if label else []
            start, label, rule = max(token.start, base), token.label, token.rule
        end = token.end
    return [*out, Span(start - base, end - base, label, rule)] if label else out


def redactor(rules: Rules) -> Callable[[str], list[tuple[int, int, str]]]:
    """A function from a text by itself to (start, end, label), for scoring and for previews of plain text."""
    return lambda text: [(span.start, span.end, span.label) for span in find_spans("", text, rules)]
