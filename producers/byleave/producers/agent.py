"""One endpoint: carries out what `window.step` says, and takes the events of an open window to the spool (P1, P2, P8).

All contact with the world goes through the ports it is given (source, spool, outbox, `say`, `clock`, `randomness`), so a test
moves time by hand. `main.py` wires the real ones and calls `hear` and `turn` in one loop, on one thread.

A run window is one grant, one capture process, one session, fresh content keys. It ends when the gate closes for any reason:
  not allowed      worker killed and reaped, session ended by an END batch; what was captured while it was allowed is sent
  halted by order  worker killed and reaped, Kafka client thrown away unsent, spool dropped or sealed as ordered, proof signed
The next one begins with a new grant. That, and the order of it all, is decided in `window`; nothing is decided here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import trust
from byleave.control.documents import Ack, digest, dump
from byleave.control.knowledge import Knowledge
from byleave.control.lease import LEASE_MS_MAX
from byleave.control.promised import Promise, promise_of
from byleave.core import metrics
from byleave.core.batches import Boundary
from byleave.core.envelope import Binding, Randomness
from byleave.core.errors import ByleaveError, Refused, Transient
from byleave.core.events import Kind
from byleave.core.keys import recipient
from byleave.producers import never, window
from byleave.producers.batch import Batcher, Cut, Sealer
from byleave.producers.focus_hold import FocusHold
from byleave.producers.gate import Answer, Switches
from byleave.producers.hooks.source import Observed, Source
from byleave.producers.outbox import Outbox
from byleave.producers.person.ring import Ring
from byleave.producers.person.today import Days
from byleave.producers.scope import Scope
from byleave.producers.spool import Spool
from byleave.producers.thin import Thinner

ROOM_AGAIN_MS = 1_000
"""How often a full spool looks for room."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this endpoint is. `agent_digest`: SHA-256 of the running files; `ack_prev`: digest of its last acknowledgement;
    `version`: as installed."""

    endpoint: str
    key: Ed25519PrivateKey
    agent_digest: str
    ack_prev: str
    version: str = ""


@dataclass(slots=True)
class Books:
    """What is kept of the open run window."""

    id: bytes
    opened_ms: int
    hold: FocusHold
    scope: Scope
    thinner: Thinner
    batcher: Batcher
    sealer: Sealer = field(repr=False)
    manifest: str
    promise: Promise
    app: str = ""
    strayed: bool = False
    """Something was found that the manifest does not promise: nothing more is taken."""


@dataclass(slots=True)
class Counts:
    """Sums over the ended windows of this process; `Agent.report` adds the open one. Numbers only."""

    captured: int = 0
    gaps: int = 0
    gate_closed: int = 0
    out_of_scope: int = 0
    thinned: int = 0
    near_focus: int = 0
    discarded: int = 0
    sealed: int = 0
    uncertain: int = 0
    sessions: int = 0
    workers_lost: int = 0


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
        days: Days | None = None,
    ) -> None:
        self._me, self._knowledge, self._source, self._spool, self._outbox = identity, knowledge, source, spool, outbox
        self._say, self._clock, self._randomness = say, clock, randomness
        self._window = window.RunWindow(identity.endpoint, identity.agent_digest, identity.version)
        self._books: Books | None = None
        self._last = (b"", 0)
        self._disposed = (0, "empty")
        self._room_at_ms = 0
        self.ack_prev = identity.ack_prev
        self.halt: dict[str, Any] | None = None
        self._drifted = ("", "")
        """The manifest under which something outside it was found, and the part that was not kept."""
        self.counts = Counts()
        self.ring, self.days = Ring(), days or Days()
        self.observed = 0
        """Events that the last turn took."""

    @property
    def capturing(self) -> bool:
        return self._books is not None

    @property
    def answer(self) -> Answer:
        """Why something is captured, or nothing is."""
        return self._window.answer

    @property
    def may_send(self) -> bool:
        """Whether the spool may drain: never while halted, nor before it is known whether it is, nor while paused."""
        return self._window.answer not in window.CLOSED

    @property
    def lease_left_ms(self) -> int:
        """How long capture would still be allowed if nothing more were heard."""
        beacon = self._knowledge.beacon
        if beacon is None or self._window.permit is None:
            return 0
        return max(0, beacon.service_ms + min(beacon.lease_ms, LEASE_MS_MAX) - self._service_ms(self._clock()))

    def hear(self, documents: Iterable[Any]) -> None:
        """Takes in verified control documents, which `knowledge` has folded already."""
        for document in documents:
            self._step(window.Heard(document))

    def turn(self, switches: Switches, *, caught_up: bool, timeout_s: float) -> None:
        """One turn: decide, obey, ask, collect for at most `timeout_s`."""
        now, self.observed = self._clock(), 0
        self.ring.forget(now)
        if self._spool.full and now >= self._room_at_ms:
            self._room_at_ms = now + ROOM_AGAIN_MS
            self._spool.find_room()
        switches = replace(switches, full=switches.full or self._spool.full, drifted=self._drifted[0])
        self._tick(switches, caught_up, alive=self._books is None or self._source.alive)
        books = self._books
        if books is None:
            return
        observed = self._source.poll(self._clock(), timeout_s)
        self.observed = len(observed)
        if observed:  # time passed since the last answer
            self._tick(switches, caught_up, worked=True)
        if self._books is books:
            self._collect(books, observed)
            if books.strayed:
                self._tick(replace(switches, drifted=self._drifted[0]), caught_up)
        else:
            self.counts.gate_closed += len(observed)
            metrics.GATE_CLOSED.inc(len(observed))

    def state_task(self, text: str) -> None:
        """The person says what follows is for; empty: it is done. Raises Refused where that cannot be taken."""
        books = self._books
        if books is None:
            raise Refused("nothing is captured now, so there is nothing that a task could be said of", reason="not-capturing")
        if "task.text" not in books.promise.fields:
            raise Refused("the manifest that you agreed to does not name tasks", reason="outside-manifest")
        self._take(books, Observed(self._clock(), Kind.TASK, key=text))

    def finish(self) -> None:
        """Ends the open session cleanly and opens no other: the process is about to stop, or the recording is over."""
        self._step(window.Finish())

    def forget(self) -> int:
        """Erases what waits, the last minutes and the account of days, while nothing is captured. How many events waited."""
        if self.capturing:
            raise Transient("capture is still ending")
        self._outbox.throw_away()
        events = self._spool.waiting_events
        self._spool.drop()
        self.counts.discarded += events
        self.ring.clear()
        self.days.clear()
        return events

    def report(self) -> dict[str, Any]:
        """Counts for `report.json`: numbers, a session id and the sentence that the person reads."""
        c, s, last, answer = self.counts, self._books, self._last, self._window.answer
        batcher = s.batcher if s else None
        return {
            "session": (s.id if s else last[0]).hex(), "seq_next": batcher.seq_next if batcher else last[1],
            "captured": c.captured + (batcher.seq_next if batcher else 0), "gaps": c.gaps + (batcher.gaps if batcher else 0),
            "batches": self._outbox.delivered_batches, "delivered_events": self._outbox.delivered_events,
            "gate_closed": c.gate_closed, "out_of_scope": c.out_of_scope + (s.scope.dropped if s else 0),
            "near_focus": c.near_focus + (s.hold.drops if s else 0),
            "thinned": c.thinned + (s.thinner.thinned if s else 0), "sessions": c.sessions, "workers_lost": c.workers_lost,
            "discarded": c.discarded, "sealed": c.sealed, "uncertain": c.uncertain, "waiting": self._spool.waiting,
            "torn": self._spool.torn, "expired": self._spool.expired, "unsaved": self._spool.unsaved,
            "capturing": self.capturing, "exhausted": self._source.exhausted, "answer": answer.value,
            "halted": answer in window.HALTED, "halt": self.halt, "drift": self._drifted[1],
        }  # fmt: skip

    # -- what the core says ---------------------------------------------------------------------------------------------

    def _tick(self, switches: Switches, caught_up: bool, *, alive: bool = True, worked: bool = False) -> None:
        self._step(window.Tick(switches, caught_up, self._randomness(16).hex(), alive, worked))

    def _step(self, given: window.Input) -> None:
        """All outputs are carried out, in order, before the state counts or anything else is given."""
        waiting = deque([given])
        while waiting:
            after, outputs = window.step(self._window, self._knowledge, waiting.popleft(), self._clock())
            waiting.extend(answer for answer in map(self._carry_out, outputs) if answer is not None)
            self._window = after

    def _carry_out(self, output: window.Output) -> window.Input | None:
        match output:
            case window.Kill():
                self.counts.workers_lost += output.lost
                return window.Reaped(self._source.stop())
            case window.Open():
                return self._open(output)
            case window.Close():
                self._close(output.boundary)
            case window.ThrowAway():
                self.counts.uncertain += self._outbox.throw_away()
                self.ring.clear()
            case window.Dispose():
                self._disposed = self._dispose(output.buffer)
            case window.Acknowledge():
                self._acknowledge(output)
            case window.Ask():
                self._say("control.request.v1", trust.sign(output.request, [self._me.key]))
        return None

    def _open(self, opened: window.Open) -> window.Input | None:
        session, run, now = opened.session, opened.session.run, self._clock()
        try:
            to = recipient(run.recipient)
            binding = Binding(self._me.endpoint, session.id, session.epoch, bytes.fromhex(run.manifest), run.key_id)
            self._spool.open_session(binding)
            promise = promise_of(opened.manifest)
            self._source.start(now, titles="title.title" in promise.fields, targets="target" in promise.kinds)
        except (ByleaveError, OSError):
            return window.NotOpened()
        sealer = Sealer(binding, to, self._me.key, self._randomness)
        hold = FocusHold(self._source.focus_hold_ms)
        batcher = Batcher(self._service_ms(now))
        self._books = Books(
            session.id, now, hold, Scope(opened.manifest), Thinner(), batcher, sealer, run.manifest, promise
        )  # fmt: skip
        self.counts.sessions += 1
        return None

    def _close(self, boundary: Boundary) -> None:
        """What the worker still held is gone with it, and so is what was held because the focus might yet have changed."""
        books, self._books = self._books, None
        if books is None:
            return
        drops = books.hold.drops
        books.hold.drop()
        self.days.add(near_focus=books.hold.drops - drops)
        for event in books.thinner.flush():
            self._take(books, event)
        self._keep(books, books.batcher.end(boundary, self._service_ms(self._clock())))
        self._spool.close_session(books.batcher.seq_next, self._service_ms(self._clock()))
        self._last = (books.id, books.batcher.seq_next)
        c = self.counts
        c.captured += books.batcher.seq_next
        c.gaps += books.batcher.gaps
        c.out_of_scope += books.scope.dropped
        c.thinned += books.thinner.thinned
        c.near_focus += books.hold.drops

    def _acknowledge(self, obeyed: window.Acknowledge) -> None:
        (buffered, disposition), (session, seq_next) = self._disposed, self._last
        ack = Ack(
            site=self._knowledge.site, endpoint=self._me.endpoint, session=session.hex(), halt_id=obeyed.halt_id,
            epoch=obeyed.epoch, seen_ms=obeyed.seen_ms, stopped_ms=obeyed.stopped_ms, worker_reaped=True,
            last_seq=max(0, seq_next - 1), buffered=buffered, disposition=disposition, prev=self.ack_prev,
            version=self._me.version,
        )  # fmt: skip
        self.ack_prev = digest(dump(ack))
        self._say("control.ack.v1", trust.sign(ack, [self._me.key]))
        seen_ms, reaped_ms = obeyed.seen_boot_ms, obeyed.reaped_boot_ms
        seconds = (reaped_ms - seen_ms) / 1000
        metrics.HALT_SECONDS.observe(seconds)
        self.halt = {"halt_id": obeyed.halt_id, "order_seen_boot_ms": seen_ms, "reaped_boot_ms": reaped_ms, "seconds": seconds}

    def _dispose(self, buffer: str) -> tuple[int, str]:
        """What becomes of the spool; anything but an order to seal means drop."""
        events, batches = self._spool.waiting_events, self._spool.waiting
        if buffer == "seal":
            self._spool.seal()
            self.counts.sealed += events
        else:
            self._spool.drop()
            self.counts.discarded += events
        return events, "empty" if not batches else "sealed" if buffer == "seal" else "dropped"

    # -- events ---------------------------------------------------------------------------------------------------------

    def _collect(self, session: Books, observed: Iterable[Observed]) -> None:
        before, dropped, drops = session.batcher.seq_next, session.scope.dropped, session.hold.drops
        lost = self._source.take_lost()
        if lost:
            session.hold.lose()
        for cut in session.batcher.lose(lost):
            self._keep(session, cut)
        for event in observed:
            if event.at_ms < session.opened_ms or session.strayed:
                self.counts.gate_closed += 1  # of before this window: it was not allowed then; or after a finding
            elif "title.title" not in session.promise.fields and event.window is not None and never.titled(event.window):
                self._stray(session, "title")  # the source was told not to
            else:
                for certain in session.hold.feed(event):
                    self._see(session, certain)
        for certain in session.hold.settle(self._source.settled_ms):
            self._see(session, certain)
        now = self._clock()
        for event in session.thinner.rest(now):
            self._take(session, event)
        for cut in session.batcher.tick(self._service_ms(now)):
            self._keep(session, cut)
        self._spool.note(session.batcher.seq_next, self._service_ms(now))
        metrics.CAPTURED.inc(session.batcher.seq_next - before)
        metrics.OUT_OF_SCOPE.inc(session.scope.dropped - dropped)
        self.days.add(captured=lost, gaps=lost, near_focus=session.hold.drops - drops)

    def _see(self, session: Books, observed: Observed) -> None:
        admitted = session.scope.admit(observed)
        if observed.kind is Kind.FOCUS:  # whatever has the focus now, what went before is another context
            for event in session.thinner.flush():
                self._take(session, event)
            for cut in session.batcher.boundary(Boundary.FOCUS):
                self._keep(session, cut)
            self.days.see(observed.window)
            session.app = session.scope.application
        if admitted is not None:
            for event in session.thinner.feed(admitted):
                self._take(session, event)

    def _take(self, session: Books, observed: Observed) -> None:
        if session.strayed:
            return
        for account in (self.ring, self.days):
            account.take(observed, session.app)
        for cut in session.batcher.add(observed, self._service_ms(min(observed.at_ms, self._clock()))):
            self._keep(session, cut)

    def _keep(self, session: Books, cut: Cut) -> None:
        """Seals a cut and gives it to the spool; one that holds what was not promised is not sealed, and becomes a gap."""
        if part := session.promise.breach(cut.events):
            self._stray(session, part)
            session.batcher.refuse(cut)
            if cut.boundary in (Boundary.END, Boundary.HALT):
                self._keep(session, session.batcher.end(cut.boundary, cut.hi_max))
            return
        value = session.sealer.seal(cut, self._source.screen, self._clock())
        if not self._spool.keep(cut, value):
            session.batcher.refuse(cut)
            self.days.add(gaps=len(cut.events))
            metrics.SPOOL_GAPS.inc(len(cut.events))
        metrics.SPOOLED_BYTES.set(self._spool.bytes)

    def _stray(self, session: Books, part: str) -> None:
        """Collected is not promised: this session ends, and none begins under this manifest while this process lives."""
        session.strayed, self._drifted = True, (session.manifest, part)
        metrics.DRIFT.labels("endpoint").inc()

    def _service_ms(self, boot_ms: int) -> int:
        return window.service_ms(self._window, self._knowledge, boot_ms)
