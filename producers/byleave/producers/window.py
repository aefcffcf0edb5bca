"""The endpoint's core: in which order a run window opens, ends and is accounted for (P1, P2; docs/formats/control.md).

Pure, and the same in the agent, the simulator and the tests' state machine: `step` takes what happened and gives the next state
and what is to be done. The caller does all of it, in that order, before it says what happened next; it decides nothing.

Promises  one grant, one window. A window that ends is killed first; Kill stands alone, and nothing follows before Reaped.
          Halted: Kill, Close, ThrowAway, Dispose, Acknowledge, in this order; no Acknowledge while a worker may be running.
Refuses   an Open without a grant of its own, a second answer to one nonce, whatever is asked for after Finish.

This is one of three such cores: `control.beacon.step` vouches, this obeys, `control.admission.decide` is the fence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from byleave.control.documents import Beacon, Grant, Halt, Manifest, Request, Run, digest, dump
from byleave.control.knowledge import Knowledge
from byleave.control.lease import Permit, permit_time_ms
from byleave.core.batches import Boundary
from byleave.producers import gate
from byleave.producers.gate import Answer, Permission, Switches

ASK_AGAIN_MS = 2_000
BEACON_FRESH_MS = 3_000
"""A grant is asked for only while beacons are heard: nobody is asked into silence."""
WORKER_RETRY_MS_MIN = 1_000
WORKER_RETRY_MS_MAX = 30_000
HALTED = (Answer.HALTED, Answer.HALTED_HERE)
CLOSED = (*HALTED, Answer.UNREAD, Answer.PAUSED)
"""The spool may not drain: never while halted, nor before it is known whether it is; and a pause is silent."""
_SESSION_BYTES = 16


@dataclass(frozen=True, slots=True)
class Session:
    """An open run window."""

    id: bytes
    epoch: int
    run: Run


class RunWindow(NamedTuple):
    """The state. `agent`: digest of the running files. `asked`: the one request that an answer is awaited to. `purged`: nothing
    is on its way to the broker; `dropped`: nor in the spool. `seen`: when each order was first heard; `orders`: which stand."""

    endpoint: str
    agent: str = ""
    version: str = ""
    permit: Permit | None = None
    granted: bytes | None = None
    asked: Request | None = None
    asked_ms: int = -ASK_AGAIN_MS
    beacon_ms: int = -BEACON_FRESH_MS
    session: Session | None = None
    ending: Boundary = Boundary.END
    reaped: bool = True
    purged: bool = False
    dropped: bool = False
    finished: bool = False
    caught_up: bool = False
    retry_ms: int = WORKER_RETRY_MS_MIN
    retry_at_ms: int = 0
    seen: Mapping[str, int] = MappingProxyType({})
    acked: frozenset[str] = frozenset()
    answer: Answer = Answer.UNREAD
    orders: tuple[str, ...] = ()


# -- what happened ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """A verified document, folded into `knowledge` already."""

    document: Any


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed. `alive`: the open window's worker is; `worked`: events came from it; `nonce`: 16 fresh random bytes, hex."""

    switches: Switches
    caught_up: bool
    nonce: str
    alive: bool = True
    worked: bool = False


@dataclass(frozen=True, slots=True)
class Reaped:
    """A Kill was carried out; `ok` if nothing of the worker runs any more."""

    ok: bool


@dataclass(frozen=True, slots=True)
class NotOpened:
    """An Open could not be carried out."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The process is about to end, or the recording is over: no window is opened any more."""


# -- what is to be done -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill the worker and answer with Reaped. `lost`: it was found dead."""

    lost: bool = False


@dataclass(frozen=True, slots=True)
class Open:
    """Start a worker with a session and content keys of its own, or answer with NotOpened."""

    session: Session
    manifest: Manifest
    permit: Permit


@dataclass(frozen=True, slots=True)
class Close:
    """Close the session's books."""

    boundary: Boundary


