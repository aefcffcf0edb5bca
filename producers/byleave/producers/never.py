"""What is never captured, by `never.toml`: the data that stands above every manifest (P1).

Pure but for reading that file once. There is no way to give another list: nobody's signature can shorten it. A damaged file
keeps the agent and the capture process from starting.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import NamedTuple

from byleave.core.events import Window


def _words(text: str) -> str:
    return " ".join(("", *re.findall(r"[^\W_]+", text.lower()), ""))


def _any_of(entries: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(_words(entry)) for entry in entries) or "(?!)")


class _Part(NamedTuple):
    classes: re.Pattern[str]
    titles: re.Pattern[str]
    sites: tuple[str, ...]
    terminals: re.Pattern[str]
    commands: re.Pattern[str]


def _part(found: Mapping[str, list[str]]) -> _Part:
    sites = tuple(f".{site}" for site in found.get("sites", ()))
    return _Part(*(sites if name == "sites" else _any_of(found.get(name, ())) for name in _Part._fields))  # type: ignore[arg-type]


_LIST = tomllib.loads(resources.files("byleave.producers").joinpath("never.toml").read_text("utf-8"))
_PARTS = {name: _part(found) for name, found in _LIST.items()}
_PASSWORD = "password"  # noqa: S105 - a part's name


def forbids(window: Window) -> bool:
    """Whether nothing may be captured, nor counted, while this window has the focus; a password prompt counts as one."""
    return window.secure or category(window) is not None


def titled(window: Window) -> bool:
    """Whether a title is told, and not only the part that the window falls under."""
    return bool(window.title) and not (window.secure and window.title in _PARTS)


def category(window: Window) -> str | None:
    """The part of `never.toml` that it falls under, or None. Of a secure window the title is that part's name, if anything."""
    if window.secure:
        return window.title if window.title in _PARTS else _PASSWORD
    app, title, site = _words(window.app), _words(window.title), f".{window.site.lower().rstrip('.')}"
    for name, part in _PARTS.items():
        command = part.terminals.search(app) and part.commands.search(title)
        if part.classes.search(app) or part.titles.search(title) or site.endswith(part.sites) or command:
            return name
    return None
