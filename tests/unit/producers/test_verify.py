"""What a person can check at their own machine: each line is ok where it is so, and NOT OK where that one thing was changed."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import secrets
import threading
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from byleave.control import trust
from byleave.control.bootstrap import dev_site
from byleave.control.documents import Consent, Enrolment, Role, Root, load
from byleave.core.clock import wall_ms
from byleave.core.dsse import load_envelope
from byleave.core.errors import Forged, Refused
from byleave.core.keys import public_hex, read_signing_key, write_secret
from byleave.core.settings import load_installation
from byleave.producers.inquiries import Inquiries
from byleave.producers.own_files import own_digest
from byleave.producers.person import verify
from byleave.producers.person.verify import Found, Own

FILES = {"byleave/core/one.py": b"a = 1\n", "byleave/core/two.toml": b"b = 2\n"}


@pytest.fixture
def own(tmp_path: Path) -> Own:
    """An enrolled endpoint without a broker, and an installed release of two files."""
    dev_site(tmp_path / "home", "byleave.", [("ep-a", "p-a", "t"), ("ep-b", "p-b", "t")], wall_ms(), secrets.token_bytes)
    at = load_installation({"BYLEAVE_HOME": str(tmp_path / "home"), "BYLEAVE_BOOTSTRAP": "127.0.0.1:1"})
    place, rows = tmp_path / "site", []
    for name, content in FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
        hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        rows.append(f"{name},sha256={hashed},{len(content)}")
    info = place / "byleave-9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: byleave\nVersion: 9\n")
    (info / "RECORD").write_text("\n".join([*rows, "byleave-9.dist-info/RECORD,,"]))
    return Own(at, "ep-a", own_digest(), metadata.PathDistribution(info))


def named(own: Own) -> dict[str, tuple[Found, str]]:
    return {line.what: (line.found, line.said) for line in verify.verify(own)}


def signer(own: Own) -> Any:
    """Lets the root name a key for releases."""
    path = own.at.home / "trust" / "root.dsse"
    root = load(Root, load_envelope(path.read_bytes()).body)
    write_secret(own.at.home / "officers" / "release-1.key", secrets.token_bytes(32))
    key = read_signing_key(own.at.home / "officers" / "release-1.key")
    named = dataclasses.replace(root, roles=(*root.roles, Role("release", (public_hex(key),), ("builders",), 1, 1)))
    roots = [read_signing_key(own.at.home / "officers" / f"root-{n}.key") for n in (1, 2)]
    path.write_bytes(trust.sign(named, roots))
    return key


def test_what_is_so_is_ok_and_what_cannot_be_looked_at_is_never_called_ok(own: Own) -> None:
    lines = named(own)
    assert {what for what, (found, _) in lines.items() if found is Found.OK} == {"files", "enrolment", "consent"}
    assert {what for what, (found, _) in lines.items() if found is Found.BAD} == {"root"}, "no certificate to ask the site with"
    assert lines["who read you"] == (Found.UNKNOWN, "whether each read is in the witnessed log cannot be checked from here yet")
    assert "not running" in lines["running agent"][1]


def changed(place: Path) -> None:
    (place / "byleave/core/one.py").write_text("a = 2\n")


def added(place: Path) -> None:
    (place / "byleave/core/three.py").write_text("")


def removed(place: Path) -> None:
    (place / "byleave/core/two.toml").unlink()


def editable(place: Path) -> None:
    (place / "byleave-9.dist-info" / "direct_url.json").write_text('{"dir_info": {"editable": true}, "url": "file:///x"}')


@pytest.mark.parametrize("tamper", [changed, added, removed, editable])
def test_files_that_are_not_the_installed_release_are_not_ok(own: Own, tmp_path: Path, tamper: Callable[[Path], None]) -> None:
    tamper(tmp_path / "site")
    assert named(own)["files"][0] is Found.BAD
    assert verify.files(dataclasses.replace(own, release=None))[0] is Found.BAD


def test_a_release_counts_if_the_roots_own_role_signed_these_very_files(own: Own) -> None:
    key = signer(own)
    assert named(own)["release"][0] is Found.UNKNOWN
    assert verify.sign_release(own.at, key)["agent"] == own.agent
    assert named(own)["release"][0] is Found.OK
    assert named(own)["never-list"][0] is Found.OK
    assert verify.release(dataclasses.replace(own, agent="00" * 32))[0] is Found.BAD
    with pytest.raises(Forged):
        verify.sign_release(own.at, read_signing_key(own.at.home / "officers" / "security-1.key"))
    assert named(own)["release"][0] is Found.OK, "the good one still stands"
    path = own.at.home / "trust" / "release.dsse"
    path.write_bytes(path.read_bytes().replace(b'"sig": "', b'"sig": "AAAA'))
    assert named(own)["release"][0] is Found.BAD


def test_an_agent_that_was_started_from_other_files_is_not_ok(own: Own) -> None:
    for digest, found in ((own.agent, Found.OK), ("00" * 32, Found.BAD)):
        agent = Inquiries(own.folder)
        try:
            over = threading.Event()

            def serve(agent: Inquiries = agent, digest: str = digest, over: threading.Event = over) -> None:
                while not over.is_set():
                    agent.answer({"digest": lambda _: {"digest": digest}}, 0.1)

            thread = threading.Thread(target=serve)
            thread.start()
            assert verify.running(own)[0] is found
            over.set()
            thread.join()
        finally:
            agent.close()


def test_an_enrolment_of_other_keys_or_of_another_or_of_nobody_is_not_ok(own: Own) -> None:
    path, device = own.folder / "enrolment.dsse", own.folder / "device.key"
    good, key = path.read_bytes(), device.read_bytes()
    path.write_bytes((own.at.home / "endpoints" / "ep-b" / "enrolment.dsse").read_bytes())
    assert named(own)["enrolment"][0] is Found.BAD
    given = load(Enrolment, load_envelope(good).body)
    path.write_bytes(trust.sign(given, [read_signing_key(device)]))
    assert named(own)["enrolment"][0] is Found.BAD, "signed by itself"
    over = dataclasses.replace(given, until_ms=1)
    path.write_bytes(trust.sign(over, [read_signing_key(own.at.home / "officers" / "enrol-1.key")]))
    assert named(own)["enrolment"] == (Found.BAD, "it is over")
    path.write_bytes(good)
    device.write_bytes((own.at.home / "endpoints" / "ep-b" / "device.key").read_bytes())
    assert named(own)["enrolment"][0] is Found.BAD
    device.write_bytes(key)
    (own.folder / "receipt.key").write_bytes(key)
    assert "receipts" in named(own)["enrolment"][1]
    path.unlink()
    assert named(own)["enrolment"][0] is Found.BAD


def test_a_root_that_does_not_follow_the_pin_or_is_damaged_is_not_ok(own: Own) -> None:
    (own.at.home / "trust" / "root.pin").write_text("00" * 32)
    assert named(own)["root"] == (Found.BAD, "it does not follow trust/root.pin")
    (own.at.home / "trust" / "root.pin").unlink()
    assert "pin" not in named(own)["root"][1]
    path = own.at.home / "trust" / "root.dsse"
    path.write_bytes(path.read_bytes().replace(b'"sig": "', b'"sig": "AAAA'))
    assert named(own)["root"][0] is Found.BAD


def test_a_consent_that_another_signed_is_not_ok(own: Own) -> None:
    key = read_signing_key(own.at.home / "people" / "p-b" / "person.key")
    said = Consent(own.at.site, "p-a", "00" * 32, given=True, at_ms=wall_ms())
    (own.folder / "consent.dsse").write_bytes(trust.sign(said, [key]))
    assert named(own)["consent"][0] is Found.BAD
    mine = read_signing_key(own.at.home / "people" / "p-a" / "person.key")
    (own.folder / "consent.dsse").write_bytes(trust.sign(dataclasses.replace(said, given=False), [mine]))
    assert named(own)["consent"] == (Found.OK, "you took your consent back, so nothing is captured")


def test_where_nothing_may_be_captured_now_a_consent_is_no_alarm(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = read_signing_key(own.at.home / "people" / "p-a" / "person.key")
    said = Consent(own.at.site, "p-a", "00" * 32, given=True, at_ms=wall_ms())
    (own.folder / "consent.dsse").write_bytes(trust.sign(said, [mine]))

    def offers(reason: str) -> Callable[..., Any]:
        def offer(*_: object) -> Any:
            raise Refused("no state in force", reason=reason)

        return offer

    monkeypatch.setattr(verify, "read_offer", offers("no-run"))
    assert named(own)["consent"] == (Found.OK, "no state in force lets this endpoint capture")
    monkeypatch.setattr(verify, "read_offer", offers("denied"))
    assert named(own)["consent"][0] is Found.BAD


def test_receipts_that_do_not_add_up_are_not_ok(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {"why": "", "summary": {"difference": 0, "hours": 3}}
    monkeypatch.setattr(verify, "ask", lambda *_: json.loads(json.dumps(told)))
    assert verify.receipts(own)[0] is Found.OK
    told["summary"]["difference"] = 4
    assert verify.receipts(own)[0] is Found.BAD
    told["summary"] = None
    assert verify.receipts(own)[0] is Found.UNKNOWN
