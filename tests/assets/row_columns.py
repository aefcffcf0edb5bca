"""The rows of a sanitized record, read one by one: another reading than the sink's, to hold the columns to."""

from __future__ import annotations

import struct
from dataclasses import replace

from byleave.core.codec import Record
from byleave.core.events import Kind, Screen, unpack_steps
from byleave.core.rows import ActionKind, ActionRow, EventRow, KeyClass
from byleave.core.targets import load_targets

MARKS = frozenset((ActionKind.SWITCH, ActionKind.HELD, ActionKind.GAP, ActionKind.TASK, ActionKind.TASK_DONE))
"""Kinds that nobody did."""


def unpack_events(columns: Record) -> tuple[list[EventRow], Screen]:
    """The rows of `sanitized_events`, all columns of which must agree."""
    kind, count = columns["kind"], len(columns["kind"])
    at, x, y = (struct.unpack(f"<{count}{code}", columns[name]) for name, code in (("at", "I"), ("x", "h"), ("y", "h")))
    apps = [columns["apps"][n] for n in columns["app"]]
    classes = [KeyClass(n) for n in columns["key_class"]]
    assert count == len(columns["arg"]) == len(classes) == len(apps)
    rows = []
    for n, what in enumerate(kind):
        row = EventRow(columns["base_ms"] + at[n], what, apps[n], x[n], y[n], columns["arg"][n], key_class=classes[n])
        if what == Kind.SCROLL:
            dx, dy = unpack_steps(row.button)
            row = replace(row, button=0, dx=dx, dy=dy)
        rows.append(row)
    return rows, Screen(columns["screen_width"], columns["screen_height"])


def unpack_actions(record: Record) -> list[ActionRow]:
    """The rows of `sanitized_actions`. Raises Forged: a target that is none."""
    targets = load_targets(record["targets"])
    return [
        ActionRow(
            **{**row, "kind": ActionKind(row["kind"]), "keys": tuple(row["keys"]), "redactions": tuple(row["redactions"])},
            target=targets.get(place),
        )
        for place, row in enumerate(record["rows"])
    ]
