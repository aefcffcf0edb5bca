"""A device becomes an endpoint by its own keys, under the root that it pinned, or not at all; and says how it is (P1, P3)."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from byleave.control import bootstrap, certificates, trust
from byleave.control.documents import Asked, Enrolment, Issued, digest, dump, load
from byleave.control.knowledge import Knowledge
from byleave.core.clock import wall_ms
from byleave.core.dsse import load_envelope
from byleave.core.errors import ByleaveError, Forged, Misconfigured, Refused
from byleave.core.keys import public_hex, read_hpke_key, read_signing_key, recipient
from byleave.core.settings import Installation, load_installation
from byleave.deploy import enrol, enroller, pki
from byleave.producers.renewal import ASK_MS, LOOK_MS, Renewal

DAY_MS = 86_400_000
NAME = "ep-7"
NO_REQUEST = "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    home = tmp_path_factory.mktemp("desk")
    bootstrap.dev_site(home, "test.", [("ep-a", "person-a", "team-1")], wall_ms(), secrets.token_bytes)
    pki.ensure_pki(home, ["ep-a"])
    return load_installation({"BYLEAVE_HOME": str(home), "BYLEAVE_SITE": "test."})


@pytest.fixture
def device(tmp_path: Path) -> Installation:
    return load_installation({"BYLEAVE_HOME": str(tmp_path / "device"), "BYLEAVE_SITE": "test."})


def pin_of(desk: Installation) -> str:
    return digest(load_envelope((desk.home / "trust" / "root.dsse").read_bytes()).body)


def bundle_for(desk: Installation, application: bytes, **changes: Any) -> dict[str, Any]:
    """What `approve` would give, without a broker; `changes` of the enrolment."""
    asks = load(enrol.Application, load_envelope(application).body)
    key, asked = read_signing_key(desk.home / "officers" / "enrol-1.key"), digest(load_envelope(application).body)
    now = dt.datetime.now(dt.UTC)
    own, authority = pki.issue(desk.pki, asks.endpoint, asks.request, now, now + dt.timedelta(days=90))
    keys = (asks.key, "person-7", asks.person_key, "team-1", wall_ms() + 90 * DAY_MS, asks.receipt_key)
    enrolment = replace(Enrolment("test.", asks.endpoint, *keys), **changes)
    sealed = certificates.seal(own, authority, recipient(asks.receipt_key), asked)
    root = (desk.home / "trust" / "root.dsse").read_text()
    signed = [trust.sign(one, [key]).decode() for one in (enrolment, Issued("test.", asked, sealed))]
    return {"roots": [root], "enrolment": signed[0], "issued": signed[1]}


def taken(desk: Installation, device: Installation) -> Enrolment:
    application = enrol.enrol(device, NAME, pin_of(desk), None)
    return enrol.install(device, NAME, json.dumps(bundle_for(desk, application)).encode())


def files(at: Installation) -> dict[str, bytes]:
    return {str(path.relative_to(at.home)): path.read_bytes() for path in sorted(at.home.rglob("*")) if path.is_file()}


def test_keys_are_made_on_the_device_for_its_owner_alone_and_the_application_shows_no_name(
    desk: Installation, device: Installation
) -> None:
    application = enrol.enrol(device, NAME, pin_of(desk), None)
    before = files(device)
    enrol.enrol(device, NAME, pin_of(desk), None)
    assert files(device) == before, "a second application is for the same keys"
    private = [path for path in device.home.rglob("*") if path.suffix == ".key" or path.name.endswith("next.pem")]
    assert len(private) == 4
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
    for path in private:
        assert path.read_bytes().strip() not in application
    found = taken(desk, device)
    certificate = x509.load_pem_x509_certificate((device.pki / f"{NAME}.crt.pem").read_bytes())
    assert certificate.subject.rfc4514_string() == f"CN={NAME},OU=endpoint"
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days <= 30
    assert [
        extension.oid for extension in certificate.extensions if isinstance(extension.value, x509.SubjectAlternativeName)
    ] == []
    assert (found.subject, enrol.status(device, NAME)[1]) == ("person-7", enrol.NOT_RUNNING)
    assert (device.home / "people" / "person-7" / "person.key").is_file()


def test_enrolled_again_it_is_the_same_device_and_person(desk: Installation, device: Installation) -> None:
    first = taken(desk, device)
    again = taken(desk, device)
    assert (again.key, again.person_key, again.receipt_key) == (first.key, first.person_key, first.receipt_key)
    persons = [name for name in files(device) if name.endswith("person.key")]
    assert persons == ["people/person-7/person.key"]


def test_a_second_device_of_a_person_has_a_key_of_its_own_and_their_word(
    desk: Installation, device: Installation, tmp_path: Path
) -> None:
    first = taken(desk, device)
    second = load_installation({"BYLEAVE_HOME": str(tmp_path / "laptop"), "BYLEAVE_SITE": "test."})
    application = enrol.enrol(second, "ep-8", pin_of(desk), device.home / "people" / "person-7" / "person.key")
    found = enrol.install(second, "ep-8", json.dumps(bundle_for(desk, application)).encode())
    assert found.person_key == first.person_key
    assert found.key != first.key


def other_root(desk: Installation, bundle: dict[str, Any], tmp: Path) -> dict[str, Any]:
    bootstrap.dev_site(tmp, "test.", [], wall_ms(), secrets.token_bytes)
    return bundle | {"roots": [(tmp / "trust" / "root.dsse").read_text()]}


BAD: dict[str, Callable[[Installation, bytes, Path], Any]] = {
    "another root": lambda desk, asks, tmp: other_root(desk, bundle_for(desk, asks), tmp),
    "another device": lambda desk, asks, _: bundle_for(desk, asks, key="aa" * 32),
    "another name": lambda desk, asks, _: bundle_for(desk, asks, endpoint="ep-8"),
    "another person's key": lambda desk, asks, _: bundle_for(desk, asks, person_key="bb" * 32),
    "another receipt key": lambda desk, asks, _: bundle_for(desk, asks, receipt_key=""),
    "an unsigned enrolment": lambda desk, asks, _: bundle_for(desk, asks) | {"enrolment": asks.decode()},
    "a field more": lambda desk, asks, _: bundle_for(desk, asks) | {"more": "1"},
    "no roots": lambda desk, asks, _: bundle_for(desk, asks) | {"roots": []},
    "a number for a root": lambda desk, asks, _: bundle_for(desk, asks) | {"roots": [1]},
    "a list": lambda desk, asks, _: [bundle_for(desk, asks)],
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bundle_that_is_not_for_this_device_under_its_root_leaves_everything_as_it_was(
    desk: Installation, device: Installation, tmp_path: Path, name: str
) -> None:
    application = enrol.enrol(device, NAME, pin_of(desk), None)
    before = files(device)
    with pytest.raises(Forged):
        enrol.install(device, NAME, json.dumps(BAD[name](desk, application, tmp_path / "other")).encode())
    assert files(device) == before


def test_a_persons_pseudonym_that_is_a_path_puts_no_key_elsewhere(desk: Installation, device: Installation) -> None:
    application = enrol.enrol(device, NAME, pin_of(desk), None)
    before = files(device)
    with pytest.raises(Forged):
        enrol.install(device, NAME, json.dumps(bundle_for(desk, application, subject="../../elsewhere")).encode())
    assert files(device) == before
    assert not (device.home.parent / "elsewhere").exists()


def test_an_enroller_whom_a_later_root_dismissed_enrols_nobody_under_the_root_before(
    desk: Installation, device: Installation
) -> None:
    application = enrol.enrol(device, NAME, pin_of(desk), None)
    old = bundle_for(desk, application)
    root, officers = trust.load_root(old["roots"][0].encode(), "test."), desk.home / "officers"
    other = public_hex(read_signing_key(officers / "security-1.key"))
    roles = tuple(replace(role, keys=(other,)) if role.name == "enrol" else role for role in root.roles)
    after = replace(root, version=root.version + 1, roles=roles)
    signed = trust.sign(after, [read_signing_key(officers / f"root-{n}.key") for n in (1, 2)])
    bootstrap.pin_root(device.home, old["roots"][0].encode())
    bootstrap.pin_root(device.home, signed)
    before = files(device)
    with pytest.raises(Forged):
        enrol.install(device, NAME, json.dumps(old).encode())
    assert files(device) == before


def test_a_certificate_of_another_key_name_or_authority_is_not_taken(desk: Installation, tmp_path: Path) -> None:
    key, now = tmp_path / "own.pem", dt.datetime.now(dt.UTC)
    request = certificates.new_request(key, NAME)
    own, authority = pki.issue(desk.pki, NAME, request, now, now + dt.timedelta(days=9))
    certificates.check(own, authority, NAME, key)
    others = tmp_path / "others.pem"
    certificates.new_request(others, NAME)
    pki.ensure_pki(tmp_path / "foreign", [])
    foreign = (tmp_path / "foreign" / "pki" / "ca.crt.pem").read_bytes()
    for certificate, ca, name, at in ((own, authority, "ep-8", key), (own, authority, NAME, others), (own, foreign, NAME, key)):
        with pytest.raises(Forged):
            certificates.check(certificate, ca, name, at)
    for junk in (b"", b"-----BEGIN CERTIFICATE-----\n", secrets.token_bytes(900)):
        with pytest.raises(Forged):
            certificates.check(junk, authority, NAME, key)


@pytest.mark.parametrize("request_", ["", "x" * 5_000, NO_REQUEST])
def test_a_request_that_is_none_is_forged(desk: Installation, request_: str) -> None:
    now = dt.datetime.now(dt.UTC)
    with pytest.raises(Forged):
        pki.issue(desk.pki, NAME, request_, now, now + dt.timedelta(days=1))


@pytest.mark.parametrize("known", ["2a8648ce3d0201", "2a8648ce3d030107", "2a8648ce3d040302"])
def test_a_request_for_a_key_type_curve_or_signature_that_nobody_knows_is_forged_and_ends_no_round_of_answers(
    desk: Installation, tmp_path: Path, known: str
) -> None:
    request = x509.load_pem_x509_csr(certificates.new_request(tmp_path / "own.pem", NAME).encode())
    asked = request.public_bytes(serialization.Encoding.DER).replace(bytes.fromhex(known), bytes.fromhex(known[:-2] + "7f"))
    kind, now = "CERTIFICATE REQUEST", dt.datetime.now(dt.UTC)
    text = f"-----BEGIN {kind}-----\n{base64.encodebytes(asked).decode()}-----END {kind}-----\n"
    with pytest.raises(Forged):
        pki.issue(desk.pki, NAME, text, now, now + dt.timedelta(days=1))


def test_nobody_gets_a_certificate_in_the_name_of_a_service(desk: Installation, tmp_path: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    for name in ("redactor", "brake", "admin", "broker"):
        request = certificates.new_request(tmp_path / f"{name}.pem", name)
        with pytest.raises(Misconfigured):
            pki.issue(desk.pki, name, request, now, now + dt.timedelta(days=1))
        with pytest.raises(Forged):
            pki.issue(desk.pki, NAME, request, now, now + dt.timedelta(days=1))


def test_what_was_sealed_to_one_endpoint_opens_for_no_other_and_no_other_request(desk: Installation, tmp_path: Path) -> None:
    mine, others = (read_hpke_key(desk.home / at) for at in ("endpoints/ep-a/receipt.key", "redactor/state.key"))
    sealed = certificates.seal(b"", b"", recipient(public_hex(mine)), "aa")
    for key, asked in ((others, "aa"), (mine, "bb")):
        with pytest.raises(Forged):
            certificates.unseal(sealed, key, asked)


@pytest.mark.parametrize("point", ["00" * 32, "01" + "00" * 31])
def test_to_a_receipt_key_that_is_no_secret_nothing_is_sealed(point: str) -> None:
    with pytest.raises(Forged):
        certificates.seal(b"", b"", recipient(point), "aa")


def test_a_second_root_is_never_pinned_over_the_first(desk: Installation, device: Installation) -> None:
    enrol.enrol(device, NAME, pin_of(desk), None)
    with pytest.raises(Misconfigured, match="another site"):
        enrol.enrol(device, NAME, "ab" * 32, None)
    assert (device.home / "trust" / "root.pin").read_text().strip() == pin_of(desk)


LIVE = {"answer": "capturing, with your permission", "capturing": True}


@pytest.mark.parametrize(
    ("report", "age_s", "code", "said"),
    [
        (LIVE, 0, enrol.CAPTURING, LIVE["answer"]),
        ({"answer": "not capturing: paused", "capturing": False}, 0, enrol.NOT_CAPTURING, "not capturing: paused"),
        (LIVE, 60, enrol.NOT_RUNNING, "not capturing: the agent does not run"),
        (LIVE, -3_600, enrol.NOT_RUNNING, "not capturing: the agent does not run"),  # of before the clock was set back
        (None, 0, enrol.NOT_RUNNING, "not capturing: the agent does not run"),
    ],
)  # fmt: skip
def test_status_is_one_sentence_and_one_code(
    desk: Installation, device: Installation, report: Any, age_s: int, code: int, said: str
) -> None:
    taken(desk, device)
    path = device.home / "endpoints" / NAME / "report.json"
    if report is not None:
        path.write_text(json.dumps(report))
        os.utime(path, (time.time() - age_s,) * 2)
    found, given = enrol.status(device, NAME)
    assert (given, found["said"]) == (code, said)


def test_status_knows_an_enrolment_that_is_not_there_and_one_that_is_damaged(desk: Installation, device: Installation) -> None:
    assert enrol.status(device, NAME)[1] == enrol.NOT_ENROLLED
    taken(desk, device)
    (device.home / "endpoints" / NAME / "enrolment.dsse").write_bytes(b"{}")
    assert enrol.status(device, NAME)[1] == enrol.NOT_ENROLLED


def test_who_leaves_without_being_heard_keeps_the_keys_to_say_it_again_unless_told_otherwise(
    desk: Installation, device: Installation
) -> None:
    taken(desk, device)
    unreachable = replace(device, bootstrap="127.0.0.1:1")
    (device.home / "endpoints" / NAME / "spool").mkdir()
    before = files(device)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ByleaveError):
        patch.setattr("byleave.control.desk.PUBLISH_S_MAX", 0.2)
        enrol.leave(unreachable, NAME)
    assert files(device) == before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("byleave.control.desk.PUBLISH_S_MAX", 0.2)
        done = enrol.leave(unreachable, NAME, anyway=True)
    assert done["told"] is False
    assert [name for name in files(device) if name.endswith((".key", "key.pem"))] == ["people/person-7/person.key"]
    assert not (device.home / "endpoints" / NAME / "spool").exists()


def test_what_could_not_be_removed_is_named_among_what_is_left(desk: Installation, device: Installation) -> None:
    taken(desk, device)
    (device.home / "endpoints" / NAME / "spool").write_bytes(b"no folder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("byleave.control.desk.PUBLISH_S_MAX", 0.2)
        left = enrol.leave(replace(device, bootstrap="127.0.0.1:1"), NAME, anyway=True)["left"]
    assert f"endpoints/{NAME}/spool" in left


def test_the_key_of_one_person_is_not_taken_for_another(desk: Installation, device: Installation, tmp_path: Path) -> None:
    """On a computer that two people share, whoever has the first one's key could agree for the second."""
    knowledge = Knowledge(trust.load_root((desk.home / "trust" / "root.dsse").read_bytes(), "test."), "test.")
    first = bundle_for(desk, enrol.enrol(device, NAME, pin_of(desk), None))
    enrol.install(device, NAME, json.dumps(first).encode())
    knowledge.learn("control.enrolment.v1", first["enrolment"].encode())
    second = load(enrol.Application, load_envelope(enrol.enrol(device, "ep-8", pin_of(desk), None)).body)
    enroller._check_free(knowledge, second, "person-7")
    with pytest.raises(Refused) as caught:
        enroller._check_free(knowledge, second, "person-8")
    assert caught.value.reason == "taken"


