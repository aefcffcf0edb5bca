"""The level policy: a data file that people can read, checked whole before it is used.

Promises  an application or site that the file does not name is level 4; names are compared without case; a site's name is good
          for its subdomains and for nobody else's; a title only raises. The text's digest is part of `Rules.digest`, so that
          each sanitized header names the policy that it was decided under (ruling 20).
Refuses   an unknown key, a name in two categories, a site that is a public suffix (publicsuffix.org), a level that is none
          (Misconfigured, one sentence).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from publicsuffixlist import PublicSuffixList

from byleave.core.errors import Misconfigured
from byleave.core.levels import Level

SHIPPED = "shipped"
"""What `extends` may say: names that the text does not decide are decided as shipped."""
NAME_CHARS_MAX = 256
_KEYS = {"extends", "category", "title", "labels", "topics"}
_CATEGORY_KEYS = {"name", "level", "enter", "keys", "pages", "apps", "sites", "suffixes"}
_HOST = re.compile(r"[a-z0-9]([a-z0-9_.-]{0,251}[a-z0-9])?")
_ENDINGS = re.compile(r"(\.exe|\.app|\.desktop|\.bin)$|\s*\([^()]*\)$|\s+v?\d[\d.]*$")
_SEPARATORS = re.compile(r"[\s_-]+")
_WORDS = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Category:
    """What an application or site is, as far as rows may say it, and how its keys behave. `pages`: its site decides."""

    name: str
    level: Level
    enter_submits: bool = False
    readline: bool = False
    pages: bool = False


@dataclass(frozen=True, slots=True)
class Title:
    """Words that raise a window in whose title they stand, unless its application or site is of a category in `not_in`."""

    name: str
    level: Level
    not_in: tuple[str, ...]
    words: tuple[str, ...] = field(repr=False)


UNKNOWN = Category("unknown", Level.SECRET)


@dataclass(frozen=True, slots=True)
class Policy:
    """Categories by application, site and public suffix, title rules, and levels by label and topic."""

    apps: Mapping[str, Category] = field(repr=False)
    sites: Mapping[str, Category] = field(repr=False)
    suffixes: Mapping[str, Category] = field(repr=False)
    titles: tuple[Title, ...] = field(repr=False)
    labels: Mapping[str, Level]
    topics: Mapping[str, Level]
    text: str = field(repr=False)

    def app(self, name: str) -> Category:
        """The category of a window class or process name; `UNKNOWN`, level 4, if it is not listed."""
        return self.apps.get(plain_name(name), UNKNOWN)

    def site(self, address: str) -> Category:
        """The category of a host or URL: of its nearest listed parent, else of its public suffix, else `UNKNOWN`, level 4."""
        host = host_of(address)
        labels = host.split(".")
        for first in range(len(labels)):
            found = self.sites.get(".".join(labels[first:]))
            if found is not None:
                return found
        return self.suffixes.get(_suffixes().publicsuffix(host) or "", UNKNOWN) if host else UNKNOWN

    def title(self, title: str, category: str = UNKNOWN.name) -> Title | None:
        """The strictest rule whose words stand in the title of a window of this category, or None."""
        said = f" {_folded(title)} "
        rules = (rule for rule in self.titles if category not in rule.not_in)
        found = [rule for rule in rules if any(f" {words} " in said for words in rule.words)]
        return max(found, key=lambda rule: rule.level, default=None)


def host_of(address: str) -> str:
    """The host of a URL or host, in lower case and IDNA; empty if it has none that can be told (RFC 3986, RFC 3490)."""
    try:
        host = urlsplit(address if "://" in address else f"//{address}").hostname or ""
        host = host.rstrip(".").encode("idna").decode("ascii").lower()
    except ValueError:
        return ""
    return host if _HOST.fullmatch(host) else ""


def load_policy(text: str | None = None) -> Policy:
    """The policy in `text`, or the one that is shipped. Raises Misconfigured: the first of `policy_errors`."""
    source = shipped_text() if text is None else text
    raw = _parsed(source)
    for error in _errors(raw):
        raise Misconfigured(error)
    own = _policy(raw, source)
    if "extends" not in raw:
        return own
    base = load_policy()
    return Policy(
        {**base.apps, **own.apps}, {**base.sites, **own.sites}, {**base.suffixes, **own.suffixes}, (*base.titles, *own.titles),
        {**base.labels, **own.labels}, {**base.topics, **own.topics}, f"{base.text}\0{source}",
    )  # fmt: skip


def policy_errors(text: str) -> list[str]:
    """Everything that is wrong with a policy, one sentence each."""
    try:
        return list(_errors(_parsed(text)))
    except Misconfigured as error:
        return [str(error)]


def shipped_text() -> str:
    """The text of the policy that is shipped."""
    return resources.files(__package__).joinpath("policy.toml").read_text(encoding="utf-8")


def plain_name(name: str) -> str:
    """A window class or process name without case, ending, version and kind of hyphen: "WINWORD.EXE" is "winword"."""
    plain, before = _SEPARATORS.sub(" ", name[:NAME_CHARS_MAX].strip().lower()), ""
    while plain != before:
        plain, before = _ENDINGS.sub("", plain), plain
    return plain


def _policy(raw: Mapping[str, Any], source: str) -> Policy:
    categories = [(entry, _category(entry)) for entry in raw.get("category", [])]

    def by(key: str) -> dict[str, Category]:
        return {name: category for entry, category in categories for name in _names(entry, key)}

    titles = tuple(map(_title, raw.get("title", [])))
    levels = {key: {name: Level(level) for name, level in raw.get(key, {}).items()} for key in ("labels", "topics")}
    return Policy(by("apps"), by("sites"), by("suffixes"), titles, levels["labels"], levels["topics"], source)


def _category(entry: Mapping[str, Any]) -> Category:
    submits, readline = entry.get("enter") == "submits", entry.get("keys") == "readline"
    return Category(entry["name"], Level(entry["level"]), submits, readline, entry.get("pages", False))


def _title(entry: Mapping[str, Any]) -> Title:
    return Title(entry["name"], Level(entry["level"]), tuple(entry.get("not_in", ())), tuple(map(_folded, entry["words"])))


def _names(entry: Mapping[str, Any], key: str) -> Iterator[str]:
    return map(plain_name if key == "apps" else host_of, entry.get(key, []))


def _parsed(source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"the level policy is not TOML: {error}") from None


def _errors(raw: Mapping[str, Any]) -> Iterator[str]:
    for key, kind in (("category", list), ("title", list), ("labels", dict), ("topics", dict)):
        found = raw.get(key, kind())
        if not isinstance(found, kind) or not all(isinstance(entry, dict) for entry in found if kind is list):
            yield f"level policy: {key} must be written as {'[[' if kind is list else '['}{key}{']]' if kind is list else ']'}"
            return
    yield from _unknown(raw, _KEYS, "the level policy")
    if raw.get("extends", SHIPPED) != SHIPPED:
        yield f"level policy: extends may be {SHIPPED!r} only"
    for key, allowed in (("category", _CATEGORY_KEYS), ("title", {"name", "level", "not_in", "words"})):
        for n, entry in enumerate(raw.get(key, []), 1):
            name = entry.get("name")
            if not isinstance(name, str) or not name:
                yield f"level policy: {key} {n} has no name"
            yield from _unknown(entry, allowed, f"level policy, {key} {name!r}")
            yield from _bad_level(entry.get("level"), str(name))
            yield from _bad_values(entry, str(name))
            if key == "title" and "words" not in entry:
                yield f"level policy, {name!r}: a title rule needs words"
    for key in ("labels", "topics"):
        for name, level in raw.get(key, {}).items():
            yield from _bad_level(level, name)
    yield from _twice(raw)


def _bad_values(entry: Mapping[str, Any], name: str) -> Iterator[str]:
    for key, allowed in (("enter", ("newline", "submits")), ("keys", ("readline",)), ("pages", (True, False))):
        if entry.get(key, allowed[0]) not in allowed:
            yield f"level policy, {name!r}: {key} may be {' or '.join(map(str, allowed))}"
    for key in ("apps", "sites", "suffixes", "words", "not_in"):
        values = entry.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, str) and _folded(value) for value in values):
            yield f"level policy, {name!r}: {key} must be a list of names"
            continue
        for value in values:
            yield from _bad_host(key, value, entry.get("level"), name)


def _bad_host(key: str, value: str, level: object, name: str) -> Iterator[str]:
    if key not in ("sites", "suffixes"):
        return
    host = host_of(value)
    suffix = _suffixes().publicsuffix(host, accept_unknown=False) == host
    if not host or set(value) & set("/:@?#"):
        yield f"level policy, {name!r}: {value!r} is no host"
    elif key == "sites" and suffix:
        yield f"level policy, {name!r}: {value!r} is a public suffix, under which anybody may have a site; name the sites"
    elif key == "suffixes" and not (suffix and isinstance(level, int) and level >= Level.PEOPLE):
        yield f"level policy, {name!r}: {value!r} must be a public suffix, and the level 3 or 4"


def _twice(raw: Mapping[str, Any]) -> Iterator[str]:
    known: dict[str, str] = {}
    for entry in raw.get("category", []):
        for key in ("apps", "sites", "suffixes"):
            values = entry.get(key, [])
            for name in _names(entry, key) if isinstance(values, list) and all(isinstance(v, str) for v in values) else ():
                if (place := f"{key} {name}") in known:
                    yield f"level policy: {name!r} stands in {known[place]!r} and in {entry.get('name')!r}; keep one"
                known[place] = str(entry.get("name"))


def _bad_level(value: object, name: str) -> Iterator[str]:
    if type(value) is not int or value not in set(Level):
        yield f"level policy, {name!r}: the level must be 1, 2, 3 or 4"


def _unknown(found: Mapping[str, Any], allowed: set[str], what: str) -> Iterator[str]:
    for key in sorted(set(found) - allowed):
        yield f"{what} has the unknown key {key!r}; known are {', '.join(sorted(allowed))}"


def _folded(text: str) -> str:
    return " ".join(_WORDS.findall(text.casefold()))


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
