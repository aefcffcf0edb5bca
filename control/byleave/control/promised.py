"""What a manifest promises to take, as a ruler that is put to records: collected against promised (P1).

Pure, and beside the filter, not in it: the endpoint's `scope.py` decides what passes, this says whether what passed is what was
agreed to. Endpoint, redactor and sink each put it to what they hold; a finding ends what found it.

Promises  a finding names the part of the manifest that was not kept, a constant, and nothing of what was found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from byleave.control.documents import Manifest
from byleave.core.events import Event, FocusEvent, Kind, Modifiers, PointerEvent, Window

FIELDS: Mapping[str, Mapping[str, Any]] = {
    "pointer.x": {"x": 0}, "pointer.y": {"y": 0}, "pointer.button": {"button": 0}, "pointer.wheel": {"dx": 0, "dy": 0},
    "key.key": {"key": ""}, "key.modifiers": {"modifiers": Modifiers.NONE}, "key.layout": {"layout": ""},
    "window.app": {"app": ""}, "window.site": {"site": ""}, "window.number": {"handle": 0}, "title.title": {"title": ""},
    "target.role": {"role": "unknown"}, "target.box": {"x": 0, "y": 0, "width": 0, "height": 0}, "target.label": {"label": ""},
    "task.text": {"key": ""},
}  # fmt: skip
"""All that can be agreed to, as kind.field: where it stands in an event, and the values that tell nothing. An event's kind and
time are told with every event."""
_OF_WINDOWS = ("key.layout", "window.app", "window.site", "window.number", "title.title")
_EVENTS: Mapping[str, tuple[str, ...]] = {
    "pointer": tuple(name for name in FIELDS if name.startswith("pointer.")),
    "key": ("key.key", "key.modifiers"),
    "window": _OF_WINDOWS,
    "target": ("target.role", "target.box", "target.label"),
    "task": ("task.text",),
}


def complete(manifest: Manifest) -> bool:
    """Whether it says what no manifest may leave out: its assessment, and which less intrusive means were weighed."""
    hashed = manifest.dpia_sha256 or not manifest.fields  # the first version knew neither
    return bool(manifest.dpia.strip() and manifest.less_intrusive.strip() and hashed)


def fields_of(kinds: Iterable[str]) -> tuple[str, ...]:
    """All fields of these kinds."""
    named = set(kinds)
    return tuple(name for name in FIELDS if name.partition(".")[0] in named)


class Promise:
    """What one manifest promises, made ready to be asked for each event. `fields` are those of its kinds."""

    def __init__(self, manifest: Manifest) -> None:
        self.kinds = frozenset(manifest.kinds)
        self.fields = frozenset(fields_of(self.kinds))
        if manifest.fields:
            self.fields &= frozenset(manifest.fields)
        self.applications = frozenset(app.lower() for app in manifest.applications)
        self.sites = frozenset(site.lower() for site in manifest.sites)
        self.blank: Mapping[str, Mapping[str, Any]] = {kind: self._blank(names) for kind, names in _EVENTS.items()}
        """For each kind of event, and for a click's target: what it must not tell, and the values in its place."""

    def breach(self, events: Iterable[Event]) -> str:
        """The part that the first event outside it breaks: kind, field, application or site; empty if all are within."""
        return next(filter(None, map(self._broken, events)), "")

    def _blank(self, names: Iterable[str]) -> dict[str, Any]:
        return {place: empty for name in names if name not in self.fields for place, empty in FIELDS[name].items()}

    def _broken(self, event: Event) -> str:
        if isinstance(event, FocusEvent):
            return self._of_window(event.window)
        kind = "pointer" if isinstance(event, PointerEvent) else "task" if event.kind is Kind.TASK else "key"
        target = event.target if isinstance(event, PointerEvent) else None
        if kind not in self.kinds or (target is not None and "target" not in self.kinds):
            return "kind"
        return "field" if self._tells(event, kind) or (target is not None and self._tells(target, "target")) else ""

    def _of_window(self, window: Window) -> str:
        """An empty application says only that the focus left what was agreed to."""
        if "window" not in self.kinds:
            return "kind"
        if self._tells(window, "window"):
            return "field"
        if window.app.lower() not in self.applications and (window.app or (self._names_apps and (window.title or window.site))):
            return "application"
        return "site" if window.site and window.site.lower() not in self.sites else ""

    @property
    def _names_apps(self) -> bool:
        return "window.app" in self.fields

    def _tells(self, told: object, kind: str) -> bool:
        return any(getattr(told, place) != empty for place, empty in self.blank[kind].items())


promise_of = lru_cache(64)(Promise)
"""The promise of a manifest, made once."""