def test_an_agent_that_runs_does_not_leave(desk: Installation, device: Installation) -> None:
    taken(desk, device)
    (device.home / "endpoints" / NAME / "report.json").write_text("{}")
    with pytest.raises(Refused, match="stop it first"):
        enrol.leave(device, NAME)


# -- renewal --------------------------------------------------------------------------------------------------------------


def renewing(device: Installation) -> tuple[Renewal, list[tuple[str, bytes]]]:
    said: list[tuple[str, bytes]] = []
    folder = device.home / "endpoints" / NAME
    key = read_signing_key(folder / "device.key")
    return Renewal(device.pki, folder, "test.", NAME, key, lambda topic, value: said.append((topic, value))), said


def answered(desk: Installation, asked: Asked) -> tuple[bytes, bytes]:
    now = dt.datetime.now(dt.UTC)
    own, authority = pki.issue(desk.pki, NAME, asked.request, now, now + dt.timedelta(days=30))
    return own, authority


def test_it_asks_at_two_thirds_and_takes_only_the_answer_to_its_own_question(desk: Installation, device: Installation) -> None:
    taken(desk, device)
    renewal, said = renewing(device)
    begins, ends = certificates.life((device.pki / f"{NAME}.crt.pem").read_bytes())
    due = begins + (ends - begins) * 2 // 3
    renewal.look(0, due - 1)
    assert (said, certificates.next_key(device.pki, NAME).exists()) == ([], False)
    renewal.look(LOOK_MS, due)
    renewal.look(2 * LOOK_MS, due + 60_000)
    assert len(said) == 1, "not more than once an hour"
    renewal.look(LOOK_MS + ASK_MS, due + ASK_MS)
    asked = load(Asked, load_envelope(said[-1][1]).body)
    own, authority = answered(desk, asked)
    receipts = read_hpke_key(device.home / "endpoints" / NAME / "receipt.key")
    before = files(device)
    named, mine = digest(dump(asked)), receipts.public_key()
    for answers, sealed in (
        ("aa" * 32, certificates.seal(own, authority, mine, "aa" * 32)),
        (named, "not base64"),
        (named, certificates.seal(own, own, mine, named)),
    ):
        assert renewal.hear([Issued("test.", answers, sealed)]) is False
        assert files(device) == before
    good = certificates.seal(own, authority, receipts.public_key(), digest(dump(asked)))
    assert renewal.hear([Issued("test.", digest(dump(asked)), good)]) is True
    assert (device.pki / f"{NAME}.crt.pem").read_bytes() == own
    certificates.check(own, authority, NAME, device.pki / f"{NAME}.key.pem")
    assert renewal.hear([Issued("test.", digest(dump(asked)), good)]) is False


