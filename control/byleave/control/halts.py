"""Which orders stand, and whom they are about: the part of the view that only adds up (P2; rulings 1, 7, 8).

Pure. Whoever feeds it has verified what it is fed: `knowledge.Knowledge` is the one.

Promises  an order counts until a state lifts it by name; the least of the times that were said is when it began; an order that
          nobody has read may be about anybody; whom an order was about stays under it. A drill is over by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from byleave.control.documents import Beacon, Enrolment, Halt, Lifted, Scope

WHATS = ("capture", "processing", "reads")
DRILL_MS = 60_000
"""An order of the drill key is over so long after its effective time; it is accepted within as much, or not at all."""
DRILLS_MAX = 512
"""Drills that are remembered: one every two minutes for longer than a batch may lie in a spool."""
DISCARD_MS_MAX = 3_660_000
"""What one officer may have erased: an hour, and a minute for the order to arrive. Further back it takes as many as resuming
does (ruling 7)."""


class Order(NamedTuple):
    """An order that stops something: from when it counts, None while that is not known, and until when, if it is a drill."""

    halt_id: str
    effective_ms: int | None = None
    until_ms: int | None = None


def covers(scope: Scope, site: str, endpoint: str, enrolment: Enrolment | None) -> bool | None:
    """Whether `scope` is about this endpoint; None if that cannot be told. A stop takes None for yes, a leave for no."""
    named = {"endpoint": endpoint, "site": site}
    if enrolment is not None:
        named |= {"team": enrolment.team, "subject": enrolment.subject}
    if scope.kind == "global":
        return True
    return named[scope.kind] == scope.name if scope.kind in named else None


def names_digest(names: Iterable[str]) -> str:
    """One word for a set of endpoints' names, the same for whoever knows the same; empty for none."""
    listed = "\n".join(sorted(names))
    return hashlib.sha256(listed.encode()).hexdigest() if listed else ""


