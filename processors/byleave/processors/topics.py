"""What a text is about, as far as its level depends on it: a small linear model over lists that people can read.

`languages/en/levels.toml` holds features: words and short phrases of one kind, the topic that they speak for, and what one of
them weighs. Words of technique and trade weigh against, so that talk *about* payroll software is not talk about pay.

Promises  a sentence that is added never takes a topic away: each run of up to three sentences is judged by itself, and one that
          is over the line is enough. A label that is found never weighs against.
Refuses   a file with an unknown key, a phrase in two features, or a label that weighs against (Misconfigured).
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from byleave.core.errors import Misconfigured

RUN_MAX = 3
"""Sentences that are judged together."""
COUNT_MAX = 3
"""Words of one kind that stand oftener than this in a run weigh no more for it."""
SHARE_MIN = 0.5
STEM_MIN, STEM_MAX = 4, 20
_TOKEN = re.compile(r"[a-z]+(?:'(?!s\b)[a-z]+)?|[0-9]+|[(){}\[\]=<>_|/\\]{1,2}")
_SENTENCE = re.compile(r"[.!?;]+(?:\s+|$)|\n+")
_KEYS = {"name", "topic", "label", "list", "weight", "words"}


@dataclass(frozen=True, slots=True)
class Feature:
    """Words of one kind. `topic` is empty if they speak for none; `label` is the one that counts as such a word."""

    name: str
    topic: str
    label: str
    weight: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run of sentences is about, how far over the line, and what each feature in it weighed, the weightiest first.

    `topics` are those whose words weigh at least half as much as the weightiest ones.
    """

    topics: tuple[str, ...]
    score: float
    because: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Topics:
    """The features. `phrases` go by their first word, the longest first; `stems` are beginnings of words, `heads` of stems."""

    bias: float
    features: tuple[Feature, ...]
    phrases: Mapping[str, tuple[tuple[list[str], int], ...]] = field(repr=False)
    stems: Mapping[str, int] = field(repr=False)
    heads: frozenset[str] = field(repr=False)
    digest: str

    @property
    def names(self) -> frozenset[str]:
        """Every topic that a text can be about."""
        return frozenset(feature.topic for feature in self.features if feature.topic)

    def judge(self, text: str, labels: Iterable[str]) -> list[Verdict]:
        """One verdict for each run of sentences that is over the line and has a word of a topic; empty if none is."""
        verdicts = [self._verdict(run) for run in self.runs(text, labels) if self.score(run) >= 0]
        return [verdict for verdict in verdicts if verdict.topics]

    def of(self, text: str, labels: Iterable[str]) -> tuple[str, ...]:
        """The topics that some run of sentences is about, each once."""
        return tuple(dict.fromkeys(topic for verdict in self.judge(text, labels) for topic in verdict.topics))

    def runs(self, text: str, labels: Iterable[str]) -> Iterator[dict[int, int]]:
        """How often each feature stands in each run of sentences, by its place in `features`. A label stands in all of them."""
        found = set(labels)
        everywhere = {n: 1 for n, feature in enumerate(self.features) if feature.label and feature.label in found}
        sentences = [Counter(n for n, _ in self._matches(sentence)) for sentence in _SENTENCE.split(text)]
        for first in range(len(sentences)):
            run = dict(everywhere)
            for sentence in sentences[first : first + RUN_MAX]:
                run |= {n: run.get(n, 0) + count for n, count in sentence.items()}
                yield run.copy()

    def score(self, counts: Mapping[int, int]) -> float:
        """How far a run with so many of each feature is over the line."""
        return self.bias + sum(self.weight(n, count) for n, count in counts.items())

    def weight(self, place: int, count: int) -> float:
        """What `count` words of one feature weigh together."""
        return self.features[place].weight * min(count, COUNT_MAX)

    def deciding_words(self, text: str) -> Mapping[str, tuple[str, ...]]:
        """By feature, the words of `text` that count for it: for the person at the terminal, never for a log."""
        said: dict[str, dict[str, None]] = {}
        for n, words in self._matches(text):
            said.setdefault(self.features[n].name, {})[words] = None
        return {name: tuple(words) for name, words in said.items()}

    def _matches(self, text: str) -> Iterator[tuple[int, str]]:
        tokens = tokens_of(text)
        told = {token: (self._phrases(token), self._stem(token)) for token in set(tokens)}
        if tokens and (first := self.stems.get(f"^{tokens[0]}")) is not None:
            yield first, tokens[0]
        done = 0
        for place, token in enumerate(tokens):
            phrases, stem = told[token]
            if place < done or not (phrases or stem):
                continue
            for rest, n in phrases:
                if tokens[place + 1 : place + 1 + len(rest)] == rest:
                    done = place + 1 + len(rest)
                    yield n, " ".join(tokens[place:done])
                    break
            else:
                if stem:
                    yield self.stems[stem], token

    def _phrases(self, token: str) -> tuple[tuple[list[str], int], ...]:
        return self.phrases.get(token) or self.phrases.get(_singular(token), ())

    def _stem(self, token: str) -> str:
        """The longest stem that a token begins with, or nothing."""
        ends = range(min(len(token), STEM_MAX), STEM_MIN - 1, -1) if token[:STEM_MIN] in self.heads else ()
        return next((token[:end] for end in ends if token[:end] in self.stems), "")

    def _verdict(self, run: Mapping[int, int]) -> Verdict:
        rows = sorted(((self.weight(n, count), n) for n, count in run.items()), reverse=True)
        spoken = [(weight, self.features[n].topic) for weight, n in rows if self.features[n].topic]
        topics = dict.fromkeys(topic for weight, topic in spoken if weight >= spoken[0][0] * SHARE_MIN)
        return Verdict(tuple(topics), self.score(run), tuple((self.features[n].name, weight) for weight, n in rows))


