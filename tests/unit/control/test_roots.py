"""The next root: signed by old and new, able to act, and no order to stop is lost on the way."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import bootstrap, deciding, proposal, resume, roots, trust
from byleave.control.documents import Halt, Manifest, Root, Scope, digest, dump
from byleave.control.proposal import Basis, Proposal
from byleave.core.clock import wall_ms
from byleave.core.dsse import load_envelope
from byleave.core.errors import ByleaveError, Forged, Misconfigured, Refused
from byleave.core.keys import public_hex
from byleave.core.settings import Installation

NOW_MS = 1_800_000_000_000
STATE, HALT, BEACON, MANIFEST = "control.state.v1", "control.halt.v1", "control.beacon.v1", "control.manifest.v1"
NEW = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def rotate(site: Any, *, add: Any = (), remove: Any = (), thresholds: Any = (), expires_days: int = 365) -> Root:
    return roots.rotated(site.root, NOW_MS, add=add, remove=remove, thresholds=thresholds, expires_days=expires_days)


def hex_of(site: Any, name: str) -> str:
    return public_hex(site.key(f"officers/{name}"))


def successor(site: Any, gone: str = "security-1") -> Root:
    """One officer leaves, one comes, in all three roles."""
    added = [f"{role}={public_hex(NEW)}@security" for role in ("halt", "resume", "manifest")]
    return rotate(site, add=added, remove=[hex_of(site, gone)])


def signed_for(site: Any, knowledge: Any, *halts: bytes) -> dict[str, bytes]:
    values = [site.bytes("trust/manifest.dsse"), *halts]
    return {digest(load_envelope(value).body): value for value in values}


def test_a_key_comes_and_one_goes_and_nothing_else_changes(site: Any) -> None:
    made = successor(site)
    assert made.version == 2
    for old, new in zip(site.root.roles, made.roles, strict=True):
        changed = old.name in ("halt", "resume", "manifest")
        assert (set(new.keys) - set(old.keys), len(set(old.keys) - set(new.keys))) == (
            ({public_hex(NEW)}, 1) if changed else (set(), 0)
        )
        assert (new.threshold, new.groups_min, len(new.groups)) == (old.threshold, old.groups_min, len(old.groups))


def test_a_root_that_could_not_act_is_not_proposed(site: Any) -> None:
    beacon = public_hex(site.key("beacon/beacon"))
    for change, reason in (
        ({"remove": [beacon]}, "unable"),
        ({"remove": [hex_of(site, "security-1"), hex_of(site, "privacy-1")]}, "unable"),
        ({"thresholds": ["resume=4/2"]}, "unable"),
        ({"thresholds": ["resume=2/3"]}, "unable"),
        ({"thresholds": ["halt=0/0"]}, "unable"),
        ({"add": [f"halt={hex_of(site, 'security-1')}@security"]}, "unable"),
        ({"add": [f"resume={beacon}@service"]}, "mixed-roles"),
        ({"expires_days": 366}, "too-long"),
        ({"expires_days": 0}, "too-long"),
    ):
        with pytest.raises(Refused) as caught:
            rotate(site, **change)
        assert caught.value.reason == reason, change


@pytest.mark.parametrize(
    "change",
    [{"remove": ["ff" * 32]}, {"add": ["halt=zz@security"]}, {"add": [f"halt={'aa' * 32}"]}, {"add": [f"king={'aa' * 32}@x"]},
     {"thresholds": ["resume=two/2"]}, {"thresholds": ["king=1/1"]}],
)  # fmt: skip
def test_what_cannot_be_meant_is_told_in_one_sentence(site: Any, change: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured) as caught:
        rotate(site, **change)
    assert len(str(caught.value).splitlines()) == 1


def test_a_first_root_is_described_in_a_file(site: Any, tmp_path: Path) -> None:
    lines = ["expires_days = 30"]
    for role in site.root.roles:
        owners = ", ".join(f"'{key}@{group}'" for key, group in zip(role.keys, role.groups, strict=True))
        lines += [f"[roles.{role.name}]", f"threshold = {role.threshold}", f"groups = {role.groups_min}", f"keys = [{owners}]"]
    lines.insert(1, f"recipients = {[f'{one.name}={one.key}@{one.group}' for one in site.root.recipients]}")
    path = tmp_path / "roles.toml"
    path.write_text("\n".join(lines))
    made = roots.described(deciding.told(path), "test.", NOW_MS)
    assert made == replace(site.root, expires_ms=NOW_MS + 30 * roots.DAY_MS)
    for text in ("roles = 3", "[roles.root]\nthreshold = 1", "{", "\x00", ""):
        path.write_text(text)
        with pytest.raises(ByleaveError):
            roots.described(deciding.told(path), "test.", NOW_MS)


def test_only_old_and_new_together_make_the_next_root_and_only_one_version_on(site: Any) -> None:
    """Two of three root keys are exchanged, so that neither threshold is met by the keys of the other."""
    mine = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2)]
    added = [f"root={public_hex(key)}@{group}" for key, group in zip(mine, ("security", "privacy"), strict=True)]
    following = rotate(site, add=added, remove=[hex_of(site, "root-1"), hex_of(site, "root-2")])
    old = site.officers("root-1", "root-2")
    for keys in (old, mine, [*old, mine[0]], [old[0], *mine]):
        with pytest.raises(Forged) as caught:
            trust.load_next(site.root, trust.sign(following, keys), "test.")
        assert caught.value.reason in ("below-threshold", "bad-signature")
    knowledge, both = site.knowledge(), trust.sign(following, [*old, *mine])
    assert trust.load_next(site.root, both, "test.") == following
    later = trust.sign(replace(following, version=3), [*old, *mine])
    with pytest.raises(Forged) as caught:
        knowledge.learn("control.root.v1", later)
    assert caught.value.reason == "broken-chain"
    made, basis = proposal.propose([following]), Basis(site.root, knowledge)
    for key in [*old, *mine]:
        assert proposal.missing(made, basis)
        made = proposal.sign(made, basis, key)
    assert proposal.missing(made, basis) == []
    proposal.verify(made, basis)
    with pytest.raises(Refused) as refused:
        proposal.check(proposal.propose([replace(following, version=3)]), basis, NOW_MS)
    assert refused.value.reason == "stale-proposal"


def test_after_the_rotation_the_officer_who_left_stops_and_resumes_nothing(site: Any) -> None:
    knowledge, following = site.knowledge(), successor(site)
    state = resume.next_state(knowledge, [], NOW_MS, root=following)
    knowledge.restart(following)
    knowledge.learn(MANIFEST, site.bytes("trust/manifest.dsse"))
    assert knowledge.leave("ep-a", NOW_MS) is None, "until a state follows, everybody stops"
    with pytest.raises(ByleaveError):
        knowledge.learn(STATE, site.bytes("trust/state.dsse"))
    with pytest.raises(Forged) as caught:
        knowledge.learn(STATE, trust.sign(state, site.officers("security-1", "privacy-1")))
    assert caught.value.reason == "below-threshold"
    knowledge.learn(STATE, trust.sign(state, [NEW, *site.officers("council-1")]))
    assert knowledge.leave("ep-a", NOW_MS)
    with pytest.raises(Forged) as caught:
        knowledge.learn(HALT, site.halt())
    assert caught.value.reason == "bad-signature"
    assert knowledge.in_force() == ()


def test_an_order_in_force_is_signed_again_or_lifted_never_lost(site: Any) -> None:
    knowledge, following, order = site.knowledge(), successor(site), site.halt(nonce="07")
    knowledge.learn(HALT, order)
    halt_id, signed = digest(load_envelope(order).body), signed_for(site, knowledge, order)
    assert list(roots.lost(following, knowledge, signed, [], NOW_MS)) == [halt_id]
    assert roots.lost(following, knowledge, signed, [halt_id], NOW_MS) == {}
    assert roots.lost(successor(site, "council-1"), knowledge, signed, [], NOW_MS) == {}
    again = roots.lost(following, knowledge, signed, [], NOW_MS)[halt_id]
    assert digest(dump(again)) == halt_id, "the same order: its time and its id stay"
    fresh = site.knowledge()
    fresh.restart(following)
    fresh.learn(HALT, trust.sign(again, [NEW]))
    assert fresh.in_force() == (halt_id,)


def test_a_root_alone_cannot_lift_what_the_state_with_it_was_to_lift(site: Any, tmp_path: Path) -> None:
    knowledge, order = site.knowledge(), site.halt(nonce="07")
    knowledge.learn(HALT, order)
    halt_id, signed = digest(load_envelope(order).body), signed_for(site, knowledge, order)
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 9, **{halt_id: NOW_MS + 5}))
    basis = Basis(site.root, knowledge)
    following = replace(successor(site), expires_ms=wall_ms() + roots.DAY_MS)
    made = deciding.rotation(basis, signed, following, [halt_id])
    for key in site.officers("root-1", "root-2"):
        made = proposal.sign(made, basis, key)
    at = Installation(tmp_path, "test.", "127.0.0.1:1", tmp_path, "127.0.0.1:1", 0)
    for alone, reason in ((True, "orphaned-order"), (False, "below-threshold")):
        with pytest.raises(Refused) as caught:
            deciding.submit(at, made, basis, signed, alone=alone)
        assert caught.value.reason == reason
    assert list(tmp_path.iterdir()) == []


def test_an_order_that_only_a_beacon_names_does_not_stop_the_root_that_takes_its_key(site: Any) -> None:
    """Whoever stole the beacon's key could name any; what the service accepted it names under the next root, too."""
    knowledge, order = site.knowledge(), site.halt(nonce="07")
    knowledge.learn(HALT, order)
    halt_id = digest(load_envelope(order).body)
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 9, **{"ab" * 32: NOW_MS + 5, halt_id: NOW_MS + 5}))
    assert list(roots.lost(successor(site), knowledge, signed_for(site, knowledge, order), [], NOW_MS)) == [halt_id]


