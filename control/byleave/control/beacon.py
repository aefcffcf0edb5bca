"""What the beacon service says, and what it may not say (P2; docs/formats/control.md, section 3).

Pure: time and randomness are arguments, the state is a value. `step` takes what happened and gives the next state and what is
to be done; the caller (`beacon_main`, or a simulator) does all of it, in that order, before it says what happened next.

Order     Remember is durable before what follows it, so that no restart takes a promise back. An order is told before the
          broker brake is set, since endpoints wait for it; a brake is released before the new state is vouched for, so that
          nobody is told to capture what the broker then refuses.
Promises  a beacon of time T names every order effective at or before T, and no order is ever made effective at or before the T
          of a beacon that was signed: restart, a clock set back and a lost network included.
Refuses   to vouch without a state, or while two states of one epoch exist; to grant without an enrolled key, a consent to the
          manifest in force, a leave, or against an order. A refused request is counted, never answered.

The service cannot resume or widen anything: it vouches for a state that others signed. Stolen, its key vouches for freshness.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from byleave.control.documents import Ack, Beacon, Effective, Grant, Halt, Request, Revocation, State
from byleave.control.halts import DRILL_MS, covers, names_digest
from byleave.control.knowledge import Knowledge
from byleave.control.lease import LEASE_MS_MAX
from byleave.control.rollcall import LEASE_OVER_MS
from byleave.control.versions import older
from byleave.core.errors import Broken, Refused

BEACON_EVERY_MS = 1_000
SESSION_MS_MAX = 12 * 3_600_000
REQUEST_AGE_MS_MAX = 10_000
"""An older request is left unanswered: the endpoint has asked again, or is gone."""
ORDERS_MAX = 100
"""Orders in force that fit into one beacon. Of more, the oldest are named, and `MORE` for the rest."""
MORE = "more"
"""An order that nobody can read, so it stops everybody: until so many are lifted that each can be named."""
REMEMBERED_MAX = 1_000
ANSWERED_MAX = 10_000
VALID_FOR_MS_MAX = 600_000
JOINT_VALID_FOR_MS_MAX = 7 * 86_400_000
"""Whatever an order says of itself: ten minutes; a week if as many signed it as resume, for it went from hand to hand."""
BRAKE_RETRY_MS = 5_000


@dataclass(frozen=True, slots=True)
class Memory:
    """What must survive a restart: the last T signed, the counter, from when each accepted order counts, which are drills.

    An order is forgotten once a state lifted it, or it was a drill and is over; not because its record is gone: whoever can
    write to the topic, or owns the broker, could otherwise lift it.
    """

    last_ms: int = 0
    n: int = 0
    effective: Mapping[str, int] = field(default_factory=dict)
    drills: frozenset[str] = frozenset()
    epoch: int = 0
    """The highest that was vouched for: no broker that was put back to an older day makes this service vouch for less."""
    revoked: frozenset[str] = frozenset()
    """Endpoints whose revocation was read. It is named although its record be gone, and then nothing passes any fence."""


@dataclass(frozen=True, slots=True)
class Service:
    """The state. `braked`: whom the broker denies, None if that is not known; `answered`: nonces and their requests' stamps;
    `acked`: (order, endpoint) whose first acknowledgement was counted."""

    memory: Memory = field(default_factory=Memory)
    caught_up: bool = False
    due_ms: int = 0
    braked: frozenset[str] | None = None
    brake_retry_ms: int = 0
    answered: Mapping[str, int] = field(default_factory=dict)
    acked: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Heard:
    """A verified document, folded into `knowledge` already: its digest, the broker's stamp, and 16 fresh random bytes."""

    document: Any
    name: str
    append_ms: int
    fresh: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed. `caught_up`: all that stood on the control topics has been heard."""

    caught_up: bool


@dataclass(frozen=True, slots=True)
class Braked:
    """Whom the broker denies since a Brake was carried out; None if it could not be."""

    denied: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Remember:
    """Make this durable before anything else is done."""

    memory: Memory


@dataclass(frozen=True, slots=True)
class Say:
    """Sign and publish. A beacon is folded into `knowledge`, too: by its time the service knows which drills are over."""

    topic: str
    key: str
    document: Any


@dataclass(frozen=True, slots=True)
class Brake:
    """Make the broker deny the raw topics to exactly these, and answer with Braked."""

    wanted: frozenset[str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Not answered or not vouched for; `what` was asked: a class of document."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """An endpoint signed that it stopped, so long after the order's effective time."""

    seconds: float


