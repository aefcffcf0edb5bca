"""A concern: what a person raises, and the answer to it. Nobody but its recipients can read it, or read from it whose it is.

In    a text; the recipients that the root names (X25519); the device key. Out: a Concern, and the key that opens its answer.

Promises  the record has one size and names nobody: it is signed by a key made for it alone. Within, the endpoint's own key
          signed the text, the record's key and the site: nobody else can make it, move it or tell it again.
          An answer opens only to who raised the concern.
Refuses   what is forged, moved, told again or of another size (Forged, Refused); longer texts (Misconfigured).

What it cannot hide: the broker knows which certificate wrote a record, and when; an endpoint that falls silent in the same
minute may be noticed by who sees both (docs/threat-model.md).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from byleave.control import trust
from byleave.control.documents import Enrolment, Root, load
from byleave.core.dsse import load_envelope
from byleave.core.envelope import SUITE, Randomness
from byleave.core.errors import Forged, Misconfigured, Refused
from byleave.core.keys import KEY_BYTES, public_hex, recipient, verify_key

TEXT_CHARS_MAX, TEXT_BYTES_MAX = 2_000, 4_000
PADDED_BYTES, ANSWER_BYTES = 7_168, 4_096
"""What is sealed has these sizes, whatever it says."""
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
CONCERNS_MAX, RECIPIENTS_MAX = 10_000, 16
"""How many are kept in mind, for how many recipients."""
DAILY_MAX = 5
"""Of one endpoint; readers refuse those after them."""
_ONCE = bytes(12)
"""A nonce: each key here seals one text."""


@dataclass(frozen=True, slots=True)
class Wrap:
    """A key, sealed to a recipient."""

    name: str
    sealed: str


@dataclass(frozen=True, slots=True)
class Concern:
    """What a person raised, sealed (`concerns`). It names nobody: `key` was made for it alone, and signs it.

    `at_ms` is its hour, by the endpoint's own clock.
    """

    TYPE = "application/vnd.byleave.concern.v1+json"
    site: str
    key: str
    at_ms: int
    wraps: tuple[Wrap, ...]
    sealed: str


@dataclass(frozen=True, slots=True)
class Raised:
    """What a Concern holds, signed by the endpoint: `concern` is the Concern's key, `reply` what its answer is sealed to."""

    TYPE = "application/vnd.byleave.raised.v1+json"
    site: str
    endpoint: str
    concern: str
    reply: str
    text: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A Concern was read and answered; `concern` is its name."""

    TYPE = "application/vnd.byleave.answer.v1+json"
    site: str
    concern: str
    at_ms: int
    sealed: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """A signed Concern, its name, its key (hex), and the key that opens the answer to it, which stays here."""

    document: bytes = field(repr=False)
    named: str
    key: str
    reply: bytes = field(repr=False)


def seal(root: Root, endpoint: str, device: Ed25519PrivateKey, text: str, now_ms: int, random_bytes: Randomness) -> Sealed:
    """A text for all recipients of the root. Raises Refused (`no-recipient`) where there are none, Misconfigured."""
    if not root.recipients:
        raise Refused("this site's root names nobody who could read it: nothing was sent", reason="no-recipient")
    _check_size(text, "say it")
    once, reply = (random_bytes(KEY_BYTES) for _ in range(2))
    signer = Ed25519PrivateKey.from_private_bytes(once)
    key, secret = public_hex(signer), random_bytes(KEY_BYTES)
    said = Raised(root.site, endpoint, key, public_hex(X25519PrivateKey.from_private_bytes(reply)), text, now_ms)
    info = _info(root.site, key)
    sealed = AESGCM(secret).encrypt(_ONCE, _padded(trust.sign(said, [device]), PADDED_BYTES), info)
    wraps = (Wrap(r.name, _text(SUITE.encrypt(secret, recipient(r.key), info))) for r in root.recipients)
    document = trust.sign(Concern(root.site, key, now_ms // HOUR_MS * HOUR_MS, tuple(wraps), _text(sealed)), [signer])
    return Sealed(document, trust.name_of(document), key, reply)


def unseal(enrolments: Mapping[str, Enrolment], concern: Concern, key: X25519PrivateKey) -> Raised:
    """What was raised, by an endpoint that is or was enrolled. Raises Forged, Refused (`unknown-endpoint`)."""
    info = _info(concern.site, concern.key)
    for wrap in concern.wraps:
        try:
            secret = SUITE.decrypt(_bytes(wrap.sealed), key, info)
            signed = _unpadded(AESGCM(secret).decrypt(_ONCE, _bytes(concern.sealed), info))
        except (InvalidTag, ValueError):
            continue  # another recipient's
        named = load(Raised, load_envelope(signed).body).endpoint
        if named not in enrolments:
            raise Refused("a concern of an endpoint that is not enrolled", reason="unknown-endpoint")
        raised, _ = trust.verify_by(verify_key(enrolments[named].key), Raised, signed, site=concern.site)
        if raised.concern != concern.key:
            raise Forged("a concern that was taken out of another", reason="moved-ciphertext")
        return raised
    raise Forged("a concern that this key does not open", reason="unknown-key")


def in_form(concern: Concern) -> bool:
    """Whether it has the one size, for a number of recipients that a root can name."""
    return 1 <= len(concern.wraps) <= RECIPIENTS_MAX and len(concern.sealed) == len(_text(bytes(PADDED_BYTES + 16)))


def within_bound(earlier: list[Raised], raised: Raised) -> None:
    """Raises Refused (`too-many`) if DAILY_MAX of the same endpoint and day came before it."""
    same = sum((one.endpoint, one.at_ms // DAY_MS) == (raised.endpoint, raised.at_ms // DAY_MS) for one in earlier)
    if same >= DAILY_MAX:
        raise Refused(f"more than {DAILY_MAX} concerns of one endpoint in one day: it is not read", reason="too-many")


def answer(site: str, named: str, raised: Raised, text: str, now_ms: int) -> Answer:
    """The answer to a concern of that name, for who raised it alone. Raises Misconfigured for the text, Forged."""
    _check_size(text, "answer")
    try:
        sealed = SUITE.encrypt(_padded(text.encode(), ANSWER_BYTES), recipient(raised.reply), _info(site, named))
    except ValueError:  # a point of low order: there is no secret with it
        raise Forged("a concern that names no key for its answer", reason="malformed") from None
    return Answer(site, named, now_ms, _text(sealed))


def open_answer(given: Answer, reply: X25519PrivateKey) -> str:
    """What was answered. Raises Forged if whoever wrote it had not read the concern."""
    try:
        return _unpadded(SUITE.decrypt(_bytes(given.sealed), reply, _info(given.site, given.concern))).decode()
    except (InvalidTag, ValueError):
        raise Forged("an answer by somebody who has not read the concern", reason="unknown-key") from None


def _check_size(text: str, do: str) -> None:
    if not text.strip() or len(text) > TEXT_CHARS_MAX or len(text.encode(errors="replace")) > TEXT_BYTES_MAX:
        raise Misconfigured(f"{do} in 1 to {TEXT_CHARS_MAX} characters ({TEXT_BYTES_MAX} bytes)")


def _info(site: str, name: str) -> bytes:
    return f"byleave/v1/concern/{site}/{name}".encode()


def _padded(content: bytes, size: int) -> bytes:
    if len(content) + 2 > size:
        raise Misconfigured("that text takes too much room in this form: say it shorter")
    return (len(content).to_bytes(2, "big") + content).ljust(size, b"\0")


def _unpadded(content: bytes) -> bytes:
    return content[2 : 2 + int.from_bytes(content[:2], "big")]


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Forged("sealed bytes that are no base64", reason="malformed") from None