class Orders:
    """The orders of one site, and from when they count."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.beacon: Beacon | None = None
        self._enrolments: dict[str, Enrolment] = {}
        self.enrolments: Mapping[str, Enrolment] = MappingProxyType(self._enrolments)
        """By endpoint."""
        self._revoked: dict[str, int] = {}
        self.revoked: Mapping[str, int] = MappingProxyType(self._revoked)
        """Endpoints that are endpoints no more, and since when. Nothing lifts it; they come back under another name."""
        self._lifts: dict[str, Lifted] = {}
        self._effective: dict[str, int] = {}
        self._halts: dict[str, Halt] = {}
        self.halts: Mapping[str, Halt] = MappingProxyType(self._halts)
        """Every verified order ever read, by id."""
        self._drills: dict[str, None] = {}
        self._agreed: set[str] = set()
        self._caught: dict[str, set[str]] = {}

    def orders(self, endpoint: str, what: str, epoch: int) -> list[Order]:
        """Orders that stop `what` at this endpoint in this epoch.

        An order counts until a state of an epoch <= `epoch` lifted it. Orders that a beacon names but nobody has read yet
        are among them: whom they are about is not known, so it may be this endpoint.
        """
        found: list[Order] = []
        for halt_id, scope, stops in self._known_orders():
            lift = self._lifts.get(halt_id)
            if lift is not None and lift.epoch <= epoch:
                continue
            if self._about(halt_id, scope, endpoint) and (stops == what or stops not in WHATS):
                found.append(self._order(halt_id))
        return found

    def _about(self, halt_id: str, scope: Scope | None, endpoint: str) -> bool:
        """Whether it may be about an endpoint. Who was halted as one of a team stays so, whatever it is enrolled as now."""
        if halt_id in self._caught.get(endpoint, ()):
            return True
        return (covers(scope, self.site, endpoint, self._enrolments.get(endpoint)) if scope else None) is not False

    def standing(self, endpoint: str, what: str, epoch: int) -> list[Order]:
        """`orders` without the drills that are over by the newest beacon."""
        return [order for order in self.orders(endpoint, what, epoch) if not self._over(order)]

    def discards(self) -> list[tuple[str, Scope, int, int]]:
        """(id, scope, since_ms, effective_ms) of what orders say is to be erased, once their time is known (ruling 7).

        What lies more than an hour back counts only if as many signed the order as must sign to resume.
        """
        found = []
        for halt_id, halt in self._halts.items():
            effective_ms, since_ms = self.effective_ms(halt_id), halt.discard_since_ms
            if not since_ms or effective_ms is None or since_ms >= effective_ms:
                continue
            far = effective_ms - since_ms > DISCARD_MS_MAX  # not from `issued_ms`: that is what one officer says
            if not far or halt_id in self._agreed:
                found.append((halt_id, halt.scope, since_ms, effective_ms))
        return found

    def _order(self, halt_id: str) -> Order:
        effective_ms = self.effective_ms(halt_id)
        if halt_id not in self._drills:
            return Order(halt_id, effective_ms)
        halt = self._halts[halt_id]
        # never heard from when it counts: the beacon service accepts no drill later than that
        latest_ms = halt.issued_ms + halt.valid_for_ms + DRILL_MS if effective_ms is None else effective_ms
        order = Order(halt_id, effective_ms, latest_ms + DRILL_MS)
        return order._replace(effective_ms=halt.issued_ms) if effective_ms is None and self._over(order) else order

    def _over(self, order: Order) -> bool:
        service_ms = self.beacon.service_ms if self.beacon else 0
        return order.until_ms is not None and service_ms >= order.until_ms

    def in_force(self) -> tuple[str, ...]:
        """Ids of all orders that no state has lifted, those named by a beacon alone included; of drills, those not over yet."""
        standing = (halt_id for halt_id, _, _ in self._known_orders() if halt_id not in self._lifts)
        return tuple(halt_id for halt_id in standing if not self._over(self._order(halt_id)))

    def lifted(self, halt_id: str) -> bool:
        """Whether a state that was read has lifted an order."""
        return halt_id in self._lifts

    def is_joint(self, halt_id: str) -> bool:
        """Whether an order that says to erase was signed by as many as resume."""
        return halt_id in self._agreed

    def is_drill(self, halt_id: str) -> bool:
        """Whether an order was signed by the drill key: it is about the canary alone, and over by itself."""
        return halt_id in self._drills

    def effective_ms(self, halt_id: str) -> int | None:
        """From when an order counts, by beacon or by the state that lifted it: the least of what was said."""
        lift = self._lifts.get(halt_id)
        said = [*([self._effective[halt_id]] if halt_id in self._effective else []), *([lift.effective_ms] if lift else [])]
        return min(said, default=None)

    def read(self, halt_id: str) -> bool:
        """Whether it is known whom an order is about."""
        return halt_id in self._halts or halt_id in self._lifts

    def _known_orders(self) -> Iterator[tuple[str, Scope | None, str]]:
        for halt_id, halt in self._halts.items():
            yield halt_id, halt.scope, halt.what
        for halt_id, lift in self._lifts.items():
            if halt_id not in self._halts:
                yield halt_id, lift.scope, lift.what
        for halt_id in self._effective:
            if not self.read(halt_id):
                yield halt_id, None, ""

    def _fold_halt(self, halt_id: str, halt: Halt, *, drill: bool, joint: bool) -> None:
        self._halts[halt_id] = halt
        if joint:
            self._agreed.add(halt_id)
        if drill:
            self._fold_drill(halt_id)

    def _fold_lifts(self, lifts: Iterable[Lifted]) -> None:
        for lift in lifts:  # lifted once is lifted from then on; the first word on when stands
            self._lifts.setdefault(lift.halt_id, lift)

    def _fold_times(self, beacon: Beacon, *, vouched: bool) -> None:
        """`vouched`: the state under the beacon was read, so what it does not name and nobody has read stands no more."""
        self.beacon = beacon
        named = {order.halt_id: order.effective_ms for order in beacon.halts}
        for halt_id, effective_ms in named.items():
            self._effective[halt_id] = min(effective_ms, self._effective.get(halt_id, effective_ms))
        gone = [halt_id for halt_id in self._effective if vouched and halt_id not in named and not self.read(halt_id)]
        for halt_id in gone:
            del self._effective[halt_id]

    def _fold_enrolment(self, enrolment: Enrolment, epoch: int) -> None:
        if enrolment.endpoint in self._enrolments:
            standing = {order.halt_id for what in WHATS for order in self.orders(enrolment.endpoint, what, epoch)}
            self._caught[enrolment.endpoint] = standing
        self._enrolments[enrolment.endpoint] = enrolment

    def _fold_drill(self, halt_id: str) -> None:
        self._drills.setdefault(halt_id)
        named = {order.halt_id for order in self.beacon.halts} if self.beacon else set()
        while len(self._drills) > DRILLS_MAX:
            oldest = next((name for name in self._drills if name not in named), halt_id)
            for known in (self._drills, self._halts, self._effective):
                known.pop(oldest, None)