@pytest.mark.parametrize("valid_for_ms", [600_000, 2**62])
def test_an_order_that_never_counted_ends_with_the_key_of_its_officer(site: Any, valid_for_ms: int) -> None:
    """Whatever it says of itself: it is accepted within ten minutes or not at all."""
    knowledge = site.knowledge()
    late = Halt("test.", Scope("global"), "capture", "r", "drop", NOW_MS, valid_for_ms, "08")
    order = trust.sign(late, site.officers("security-1"))
    knowledge.learn(HALT, order)
    signed, late_ms = signed_for(site, knowledge, order), NOW_MS + 600_000 + resume.STALE_MS + 1
    assert roots.lost(successor(site), knowledge, signed, [], late_ms - 1)
    assert roots.lost(successor(site), knowledge, signed, [], late_ms) == {}


def test_a_manifest_that_too_few_of_the_next_root_have_signed_is_signed_again_and_keeps_its_name(site: Any) -> None:
    knowledge = site.knowledge()
    manifest: Manifest = next(iter(knowledge.manifests.values()))
    two = {digest(dump(manifest)): trust.sign(manifest, site.officers("security-1", "privacy-1"))}
    assert list(roots.lost(successor(site), knowledge, two, [], NOW_MS)) == list(two)
    made = deciding.rotation(Basis(site.root, knowledge), two, successor(site), [])
    assert [type(one).__name__ for one in made.documents] == ["Root", "Manifest", "State"]
    state = made.documents[2]
    assert (state.root_version, state.run[0].manifest) == (2, digest(made.envelopes[1].body))


