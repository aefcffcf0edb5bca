"""What is never captured, by `never.toml`: the data that stands above every manifest (P1).

Pure but for reading that file once. There is no way to give another list: nobody's signature can shorten it. A damaged file
keeps the agent and the capture process from starting.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib import resources

from byleave.core.events import Window


def _words(text: str) -> str:
    return " ".join(("", *re.findall(r"[^\W_]+", text.lower()), ""))


def _any_of(entries: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(_words(entry)) for entry in entries))


_LIST = tomllib.loads(resources.files("byleave.producers").joinpath("never.toml").read_text("utf-8"))
_CLASSES, _TITLES, _SITES = _any_of(_LIST["classes"]), _any_of(_LIST["titles"]), tuple(f".{site}" for site in _LIST["sites"])
_TERMINALS, _COMMANDS = _any_of(_LIST["terminal"]["classes"]), _any_of(_LIST["terminal"]["commands"])


def forbids(window: Window) -> bool:
    """Whether nothing may be captured, nor counted, while this window has the focus; a password prompt counts as one."""
    app, title = _words(window.app), _words(window.title)
    return bool(
        window.secure
        or _CLASSES.search(app)
        or _TITLES.search(title)
        or f".{window.site.lower().rstrip('.')}".endswith(_SITES)
        or (_TERMINALS.search(app) and _COMMANDS.search(title))
    )
