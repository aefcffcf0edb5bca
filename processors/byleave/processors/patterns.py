"""Shapes and cues of personal data: they find it and, above all, say what it is (the gate alone only says "unknown").

Promises  every repetition in `patterns.toml` is bounded, so that time is linear in the text; a value whose kind has a checksum
          counts as that kind only if it holds, or if the word for it stands beside. A pattern is left out only where one pass
          over the text has shown that it cannot match.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from byleave.core.errors import Misconfigured
from byleave.processors.checks import Check, find_check
from byleave.processors.lexicon import load_words
from byleave.processors.prefilter import Prefilter, prefilter


@dataclass(frozen=True, slots=True)
class Pattern:
    """One row of the file. `whole`: the whole match goes, not only its group "v"."""

    label: str
    expression: re.Pattern[str]
    check: Check
    whole: bool


@dataclass(frozen=True, slots=True)
class Patterns:
    """All patterns; `digest` names them. A `Detector`."""

    rows: tuple[Pattern, ...] = field(repr=False)
    digest: str
    possible: Prefilter | None = field(default=None, repr=False)

    def find(self, text: str) -> Iterator[tuple[int, int, str]]:
        """What the patterns take from `text`; they may overlap."""
        places = self.possible(text) if self.possible else None
        for row in self.rows if places is None else map(self.rows.__getitem__, places):
            for match in row.expression.finditer(text):
                start, end = match.span() if row.whole or match["v"] is None else match.span("v")
                if end > start and (size := row.check(text[start:end])):
                    yield start, start + size, row.label


@cache
def load_patterns(language: str = "en") -> Patterns:
    """The patterns of a language pack, compiled. Raises Misconfigured, naming the row that is wrong."""
    text = resources.files(__package__).joinpath("languages", language, "patterns.toml").read_text(encoding="utf-8")
    raw = tomllib.loads(text)
    rows = tuple(_pattern(row, raw["parts"]) for row in raw["pattern"])
    lists = " ".join(sorted(load_words("remarks", language) | load_words("commands", language)))
    digest = hashlib.sha256(f"{text}\n{lists}".encode()).hexdigest()
    return Patterns(rows, digest, prefilter([row.expression.pattern for row in rows]))


def _pattern(row: Mapping[str, str], parts: dict[str, str]) -> Pattern:
    expression = row["expression"]
    for name in reversed(parts):  # a part may stand in a later one
        expression = expression.replace("{" + name + "}", parts[name])
    try:
        compiled = re.compile(expression)
    except re.error as error:
        raise Misconfigured(f"patterns.toml: a row of {row['label']} is no expression: {error}") from None
    return Pattern(row["label"], compiled, find_check(row.get("check", "any")), "v" not in compiled.groupindex)
