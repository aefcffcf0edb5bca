"""What the redactor did with one endpoint's events in one hour, told to that endpoint alone (docs/formats/receipts.md).

    record key   16 bytes of SHA-256 over site, the endpoint's receipt key and the hour: who does not know that key cannot tell
                 whose it is, nor that two are of the same endpoint
    value        Avro `receipt`: hour, `receipt_counts` padded to one size and sealed by HPKE (RFC 9180, as the envelope's) to
                 the receipt key, Ed25519 by the redactor over type, record key, hour and sealed bytes

Promises  only the endpoint opens it, and only under its own record key and hour (P3, P4); all are of one size.
Refuses   all else as Forged, and never says what was inside.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from byleave.core import codec, dsse
from byleave.core.codec import Record
from byleave.core.envelope import SUITE
from byleave.core.errors import Broken, Forged, Refused

RECEIPT_TYPE = "application/vnd.byleave.receipt.v1"
HOUR_MS = 3_600_000
OTHERS = "others"
"""The application of those that are not told apart, and the rule of a label that several found."""
PLAIN_BYTES = 2_048
SEALED_BYTES = PLAIN_BYTES + 48
"""HPKE encapsulation (32) and tag (16)."""
COUNTS_BYTES_MAX = 65_536


def record_key(site: str, to: X25519PublicKey, hour_ms: int) -> bytes:
    """The key of the record of an hour (milliseconds of its beginning)."""
    named = dsse.joined(b"byleave/v1/receipt", site.encode(), to.public_bytes_raw(), _hour(hour_ms))
    return hashlib.sha256(named).digest()[:16]


def seal_receipt(site: str, to: X25519PublicKey, counts: Record, signer: Ed25519PrivateKey) -> tuple[bytes, bytes]:
    """The key and value of the record that tells `counts` (as `receipt_counts`) to the holder of `to`.

    Raises Refused if nothing can be sealed to that key.
    """
    hour_ms = counts["hour_ms"]
    key = record_key(site, to, hour_ms)
    try:
        sealed = SUITE.encrypt(_padded(counts), to, _info(key, hour_ms))
    except ValueError:  # a point of low order: there is no secret with it
        raise Refused("a receipt key that nothing can be sealed to", reason="bad-key") from None
    signature = dsse.sign(signer, RECEIPT_TYPE, key, _hour(hour_ms), sealed)
    return key, codec.encode("receipt", {"hour_ms": hour_ms, "sealed": sealed, "signature": signature})


def open_receipt(
    site: str, key: X25519PrivateKey, record: tuple[bytes | None, bytes | None], redactor: Iterable[Ed25519PublicKey]
) -> Record | None:
    """The `receipt_counts` in a record (key, value), None if it is another endpoint's.

    Raises Forged: malformed, signed by none of the redactor's keys, moved, changed, or not of one size.
    """
    name, value = record
    outer = codec.decode("receipt", value)
    hour_ms, sealed = outer["hour_ms"], outer["sealed"]
    if not 0 <= hour_ms < 1 << 62 or hour_ms % HOUR_MS:
        raise Forged("a receipt of no hour", reason="malformed")
    if name != record_key(site, key.public_key(), hour_ms):
        return None
    dsse.verify(redactor, outer["signature"], RECEIPT_TYPE, name, _hour(hour_ms), sealed)
    if len(sealed) != SEALED_BYTES:
        raise Forged(f"a receipt of {len(sealed)} bytes, expected {SEALED_BYTES}", reason="malformed")
    try:
        plain = SUITE.decrypt(sealed, key, _info(name, hour_ms))
    except (InvalidTag, ValueError):
        raise Forged("the receipt does not open with this endpoint's key", reason="moved-ciphertext") from None
    counts = _unpadded(plain)
    if counts["hour_ms"] != hour_ms:
        raise Forged("the receipt is of another hour than it says", reason="malformed")
    return counts


def _padded(counts: Record) -> bytes:
    """`counts` in PLAIN_BYTES, as finely as fits: the rarest shares lose their application first, then labels their rules."""
    shares, removals = sorted(counts["shares"], key=lambda row: -row["count"]), counts["removals"]
    for kept, ruled in [*((kept, len(removals)) for kept in range(len(shares), -1, -1)), (0, 0)]:
        told = {"shares": _folded(shares, kept, "app"), "removals": _folded(removals, ruled, "rule")}
        packed = zlib.compress(codec.encode_body("receipt_counts", counts | told), 9)
        if len(packed) + 2 <= PLAIN_BYTES:
            return (len(packed).to_bytes(2, "big") + packed).ljust(PLAIN_BYTES, b"\0")
    raise Broken("a receipt does not fit its size")


def _folded(rows: list[Record], kept: int, name: str) -> list[Record]:
    """`rows`, those beyond the first `kept` without their `name` and added up."""
    sums: Counter[tuple[tuple[str, str | int], ...]] = Counter()
    for row in rows[kept:]:
        sums[tuple((row | {name: OTHERS, "count": 0}).items())] += row["count"]
    return [*rows[:kept], *(dict(row) | {"count": count} for row, count in sums.items())]


def _unpadded(plain: bytes) -> Record:
    size = int.from_bytes(plain[:2], "big")
    try:
        packed, inflate = plain[2 : 2 + size], zlib.decompressobj()
        body = inflate.decompress(packed, COUNTS_BYTES_MAX)
    except zlib.error:
        body = b""
    if not body or not inflate.eof or len(plain) != PLAIN_BYTES or any(plain[2 + size :]):
        raise Forged("not counts in their padding", reason="malformed")
    return codec.decode_body("receipt_counts", body)


def _info(key: bytes, hour_ms: int) -> bytes:
    return dsse.joined(b"byleave/v1/receipt", key, _hour(hour_ms))


def _hour(hour_ms: int) -> bytes:
    return hour_ms.to_bytes(8, "big")
