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
from collections.abc import Callable, Iterator, Mapping
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
    if errors := _errors(raw):
        raise Misconfigured(errors[0])
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
        return _errors(_parsed(text))
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


def _errors(raw: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong, the first thing first; names are compared only in a file that is well formed."""
    for key, kind in _TABLES.items():
        found = raw.get(key, kind())
        if not isinstance(found, kind) or not all(isinstance(entry, dict) for entry in found if kind is list):
            return [f"level policy: {key} must be written as {f'[[{key}]]' if kind is list else f'[{key}]'}"]
    errors = list(_unknown(raw, {"extends", *_TABLES}, "the level policy"))
    if raw.get("extends", SHIPPED) != SHIPPED:
        errors.append(f"level policy: extends must be {SHIPPED!r}")
    for table in ("category", "title"):
        for n, entry in enumerate(raw.get(table, []), 1):
            errors += _entry_errors(table, f"level policy, {table} {entry.get('name') or n!r}", entry)
    levels = [(name, level) for key in ("labels", "topics") for name, level in raw.get(key, {}).items()]
    errors += [f"level policy, {name!r}: level must be 1, 2, 3 or 4" for name, level in levels if not _is_level(level)]
    return errors or list(_twice(raw))


def _entry_errors(kind: str, what: str, entry: Mapping[str, Any]) -> Iterator[str]:
    yield from _unknown(entry, {*_NEEDED[kind], *_ALLOWED[kind]}, what)
    for key in {**dict.fromkeys(_NEEDED[kind]), **entry}:
        form, fits = _FORMS.get(key, ("", lambda _: True))
        if not fits(entry.get(key)):
            yield f"{what}: {key} must be {form}"
        elif key in ("sites", "suffixes"):
            yield from filter(None, (_host_error(key, value, entry.get("level"), what) for value in entry[key]))


def _host_error(key: str, value: str, level: object, what: str) -> str:
    host = host_of(value)
    suffix = _suffixes().publicsuffix(host, accept_unknown=False) == host
    if not host or set(value) & set("/:@?#"):
        return f"{what}: {value!r} is no host"
    if key == "sites":
        return f"{what}: {value!r} is a public suffix, under which anybody may have a site; name the sites" if suffix else ""
    return "" if suffix and level in (3, 4) else f"{what}: {value!r} must be a public suffix, and the level 3 or 4"


def _twice(raw: Mapping[str, Any]) -> Iterator[str]:
    known: dict[str, str] = {}
    for entry in raw.get("category", []):
        for place in (f"{key} {name}" for key in ("apps", "sites", "suffixes") for name in _names(entry, key)):
            if place in known:
                yield f"level policy: {place!r} stands in {known[place]!r} and in {entry['name']!r}; keep one"
            known[place] = entry["name"]


def _unknown(found: Mapping[str, Any], allowed: set[str], what: str) -> Iterator[str]:
    for key in sorted(set(found) - allowed):
        yield f"{what} has the unknown key {key!r}; known are {', '.join(sorted(allowed))}"


def _is_level(value: object) -> bool:
    return type(value) is int and value in set(Level)


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and _folded(name) for name in value)


def _folded(text: str) -> str:
    return " ".join(_WORDS.findall(text.casefold()))


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


_TABLES: Mapping[str, Any] = {"category": list, "title": list, "labels": dict, "topics": dict}
_NEEDED = {"category": ("name", "level"), "title": ("name", "level", "words")}
_ALLOWED = {"category": ("enter", "keys", "pages", "apps", "sites", "suffixes"), "title": ("not_in",)}
_FORMS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("a name", lambda value: isinstance(value, str) and value != ""),
    "level": ("1, 2, 3 or 4", _is_level),
    "enter": ("submits or newline", lambda value: value in ("submits", "newline")),
    "keys": ("readline", lambda value: value == "readline"),
    "pages": ("true or false", lambda value: type(value) is bool),
    **dict.fromkeys(("apps", "sites", "suffixes", "words", "not_in"), ("a list of names", _are_names)),
}