@dataclass(frozen=True, slots=True)
class ThrowAway:
    """Purge the Kafka client and forget it; never flush it."""


@dataclass(frozen=True, slots=True)
class Dispose:
    """What becomes of the spool: seal; all else means drop."""

    buffer: str


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Sign that this order was obeyed. `seen_ms` and `stopped_ms` in permit time, the others on the boot clock."""

    halt_id: str
    epoch: int
    seen_ms: int
    stopped_ms: int
    seen_boot_ms: int
    reaped_boot_ms: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask for a grant."""

    request: Request


Input = Heard | Tick | Reaped | NotOpened | Finish
Output = Kill | Open | Close | ThrowAway | Dispose | Acknowledge | Ask
Next = tuple[RunWindow, tuple[Output, ...]]


def step(window: RunWindow, knowledge: Knowledge, given: Input, boot_ms: int) -> Next:
    """The next state, and what is to be done before anything else is given. Raises nothing."""
    match given:
        case Tick():
            return _tick(window, knowledge, given, boot_ms)
        case Heard():
            return _heard(window, knowledge, given.document, boot_ms), ()
        case Reaped():
            return _reaped(window, knowledge, given.ok, boot_ms)
        case NotOpened():
            return _back_off(window._replace(session=None, permit=None, reaped=False), boot_ms), (Kill(),)
    window = window._replace(finished=True, ending=Boundary.END)
    return window, (Kill(),) if window.session else ()


def service_ms(window: RunWindow, knowledge: Knowledge, boot_ms: int) -> int:
    """The latest that the service's clock can read; where nothing ties the clocks, the newest beacon's time."""
    if window.permit is not None:
        return permit_time_ms(window.permit, boot_ms)
    return knowledge.beacon.service_ms if knowledge.beacon else 0


def _tick(window: RunWindow, knowledge: Knowledge, tick: Tick, boot_ms: int) -> Next:
    permission = gate.decide(
        knowledge, window.endpoint, window.permit, tick.switches, caught_up=tick.caught_up, boot_ms=boot_ms,
        version=window.version,
    )  # fmt: skip
    if permission.answer is Answer.NO_GRANT and boot_ms - window.beacon_ms > BEACON_FRESH_MS:
        permission = replace(permission, answer=Answer.STALE)  # nobody is there to ask
    answer = permission.answer
    window = window._replace(
        answer=answer, orders=permission.orders, caught_up=tick.caught_up, purged=window.purged and answer in CLOSED,
        dropped=window.dropped and answer is Answer.HALTED_HERE,
        retry_ms=WORKER_RETRY_MS_MIN if tick.worked and permission.allowed else window.retry_ms,
    )  # fmt: skip
    session = window.session
    if not window.reaped:
        return window, (Kill(),)
    if answer in HALTED:
        return (window._replace(ending=Boundary.HALT), (Kill(),)) if session else _account(window, window, knowledge, boot_ms)
    if session and (session.epoch, session.run, True) != (permission.epoch, permission.run, permission.allowed):
        return window._replace(ending=Boundary.END), (Kill(),)
    if session and not tick.alive:
        return _back_off(window._replace(ending=Boundary.END), boot_ms), (Kill(lost=True),)
    window, opened = _open(window, permission, boot_ms)
    window, asked = _ask(window, permission, knowledge, tick.nonce, boot_ms)
    return window, (*opened, *asked)


def _open(window: RunWindow, permission: Permission, boot_ms: int) -> Next:
    run, manifest, permit = permission.run, permission.manifest, window.permit
    wanted = permission.allowed and window.session is None and not window.finished and boot_ms >= window.retry_at_ms
    if not wanted or window.granted is None or run is None or manifest is None or permit is None:
        return window, ()
    session = Session(window.granted, permission.epoch, run)
    return window._replace(session=session, granted=None), (Open(session, manifest, permit),)


