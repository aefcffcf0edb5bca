"""Settings: a typo is an error, a value that cannot be is an error, and what is missing is said in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from byleave.core.errors import Misconfigured
from byleave.core.settings import load_installation


def env(home: Path, **more: str) -> dict[str, str]:
    return {"BYLEAVE_HOME": str(home), **more}


def test_defaults_are_this_machine_and_the_byleave_prefix(tmp_path: Path) -> None:
    found = load_installation(env(tmp_path))
    assert (found.site, found.bootstrap, found.pki) == ("byleave.", "127.0.0.1:19093", tmp_path / "pki")
    assert found.topic("raw.events.v1") == "byleave.raw.events.v1"


def test_a_typo_in_a_name_does_not_leave_the_setting_unset(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="BYLEAVE_BOOTSTRAPS"):
        load_installation(env(tmp_path, BYLEAVE_BOOTSTRAPS="kafka:9093"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BYLEAVE_SITE", "Prod."),
        ("BYLEAVE_SITE", "prod"),
        ("BYLEAVE_SITE", ""),
        ("BYLEAVE_SITE", "a.b."),
        ("BYLEAVE_BOOTSTRAP", "kafka"),
        ("BYLEAVE_BOOTSTRAP", "kafka:port"),
        ("BYLEAVE_BOOTSTRAP", "kafka:9093 other:9093"),
        ("BYLEAVE_BOOTSTRAP", "kafka:99999"),
        ("BYLEAVE_BOOTSTRAP", "kafka:9093,other:0"),
        ("BYLEAVE_KEYRING", ":"),
        ("BYLEAVE_METRICS_PORT", "70000"),
        ("BYLEAVE_METRICS_PORT", "-1"),
        ("BYLEAVE_METRICS_PORT", "²"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(Misconfigured, match=name):
        load_installation(env(tmp_path, **{name: value}))


def test_the_broker_that_up_has_started_is_found_and_a_named_one_outranks_it(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "bootstrap.txt").write_text("127.0.0.1:20000\n", encoding="ascii")
    assert load_installation(env(tmp_path)).bootstrap == "127.0.0.1:20000"
    assert load_installation(env(tmp_path, BYLEAVE_BOOTSTRAP="kafka:9093")).bootstrap == "kafka:9093"


def test_a_missing_certificate_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"ca\.crt\.pem.*byleave up"):
        load_installation(env(tmp_path)).kafka("sink")


def test_every_connection_is_mutual_tls_with_the_name_checked(tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    for name in ("ca.crt.pem", "sink.crt.pem", "sink.key.pem"):
        (tmp_path / "pki" / name).write_text("", encoding="ascii")
    options = load_installation(env(tmp_path)).kafka("sink")
    assert options["security.protocol"] == "ssl"
    assert options["ssl.endpoint.identification.algorithm"] == "https"
    assert options["ssl.key.location"] == str(tmp_path / "pki" / "sink.key.pem")
