"""Texts that are constant but for a few values, each kept as a file of its own kind: `@name` there stands for a value."""

from __future__ import annotations

import string
from importlib import resources


class _Template(string.Template):
    delimiter = "@"


def fill(name: str, package: str = "byleave.deploy", /, **values: object) -> str:
    """A package's `templates/<name>` with its values. A name that is not given is a KeyError: a bug, never a setting."""
    text = resources.files(package).joinpath("templates", name).read_text(encoding="utf-8")
    return _Template(text).substitute(values)
