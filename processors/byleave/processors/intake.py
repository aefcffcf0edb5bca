"""Before the fence: is this record what it claims to be, and whose is it? Cheap checks first.

Promises  only bytes that an enrolled endpoint signed, under its own key, in its own partition, come to the fence (P4); only
          events that the signed manifest names come out of it (P1). A batch is taken whole or refused whole.
Refuses   everything else, each for one constant reason (docs/formats/refusals.md), as Forged or Refused: never another error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from byleave.control.admission import Claim
from byleave.control.documents import Manifest
from byleave.control.knowledge import Knowledge
from byleave.core.batches import AdmittedBatch, Origin, RawBatch, open_raw, parse_raw, verify_raw
from byleave.core.broker import Received
from byleave.core.envelope import Opener
from byleave.core.errors import Forged, Refused
from byleave.core.events import Event, FocusEvent, KeyEvent, Kind, Window
from byleave.core.keys import verify_key

KIND_POINTER, KIND_KEY, KIND_WINDOW, KIND_TITLE, KIND_TARGET = "pointer", "key", "window", "title", "target"
KIND_TASK = "task"


@dataclass(frozen=True, slots=True)
class Examined:
    """A batch whose signature is good, and the person it belongs to. Still sealed."""

    batch: RawBatch
    subject: str


def examine(received: Received, knowledge: Knowledge, partitions: int) -> Examined:
    """The batch in a record, if an enrolled endpoint signed it. Raises Forged; Refused (`unknown-endpoint`)."""
    batch = parse_raw(received.value)
    endpoint = batch.header.endpoint.encode()
    if received.key != endpoint:
        raise Forged("the record's key is not the endpoint in its header", reason="wrong-key")
    if partition_of(endpoint, partitions) != received.partition:
        # a copy in another partition would meet no memory of the sequence numbers that were taken
        raise Forged("the record stands in another partition than its key belongs to", reason="wrong-partition")
    enrolment = knowledge.enrolments.get(batch.header.endpoint)
    if enrolment is None:
        raise Refused("no such endpoint is enrolled", reason="unknown-endpoint")
    verify_raw(batch, verify_key(enrolment.key))
    return Examined(batch, enrolment.subject)


def claim_of(examined: Examined, received: Received) -> Claim:
    """What the fence is asked about."""
    header = examined.batch.header
    return Claim(header.endpoint, header.session, header.epoch, header.hi_max, received.append_ms, header.manifest)


def open_admitted(examined: Examined, received: Received, t_star: int, knowledge: Knowledge, opener: Opener) -> AdmittedBatch:
    """The rows of a batch that the fence let through.

    Raises Forged if it does not open or its counts do not match; Refused (`outside-manifest`) if it holds more than was agreed.
    """
    header = examined.batch.header
    events, screen = open_raw(examined.batch, opener)
    manifest = knowledge.manifests.get(header.manifest.hex())
    if manifest is None:
        raise Refused("the manifest of the batch is not known", reason="unknown-manifest")
    _within(manifest, events)
    origin = Origin(received.topic, received.partition, received.offset, received.append_ms)
    return AdmittedBatch(header, examined.subject, origin, t_star, events, screen)


def _within(manifest: Manifest, events: Iterable[Event]) -> None:
    kinds, applications = frozenset(manifest.kinds), frozenset(app.lower() for app in manifest.applications)
    for event in events:
        if isinstance(event, FocusEvent):
            fits = KIND_WINDOW in kinds and _window_within(event.window, kinds, applications)
        elif isinstance(event, KeyEvent):
            fits = (KIND_TASK if event.kind is Kind.TASK else KIND_KEY) in kinds
        else:
            fits = KIND_POINTER in kinds and (event.target is None or KIND_TARGET in kinds)
        if not fits:
            raise Refused("an event's kind or application is not in the manifest", reason="outside-manifest")


def _window_within(window: Window, kinds: frozenset[str], applications: frozenset[str]) -> bool:
    """An empty application says only that the focus left what was agreed on."""
    if window.title and KIND_TITLE not in kinds:
        return False
    return window.app.lower() in applications if window.app else not (window.title or window.site)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives a key: murmur2, as `org.apache.kafka.common.utils.Utils.murmur2`."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(key: bytes) -> int:
    """Austin Appleby's MurmurHash2 with Kafka's seed, 32 bits."""
    mix, mask = 0x5BD1E995, 0xFFFFFFFF
    value = 0x9747B28C ^ len(key)
    whole = len(key) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * mix & mask
        word = (word ^ word >> 24) * mix & mask
        value = (value * mix & mask) ^ word
    if len(key) > whole:
        value = (value ^ int.from_bytes(key[whole:], "little")) * mix & mask
    value = (value ^ value >> 13) * mix & mask
    return value ^ value >> 15
