"""The endpoint's core: opens and ends run windows as the gate says, and obeys orders (P1, P2; docs/formats/control.md).

All contact with the world goes through the ports it is given (source, spool, outbox, `say`, `clock`, `randomness`), so a test
moves time by hand. `main.py` wires the real ones and calls `hear` and `turn` in one loop, on one thread.

A run window is one grant, one capture process, one session, fresh content keys. It ends when the gate closes for any reason:
  not allowed      worker killed and reaped, session ended by an END batch; what was captured while it was allowed is sent
  halted by order  worker killed and reaped, Kafka client thrown away unsent, spool dropped or sealed as ordered, proof signed
The next one begins with a new grant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import trust
from byleave.control.documents import Ack, Beacon, Grant, Halt, Request, Run, digest, dump
from byleave.control.knowledge import Knowledge
from byleave.control.lease import LEASE_MS_MAX, Permit, permit_time_ms
from byleave.core import metrics
from byleave.core.batches import Boundary
from byleave.core.envelope import Binding, Randomness
from byleave.core.errors import ByleaveError
from byleave.core.events import Kind
from byleave.core.keys import recipient
from byleave.producers import gate
from byleave.producers.batch import Batcher, Cut, Sealer
from byleave.producers.gate import Answer, Permission, Switches
from byleave.producers.hooks.source import Observed, Source
from byleave.producers.outbox import Outbox
from byleave.producers.scope import Scope
from byleave.producers.spool import Spool
from byleave.producers.thin import Thinner

ASK_AGAIN_MS = 2_000
BEACON_FRESH_MS = 3_000
"""A grant is asked for only while beacons are heard: nobody is asked into silence."""
WORKER_RETRY_MS_MIN = 1_000
WORKER_RETRY_MS_MAX = 30_000
_SESSION_BYTES = 16


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this endpoint is. `agent_digest`: SHA-256 of the running files; `ack_prev`: digest of its last acknowledgement."""

    endpoint: str
    key: Ed25519PrivateKey
    agent_digest: str
    ack_prev: str


@dataclass(slots=True)
class Session:
    """One run window."""

    id: bytes
    epoch: int
    run: Run
    opened_ms: int
    scope: Scope
    thinner: Thinner
    batcher: Batcher
    sealer: Sealer = field(repr=False)


@dataclass(slots=True)
class Counts:
    """Sums over the ended windows of this process; `Agent.report` adds the open one. Numbers only."""

    captured: int = 0
    gaps: int = 0
    gate_closed: int = 0
    out_of_scope: int = 0
    thinned: int = 0
    discarded: int = 0
    sealed: int = 0
    uncertain: int = 0
    sessions: int = 0
    workers_lost: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """The one request that an answer is awaited to."""

    nonce: str
    digest: str
    boot_ms: int


