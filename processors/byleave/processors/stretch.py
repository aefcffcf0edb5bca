"""A decided stretch as its row, and what the row knows of its events: no length or rhythm where something is missing."""

from __future__ import annotations

from collections.abc import Sequence

from byleave.core.rows import ActionKind, ActionRow
from byleave.processors.reassemble import REDACTED, Item
from byleave.processors.redact import Span, sanitized_text


def stretch_row(text: str, owners: Sequence[Item], spans: Sequence[Span], app: str, *, disturbed: bool) -> ActionRow:
    """The row of `text`, of which `owners` own a character each. Owners of what goes are marked; so are their times hidden.

    `disturbed`: something was withheld from the stretch.
    """
    for span in spans:
        for owner in owners[span.start : span.end]:
            owner.data = REDACTED
    start_ms, end_ms = min(owner.at_ms for owner in owners), max(owner.at_ms for owner in owners)
    if spans or disturbed:
        # Times inside the stretch would tell how long what is missing was (P5).
        end_ms = start_ms
        for owner in owners:
            owner.at_ms = start_ms
    first, last = _range(owners)
    return ActionRow(
        ActionKind.TYPE, start_ms, end_ms, app, text=sanitized_text(text, [*spans]),
        redactions=tuple(span.label for span in spans), first=first, last=last, clear=_clear(text, owners, spans),
    )  # fmt: skip


def hidden_row(owners: Sequence[Item], spans: Sequence[Span], app: str) -> ActionRow:
    """What the preview hears of a stretch of level 4: which events and labels, no text. It is written nowhere."""
    at_ms, (first, last) = owners[0].at_ms, _range(owners)
    labels = tuple(span.label for span in spans)
    return ActionRow(ActionKind.TYPE, at_ms, at_ms, app, redactions=labels, first=first, last=last)


def _range(owners: Sequence[Item]) -> tuple[int, int]:
    return min(owner.seq for owner in owners), max(owner.seq for owner in owners)


def _clear(text: str, owners: Sequence[Item], spans: Sequence[Span]) -> tuple[int, ...]:
    """Numbers of the events of which a letter or digit is in no span."""
    found, at = set[int](), 0
    for start, end in (*((span.start, span.end) for span in spans), (len(text), len(text))):
        found.update(owner.seq for char, owner in zip(text[at:start], owners[at:start], strict=True) if char.isalnum())
        at = end
    return tuple(sorted(found))