Input = Heard | Tick | Braked
Output = Remember | Say | Brake | Refusal | Stopped
Next = tuple[Service, tuple[Output, ...]]


def step(service: Service, knowledge: Knowledge, given: Input, now_ms: int) -> Next:
    """The next state, and what is to be done before anything else is given. `now_ms`: a clock that nobody sets meanwhile.

    Raises nothing.
    """
    match given:
        case Heard():
            return _heard(service, knowledge, given, now_ms)
        case Braked(None):
            return replace(service, brake_retry_ms=now_ms + BRAKE_RETRY_MS), ()
        case Braked(denied):
            return replace(service, braked=denied, brake_retry_ms=0), ()
    service = replace(service, caught_up=given.caught_up)
    return _beat(service, knowledge, now_ms) if given.caught_up and now_ms >= service.due_ms else (service, ())


def _heard(service: Service, knowledge: Knowledge, heard: Heard, now_ms: int) -> Next:
    match heard.document:
        case Halt() as halt if heard.name in knowledge.halts:
            try:
                kind = {"drill": knowledge.is_drill(heard.name), "joint": knowledge.is_joint(heard.name)}
                memory = accept(service.memory, heard.name, halt, heard.append_ms, now_ms, **kind)
            except Refused as refusal:
                return service, (Refusal("Halt", refusal.reason),)
            remember = () if memory is service.memory else (Remember(memory),)
            return replace(service, memory=memory, due_ms=0), remember
        case State() | Revocation():
            return replace(service, due_ms=0), ()
        case Request() as request:
            return _asked(service, knowledge, heard, request, now_ms)
        case Ack() as ack:
            return _acked(service, ack)
    return service, ()


def _beat(service: Service, knowledge: Knowledge, now_ms: int) -> Next:
    wanted, braked = denied(knowledge, service.memory), service.braked
    owed = wanted != braked or service.brake_retry_ms > 0  # one that failed: what the broker denies now is not known
    brake = (Brake(wanted),) if owed and now_ms >= service.brake_retry_ms else ()
    service = replace(service, due_ms=now_ms + BEACON_EVERY_MS)
    try:
        memory, said = vouch(service.memory, knowledge, now_ms)
    except Refused as refusal:
        return service, (*brake, Refusal("Beacon", refusal.reason))
    told = (Remember(memory), Say("control.beacon.v1", knowledge.site, said))
    acked = frozenset(pair for pair in service.acked if pair[0] in memory.effective)
    releases = braked is None or not braked <= wanted
    return replace(service, memory=memory, acked=acked), (*brake, *told) if releases else (*told, *brake)


def _asked(service: Service, knowledge: Knowledge, heard: Heard, request: Request, now_ms: int) -> Next:
    """One answer a nonce, right or wrong."""
    if not service.caught_up or now_ms - heard.append_ms > REQUEST_AGE_MS_MAX or request.nonce in service.answered:
        return service, ()
    kept = [item for item in service.answered.items() if now_ms - item[1] <= REQUEST_AGE_MS_MAX][-ANSWERED_MAX:]
    service = replace(service, answered={**dict(kept), request.nonce: heard.append_ms})
    try:
        grant = answer(service.memory, knowledge, request, heard.name, now_ms, heard.fresh)
    except Refused as refusal:
        return service, (Refusal("Request", refusal.reason),)
    return service, (Say("control.grant.v1", request.nonce, grant),)


def _acked(service: Service, ack: Ack) -> Next:
    """Counted is the first word of each endpoint on an order in force, and none that lay on the topic from before."""
    effective_ms, pair = service.memory.effective.get(ack.halt_id), (ack.halt_id, ack.endpoint)
    if effective_ms is None or not ack.worker_reaped or pair in service.acked:
        return service, ()
    told = (Stopped(max(0, ack.stopped_ms - effective_ms) / 1000),) if service.caught_up else ()
    return replace(service, acked=service.acked | {pair}), told


