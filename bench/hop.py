"""The transport hop: a batch of columns against one message per event, on a real broker, exactly once, mutual TLS.

Both loops do the same trivial work (mask vowels, clear the modifiers), so the figure is that of the transport and its layout:
the ceiling of the product, not the product. CPU-seconds of this process, all threads, are compared; wall time moves with the
machine.
"""

from __future__ import annotations

import io
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fastavro
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from byleave.core import codec, envelope
from byleave.core.batches import RawHeader, open_raw, parse_raw, seal_raw, verify_raw
from byleave.core.envelope import Binding, Opener, fresh_key
from byleave.core.events import Event, KeyEvent, Kind, PointerEvent, Screen
from byleave.core.kafka import Options, consumer_options, producer_options

PARTITIONS = 4
COMMIT_S = 0.1
BATCH = 250
_BIG = {"linger.ms": 20, "batch.size": 262_144, "queue.buffering.max.messages": 500_000}

EVENT = fastavro.parse_schema(
    {
        "type": "record",
        "name": "InputEvent",
        "fields": [
            {"name": "event_id", "type": {"type": "fixed", "name": "Id", "size": 16}},
            {"name": "endpoint", "type": "string"},
            {"name": "session", "type": "string"},
            {"name": "seq", "type": "long"},
            {"name": "at_us", "type": "long"},
            {"name": "boot_us", "type": "long"},
            {
                "name": "kind",
                "type": {"type": "enum", "name": "Kind", "symbols": ["PRESS", "RELEASE", "MOVE", "CLICK", "SCROLL"]},
            },
            {"name": "app", "type": "string"},
            {"name": "window", "type": "bytes"},
            {"name": "x", "type": ["null", "int"]},
            {"name": "y", "type": ["null", "int"]},
            {"name": "key", "type": ["null", "string"]},
            {"name": "modifiers", "type": "int"},
            {"name": "consent", "type": "string"},
            {"name": "epoch", "type": "long"},
        ],
    }
)


@dataclass(frozen=True, slots=True)
class Hop:
    """One loop's result. `per_cpu_s` is events per CPU-second of the client process."""

    name: str
    events: int
    per_s: float
    per_cpu_s: float


def rows_of_events(count: int) -> list[bytes]:
    """One Avro record an event, 15 fields, about 173 bytes: what a recorder without batches would send."""
    rng = random.Random(1)
    rows = []
    for n in range(count):
        key = n % 5 < 2
        record = {
            "event_id": rng.randbytes(16),
            "endpoint": f"ep-{n % 64:04d}.corp.example",
            "session": "0190e1c2-1111-7abc-8def-0123456789ab",
            "seq": n,
            "at_us": 1_760_000_000_000_000 + n * 4000,
            "boot_us": 10_000_000_000_000 + n * 4000,
            "kind": ["PRESS", "RELEASE", "MOVE", "MOVE", "CLICK"][n % 5],
            "app": "code",
            "window": rng.randbytes(32),
            "x": None if key else n % 3000,
            "y": None if key else n % 2000,
            "key": "abcdefghij"[n % 10] if key else None,
            "modifiers": 0,
            "consent": "consent/2026-01/abcdef0123456789",
            "epoch": 42,
        }
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, EVENT, record)
        rows.append(buffer.getvalue())
    return rows


