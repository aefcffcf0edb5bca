"""Edge: what one officer does: send an order, and watch who obeys it. The rules are `rollcall` and `knowledge`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import brake, desk, rollcall, trust
from byleave.control.bootstrap import documents_to_publish, pinned_root
from byleave.control.documents import Ack, Beacon, Halt, Scope, State
from byleave.control.halts import WHATS
from byleave.control.knowledge import Knowledge
from byleave.control.rollcall import Board
from byleave.control.watch import ControlWatch
from byleave.core.clock import boot_ms, wall_ms
from byleave.core.errors import ByleaveError, Forged, Misconfigured, Refused, Transient
from byleave.core.settings import Installation

PRINCIPAL = "security"
ACCEPTED_S_MAX = 3.0
BOARD_S_MAX = rollcall.LEASE_OVER_MS / 1000 + 4.0
"""Lease and one second, and what it takes to hear of it."""
WRITERS = {"control.state.v1": "security", "control.halt.v1": "security"}
"""Who writes a topic; all others are written by `enrol`."""


def order(
    site: str, scope: Scope, what: str, reason: str, buffer: str, now_ms: int, valid_for_ms: int, nonce: str, since_ms: int = 0
) -> Halt:
    """An order to stop, and to erase what was admitted since then. Raises Misconfigured for words that no endpoint knows."""
    if what not in WHATS or buffer not in ("drop", "seal"):
        raise Misconfigured(f"--what is one of {', '.join(WHATS)}; --buffer is drop or seal")
    if not reason.strip() or len(reason) > 500:
        raise Misconfigured("--reason must say why, in at most 500 characters")
    return Halt(site, scope, what, reason, buffer, now_ms, valid_for_ms, nonce, since_ms)


def send(at: Installation, halt: Halt, key: Ed25519PrivateKey) -> dict[str, str]:
    """Publishes an order and sets the broker brake where the scope names its endpoints itself. Raises Transient, Refused.

    Where the scope is a team or a person, the beacon service sets the brake: it knows who that is.
    """
    signed = trust.sign(halt, [key])
    halt_id = trust.name_of(signed)
    trust.verify(pinned_root(at.home, at.site), "halt", Halt, signed, site=at.site)  # a key without the right is told so here
    with ThreadPoolExecutor(1) as pool:  # both are under way at once, and the brake is set whatever becomes of the order
        braked = pool.submit(_brake, at, halt)
        desk.publish(at, PRINCIPAL, [("control.halt.v1", halt_id.encode(), signed)])
    return {"halt_id": halt_id, "brake": braked.result()}


def await_board(at: Installation, halt_id: str, show: Callable[[Board], None]) -> dict[str, Any]:
    """Follows an order until nobody is UNKNOWN, or until every lease that could run is over. `show` sees each change."""
    last, settled, until_s = None, False, time.monotonic() + BOARD_S_MAX
    with closing(Follower(at)) as follower:
        while not settled and time.monotonic() <= until_s:
            follower.pump()
            found = follower.board(halt_id)
            if found is not None and found != last:
                show(found)
                last = found
            settled = found is not None and found.settled and found.effective_ms is not None
    if last is None:
        raise Transient("the order was published but could not be read back: look at `byleave board`")
    return last.report()


def boards(at: Installation, halt_id: str, *, endless: bool) -> Iterator[dict[str, Any]]:
    """One report of all orders in force (or of the one named), or one each second. Raises Refused for an unknown order."""
    with closing(Follower(at)) as follower:
        while True:
            until_s = time.monotonic() + 1.0
            while time.monotonic() < until_s:
                follower.pump()
            follower.catch_up()
            yield follower.report(halt_id)
            if not endless:
                return


def publish_missing(at: Installation) -> list[str]:
    """Publishes the documents in this installation's files that the site does not know yet; gives their topics.

    What is older than what the site knows stays here: an old state must never become a topic's newest record.
    """
    knowledge = desk.read_now(at, PRINCIPAL)
    published = []
    for topic, key, value in documents_to_publish(at.home):
        before = _known(knowledge)
        try:
            knowledge.learn(topic, value)
        except (Refused, Forged) as error:
            followed = knowledge.state and topic in ("control.state.v1", "control.manifest.v1")
            if followed or error.reason == "rolled-back":
                continue  # replaced by now, or of a root that is no more: what is in force was signed since
            raise
        if _known(knowledge) != before:
            desk.publish(at, WRITERS.get(topic, "enrol"), [(topic, key, value)])
            published.append(topic)
    return published


class Follower:
    """The board's view: control documents and acks, and how far the service's clock has certainly come."""

    def __init__(self, at: Installation) -> None:
        self._at, self._again = at, True
        self.watch: ControlWatch = desk.open_watch(at, PRINCIPAL)
        self._acks: dict[tuple[str, str], Ack] = {}
        self._heard_boot_ms = 0

    def pump(self) -> None:
        for document in self.watch.pump(0.05):
            if isinstance(document, Beacon):
                self._heard_boot_ms = boot_ms()
            elif isinstance(document, Ack):
                self._acks[document.endpoint, document.halt_id] = document
        if self._again and self.watch.caught_up:
            self._again = False
            if self.watch.refused["unknown-endpoint"]:
                self._read_again()

    def catch_up(self) -> None:
        """Reads to the end of what stands there. Raises Transient after READ_S_MAX."""
        until_s = time.monotonic() + desk.READ_S_MAX
        while not self.watch.caught_up:
            if time.monotonic() > until_s:
                raise Transient(f"the control topics could not be read to their end in {desk.READ_S_MAX:.0f} s")
            self.pump()

    def _read_again(self) -> None:
        """Once more, with every enrolment known: topics are not read in step, and an ack may come before its key."""
        again = desk.open_watch(self._at, PRINCIPAL)
        again.knowledge = self.watch.knowledge
        self.watch.close()
        self.watch = again

    @property
    def service_ms(self) -> int:
        """The newest beacon's time and what has passed here since it came: never ahead of the service's clock."""
        beacon = self.watch.knowledge.beacon
        return beacon.service_ms + boot_ms() - self._heard_boot_ms if beacon else 0

    def board(self, halt_id: str) -> Board | None:
        knowledge = self.watch.knowledge
        if not self.watch.caught_up or halt_id not in {*knowledge.halts, *knowledge.in_force()}:
            return None
        return rollcall.call(knowledge, halt_id, self._acks.values(), self.service_ms)

    def report(self, start: str) -> dict[str, Any]:
        knowledge = self.watch.knowledge
        ids = [named(knowledge, start, lifted=True)] if start else knowledge.in_force()
        orders = [found.report() for found in (self.board(name) for name in ids) if found]
        epoch = knowledge.state.epoch if knowledge.state else 0
        age_ms = boot_ms() - self._heard_boot_ms if knowledge.beacon else None
        keys = rollcall.keys(knowledge, {}, wall_ms())
        found = {"epoch": epoch, "conflict": knowledge.conflict, "beacon_age_ms": age_ms, "orders": orders}
        return {**found, "keys": keys, "concerns": rollcall.concerns(knowledge, wall_ms())}

    @property
    def acks(self) -> Iterable[Ack]:
        """All that stand on the topic, verified."""
        return self._acks.values()

    def close(self) -> None:
        self.watch.close()


def named(knowledge: Knowledge, start: str, *, lifted: bool = False) -> str:
    """The order whose id begins so. Raises Refused (`unknown-order`) unless it is exactly one."""
    names = {*knowledge.in_force()} | (knowledge.halts.keys() if lifted else set())
    found = [name for name in names if name.startswith(start)]
    if len(found) != 1:
        raise Refused(f"{len(found)} orders begin with {start[:64]!r}; see `byleave board`", reason="unknown-order")
    return found[0]


def _known(knowledge: Knowledge) -> tuple[Any, ...]:
    state: State | None = knowledge.state
    return (state, dict(knowledge.manifests), dict(knowledge.enrolments), dict(knowledge.consents))


def _brake(at: Installation, halt: Halt) -> str:
    if halt.what != "capture":
        return "not needed"
    if halt.scope.kind in ("team", "subject"):
        return "left to the beacon service"
    try:
        brake.engage(at.kafka("brake"), at.site, [halt.scope.name if halt.scope.kind == "endpoint" else "*"])
    except ByleaveError:
        return "not available"
    return "set"
