"""The state of an endpoint as bytes: compact JSON, one version, everything that `feed` reads (ruling 19).

Promises  `load(dump(s))` changes no later output. Refuses bytes of another version or shape as Broken, without quoting them.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

from byleave.core.batches import Content
from byleave.core.errors import Broken
from byleave.core.events import Kind, PointerEvent, Screen
from byleave.core.levels import Level
from byleave.core.rows import ActionKind, ActionRow
from byleave.core.targets import Target
from byleave.processors.account import Account
from byleave.processors.classify import Context
from byleave.processors.hold import Hold
from byleave.processors.reassemble import POINTER, TYPED, Field, Item, Outcome
from byleave.processors.reduce import Click, Reducer, Scroll
from byleave.processors.session import EndpointState
from byleave.processors.waiting import Waiting

VERSION, EARLIER = 5, 4
"""The version before is read, too: it knew of no targets, no shares and no drift (docs/adr/0004)."""
_DRIFTED = 7
_TARGET = [item.name for item in fields(ActionRow)].index("target") - 1
_FIELD = tuple(item.name for item in fields(Field) if item.name not in ("chars", "owners"))


def dump(state: EndpointState) -> bytes:
    """Everything, compact. `load(dump(s))` in place of `s` changes no later output."""
    hold = state.hold
    places = {id(item): place for place, item in enumerate(hold.waiting.items)}
    owned = [places[id(owner)] for owner in hold.piece.owners]
    down = {key: places.get(id(owner), -1 - owner.outcome) if isinstance(owner, Item) else -1 - owner
            for key, owner in hold.down.items()}  # fmt: skip
    body = [
        VERSION, state.session.hex(), state.ended, state.account, state.screen,
        [[*key, count] for key, count in state.rows_written.items()], [past.hex() for past in state.past],
        [session.hex() for session in state.drifted],
        [[session.hex(), account] for session, account in state.closed], hold.context, hold.handle,
        [[handle, *_field(known)] for handle, known in hold.fields.items()], _field(hold.piece), "".join(hold.piece.chars),
        owned, hold.waiting.items, down, hold.modifiers, hold.named, hold.loose, hold.now_ms, hold.shortcuts,
        hold.waiting.reducer,
    ]  # fmt: skip
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False, default=_values).encode("utf-8", "surrogatepass")


def load(dumped: bytes) -> EndpointState:
    """The reverse of `dump`. Raises Broken if the bytes are not a state of this version."""
    try:
        body = json.loads(dumped.decode("utf-8", "surrogatepass"))
        if body[0] not in (VERSION, EARLIER):
            raise Broken("the stored state is of another version")
        return _state(body if body[0] == VERSION else [*body[:_DRIFTED], [], *body[_DRIFTED:]])
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise Broken("the stored state cannot be read") from None  # the cause would quote what it holds


def _state(body: list[Any]) -> EndpointState:
    (_, session, ended, account, screen, written, past, drifted, closed, context, handle, windows, current, text, owned,
     queue, down, modifiers, named, loose, now_ms, shortcuts, reducer) = body  # fmt: skip
    counters = Account(*account)
    items = [_load_item(item) for item in queue]
    known = {place: _load_field(values) for place, *values in windows}
    here = known[handle] if handle in known else _load_field(current)
    here.chars, here.owners = list(text), [items[place] for place in owned]
    app, level, text_level, enter_submits, readline = context
    pending = (kind(values[0], _row(values[1]), *values[2:]) if values else None
               for kind, values in zip((Click, Click, Scroll), reducer, strict=True))  # fmt: skip
    hold = Hold(
        Waiting(counters, items, Reducer(*pending)), Context(app, Level(level), Level(text_level), enter_submits, readline),
        here, handle, known, {key: items[place] if place >= 0 else Outcome(-1 - place) for key, place in down.items()},
        modifiers, named, loose, now_ms, shortcuts,
    )  # fmt: skip
    return EndpointState(
        bytes.fromhex(session), ended, hold, Screen(*screen),
        {(Content(content), level): count for content, level, count in written}, [bytes.fromhex(old) for old in past],
        [bytes.fromhex(old) for old in drifted], [(bytes.fromhex(old), Account(*values)) for old, values in closed],
    )  # fmt: skip


def _values(value: Any) -> list[Any]:
    """The fields of a dataclass, in order; those in it are asked for in their turn."""
    return [getattr(value, name) for name in value.__dataclass_fields__]


def _field(values: Field) -> list[Any]:
    return [getattr(values, name) for name in _FIELD]


def _load_field(values: list[Any]) -> Field:
    return Field(**dict(zip(_FIELD, values, strict=True)))


def _row(values: list[Any]) -> ActionRow:
    kind, *rest = values if len(values) == len(fields(ActionRow)) else [*values[: _TARGET + 1], None, *values[_TARGET + 1 :]]
    plain: list[Any] = [tuple(value) if isinstance(value, list) else value for value in rest]
    row = ActionRow(ActionKind(kind), *plain)
    return row if row.target is None else replace(row, target=Target(*plain[_TARGET]))


def _load_item(values: list[Any]) -> Item:
    kind, at_ms, app, level, outcome, count, data, number = values
    if kind == POINTER:
        (seq, event_ms, what, px, py, button, dx, dy, *target), x, y = data
        event = PointerEvent(seq, event_ms, Kind(what), px, py, button, dx, dy)
        data = (replace(event, target=Target(*target[0])) if any(target) else event, x, y)
    elif kind == TYPED:
        data = _row(data)
    elif isinstance(data, list):
        data = tuple(data)
    return Item(kind, at_ms, app, level, Outcome(outcome), count, data, number)
