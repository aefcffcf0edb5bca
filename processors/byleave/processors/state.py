"""What the redactor remembers of an endpoint, and how that stands on `redactor.state.v1` (ruling 19, docs/adr/0004).

    record   nonce (12 random bytes), AES-256-GCM of zstd of: a line of JSON (format, place, last batch, hour), the session
    bound to format version, site, partition and endpoint as associated data: a record moved elsewhere does not open

Promises  everything that a decision depends on is in the record, together with the input offset up to which it was decided; no
          held text stands on the topic in the clear (P4).
Refuses   a record that does not open or is malformed, as Broken: a redactor that guessed at its memory would redact wrongly.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass, field, replace

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from byleave.core import codec, dsse
from byleave.core.batches import AdmittedBatch, Origin, load_raw_header
from byleave.core.envelope import Randomness
from byleave.core.errors import Broken, Forged
from byleave.core.events import Screen
from byleave.processors import snapshot
from byleave.processors.receipts import Hour
from byleave.processors.session import EndpointState

FORMAT, EARLIER = 3, 2
NONCE_BYTES = 12
PLAIN_BYTES_MAX = 16 << 20


@dataclass(slots=True)
class Stream:
    """One endpoint's stream in one partition. `offset` is the last input offset that was decided, refusals included."""

    state: EndpointState = field(repr=False)
    offset: int = -1
    append_ms: int = 0
    """Broker stamp of the last record decided."""
    last: AdmittedBatch | None = None
    """The last batch admitted, without its events and its wrap: what a closing of the session is signed under."""
    hour: Hour | None = None
    """What of the endpoint's events is still to be told by receipt; STRANGERS' goes to nobody."""

    @property
    def open(self) -> bool:
        """Whether a session has begun and not ended."""
        return self.last is not None and not self.state.ended

    def remember(self, batch: AdmittedBatch) -> None:
        self.last = replace(batch, header=replace(batch.header, wrap=b"", count=0), events=())


class StateSeal:
    """Seals and opens state records of one site. `key` is 32 bytes that only the redactor has."""

    def __init__(self, key: bytes, site: str, random_bytes: Randomness) -> None:
        self._cipher = AESGCM(key)
        self.site = site
        self._random = random_bytes

    def seal(self, endpoint: str, partition: int, stream: Stream) -> bytes:
        """One record: random nonces allow 2^32 of them under one key (NIST SP 800-38D, 8.3)."""
        nonce = self._random(NONCE_BYTES)
        packed = zstandard.ZstdCompressor(level=1).compress(dump(stream))
        return nonce + self._cipher.encrypt(nonce, packed, self._associated(FORMAT, endpoint, partition))

    def open(self, endpoint: str, partition: int, sealed: bytes) -> Stream:
        """The reverse, also of the format before. Raises Broken."""
        for form in (FORMAT, EARLIER):
            try:
                bound = self._associated(form, endpoint, partition)
                packed = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
                return load(zstandard.ZstdDecompressor().decompress(packed, max_output_size=PLAIN_BYTES_MAX))
            except (InvalidTag, ValueError, zstandard.ZstdError):
                continue
        raise Broken(f"a state record of partition {partition} does not open with this redactor's state key")

    def _associated(self, form: int, endpoint: str, partition: int) -> bytes:
        place = self.site.encode(), endpoint.encode(), partition.to_bytes(4, "big")
        return dsse.joined(b"byleave/state", bytes([form]), *place)


def dump(stream: Stream) -> bytes:
    """The plain form of a record; `load(dump(s))` decides as `s` does."""
    last = None
    if batch := stream.last:
        header = codec.encode_body("raw_header", batch.header.record()).hex()
        last = [header, batch.subject, astuple(batch.origin), batch.t_star, astuple(batch.screen)]
    hour = astuple(stream.hour) if stream.hour else None
    head = json.dumps([FORMAT, stream.offset, stream.append_ms, last, hour], separators=(",", ":"))
    return head.encode() + b"\n" + snapshot.dump(stream.state)


def load(plain: bytes) -> Stream:
    """Reads `dump`, and that of the format before, which knew of no hour. Raises Broken."""
    head, _, state = plain.partition(b"\n")
    try:
        found, offset, append_ms, batch, *counted = json.loads(head)
        if (found, len(counted)) not in ((FORMAT, 1), (EARLIER, 0)):
            raise ValueError
        last, hour = None, Hour(*counted[0]) if counted and counted[0] else None
        if batch:
            header, subject, origin, t_star, screen = batch
            last = AdmittedBatch(load_raw_header(bytes.fromhex(header)), subject, Origin(*origin), t_star, (), Screen(*screen))
    except (ValueError, TypeError, Forged):
        raise Broken(f"a state record is not of format {FORMAT}") from None
    return Stream(snapshot.load(state), offset, append_ms, last, hour)
