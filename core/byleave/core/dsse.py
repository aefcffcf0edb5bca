"""Signatures over exact bytes with a type in front: DSSE v1 (https://github.com/secure-systems-lab/dsse, protocol.md).

The payload type is part of what is signed, so a signature for one purpose is worth nothing for another. There is no
canonicalisation: what was signed is what is stored and parsed.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from byleave.core.errors import Forged

ENVELOPE_BYTES_MAX = 65536
SIGNATURES_MAX = 16


def pae(payload_type: str, *parts: bytes) -> bytes:
    """The pre-authentication encoding of DSSE v1; several parts are length-prefixed first, so that no byte can change sides."""
    kind = payload_type.encode()
    body = parts[0] if len(parts) == 1 else b"".join(len(p).to_bytes(8, "big") + p for p in parts)
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)


def joined(*parts: bytes) -> bytes:
    """Short parts as one, each with its length in front: concatenated, two lists of parts could be the same bytes."""
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def sign(key: Ed25519PrivateKey, payload_type: str, *parts: bytes) -> bytes:
    """64 bytes of Ed25519 (RFC 8032) over `pae`."""
    return key.sign(pae(payload_type, *parts))


def matches(key: Ed25519PublicKey, signature: bytes, payload_type: str, *parts: bytes) -> bool:
    """Whether `signature` was made by `key` over exactly this."""
    try:
        key.verify(signature, pae(payload_type, *parts))
    except InvalidSignature:
        return False
    return True


def verify(keys: Iterable[Ed25519PublicKey], signature: bytes, payload_type: str, *parts: bytes) -> None:
    """Raises Forged (`bad-signature`) unless one of `keys` made `signature` over exactly this."""
    if not any(matches(key, signature, payload_type, *parts) for key in keys):
        raise Forged(f"{payload_type}: the signature does not match", reason="bad-signature")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A control document in transit: exact body, its type, and signatures by key id (a hint, never trusted)."""

    payload_type: str
    body: bytes
    signatures: tuple[tuple[str, bytes], ...]

    def dump(self) -> bytes:
        rows = [{"keyid": keyid, "sig": base64.b64encode(sig).decode()} for keyid, sig in self.signatures]
        body = base64.b64encode(self.body).decode()
        return json.dumps({"payloadType": self.payload_type, "payload": body, "signatures": rows}).encode()


def seal_envelope(payload_type: str, body: bytes, keys: Iterable[Ed25519PrivateKey]) -> Envelope:
    """Signs `body` with each key."""
    return Envelope(payload_type, body, tuple((key_id(k.public_key()), sign(k, payload_type, body)) for k in keys))


def key_id(key: Ed25519PublicKey) -> str:
    """The raw public key in hex: the key is its own name."""
    return key.public_bytes_raw().hex()


def load_envelope(unverified: bytes | None) -> Envelope:
    """Parses the JSON form strictly. Raises Forged; nothing is verified yet."""
    if unverified is None:
        raise Forged("no document: a tombstone is not a permission", reason="tombstone")
    if len(unverified) > ENVELOPE_BYTES_MAX:
        raise Forged(f"document of {len(unverified)} bytes, at most {ENVELOPE_BYTES_MAX}", reason="oversized")
    try:
        outer = json.loads(unverified, object_pairs_hook=_no_duplicates)
        if set(outer) != {"payloadType", "payload", "signatures"} or len(outer["signatures"]) > SIGNATURES_MAX:
            raise ValueError
        rows = tuple((str(s["keyid"]), base64.b64decode(s["sig"], validate=True)) for s in outer["signatures"])
        return Envelope(str(outer["payloadType"]), base64.b64decode(outer["payload"], validate=True), rows)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error):
        raise Forged("the bytes are not a DSSE envelope", reason="malformed") from None


def signers(envelope: Envelope, payload_type: str, allowed: Sequence[Ed25519PublicKey]) -> frozenset[bytes]:
    """The distinct public keys of `allowed` that signed it: keys are counted, not key ids (DSSE, "threshold")."""
    if envelope.payload_type != payload_type:
        raise Forged(f"document type {envelope.payload_type!r}, expected {payload_type!r}", reason="wrong-type")
    signatures = [signature for _, signature in envelope.signatures]
    found = (key for key in allowed if any(matches(key, one, payload_type, envelope.body) for one in signatures))
    return frozenset(key.public_bytes_raw() for key in found)


def _no_duplicates(pairs: list[tuple[str, object]]) -> Mapping[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found
