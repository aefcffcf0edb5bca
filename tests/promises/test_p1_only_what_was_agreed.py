"""P1. Only what was agreed: without the person's signature under exactly this manifest, nothing starts and nothing passes.

Here without a broker: the beacon service's answer, the endpoint's leave and the fence, each on the same signed documents.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from byleave.control import bootstrap, consenting, rollcall, trust
from byleave.control.admission import Admitted, Claim, Refuses, decide
from byleave.control.beacon import Memory, answer, vouch
from byleave.control.documents import Consent, Halt, Manifest, Request, Scope, State, digest, dump, load
from byleave.control.knowledge import Knowledge
from byleave.core import metrics
from byleave.core.dsse import load_envelope
from byleave.core.errors import Forged, Refused
from byleave.core.keys import read_signing_key
from byleave.deploy import fleet
from byleave.producers import gate
from byleave.producers.cli import app

NOW_MS = 1_800_000_000_000
SITE = "test."


@pytest.fixture
def home(tmp_path: Path) -> Path:
    bootstrap.dev_site(tmp_path, SITE, [("ep-a", "person-a", "team-1")], NOW_MS, random.Random(3).randbytes)
    return tmp_path


def known(home: Path) -> Knowledge:
    knowledge = Knowledge(bootstrap.pinned_root(home, SITE), SITE)
    for topic, _, value in bootstrap.documents_to_publish(home):
        knowledge.learn(topic, value)
    return knowledge


def say(home: Path, knowledge: Knowledge, *, given: bool, at_ms: int, manifest: str = "", signer: str = "person-a") -> None:
    named = manifest or in_force(knowledge)
    key = read_signing_key(home / "people" / signer / "person.key")
    knowledge.learn("control.consent.v1", trust.sign(Consent(SITE, "person-a", named, given, at_ms), [key]))


def in_force(knowledge: Knowledge) -> str:
    assert knowledge.state is not None
    return knowledge.state.run[0].manifest


def granted(knowledge: Knowledge) -> bool:
    request = Request(SITE, "ep-a", "00" * 16, 1, "00" * 32, 1)
    try:
        answer(Memory(), knowledge, request, "00" * 32, NOW_MS + 10, bytes(16))
    except Refused as refusal:
        assert refusal.reason == "no-consent"
        return False
    return True


def passes(home: Path, knowledge: Knowledge) -> bool:
    """Whether a batch captured at NOW + 10 s would be admitted when a beacon has covered it for a while."""
    _, beacon = vouch(Memory(), knowledge, NOW_MS + 60_000 + (knowledge.beacon.service_ms - NOW_MS if knowledge.beacon else 0))
    key = read_signing_key(home / "beacon" / "beacon.key")
    knowledge.learn("control.beacon.v1", trust.sign(beacon, [key]))
    claim = Claim("ep-a", bytes(16), 1, NOW_MS + 10_000, NOW_MS + 10_050, bytes.fromhex(in_force(knowledge)))
    found = decide(claim, knowledge)
    assert isinstance(found, Admitted) or found == Refuses("no-consent")
    return isinstance(found, Admitted)


def test_no_signature_no_capture(home: Path) -> None:
    knowledge = known(home)
    assert not granted(knowledge)
    assert not passes(home, knowledge)


def test_with_the_persons_own_signature_it_starts(home: Path) -> None:
    knowledge = known(home)
    say(home, knowledge, given=True, at_ms=NOW_MS)
    assert granted(knowledge)
    assert passes(home, knowledge)


def test_a_withdrawal_ends_it_also_for_what_was_captured_and_has_not_passed_yet(home: Path) -> None:
    knowledge = known(home)
    say(home, knowledge, given=True, at_ms=NOW_MS)
    say(home, knowledge, given=False, at_ms=NOW_MS + 20_000)
    assert not granted(knowledge)
    assert not passes(home, knowledge)


def test_nobody_else_can_agree_for_the_person(home: Path) -> None:
    bootstrap.dev_site(home, SITE, [("ep-b", "person-b", "team-1")], NOW_MS, random.Random(4).randbytes)
    knowledge = known(home)
    with pytest.raises(Forged):
        say(home, knowledge, given=True, at_ms=NOW_MS, signer="person-b")
    assert not granted(knowledge)
    assert not passes(home, knowledge)


def test_yes_to_one_manifest_is_not_yes_to_a_wider_one(home: Path) -> None:
    """The company signs a manifest that also takes window titles, and puts it in force. The old consent is worth nothing."""
    knowledge = known(home)
    say(home, knowledge, given=True, at_ms=NOW_MS)
    officers = [read_signing_key(home / "officers" / f"{name}.key") for name in ("security-1", "privacy-1")]
    manifest = load(Manifest, load_envelope((home / "trust" / "manifest.dsse").read_bytes()).body)
    wider = replace(manifest, kinds=(*manifest.kinds, "title"))
    knowledge.learn("control.manifest.v1", trust.sign(wider, officers))
    first = knowledge.state
    assert first is not None
    run = replace(first.run[0], manifest=digest(dump(wider)))
    second = replace(first, epoch=2, prev=knowledge.state_digest, run=(run,))
    knowledge.learn("control.state.v1", trust.sign(second, officers))
    assert not granted(knowledge)
    say(home, knowledge, given=True, at_ms=NOW_MS + 1)
    assert granted(knowledge)


def test_one_officer_alone_can_neither_widen_nor_start_anything(home: Path) -> None:
    knowledge = known(home)
    manifest = load(Manifest, load_envelope((home / "trust" / "manifest.dsse").read_bytes()).body)
    alone = [read_signing_key(home / "officers" / "security-1.key")]
    for topic, document in (
        ("control.manifest.v1", replace(manifest, kinds=("title",))),
        (
            "control.state.v1",
            replace(knowledge.state or State(SITE, 0, "", 1, 0, 0, (), ()), epoch=2, prev=knowledge.state_digest),
        ),
    ):
        with pytest.raises(Forged) as caught:
            knowledge.learn(topic, trust.sign(document, alone))
        assert caught.value.reason == "below-threshold"
    assert knowledge.state is not None
    assert knowledge.state.epoch == 1
    assert len(knowledge.manifests) == 1


def test_a_manifest_that_ran_out_lets_nobody_capture(home: Path) -> None:
    knowledge = known(home)
    ends_ms = knowledge.manifests[in_force(knowledge)].expires_ms
    assert knowledge.leave("ep-a", NOW_MS)
    assert knowledge.leave("ep-a", ends_ms) is None


SAID = {"a withdrawal": ((True, ""), (False, "")), "a yes to another manifest": ((True, "00" * 32),)}


@pytest.mark.parametrize("what", SAID)
def test_nothing_that_others_see_tells_silence_a_no_and_a_withdrawal_apart(home: Path, what: str) -> None:
    """A no is signed nowhere, so it is silence. Compared with it: halt board, fleet's list, grant, fence and endpoint."""

    def shown(words: Sequence[tuple[bool, str]]) -> tuple[object, ...]:
        knowledge = known(home)
        for n, (given, manifest) in enumerate(words):
            say(home, knowledge, given=given, at_ms=NOW_MS + n, manifest=manifest)
        asked, fenced = granted(knowledge), passes(home, knowledge)
        listed = fleet._state(knowledge, knowledge.enrolments["ep-a"], "", NOW_MS)
        answer = gate.decide(knowledge, "ep-a", None, gate.Switches(), caught_up=True, boot_ms=0).answer
        order = Halt(SITE, Scope("global"), "capture", "x", "drop", NOW_MS, 60_000, "00")
        signed = trust.sign(order, [read_signing_key(home / "officers" / "security-1.key")])
        knowledge.learn("control.halt.v1", signed)
        board = rollcall.call(knowledge, digest(dump(order)), [], NOW_MS + 60_000).report()
        return asked, fenced, listed, answer, board["of"], board

    silent = shown(())
    assert shown(SAID[what]) == silent
    assert silent[:5] == (False, False, "allowed", gate.Answer.NO_CONSENT, 1)


