"""What signed orders say of looking and of what is stored (rulings 1 and 7; docs/formats/lake.md, "Orders").

Pure: a `Standing` is cut from the control documents and asked from then on, by the keyring about looks, by the sink about rows.

Promises  whom an order is about is decided for it, not against it: an endpoint whose team is not known is of that team; what
          is not known of the orders stops every look.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from byleave.control.documents import Enrolment, Root, Scope
from byleave.control.halts import WHATS, covers
from byleave.control.knowledge import Knowledge
from byleave.core.batches import SanitizedHeader, utc_day
from byleave.core.rows import ROW_TIME_STEP_MS

DAY_MS = 86_400_000
_TIMES = {"events": ("at_ms", "at_ms"), "actions": ("start_ms", "end_ms")}
"""When a row begins and ends, by table; both rounded down to `ROW_TIME_STEP_MS`."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Erase what `scope` covers of [`since_ms`, `effective_ms`), in the beacon service's time."""

    halt_id: str
    scope: Scope
    since_ms: int
    effective_ms: int

    @property
    def after_ms(self) -> int:
        """A rounded time above this may be one of `since_ms` or later."""
        return self.since_ms - ROW_TIME_STEP_MS

    def has_day(self, day: str) -> bool:
        """Whether records of a key of this UTC day can be meant: a record's day is that of its last event, a row's may be
        a little earlier."""
        return utc_day(max(0, self.after_ms)) <= day <= utc_day(max(0, self.effective_ms + DAY_MS))

    def has_whole(self, day: str) -> bool:
        """Whether all of this UTC day is to be erased."""
        begins_ms = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)
        return self.since_ms <= begins_ms and begins_ms + DAY_MS <= self.effective_ms


@dataclass(frozen=True, slots=True)
class Standing:
    """The orders that stand. `known` False: not read to their end, not fresh, or one of them not read: nobody reads."""

    root: Root
    known: bool = False
    halted: tuple[Scope, ...] = ()
    """Whose records nobody may look at."""
    discards: tuple[Discard, ...] = ()
    """In effect by the newest beacon."""
    enrolments: Mapping[str, Enrolment] = field(default_factory=dict)

    def stops(self, endpoints: Collection[str], subjects: Collection[str]) -> str | None:
        """Why records of these may not be looked at; None if they may."""
        if not self.known:
            return "control-unknown"
        return "reads-halted" if any(self.concerns(scope, endpoints, subjects) for scope in self.halted) else None

    def concerns(self, scope: Scope, endpoints: Collection[str], subjects: Collection[str]) -> bool:
        """Whether an order is about any of them. A subject is whose the records were, not whose the endpoint is now."""
        if scope.kind == "subject":
            return scope.name in subjects
        return any(covers(scope, self.root.site, name, self.enrolments.get(name)) is not False for name in endpoints)

    def discarded(self, header: SanitizedHeader, rows: pa.RecordBatch, table: str) -> bool:
        """Whether any of the rows of a record is to be erased."""
        near = (order for order in self.discards if header.hi_min < order.effective_ms)
        return any(pc.call_function("any", [self.doomed(order, rows, table)]).as_py() for order in near)

    def may_be_discarded(self, header: SanitizedHeader) -> bool:
        """The same without looking inside: the broker's stamp bounds when the record can have ended."""
        who = (header.endpoint,), (header.subject,)
        near = (o for o in self.discards if header.raw_append_ms > o.after_ms and header.hi_min < o.effective_ms)
        return any(self.concerns(order.scope, *who) for order in near)

    def doomed(self, order: Discard, rows: pa.Table | pa.RecordBatch, table: str) -> Any:
        """Which rows an order says are to be erased: a column of booleans."""
        pairs = list(zip(rows.column("endpoint").to_pylist(), rows.column("subject").to_pylist(), strict=True))
        about = {pair: self.concerns(order.scope, pair[:1], pair[1:]) for pair in set(pairs)}
        begins, ends = (rows.column(name) for name in _TIMES[table])
        late = pc.call_function("greater", [ends, pa.scalar(order.after_ms, pa.int64())])
        early = pc.call_function("less", [begins, pa.scalar(order.effective_ms, pa.int64())])
        who = pa.array([about[pair] for pair in pairs], pa.bool_())
        return pc.call_function("and", [pc.call_function("and", [late, early]), who])

    def useless(self, order: Discard, key_id: str) -> bool:
        """Whether all that a data key seals is to be erased: its whole day, and whatever its subject's endpoints sent."""
        subject, day, _ = key_id.split("/")
        return order.has_whole(day) and self._wholly(order.scope, subject)

    def _wholly(self, scope: Scope, subject: str) -> bool:
        """For a key, doubt spares: its rows are erased one by one all the same, and a key cannot be had back."""
        if scope.kind == "subject":
            return scope.name == subject
        theirs = [one for one in self.enrolments.values() if one.subject == subject]
        if scope.kind in ("endpoint", "team") and not theirs:
            return False
        site = self.root.site
        return all(covers(scope, site, one.endpoint, one) for one in theirs) if theirs else bool(covers(scope, site, "", None))


def standing_of(knowledge: Knowledge, *, caught_up: bool) -> Standing:
    """What the documents add up to. Without all of them read, or with one that a beacon names unread, nothing is known."""
    beacon = knowledge.beacon
    if not caught_up or beacon is None:
        return Standing(knowledge.root)
    stand = [knowledge.halts.get(halt_id) for halt_id in knowledge.in_force()]
    read = [halt for halt in stand if halt is not None]
    known = len(read) == len(stand) and knowledge.vouched(beacon) and not knowledge.conflict
    halted = tuple(halt.scope for halt in read if halt.what == "reads" or halt.what not in WHATS)
    discards = (Discard(*found) for found in knowledge.discards())
    due = tuple(order for order in discards if order.effective_ms <= beacon.service_ms)
    return Standing(knowledge.root, known, halted, due, dict(knowledge.enrolments))