def accept(
    memory: Memory, halt_id: str, halt: Halt, append_ms: int, now_ms: int, *, drill: bool = False, joint: bool = False
) -> Memory:
    """Fixes from when an order counts; an order that has its time keeps it. Raises Refused (`stale-order`).

    `append_ms` is the broker's stamp: an order is accepted by when it was published, not by when this service came to read it.
    A drill is over by itself and forgotten then, so one that lies behind is not accepted a second time.
    """
    if halt_id in memory.effective:
        return memory
    if len(memory.effective) >= REMEMBERED_MAX or (drill and memory.drills):
        raise Refused("more orders than are kept, or a second drill at a time", reason="too-many-orders")
    lies_behind = drill and append_ms < max(halt.issued_ms, now_ms) - DRILL_MS
    if lies_behind or append_ms > acceptable_until_ms(halt, joint=joint):
        raise Refused("an order that was published after its time; a new one is needed", reason="stale-order")
    drills = memory.drills | {halt_id} if drill else memory.drills
    return replace(memory, effective={**memory.effective, halt_id: service_ms(memory, now_ms)}, drills=drills)


def acceptable_until_ms(halt: Halt, *, joint: bool) -> int:
    """By when an order must stand on its topic to be accepted."""
    return halt.issued_ms + min(halt.valid_for_ms, JOINT_VALID_FOR_MS_MAX if joint else VALID_FOR_MS_MAX)


def service_ms(memory: Memory, now_ms: int) -> int:
    """The service's time: always after the last T signed, whatever the wall clock did."""
    return max(now_ms, memory.last_ms + 1)


def vouch(memory: Memory, knowledge: Knowledge, now_ms: int) -> tuple[Memory, Beacon]:
    """The next beacon, and the memory to keep *before* it is signed.

    Raises Refused (`no-state`, `conflict`, `rolled-back`).
    """
    state = knowledge.state
    if state is None:
        raise Refused("no state to vouch for", reason="no-state")
    if knowledge.conflict:
        raise Refused(f"two states of epoch {state.epoch}: there is nothing to vouch for", reason="conflict")
    if state.epoch < memory.epoch:
        raise Refused(f"a state of epoch {state.epoch}, {memory.epoch} was vouched for", reason="rolled-back")
    now = service_ms(memory, now_ms)
    effective = {halt_id: ms for halt_id, ms in memory.effective.items() if _stands(memory, knowledge, halt_id, now)}
    orders = tuple(Effective(halt_id, ms) for halt_id, ms in _named(effective))
    beacon = Beacon(
        site=knowledge.site,
        epoch=state.epoch,
        state=knowledge.state_digest,
        service_ms=now,
        n=memory.n + 1,
        lease_ms=LEASE_MS_MAX,
        halts=orders,
        revoked=names_digest(revoked := memory.revoked | knowledge.revoked.keys()),
    )
    return Memory(now, memory.n + 1, effective, memory.drills & effective.keys(), state.epoch, revoked), beacon


def _named(effective: Mapping[str, int]) -> list[tuple[str, int]]:
    """What fits into a beacon, by id; in the place of the newest, if they are too many, one that stops everybody."""
    oldest_first = sorted(effective.items(), key=lambda order: (order[1], order[0]))
    if len(oldest_first) > ORDERS_MAX:
        oldest_first[ORDERS_MAX - 1 :] = [(MORE, oldest_first[ORDERS_MAX - 1][1])]
    return sorted(oldest_first)


def _stands(memory: Memory, knowledge: Knowledge, halt_id: str, now_ms: int) -> bool:
    if halt_id in memory.drills:
        return now_ms < memory.effective[halt_id] + DRILL_MS
    return not knowledge.lifted(halt_id)


