"""The development PKI: one certificate per name, nothing replaced, nothing readable by others, no name taken twice."""

from __future__ import annotations

import datetime as dt
import os
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from byleave.core.errors import Misconfigured
from byleave.core.topics import load_catalogue
from byleave.deploy import pki


def certificate(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.crt.pem").read_bytes())


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_principal_endpoint_and_service_has_a_pair_of_its_own(tmp_path: Path) -> None:
    folder = pki.ensure_pki(tmp_path, ["ep-a", "ep-b"])
    names = {p.name for p in load_catalogue().principals} - {"endpoint"} | {"admin", "broker", "keyring", "ep-a", "ep-b"}
    assert {p.name.removesuffix(".key.pem") for p in folder.glob("*.key.pem")} == names | {"ca"}
    assert len({p.read_bytes() for p in folder.glob("*.key.pem")}) == len(names) + 1
    authority = certificate(folder, "ca")
    for name in names:
        found = certificate(folder, name)
        found.verify_directly_issued_by(authority)
        assert isinstance(found.public_key(), ec.EllipticCurvePublicKey)
        assert found.subject.rfc4514_string().startswith(f"CN={name}")
        assert found.not_valid_after_utc <= authority.not_valid_after_utc


def test_only_the_services_that_others_connect_to_may_be_servers(tmp_path: Path) -> None:
    folder = pki.ensure_pki(tmp_path, ["ep-a"])
    servers = {
        path.name.removesuffix(".crt.pem")
        for path in folder.glob("*.crt.pem")
        if path.name != "ca.crt.pem"
        and ExtendedKeyUsageOID.SERVER_AUTH
        in certificate(folder, path.name.removesuffix(".crt.pem"))
        .extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        .value
    }
    assert servers == {"broker", "keyring"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes; there a folder inherits its owner's rights")
def test_nobody_else_can_read_a_key(tmp_path: Path) -> None:
    folder = pki.ensure_pki(tmp_path, ["ep-a"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_second_run_adds_what_is_missing_and_replaces_nothing(tmp_path: Path) -> None:
    folder = pki.ensure_pki(tmp_path, ["ep-a"])
    before = snapshot(folder)
    pki.ensure_pki(tmp_path, ["ep-b"])
    after = snapshot(folder)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"ep-b.crt.pem", "ep-b.key.pem"}
    assert pki.endpoints_in(tmp_path / "pki") == ("ep-a", "ep-b")


@pytest.mark.parametrize(
    "name", ["admin", "broker", "redactor", "keyring", "endpoint", "ca", "EP", "a,OU=x", "", "a/b", "x" * 64]
)
def test_an_endpoint_cannot_take_a_service_name_or_one_that_is_no_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(Misconfigured):
        pki.ensure_pki(tmp_path, ["ep-a", name])
    assert list(tmp_path.iterdir()) == []


def test_certificates_that_end_within_a_day_stop_the_set_up(tmp_path: Path) -> None:
    made = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    folder = pki.ensure_pki(tmp_path, ["ep-a"], now=made)
    before = snapshot(folder)
    with pytest.raises(Misconfigured, match="end on 2026-01-31"):
        pki.ensure_pki(tmp_path, ["ep-b"], now=made + dt.timedelta(days=29, hours=1))
    assert snapshot(folder) == before


def test_a_damaged_certificate_is_named(tmp_path: Path) -> None:
    folder = pki.ensure_pki(tmp_path, ["ep-a"])
    (folder / "ep-a.crt.pem").write_text("garbage")
    with pytest.raises(Misconfigured, match=r"ep-a\.crt\.pem"):
        pki.endpoints_in(tmp_path / "pki")
