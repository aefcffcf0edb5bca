"""Words as files that people can read and diff. In lists they stand apart by blanks; lines that start with # are remarks."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources


@cache
def load_words(name: str) -> frozenset[str]:
    """The words of `languages/en/words/<name>.txt`."""
    lines = resources.files(__package__).joinpath("languages", "en", "words", f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


@cache
def load_labels() -> Mapping[str, str]:
    """What a placeholder may say, from the least to the most telling, and why it stands there in words."""
    return tomllib.loads(resources.files(__package__).joinpath("labels.toml").read_text(encoding="utf-8"))