def _singular(token: str) -> str:
    return token[:-1] if len(token) > 4 and token.endswith("s") else ""


def tokens_of(text: str) -> list[str]:
    """Words, numbers and runs of signs, in lower case."""
    return _TOKEN.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


@cache
def load_topics(given: frozenset[str]) -> Topics:
    """The topics of `languages/en/levels.toml`; `given` are names of people. Raises Misconfigured."""
    text = resources.files(__package__).joinpath("languages", "en", "levels.toml").read_text(encoding="utf-8")
    return read_topics(text, {"given": given})


def read_topics(text: str, lists: Mapping[str, frozenset[str]]) -> Topics:
    """The topics of such a file; `lists` are the words that it names by `list`. Raises Misconfigured."""
    raw = tomllib.loads(text)
    features: list[Feature] = []
    stems: dict[str, int] = {}
    whole: dict[tuple[str, ...], int] = {}
    for n, entry in enumerate(raw["feature"]):
        if set(entry) - _KEYS:
            raise Misconfigured(f"levels.toml: feature {n} has an unknown key; known are {', '.join(sorted(_KEYS))}")
        features.append(Feature(entry["name"], entry.get("topic", ""), entry.get("label", ""), entry["weight"]))
        if (features[n].label or features[n].topic) and features[n].weight < 0:
            raise Misconfigured(f"levels.toml: {features[n].name!r} speaks for a topic or a label and weighs against it")
        for phrase in filter(None, map(str.strip, entry.get("words", "").split(","))):
            _enter(phrase, n, stems, whole)
    for n, entry in enumerate(raw["feature"]):
        for word in lists[entry["list"]] if "list" in entry else ():
            whole.setdefault((word,), n)
    phrases: dict[str, list[tuple[list[str], int]]] = {}
    for words, n in sorted(whole.items(), key=lambda row: -len(row[0])):
        phrases.setdefault(words[0], []).append((list(words[1:]), n))
    digest = hashlib.sha256(text.encode()).hexdigest()
    heads = frozenset(stem[:STEM_MIN] for stem in stems)
    return Topics(raw["bias"], tuple(features), {word: tuple(rows) for word, rows in phrases.items()}, stems, heads, digest)


def _enter(phrase: str, n: int, stems: dict[str, int], whole: dict[tuple[str, ...], int]) -> None:
    tokens, stem = tuple(tokens_of(phrase)), phrase.removesuffix("*")
    known = stems.setdefault(stem, n) if stem != phrase or phrase[0] == "^" else whole.setdefault(tokens, n)
    if known != n or not tokens:
        raise Misconfigured(f"levels.toml: {phrase!r} is in two features, or is no word; keep one")
