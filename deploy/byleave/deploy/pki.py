"""Development certificates: one CA, and one P-256 certificate per principal, endpoint and service (promise P3).

For one machine or a trial. An organisation brings its own CA and sets BYLEAVE_PKI to a folder of the same shape:
`ca.crt.pem`, `<name>.crt.pem`, `<name>.key.pem`. The name in CN is the Kafka principal; `OU=endpoint` marks endpoints.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from byleave.core.errors import Misconfigured
from byleave.core.topics import ENDPOINT, load_catalogue

VALID_DAYS = 30
SERVERS = ("broker", "keyring")
"""Names that others connect to: their certificates carry localhost and 127.0.0.1."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_RENEW_BEFORE = dt.timedelta(days=1)


def service_names() -> tuple[str, ...]:
    """Every certificate that is not an endpoint's. No endpoint may bear one of these names."""
    roles = tuple(p.name for p in load_catalogue().principals if p.name != ENDPOINT)
    return tuple(dict.fromkeys((*roles, "admin", *SERVERS)))


def ensure_pki(home: Path, endpoints: Iterable[str], *, now: dt.datetime | None = None) -> Path:
    """Makes what is missing under `home/pki` and returns that folder. Never replaces a certificate or a key.

    Raises Misconfigured if an endpoint's name is not fit for a certificate or is a service's, or if the CA runs out
    within a day: certificates that end while in use are worse than a set-up that says so.
    """
    now = now or dt.datetime.now(dt.UTC)
    wanted = tuple(endpoints)
    reserved = {*service_names(), ENDPOINT, "ca"}
    for name in wanted:
        if not _NAME.fullmatch(name) or name in reserved:
            raise Misconfigured(f"endpoint name {name!r} is taken or not of [a-z0-9._-]; choose another")
    folder = home / "pki"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    authority = _ensure_authority(folder, now)
    for name in service_names():
        _ensure_leaf(folder, name, authority, now, endpoint=False)
    for name in wanted:
        _ensure_leaf(folder, name, authority, now, endpoint=True)
    _ensure_bundle(folder)
    return folder


def endpoints_of(home: Path) -> tuple[str, ...]:
    """The endpoints that have a certificate under `home/pki`, sorted by name."""
    return endpoints_in(home / "pki")


def endpoints_in(pki: Path) -> tuple[str, ...]:
    """The same, of a folder of certificates. Raises Misconfigured if one of them cannot be read."""
    found = []
    for path in sorted(pki.glob("*.crt.pem")):
        certificate = _load_certificate(path)
        units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        if any(unit.value == ENDPOINT for unit in units):
            found.append(path.name.removesuffix(".crt.pem"))
    return tuple(found)


def _ensure_authority(folder: Path, now: dt.datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate_path, key_path = folder / "ca.crt.pem", folder / "ca.key.pem"
    if not (certificate_path.exists() and key_path.exists()):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "byleave development CA")])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = _builder(subject, subject, key.public_key(), now).add_extension(x509.BasicConstraints(True, 0), True)
        certificate = builder.add_extension(usage, True).sign(key, hashes.SHA256())
        _write_pair(key_path, key, certificate_path, certificate)
    certificate = _load_certificate(certificate_path)
    if certificate.not_valid_after_utc - now < _RENEW_BEFORE:
        ends = certificate.not_valid_after_utc.date()
        raise Misconfigured(f"the development certificates in {folder} end on {ends}; move that folder away, then start again")
    return certificate, _load_key(key_path)


def _ensure_leaf(
    folder: Path,
    name: str,
    authority: tuple[x509.Certificate, ec.EllipticCurvePrivateKey],
    now: dt.datetime,
    *,
    endpoint: bool,
) -> None:
    certificate_path, key_path = folder / f"{name}.crt.pem", folder / f"{name}.key.pem"
    if certificate_path.exists() and key_path.exists():
        return
    issuer, issuer_key = authority
    key = ec.generate_private_key(ec.SECP256R1())
    # RFC 4514 prints the last part first: CN must come last here to come first in Kafka's principal mapping rule.
    unit = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, ENDPOINT)] if endpoint else []
    subject = x509.Name([*unit, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if name in SERVERS else [])]
    builder = (
        _builder(subject, issuer.subject, key.public_key(), now, until=issuer.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(x509.ExtendedKeyUsage(uses), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
    )
    if name in SERVERS:
        hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), False)
    _write_pair(key_path, key, certificate_path, builder.sign(issuer_key, hashes.SHA256()))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: dt.datetime,
    *,
    until: dt.datetime | None = None,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(until or now + dt.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), False)
    )


def _ensure_bundle(folder: Path) -> None:
    """Kafka reads key, certificate and CA from one PEM file."""
    parts = [(folder / name).read_bytes() for name in ("broker.key.pem", "broker.crt.pem", "ca.crt.pem")]
    bundle = folder / "broker.bundle.pem"
    if not bundle.exists() or bundle.read_bytes() != b"".join(parts):
        _write_private(bundle, b"".join(parts))


def _write_pair(key_path: Path, key: ec.EllipticCurvePrivateKey, certificate_path: Path, certificate: x509.Certificate) -> None:
    """Key first: a certificate on disk always has its key, so an interrupted run is simply repeated."""
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    _write_private(key_path, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    _write_private(certificate_path, certificate.public_bytes(pem))


def _write_private(path: Path, content: bytes) -> None:
    """Mode 0600 from its first byte, and whole or not there."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError:
        raise Misconfigured(f"{path} is not a certificate in PEM form") from None


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Misconfigured(f"{path} is not an unencrypted EC key in PEM form")
    return key