def test_kept_roots_are_all_there_after_a_rotation(site: Any, tmp_path: Path) -> None:
    root = bootstrap.dev_site(tmp_path, "test.", [("ep-a", "person-a", "team-1")], NOW_MS, random.Random(4).randbytes)
    first = (tmp_path / "trust" / "root.dsse").read_bytes()
    following = replace(root, version=2)
    bootstrap.pin_root(tmp_path, trust.sign(following, []))
    assert (tmp_path / "trust" / "root.1.dsse").read_bytes() == first
    assert deciding.kept_roots(tmp_path) == {1: digest(load_envelope(first).body), 2: digest(dump(following))}


def test_a_process_that_lags_does_not_put_an_older_root_over_a_newer_one(site: Any, tmp_path: Path) -> None:
    signed = [trust.sign(replace(site.root, version=n), site.officers("root-1", "root-2")) for n in (1, 2, 3)]
    for content in (*signed, signed[1]):
        bootstrap.pin_root(tmp_path, content)
    assert bootstrap.pinned_root(tmp_path, "test.").version == 3
    assert [(tmp_path / "trust" / f"root.{n}.dsse").read_bytes() for n in (1, 2, 3)] == signed


def test_the_words_say_which_keys_come_and_go(site: Any) -> None:
    words = "\n".join(proposal.words(proposal.propose([successor(site)]), Basis(site.root, site.knowledge())))
    assert words.count(f"+   security: {public_hex(NEW)}") == 3
    assert words.count(f"-   security: {hex_of(site, 'security-1')}") == 3
    assert "resume: 2 of 3 keys, of 2 groups (was 2 of 3, 2 groups)" in words


def test_an_order_without_root_cannot_be_judged(site: Any) -> None:
    order = Halt("test.", Scope("global"), "capture", "why", "drop", NOW_MS, 1, "00")
    for made in (proposal.propose([order]), Proposal(proposal.propose([order]).envelopes * 2)):
        with pytest.raises(Refused) as caught:
            proposal.check(made, Basis(None, site.knowledge()), NOW_MS)
        assert caught.value.reason == "no-root"
