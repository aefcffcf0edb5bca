"""The board: who stopped, who must have stopped, and of whom it is not known (P2; docs/formats/control.md, section 6).

Pure. M are all enrolled endpoints in the order's scope: more than those that capture, never fewer, and the same whether a
person agreed, refused, withdrew or said nothing, so that no board tells these apart (P1). It says "stopped" of none on
anybody's word but the endpoint's own signed ack.

    ACKED        its ack for this order is verified, and says that the capture worker was reaped
    OFF          its ack for an earlier order is, and that order still stands
    LEASE_ENDED  no ack, but the last lease it can have is over: stopped if the agent is genuine, without any network
    UNKNOWN      everything else

Only an order to stop capture asks the endpoints for anything. One that nobody has read stops everybody and is never settled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from byleave.control.documents import Ack
from byleave.control.knowledge import Knowledge
from byleave.control.lease import DRIFT_PPM_MAX, LEASE_MS_MAX

LEASE_OVER_MS = LEASE_MS_MAX + LEASE_MS_MAX * 2 * DRIFT_PPM_MAX // 1_000_000 + 1_000
"""After an order's effective time: the longest lease, drift on both sides, one beacon interval."""

ELSEWHERE = {"reads": "the keyring refuses looks at what it covers", "processing": "the redactor takes nothing that it covers"}
"""What an order does that no endpoint is asked about."""
REHEARSAL_AHEAD_MS = 86_400_000
"""How far an officer's own clock may run ahead of the board's."""


class Standing(StrEnum):
    """How an endpoint stands to an order."""

    ACKED = "ACKED"
    OFF = "OFF"
    LEASE_ENDED = "LEASE_ENDED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Row:
    """One endpoint. Times, where there is an ack, are what it signed; `stopped_after_ms` counts from the effective time."""

    endpoint: str
    standing: Standing
    stopped_after_ms: int | None = None
    disposition: str = ""
    last_seq: int | None = None


@dataclass(frozen=True, slots=True)
class Board:
    """One order and everybody it is about."""

    halt_id: str
    scope: str
    what: str
    effective_ms: int | None
    rows: tuple[Row, ...] = ()
    read: bool = True

    def count(self, standing: Standing) -> int:
        return Counter(row.standing for row in self.rows)[standing]

    @property
    def proved(self) -> int:
        """Endpoints that signed that they stopped."""
        return self.count(Standing.ACKED) + self.count(Standing.OFF)

    @property
    def settled(self) -> bool:
        """Whether nobody is UNKNOWN any more; never so while the order has no effective time and somebody has not signed."""
        return self.read and self.count(Standing.UNKNOWN) == 0

    @property
    def sentence(self) -> str:
        """What may be claimed, and no more."""
        if not self.read:
            return "its record is gone: it stops everybody; lift it by its name"
        if self.what in ELSEWHERE:
            return ELSEWHERE[self.what]
        parts = [f"{self.proved} of {len(self.rows)} signed that they stopped"]
        if self.count(Standing.LEASE_ENDED):
            parts.append(f"{self.count(Standing.LEASE_ENDED)} cannot hold a lease any more")
        if self.count(Standing.UNKNOWN):
            parts.append(f"of {self.count(Standing.UNKNOWN)} it is not known")
        return "; ".join(parts)

    def report(self) -> dict[str, Any]:
        counts = {standing.value.lower(): self.count(standing) for standing in Standing}
        return {**asdict(self), "of": len(self.rows), **counts, "settled": self.settled, "sentence": self.sentence}


def call(knowledge: Knowledge, halt_id: str, acks: Iterable[Ack], service_ms: int) -> Board:
    """The board for an order at `service_ms`, a time that the beacon service's clock has certainly reached.

    `acks` were verified by their endpoints' keys (`Knowledge.learn`).
    """
    halt, effective_ms = knowledge.halts.get(halt_id), knowledge.effective_ms(halt_id)
    if halt is None:
        return Board(halt_id, "global", "capture", effective_ms, read=False)
    scope = halt.scope.kind + (f":{halt.scope.name}" if halt.scope.name else "")
    if halt.what in ELSEWHERE:
        return Board(halt_id, scope, halt.what, effective_ms)
    proofs = {(ack.endpoint, ack.halt_id): ack for ack in acks if ack.worker_reaped}
    rows = []
    for endpoint in sorted(knowledge.enrolments):
        if not _ordered(knowledge, endpoint, halt_id):
            continue
        others = _ordered_in_force(knowledge, endpoint)
        own, other = proofs.get((endpoint, halt_id)), any((endpoint, name) in proofs for name in others)
        if own is not None:
            after_ms = None if effective_ms is None else max(0, own.stopped_ms - effective_ms)
            rows.append(Row(endpoint, Standing.ACKED, after_ms, own.disposition, own.last_seq))
        elif other:
            rows.append(Row(endpoint, Standing.OFF))
        else:
            over = effective_ms is not None and service_ms >= effective_ms + LEASE_OVER_MS
            rows.append(Row(endpoint, Standing.LEASE_ENDED if over else Standing.UNKNOWN))
    return Board(halt_id, scope, halt.what, effective_ms, tuple(rows))


def keys(knowledge: Knowledge, names: Mapping[str, str], now_ms: int) -> list[dict[str, Any]]:
    """One row for each key of the root: whose it is, what it may sign, and for how many days it has not been tried.

    `worked_days_ago` is None for never. `here` is the name of its file, by `names`.
    """
    rows: dict[str, dict[str, Any]] = {}
    for role in knowledge.root.roles:
        for key, group in zip(role.keys, role.groups, strict=True):
            worked_ms = rehearsed_ms(knowledge, key, now_ms)
            days = None if worked_ms is None else max(0, now_ms - worked_ms) // 86_400_000
            row: dict[str, Any] = {"key": key, "group": group, "roles": [], "here": names.get(key), "worked_days_ago": days}
            rows.setdefault(key, row)["roles"].append(role.name)
    return list(rows.values())


def concerns(knowledge: Knowledge, now_ms: int, *, answered: bool = False) -> list[dict[str, Any]]:
    """What people raised and nobody has answered yet, numbered in the order in which it came; with `answered`, all of it."""
    rows = []
    for number, (named, at_ms) in enumerate(knowledge.concerns.items(), 1):
        row = {"number": number, "concern": named, "age_days": max(0, now_ms - at_ms) // 86_400_000}
        rows.append({**row, "answered": named in knowledge.answers})
    return [row for row in rows if answered or not row["answered"]]


def rehearsed_ms(knowledge: Knowledge, key: str, now_ms: int) -> int | None:
    """When a key last proved that it works; None for never, or for a day that is still to come."""
    worked_ms = knowledge.rehearsals.get(key)
    return worked_ms if worked_ms is not None and worked_ms <= now_ms + REHEARSAL_AHEAD_MS else None


def _ordered(knowledge: Knowledge, endpoint: str, halt_id: str) -> bool:
    return any(found.halt_id == halt_id for found in knowledge.orders(endpoint, knowledge.halts[halt_id].what, epoch=0))


def _ordered_in_force(knowledge: Knowledge, endpoint: str) -> set[str]:
    epoch = knowledge.state.epoch if knowledge.state else 0
    return {order.halt_id for order in knowledge.standing(endpoint, "capture", epoch)}
