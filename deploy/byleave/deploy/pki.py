"""Development certificates: one CA, and one P-256 certificate per principal, endpoint and service (promise P3).

For one machine or a trial. An organisation brings its own CA and sets BYLEAVE_PKI to a folder of the same shape:
`ca.crt.pem`, `<name>.crt.pem`, `<name>.key.pem`. The name in CN is the Kafka principal; `OU=endpoint` marks endpoints.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from byleave.control.certificates import VALID_DAYS, requested_key
from byleave.control.certificates import subject as endpoint_subject
from byleave.core.errors import Misconfigured
from byleave.core.keys import replace_file
from byleave.core.topics import ENDPOINT, PSEUDONYM, load_catalogue

SERVERS = ("broker", "keyring")
"""Names that others connect to: their certificates carry localhost and 127.0.0.1."""

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
    for name in wanted:
        _check_name(name)
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


def issue(folder: Path, name: str, unverified_request: str, now: dt.datetime, until: dt.datetime) -> tuple[bytes, bytes]:
    """A certificate for the key of an endpoint's request, until then and for at most 30 days; and its authority, both PEM.

    Raises Forged; Misconfigured if the name is a service's, or there is no authority's key here, or it has run out.
    """
    key = requested_key(unverified_request, name)
    _check_name(name)
    authority = _load_certificate(folder / "ca.crt.pem"), _load_key(folder / "ca.key.pem")
    until = min(until, now + dt.timedelta(days=VALID_DAYS, minutes=-5), authority[0].not_valid_after_utc)
    if until <= now:
        raise Misconfigured(f"nothing can be issued by {folder} any more: the authority, or the enrolment, is over")
    made = _certificate(endpoint_subject(name), key, authority, now, until, _leaf_extensions(name, authority))
    return made, (folder / "ca.crt.pem").read_bytes()


def reserved() -> frozenset[str]:
    """Names that no endpoint may bear."""
    return frozenset({*service_names(), ENDPOINT, "ca"})


def _check_name(name: str) -> None:
    if not PSEUDONYM.fullmatch(name) or name in reserved():
        raise Misconfigured(f"endpoint name {name!r} is taken or not of [a-z0-9._-]; choose another")


def _ensure_leaf(folder: Path, name: str, authority: Authority, now: dt.datetime, *, endpoint: bool) -> None:
    subject = endpoint_subject(name) if endpoint else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    until = authority[0].not_valid_after_utc
    _ensure_pair(folder, name, subject, authority, now, until, _leaf_extensions(name, authority))


def _leaf_extensions(name: str, authority: Authority) -> list[tuple[x509.ExtensionType, bool]]:
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if name in SERVERS else [])]
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(False, None), True),
        (x509.ExtendedKeyUsage(uses), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(authority[1].public_key()), False),
    ]
    if name in SERVERS:
        hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        extensions.append((x509.SubjectAlternativeName(hosts), False))
    return extensions


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
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    replace_file(key_path, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    replace_file(certificate_path, _certificate(subject, key.public_key(), authority or key, now, until, extensions))


def _certificate(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, authority: Authority | ec.EllipticCurvePrivateKey, now: dt.datetime,
    until: dt.datetime, extensions: Iterable[tuple[x509.ExtensionType, bool]],
) -> bytes:  # fmt: skip
    """In PEM. By an authority, or by its own key alone."""
    issuer, issuer_key = (authority[0].subject, authority[1]) if isinstance(authority, tuple) else (subject, authority)
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(minutes=5)).not_valid_after(until)
    for extension, critical in (*extensions, (x509.SubjectKeyIdentifier.from_public_key(key), False)):
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _ensure_bundle(folder: Path) -> None:
    """Kafka reads key, certificate and CA from one PEM file."""
    parts = [(folder / name).read_bytes() for name in ("broker.key.pem", "broker.crt.pem", "ca.crt.pem")]
    bundle = folder / "broker.bundle.pem"
    if not bundle.exists() or bundle.read_bytes() != b"".join(parts):
        replace_file(bundle, b"".join(parts))


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        raise Misconfigured(f"{path} cannot be read, or is not a certificate in PEM form") from None


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Misconfigured(f"{path} cannot be read, or is not an unencrypted EC key in PEM form")
    return key
