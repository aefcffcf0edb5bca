"""The ruler that is put to records: what a manifest promises, and its first, older form (P1)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from byleave.control import promised, trust, wording
from byleave.control.documents import Consent, Enrolment, Manifest, State, dump
from byleave.control.promised import Promise
from byleave.core.dsse import load_envelope
from byleave.core.events import Event, FocusEvent, KeyEvent, Kind, Modifiers, PointerEvent, Window
from byleave.core.keys import verify_key
from byleave.core.targets import Target

FIRST = json.loads((Path(__file__).parents[2] / "assets" / "golden" / "first_documents.json").read_text())
ALL = ("pointer", "key", "window", "title", "target", "task")
FULL = Manifest("t.", "t", ALL, ("Editor",), ("wiki.example",), ("p",), (), 1, "d", "l", 1, 2)
EVENTS: dict[str, Event] = {
    "pointer": PointerEvent(0, 0, Kind.BUTTON_DOWN, 5, 6, 1), "wheel": PointerEvent(0, 0, Kind.SCROLL, 0, 0, dx=1, dy=1),
    "target": PointerEvent(0, 0, Kind.BUTTON_DOWN, 5, 6, 1, target=Target("button", 1, 2, 3, 4, "Save")),
    "key": KeyEvent(0, 0, Kind.PRESS, "a", Modifiers.SHIFT), "task": KeyEvent(0, 0, Kind.TASK, "book a room"),
    "window": FocusEvent(0, 0, Window(3, "editor", layout="us")),
    "site": FocusEvent(0, 0, Window(3, "editor", site="Wiki.example", layout="us")),
    "title": FocusEvent(0, 0, Window(3, "editor", title="a title", layout="us")),
}  # fmt: skip


@pytest.mark.parametrize("name", EVENTS)
def test_what_is_promised_is_within_and_without_its_kind_is_not(name: str) -> None:
    event = EVENTS[name]
    assert Promise(FULL).breach([event]) == ""
    kind = {"wheel": "pointer", "site": "window"}.get(name, name)
    less = replace(FULL, kinds=tuple(one for one in ALL if one != kind))
    assert Promise(less).breach([EVENTS["key" if kind != "key" else "pointer"], event]) == (
        "field" if kind == "title" else "kind"
    )


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("pointer.x", "pointer"), ("pointer.y", "pointer"), ("pointer.button", "pointer"), ("pointer.wheel", "wheel"),
        ("key.key", "key"), ("key.modifiers", "key"), ("key.layout", "window"), ("window.app", "window"),
        ("window.number", "window"), ("window.site", "site"), ("title.title", "title"), ("target.role", "target"),
        ("target.box", "target"), ("target.label", "target"), ("task.text", "task"),
    ],
)  # fmt: skip
def test_a_field_that_is_not_named_must_be_blank(field: str, name: str) -> None:
    less = replace(FULL, fields=tuple(one for one in promised.FIELDS if one != field))
    assert Promise(less).breach([EVENTS[name]]) == "field"
    assert promised.FIELDS.keys() == wording.FIELDS.keys()
    assert wording.FIELDS[field] in "\n".join(wording.plain_words(FULL))


@pytest.mark.parametrize(
    ("window", "part"),
    [
        (Window(3, "payroll"), "application"), (Window(3, ""), ""), (Window(3, "", title="a title"), "application"),
        (Window(3, "", site="wiki.example"), "application"), (Window(3, "editor", site="elsewhere.example"), "site"),
        (Window(3, "EDITOR", site="sub.wiki.example"), "site"),
    ],
)  # fmt: skip
def test_a_window_of_what_is_not_named_is_outside(window: Window, part: str) -> None:
    assert Promise(FULL).breach([FocusEvent(0, 0, window)]) == part


def test_the_first_versions_documents_verify_keep_their_names_and_promise_what_they_promised() -> None:
    root = trust.load_root(FIRST["root"]["signed"].encode(), "byleave.")
    found = {}
    for name, role, kind in (
        ("manifest", "manifest", Manifest), ("state", "resume", State), ("enrolment", "enrol", Enrolment),
    ):  # fmt: skip
        signed = FIRST[name]["signed"].encode()
        document, named = trust.verify(root, role, kind, signed, site="byleave.")
        assert (named, dump(document)) == (FIRST[name]["digest"], load_envelope(signed).body)
        found[name] = document
    person = verify_key(found["enrolment"].person_key)
    consent, named = trust.verify_by(person, Consent, FIRST["consent"]["signed"].encode(), site="byleave.")
    assert (named, consent.manifest) == (FIRST["consent"]["digest"], FIRST["manifest"]["digest"])
    manifest = found["manifest"]
    assert (manifest.fields, manifest.dpia_sha256, promised.complete(manifest)) == ((), "", True)
    assert Promise(manifest).fields == set(promised.fields_of(("pointer", "key", "window")))
