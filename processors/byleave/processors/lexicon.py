"""Word lists as files that people can read and diff: words apart by blanks, lines that start with # are remarks."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def load_words(name: str) -> frozenset[str]:
    """The words of `lexicon/<name>.txt`."""
    lines = resources.files(__package__).joinpath("lexicon", f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())