def test_the_fleets_list_does_not_tell_who_agreed_from_who_did_not(home: Path) -> None:
    knowledge = known(home)
    silent = fleet._state(knowledge, knowledge.enrolments["ep-a"], "", NOW_MS)
    say(home, knowledge, given=True, at_ms=NOW_MS)
    assert fleet._state(knowledge, knowledge.enrolments["ep-a"], "", NOW_MS) == silent


def test_who_says_no_signs_nothing_and_it_is_no_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    knowledge = known(home)
    offer = consenting.Offer(knowledge.manifests[in_force(knowledge)], in_force(knowledge), "by 2 keys")
    monkeypatch.setattr(consenting, "read_offer", lambda *_: offer)
    monkeypatch.setenv("BYLEAVE_HOME", str(home))
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    answered = CliRunner().invoke(app, ["me", "consent"], input="n\n")
    assert answered.exit_code == 0, answered.output
    assert offer.manifest.less_intrusive in answered.output
    assert "Nothing was signed" in answered.output
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_no_metric_counts_people_who_did_not_agree() -> None:
    labels = {label for found in metrics.REGISTRY.collect() for sample in found.samples for label in sample.labels}
    assert not labels & {"subject", "person", "endpoint", "consent"}
    assert not [found.name for found in metrics.REGISTRY.collect() if "consent" in found.name or "refusal" in found.name]
