"""The level policy: a data file that people can read, checked whole before it is used.

Promises  an application or site that the file does not name is level 4; names are compared without case; the text's digest is
          part of `Rules.digest`, so that each sanitized header names the policy that it was decided under (ruling 20).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from byleave.core.errors import Misconfigured
from byleave.core.levels import Level


@dataclass(frozen=True, slots=True)
class Category:
    """What an application is, as far as rows may say it, and how its keys behave."""

    name: str
    level: Level
    enter_submits: bool = False
    readline: bool = False


UNKNOWN = Category("unknown", Level.SECRET)


@dataclass(frozen=True, slots=True)
class Policy:
    """Categories by application and site, levels by label and topic."""

    apps: Mapping[str, Category]
    sites: Mapping[str, Category]
    labels: Mapping[str, Level]
    topics: Mapping[str, Level]
    text: str = field(repr=False)

    def app(self, name: str) -> Category:
        """The category of a window class or process name; `UNKNOWN`, level 4, if it is not listed."""
        return self.apps.get(_plain(name), UNKNOWN)

    def site(self, host: str) -> Category:
        """The category of a host or its nearest listed parent domain; `UNKNOWN`, level 4, if none is listed."""
        labels = host.lower().rstrip(".").split(".")
        for first in range(len(labels)):
            found = self.sites.get(".".join(labels[first:]))
            if found is not None:
                return found
        return UNKNOWN


def load_policy(text: str | None = None) -> Policy:
    """The policy in `text`, or the one that is shipped. Raises Misconfigured, naming the key that is wrong."""
    source = text if text is not None else resources.files(__package__).joinpath("policy.toml").read_text(encoding="utf-8")
    try:
        raw = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"the level policy is not TOML: {error}") from None
    _check_keys(raw, {"category", "labels", "topics"}, "the level policy")
    apps: dict[str, Category] = {}
    sites: dict[str, Category] = {}
    for entry in raw.get("category", []):
        category = _category(entry)
        for names, known in ((entry.get("apps", []), apps), (entry.get("sites", []), sites)):
            for name in map(_plain, names):
                if name in known:
                    both = f"{known[name].name!r} and in {category.name!r}"
                    raise Misconfigured(f"level policy: {name!r} stands in {both}; keep one")
                known[name] = category
    levels = {key: {name: _level(level, name) for name, level in raw.get(key, {}).items()} for key in ("labels", "topics")}
    return Policy(apps, sites, levels["labels"], levels["topics"], source)


def _category(entry: Mapping[str, Any]) -> Category:
    _check_keys(entry, {"name", "level", "enter", "keys", "apps", "sites"}, "a category of the level policy")
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise Misconfigured("a category of the level policy has no name")
    for key, allowed in (("enter", {"submits", "newline"}), ("keys", {"readline"})):
        if entry.get(key) not in (allowed | {None}):
            raise Misconfigured(f"level policy, category {name!r}: {key} may be {' or '.join(sorted(allowed))}")
    return Category(name, _level(entry.get("level"), name), entry.get("enter") == "submits", entry.get("keys") == "readline")


def _level(value: object, name: str) -> Level:
    if not isinstance(value, int) or value not in set(Level):
        raise Misconfigured(f"level policy, {name!r}: the level must be 1, 2, 3 or 4")
    return Level(value)


def _plain(name: str) -> str:
    return name.strip().lower().removesuffix(".exe").removesuffix(".app")


def _check_keys(found: Mapping[str, Any], allowed: set[str], what: str) -> None:
    unknown = sorted(set(found) - allowed)
    if unknown:
        raise Misconfigured(f"{what} has the unknown key {unknown[0]!r}; known are {', '.join(sorted(allowed))}")
