"""The vocabulary gate's word lists: words that are known to be harmless, and those that are known not to be.

A language is a folder, `languages/<language>/`: its `pack.toml` says which package each list comes from and under which
licence; only our additions and removals are in `words/`. One is shipped, English: words of any other are unknown to the gate
and do not pass. The operator may add words of the house.

A word that is also a name stays only if it is used like a word: the list of word pairs tells how often it stands behind an
article or the like (*the field*, *to grant*), against how often at all (*Parker*).
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from byleave.core.errors import Misconfigured
from byleave.processors.harmless import load_shapes
from byleave.processors.lexicon import load_pack, load_texts, load_words

USED_LIKE_A_WORD_MIN = 2.0
PROPER_MAX = 1.0
"""A word that is used less like a word than this is a name of something, whatever the lists of names say: London, Gareth."""
SURNAME_RANK_MAX = 8_000
"""Surnames rarer than this are not taken out of the words: nearly every word is somebody's name."""
JOINED_LETTERS_MAX = 40
"""Longer words are not looked at for what they are joined of: nobody knows what they are."""
RANK_WITH_INITIAL_MAX = 1_000
"""Family names that make a user name of an initial before them."""
RARE = 1_500_000
"""A word this rare that is anybody's family name counts as a name."""
GRAMMAR = load_words("grammar")
_DETERMINERS = frozenset(
    ("the", "a", "an", "to", "your", "this", "these", "be", "more", "not", "no", "is", "are", "their", "all", "our", "with")
)
_FOLLOWERS = frozenset(("the", "to", "of", "a", "is", "are", "it", "that", "you", "for"))
_MEDICAL_ENDINGS = re.compile(
    r"\w{3,}(?:itis|osis|emia|aemia|ectomy|otomy|ostomy|oplasty|opathy|algia|plegia|cillin|mycin|cycline|statin|sartan|prazole"
    r"|oxetine|azepam|azolam|triptan|tidine|floxacin|mab|ologist|carcinoma|oma|rrhea|rrhoea|trophy)$"
)
_QUOTED = re.compile(r"""["']([A-Za-z_][\w.:\-]{1,60})["']""")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NOT_MEDICAL = frozenset(("diploma", "diplomas", "oklahoma", "technologist", "ecologist", "geologist", "osmosis", "atrophy"))


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Lower-case words. `words` pass the gate; `names` (given and common family names) are doubted; `medical` are labelled.

    `surnames` are the common family names, `commonest` the commonest of them, `family` all that no dictionary holds; `code` are
    words that make an identifier of what they are joined with; `proper` are names of something where they have a capital;
    `everyday` words alone stay in a text about health.
    """

    words: frozenset[str] = field(repr=False)
    given: frozenset[str] = field(repr=False)
    surnames: frozenset[str] = field(repr=False)
    commonest: frozenset[str] = field(repr=False)
    family: frozenset[str] = field(repr=False)
    names: frozenset[str] = field(repr=False)
    medical: frozenset[str] = field(repr=False)
    code: frozenset[str] = field(repr=False)
    proper: frozenset[str] = field(repr=False)
    everyday: frozenset[str] = field(repr=False)
    digest: str

    def is_medical(self, word: str) -> bool:
        """A condition, drug, test or treatment, by the list or by its ending. `word` in lower case."""
        if word in self.words:
            return False
        return word in self.medical or (len(word) > 6 and _MEDICAL_ENDINGS.match(word) is not None)

    def is_made_of_words(self, word: str) -> bool:
        """Two words, of which one is of code: "defaultdict", "lockfile"."""
        if len(word) > JOINED_LETTERS_MAX:
            return False
        cuts = ((word[:cut], word[cut:]) for cut in range(3, len(word) - 2))
        return any(a in self.words and b in self.words and (a in self.code or b in self.code) for a, b in cuts)

    def is_handle(self, word: str) -> bool:
        """A name, or two joined, or an initial with a family name, as in user names: "jsmith", "johnsmith"."""
        if len(word) > JOINED_LETTERS_MAX or word in self.names or word in self.family or word[1:] in self.commonest:
            return True
        return any(word[:cut] in self.given and word[cut:] in self.surnames for cut in range(3, len(word) - 2))


@cache
def load_vocabulary(language: str = "en", house: frozenset[str] = frozenset()) -> Vocabulary:
    """The lists of a language's pack, combined, and the operator's own words. Immutable and shared.

    Raises Misconfigured if there is no pack for `language`, or if `house` holds a word of the sensitive lexicons.
    """
    pack = load_pack(language)
    counts, wordlike = _frequencies(pack["counts"])
    given, ranks = _names(pack["names"])
    surnames = {name for name, rank in ranks.items() if rank <= SURNAME_RANK_MAX}
    harmless, medical, sensitive, foreign, more = (
        _lexicon(pack, kind, language) for kind in ("harmless", "medical", "sensitive", "foreign", "given")
    )
    given |= more
    if refused := sorted(house & (medical | sensitive)):
        raise Misconfigured(f"house words: {len(refused)} of them are in the sensitive lexicons, {refused[0]!r} is the first")
    names = (given | surnames) - harmless - house
    words = {word for word, count in counts.items() if count >= pack["counts"]["floor"] and len(word) > 2}
    rare = {word for word in words if counts[word] < RARE and word in ranks}
    words -= {word for word in words & names | rare if wordlike[word] < USED_LIKE_A_WORD_MIN}
    words |= _derived(pack["counts"], counts, words) - ranks.keys() - names
    words |= _technical(pack["technical"]) - names - ranks.keys()
    words -= {word for word in words if _MEDICAL_ENDINGS.match(word) and word not in _NOT_MEDICAL and len(word) > 6}
    words = (words - _plurals(medical | sensitive)) | harmless | house
    words -= medical | sensitive | foreign
    commonest = frozenset(name for name, rank in ranks.items() if rank <= RANK_WITH_INITIAL_MAX)
    parts = (frozenset(words), frozenset(given), frozenset(surnames), commonest, frozenset(ranks.keys() - counts.keys()))
    code = load_words("code", language)
    proper = {word for word in words if wordlike.get(word, USED_LIKE_A_WORD_MIN) < PROPER_MAX}
    everyday = {word for word in words if counts.get(word, 0) >= pack["counts"]["everyday"]} | GRAMMAR
    proper -= code | harmless | house
    named = (*parts, frozenset(names), medical, code, frozenset(proper), frozenset(everyday))
    lists = ["\n".join(sorted(part)) for part in named] + [load_shapes(language)[1], *load_texts(language)]
    return Vocabulary(*named, digest=hashlib.sha256("\n\n".join(lists).encode()).hexdigest())


def _lexicon(pack: Mapping[str, Any], kind: str, language: str) -> frozenset[str]:
    return frozenset[str]().union(*(load_words(name, language) for name in pack["lexicons"][kind]))


def _frequencies(pack: Mapping[str, Any]) -> tuple[Mapping[str, int], Mapping[str, float]]:
    """Counts of words, and for each how often it stands like an ordinary word, against how often at all."""
    folder = resources.files(pack["package"])
    counts = {word: int(count) for word, count in _rows(folder.joinpath(pack["file"]))}
    used: Counter[str] = Counter()
    for first, second, count in _rows(folder.joinpath(pack["pairs"])):
        if first in _DETERMINERS:
            used[second] += int(count)
        if second in _FOLLOWERS:
            used[first] += int(count)
    return counts, {word: used[word] / count for word, count in counts.items()}


def _derived(pack: Mapping[str, Any], counts: Mapping[str, int], words: set[str]) -> set[str]:
    """Rarer words that are a known one with a syllable before or behind it."""
    before, behind = set(pack["prefixes"].split()), set(pack["suffixes"].split())
    sizes, out = range(1, max(map(len, before | behind)) + 1), set()
    for word in (word for word, count in counts.items() if pack["floor_derived"] <= count < pack["floor"]):
        stems = [word, *(word[size:] for size in sizes if word[:size] in before)]
        stems += [word[:-size] for size in sizes if word[-size:] in behind]
        stems += [stem + "e" for stem in stems] + [stem[:-1] for stem in stems if stem[-2:-1] == stem[-1:]]
        stems += [stem[:-1] + "y" for stem in stems if stem.endswith("i")]
        if any(len(stem) > 2 and stem != word and stem in words for stem in stems):
            out.add(word)
    return out


def _names(pack: Mapping[str, Any]) -> tuple[set[str], Mapping[str, int]]:
    """Given names, and family names by rank."""
    folder = resources.files(pack["package"])
    given = {row[0].lower() for name in pack["given"] for row in _rows(folder.joinpath(name))}
    return given, {row[0].lower(): int(row[3]) for row in _rows(folder.joinpath(pack["family"]))}


def _technical(pack: Mapping[str, Any]) -> set[str]:
    """Words of three letters or more that programming languages, formats and file types are told by."""
    files: Counter[str] = Counter()
    for file in resources.files(pack["package"]).iterdir():
        if file.name.endswith(".py"):
            quoted = " ".join(_QUOTED.findall(file.read_text(encoding="utf-8")))
            files.update({part.lower() for part in _PARTS.findall(quoted)})
    known = {word for word, count in files.items() if count >= pack["files_min"]}
    extensions = {ending.lstrip(".") for ending in mimetypes.MimeTypes(()).types_map[True] if ending[1:].isalpha()}
    return {word for word in known | extensions | set(sys.stdlib_module_names) if len(word) > 2}


def _rows(file: Traversable) -> Iterable[list[str]]:
    return (line.split() for line in file.read_text(encoding="utf-8-sig").splitlines())


def _plurals(words: Iterable[str]) -> set[str]:
    return {word + "s" for word in words} | {word[:-1] + "ies" for word in words if word.endswith("y")}
