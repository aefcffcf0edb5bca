"""Names of things in code: whether a joined run is one, and whether a word stands where only such a name stands.

Promises  an identifier holds at most one part that the vocabulary does not know, of ordinary letters, and that part is neither
          a person's name that we know, nor made of two, nor an initial with one. A single unknown word passes only where code
          stands around it.
"""

from __future__ import annotations

import re

from byleave.processors.vocabulary import Vocabulary

_PARTS = re.compile(r"[A-Z]{2,}s?(?![a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_]+")
_MIXED = re.compile(r"\w[!#$%^&*?]+\w")
_YEAR = re.compile(r"0\d{3}|20[0-3]\d")
_VOWEL = re.compile(r"[aeiouy]")
_HARD = re.compile(r"[^aeiouy]{5}")
_FILLER = re.compile(
    r"(?:[A-Za-z]{1,8}[_.\-]?)?(?:[A-Za-z]{1,3})?([A-Za-z0-9~*#])\1{6,}(?:[_\-]([A-Za-z0-9])\2{5,})?=*|([xX*#0])\3{3,}"
)
_ASSIGNED = re.compile(r"\s{0,12}[:?.+|\-]{0,3}=(?![=~])")
_AFTER = re.compile(r"[({\[]|\s?(?:=>|->)|::|!\(|[\"']{1,2}(?:\s?(?:=>|:)|\])|[.]\w{1,30}\(|\s--?[A-Za-z]")
_BEFORE = re.compile(
    r"(?:\$\{?|--|://|::|->|\)\.|(?<![\w.])(?:def|class|fn|func|function|import|const|var|struct|enum|interface|namespace|extends"
    r"|implements|except|raise new|throw new|throws|void|int|string)[ ])$"
)
_TOGETHER_MAX, _PART_MAX = 24, 20
FILLER_MIN, REPEATED_MIN, REPEATED_SHARE_MIN = 4, 24, 0.8
_REPEATED = re.compile(r"(\w{1,2}?)\1{4,}")


def parts_of(core: str) -> list[str]:
    """The words and numbers that a joined run is made of: "myKey_2" is "my", "Key", "2"."""
    return _PARTS.findall(core)


def is_filler(core: str) -> bool:
    """One sign over and over, where a value is to be put: "xxxxxxxx", "ghp_xxxxxxxx", "00000000"."""
    if _FILLER.fullmatch(core):
        return True
    over = sum(match.end() - match.start() for match in _REPEATED.finditer(core)) if len(core) >= REPEATED_MIN else 0
    return over >= REPEATED_SHARE_MIN * len(core) > 0


def unknown_parts(core: str, digits: list[str], letters: list[str], vocabulary: Vocabulary) -> int | None:
    """How many parts of a joined run the vocabulary does not know: at most one, or one in four; None if it is no identifier."""
    if not core.isascii() or _MIXED.search(core) or len(letters) > _TOGETHER_MAX or sum(len(part) == 1 for part in letters) > 2:
        return None
    if len(digits) > 2 or any(len(part) > 3 for part in digits if not _YEAR.fullmatch(part)) or sum(map(len, digits)) > 5:
        return None
    if any(part in vocabulary.given and part in vocabulary.names and part not in vocabulary.code for part in letters):
        return None
    strange = {part for part in letters if len(part) > 1 and not _is_known(part, vocabulary)}
    few = len(strange) <= max(1, (len(letters) - len(strange)) // 3)
    return len(strange) if few and all(is_ordinary(part, vocabulary) for part in strange) else None


def _is_known(part: str, vocabulary: Vocabulary) -> bool:
    known = part in vocabulary.words or part in vocabulary.code
    return known or (part[-1] == "s" and (part[:-1] in vocabulary.words or part[:-1] in vocabulary.code))


def is_ordinary(part: str, vocabulary: Vocabulary) -> bool:
    """Whether an unknown word looks like one of a language, and is nobody's name. `part` in lower case."""
    if not part.isascii() or len(part) > _PART_MAX or vocabulary.is_handle(part):
        return False
    return len(part) <= 5 or (_VOWEL.search(part) is not None and _HARD.search(part) is None)


def stands_as_code(text: str, start: int, end: int) -> bool:
    """Whether `text[start:end]` is assigned, called, declared, a key or a command with options."""
    if _ASSIGNED.match(text, end) and (start == 0 or text[start - 1] not in "\"'=-_.:/"):
        return True
    return _AFTER.match(text, end) is not None or _BEFORE.search(text[max(start - 16, 0) : start]) is not None
