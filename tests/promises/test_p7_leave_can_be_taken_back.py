"""P7. Leave can be taken back: consent withdrawn ends admission, a pause has no limit, a destroyed key takes the text with it.

The last holds for the lake, for copies of the lake and for the topics: all of them hold that text under the one key.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lake_site import DAY, PLANTED, As, LakeSite, Stream

from byleave.control import trust
from byleave.control.admission import Admitted, Claim, Refuses, decide
from byleave.control.documents import Consent, Scope
from byleave.control.knowledge import Knowledge
from byleave.control.lease import Permit
from byleave.core.batches import open_sanitized, verify_sanitized
from byleave.core.errors import Forged, Refused
from byleave.producers import gate
from byleave.producers.gate import Answer, Switches
from byleave.sinks.discard import discard
from byleave.sinks.keyring import Keyring
from byleave.sinks.lake import LocalLake
from byleave.sinks.ledger import verify

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


def test_what_an_order_says_to_forget_is_gone_from_the_lake_and_the_record_says_so(site: LakeSite, keyring: Keyring) -> None:
    sink, reasons = site.sink(keyring)
    streams = [Stream("sanitized.actions.l2.v1", endpoint, os.urandom(16)) for endpoint in ("ep-a", "ep-b")]
    keys = [keyring.data_key("redactor", f"{site.subject(of.endpoint)}/{DAY}/2") for of in streams]
    now_ms = site.now_ms
    for offset, minutes in enumerate((30, 5)):
        site.now_ms = now_ms - minutes * 60_000
        for partition, of in enumerate(streams):
            sink.offer(site.received(of, site.value(of, 3, keys[partition], seed=offset), offset, partition))
    sink.decide()
    sink.commit(now_ms)
    late = site.value(streams[0], 1, keys[0], seed=9, expect=False)

    halt_id = site.hear(site.knowledge(), Scope("subject", "person-a"), "capture", now_ms, now_ms - 10 * 60_000)
    [order] = site.standing.discards
    discard(site.lake, As(keyring, "sink"), order, site.standing, now_ms=now_ms, service_ms=now_ms, random_bytes=os.urandom)
    site.lake.remove_orphans(0.0)
    after, _ = site.sink(keyring)
    after._refuse = sink._refuse
    after.offer(site.received(streams[0], late, 2))
    after.decide()

    rows = site.rows(keyring, site.look("actions"))
    assert [sum(row["subject"] == f"person-{name}" for row in rows) for name in "ab"] == [3, 6]
    assert reasons == ["discarded"], "what was still on its way does not come in afterwards"
    entries = [line.entry for line in verify(site.home / "ledger") if line.entry["what"] == "discard"]
    assert [(entry["halt_id"], entry["rows"]) for entry in entries] == [(halt_id, 3)]
    assert len(list((site.home / "lake").glob("*/l*/data/*.parquet"))) == 1, "the file that held them is gone"
    assert [snapshot.version for snapshot in site.lake.history()] == [1, 2]


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
