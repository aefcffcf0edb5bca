"""Which of two versions is older: `1.4.2` and the like, by number (P2: a minimum version stands in the state). Pure."""

from __future__ import annotations

import re
from importlib import metadata

_FORM = re.compile(r"\d{1,6}(\.\d{1,6}){0,3}")


def own_version() -> str:
    """The version of what runs here, as it was installed; empty if nobody can say."""
    try:
        return metadata.version("byleave")
    except metadata.PackageNotFoundError:
        return ""


def is_version(text: str) -> bool:
    """Up to four numbers with dots between; nothing else is ever compared."""
    return _FORM.fullmatch(text) is not None


def older(version: str, minimum: str) -> bool:
    """Whether `version` is below `minimum`. Without a minimum nothing is; what cannot be read is older than any."""
    if not minimum:
        return False
    return not is_version(version) or not is_version(minimum) or _numbers(version) < _numbers(minimum)


def _numbers(text: str) -> tuple[int, ...]:
    found = [int(part) for part in text.split(".")]
    return (*found, *[0] * (4 - len(found)))