def test_an_answer_that_came_while_the_agent_was_off_is_taken_at_the_next_start(
    desk: Installation, device: Installation
) -> None:
    """The enroller's desk answers once a night; this machine is off then, and its agent starts anew each morning."""
    taken(desk, device)
    evening, said = renewing(device)
    begins, ends = certificates.life((device.pki / f"{NAME}.crt.pem").read_bytes())
    due = begins + (ends - begins) * 2 // 3
    evening.look(0, due)
    asked = load(Asked, load_envelope(said[0][1]).body)
    own, authority = answered(desk, asked)
    mine, named = read_hpke_key(device.home / "endpoints" / NAME / "receipt.key").public_key(), digest(dump(asked))
    morning, said = renewing(device)
    assert morning.hear([]) is False
    morning.look(0, due + 12 * ASK_MS)
    assert morning.hear([Issued("test.", "aa" * 32, certificates.seal(own, authority, mine, "aa" * 32))]) is False
    assert morning.hear([Issued("test.", named, certificates.seal(own, authority, mine, named))]) is True
    assert (device.pki / f"{NAME}.crt.pem").read_bytes() == own
    certificates.check(own, authority, NAME, device.pki / f"{NAME}.key.pem")
    assert renewing(device)[0].hear([Issued("test.", named, certificates.seal(own, authority, mine, named))]) is False


def test_a_crash_between_certificate_and_key_is_put_right_at_the_next_start(desk: Installation, device: Installation) -> None:
    taken(desk, device)
    request = certificates.new_request(certificates.next_key(device.pki, NAME), NAME)
    now = dt.datetime.now(dt.UTC)
    own, authority = pki.issue(desk.pki, NAME, request, now, now + dt.timedelta(days=3))
    (device.pki / f"{NAME}.crt.pem").write_bytes(own)
    renewing(device)
    certificates.check(own, authority, NAME, device.pki / f"{NAME}.key.pem")
    assert not certificates.next_key(device.pki, NAME).exists()