class Agent:
    """One endpoint. `say(topic, value)` publishes a control document under this endpoint's key; it does not block."""

    def __init__(
        self,
        identity: Identity,
        knowledge: Knowledge,
        source: Source,
        spool: Spool,
        outbox: Outbox,
        *,
        say: Callable[[str, bytes], None],
        clock: Callable[[], int],
        randomness: Randomness,
    ) -> None:
        self._me, self._knowledge, self._source, self._spool, self._outbox = identity, knowledge, source, spool, outbox
        self._say, self._clock, self._randomness = say, clock, randomness
        self._permit: Permit | None = None
        self._granted: bytes | None = None
        self._asked: Asked | None = None
        self._asked_ms = -ASK_AGAIN_MS
        self._beacon_ms = -BEACON_FRESH_MS
        self._session: Session | None = None
        self._last = (b"", 0)
        self._reaped = True
        self._finished = False
        self._retry_ms, self._retry_at_ms = WORKER_RETRY_MS_MIN, 0
        self._seen: dict[str, int] = {}
        self._acked: set[str] = set()
        self._answer = Answer.UNREAD
        self.ack_prev = identity.ack_prev
        self.halt: dict[str, Any] | None = None
        self.counts = Counts()

    @property
    def capturing(self) -> bool:
        return self._session is not None

    @property
    def may_send(self) -> bool:
        """Whether the spool may drain: never while halted, nor before it is known whether it is."""
        return self._answer not in (Answer.HALTED, Answer.HALTED_HERE, Answer.UNREAD)

    @property
    def lease_left_ms(self) -> int:
        """How long capture would still be allowed if nothing more were heard."""
        beacon = self._knowledge.beacon
        if beacon is None or self._permit is None:
            return 0
        return max(0, beacon.service_ms + min(beacon.lease_ms, LEASE_MS_MAX) - self._service_ms(self._clock()))

    def hear(self, documents: Iterable[Any]) -> None:
        """Takes in verified control documents, which `knowledge` has folded already."""
        for document in documents:
            if isinstance(document, Grant):
                self._accept(document)
            elif isinstance(document, Beacon):
                self._beacon_ms = self._clock()
            elif isinstance(document, Halt):
                for halt_id in self._knowledge.halts:
                    self._seen.setdefault(halt_id, self._clock())

    def turn(self, switches: Switches, *, caught_up: bool, timeout_s: float) -> Permission:
        """One turn: decide, obey, ask, collect for at most `timeout_s`."""
        permission = self._decide(switches, caught_up)
        self._obey(permission, caught_up)
        now = self._clock()
        renew = self._session is not None and self._permit is not None and now - self._permit.request_boot_ms >= gate.RENEW_MS
        if renew or (permission.ask and not self._finished and now >= self._retry_at_ms):
            self._ask(now)
        if self._session is not None:
            self._collect(self._session, switches, caught_up, timeout_s)
        return permission

    def finish(self) -> None:
        """Ends the open session cleanly and opens no other: the process is about to stop, or the recording is over."""
        self._finished = True
        if self._session is not None:
            self._end(self._session, Boundary.END)

    def report(self) -> dict[str, Any]:
        """Counts for `report.json`: numbers, a session id and the sentence that the person reads."""
        c, s, last = self.counts, self._session, self._last
        batcher = s.batcher if s else None
        return {
            "session": (s.id if s else last[0]).hex(), "seq_next": batcher.seq_next if batcher else last[1],
            "captured": c.captured + (batcher.seq_next if batcher else 0), "gaps": c.gaps + (batcher.gaps if batcher else 0),
            "batches": self._outbox.delivered_batches, "delivered_events": self._outbox.delivered_events,
            "gate_closed": c.gate_closed, "out_of_scope": c.out_of_scope + (s.scope.dropped if s else 0),
            "thinned": c.thinned + (s.thinner.thinned if s else 0), "sessions": c.sessions, "workers_lost": c.workers_lost,
            "discarded": c.discarded, "sealed": c.sealed, "uncertain": c.uncertain, "waiting": self._spool.waiting,
            "torn": self._spool.torn, "expired": self._spool.expired, "capturing": self.capturing,
            "exhausted": self._source.exhausted, "answer": self._answer.value,
            "halted": self._answer in (Answer.HALTED, Answer.HALTED_HERE), "halt": self.halt,
        }  # fmt: skip

    def _decide(self, switches: Switches, caught_up: bool) -> Permission:
        permission = gate.decide(
            self._knowledge, self._me.endpoint, self._permit, switches, caught_up=caught_up, boot_ms=self._clock()
        )
        if permission.answer is Answer.NO_GRANT and self._clock() - self._beacon_ms > BEACON_FRESH_MS:
            permission = replace(permission, answer=Answer.STALE)  # nobody is there to ask
        self._answer = permission.answer
        return permission

    def _obey(self, permission: Permission, caught_up: bool) -> None:
        session = self._session
        if not self._reaped:
            self._reaped = self._source.stop()
        if permission.answer in (Answer.HALTED, Answer.HALTED_HERE):
            self._stop(session, permission, caught_up)
        elif session is not None and (session.epoch, session.run, True) != (
            permission.epoch,
            permission.run,
            permission.allowed,
        ):
            self._end(session, Boundary.END)
        elif session is not None and not self._source.alive:
            self.counts.workers_lost += 1
            self._end(session, Boundary.END)
            self._back_off()
        elif session is None and permission.allowed and self._reaped and self._clock() >= self._retry_at_ms:
            self._open(permission)

    # -- run windows ----------------------------------------------------------------------------------------------------

    def _open(self, permission: Permission) -> None:
        run, manifest, session_id, permit = permission.run, permission.manifest, self._granted, self._permit
        if run is None or manifest is None or session_id is None or permit is None or self._finished:
            return
        self._granted = None
        now = self._clock()
        try:
            to = recipient(run.recipient)
            self._spool.open_session(session_id)
            self._source.start(now, titles="title" in manifest.kinds)
        except (ByleaveError, OSError):
            self._permit = None
            self._reaped = self._source.stop()
            self._back_off()
            return
        binding = Binding(self._me.endpoint, session_id, permission.epoch, bytes.fromhex(run.manifest), run.key_id)
        sealer = Sealer(binding, to, self._me.key, self._randomness)
        batcher = Batcher(permit_time_ms(permit, now))
        self._session = Session(session_id, permission.epoch, run, now, Scope(manifest), Thinner(), batcher, sealer)
        self.counts.sessions += 1

    def _end(self, session: Session, boundary: Boundary) -> None:
        """Kills the worker first, then closes the session's books. What the worker still held is gone with it."""
        self._reaped = self._source.stop()
        self._session = None
        now = self._clock()
        for event in session.thinner.flush():
            self._take(session, event)
        self._keep(session, session.batcher.end(boundary, self._service_ms(now)))
        self._permit = self._granted = self._asked = None
        self._last = (session.id, session.batcher.seq_next)
        c = self.counts
        c.captured += session.batcher.seq_next
        c.gaps += session.batcher.gaps
        c.out_of_scope += session.scope.dropped
        c.thinned += session.thinner.thinned

    def _back_off(self) -> None:
        self._retry_at_ms = self._clock() + self._retry_ms
        self._retry_ms = min(WORKER_RETRY_MS_MAX, 2 * self._retry_ms)

    # -- events ---------------------------------------------------------------------------------------------------------

    def _collect(self, session: Session, switches: Switches, caught_up: bool, timeout_s: float) -> None:
        observed = self._source.poll(self._clock(), timeout_s)
        permission = self._decide(switches, caught_up)  # time passed since the last answer
        if not permission.allowed:
            self.counts.gate_closed += len(observed)
            metrics.GATE_CLOSED.inc(len(observed))
            self._obey(permission, caught_up)
            return
        before, dropped = session.batcher.seq_next, session.scope.dropped
        for cut in session.batcher.lose(self._source.take_lost()):
            self._keep(session, cut)
        for event in observed:
            if event.at_ms < session.opened_ms:
                self.counts.gate_closed += 1  # of before this window: it was not allowed then
            else:
                self._see(session, event)
        now = self._clock()
        for event in session.thinner.rest(now):
            self._take(session, event)
        for cut in session.batcher.tick(self._service_ms(now)):
            self._keep(session, cut)
        if observed:
            self._retry_ms = WORKER_RETRY_MS_MIN
        metrics.CAPTURED.inc(session.batcher.seq_next - before)
        metrics.OUT_OF_SCOPE.inc(session.scope.dropped - dropped)

    def _see(self, session: Session, observed: Observed) -> None:
        admitted = session.scope.admit(observed)
        if observed.kind is Kind.FOCUS:  # whatever has the focus now, what went before is another context
            for event in session.thinner.flush():
                self._take(session, event)
            for cut in session.batcher.boundary(Boundary.FOCUS):
                self._keep(session, cut)
        if admitted is not None:
            for event in session.thinner.feed(admitted):
                self._take(session, event)

    def _take(self, session: Session, observed: Observed) -> None:
        for cut in session.batcher.add(observed, self._service_ms(min(observed.at_ms, self._clock()))):
            self._keep(session, cut)

    def _keep(self, session: Session, cut: Cut) -> None:
        value = session.sealer.seal(cut, self._source.screen, self._clock())
        if not self._spool.keep(cut.batch, value, len(cut.events), cut.hi_max):
            session.batcher.refuse(cut)
            metrics.SPOOL_GAPS.inc(len(cut.events))
        metrics.SPOOLED_BYTES.set(self._spool.bytes)

    # -- orders ---------------------------------------------------------------------------------------------------------

    def _stop(self, session: Session | None, permission: Permission, caught_up: bool) -> None:
        """Halted. The worker dies first; the rest follows, and the proof last."""
        now = self._clock()
        reaped_ms, last_ms = now, self._service_ms(now)
        if session is not None:
            self._end(session, Boundary.HALT)
            reaped_ms = self._clock()
        self.counts.uncertain += self._outbox.throw_away()
        self._permit = self._granted = self._asked = None
        if not self._reaped:
            return
        if permission.answer is Answer.HALTED_HERE:
            if self._spool.bytes:
                self._dispose("drop")
            return
        if not caught_up:
            return
        for halt_id in gate.standing_orders(self._knowledge, self._me.endpoint):
            order = self._knowledge.halts.get(halt_id)
            if order is not None and halt_id not in self._acked:
                seen_ms = min(self._seen.get(halt_id, now), reaped_ms)
                self._acknowledge(halt_id, order, permission.epoch, last_ms, seen_ms, reaped_ms)

    def _acknowledge(self, halt_id: str, order: Halt, epoch: int, service_ms: int, seen_ms: int, reaped_ms: int) -> None:
        buffered = self._spool.waiting_events
        disposition = self._dispose(order.buffer)
        session, seq_next = self._last
        ack = Ack(
            site=self._knowledge.site, endpoint=self._me.endpoint, session=session.hex(), halt_id=halt_id, epoch=epoch,
            seen_ms=service_ms, stopped_ms=service_ms + reaped_ms - seen_ms, worker_reaped=self._reaped,
            last_seq=max(0, seq_next - 1), buffered=buffered, disposition=disposition, prev=self.ack_prev,
        )  # fmt: skip
        self.ack_prev = digest(dump(ack))
        self._say("control.ack.v1", trust.sign(ack, [self._me.key]))
        self._acked.add(halt_id)
        seconds = (reaped_ms - seen_ms) / 1000
        metrics.HALT_SECONDS.observe(seconds)
        self.halt = {"halt_id": halt_id, "order_seen_boot_ms": seen_ms, "reaped_boot_ms": reaped_ms, "seconds": seconds}

    def _dispose(self, buffer: str) -> str:
        """What becomes of the spool; anything but an order to seal means drop."""
        events, batches = self._spool.waiting_events, self._spool.waiting
        if buffer == "seal":
            self._spool.seal()
            self.counts.sealed += events
        else:
            self._spool.drop()
            self.counts.discarded += events
        if not batches:
            return "empty"
        return "sealed" if buffer == "seal" else "dropped"

    # -- grants ---------------------------------------------------------------------------------------------------------

    def _ask(self, now: int) -> None:
        if now - self._asked_ms < ASK_AGAIN_MS:
            return
        request = Request(
            self._knowledge.site,
            self._me.endpoint,
            self._randomness(16).hex(),
            now,
            self._me.agent_digest,
            self._knowledge.root.version,
        )
        self._asked, self._asked_ms = Asked(request.nonce, digest(dump(request)), now), now
        self._say("control.request.v1", trust.sign(request, [self._me.key]))

    def _accept(self, grant: Grant) -> None:
        asked, state = self._asked, self._knowledge.state
        if asked is None or state is None or grant.nonce != asked.nonce:
            return
        self._asked = None  # one answer a nonce, right or wrong: the next comes with a new one
        permit = gate.accept(
            grant, nonce=asked.nonce, request_digest=asked.digest, request_boot_ms=asked.boot_ms, epoch=state.epoch,
            boot_ms=self._clock(),
        )  # fmt: skip
        session = _session_id(grant.session)
        if permit is None or session is None:
            return
        self._permit = permit
        if self._session is None:
            self._granted = session

    def _service_ms(self, boot_ms: int) -> int:
        """The latest that the service's clock can read; where nothing ties the clocks, the newest beacon's time."""
        if self._permit is not None:
            return permit_time_ms(self._permit, boot_ms)
        return self._knowledge.beacon.service_ms if self._knowledge.beacon else 0


def _session_id(text: str) -> bytes | None:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return None
    return found if len(found) == _SESSION_BYTES else None
