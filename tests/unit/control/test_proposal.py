"""What several officers sign: read in plain words, signed one at a time, refused when it is not what it seems."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from byleave.control import proposal, resume, trust
from byleave.control.documents import Halt, Lifted, Manifest, Reader, Scope, State, Window, digest, dump
from byleave.control.knowledge import Knowledge
from byleave.control.promised import fields_of
from byleave.control.proposal import Basis, Proposal
from byleave.core.dsse import Envelope, load_envelope
from byleave.core.errors import Forged, Misconfigured, Refused

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
STATE, HALT, BEACON = "control.state.v1", "control.halt.v1", "control.beacon.v1"


@pytest.fixture
def knowledge(site: Any) -> Knowledge:
    """A site with one order in force that counts."""
    found: Knowledge = site.knowledge()
    signed = site.halt(nonce="01")
    found.learn(HALT, signed)
    found.learn(BEACON, site.beacon(found, NOW_MS + 9, **{digest(load_envelope(signed).body): NOW_MS + 5}))
    return found


@pytest.fixture
def basis(site: Any, knowledge: Knowledge) -> Basis:
    return Basis(site.root, knowledge)


def next_state(basis: Basis, **changes: Any) -> State:
    return replace(resume.next_state(basis.knowledge, basis.knowledge.in_force(), NOW_MS), **changes)


def signed_by(site: Any, basis: Basis, made: Proposal, *names: str) -> Proposal:
    for key in site.officers(*names):
        proposal.check(made, basis, NOW_MS)
        made = proposal.sign(made, basis, key)
    return made


def widened(knowledge: Knowledge, **changes: Any) -> Manifest:
    return replace(next(iter(knowledge.manifests.values())), issued_ms=NOW_MS, **changes)


def test_a_proposal_goes_from_hand_to_hand_as_a_file_and_is_then_believed_by_every_reader(site: Any, basis: Basis) -> None:
    made = proposal.propose([next_state(basis)])
    for name in ("security-1", "council-1"):
        made = signed_by(site, basis, proposal.load_proposal(made.dump(), "test."), name)
    assert proposal.missing(made, basis) == []
    proposal.verify(made, basis)
    reader = site.knowledge()
    state = reader.learn(STATE, made.envelopes[0].dump())
    assert (state.epoch, reader.in_force()) == (2, ())


def test_below_the_threshold_it_says_who_is_missing_and_no_reader_believes_it(site: Any, basis: Basis) -> None:
    made = signed_by(site, basis, proposal.propose([next_state(basis)]), "security-1")
    (said,) = proposal.missing(made, basis)
    assert "needs 2 keys of 2 groups of role resume, has 1 (security); left are council, privacy" in said
    with pytest.raises(Forged) as caught:
        proposal.verify(made, basis)
    assert caught.value.reason == "below-threshold"
    with pytest.raises(Forged):
        site.knowledge().learn(STATE, made.envelopes[0].dump())


def test_one_key_cannot_sign_twice_however_it_is_put(site: Any, basis: Basis) -> None:
    made = signed_by(site, basis, proposal.propose([next_state(basis)]), "security-1")
    with pytest.raises(Refused) as caught:
        proposal.sign(made, basis, site.officers("security-1")[0])
    assert caught.value.reason == "signed-twice"
    twice = Proposal((replace(made.envelopes[0], signatures=made.envelopes[0].signatures * 2),))
    other_name = site.root.roles[1].keys[1]
    renamed = ((other_name, made.envelopes[0].signatures[0][1]),)
    for bad in (twice, Proposal((replace(made.envelopes[0], signatures=(*made.envelopes[0].signatures, *renamed)),))):
        with pytest.raises(Forged) as forged:
            proposal.check(bad, basis, NOW_MS)
        assert forged.value.reason == "bad-signature"
        with pytest.raises(Forged):
            proposal.verify(bad, basis)
    assert len(proposal.missing(twice, basis)) == 1


def test_two_keys_of_one_group_are_one_group(site: Any, basis: Basis) -> None:
    roles = tuple(
        replace(role, groups=("security", "security", "council")) if role.name == "resume" else role for role in site.root.roles
    )
    same = Basis(replace(site.root, roles=roles), basis.knowledge)
    made = signed_by(site, same, proposal.propose([next_state(basis)]), "security-1", "privacy-1")
    assert "has 2 (security); left are council" in proposal.missing(made, same)[0]
    with pytest.raises(Forged) as caught:
        proposal.verify(made, same)
    assert caught.value.reason == "below-threshold"


@pytest.mark.parametrize("name", ["enrol-1", "root-1"])
def test_an_officer_whom_the_role_does_not_name_cannot_sign(site: Any, basis: Basis, name: str) -> None:
    with pytest.raises(Refused) as caught:
        proposal.sign(proposal.propose([next_state(basis)]), basis, site.officers(name)[0])
    assert caught.value.reason == "not-named"


def test_a_proposal_whose_predecessor_is_not_in_force_any_more_is_refused(
    site: Any, basis: Basis, knowledge: Knowledge
) -> None:
    made = signed_by(site, basis, proposal.propose([next_state(basis)]), "security-1", "privacy-1")
    other = resume.next_state(knowledge, [], NOW_MS + 1)
    knowledge.learn(STATE, trust.sign(other, site.officers("privacy-1", "council-1")))
    with pytest.raises(Refused) as caught:
        proposal.check(made, basis, NOW_MS)
    assert caught.value.reason == "stale-proposal"


def test_a_state_that_says_more_than_it_shows_is_refused(site: Any, basis: Basis, knowledge: Knowledge) -> None:
    """Lifts and windows are what a reader cannot see at a glance: each signer's machine works them out anew."""
    assert knowledge.state
    good, other = next_state(basis), Lifted("ff" * 32, Scope("team", "team-9"), "capture", 1, 1)
    wide = Window(1, good.expires_ms, (replace(good.run[0], manifest="aa" * 32),))
    for changes in (
        {"lifted": (*good.lifted, other)},
        {"lifted": (replace(good.lifted[0], effective_ms=NOW_MS + 6),)},
        {"earlier": (wide,)},
        {"expires_ms": good.expires_ms + 1},
        {"epoch": 3},
        {"root_version": 2},
        {"issued_ms": NOW_MS + HOUR_MS, "expires_ms": good.expires_ms + HOUR_MS},
    ):
        with pytest.raises(Refused) as caught:
            proposal.check(proposal.propose([replace(good, **changes)]), basis, NOW_MS)
        assert caught.value.reason in ("not-the-next-state", "unknown-order"), changes
    proposal.check(proposal.propose([good]), basis, NOW_MS)


