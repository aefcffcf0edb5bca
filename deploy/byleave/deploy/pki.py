"""Development certificates: one CA, and one P-256 certificate per principal, endpoint and service (promise P3).

For one machine or a trial. An organisation brings its own CA and sets BYLEAVE_PKI to a folder of the same shape:
`ca.crt.pem`, `<name>.crt.pem`, `<name>.key.pem`. The name in CN is the Kafka principal; `OU=endpoint` marks endpoints.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from byleave.core.errors import Misconfigured
from byleave.core.keys import replace_file
from byleave.core.topics import ENDPOINT, load_catalogue

VALID_DAYS = 30
SERVERS = ("broker", "keyring")
"""Names that others connect to: their certificates carry localhost and 127.0.0.1."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_RENEW_BEFORE = dt.timedelta(days=1)
Authority = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


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


def endpoints_in(pki: Path) -> tuple[str, ...]:
    """The endpoints that have a certificate in a folder, sorted by name. Raises Misconfigured if one cannot be read."""
    found = []
    for path in sorted(pki.glob("*.crt.pem")):
        certificate = _load_certificate(path)
        units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        if any(unit.value == ENDPOINT for unit in units):
            found.append(path.name.removesuffix(".crt.pem"))
    return tuple(found)


def _ensure_authority(folder: Path, now: dt.datetime) -> Authority:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "byleave development CA")])
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    until = now + dt.timedelta(days=VALID_DAYS)
    _ensure_pair(folder, "ca", subject, None, now, until, [(x509.BasicConstraints(True, 0), True), (usage, True)])
    certificate = _load_certificate(folder / "ca.crt.pem")
    if certificate.not_valid_after_utc - now < _RENEW_BEFORE:
        ends = certificate.not_valid_after_utc.date()
        raise Misconfigured(f"the development certificates in {folder} end on {ends}; move that folder away, then start again")
    return certificate, _load_key(folder / "ca.key.pem")


def _ensure_leaf(folder: Path, name: str, authority: Authority, now: dt.datetime, *, endpoint: bool) -> None:
    issuer, issuer_key = authority
    # RFC 4514 prints the last part first: CN must come last here to come first in Kafka's principal mapping rule.
    unit = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, ENDPOINT)] if endpoint else []
    subject = x509.Name([*unit, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if name in SERVERS else [])]
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(False, None), True),
        (x509.ExtendedKeyUsage(uses), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False),
    ]
    if name in SERVERS:
        hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        extensions.append((x509.SubjectAlternativeName(hosts), False))
    _ensure_pair(folder, name, subject, authority, now, issuer.not_valid_after_utc, extensions)


def _ensure_pair(
    folder: Path, name: str, subject: x509.Name, authority: Authority | None, now: dt.datetime, until: dt.datetime,
    extensions: Iterable[tuple[x509.ExtensionType, bool]],
) -> None:  # fmt: skip
    """A key and its certificate, if they are not there. Without an authority it signs itself.

    Key first: a certificate on disk always has its key, so an interrupted run is simply repeated.
    """
    certificate_path, key_path = folder / f"{name}.crt.pem", folder / f"{name}.key.pem"
    if certificate_path.exists() and key_path.exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    issuer, issuer_key = (authority[0].subject, authority[1]) if authority else (subject, key)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(minutes=5)).not_valid_after(until)
    for extension, critical in (*extensions, (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)):
        builder = builder.add_extension(extension, critical)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    replace_file(key_path, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    replace_file(certificate_path, builder.sign(issuer_key, hashes.SHA256()).public_bytes(pem))


def _ensure_bundle(folder: Path) -> None:
    """Kafka reads key, certificate and CA from one PEM file."""
    parts = [(folder / name).read_bytes() for name in ("broker.key.pem", "broker.crt.pem", "ca.crt.pem")]
    bundle = folder / "broker.bundle.pem"
    if not bundle.exists() or bundle.read_bytes() != b"".join(parts):
        replace_file(bundle, b"".join(parts))


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
