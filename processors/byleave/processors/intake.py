"""Before the fence: is this record what it claims to be, and whose is it? Cheap checks first.

Promises  only bytes that an enrolled endpoint signed, under its own key, in its own partition, come to the fence (P4); only
          events that the signed manifest names come out of it (P1). A batch is taken whole or refused whole.
Refuses   everything else, each for one constant reason (docs/formats/refusals.md), as Forged or Refused: never another error.
"""

from __future__ import annotations

from dataclasses import dataclass

from byleave.control.admission import Claim
from byleave.control.knowledge import Knowledge
from byleave.control.promised import promise_of
from byleave.core.batches import AdmittedBatch, Origin, RawBatch, open_raw, parse_raw, verify_raw
from byleave.core.broker import Received
from byleave.core.envelope import Opener
from byleave.core.errors import Forged, Refused
from byleave.core.keys import verify_key

OUTSIDE = "outside-manifest"


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
    if part := promise_of(manifest).breach(events):
        raise Refused(f"the batch holds what its manifest does not promise: {part}", reason=OUTSIDE)
    return AdmittedBatch(header, examined.subject, Origin.of(received), t_star, events, screen)


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