def full_events(seq0: int, hi_min: int) -> list[Event]:
    """A full batch of the sample's mix: two keys, two moves, one button in five."""
    events: list[Event] = []
    for n in range(BATCH):
        at = hi_min + n * 4
        if n % 5 < 2:
            events.append(KeyEvent(seq0 + n, at, Kind.PRESS if n % 5 == 0 else Kind.RELEASE, "abcdefghij"[n % 10]))
        else:
            kind = Kind.MOVE if n % 5 < 4 else (Kind.BUTTON_DOWN, Kind.BUTTON_UP)[n // 5 % 2]
            events.append(PointerEvent(seq0 + n, at, kind, n * 7 % 1900, n * 3 % 1000, 1 if kind is not Kind.MOVE else 0))
    return events


class _Sealer:
    """Seals full batches for one made-up endpoint and opens them again."""

    def __init__(self) -> None:
        self.recipient = X25519PrivateKey.generate()
        self.signer = Ed25519PrivateKey.generate()
        self.opener = Opener({"r1": self.recipient})
        self.batch = 0
        self._key: envelope.ContentKey | None = None

    def seal(self, events: list[Event], hi_min: int) -> bytes:
        binding = Binding("ep-bench", b"s" * 16, 1, b"m" * 32, "r1")
        if self._key is None or self._key.spent(0):
            self._key = fresh_key(binding, self.recipient.public_key(), 0, os.urandom)
        header = RawHeader(
            "ep-bench",
            b"s" * 16,
            1,
            self.batch,
            events[0].seq,
            len(events),
            0,
            hi_min,
            hi_min + 1000,
            b"m" * 32,
            "r1",
            self._key.wrap,
        )
        self.batch += 1
        return seal_raw(header, events, Screen(1920, 1080), self._key, self.signer)


def run(connection: Options, events: int) -> list[Hop]:
    """Both hops in one run, alternating twice; the better of each is kept. Topics are made and removed."""
    admin = AdminClient(dict(connection))
    names = [f"bench.{kind}.{side}" for kind in ("event", "batch") for side in ("in", "out")]
    made = admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
    for future in made.values():
        future.result(timeout=30)
    try:
        rows, sealer = rows_of_events(20_000), _Sealer()
        batches = [sealer.seal(full_events(n * BATCH, 10**12), 10**12) for n in range(64)]
        _fill(connection, "bench.event.in", rows, events)
        _fill(connection, "bench.batch.in", batches, events * 10 // BATCH)
        found = []
        for _ in range(2):
            found.append(_hop(connection, "one message per event", "event", _event_work(), events, 1))
            found.append(
                _hop(connection, "batch of columns, sealed", "batch", _batch_work(sealer), events * 10 // BATCH, BATCH)
            )
        return [
            max((hop for hop in found if hop.name == name), key=lambda hop: hop.per_cpu_s)
            for name in dict.fromkeys(h.name for h in found)
        ]
    finally:
        for future in admin.delete_topics(names, operation_timeout=20).values():
            future.result(timeout=30)


def _fill(connection: Options, topic: str, values: list[bytes], count: int) -> None:
    producer = Producer(producer_options(connection, **_BIG))
    for n in range(count):
        while True:
            try:
                producer.produce(topic, values[n % len(values)], b"%d" % (n % 997))
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush(60)


def _event_work() -> Callable[[bytes], bytes]:
    def work(value: bytes) -> bytes:
        record: Any = fastavro.schemaless_reader(io.BytesIO(value), EVENT, None)
        if record["kind"] == "PRESS" and record["key"] in "aeiou":
            record["key"] = "*"
        record["modifiers"] = 0
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, EVENT, record)
        return buffer.getvalue()

    return work


def _batch_work(sealer: _Sealer) -> Callable[[bytes], bytes]:
    """Decrypt, the same trivial work on the columns, encrypt. Rows are not made: this is the transport."""
    key = os.urandom(32)
    schema = "text_columns"

    def work(value: bytes) -> bytes:
        raw = parse_raw(value)
        columns = codec.decode_body(
            *sealer.opener.open_group(raw.header.binding, raw.header.wrap, "text", raw.header.batch, raw.header_bytes, raw.text)
        )
        columns["names"] = ["*" if name in "aeiou" else name for name in columns["names"]]
        columns["modifiers"] = bytes(len(columns["modifiers"]))
        _, pointer = sealer.opener.open_group(
            raw.header.binding, raw.header.wrap, "pointer", raw.header.batch, raw.header_bytes, raw.pointer
        )
        body = codec.encode_body(schema, columns) + pointer
        return envelope.seal_body(key, raw.header_bytes, body, os.urandom)

    return work


def _hop(connection: Options, name: str, kind: str, work: Callable[[bytes], bytes], messages: int, weight: int) -> Hop:
    run_id = f"bench-{kind}-{time.time_ns()}"
    topic, out = f"bench.{kind}.in", f"bench.{kind}.out"
    consumer = Consumer(
        {
            **consumer_options(connection, run_id),
            "auto.offset.reset": "earliest",
            "queued.min.messages": 100_000,
            "fetch.wait.max.ms": 100,
        }
    )
    consumer.subscribe([topic])
    producer = Producer(producer_options(connection, **_BIG, **{"transactional.id": run_id}))
    producer.init_transactions(20)
    first = consumer.consume(500 if weight == 1 else 100, 20.0)
    wall, cpu, got, places = time.perf_counter(), time.process_time(), 0, {}
    producer.begin_transaction()
    last, pending = wall, first
    while got < messages:
        for message in pending:
            producer.produce(out, work(message.value() or b""), message.key())
            places[message.partition()] = (message.offset() or 0) + 1
        got += len(pending)
        producer.poll(0)
        if time.perf_counter() - last >= COMMIT_S or got >= messages:
            offsets = [TopicPartition(topic, partition or 0, offset) for partition, offset in places.items()]
            producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), 20)
            producer.commit_transaction(20)
            last = time.perf_counter()
            if got < messages:
                producer.begin_transaction()
        pending = consumer.consume(500 if weight == 1 else 100, 1.0) if got < messages else []
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    consumer.close()
    return Hop(name, got * weight, got * weight / wall, got * weight / cpu)


def event_bytes() -> tuple[float, float, float]:
    """Bytes an event: one record each, columns before sealing, and the whole sealed batch."""
    sealer, events = _Sealer(), full_events(0, 10**12)
    value = sealer.seal(events, 10**12)
    raw = parse_raw(value)
    verify_raw(raw, sealer.signer.public_key())
    open_raw(raw, sealer.opener)
    from byleave.core.events import pack_pointer, pack_text

    pointer, text = pack_pointer(events, 10**12, Screen(1920, 1080)), pack_text(events, 10**12)
    plain = len(raw.header_bytes)
    for name, columns in (("pointer_columns", pointer), ("text_columns", text)):
        plain += len(codec.encode_body(name, columns)) if columns else 0
    rows = rows_of_events(1_000)
    return sum(map(len, rows)) / len(rows), plain / len(events), len(value) / len(events)
