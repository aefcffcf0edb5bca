"""Words that are known to be harmless."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources


@dataclass(frozen=True, slots=True)
class Vocabulary:
    words: frozenset[str] = field(repr=False)
    topics: Mapping[str, frozenset[str]] = field(repr=False)
    digest: str


def load_vocabulary() -> Vocabulary:
    lines = resources.files("symspellpy").joinpath("frequency_dictionary_en_82_765.txt").read_text(encoding="utf-8-sig").splitlines()
    words = frozenset(word for word, count in (line.split() for line in lines) if int(count) >= 1_000_000)
    return Vocabulary(words, {"people": frozenset()}, hashlib.sha256("\n".join(sorted(words)).encode()).hexdigest())
