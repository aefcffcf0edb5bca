"""One drill of the halt, as a step machine: order, and then whether each brake did its part (ruling 8; P2).

Pure: what was heard and the boot clock come in, records to be written go out. `drill_main` carries them.

    halt    the canary signed that its worker was reaped within HALT_MS_MAX of the effective time, and that it had one: in a
            session that is new since its last ack
    lease   a permit asked for with the canary's key, that hears no beacon from the order on, ends within LEASE_MS_MAX
    late    a batch that the canary's key signed for a time after the halt, written past the brake, is refused as `halted`:
            a batch is admitted whole or refused whole, so a refused one is never admitted
    brake   the broker denies such a batch to the canary's own certificate

Promises  a drill passes only if every part did, each by evidence of this very order; a part that is not proved in time has
          failed, and says why by a constant. It comes to an end by itself, whatever is or is not heard.
Bounds    SOON_MS_MAX for the grant, again for the effective time, then the longest part, LATE_MS_MAX.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import trust
from byleave.control.documents import CANARY, Ack, Beacon, Grant, Halt, Request, Scope, digest, dump
from byleave.control.knowledge import Knowledge
from byleave.control.late import late_batch
from byleave.control.lease import LEASE_MS_MAX, Permit, Verdict, verdict
from byleave.core.envelope import Randomness
from byleave.core.errors import Forged, Refused

PRINCIPAL = "drill"
PARTS = ("halt", "lease", "late", "brake")
SOON_MS_MAX = 5_000
"""Within so long the grant, the effective time and the ack are heard, or they count as lost."""
HALT_MS_MAX = 1_000
LEASE_SLACK_MS = 250
"""What the step that notices the end of a lease may come late."""
LATE_MS_MAX = 25_000
BRAKE_MS_MAX = 10_000
PROBE_EVERY_MS = 500
ORDER_VALID_MS = 30_000
RESUME_MS = 6_000
"""What the canary is given to open a new session once an earlier drill is over."""
RECORD_KEY = b"drill"
"""Each order of a drill replaces the one before it when the topic is compacted: they would pile up otherwise."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What the drill signs with: its own key, which can halt the canary only, and the canary's."""

    drill: Ed25519PrivateKey = field(repr=False)
    device: Ed25519PrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class Write:
    """A record to be written by a principal. What the broker says of `late` and `brake` comes back as `Taken`."""

    part: str
    principal: str
    topic: str
    key: bytes
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Taken:
    """Whether the broker took a write of this part; False: it denies it."""

    part: str
    taken: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """What `refused.v1` says of a batch of the canary."""

    seq0: int
    reason: str


@dataclass(frozen=True, slots=True)
class Part:
    """How a part ended. `ms`: effective time to reaped, order to the end of the lease, written to refused, effective time
    heard to denied. `passed` None: not tried, because it was said that there is no such brake here."""

    passed: bool | None
    why: str
    ms: int | None = None


def obstacle(knowledge: Knowledge) -> str | None:
    """Why no drill can begin now, as a constant; None if one can. Whoever stopped the canary, a drill would prove nothing."""
    state, beacon = knowledge.state, knowledge.beacon
    if state is None or beacon is None or knowledge.conflict:
        return "no-state"
    if CANARY not in knowledge.enrolments:
        return "not-enrolled"
    if knowledge.leave(CANARY, beacon.service_ms) is None:
        return "no-run"
    ends = [order.until_ms for order in knowledge.orders(CANARY, "capture", state.epoch)]
    if None in ends:
        return "halted"
    return "drill-not-over" if any(end and beacon.service_ms < end + RESUME_MS for end in ends) else None


