"""P1. Only what was agreed: without the person's signature under exactly this manifest, nothing starts and nothing passes.

Here without a broker: the beacon service's answer, the endpoint's leave and the fence, each on the same signed documents.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from byleave.control import bootstrap, trust
from byleave.control.admission import Admitted, Claim, Refuses, decide
from byleave.control.beacon import Memory, answer, vouch
from byleave.control.documents import Consent, Manifest, Request, State, digest, dump, load
from byleave.control.knowledge import Knowledge
from byleave.core.dsse import load_envelope
from byleave.core.errors import Forged, Refused
from byleave.core.keys import read_signing_key

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
