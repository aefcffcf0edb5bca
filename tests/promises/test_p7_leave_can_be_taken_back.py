"""P7. Leave can be taken back: consent withdrawn ends admission, a pause has no limit, a destroyed key takes the text with it.

The last holds for the lake, for copies of the lake and for the topics: all of them hold that text under the one key.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lake_site import DAY, PLANTED, LakeSite, Stream

from byleave.control import trust
from byleave.control.admission import Admitted, Claim, Refuses, decide
from byleave.control.documents import Consent
from byleave.control.knowledge import Knowledge
from byleave.control.lease import Permit
from byleave.core.batches import open_sanitized, verify_sanitized
from byleave.core.errors import Forged, Refused
from byleave.producers import gate
from byleave.producers.gate import Answer, Switches
from byleave.sinks.keyring import Keyring
from byleave.sinks.lake import LocalLake

YEAR_MS = 365 * 86_400_000


@pytest.fixture
def site(tmp_path: Path) -> LakeSite:
    return LakeSite(tmp_path)


@pytest.fixture
def keyring(site: LakeSite) -> Iterator[Keyring]:
    keyring = site.keyring()
    yield keyring
    keyring.close()


def informed(site: LakeSite) -> Knowledge:
    knowledge = Knowledge(site.root, site.site)
    for topic, _, value in site.documents():
        knowledge.learn(topic, value)
    return knowledge


def withdrawal(site: LakeSite) -> bytes:
    return trust.sign(Consent(site.site, "person-a", site.manifest_digest, False, 2), [site.person])


def test_after_a_withdrawal_nothing_of_that_person_is_admitted_and_the_others_go_on(site: LakeSite) -> None:
    knowledge, manifest = informed(site), bytes.fromhex(site.manifest_digest)
    claims = [Claim(name, b"s" * 16, 1, site.now_ms, site.now_ms, manifest) for name in ("ep-a", "ep-b")]
    assert all(isinstance(decide(claim, knowledge), Admitted) for claim in claims)
    knowledge.learn("control.consent.v1", withdrawal(site))
    assert decide(claims[0], knowledge) == Refuses("no-consent")
    assert isinstance(decide(claims[1], knowledge), Admitted)


def test_nobody_else_can_say_yes_again_for_that_person(site: LakeSite) -> None:
    knowledge = informed(site)
    knowledge.learn("control.consent.v1", withdrawal(site))
    again = Consent(site.site, "person-a", site.manifest_digest, True, 3)
    for signer in (site.signer, site.redactor):
        with pytest.raises((Forged, Refused)):
            knowledge.learn("control.consent.v1", trust.sign(again, [signer]))
    assert not knowledge.consented("ep-a", site.manifest_digest)


def test_a_pause_needs_no_permission_and_has_no_limit(site: LakeSite) -> None:
    knowledge = informed(site)
    assert knowledge.beacon is not None
    permit = Permit(knowledge.beacon.service_ms, 1_000, site.now_ms + YEAR_MS)

    def answer(boot_ms: int, *, paused: bool) -> Answer:
        return gate.decide(knowledge, "ep-a", permit, Switches(paused=paused), caught_up=True, boot_ms=boot_ms).answer

    assert answer(1_500, paused=False) is Answer.CAPTURE
    assert answer(1_500, paused=True) is Answer.PAUSED
    assert answer(1_500 + 10 * YEAR_MS, paused=True) is Answer.PAUSED


def test_a_destroyed_key_takes_the_text_from_lake_copies_and_topic_and_leaves_everybody_elses(
    site: LakeSite, keyring: Keyring, tmp_path_factory: pytest.TempPathFactory
) -> None:
    topic, values = "sanitized.actions.l2.v1", {}
    sink, _ = site.sink(keyring)
    for partition, endpoint in enumerate(("ep-a", "ep-b")):
        of = Stream(topic, endpoint, os.urandom(16))
        key = keyring.data_key("redactor", f"{site.subject(endpoint)}/{DAY}/2")
        values[endpoint] = site.value(of, 3, key, seed=partition)
        sink.offer(site.received(of, values[endpoint], 0, partition))
    sink.decide()
    sink.commit(site.now_ms)
    copy = tmp_path_factory.mktemp("copy") / "lake"
    shutil.copytree(site.home / "lake", copy)

    assert keyring.destroy("enrol", subject="person-a", day=None) == [f"person-a/{DAY}/2"]

    for lake in (site.lake, LocalLake(copy)):
        site.lake = lake
        rows = site.rows(keyring, site.look("actions"))
        assert {row["text"] for row in rows if row["subject"] == "person-a"} == {None}
        assert all(PLANTED in str(row["text"]) for row in rows if row["subject"] == "person-b")
        assert len(rows) == 6
    sealed = verify_sanitized(values["ep-a"], site.redactor.public_key())
    for principal in ("redactor", "sink"):
        with pytest.raises(Refused) as refused:
            open_sanitized(sealed, keyring.data_key(principal, sealed.header.key_id))
        assert refused.value.reason == "key-destroyed"


def test_a_destroyed_key_stays_destroyed_after_a_restart(site: LakeSite, keyring: Keyring) -> None:
    keyring.data_key("redactor", f"person-a/{DAY}/2")
    keyring.destroy("enrol", subject="person-a", day=DAY)
    keyring.close()
    again = site.keyring()
    for level in (1, 2, 3):
        with pytest.raises(Refused):
            again.data_key("redactor", f"person-a/{DAY}/{level}")
    assert again.data_key("redactor", "person-a/2026-11-25/2"), "the next day is another leave"
    again.close()