def test_what_a_desk_heard_of_a_windows_beginning_is_no_quarrel(basis: Basis) -> None:
    good = next_state(basis)
    told = replace(good, earlier=tuple(replace(window, start_ms=window.start_ms + 7) for window in good.earlier))
    proposal.check(proposal.propose([told]), basis, NOW_MS)


@pytest.mark.slow
def test_more_orders_than_a_proposal_holds_are_told_when_it_is_made_and_what_is_made_can_be_read(site: Any) -> None:
    order = Halt("test.", Scope("global"), "capture", "r" * 500, "drop", NOW_MS, 600_000, "00")
    many = [replace(order, nonce=str(number)) for number in range(300)]
    made = proposal.propose(many[: proposal.DOCUMENTS_MAX])
    for key in site.officers("security-1", "privacy-1", "council-1"):
        made = proposal.sign(made, Basis(site.root, site.knowledge()), key)
    assert proposal.load_proposal(made.dump(), "test.") == made
    for too_many in (many, [replace(order, reason="r" * 9_000, nonce=str(number)) for number in range(100)]):
        with pytest.raises(Refused, match="lift some"):
            proposal.propose(too_many)


def test_a_new_manifest_rides_with_the_state_that_names_it_and_both_are_signed_at_once(
    site: Any, basis: Basis, knowledge: Knowledge
) -> None:
    manifest = widened(knowledge, title="More", applications=("xterm", "mail"))
    name = digest(dump(manifest))
    run = resume.next_run(knowledge.state, name, [Scope("global"), Scope("team", "team-1")], None)
    assert [(one.scope.kind, one.manifest) for one in run] == [("team", name), ("global", name)]
    state = resume.next_state(knowledge, [], NOW_MS, run=run, manifests={name: manifest})
    made = signed_by(site, basis, proposal.propose([manifest, state]), "security-1", "council-1")
    proposal.verify(made, basis)
    words = "\n".join(proposal.words(made, basis))
    assert "+   Where:    only in xterm, mail; nowhere else" in words
    assert f"+   team team-1 may be captured under 'More' ({name[:12]})" in words
    assert "-   everybody may be captured under 'Pointer and keyboard input" in words
    assert "1 orders to stop stay in force" in words
    knowledge.learn("control.manifest.v1", made.envelopes[0].dump())
    knowledge.learn(STATE, made.envelopes[1].dump())
    assert knowledge.run_of("ep-a", 2) == run[0]


def test_the_words_name_what_is_lifted_and_show_no_control_characters(site: Any, basis: Basis, knowledge: Knowledge) -> None:
    order = Halt("test.", Scope("team", "a\x1b[2J"), "capture", "see\x07\rnothing", "drop", NOW_MS, 600_000, "09")
    signed = trust.sign(order, site.officers("security-1"))
    halt_id = digest(dump(order))
    knowledge.learn(HALT, signed)
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 99, **dict.fromkeys((halt_id, *knowledge.in_force()), NOW_MS + 50)))
    state = resume.next_state(knowledge, [halt_id], NOW_MS + 100)
    words = "\n".join(proposal.words(proposal.propose([state]), basis))
    assert f"ends the order {halt_id[:12]} to stop capture" in words
    assert all(letter.isprintable() or letter == "\n" for letter in words)


