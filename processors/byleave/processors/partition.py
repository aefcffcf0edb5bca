"""One input partition: records in, output records out, and what has to be remembered. Pure but for the keys it asks for.

The worker puts records in (`accept`), lets decide what can be decided (`step`), and when a transaction is due takes the rest
(`settle`) and the offset up to which nothing is owed (`committable`). Everything goes out through one function, in order.

Promises  a record is decided once, in the order of its endpoint, and never again once its offset is in the endpoint's state;
          what is refused is named by place and reason, and the next one is looked at: no record stops the partition (P8).
Bounds    the fence's; LATE_MS and KEPT_MS below.

An exception that leaves `step` with a record half decided (the broker's or the queue's) makes this object worthless: the caller
throws it away and restores (rule 12). Only Transient from `data_key` comes before anything changed: ask again later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control.admission import SKEW_MS, Refuses, Waits, decide
from byleave.control.knowledge import Knowledge
from byleave.core import codec
from byleave.core.batches import (
    AdmittedBatch,
    Boundary,
    Content,
    Origin,
    RawBatch,
    RawHeader,
    SanitizedBatch,
    data_key_id,
    refusal,
    seal_sanitized,
    utc_day,
)
from byleave.core.broker import Received
from byleave.core.codec import Record
from byleave.core.envelope import Opener, Randomness
from byleave.core.errors import Broken, Forged, Refused
from byleave.core.events import Screen
from byleave.core.keys import recipient
from byleave.core.levels import Level
from byleave.core.receipts import HOUR_MS, seal_receipt
from byleave.processors.account import DISPOSITIONS, Account
from byleave.processors.fence import Fence
from byleave.processors.intake import OUTSIDE, Examined, claim_of, examine, open_admitted
from byleave.processors.receipts import Hour, begin
from byleave.processors.session import PAST_SESSIONS_MAX, EndpointState, Rules, close, feed
from byleave.processors.state import StateSeal, Stream

LATE_MS = 30 * 60_000
"""An endpoint that was silent for so long, by the broker's stamps on its partition, has vanished (docs/adr/0005). An open
session sends every 10 s; held text must not grow older than an hour (rule 15)."""
KEPT_MS = 13 * 3_600_000
"""A session that is over is remembered for longer than a batch of it could still be admitted from a spool (12 h)."""
STRANGERS = ""
"""The stream of records whose key is no enrolled endpoint's: remembered together, since anybody can make up keys."""
KEY_DESTROYED = "key-destroyed"
WRITTEN = (Level.SHAPE, Level.INTERNAL, Level.PEOPLE)
STATE_TOPIC, ACCOUNT_TOPIC, REFUSED_TOPIC, RECEIPT_TOPIC = "redactor.state.v1", "account.v1", "refused.v1", "receipts.v1"


@dataclass(frozen=True, slots=True)
class Output:
    """A record to write. `topic` without site; `partition` None where the key decides."""

    topic: str
    partition: int | None
    key: bytes
    value: bytes | None = field(repr=False)


Emit = Callable[[Output], None]


@dataclass(frozen=True, slots=True)
class Tools:
    """What deciding needs besides data: built once, by `main`."""

    rules: Rules
    opener: Opener = field(repr=False)
    signer: Ed25519PrivateKey = field(repr=False)
    state_seal: StateSeal = field(repr=False)
    data_key: Callable[[str], bytes] = field(repr=False)
    """Raises Refused (destroyed, not entitled) and Transient (the keyring does not answer)."""
    random_bytes: Randomness = field(repr=False)


