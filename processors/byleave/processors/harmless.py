"""Numbers and codes that what stands beside them makes harmless: hashes of commits, times in logs, ISBNs, order numbers.

Promises  only what a row of a language's `harmless.toml` names passes; a pattern that claims the same text wins.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from stdnum import isbn


@dataclass(frozen=True, slots=True)
class Shape:
    """One row of the file."""

    needs: tuple[str, ...]
    expression: re.Pattern[str]
    check: Callable[[str], bool] | None


def find_harmless(text: str, language: str = "en") -> Iterator[tuple[int, int]]:
    """(start, end) of what passes in `text`."""
    lower = text.lower()
    for shape in load_shapes(language)[0]:
        if any(word in lower for word in shape.needs):
            for match in shape.expression.finditer(text):
                group = match.lastgroup or "v"
                if shape.check is None or shape.check(match.group(group)):
                    yield match.span(group)


@cache
def load_shapes(language: str) -> tuple[tuple[Shape, ...], str]:
    """The rows of `languages/<language>/harmless.toml`, compiled, and their text."""
    text = resources.files(__package__).joinpath("languages", language, "harmless.toml").read_text(encoding="utf-8")
    return tuple(_shape(row) for row in tomllib.loads(text)["shape"]), text


def _shape(row: Mapping[str, Any]) -> Shape:
    return Shape(tuple(row["needs"]), re.compile(row["expression"]), _CHECKS[row["check"]] if "check" in row else None)


def mixed(text: str) -> bool:
    """Whether pairs of hex digits are bytes: letters in two of them, so that no card number is among them."""
    return sum(any(sign.isalpha() for sign in pair) and not pair.isalpha() for pair in text.split()) >= 2


_CHECKS: Mapping[str, Callable[[str], bool]] = {"isbn": isbn.is_valid, "mixed": mixed}