def _ask(window: RunWindow, permission: Permission, knowledge: Knowledge, nonce: str, boot_ms: int) -> Next:
    permit = window.permit
    renew = window.session is not None and permit is not None and boot_ms - permit.request_boot_ms >= gate.RENEW_MS
    begin = permission.ask and not window.finished and boot_ms >= window.retry_at_ms
    if not (renew or begin) or boot_ms - window.asked_ms < ASK_AGAIN_MS:
        return window, ()
    request = Request(knowledge.site, window.endpoint, nonce, boot_ms, window.agent, knowledge.root.version, window.version)
    return window._replace(asked=request, asked_ms=boot_ms), (Ask(request),)


def _heard(window: RunWindow, knowledge: Knowledge, document: Any, boot_ms: int) -> RunWindow:
    match document:
        case Beacon():
            return window._replace(beacon_ms=boot_ms)
        case Halt():
            return window._replace(seen={**dict.fromkeys(knowledge.halts, boot_ms), **window.seen})
        case Grant():
            return _granted(window, knowledge, document, boot_ms)
    return window


def _granted(window: RunWindow, knowledge: Knowledge, grant: Grant, boot_ms: int) -> RunWindow:
    asked, state = window.asked, knowledge.state
    if asked is None or state is None or grant.nonce != asked.nonce:
        return window
    window = window._replace(asked=None)  # one answer a nonce, right or wrong: the next comes with a new one
    named = digest(dump(asked))
    permit = gate.accept(
        grant, nonce=asked.nonce, request_digest=named, request_boot_ms=asked.boot_ms, epoch=state.epoch, boot_ms=boot_ms
    )
    session = _session_id(grant.session)
    if permit is None or session is None:
        return window
    return window._replace(permit=permit, granted=None if window.session else session)


def _reaped(window: RunWindow, knowledge: Knowledge, ok: bool, boot_ms: int) -> Next:
    """The session is over whether or not its worker could be reaped; until it is, its permit only tells the time."""
    closed = (Close(window.ending),) if window.session else ()
    after = window._replace(session=None, granted=None, asked=None, reaped=ok, permit=None if ok else window.permit)
    after, accounted = _account(after, window, knowledge, boot_ms) if window.answer in HALTED else (after, ())
    return after, (*closed, *accounted)


def _account(window: RunWindow, tied: RunWindow, knowledge: Knowledge, boot_ms: int) -> Next:
    """Halted: nothing more is sent, and once nothing runs any more, each order is obeyed and answered.

    `tied` has the permit by which the time is told.
    """
    thrown = () if window.purged else (ThrowAway(),)
    window = window._replace(purged=True, permit=window.permit if not window.reaped else None, granted=None, asked=None)
    if not window.reaped:
        return window, thrown
    if window.answer is Answer.HALTED_HERE:
        return window._replace(dropped=True), (*thrown, *(() if window.dropped else (Dispose("drop"),)))
    orders = window.orders if window.caught_up else ()
    due = [halt_id for halt_id in orders if halt_id in knowledge.halts and halt_id not in window.acked]
    epoch, done = knowledge.state.epoch if knowledge.state else 0, list[Output]()
    for halt_id in due:
        seen_ms = min(window.seen.get(halt_id, boot_ms), boot_ms)
        told = (service_ms(tied, knowledge, seen_ms), service_ms(tied, knowledge, boot_ms))
        done += [Dispose(knowledge.halts[halt_id].buffer), Acknowledge(halt_id, epoch, *told, seen_ms, boot_ms)]
    return window._replace(acked=window.acked.union(due)), (*thrown, *done)


def _back_off(window: RunWindow, boot_ms: int) -> RunWindow:
    next_ms = min(WORKER_RETRY_MS_MAX, 2 * window.retry_ms)
    return window._replace(retry_at_ms=boot_ms + window.retry_ms, retry_ms=next_ms)


def _session_id(text: str) -> bytes | None:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return None
    return found if len(found) == _SESSION_BYTES else None
