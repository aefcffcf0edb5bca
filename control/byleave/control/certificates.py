"""An endpoint's own TLS certificate: asked for, checked and changed where its key lies (P3, P4).

The key pair is made on the device and never leaves it. What the enroller issued travels sealed to the endpoint's receipt key
(HPKE, RFC 9180), so that no other endpoint reads from a topic who is enrolled. In its visible parts a certificate has the
pseudonym, and `endpoint`: nothing else.
"""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.x509.oid import NameOID

from byleave.core.envelope import SUITE
from byleave.core.errors import Forged, Misconfigured
from byleave.core.keys import create_private, read_private, replace_file
from byleave.core.topics import ENDPOINT

VALID_DAYS = 30
_BYTES_MAX = 16_384


def subject(name: str) -> x509.Name:
    """RFC 4514 prints the last part first: CN must come last here to come first in Kafka's principal mapping rule."""
    unit, common = NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.COMMON_NAME
    return x509.Name([x509.NameAttribute(unit, ENDPOINT), x509.NameAttribute(common, name)])


def new_request(path: Path, name: str) -> str:
    """Makes a P-256 key at `path` (0600) if there is none; gives a request for its certificate (PKCS #10, PEM).

    Raises Misconfigured.
    """
    if not path.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        create_private(path, made.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    asked = x509.CertificateSigningRequestBuilder().subject_name(subject(name)).sign(_key(path), hashes.SHA256())
    return asked.public_bytes(serialization.Encoding.PEM).decode()


def requested_key(unverified: str, name: str) -> ec.EllipticCurvePublicKey:
    """The key that a request is for; whoever sent it has it, and asks for nothing but this name. Raises Forged."""
    try:
        asked = x509.load_pem_x509_csr(unverified.encode())
        key, good = asked.public_key(), asked.is_signature_valid and asked.subject == subject(name)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # of a key type or curve that nobody knows
        key, good = None, False
    if not good or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Forged(f"not a certificate request of {name[:63]} for a P-256 key", reason="malformed")
    return key


def seal(certificate: bytes, authority: bytes, recipient: X25519PublicKey, asked: str) -> str:
    """Certificate and authority, for the one that asked; `asked` is the digest of its request. Base64. Raises Forged."""
    try:
        return base64.b64encode(SUITE.encrypt(certificate + authority, recipient, _info(asked))).decode()
    except ValueError:  # a point of low order: there is no secret with it
        raise Forged("a receipt key that nothing can be sealed to", reason="bad-key") from None


def unseal(sealed: str, key: X25519PrivateKey, asked: str) -> tuple[bytes, bytes]:
    """What `seal` was given: still to be checked. Raises Forged."""
    try:
        found = x509.load_pem_x509_certificates(SUITE.decrypt(base64.b64decode(sealed, validate=True), key, _info(asked)))
        own, authority = (one.public_bytes(serialization.Encoding.PEM) for one in found)
    except (InvalidTag, ValueError, TypeError):
        raise Forged("a certificate that is not sealed to this endpoint, or not as it was issued", reason="malformed") from None
    return own, authority


def check(certificate: bytes, authority: bytes, name: str, key: Path) -> None:
    """That a certificate is this endpoint's, for the key in the file, by this authority, for at most 30 days. Raises Forged."""
    own, issuer = _load(certificate), _load(authority)
    if own.subject != subject(name) or own.public_key() != _key(key).public_key():
        raise Forged(f"a certificate of another name or key than those of {name}", reason="wrong-key")
    if (own.not_valid_after_utc - own.not_valid_before_utc).days > VALID_DAYS:
        raise Forged(f"a certificate for more than {VALID_DAYS} days", reason="too-long")
    try:
        own.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        raise Forged("a certificate that its authority did not sign", reason="bad-signature") from None


def install(pki: Path, name: str, certificate: bytes, authority: bytes, key: Path) -> None:
    """Puts a checked certificate and its key in place; `key` becomes the key. `finish` repairs what a crash left half done."""
    if not (pki / "ca.crt.pem").exists():
        replace_file(pki / "ca.crt.pem", authority, mode=0o644)
    replace_file(pki / f"{name}.crt.pem", certificate, mode=0o644)
    key.replace(pki / f"{name}.key.pem")


def next_key(pki: Path, name: str) -> Path:
    """Where the key of the certificate lies that was asked for and has not come yet."""
    return pki / f"{name}.next.pem"


def finish(pki: Path, name: str) -> None:
    """After a crash between the two: the certificate is new and its key still lies beside it."""
    waiting = next_key(pki, name)
    with contextlib.suppress(OSError, Forged, Misconfigured):  # nothing waits, or nothing that could be used
        if _load((pki / f"{name}.crt.pem").read_bytes()).public_key() == _key(waiting).public_key():
            waiting.replace(pki / f"{name}.key.pem")


def life(certificate: bytes) -> tuple[int, int]:
    """From when and until when it is good, in ms. Raises Forged."""
    found = _load(certificate)
    begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
    return int(begins.timestamp() * 1000), int(ends.timestamp() * 1000)


def _info(asked: str) -> bytes:
    return b"byleave certificate " + asked.encode()


def _load(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem[:_BYTES_MAX])
    except ValueError:
        raise Forged("not a certificate in PEM form", reason="malformed") from None


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(read_private(path), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Misconfigured(f"{path} is not an unencrypted EC key in PEM form")
    return key