class Drill:
    """One drill: `step` it at least every 100 ms until it is `over`; `parts` then holds one entry for each of PARTS."""

    def __init__(self, knowledge: Knowledge, keys: Keys, randomness: Randomness, former: str, *, brake: bool = True) -> None:
        """`former`: the session that the canary's last ack named. `brake` False: this cluster sets no broker brake."""
        self._knowledge, self._keys, self._randomness, self._former = knowledge, keys, randomness, former
        self.parts: dict[str, Part] = {} if brake else {"brake": Part(None, "not-available")}
        self.halt_id = ""
        self._request: Request | None = None
        self._asked_ms = self._ordered_ms = self._effective_ms = self._late_ms = self._probe_ms = 0
        self._permit: Permit | None = None
        self._beacon: Beacon | None = None
        self._digest = ""
        self._ack: Ack | None = None
        self._probing = False
        self._seq0 = int.from_bytes(randomness(4), "big") << 8  # by it the late batch is known again among refusals

    @property
    def over(self) -> bool:
        return len(self.parts) == len(PARTS)

    def step(self, heard: Iterable[object], now_ms: int) -> list[Write]:
        """Takes in grants, acks, refusals and answers, all verified where they can be; gives what is to be written now."""
        if self._request is None:
            return [self._ask(now_ms)]
        for one in heard:
            self._hear(one, now_ms)
        if not self._ordered_ms:
            waits = self._permit is None and now_ms - self._asked_ms < SOON_MS_MAX
            return [] if waits else [self._order(now_ms)]
        self._mind_lease(now_ms)
        if not self._effective_ms and self._knowledge.effective_ms(self.halt_id) is not None:
            self._effective_ms = now_ms
        if self._effective_ms:
            self._mind_halt(now_ms)
            return [*self._mind_late(now_ms), *self._mind_brake(now_ms)]
        if now_ms - self._ordered_ms > SOON_MS_MAX:
            for name in ("halt", "late", "brake"):
                self._end(name, "no-effective-time")
        return []

    def _end(self, name: str, why: str = "", ms: int | None = None) -> None:
        """The first word on a part stands. Without a `why` it has passed."""
        self.parts.setdefault(name, Part(not why, why or "passed", ms))

    def _ask(self, now_ms: int) -> Write:
        nonce, root = self._randomness(16).hex(), self._knowledge.root
        self._request = Request(self._knowledge.site, CANARY, nonce, now_ms, digest(PRINCIPAL.encode()), root.version)
        self._asked_ms = now_ms
        return Write("lease", PRINCIPAL, "control.request.v1", CANARY.encode(), trust.sign(self._request, [self._keys.device]))

    def _order(self, now_ms: int) -> Write:
        """The order, and with it the last beacon that the permit is to have heard. It is dated by the service's own clock."""
        knowledge, self._beacon, self._ordered_ms = self._knowledge, self._knowledge.beacon, now_ms
        self._digest = knowledge.state_digest
        issued_ms = self._beacon.service_ms if self._beacon else 0
        scope, nonce = Scope("endpoint", CANARY), self._randomness(16).hex()
        halt = Halt(knowledge.site, scope, "capture", "drill", "drop", issued_ms, ORDER_VALID_MS, nonce)
        self.halt_id = digest(dump(halt))
        self._mind_lease(now_ms, before=True)
        return Write("halt", PRINCIPAL, "control.halt.v1", RECORD_KEY, trust.sign(halt, [self._keys.drill]))

    def _hear(self, one: object, now_ms: int) -> None:
        request = self._request
        if isinstance(one, Grant) and request and (one.nonce, one.request) == (request.nonce, digest(dump(request))):
            self._permit = self._permit or Permit(one.service_ms, self._asked_ms, one.not_after_ms)
        elif isinstance(one, Ack) and (one.endpoint, one.halt_id) == (CANARY, self.halt_id):
            self._ack = self._ack or one
        elif isinstance(one, Refusal) and one.seq0 == self._seq0 and self._late_ms:
            self._end("late", "" if one.reason == "halted" else f"refused-as-{one.reason}", now_ms - self._late_ms)
        elif isinstance(one, Taken) and one.part == "late" and not one.taken:
            self._end("late", "not-taken")
        elif isinstance(one, Taken) and one.part == "brake":
            self._probing = False
            if not one.taken:
                self._end("brake", ms=now_ms - self._effective_ms)

    def _mind_lease(self, now_ms: int, *, before: bool = False) -> None:
        """In real time: `before` the order the permit must allow capture, else its end would prove nothing."""
        said = verdict(self._permit, self._beacon, self._digest, halted=False, boot_ms=now_ms)
        elapsed_ms = now_ms - self._ordered_ms
        if said is Verdict.CAPTURE:
            if elapsed_ms > LEASE_MS_MAX:
                self._end("lease", "not-over", elapsed_ms)
        elif said is Verdict.STALE and not before:
            self._end("lease", "" if elapsed_ms <= LEASE_MS_MAX + LEASE_SLACK_MS else "noticed-late", elapsed_ms)
        else:
            self._end("lease", f"permit-{said.name.lower().replace('_', '-')}")

    def _mind_halt(self, now_ms: int) -> None:
        ack, effective_ms = self._ack, self._knowledge.effective_ms(self.halt_id)
        if ack is None or effective_ms is None:
            if now_ms - self._ordered_ms > SOON_MS_MAX:
                self._end("halt", "no-ack")
            return
        after_ms = max(0, ack.stopped_ms - effective_ms)
        captured = ack.session not in ("", self._former)
        why = "not-reaped" if not ack.worker_reaped else "" if captured else "was-not-capturing"
        self._end("halt", why or ("too-slow" if after_ms > HALT_MS_MAX else ""), after_ms)

    def _mind_late(self, now_ms: int) -> list[Write]:
        if not self._late_ms:
            self._late_ms = now_ms
            return self._late("late", PRINCIPAL, self._seq0)
        if now_ms - self._late_ms > LATE_MS_MAX:
            self._end("late", "not-refused")
        return []

    def _mind_brake(self, now_ms: int) -> list[Write]:
        """Offers until the broker denies: the brake is set a moment after the order counts."""
        if now_ms - self._effective_ms > BRAKE_MS_MAX:
            self._end("brake", "no-answer" if self._probing else "not-denied")
        if "brake" in self.parts or self._probing or now_ms < self._probe_ms:
            return []
        self._probe_ms, self._probing = now_ms + PROBE_EVERY_MS, True
        return self._late("brake", CANARY, self._seq0 + 1)

    def _late(self, part: str, principal: str, seq0: int) -> list[Write]:
        made = (self._knowledge, CANARY, self._keys.device, self._knowledge.effective_ms(self.halt_id) or 0, self._randomness)
        session = self._randomness(16)  # of its own, so that nothing of the canary's sessions is touched
        try:
            value = late_batch(*made, session=session, seq0=seq0, batch=0)
        except (Refused, Forged) as error:  # what it needs was taken away in mid-drill
            self._end(part, error.reason)
            return []
        return [Write(part, principal, "raw.events.v1", CANARY.encode(), value)]
