"""The envelope of a raw batch, final from the first version on (ruling 11; docs/formats/envelope.md).

    content key   32 random bytes, fresh each minute or 1,000 events, wrapped by HPKE (RFC 9180: DHKEM X25519, HKDF-SHA256,
                  AES-256-GCM) to the redactor's key of the day; the wrap stands in every header
    group key     HKDF-SHA256(content key, info = "byleave/v1/group/" + group)
    nonce         the batch counter of the session, 96 bits, one use per group key
    data          zstd(columns), AES-256-GCM, associated data = group, SHA-256 of the group's schema, header bytes
    signature     Ed25519 by the endpoint over PAE(type, header, pointer, text)

Promises  only the redactor opens a batch (P4); a ciphertext moved to another header, group, session or place does not open;
          a redactor that starts in mid-session opens what it finds.
Refuses   all else as Forged, and never says what was inside.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from byleave.core import dsse
from byleave.core.codec import load_schemas
from byleave.core.errors import Forged

KEY_BYTES = 32
WRAP_BYTES = 80
"""HPKE encapsulation (32) and the sealed content key with its tag (48)."""
KEY_LIFE_MS_MAX = 60_000
KEY_EVENTS_MAX = 1_000
OPENED_KEYS_MAX = 4_096
"""Unwrapped content keys that the opener remembers."""
PLAIN_BYTES_MAX = 1 << 20
"""Largest group after decompression: a bomb ends here."""
GROUPS = {"pointer": "pointer_columns", "text": "text_columns"}
EARLIER = {"text": "text_columns.4"}
"""What endpoints of the version before write a group in. A ciphertext opens only under the schema that it was sealed under."""

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
"""The one suite of HPKE (RFC 9180) for all that is sealed to somebody."""

Randomness = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Binding:
    """What a content key is tied to besides the recipient: moved elsewhere, it does not open."""

    endpoint: str
    session: bytes
    epoch: int
    manifest: bytes
    key_id: str

    def info(self) -> bytes:
        """HPKE info."""
        epoch, endpoint = self.epoch.to_bytes(8, "big"), self.endpoint.encode()
        return dsse.joined(b"byleave/v1/wrap", endpoint, self.session, epoch, self.manifest, self.key_id.encode())


@dataclass(slots=True)
class ContentKey:
    """A wrapped content key in use at the endpoint. Dies with the process; `__repr__` shows no key."""

    wrap: bytes
    ciphers: Mapping[str, AESGCM] = field(repr=False)
    born_ms: int
    events: int = 0

    def spent(self, now_ms: int) -> bool:
        return now_ms - self.born_ms >= KEY_LIFE_MS_MAX or self.events >= KEY_EVENTS_MAX


def fresh_key(binding: Binding, recipient: X25519PublicKey, now_ms: int, random_bytes: Randomness) -> ContentKey:
    """A new content key wrapped to `recipient`."""
    key = random_bytes(KEY_BYTES)
    return ContentKey(SUITE.encrypt(key, recipient, binding.info()), _ciphers(key), now_ms)


def seal_group(key: ContentKey, group: str, counter: int, header: bytes, plain: bytes) -> bytes:
    """Compresses, then seals one group. `counter` is the batch number: it must never repeat under this key."""
    packed = zstandard.ZstdCompressor(level=3).compress(plain)
    return key.ciphers[group].encrypt(_nonce(counter), packed, _associated(group, GROUPS[group], header))


class Opener:
    """The redactor's side: private keys by id, and a bounded memory of unwrapped content keys."""

    def __init__(self, keys: Mapping[str, X25519PrivateKey]) -> None:
        self._keys = dict(keys)
        self._opened: OrderedDict[tuple[bytes, bytes], Mapping[str, AESGCM]] = OrderedDict()

    def open_group(
        self, binding: Binding, wrap: bytes, group: str, counter: int, header: bytes, sealed: bytes
    ) -> tuple[str, bytes]:
        """The schema that a group was sealed under, and the plain columns.

        Raises Forged: unknown key, wrap of another session or recipient, moved or changed ciphertext, oversized content.
        """
        cipher = self._unwrap(binding, wrap)[group]
        for schema in filter(None, (GROUPS[group], EARLIER.get(group))):
            with suppress(InvalidTag):
                packed = cipher.decrypt(_nonce(counter), sealed, _associated(group, schema, header))
                return schema, _decompress(packed, group)
        raise Forged(f"{group}: sealed bytes do not belong to this header", reason="moved-ciphertext")

    def _unwrap(self, binding: Binding, wrap: bytes) -> Mapping[str, AESGCM]:
        info = binding.info()
        known = self._opened.get((wrap, info))
        if known is not None:
            self._opened.move_to_end((wrap, info))
            return known
        key = self._keys.get(binding.key_id)
        if key is None:
            raise Forged("sealed to a key that this redactor does not hold", reason="unknown-key")
        if len(wrap) != WRAP_BYTES:
            raise Forged(f"wrap of {len(wrap)} bytes, expected {WRAP_BYTES}", reason="malformed")
        try:
            content = SUITE.decrypt(wrap, key, info)
        except (InvalidTag, ValueError):
            raise Forged("the content key does not open for this header", reason="moved-ciphertext") from None
        if len(content) != KEY_BYTES:
            raise Forged("the content key has the wrong size", reason="malformed")
        ciphers = self._opened[wrap, info] = _ciphers(content)
        if len(self._opened) > OPENED_KEYS_MAX:
            self._opened.popitem(last=False)
        return ciphers


def seal_body(key: bytes, header: bytes, plain: bytes, random_bytes: Randomness) -> bytes:
    """A sanitized body under the data key of (subject, day, level): 12 bytes of random nonce, then AES-256-GCM.

    One key seals at most one subject's day: far below the 2^32 messages that random nonces allow (NIST SP 800-38D, 8.3).
    """
    nonce = random_bytes(12)
    return nonce + AESGCM(key).encrypt(nonce, zstandard.ZstdCompressor(level=3).compress(plain), header)


def open_body(key: bytes, header: bytes, sealed: bytes) -> bytes:
    """The reverse. Raises Forged if the key, the header or the bytes are not those that were sealed."""
    try:
        packed = AESGCM(key).decrypt(sealed[:12], sealed[12:], header)
    except (InvalidTag, ValueError):
        raise Forged("sealed body does not belong to this header and key", reason="moved-ciphertext") from None
    return _decompress(packed, "body")


def _ciphers(key: bytes) -> Mapping[str, AESGCM]:
    def derive(group: str) -> AESGCM:
        info = b"byleave/v1/group/" + group.encode()
        return AESGCM(HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(key))

    return {group: derive(group) for group in GROUPS}


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(12, "big")


def _associated(group: str, schema: str, header: bytes) -> bytes:
    return group.encode().ljust(8) + load_schemas()[schema].digest + header


def _decompress(packed: bytes, what: str) -> bytes:
    try:
        # the frame states its size before its content: with a stated size the library would allocate it, whatever our bound
        if not 0 <= zstandard.frame_content_size(packed) <= PLAIN_BYTES_MAX:
            raise zstandard.ZstdError
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=PLAIN_BYTES_MAX)
    except zstandard.ZstdError:
        raise Forged(f"{what}: not compressed columns within {PLAIN_BYTES_MAX} bytes", reason="malformed") from None
