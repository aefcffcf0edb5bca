"""What travels, one type a stage, so that the checker refuses a raw batch where a sanitized one is due.

    RawBatch        sealed bytes off the topic; header parsed, nothing verified
    AdmittedBatch   signature good, the fence let it through, opened into rows
    SanitizedBatch  redacted rows of one level, still plain in memory, with the header that it will be signed under

Promises  a header is the associated data and the first signed part of its batch: nothing in it can be changed or moved (P4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from byleave.core import codec, dsse, envelope
from byleave.core.broker import Received
from byleave.core.codec import Record
from byleave.core.envelope import Binding, ContentKey, Opener, Randomness
from byleave.core.errors import Forged
from byleave.core.events import EVENTS_MAX, Event, Screen, pack_pointer, pack_text, unpack
from byleave.core.levels import Level

RAW_TYPE = "application/vnd.byleave.raw.v1"
SANITIZED_TYPE = "application/vnd.byleave.sanitized.v1"
RAW_BYTES_MAX = 262_144


class Boundary(StrEnum):
    """Why a batch closed, where that decides text. END and HALT end the session."""

    NONE = "NONE"
    FOCUS = "FOCUS"
    IDLE = "IDLE"
    END = "END"
    HALT = "HALT"


@dataclass(frozen=True, slots=True)
class RawHeader:
    """What broker and fence may see of a batch; fields as in `raw_header.avsc`."""

    endpoint: str
    session: bytes
    epoch: int
    batch: int
    seq0: int
    count: int
    gap: int
    hi_min: int
    hi_max: int
    manifest: bytes
    key_id: str
    wrap: bytes = field(repr=False)
    boundary: Boundary = Boundary.NONE

    @property
    def binding(self) -> Binding:
        return Binding(self.endpoint, self.session, self.epoch, self.manifest, self.key_id)

    @property
    def seq_end(self) -> int:
        """One past the last sequence number."""
        return self.seq0 + self.count

    def record(self) -> Record:
        return {name: getattr(self, name) for name in _RAW_FIELDS} | {"boundary": self.boundary.value}


def load_raw_header(body: bytes) -> RawHeader:
    """The reverse of `record`, from its Avro. Raises Forged."""
    fields = codec.decode_body("raw_header", body)
    return RawHeader(**{**fields, "boundary": Boundary(fields["boundary"])})


_RAW_FIELDS = tuple(name for name in RawHeader.__dataclass_fields__ if name != "boundary")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record stands on the broker, and the broker's own stamp: the one time that an endpoint cannot choose."""

    topic: str
    partition: int
    offset: int
    append_ms: int

    @classmethod
    def of(cls, record: Received) -> Origin:
        return cls(record.topic, record.partition, record.offset, record.append_ms)


@dataclass(frozen=True, slots=True)
class RawBatch:
    """A raw batch as found. `header` is only what it claims until `verify_raw` has passed."""

    header: RawHeader
    header_bytes: bytes = field(repr=False)
    pointer: bytes = field(repr=False)
    text: bytes = field(repr=False)
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AdmittedBatch:
    """A batch that the fence let through, opened. `t_star` is the closed timestamp at which it was admitted."""

    header: RawHeader
    subject: str
    origin: Origin
    t_star: int
    events: tuple[Event, ...] = field(repr=False)
    screen: Screen


def seal_raw(header: RawHeader, events: Sequence[Event], screen: Screen, key: ContentKey, signer: Ed25519PrivateKey) -> bytes:
    """The Kafka value of a batch: columns sealed apart, header as associated data, signed once. `key` is that of the wrap."""
    header_bytes = codec.encode_body("raw_header", header.record())
    pointer, text = pack_pointer(events, header.hi_min, screen), pack_text(events, header.hi_min)
    sealed = {
        group: envelope.seal_group(key, group, header.batch, header_bytes, codec.encode_body(envelope.GROUPS[group], columns))
        if columns is not None
        else b""
        for group, columns in (("pointer", pointer), ("text", text))
    }
    key.events += len(events)
    signature = dsse.sign(signer, RAW_TYPE, header_bytes, sealed["pointer"], sealed["text"])
    return codec.encode("raw_batch", {"header": header_bytes, **sealed, "signature": signature})


def parse_raw(value: bytes | None) -> RawBatch:
    """A raw batch from a Kafka value, counts and sizes checked, nothing verified. Raises Forged."""
    outer = codec.decode("raw_batch", value, bytes_max=RAW_BYTES_MAX)
    header = load_raw_header(outer["header"])
    if not 0 <= header.count <= EVENTS_MAX:
        raise Forged(f"count {header.count}, at most {EVENTS_MAX}", reason="count-mismatch")
    if min(header.seq0, header.gap, header.batch, header.epoch, header.hi_min) < 0 or header.hi_max < header.hi_min:
        raise Forged("a counter or time in the header runs backwards", reason="malformed")
    return RawBatch(header, outer["header"], outer["pointer"], outer["text"], outer["signature"])


def verify_raw(batch: RawBatch, key: Ed25519PublicKey) -> None:
    """Raises Forged (`bad-signature`) unless the enrolled endpoint's key signed exactly these bytes."""
    dsse.verify([key], batch.signature, RAW_TYPE, batch.header_bytes, batch.pointer, batch.text)


