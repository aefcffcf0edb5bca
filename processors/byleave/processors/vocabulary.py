"""The vocabulary gate's word lists: words that are known to be harmless, and those that are known not to be.

Words come from symspellpy's frequency list (MIT; SCOWL and n-gram counts) above a floor, names from the package `names` (US
census, public domain); only our additions and removals are in `languages/en/words/`. One language is shipped, English: words of any other
are unknown to the gate and do not pass.

A word that is also a name stays only if it is used like a word: the list of word pairs tells how often it stands behind an
article or the like (*the field*, *to grant*), against how often at all (*Parker*).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from byleave.processors.lexicon import load_words

FLOOR = 600_000
"""Least count in the frequency list: about 28,000 words. Measured on the developer data: see processors/README.md."""
USED_LIKE_A_WORD_MIN = 2.0
SURNAME_RANK_MAX = 8_000
"""Surnames rarer than this are not taken out of the words: nearly every word is somebody's name."""
RARE = 1_500_000
"""A word this rare that is anybody's family name counts as a name."""
GRAMMAR = load_words("grammar")
_DETERMINERS = frozenset(
    ("the", "a", "an", "to", "your", "this", "these", "be", "more", "not", "no", "is", "are", "their", "all", "our", "with")
)
_FOLLOWERS = frozenset(("the", "to", "of", "a", "is", "are", "it", "that", "you", "for"))
_WORDS, _PAIRS = "frequency_dictionary_en_82_765.txt", "frequency_bigramdictionary_en_243_342.txt"
_MEDICAL_ENDINGS = re.compile(
    r"\w{3,}(?:itis|osis|emia|aemia|ectomy|otomy|ostomy|oplasty|opathy|algia|plegia|cillin|mycin|cycline|statin|sartan|prazole"
    r"|oxetine|azepam|azolam|triptan|tidine|floxacin|mab|ologist|carcinoma|oma|rrhea|rrhoea|trophy)$"
)
_NOT_MEDICAL = frozenset(("diploma", "diplomas", "oklahoma", "technologist", "ecologist", "geologist", "osmosis", "atrophy"))


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Lower-case words. `words` pass the gate; `names` (given and common family names) are doubted; `medical` are labelled."""

    words: frozenset[str] = field(repr=False)
    given: frozenset[str] = field(repr=False)
    surnames: frozenset[str] = field(repr=False)
    names: frozenset[str] = field(repr=False)
    medical: frozenset[str] = field(repr=False)
    topics: Mapping[str, frozenset[str]] = field(repr=False)
    digest: str

    def is_medical(self, word: str) -> bool:
        """A condition, drug, test or treatment, by the list or by its ending. `word` in lower case."""
        if word in self.words:
            return False
        return word in self.medical or (len(word) > 6 and _MEDICAL_ENDINGS.match(word) is not None)


@cache
def load_vocabulary() -> Vocabulary:
    """The shipped lists, combined. Takes a fraction of a second; the result is immutable and shared."""
    counts, wordlike = _frequencies()
    given, ranks = _names()
    surnames = {name for name, rank in ranks.items() if rank <= SURNAME_RANK_MAX}
    additions, removals, medical = load_words("additions"), load_words("removals"), load_words("medical")
    names = (given | surnames) - additions
    words = {word for word, count in counts.items() if count >= FLOOR and len(word) > 2}
    rare = {word for word in words if counts[word] < RARE and word in ranks}
    words -= {word for word in words & names | rare if wordlike[word] < USED_LIKE_A_WORD_MIN}
    words -= {word for word in words if _MEDICAL_ENDINGS.match(word) and word not in _NOT_MEDICAL and len(word) > 6}
    words -= _plurals(medical | removals)
    words = (words | additions | load_words("short") | GRAMMAR) - medical - removals
    topics = {"people": load_words("topic_people"), "private": load_words("topic_private") | removals}
    lists = (words, given, surnames, medical, load_words("medical_tails"), *topics.values())
    digest = hashlib.sha256("\n\n".join("\n".join(sorted(part)) for part in lists).encode()).hexdigest()
    return Vocabulary(frozenset(words), frozenset(given), frozenset(surnames), frozenset(names), medical, topics, digest)


def _frequencies() -> tuple[Mapping[str, int], Mapping[str, float]]:
    """Counts of words, and for each how often it stands like an ordinary word, against how often at all."""
    folder = resources.files("symspellpy")
    counts = {word: int(count) for word, count in _rows(folder.joinpath(_WORDS))}
    used: Counter[str] = Counter()
    for first, second, count in _rows(folder.joinpath(_PAIRS)):
        if first in _DETERMINERS:
            used[second] += int(count)
        if second in _FOLLOWERS:
            used[first] += int(count)
    return counts, {word: used[word] / count for word, count in counts.items()}


def _names() -> tuple[set[str], Mapping[str, int]]:
    """Given names, and family names by rank."""
    folder = resources.files("names")
    given = {row[0].lower() for name in ("dist.male.first", "dist.female.first") for row in _rows(folder.joinpath(name))}
    return given, {row[0].lower(): int(row[3]) for row in _rows(folder.joinpath("dist.all.last"))}


def _rows(file: Traversable) -> Iterable[list[str]]:
    return (line.split() for line in file.read_text(encoding="utf-8-sig").splitlines())


def _plurals(words: Iterable[str]) -> set[str]:
    return {word + "s" for word in words} | {word[:-1] + "ies" for word in words if word.endswith("y")}
