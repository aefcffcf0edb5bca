"""A revoked endpoint is nobody from then on, whatever is said of it before or after; an agent may be too old (P2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from byleave.control import beacon, proposal, resume, trust
from byleave.control.admission import SKEW_MS, Admitted, Claim, Refuses, Waits, decide
from byleave.control.beacon import Heard, Memory, Service, answer, denied, vouch
from byleave.control.documents import Request, Revocation, digest, dump
from byleave.control.knowledge import Knowledge
from byleave.control.proposal import Basis
from byleave.control.versions import is_version, older, own_version
from byleave.core.errors import Forged, Refused

ENROLMENT, STATE, BEACON = "control.enrolment.v1", "control.state.v1", "control.beacon.v1"
NOW_MS = 1_800_000_000_000
T = NOW_MS + 100_000


def revocation(site: Any, endpoint: str = "ep-a", at_ms: int = T, key: str = "officers/enrol-1") -> bytes:
    return trust.sign(Revocation("test.", endpoint, at_ms, "lost on a train"), [site.key(key)])


def claim(site: Any, hi: int, endpoint: str = "ep-a", append_ms: int = 0) -> Claim:
    return Claim(endpoint, b"s" * 16, 1, hi, append_ms or hi + 100, bytes.fromhex(site.first.run[0].manifest))


def beaten(site: Any, knowledge: Knowledge, service_ms: int, memory: Memory | None = None) -> Knowledge:
    """With the beacon that the service would sign then."""
    _, said = vouch(memory or Memory(), knowledge, service_ms)
    knowledge.learn(BEACON, trust.sign(said, [site.key("beacon/beacon")]))
    return knowledge


def test_what_was_captured_before_passes_and_what_is_captured_or_stamped_after_does_not(site: Any) -> None:
    knowledge = site.knowledge()
    knowledge.learn(ENROLMENT, revocation(site))
    beaten(site, knowledge, T + 60_000)
    assert isinstance(decide(claim(site, T - 1), knowledge), Admitted)
    assert decide(claim(site, T), knowledge) == Refuses("revoked")
    assert decide(claim(site, T - 1, append_ms=T + SKEW_MS + 1), knowledge) == Refuses("revoked")
    assert isinstance(decide(claim(site, T, "ep-b"), knowledge), Admitted)


@pytest.mark.parametrize("first", [True, False])
def test_no_enrolment_old_or_new_brings_it_back(site: Any, first: bool) -> None:
    old, knowledge = site.bytes("endpoints/ep-a/enrolment.dsse"), Knowledge(site.root, "test.")
    for topic, _, value in site_documents(site):
        if topic != ENROLMENT or first:
            knowledge.learn(topic, value)
    knowledge.learn(ENROLMENT, revocation(site))
    knowledge.learn(ENROLMENT, old)
    longer = replace(knowledge.enrolments["ep-a"], until_ms=T + 95 * 86_400_000, key=public(site, "endpoints/ep-b/device"))
    knowledge.learn(ENROLMENT, trust.sign(longer, [site.key("officers/enrol-1")]))
    assert knowledge.revoked == {"ep-a": T}
    assert decide(claim(site, T + 5), knowledge) == Refuses("revoked")


def test_a_second_revocation_never_makes_it_later(site: Any) -> None:
    knowledge = site.knowledge()
    for at_ms in (T, T + 9_000, T - 9_000):
        knowledge.learn(ENROLMENT, revocation(site, at_ms=at_ms))
    assert knowledge.revoked == {"ep-a": T - 9_000}


@pytest.mark.parametrize("key", ["officers/security-1", "beacon/beacon", "endpoints/ep-a/device", "people/person-a/person"])
def test_nobody_but_the_enroller_revokes(site: Any, key: str) -> None:
    knowledge = site.knowledge()
    with pytest.raises(Forged):
        knowledge.learn(ENROLMENT, revocation(site, key=key))
    assert knowledge.revoked == {}


def test_a_fence_from_which_a_revocation_is_withheld_admits_nothing_of_anybody(site: Any) -> None:
    told, untold = site.knowledge(), site.knowledge()
    told.learn(ENROLMENT, revocation(site))
    _, said = vouch(Memory(), told, T + 60_000)
    untold.learn(BEACON, trust.sign(said, [site.key("beacon/beacon")]))
    assert decide(claim(site, T + 5, "ep-b"), untold) == Waits("revocation-unread")
    untold.learn(ENROLMENT, revocation(site))
    assert isinstance(decide(claim(site, T + 5, "ep-b"), untold), Admitted)


def test_the_service_remembers_it_though_its_record_be_gone(site: Any) -> None:
    knowledge = site.knowledge()
    knowledge.learn(ENROLMENT, revocation(site))
    memory, said = vouch(Memory(), knowledge, T)
    assert beacon.load(beacon.dump(memory)) == memory
    robbed = site.knowledge()
    again, still = vouch(beacon.load(beacon.dump(memory)), robbed, T + 1_000)
    assert (still.revoked, again.revoked) == (said.revoked, frozenset({"ep-a"}))
    assert refusal(robbed, memory) == "revoked"
    assert denied(robbed, memory) == {"ep-a"}


def test_it_is_told_at_once_gets_no_grant_and_the_broker_denies_it(site: Any) -> None:
    knowledge = site.knowledge()
    knowledge.learn(ENROLMENT, revocation(site))
    heard = Heard(Revocation("test.", "ep-a", T, ""), "aa", T, bytes(16))
    after, _ = beacon.step(Service(caught_up=True, due_ms=T + 900), knowledge, heard, T)
    assert after.due_ms == 0
    assert refusal(knowledge) == "revoked"
    assert denied(knowledge) == {"ep-a"}
    assert answered(knowledge, "ep-b").nonce == "ee"


def test_a_memory_of_the_release_before_is_read(site: Any) -> None:
    old = b'{"drills": [], "effective": {"aa": 5}, "epoch": 3, "last_ms": 7, "n": 9}'
    assert beacon.load(old) == Memory(7, 9, {"aa": 5}, frozenset(), 3, frozenset())


@pytest.mark.parametrize(
    ("version", "minimum", "expected"),
    [
        ("0.1.0", "", False), ("", "", False), ("0.1.0", "0.1.0", False), ("0.1", "0.1.0", False), ("0.9.9", "0.10", True),
        ("1.0", "0.99.99", False), ("", "0.1", True), ("1.0rc1", "0.1", True), ("1.0", "x", True), ("1.0.0.1", "1.0.0.2", True),
    ],
)  # fmt: skip
def test_versions_are_compared_by_number_and_what_cannot_be_read_is_older(version: str, minimum: str, expected: bool) -> None:
    assert older(version, minimum) is expected


def test_what_is_installed_has_a_version_that_can_be_compared() -> None:
    assert is_version(own_version())


def test_an_agent_below_the_minimum_gets_no_grant_and_the_next_state_keeps_the_minimum(site: Any) -> None:
    knowledge = site.knowledge()
    state = resume.next_state(knowledge, [], NOW_MS, minimum="0.2")
    words = "\n".join(proposal.words(proposal.propose([state]), Basis(site.root, knowledge)))
    assert "+   no agent older than 0.2 may capture" in words
    proposal.check(proposal.propose([state]), Basis(site.root, knowledge), NOW_MS)
    knowledge.learn(STATE, trust.sign(state, site.officers("security-1", "privacy-1")))
    assert refusal(knowledge, version="0.1.9") == refusal(knowledge) == "out-of-date"
    assert answered(knowledge, "ep-a", version="0.2.0").epoch == 2
    assert resume.next_state(knowledge, [], NOW_MS + 1).minimum == "0.2"
    assert resume.next_state(knowledge, [], NOW_MS + 1, minimum="").minimum == ""


def test_a_state_without_a_minimum_has_the_bytes_that_it_always_had(site: Any) -> None:
    state = site.first
    assert b"minimum" not in dump(state)
    assert digest(dump(state)) == digest(dump(replace(state, minimum="")))


def answered(knowledge: Knowledge, endpoint: str, memory: Memory | None = None, version: str = "") -> Any:
    request = Request("test.", endpoint, "ee", 1, "ff", 1, version)
    return answer(memory or Memory(), knowledge, request, "dd", NOW_MS + 5, bytes(16))


def refusal(knowledge: Knowledge, memory: Memory | None = None, version: str = "") -> str:
    with pytest.raises(Refused) as caught:
        answered(knowledge, "ep-a", memory, version)
    return caught.value.reason


def site_documents(site: Any) -> Any:
    from byleave.control import bootstrap

    return bootstrap.documents_to_publish(site.home)


def public(site: Any, place: str) -> str:
    from byleave.core.keys import public_hex

    return public_hex(site.key(place))
