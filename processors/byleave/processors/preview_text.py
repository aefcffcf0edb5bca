"""`byleave preview text`: texts by themselves through what decides a stretch in the stream. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from byleave.core.errors import Forged, Misconfigured
from byleave.core.events import TITLE_CHARS_MAX, Window
from byleave.core.levels import Level
from byleave.processors.classify import context_of, judge
from byleave.processors.policy import UNKNOWN
from byleave.processors.preview import WHY
from byleave.processors.redact import Span, sanitized_text
from byleave.processors.rules import Rules

WORK_APP = "code"
"""What counts as an approved work application where nothing else is said."""
CONTEXT = ("app", "title", "url", "channel")
NO_SITE = "unknown.invalid"
"""The site of an address without a host: no policy knows it."""
_PARTS = re.compile(rf",(?=\s*(?:{'|'.join(CONTEXT)})=)")
_URL = "URL"
_URL_WHY = "the path and the query of an address never travel"


def window_of(context: Mapping[str, Any], handle: int = 1) -> Window:
    """The window of a context {app, title, url}; without app and url it is an approved work application.

    Raises TypeError for a value that is no text.
    """
    app, title, url = (context.get(name) or "" for name in ("app", "title", "url"))
    if not (isinstance(app, str) and isinstance(title, str) and isinstance(url, str)):
        raise TypeError
    return Window(handle, app or ("" if url else WORK_APP), _host(url), title[:TITLE_CHARS_MAX], layout="preview")


def given_context(option: str) -> dict[str, str]:
    """`app=...,title=...,url=...` as a context; a comma in a value stays one. Raises Misconfigured."""
    parts = [part.partition("=") for part in _PARTS.split(option)] if option else []
    context = {name.strip(): value for name, _, value in parts}
    if not set(context) <= set(CONTEXT):
        raise Misconfigured("--context takes app=..., title=... and url=..., with commas between")
    return context


def named_window(name: str, handle: int, given: Mapping[str, str], rules: Rules) -> Window:
    """The window that a recording calls `name`: what is given, else what the policy knows, else an approved application."""
    known = name if rules.policy.app(name) is not UNKNOWN else ""
    return window_of(given or {"app": known}, handle)


def _host(url: str) -> str:
    """The host of an address, all that the stream ever knows of one."""
    try:
        return (urlsplit(url if "//" in url else f"//{url}").hostname or NO_SITE) if url else ""
    except ValueError:
        return NO_SITE


def judged(number: int, row: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    """{id, text, context?} to {id, text, ranges, level, why}. Raises Forged, naming the line's number only."""
    text, context = row.get("text"), row.get("context") or {}
    try:
        if not isinstance(text, str) or not isinstance(context, dict):
            raise TypeError
        here = context_of(window_of(context), rules.policy)
    except TypeError:
        form = "{id, text, context?: {app, title, url, channel}}"
        raise Forged(f"line {number} is not of the form {form}, all of it text", reason="malformed") from None
    spans, level = judge(text, here.text_level, rules)
    labels = [span.label for span in spans]
    why = [f"{label}: {WHY[label]}" for label in dict.fromkeys(labels)]
    if level < Level.SECRET or not labels:
        why += [f"topic: {name}" for name in rules.topics.of(text, labels)]
    if here.text_level > Level.INTERNAL:
        why.append(f"window: {here.app} is level {int(here.text_level)}")
    if context.get("channel") == "url" and (path := _path(text)) < len(text):
        spans = [span for span in spans if span.end <= path] + [Span(path, len(text), _URL)]
        why.append(f"{_URL}: {_URL_WHY}")
    ranges = [[span.start, span.end, span.label] for span in spans]
    return {"id": row.get("id"), "text": sanitized_text(text, spans), "ranges": ranges, "level": int(level), "why": why}


def _path(url: str) -> int:
    """Where the path of an address begins, or its query or fragment."""
    start = url.find("//") + 2 if "//" in url else 0
    return min((at for at in (url.find(mark, start) for mark in "/?#") if at >= 0), default=len(url))
