"""Words as files that people can read and diff. In lists they stand apart by blanks; lines that start with # are remarks."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from byleave.core.errors import Misconfigured


@cache
def load_words(name: str, language: str = "en") -> frozenset[str]:
    """The words of `languages/<language>/words/<name>.txt`."""
    file = resources.files(__package__).joinpath("languages", language, "words", f"{name}.txt")
    lines = file.read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def load_texts(language: str) -> list[str]:
    """All word files of a language as they are, for the digest: rules elsewhere read lists of their own."""
    folder = resources.files(__package__).joinpath("languages", language, "words")
    return [file.read_text(encoding="utf-8") for file in sorted(folder.iterdir(), key=lambda file: file.name)]


@cache
def load_pack(language: str) -> Mapping[str, Any]:
    """What `languages/<language>/pack.toml` says. Raises Misconfigured if there is none: a language is never guessed."""
    file = resources.files(__package__).joinpath("languages", language, "pack.toml")
    if not language.isalpha() or not file.is_file():
        raise Misconfigured(f"no language pack {language!r} is installed")
    return tomllib.loads(file.read_text(encoding="utf-8"))


@cache
def load_labels() -> Mapping[str, str]:
    """What a placeholder may say, from the least to the most telling, and why it stands there in words."""
    return tomllib.loads(resources.files(__package__).joinpath("labels.toml").read_text(encoding="utf-8"))