def open_raw(batch: RawBatch, opener: Opener) -> tuple[tuple[Event, ...], Screen]:
    """The rows of a verified batch. Raises Forged: unknown key, moved ciphertext, columns that do not match the header."""
    header = batch.header
    columns: dict[str, Record | None] = {}
    for group, sealed in (("pointer", batch.pointer), ("text", batch.text)):
        columns[group] = None
        if sealed:
            schema, plain = opener.open_group(header.binding, header.wrap, group, header.batch, batch.header_bytes, sealed)
            columns[group] = {"targets": [], **codec.decode_body(schema, plain)}
    events = unpack(header.seq0, header.count, header.hi_min, columns["pointer"], columns["text"])
    pointer = columns["pointer"]
    screen = Screen(pointer["screen_width"], pointer["screen_height"]) if pointer else Screen(0, 0)
    return tuple(events), screen


class Content(StrEnum):
    """What a sanitized body holds."""

    EVENTS = "EVENTS"
    ACTIONS = "ACTIONS"


@dataclass(frozen=True, slots=True)
class SanitizedHeader:
    """What the sink and an auditor need; fields as in `sanitized_header.avsc` (ruling 20)."""

    endpoint: str
    session: bytes
    subject: str
    epoch: int
    content: Content
    level: Level
    key_id: str
    rows: int
    row0: int
    seq0: int
    count: int
    hi_min: int
    hi_max: int
    raw_topic: str
    raw_partition: int
    raw_offset: int
    raw_append_ms: int
    manifest: bytes
    policy: str
    t_star: int

    def record(self) -> Record:
        fields: Record = {name: getattr(self, name) for name in SanitizedHeader.__dataclass_fields__}
        return fields | {"content": self.content.value, "level": int(self.level)}


@dataclass(frozen=True, slots=True)
class SanitizedBatch:
    """Redacted rows of one level. `body` is Avro of `sanitized_events` or `sanitized_actions`."""

    header: SanitizedHeader
    body: bytes = field(repr=False)


_BODIES = {Content.EVENTS: "sanitized_events", Content.ACTIONS: "sanitized_actions"}


def body_schema(content: Content) -> str:
    """Name of the schema that a body of this content is written with."""
    return _BODIES[content]


def decode_rows(content: Content, body: bytes) -> Record:
    """The columns or rows of a body, also of one that the version before wrote (no targets). Raises Forged.

    What it wrote ends before `targets` begins, so no body can be read in both ways.
    """
    try:
        return codec.decode_body(_BODIES[content], body)
    except Forged:
        if content is not Content.ACTIONS:
            raise
        return codec.decode_body("sanitized_actions.11", body) | {"targets": []}


def seal_sanitized(batch: SanitizedBatch, key: bytes, signer: Ed25519PrivateKey, random_bytes: Randomness) -> bytes:
    """The Kafka value: body sealed under the data key of (subject, day, level), header as associated data, signed once."""
    header_bytes = codec.encode_body("sanitized_header", batch.header.record())
    sealed = envelope.seal_body(key, header_bytes, batch.body, random_bytes)
    signature = dsse.sign(signer, SANITIZED_TYPE, header_bytes, sealed)
    return codec.encode("sanitized_batch", {"header": header_bytes, "body": sealed, "signature": signature})


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """A sanitized batch as found on a topic: signature checked, body still sealed."""

    header: SanitizedHeader
    header_bytes: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


def verify_sanitized(value: bytes | None, *redactor: Ed25519PublicKey) -> SealedBatch:
    """A sanitized record whose header is true. Raises Forged: malformed, or signed by none of these keys of the redactor."""
    outer = codec.decode("sanitized_batch", value)
    dsse.verify(redactor, outer["signature"], SANITIZED_TYPE, outer["header"], outer["body"])
    fields = codec.decode_body("sanitized_header", outer["header"])
    if fields["level"] not in (Level.SHAPE, Level.INTERNAL, Level.PEOPLE):
        raise Forged(f"level {fields['level']} is never written", reason="malformed")
    header = SanitizedHeader(**{**fields, "content": Content(fields["content"]), "level": Level(fields["level"])})
    return SealedBatch(header, outer["header"], outer["body"])


def open_sanitized(batch: SealedBatch, key: bytes) -> SanitizedBatch:
    """The plain body under its data key. Raises Forged if the key or the bytes are others."""
    return SanitizedBatch(batch.header, envelope.open_body(key, batch.header_bytes, batch.sealed))


def utc_day(at_ms: int) -> str:
    """The day of a permit time, as data keys name it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()


def data_key_id(subject: str, day: str, level: Level) -> str:
    """Name of the data key of (subject, day, level): 'subject/2026-11-24/2' (ruling 12). `day`: of the permit time, in UTC."""
    return f"{subject}/{day}/{int(level)}"


def refusal(reason: str, stage: str, at: Received, endpoint: str, verified: RawHeader | SanitizedHeader | None) -> bytes:
    """The Avro `refusal`: where a record stands and why. Counts are given only where a good signature vouches for them."""
    place = {"topic": at.topic, "partition": at.partition, "offset": at.offset, "append_ms": at.append_ms}
    seq0, count = (verified.seq0, verified.count) if verified else (-1, 0)
    record = {"reason": reason, "stage": stage, **place, "endpoint": endpoint, "seq0": seq0, "count": count}
    return codec.encode("refusal", record)
