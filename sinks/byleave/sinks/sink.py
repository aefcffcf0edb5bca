"""From sanitized records to lake commits: verify, fence again, once and in order, commit (P2, P8; rulings 2, 15, 16, 20).

Promises  a record enters once: its offset and its rows count together, its row numbers continue its stream's; what may not
          pass is refused with its place and reason, and the offset moves on; what cannot be decided yet holds its partition.
Refuses   records not signed by the redactor, moved to another topic or key, halted, to be erased, or sealed under a destroyed
          key.
Broken    rows that are missing or partly there already: no guess and no trimming. Rows of a level or with a column that their
          manifest does not promise: no row of that record is written, and nothing after it (P1).

No client is built here: records come in by `offer`, refusals leave by the function given, the lake is a `Table`.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from byleave.control.admission import SKEW_MS, Admitted, Claim, Refuses, Waits, decide
from byleave.control.documents import Manifest
from byleave.control.knowledge import Knowledge
from byleave.core import dsse, metrics
from byleave.core.batches import SanitizedHeader, SealedBatch, data_key_id, open_sanitized, verify_sanitized
from byleave.core.broker import Received
from byleave.core.envelope import Randomness
from byleave.core.errors import Broken, Forged, Refused
from byleave.core.keyring import KEYS_MAX, KeyringClient
from byleave.core.levels import Level
from byleave.sinks.columns import TABLES, arrow_rows, undue
from byleave.sinks.lake import DataFile, Snapshot, Table
from byleave.sinks.orders import Standing

SOURCES: Mapping[str, tuple[str, Level]] = {
    "sanitized.events.l1.v1": ("events", Level.SHAPE),
    "sanitized.events.l2.v1": ("events", Level.INTERNAL),
    "sanitized.actions.l1.v1": ("actions", Level.SHAPE),
    "sanitized.actions.l2.v1": ("actions", Level.INTERNAL),
    "reviewed.actions.l2.v1": ("actions", Level.INTERNAL),
}
"""Topics that end in the lake, without the site prefix: their table and level."""
ROWS_MAX = 200_000
"""Rows that one commit writes at most, give or take one record."""
QUEUED_MAX = 1_000
"""Records that one partition may hold back before it is paused."""
STREAM_KEEP_MS = 8 * 86_400_000
"""A stream is forgotten a day after its topic has: 7 days of retention."""

Fence = Callable[[Claim], Admitted | Waits | Refuses]
Refuse = Callable[[Received, str, SanitizedHeader | None], None]


@dataclass(slots=True)
class _Staged:
    """Rows of one table and level that the next commit writes."""

    batches: list[pa.RecordBatch] = field(default_factory=list)
    key_ids: set[str] = field(default_factory=set)
    endpoints: set[str] = field(default_factory=set)


class Sink:
    """What stands between two commits. After a conflict or a failed commit it is thrown away and built from the new head."""

    def __init__(
        self, lake: Table, keys: KeyringClient, redactor_keys: Sequence[Ed25519PublicKey], fence: Fence, refuse: Refuse,
        *, standing: Callable[[], Standing], manifests: Callable[[], Mapping[str, Manifest]], site: str,
        random_bytes: Randomness,
    ) -> None:  # fmt: skip
        self._lake, self._keys, self._redactor_keys, self._standing = lake, keys, tuple(redactor_keys), standing
        self._fence, self._refuse, self._site, self._random = fence, refuse, site, random_bytes
        self._manifests = manifests
        self.head: Snapshot = lake.head()
        self._streams = dict(self.head.streams)
        self._queues: dict[str, deque[Received]] = {}
        self._spans: dict[str, tuple[int, int]] = {}
        self._staged: dict[tuple[str, Level], _Staged] = {}
        self._rows = 0
        self.duplicates = 0
        self.waits = ""
        """Why the first waiting record waits; empty if none does."""

    @property
    def pending(self) -> bool:
        """Whether there is anything that a commit would make count."""
        return bool(self._spans)

    @property
    def due(self) -> bool:
        """Whether a commit must come before more is decided: rows in memory and keys in a ticket are bounded."""
        return self._rows >= ROWS_MAX or any(
            max(len(staged.key_ids), len(staged.endpoints)) >= KEYS_MAX for staged in self._staged.values()
        )

    @property
    def full(self) -> set[str]:
        """Partitions, as 'topic/partition', that must not be read from for now."""
        return {place for place, queue in self._queues.items() if len(queue) >= QUEUED_MAX}

    def offer(self, record: Received) -> None:
        """Takes a record as read, in the order of its partition."""
        self._queues.setdefault(_place(record), deque()).append(record)

    def decide(self) -> None:
        """Decides what can be decided, partition by partition, and stops in each at the first record that must wait.

        Raises Broken: rows missing or partly there. Transient: the keyring does not answer; nothing is lost by asking again.
        """
        self.waits = ""
        for place, queue in self._queues.items():
            while queue and not self.due and self._decide(queue[0]):
                record = queue.popleft()
                start = self._spans.get(place, (self.head.offsets.get(place, record.offset), 0))[0]
                self._spans[place] = (start, record.offset + 1)
        metrics.WAITING.set(sum(len(queue) for queue in self._queues.values()))

    def commit(self, now_ms: int) -> Snapshot:
        """Writes what was decided and makes it count, with its offsets. Raises Transient (`conflict`): build anew."""
        files = [
            write_file(self._lake, self._keys, table, int(level), pa.Table.from_batches(staged.batches), self._random)
            for (table, level), staged in sorted(self._staged.items())
        ]
        newest = max((seen_ms for _, seen_ms in self._streams.values()), default=0)
        streams = {name: (row, seen_ms) for name, (row, seen_ms) in self._streams.items() if seen_ms > newest - STREAM_KEEP_MS}
        with metrics.LAKE_COMMIT.time():
            self.head = self._lake.commit(self.head, files, self._spans, streams, now_ms, self._keys.record_commit)
        for file in files:
            metrics.LAKE_ROWS.labels(file.table, str(file.level)).inc(file.rows)
        self._streams, self._spans, self._staged, self._rows = streams, {}, {}, 0
        return self.head

    def _decide(self, record: Received) -> bool:
        """False if the record must wait. All that can fail comes before the first change of state."""
        header: SanitizedHeader | None = None
        try:
            batch = self._verified(record)
            header = batch.header
            stream = _stream(record.topic.removeprefix(self._site), header)
            if not self._fresh(stream, header):
                self.duplicates += 1
                metrics.LAKE_DUPLICATES.inc()
                return True
            answer = self._fence(_claim(header))
            if isinstance(answer, Waits):
                self.waits = self.waits or answer.why
                return False
            if isinstance(answer, Refuses):
                raise Refused("the fence refuses it", reason=answer.reason)
            key = self._keys.data_key(header.key_id)
            rows = arrow_rows(open_sanitized(batch, key), key, self._random)
            if self._standing().discarded(header, rows, TABLES[header.content]):
                raise Refused("an order says that it is to be erased", reason="discarded")
            self._check_promise(header, rows)
        except (Forged, Refused) as refusal:
            self._refuse(record, refusal.reason, header)
            metrics.REFUSED.labels("sink", refusal.reason).inc()
        else:
            self._stage(header, rows)
        if header is not None:  # signed by the redactor: its row numbers are spent, whether its rows may enter or not
            self._streams[stream] = (header.row0 + header.rows, max(header.raw_append_ms, self._streams.get(stream, (0, 0))[1]))
        return True

    def _verified(self, record: Received) -> SealedBatch:
        """A record that the redactor signed for exactly this topic and key. Raises Forged."""
        batch = verify_sanitized(record.value, *self._redactor_keys)
        header = batch.header
        table, level = SOURCES[record.topic.removeprefix(self._site)]
        if (TABLES[header.content], header.level) != (table, level) or record.key != header.endpoint.encode():
            raise Forged("a record of another topic or key", reason="moved-record")
        day = header.key_id.split("/")[1:2]
        if not day or header.key_id != data_key_id(header.subject, day[0], level):
            raise Forged("a record under a key that is not its subject's and level's", reason="wrong-key")
        return batch

    def _check_promise(self, header: SanitizedHeader, rows: pa.RecordBatch) -> None:
        """Collected is not promised: the sink stops. It goes on once an order has said that what was collected is erased."""
        manifest = self._manifests().get(header.manifest.hex())
        part = undue(rows, int(header.level), manifest) if manifest else "anything: the manifest is not known here"
        if part:
            metrics.DRIFT.labels("sink").inc()
            at = f"{header.raw_topic}/{header.raw_partition} offset {header.raw_offset}"
            raise Broken(
                f"what became of raw record {at} holds what its manifest does not promise: {part}. Halt its endpoint with "
                "--discard-since, then start the sink again",
                reason="drift",
            )

    def _fresh(self, stream: str, header: SanitizedHeader) -> bool:
        """Whether its rows are the next of their stream; False if all are known. Raises Broken in between (ruling 20)."""
        expected, end = self._streams.get(stream, (0, 0))[0], header.row0 + header.rows
        if header.row0 == expected:
            return True
        if end <= expected:
            return False
        what = "leave a gap" if header.row0 > expected else "are there in part"
        at = f"{header.raw_topic}/{header.raw_partition} offset {header.raw_offset}"
        raise Broken(f"rows of raw record {at} {what}: row {header.row0}, expected {expected}", reason="row-sequence")

    def _stage(self, header: SanitizedHeader, rows: pa.RecordBatch) -> None:
        staged = self._staged.setdefault((TABLES[header.content], header.level), _Staged())
        staged.batches.append(rows)
        staged.key_ids.add(header.key_id)
        staged.endpoints.add(header.endpoint)
        self._rows += rows.num_rows


def write_file(lake: Table, keys: KeyringClient, table: str, level: int, rows: pa.Table, random_bytes: Randomness) -> DataFile:
    """Writes rows as a file of their own, under a fresh key, with a ticket that says whose they are. It does not count yet."""
    file = random_bytes(16).hex()
    of = {f"{name}s": sorted(rows.column(name).unique().to_pylist()) for name in ("manifest", "key_id", "endpoint")}
    key, ticket = keys.file_key(level, table=table, file=file, **of)
    size = lake.stage(table, level, file, rows, key)
    return DataFile(table, level, file, rows.num_rows, size, tuple(of["manifests"]), ticket)


def fence(knowledge: Knowledge) -> Fence:
    """The rule of admission as the sink asks it.

    The redactor may have read an enrolment a moment before the sink has: an unknown endpoint waits until the beacon is
    well past the record's stamp, and only then is refused.
    """

    def ask(claim: Claim) -> Admitted | Waits | Refuses:
        answer, beacon = decide(claim, knowledge), knowledge.beacon
        early = beacon is None or beacon.service_ms <= claim.append_ms + 2 * SKEW_MS
        return Waits("enrolment-unread") if answer == Refuses("unknown-endpoint") and early else answer

    return ask


def _claim(header: SanitizedHeader) -> Claim:
    return Claim(header.endpoint, header.session, header.epoch, header.hi_max, header.raw_append_ms, header.manifest)


def _place(record: Received) -> str:
    return f"{record.topic}/{record.partition}"


def _stream(topic: str, header: SanitizedHeader) -> str:
    """Name of a stream of rows: a hash, since snapshots are not encrypted and a session's random id cannot be guessed."""
    return hashlib.sha256(dsse.joined(topic.encode(), header.endpoint.encode(), header.session)).hexdigest()[:32]
