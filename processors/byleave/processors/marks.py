"""Rows that say where a reader is, instead of what the person did: another window, keys that are down, missing events, what
the person said that it is for. And what is said of a click's target.

Promises  a title, a label and a stated task are redacted and judged like typed text; title and label stand in a row only
          where text of their window may; of the keys that are down, modifiers are named and those with a row of their own,
          and only while no text is held: no mark stands inside a stretch and tells how long it took (P5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from byleave.core.events import MODIFIER_BITS, FocusEvent, KeyEvent, PointerEvent
from byleave.core.levels import Level
from byleave.core.rows import ActionKind, ActionRow
from byleave.core.targets import LABEL_CHARS_MAX
from byleave.processors.classify import Context, judge
from byleave.processors.keyboard import MODIFIER_NAMES
from byleave.processors.redact import Span, sanitized_text
from byleave.processors.rules import Rules

HELD_STEP_MS = 1_000
"""How often keys that are down are named."""
DOWN_MS_MAX = 30_000
"""A key that is down for longer is not believed: its release was lost."""


def switch_row(event: FocusEvent, context: Context, rules: Rules) -> tuple[int, ActionRow]:
    """The row of a window that came to the front, and its level. Of a title that is secret it says nothing."""
    level, text, spans = _passed(event.window.title, context.level, context.text_level, rules)
    at_ms, seq, labels = event.at_ms, event.seq, tuple(span.label for span in spans)
    return level, ActionRow(ActionKind.SWITCH, at_ms, at_ms, context.app, text=text, redactions=labels, first=seq, last=seq)


def task_row(event: KeyEvent, rules: Rules) -> tuple[int, ActionRow, list[Span]]:
    """The row of a task that the person stated (it begins an episode, secret words in it or not) or called done, its level, and
    what was removed. An episode ends with its session, if not before.
    """
    kind = ActionKind.TASK if event.key else ActionKind.TASK_DONE
    level, text, spans = _passed(event.key, Level.INTERNAL, Level.INTERNAL, rules)
    at_ms, seq, labels = event.at_ms, event.seq, tuple(span.label for span in spans)
    return level, ActionRow(kind, at_ms, at_ms, "", text=text, redactions=labels, first=seq, last=seq), spans


def judged_click(event: PointerEvent, context: Context, rules: Rules) -> tuple[int, PointerEvent, list[Span]]:
    """The level of a pointer event; the event with what may be said of its target (role and box always may); what went."""
    target = event.target
    if target is None:
        return context.level, event, []
    level, label, removed = _passed(target.label, context.level, context.text_level, rules)
    target = replace(target, label=label if len(label) <= LABEL_CHARS_MAX else "")
    return level, replace(event, target=target), removed


def _passed(text: str, level: int, text_level: Level, rules: Rules) -> tuple[int, str, list[Span]]:
    """What is left of a text that stands by itself, its level and what was removed; nothing, and `level`, if it is secret."""
    if text and text_level < Level.SECRET:
        spans, raised = judge(text, text_level, rules)
        if raised < Level.SECRET:
            return raised, sanitized_text(text, spans), spans
    return level, "", []


def gap_row(from_ms: int, to_ms: int, app: str, first: int, last: int) -> ActionRow:
    """Events `first` to `last` never came. How many is in the record's header, at the grain of a batch (docs/adr/0003)."""
    return ActionRow(ActionKind.GAP, from_ms, to_ms, app, first=first, last=last)


def held_row(now_ms: int, app: str, modifiers: Mapping[str, int], named: Mapping[str, int]) -> ActionRow | None:
    """Which keys are down as a second begins, with the time of their press; or None. Modifiers first, then named keys."""
    since_ms = now_ms - DOWN_MS_MAX
    held = {MODIFIER_BITS[name] for name, down_ms in modifiers.items() if down_ms > since_ms}
    keys = tuple(name for bit, name in MODIFIER_NAMES.items() if bit in held)
    keys += tuple(sorted(name for name, down_ms in named.items() if down_ms > since_ms))
    at_ms = now_ms // HELD_STEP_MS * HELD_STEP_MS
    return ActionRow(ActionKind.HELD, at_ms, at_ms, app, keys=keys) if keys else None