def answer(memory: Memory, knowledge: Knowledge, request: Request, request_digest: str, now_ms: int, session: bytes) -> Grant:
    """The grant for a verified request; `now_ms` is when it was received, `session` 16 fresh random bytes.

    Raises Refused: `no-state`, `revoked`, `unknown-endpoint`, `wrong-root`, `halted`, `out-of-date`, `no-run`, `no-consent`.
    """
    now, state = service_ms(memory, now_ms), knowledge.state
    enrolment = knowledge.enrolments.get(request.endpoint)
    if state is None or knowledge.conflict:
        raise Refused("no state to grant under", reason="no-state")
    if request.endpoint in memory.revoked or request.endpoint in knowledge.revoked:
        raise Refused("a request of an endpoint that was revoked", reason="revoked")
    if enrolment is None or now >= enrolment.until_ms:
        raise Refused("a request of an endpoint that is not enrolled now", reason="unknown-endpoint")
    if request.root_version != knowledge.root.version:
        raise Refused(f"an endpoint under root {request.root_version}", reason="wrong-root")
    if knowledge.standing(request.endpoint, "capture", state.epoch):
        raise Refused("a request of an endpoint that is halted", reason="halted")
    if older(request.version, state.minimum):
        raise Refused(f"an agent older than {state.minimum}", reason="out-of-date")
    run = knowledge.leave(request.endpoint, now)
    if run is None:
        raise Refused("no leave covers the endpoint", reason="no-run")
    if not knowledge.consented(request.endpoint, run.manifest):
        raise Refused("the person has not agreed to the manifest in force", reason="no-consent")
    ends_ms = min(now + SESSION_MS_MAX, state.expires_ms, knowledge.manifests[run.manifest].expires_ms, enrolment.until_ms)
    return Grant(knowledge.site, request.nonce, request_digest, session.hex(), now, state.epoch, ends_ms)


def denied(knowledge: Knowledge, memory: Memory | None = None) -> frozenset[str]:
    """Whom the broker must deny the raw topics while these orders stand: endpoints, or '*' for everybody (ruling 5).
    Who was revoked, too: whoever sets the ACLs anew may not have heard.

    An order that was accepted and is on no topic any more may have been about anybody.
    """
    kept = memory.effective.keys() - memory.drills if memory else ()
    standing = {*knowledge.in_force(), *(name for name in kept if not knowledge.lifted(name))}
    if any(_for_all(knowledge, halt_id) for halt_id in standing):
        return frozenset("*")
    epoch, revoked = knowledge.epoch_floor, frozenset(knowledge.revoked) | (memory.revoked if memory else frozenset())
    return revoked | frozenset(name for name in knowledge.enrolments if standing and knowledge.standing(name, "capture", epoch))


def _for_all(knowledge: Knowledge, halt_id: str) -> bool:
    halt = knowledge.halts.get(halt_id)
    if halt is None:
        return True
    return halt.what not in ("processing", "reads") and bool(covers(halt.scope, knowledge.site, "", None))


def unproved(service: Service, knowledge: Knowledge, now_ms: int) -> int:
    """Of how many endpoints it is not known that they stopped: told to, silent so far, and a lease could still run."""
    open_orders = (
        knowledge.halts[halt_id]
        for halt_id, effective_ms in service.memory.effective.items()
        if halt_id in knowledge.halts and now_ms < effective_ms + LEASE_OVER_MS
    )
    scopes = [order.scope for order in open_orders if order.what == "capture"]
    proved = {endpoint for _, endpoint in service.acked}
    return sum(
        name not in proved and any(covers(s, knowledge.site, name, enrolled) for s in scopes)
        for name, enrolled in knowledge.enrolments.items()
    )


def dump(memory: Memory) -> bytes:
    """The form on disk."""
    sets = {"drills": sorted(memory.drills), "revoked": sorted(memory.revoked)}
    return json.dumps(asdict(memory) | sets, sort_keys=True).encode()


def load(stored: bytes) -> Memory:
    """Raises Broken (`memory`) if the bytes are not a memory: then a person must look, since T could run back."""
    try:
        found = json.loads(stored)
        effective = {str(halt_id): int(ms) for halt_id, ms in found["effective"].items()}
        drills = frozenset(str(halt_id) for halt_id in found["drills"])
        revoked = frozenset(str(name) for name in found.get("revoked", ()))
        return Memory(int(found["last_ms"]), int(found["n"]), effective, drills, int(found["epoch"]), revoked)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Broken(
            "the beacon's memory file is damaged: restore it, or remove it once no lease can run", reason="memory"
        ) from None
