"""Text to tokens, and what each is by itself: the vocabulary gate.

Promises  a token is harmless only if it is known to be: a word of the vocabulary, a small number, a version, time or size, or
          an identifier made of such words. All else has a kind that goes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum

from byleave.processors.identifiers import FILLER_MIN, is_filler, parts_of, unknown_parts
from byleave.processors.reassemble import UNKNOWN_CHAR
from byleave.processors.vocabulary import GRAMMAR, Vocabulary


class What(IntEnum):
    """What a token is. From UNKNOWN on it goes; SMALL to NAMELIKE are in doubt and go by what stands beside them."""

    WORD = 1
    SYMBOL = 2
    EXEMPT = 3
    """A time, version, size or year."""
    CODE = 4
    """An identifier made of words."""
    SMALL = 5
    """A number of up to four digits, alone or with a letter or two."""
    CAPITAL = 6
    """A word with a capital."""
    LETTER = 7
    NAMELIKE = 8
    """A word that is also a name."""
    UNKNOWN = 9
    HALF = 10
    """Words joined with one that is unknown. Like an unknown word it stays where code stands around it."""
    NUMBER = 11
    IDENTIFIER = 12
    MEDICAL = 13
    FILLER = 14
    """Holds the place of a value: stays, even as a key."""


@dataclass(slots=True)
class Token:
    """A part of a run of non-blanks. `label` is set once it has to go; `rule` names the step that `said` so."""

    start: int
    end: int
    what: What
    lower: str = field(repr=False)
    label: str = ""
    said: str = ""
    rule: str = ""


_RUN = re.compile(r"\S+")
_STARTS = frozenset("_$£€¥@+#" + UNKNOWN_CHAR)
_LETTERS = re.compile(r"(?:[^\W\d_]['’])?[^\W\d_]+(?:['’][^\W\d_]{1,2})?$")  # noqa: RUF001
_ONE = re.compile(r"[^\s(){}\[\]<>,;\"'`|=:/\\“”‘’…]+")  # noqa: RUF001
"""Without the punctuation that joins several things."""
_CUTS = (re.compile(r"[^\s(){}\[\]<>,;\"'`|=“”‘’…?&]+"), re.compile(r"[^:/\\]+"))  # noqa: RUF001
_Cuts = tuple[re.Pattern[str], ...]
_Known = dict[str, tuple[str, str, int, What | None]]
"""What runs of one text are: each is judged once. Never kept for longer: it holds what was typed."""
_DIGITS = re.compile(r"[\d.,/:\-]+")
_LISTED = re.compile(r"\d{1,4}(?:[.]\d{1,2})?(?:,\d{1,4}(?:[.]\d{1,2})?)+,?")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:[.]\d{1,2})?")
_SHORT_MIX = re.compile(r"[A-Za-z]{1,2}\d{1,2}[a-z]?|\d{1,2}[A-Za-z]")
_ENDS = frozenset("_" + UNKNOWN_CHAR)
_VERSIONED = re.compile(r"[a-z]{2,12}-?\d{1,2}(?:\.\d{1,3}){0,2}")
_COLOUR = re.compile(r"#(?=[0-9]{0,7}[a-fA-F])(?:[0-9a-fA-F]{3}){1,2}(?:[0-9a-fA-F]{2})?")
_VERSION = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){1,2}(?![\d.]*\.\d|\d)")
_INITIALS = re.compile(r"[A-Z](?:\.[A-Z]){1,2}")
_COUNTRIES = frozenset(("U.S", "U.K", "E.U", "U.N", "U.S.A", "D.C", "P.S", "A.M", "P.M", "Q.A", "E.G", "I.E", "A.I", "P.O"))
_PACKAGE = re.compile(r"@?[a-z][a-z\-/]{1,40}@(?:npm:)?[\^~v]?\d{1,3}(?:\.\d{1,3}){1,2}")
_SMALL = re.compile(r"\d{1,4}")
_UNITS = (
    "ms|us|ns|s|secs?|mins?|m|h|hrs?|d|w|[kmgt]i?b|px|em|rem|vh|vw|x|st|nd|rd|th|mm|cm|km|[kmg]?hz|fps|rps|qps|bits?|pt|%|k"
)
_EXEMPT = re.compile(
    rf"""(?ix)
      \d{{1,2}}:\d{{2}}(?::\d{{2}}(?:[.,]\d{{1,6}})?)?(?:am|pm|z)? | \d{{1,2}}(?:am|pm)       # times
    | \d{{1,4}}(?:\.\d{{1,3}})?(?:{_UNITS})                                                  # sizes
    | v?\d{{1,3}}\.\d{{1,3}}(?:\.\d{{1,3}})?(?:-?(?:rc|a|b|beta|alpha|dev)\.?\d{{0,2}})?     # versions
    | 20[1-3]\d(?:-[01]\d(?:-[0-3]\d(?:T[\d:.]{{4,12}}Z?)?)?)? | 20[1-3]\d/[01]?\d/[0-3]?\d  # dates of our time
    | [01]?\d/[0-3]?\d | Q[1-4]
    | \d{{1,2}}[-x]\d{{1,2}} | \d{{1,4}}x\d{{1,4}}                                            # ranges, screens
    | 127\.0\.0\.1 | 0\.0\.0\.0(?:/0)?
    | (?:10(?:\.\d{{1,3}}){{2}}|192\.168\.\d{{1,3}}|172\.(?:1[6-9]|2\d|3[01])\.\d{{1,3}})\.0/\d{{1,2}}  # private networks
    | 0x[0-9a-f]{{1,8}} | 0b[01]{{1,16}} | 0o[0-7]{{1,6}} | \d{{2,5}}:\d{{2,5}}                         # and two ports
    | 20[1-3]\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:-\d{{4}})? | \d{{1,2}}\.\d{{4,6}} | 10000|100000
    | {"|".join(str(2**power + more) for power in range(13, 41) for more in (-1, 0, 1))}
    """
)


def tokens_of(text: str, vocabulary: Vocabulary) -> list[Token]:
    """All tokens of `text`, in order; punctuation by itself is none."""
    out: list[Token] = []
    known: _Known = {}
    words, names = vocabulary.words, vocabulary.names
    for run in _RUN.finditer(text):
        raw = run.group()
        if raw in words and raw not in names and len(raw) > 1:
            out.append(Token(run.start(), run.end(), What.WORD, raw))
        else:
            _analyse(raw, run.start(), vocabulary, known, out)
    return out


def _analyse(raw: str, start: int, vocabulary: Vocabulary, known: _Known, out: list[Token], cuts: _Cuts = _CUTS) -> None:
    """The tokens of a run, without the punctuation around it; cut at inner punctuation unless it is one thing as a whole."""
    if raw not in known:
        core, offset = _trimmed(raw)
        option = raw == f"-{core}" and _is_option(core, vocabulary)
        known[raw] = core, core.lower(), offset, What.EXEMPT if option else _what(core, vocabulary) if core else None
    core, lower, offset, what = known[raw]
    start += offset
    if core and (what is not None or not cuts):
        out.append(Token(start, start + len(core), what or What.IDENTIFIER, lower))
        return
    for part in cuts[0].finditer(core) if core else ():
        _analyse(part.group(), start + part.start(), vocabulary, known, out, cuts[1:])


def _is_option(core: str, vocabulary: Vocabulary) -> bool:
    """The letters of a short option: "-la", "-Xmx512m"."""
    return re.fullmatch(r"X(?:m[nsx]|ss)\d{1,5}[kmg]?", core) is not None or (
        len(core) <= 3 and core.isascii() and core.isalpha() and core.islower() and core not in vocabulary.names
    )


def _trimmed(raw: str) -> tuple[str, int]:
    """`raw` without the punctuation around it, and where that starts. By hand: an expression for it takes quadratic time."""
    start, end = 0, len(raw)
    while start < end and not (raw[start].isalnum() or raw[start] in _STARTS):
        start += 1
    while end > start and not (raw[end - 1].isalnum() or raw[end - 1] in _ENDS):
        end -= 1
    return raw[start:end], start


def _what(core: str, vocabulary: Vocabulary) -> What | None:
    """What `core` is as a whole; None if it has to be cut at its punctuation first."""
    if len(core) >= FILLER_MIN and is_filler(core):
        return What.FILLER
    if _LETTERS.match(core):
        return _word(core, vocabulary)
    if core[0] in "#+$" and len(core) > 1 and not (core[0] == "$" and core[1].isdigit()):
        return What.EXEMPT if _COLOUR.fullmatch(core) else _what(core[1:], vocabulary)
    if _PACKAGE.fullmatch(core):
        return What.CODE
    if UNKNOWN_CHAR in core or core[0] in "$£€¥" or ("@" in core and not ("=" in core or "/" in core)):
        return What.IDENTIFIER
    return _joined(core, vocabulary)


def _joined(core: str, vocabulary: Vocabulary) -> What | None:
    """What a number or a run of several parts is."""
    if core.lower() in vocabulary.words:
        return What.CODE
    if core.lower() in vocabulary.medical:
        return What.MEDICAL
    number = _number(core) if core[0].isdigit() or core[0] in "vVqQ" else None
    return number or (_compound(core, vocabulary) if _ONE.fullmatch(core) else None)


def _number(core: str) -> What | None:
    """What a number is; None if it is none, or a list of small ones."""
    if _EXEMPT.fullmatch(core):
        return What.EXEMPT
    if _SMALL.fullmatch(core):
        return What.SMALL
    if _DIGITS.fullmatch(core) and (_THOUSANDS.fullmatch(core) or not _LISTED.fullmatch(core)):
        return What.NUMBER
    return None


def _word(word: str, vocabulary: Vocabulary) -> What:
    lower = word.lower().replace("’", "'")  # noqa: RUF001
    base = lower.removesuffix("'s")
    if len(word) == 1:
        return What.LETTER
    if lower in GRAMMAR:
        return What.WORD
    if lower not in vocabulary.words and base not in vocabulary.words:
        return What.MEDICAL if vocabulary.is_medical(base) else _unknown(word, base, vocabulary)
    return _known(word, lower, base, vocabulary)


def _unknown(word: str, base: str, vocabulary: Vocabulary) -> What:
    """What a word is that the vocabulary does not hold as a whole: a plural, words in camel case, or indeed unknown."""
    if base[-1] == "s" and base[:-1] in vocabulary.words and len(base) > 4 and not vocabulary.is_handle(base):
        return What.WORD if word[0].islower() else What.CAPITAL
    if word.isupper() or base in vocabulary.family:
        return What.UNKNOWN
    if word[1:].islower():
        return What.WORD if word[0].islower() and vocabulary.is_made_of_words(base) else What.UNKNOWN
    return _compound(word, vocabulary)


def _known(word: str, lower: str, base: str, vocabulary: Vocabulary) -> What:
    """What a word of the vocabulary is, by how it is written."""
    if word == lower:
        return What.NAMELIKE if base in vocabulary.given else What.WORD
    if base in vocabulary.names:
        return What.NAMELIKE
    if word[1:] == lower[1:] or word.isupper():
        return What.CAPITAL
    return What.CODE


def _compound(core: str, vocabulary: Vocabulary) -> What:
    """A run joined by dots, hyphens, underscores, camel case or digits: as harmful as the worst of its parts."""
    if core.isascii() and _SHORT_MIX.fullmatch(core):
        return What.SMALL
    if _INITIALS.fullmatch(core) and core not in _COUNTRIES:
        return What.UNKNOWN
    parts = parts_of(_VERSION.sub("", core) if core[0].isalpha() else core)
    digits, letters = [part for part in parts if part.isdigit()], [part.lower() for part in parts if not part.isdigit()]
    if not letters:
        return What.NUMBER if digits else What.SYMBOL
    if any(vocabulary.is_medical(part) for part in letters):
        return What.MEDICAL
    if _VERSIONED.fullmatch(core) and letters[0] in vocabulary.words:
        return What.CODE
    return _identifier(core, digits, letters, vocabulary)


def _identifier(core: str, digits: list[str], letters: list[str], vocabulary: Vocabulary) -> What:
    unknown = unknown_parts(core, digits, letters, vocabulary)
    if unknown is None or (unknown and digits) or _is_password(core, digits, letters, vocabulary):
        return What.IDENTIFIER
    if unknown and vocabulary.code.isdisjoint(letters):
        return What.HALF
    return What.SMALL if digits else What.CODE


def _is_password(core: str, digits: list[str], letters: list[str], vocabulary: Vocabulary) -> bool:
    """A word with three digits or more at once behind it, as people choose them: "qwerty123", "Summer2024"; not "port8080"."""
    shaped = len(letters) == 1 and len(digits) == 1 and len(digits[0]) >= 3 and core.isalnum()
    return shaped and len(letters[0]) > 3 and letters[0] not in vocabulary.code