def test_what_is_shown_is_what_is_signed(basis: Basis) -> None:
    state = next_state(basis)
    loose = Envelope(State.TYPE, json.dumps(json.loads(dump(state)), indent=1).encode(), ())
    with pytest.raises(Forged) as caught:
        proposal.load_proposal(Proposal((loose,)).dump(), "test.")
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "malformed"), (b"{}", "malformed"), (b"[]", "malformed"), (b"[1]", "malformed"), (b"[" * 100_000, "malformed"),
     (b" " * 1_000_001, "oversized")],
)  # fmt: skip
def test_what_is_no_proposal_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(Forged) as caught:
        proposal.load_proposal(content, "test.")
    assert caught.value.reason == reason


def test_another_site_two_states_and_other_documents_are_refused(site: Any, basis: Basis) -> None:
    state = next_state(basis)
    for made, reason in (
        (proposal.propose([replace(state, site="other.")]), "wrong-site"),
        (proposal.propose([state, state]), "malformed"),
        (Proposal((load_envelope(site.beacon(basis.knowledge, NOW_MS)),)), "wrong-type"),
    ):
        with pytest.raises(Forged) as caught:
            proposal.load_proposal(made.dump(), "test.")
        assert caught.value.reason == reason


def test_to_erase_more_than_an_hour_takes_as_many_as_to_resume(site: Any, basis: Basis, knowledge: Knowledge) -> None:
    near = Halt("test.", Scope("global"), "capture", "why", "drop", NOW_MS, 600_000, "02", NOW_MS - HOUR_MS)
    far = replace(near, discard_since_ms=NOW_MS - HOUR_MS - 1)
    for order, roles in ((replace(near, discard_since_ms=0), ["halt"]), (near, ["halt", "resume"]), (far, ["halt", "resume"])):
        assert [role.name for role in proposal.propose([order]).rows(basis)[0][2]] == roles
    made = signed_by(site, basis, proposal.propose([far]), "security-1")
    assert "role resume" in "".join(proposal.missing(made, basis))
    made = signed_by(site, basis, made, "privacy-1")
    proposal.verify(made, basis)
    assert "ERASE" in "\n".join(proposal.words(made, basis))
    knowledge.learn(HALT, made.envelopes[0].dump())
    halt_id = digest(dump(far))
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 99, **{halt_id: NOW_MS + 50}))
    assert [row[0] for row in knowledge.discards()] == [halt_id]


def test_the_first_state_of_a_site_names_who_may_capture_and_the_redactors_key(site: Any) -> None:
    fresh = Knowledge(site.root, "test.")
    manifest = next(iter(site.knowledge().manifests.values()))
    name = digest(dump(manifest))
    for known, scopes, recipient, reason in ((None, [], ("raw", "aa"), "no-manifest"), (name, [], None, "no-recipient")):
        with pytest.raises(Refused) as caught:
            resume.next_run(None, known, scopes, recipient)
        assert caught.value.reason == reason
    run = resume.next_run(None, name, [], ("raw", site.first.run[0].recipient))
    state = resume.next_state(fresh, [], NOW_MS, run=run, manifests={name: manifest})
    made = proposal.propose([manifest, state])
    empty = Basis(site.root, fresh)
    proposal.verify(signed_by(site, empty, made, "security-1", "privacy-1"), empty)
    assert (state.epoch, state.prev, state.run[0].scope) == (1, "", Scope("global"))


def test_a_manifest_that_is_not_whole_is_refused_in_one_sentence(knowledge: Knowledge) -> None:
    whole = json.loads(dump(next(iter(knowledge.manifests.values()))))
    told = {name: value for name, value in whole.items() if name not in ("site", "issued_ms", "expires_ms", "sites")}
    made = proposal.described_manifest(told, "test.", NOW_MS)
    assert made.expires_ms == NOW_MS + proposal.MANIFEST_MS
    del told["fields"]
    assert proposal.described_manifest(told, "test.", NOW_MS).fields == fields_of(made.kinds), "left out: all, by name"
    for missing in ("less_intrusive", "dpia", "dpia_sha256"):
        with pytest.raises(Misconfigured):
            proposal.described_manifest({name: told[name] for name in told if name != missing}, "test.", NOW_MS)
    for changes in (
        {"kinds": ["microphone"]}, {"purposes": ["other"]}, {"retention_days": "90"}, {"surprise": 1}, {"site": "other."},
        {"expires_ms": NOW_MS}, {"readers": [{"principal": "ml"}]}, {"readers": []}, {"kinds": []}, {"kinds": 7},
        {"less_intrusive": ""}, {"less_intrusive": " "}, {"dpia": ""}, {"dpia_sha256": ""}, {"dpia_sha256": "x" * 64},
        {"fields": ["key.rhythm"]}, {"fields": ["key.key"]}, {"fields": [*made.fields, "title.title"]},
    ):  # fmt: skip
        with pytest.raises(Misconfigured):
            proposal.described_manifest({**told, **changes}, "test.", NOW_MS)
    assert Reader("ml", 1, "train-assistant") in proposal.described_manifest(told, "test.", NOW_MS).readers