class Tally:
    """What happened since the last commit, counted only when committed. Keys: the name of a metric, and its labels."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.admitted_append_ms: list[int] = []


@dataclass(slots=True)
class _Entry:
    received: Received
    examined: Examined | None = None


def topic_of(content: Content, level: Level) -> str:
    """Where a sanitized record goes. Level 3 goes to review, whatever it holds; level 4 has no topic."""
    return "review.l3.v1" if level is Level.PEOPLE else f"sanitized.{content.value.lower()}.l{int(level)}.v1"


class Partition:
    """State with a life cycle: made by a restore, thrown away on revoke and on any error of a transaction."""

    def __init__(self, number: int, count: int, next_offset: int, streams: dict[str, Stream], tools: Tools) -> None:
        """Partition `number` of `count`, to be read from `next_offset` on, with the streams that were restored."""
        self.number = number
        self.next_offset = next_offset
        self.stamp_ms = 0
        """The partition's time: the newest broker stamp seen."""
        self.tally = Tally()
        self.fence: Fence[bytes, _Entry] = Fence()
        self._streams = streams
        self._tools = tools
        self._partitions = count
        self._touched: dict[str, None] = {}
        self._strange: set[bytes] = set()

    def accept(self, received: Received, knowledge: Knowledge) -> None:
        """Takes a record into its key's queue; one that the state already covers is skipped (rule 5)."""
        if received.offset < self.next_offset:
            return
        self.next_offset = received.offset + 1
        self.stamp_ms = max(self.stamp_ms, received.append_ms)
        key = received.key or b""
        endpoint = self._endpoint_of(key, knowledge)
        stream = self._streams.get(endpoint)
        if stream is not None and received.offset <= stream.offset:
            return
        if endpoint == STRANGERS or key in self._strange:  # what began among strangers is decided there, in order
            self._strange.add(key)
            key = b""
        self.fence.offer(key, received.offset, _Entry(received))

    def step(self, knowledge: Knowledge, emit: Emit) -> None:
        """Decides every record that can be decided with what is known."""
        for key, entry in self.fence.due():
            if self._decide(entry, knowledge, emit):
                self.fence.passed(key)
                if not key and not self.fence.holds(key):
                    self._strange.clear()
            else:
                self.fence.waits(key)

    def closing_ms(self, knowledge: Knowledge) -> int | None:
        """The partition's time at which the first session that a halt stopped can be closed; None if there is none."""
        times = [self._halted_ms(endpoint, stream, knowledge) for endpoint, stream in self._streams.items() if stream.open]
        return min((at for at in times if at is not None), default=None)

    def sweep(self, now_ms: int, knowledge: Knowledge, emit: Emit) -> None:
        """Closes endpoints that a halt stopped or that vanished, and forgets sessions long over, by the partition's time.

        `now_ms` is a time of the control service at which the partition was read to its end, or 0: it moves the partition's
        time on where nobody writes. Everything decided here goes into the same transaction as its state.
        """
        self.stamp_ms = max(self.stamp_ms, now_ms)
        settled = self.committable
        for endpoint, stream in list(self._streams.items()):
            if endpoint == STRANGERS or self.fence.holds(endpoint.encode()):
                continue
            halted_ms = self._halted_ms(endpoint, stream, knowledge) if stream.open else None
            if halted_ms is not None and self.stamp_ms > halted_ms:
                self._close(endpoint, stream, emit, vanished=False)
            elif stream.open and self.stamp_ms - stream.append_ms > LATE_MS:
                self._close(endpoint, stream, emit, vanished=True)
            if stream.hour is not None and stream.hour.counted(stream.state.account):
                self._turn(endpoint, stream, self.stamp_ms, knowledge, emit)
            if not stream.open and self.stamp_ms - stream.append_ms > KEPT_MS and settled > stream.offset:
                del self._streams[endpoint]
                self._touched.pop(endpoint, None)
                emit(Output(STATE_TOPIC, self.number, endpoint.encode(), None))

    def settle(self, emit: Emit) -> None:
        """The state and the account of every endpoint touched since the last commit: once each."""
        for endpoint in self._touched:
            stream = self._streams[endpoint]
            sealed = self._tools.state_seal.seal(endpoint, self.number, stream)
            emit(Output(STATE_TOPIC, self.number, endpoint.encode(), sealed))
            if stream.last is not None:
                self._account(endpoint, stream.state.session, stream.state.account, stream, emit)
        self._touched.clear()

    @property
    def unsettled(self) -> bool:
        """Whether the state and account of some endpoint are yet to be written, be it that no row came of what changed them."""
        return bool(self._touched)

    @property
    def committable(self) -> int:
        """The offset to commit: the oldest record that waits, or the next one to read (rule 6)."""
        oldest = self.fence.oldest
        return self.next_offset if oldest is None else oldest

    @property
    def endpoints(self) -> Mapping[str, Stream]:
        return self._streams

    def _endpoint_of(self, key: bytes, knowledge: Knowledge) -> str:
        try:
            name = key.decode()
        except UnicodeDecodeError:
            return STRANGERS
        return name if name in knowledge.enrolments or name in self._streams else STRANGERS

    def _decide(self, entry: _Entry, knowledge: Knowledge, emit: Emit) -> bool:
        """Whether the record is decided. Refusals are decisions; waiting is not."""
        received = entry.received
        try:
            if entry.examined is None:
                entry.examined = examine(received, knowledge, self._partitions)
            verdict = decide(claim_of(entry.examined, received), knowledge)
            if isinstance(verdict, Waits):
                return False
            if isinstance(verdict, Refuses):
                raise Refused("the fence refuses it", reason=verdict.reason)
            self._check_drift(entry.examined)
            batch = open_admitted(entry.examined, received, verdict.t_star, knowledge, self._tools.opener)
            self._apply(batch, knowledge, emit)
        except (Forged, Refused) as error:
            if error.reason == "unknown-endpoint" and not _heard_after(received.append_ms, knowledge):
                return False  # its enrolment may still be on its way
            self._refuse(error.reason, entry, knowledge, emit)
        return True

    def _check_drift(self, examined: Examined) -> None:
        header = examined.batch.header
        if header.session in self._stream(header.endpoint).state.drifted:
            raise Refused("its session held what the manifest does not promise", reason="drift")

    def _apply(self, batch: AdmittedBatch, knowledge: Knowledge, emit: Emit) -> None:
        """Feeds an admitted batch. Raises Refused before anything changed but the hour."""
        header, stream = batch.header, self._stream(batch.header.endpoint)
        keys = self._keys(batch)
        hour = self._turn(header.endpoint, stream, batch.origin.append_ms, knowledge, emit)
        before = self._counters(stream, header.session)
        found = feed(stream.state, batch, self._tools.rules)
        self._publish(found, keys, emit)
        self._take_closed(header.endpoint, stream, emit)
        self._decided(header.endpoint, batch.origin, stream)
        stream.remember(batch)
        hour.late += header.count if header.hi_max < hour.hour_ms else 0
        self.tally.counts["admitted",] += header.count
        self.tally.admitted_append_ms.append(batch.origin.append_ms)
        self.tally.counts += self._counters(stream, stream.state.session) - before

    def _refuse(self, reason: str, entry: _Entry, knowledge: Knowledge, emit: Emit) -> None:
        received, examined = entry.received, entry.examined
        endpoint = self._endpoint_of(received.key or b"", knowledge)
        stream = self._stream(endpoint)
        self._turn(endpoint, stream, received.append_ms, knowledge, emit)
        if examined is not None:
            self._step_over(examined, received, stream, emit)
            if reason == OUTSIDE:
                self._end_drifted(examined.batch.header, stream, emit)
        value = refusal(reason, "REDACTOR", received, endpoint, examined.batch.header if examined else None)
        emit(Output(REFUSED_TOPIC, None, endpoint.encode(), value))
        heard_ms = stream.append_ms if examined is None and stream.open else received.append_ms
        self._decided(endpoint, Origin.of(received), stream)
        stream.append_ms = heard_ms  # what others write in its name does not keep what it typed waiting
        self.tally.counts["refused", "redactor", reason] += 1

    def _end_drifted(self, header: RawHeader, stream: Stream, emit: Emit) -> None:
        """Collected is not promised: nothing of this session is admitted any more, and what is held is decided (P1)."""
        state = stream.state
        if header.session not in state.drifted:
            state.drifted = [*state.drifted, header.session][-PAST_SESSIONS_MAX:]
        if stream.open and state.session == header.session:
            self._close(header.endpoint, stream, emit, vanished=True)
        self.tally.counts["drift", "redactor"] += 1

    def _step_over(self, examined: Examined, received: Received, stream: Stream, emit: Emit) -> None:
        """A signed batch was refused: the session goes on behind it, as behind a gap, and its events are counted as refused.

        Without this every later batch of the session would be out of order. A batch that is itself out of order moves nothing.
        """
        header, state = examined.batch.header, stream.state
        same = header.session == state.session
        due = (state.next_seq if same else 0) + header.gap
        if header.seq0 < due or header.session in state.past:
            return  # a copy: its events have been counted
        if header.seq0 == due and not (same and state.ended):
            hole = _hole(examined.batch, examined.subject, received, stream.last if same else None)
            if not same and stream.open:
                self._close(header.endpoint, stream, emit, vanished=True)
            keys = self._keys_if_any(hole)
            self._publish(feed(state, hole, self._tools.rules), keys, emit)
            self._take_closed(header.endpoint, stream, emit)
            state.account.gaps -= header.count
            stream.remember(hole)
            same = True
        if same:
            state.account.refused += header.count

    @staticmethod
    def _halted_ms(endpoint: str, stream: Stream, knowledge: Knowledge) -> int | None:
        """From when on, by the partition's time, nothing more of this session can be admitted: what a halted endpoint sends is
        refused if the broker stamps it later than the order's time and the skew of the two clocks (ruling 3)."""
        if stream.last is None or not knowledge.halts:
            return None
        header = stream.last.header
        orders = (
            o for o in knowledge.orders(endpoint, "capture", header.epoch) if not o.until_ms or header.hi_max < o.until_ms
        )
        times = [o.effective_ms for o in orders if o.effective_ms is not None and knowledge.read(o.halt_id)]
        return min(times) + 2 * SKEW_MS if times else None

    def _close(self, endpoint: str, stream: Stream, emit: Emit, *, vanished: bool) -> None:
        last = stream.last
        if last is None:
            return
        keys = self._keys_if_any(last)
        before = self._counters(stream, stream.state.session)
        self._publish(close(stream.state, self._tools.rules, last, vanished=vanished), keys, emit)
        self.tally.counts += self._counters(stream, stream.state.session) - before
        self._touched[endpoint] = None

    def _publish(self, batches: Iterable[SanitizedBatch], keys: Mapping[str, bytes], emit: Emit) -> None:
        tools = self._tools
        for batch in batches:
            header = batch.header
            key = keys.get(header.key_id)
            if key is None:
                continue  # destroyed on order: what it would seal is not to be readable by anybody
            value = seal_sanitized(batch, key, tools.signer, tools.random_bytes)
            emit(Output(topic_of(header.content, header.level), self.number, header.endpoint.encode(), value))
            self.tally.counts["rows", header.content.value, str(int(header.level))] += header.rows

    def _keys(self, batch: AdmittedBatch) -> dict[str, bytes]:
        """The data keys of the batch's person and day, before anything is decided: a refusal then changes nothing.

        Raises Refused (`key-destroyed`: the person's day was erased); Broken if the keyring denies them for another reason.
        """
        names = [data_key_id(batch.subject, utc_day(batch.header.hi_max), level) for level in WRITTEN]
        try:
            return {name: self._tools.data_key(name) for name in names}
        except Refused as error:
            if error.reason == KEY_DESTROYED:
                raise
            raise Broken(f"the keyring denies the redactor a data key ({error.reason})", reason="keyring-denies") from None

    def _keys_if_any(self, batch: AdmittedBatch) -> dict[str, bytes]:
        try:
            return self._keys(batch)
        except Refused:
            return {}

    def _stream(self, endpoint: str) -> Stream:
        return self._streams.setdefault(endpoint, Stream(EndpointState()))

    def _decided(self, endpoint: str, origin: Origin, stream: Stream) -> None:
        stream.offset, stream.append_ms = origin.offset, origin.append_ms
        self._touched[endpoint] = None

    def _take_closed(self, endpoint: str, stream: Stream, emit: Emit) -> None:
        """The last account of each session that a newer one closed."""
        for session, account in stream.state.closed:
            self._account(endpoint, session, account, stream, emit)
            if stream.hour is not None:
                stream.hour.end_session(account)
        stream.state.closed.clear()

    def _turn(self, endpoint: str, stream: Stream, at_ms: int, knowledge: Knowledge, emit: Emit) -> Hour:
        """The endpoint's hour at a time of its partition; if that is another than before, the receipt of that one goes out.

        Stamps that run back, as after a change of the partition's leader, do not open an hour a second time.
        """
        hour, account = stream.hour, stream.state.account
        if hour is not None and at_ms < hour.hour_ms + HOUR_MS:
            return hour
        if hour is not None and hour.counted(account):
            self._receipt(hour.counts(endpoint, account, self._tools.rules.digest), knowledge, emit)
        stream.hour = begin(at_ms, account)
        self._touched[endpoint] = None
        return stream.hour

    def _receipt(self, counts: Record, knowledge: Knowledge, emit: Emit) -> None:
        """To an endpoint that was enrolled without a receipt key none goes out."""
        enrolment = knowledge.enrolments.get(counts["endpoint"])
        if enrolment is None or not enrolment.receipt_key:
            return
        try:
            key, value = seal_receipt(self._tools.state_seal.site, recipient(enrolment.receipt_key), counts, self._tools.signer)
        except Refused as error:
            self.tally.counts["refused", "receipt", error.reason] += 1
        else:
            emit(Output(RECEIPT_TOPIC, None, key, value))

    def _account(self, endpoint: str, session: bytes, account: Account, stream: Stream, emit: Emit) -> None:
        record = account.record(endpoint, session, stream.last.subject if stream.last else "")
        key = f"{endpoint}/{session.hex()}".encode()
        emit(Output(ACCOUNT_TOPIC, self.number, key, codec.encode("account", record)))

    @staticmethod
    def _counters(stream: Stream, session: bytes) -> Counter[tuple[str, ...]]:
        """The session's counters so far, as the tally names them; none yet where the next batch begins it."""
        account = stream.state.account
        if session != stream.state.session:
            return Counter()
        disposed = {("disposed", name): getattr(account, name) for name in DISPOSITIONS.values()}
        return Counter(disposed | {("labels", label): count for label, count in account.labels.items()})


def _heard_after(append_ms: int, knowledge: Knowledge) -> bool:
    """Whether a beacon is newer than the broker's stamp: documents that were there before the record have been read by then."""
    beacon = knowledge.beacon
    return beacon is not None and beacon.service_ms > append_ms + SKEW_MS


def _hole(batch: RawBatch, subject: str, received: Received, last: AdmittedBatch | None) -> AdmittedBatch:
    """An empty batch in place of a refused one. What it decides is signed under the session's last admitted batch, since
    nothing that a refused header says is believed but its place in the sequence."""
    header = batch.header
    place = {"seq0": header.seq_end, "gap": header.gap + header.count, "count": 0, "boundary": Boundary.NONE}
    if last is not None:
        return replace(last, header=replace(last.header, **place), events=())  # type: ignore[arg-type]
    hi = min(header.hi_max, received.append_ms)
    fresh = replace(header, **place, hi_min=min(header.hi_min, hi), hi_max=hi, wrap=b"")  # type: ignore[arg-type]
    return AdmittedBatch(fresh, subject, Origin.of(received), 0, (), Screen(0, 0))
