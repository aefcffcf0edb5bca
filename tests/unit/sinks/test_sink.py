"""The sink fed by hand: what enters the lake, what is refused, what waits, and what stops it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from lake_site import DAY, FAR_MS, PLANTED, PURPOSE, As, LakeSite, Stream

from byleave.control import promised, trust
from byleave.control.admission import Admitted, Refuses, Waits
from byleave.control.documents import Lifted, Reader, Scope, State, Window
from byleave.control.knowledge import Knowledge
from byleave.core import metrics
from byleave.core.batches import SanitizedHeader
from byleave.core.errors import Broken, Forged, Refused, Transient
from byleave.core.events import Kind
from byleave.core.levels import Level
from byleave.core.rows import KEY_ROW, ActionKind
from byleave.sinks import columns
from byleave.sinks.keyring import Keyring
from byleave.sinks.sink import QUEUED_MAX, fence

ACTIONS, EVENTS = "sanitized.actions.l2.v1", "sanitized.events.l1.v1"


@pytest.fixture
def site(tmp_path: Path) -> LakeSite:
    return LakeSite(tmp_path)


@pytest.fixture
def keyring(site: LakeSite) -> Iterator[Keyring]:
    keyring = site.keyring()
    yield keyring
    keyring.close()


def stream(topic: str, endpoint: str = "ep-a") -> Stream:
    return Stream(topic, endpoint, os.urandom(16))


def key(keyring: Keyring, site: LakeSite, of: Stream, level: int) -> bytes:
    return keyring.data_key("redactor", f"{site.subject(of.endpoint)}/{DAY}/{level}")


def test_rows_and_offsets_enter_together_and_come_back_as_they_were(site: LakeSite, keyring: Keyring) -> None:
    sink, reasons = site.sink(keyring)
    streams = {ACTIONS: stream(ACTIONS), EVENTS: stream(EVENTS, "ep-b")}
    keys = {ACTIONS: key(keyring, site, streams[ACTIONS], 2), EVENTS: key(keyring, site, streams[EVENTS], 1)}
    for offset in range(4):
        for topic, of in streams.items():
            sink.offer(site.received(of, site.value(of, 5, keys[topic], seed=offset), offset * 2))  # offsets have gaps: markers
    sink.decide()
    assert site.lake.head().version == 0, "nothing counts before the commit"
    sink.commit(site.now_ms)
    assert site.lake.head().offsets == {f"byleave.{ACTIONS}/0": 7, f"byleave.{EVENTS}/0": 7}
    assert reasons == []
    for table in ("events", "actions"):
        assert site.found(keyring, table) == site.expected[table]


def test_a_record_that_is_known_is_skipped_after_a_restart_too(site: LakeSite, keyring: Keyring) -> None:
    of = stream(ACTIONS)
    data_key = key(keyring, site, of, 2)
    values = [site.value(of, 3, data_key, seed=n) for n in range(3)]
    first, _ = site.sink(keyring)
    for n in range(2):
        first.offer(site.received(of, values[n], n))
    first.decide()
    first.commit(site.now_ms)
    second, _ = site.sink(keyring)
    for offset, value in enumerate(values, 10):  # all three, written again further on
        second.offer(site.received(of, value, offset))
    second._spans[f"byleave.{ACTIONS}/0"] = (2, 2)
    second.decide()
    second.commit(site.now_ms)
    assert second.duplicates == 2
    assert site.found(keyring, "actions") == site.expected["actions"]


@pytest.mark.parametrize(("row0", "word"), [(3, "gap"), (-1, "part")])
def test_rows_that_are_missing_or_partly_there_stop_the_sink(site: LakeSite, keyring: Keyring, row0: int, word: str) -> None:
    of = stream(ACTIONS)
    data_key = key(keyring, site, of, 2)
    sink, _ = site.sink(keyring)
    sink.offer(site.received(of, site.value(of, 4, data_key, seed=0), 0))
    sink.decide()
    sink.commit(site.now_ms)
    sink.offer(site.received(of, site.value(of, 4, data_key, seed=1, expect=False, row0=4 + row0), 1))
    with pytest.raises(Broken, match=word):
        sink.decide()
    assert site.lake.head().version == 1
    assert not sink.pending, "the record that broke the rule did not move the offset"


def test_each_kind_of_false_record_is_refused_and_the_next_one_enters(site: LakeSite, keyring: Keyring) -> None:
    of, elsewhere = stream(ACTIONS), stream(ACTIONS, "ep-b")
    data_key = key(keyring, site, of, 2)
    good = site.value(of, 2, data_key, seed=1)
    moved = site.received(elsewhere, good, 4)
    other_topic = site.received(Stream("sanitized.actions.l1.v1", "ep-a", of.session), good, 0)
    strange = site.value(Stream(ACTIONS, "ep-a", os.urandom(16)), 1, data_key, seed=2, expect=False,
                         signer=Ed25519PrivateKey.generate())  # fmt: skip
    foreign_key = site.value(
        Stream(ACTIONS, "ep-a", os.urandom(16)), 1, data_key, seed=3, expect=False, key_id="other/2026-11-24/2"
    )
    miscounted = site.value(stream(ACTIONS), 2, data_key, seed=4, expect=False, rows=3)
    flipped = bytearray(good)
    flipped[-80] ^= 1
    sink, reasons = site.sink(keyring)
    for offset, value in enumerate((b"", b"\0\0", bytes(flipped), strange, foreign_key, miscounted)):
        sink.offer(site.received(of, value, offset))
    for record in (site.received(of, None, 6), moved, other_topic, site.received(of, good, 7)):  # type: ignore[arg-type]
        sink.offer(record)
    sink.decide()
    sink.commit(site.now_ms)
    assert sorted(reasons) == sorted(["truncated", "truncated", "bad-signature", "bad-signature", "wrong-key", "count-mismatch",
                                      "tombstone", "moved-record", "moved-record"])  # fmt: skip
    assert site.found(keyring, "actions") == site.expected["actions"]


def test_what_the_fence_refuses_is_not_in_the_lake_and_its_rows_are_spent(site: LakeSite, keyring: Keyring) -> None:
    of = stream(ACTIONS)
    data_key = key(keyring, site, of, 2)
    answers = [Admitted(1), Refuses("halted"), Admitted(1)]
    sink, reasons = site.sink(keyring, lambda _: answers.pop(0))
    for n in range(3):
        sink.offer(site.received(of, site.value(of, 2, data_key, seed=n, expect=n != 1), n))
    sink.decide()
    sink.commit(site.now_ms)
    assert reasons == ["halted"]
    assert site.found(keyring, "actions") == site.expected["actions"]


def test_a_record_that_waits_holds_its_partition_and_no_other(site: LakeSite, keyring: Keyring) -> None:
    held, free = stream(ACTIONS), stream(EVENTS, "ep-b")
    keys = key(keyring, site, held, 2), key(keyring, site, free, 1)
    covered: set[str] = {"ep-b"}
    sink, _ = site.sink(keyring, lambda claim: Admitted(1) if claim.endpoint in covered else Waits("uncovered"))
    for n in range(QUEUED_MAX):
        sink.offer(site.received(held, site.value(held, 1, keys[0], seed=n), n))
    sink.offer(site.received(free, site.value(free, 1, keys[1], seed=0), 0))
    sink.decide()
    assert sink.waits == "uncovered"
    assert sink.full == {f"byleave.{ACTIONS}/0"}
    sink.commit(site.now_ms)
    assert site.lake.head().offsets == {f"byleave.{EVENTS}/0": 1}
    covered.add("ep-a")
    sink.decide()
    sink.commit(site.now_ms)
    assert sink.full == set()
    assert site.found(keyring, "actions") == site.expected["actions"]


def test_the_rule_of_admission_is_asked_with_what_the_header_says(site: LakeSite, keyring: Keyring) -> None:
    knowledge = Knowledge(site.root, site.site)
    of, stranger = stream(ACTIONS), stream(ACTIONS, "ep-x")
    data_key, other_key = key(keyring, site, of, 2), key(keyring, site, stranger, 2)
    sink, reasons = site.sink(keyring, fence(knowledge))
    sink.offer(site.received(of, site.value(of, 1, data_key, seed=0), 0, partition=0))
    sink.offer(site.received(stranger, site.value(stranger, 1, other_key, seed=0, expect=False), 0, partition=1))
    sink.decide()
    assert not sink.pending, "nothing is decided before anything is known"
    assert sink.waits == "enrolment-unread"
    for topic, _, value in site.documents():
        knowledge.learn(topic, value)
    sink.decide()
    sink.commit(site.now_ms)
    assert reasons == [], "an endpoint that is unknown may have been enrolled a moment ago"
    assert site.found(keyring, "actions") == site.expected["actions"]
    late = site.value(of, 1, data_key, seed=1, expect=False, hi_max=site.now_ms + 600_000)
    sink.offer(site.received(of, late, 1))
    sink.decide()
    assert reasons == ["future"]


def test_while_processing_is_halted_everything_waits_and_enters_when_the_order_is_lifted(
    site: LakeSite, keyring: Keyring
) -> None:
    knowledge, of, other = site.knowledge(), stream(ACTIONS), stream(ACTIONS, "ep-b")
    keys = {one.endpoint: key(keyring, site, one, 2) for one in (of, other)}
    sink, reasons = site.sink(keyring, fence(knowledge))
    halt_id = site.hear(knowledge, Scope("endpoint", "ep-a"), "processing", site.now_ms)
    for partition, one in enumerate((of, other)):
        sink.offer(site.received(one, site.value(one, 2, keys[one.endpoint], seed=0), 0, partition))
    sink.decide()
    assert (sink.waits, reasons) == ("processing-halted", [])
    sink.commit(site.now_ms)
    assert site.lake.head().offsets == {f"byleave.{ACTIONS}/1": 1}
    old = knowledge.state
    assert old is not None
    lifted = (Lifted(halt_id, Scope("endpoint", "ep-a"), "processing", site.now_ms, 2),)
    window = (Window(1, old.expires_ms, old.run),)
    state = State(site.site, 2, knowledge.state_digest, 1, old.issued_ms, old.expires_ms, old.run, lifted, window)
    knowledge.learn("control.state.v1", trust.sign(state, [site.signer]))
    knowledge.learn("control.beacon.v1", site.beacon(knowledge, site.now_ms + 9_000))
    sink.decide()
    sink.commit(site.now_ms)
    assert reasons == []
    assert sorted(site.found(keyring, "actions")) == sorted(site.expected["actions"])


def test_of_two_sinks_on_one_lake_one_commits_and_the_other_must_begin_anew(site: LakeSite, keyring: Keyring) -> None:
    of = stream(ACTIONS)
    data_key = key(keyring, site, of, 2)
    values = [site.value(of, 2, data_key, seed=n) for n in range(2)]
    sinks = [site.sink(keyring)[0] for _ in range(2)]
    for sink in sinks:
        for offset, value in enumerate(values):
            sink.offer(site.received(of, value, offset))
        sink.decide()
    sinks[1].commit(site.now_ms)
    with pytest.raises(Transient) as refused:
        sinks[0].commit(site.now_ms)
    assert refused.value.reason == "conflict"
    assert [snapshot.version for snapshot in site.lake.history()] == [1]
    assert site.found(keyring, "actions") == site.expected["actions"]


def test_offsets_that_do_not_continue_never_enter(site: LakeSite) -> None:
    with pytest.raises(Broken, match="does not continue"):
        head = site.lake.commit(site.lake.head(), [], {"t/0": (0, 5)}, {}, 1, lambda *_: None)
        site.lake.commit(head, [], {"t/0": (4, 9)}, {}, 1, lambda *_: None)
    assert site.lake.head().offsets == {"t/0": 5}


def test_a_file_that_is_not_encrypted_never_enters(site: LakeSite, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    of = stream(ACTIONS)
    sink, _ = site.sink(keyring)
    sink.offer(site.received(of, site.value(of, 2, key(keyring, site, of, 2), seed=0), 0))
    sink.decide()
    plain = pq.write_table
    monkeypatch.setattr(pq, "write_table", lambda rows, path, **_: plain(rows, path))
    with pytest.raises(Broken, match="not encrypted"):
        sink.commit(site.now_ms)
    assert site.lake.head().version == 0


def test_without_a_ledger_entry_there_is_no_commit(site: LakeSite, keyring: Keyring) -> None:
    def unwritable(*_: object) -> None:
        raise Broken("the ledger cannot be written", reason="ledger")

    with pytest.raises(Broken):
        site.lake.commit(site.lake.head(), [], {"t/0": (0, 5)}, {}, 1, unwritable)
    assert site.lake.head().version == 0


def test_records_under_a_destroyed_key_are_refused(site: LakeSite, keyring: Keyring) -> None:
    of = stream(ACTIONS)
    value = site.value(of, 2, key(keyring, site, of, 2), seed=0, expect=False)
    keyring.destroy("enrol", subject="person-a", day=DAY)
    sink, reasons = site.sink(keyring)
    sink.offer(site.received(of, value, 0))
    sink.decide()
    assert reasons == ["key-destroyed"]
    with pytest.raises(Refused, match="destroyed"):
        keyring.data_key("redactor", f"person-a/{DAY}/2")


def test_a_changed_or_moved_file_and_a_forged_snapshot_do_not_open(site: LakeSite, keyring: Keyring) -> None:
    of = stream(ACTIONS)
    data_key = key(keyring, site, of, 2)
    sink, _ = site.sink(keyring)
    for offset in range(2):
        sink.offer(site.received(of, site.value(of, 50, data_key, seed=offset), offset))
        sink.decide()
        sink.commit(site.now_ms)
    one, two = sorted((site.home / "lake").glob("actions/l2/data/*.parquet"))
    whole = one.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 64)):
        one.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(Forged):
            site.found(keyring, "actions")
    one.write_bytes(two.read_bytes())
    with pytest.raises(Forged):
        site.found(keyring, "actions")
    one.unlink()
    with pytest.raises(Broken):
        site.found(keyring, "actions")
    one.write_bytes(whole)
    assert site.found(keyring, "actions") == site.expected["actions"]
    newest = site.home / "lake" / "snapshots" / "v0000000001.json"
    newest.write_text(newest.read_text().replace(one.stem if one.stem in newest.read_text() else two.stem, "../" + "a" * 29))
    with pytest.raises(Forged):
        site.found(keyring, "actions")


def test_files_that_a_killed_sink_left_are_removed_and_no_others(site: LakeSite, keyring: Keyring) -> None:
    of = stream(ACTIONS)
    sink, _ = site.sink(keyring)
    sink.offer(site.received(of, site.value(of, 5, key(keyring, site, of, 2), seed=0), 0))
    sink.decide()
    sink.commit(site.now_ms)
    kept = next((site.home / "lake").glob("actions/l2/data/*.parquet"))
    orphan = kept.with_name("ab" * 16 + ".parquet")
    orphan.write_bytes(kept.read_bytes())
    young_s = orphan.stat().st_mtime
    assert site.lake.remove_orphans(young_s + 60) == 0
    assert site.lake.remove_orphans(young_s + 7_200) == 1
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_streams_older_than_their_topics_are_forgotten(site: LakeSite, keyring: Keyring) -> None:
    old, new = stream(EVENTS), stream(EVENTS)
    data_key = key(keyring, site, old, 1)
    sink, _ = site.sink(keyring)
    sink.offer(site.received(old, site.value(old, 1, data_key, seed=0, raw_append_ms=site.now_ms - 9 * 86_400_000), 0))
    sink.offer(site.received(new, site.value(new, 1, data_key, seed=1), 1))
    sink.decide()
    sink.commit(site.now_ms)
    assert len(site.lake.head().streams) == 1


def test_level_three_has_no_way_in(site: LakeSite, keyring: Keyring) -> None:
    of = stream(ACTIONS)
    value = site.value(of, 1, keyring.data_key("redactor", f"person-a/{DAY}/3"), seed=0, expect=False, level=Level.PEOPLE)
    sink, reasons = site.sink(keyring)
    sink.offer(site.received(of, value, 0))
    sink.decide()
    assert reasons == ["moved-record"]
    with pytest.raises(Refused):
        As(keyring, "sink").file_key(3, table="actions", file="ab" * 16, manifests=["a" * 64], key_ids=[], endpoints=["ep-a"])


def test_a_header_type_is_what_the_refusal_gets(site: LakeSite, keyring: Keyring) -> None:
    """`refused.v1` names an endpoint only where the signature vouches for it."""
    seen: list[SanitizedHeader | None] = []
    of = stream(ACTIONS)
    sink, _ = site.sink(keyring, lambda _: Refuses("halted"))
    sink._refuse = lambda _record, _reason, header: seen.append(header)
    sink.offer(site.received(of, b"x" * 40, 0))
    sink.offer(site.received(of, site.value(of, 1, key(keyring, site, of, 2), seed=0), 1))
    sink.decide()
    assert seen[0] is None
    assert seen[1] is not None
    assert seen[1].endpoint == "ep-a"
    assert site.now_ms < FAR_MS


def test_a_full_disk_leaves_the_last_snapshot_whole_and_the_next_attempt_enters(
    site: LakeSite, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = stream(ACTIONS)
    data_key = key(keyring, site, of, 2)
    sink, _ = site.sink(keyring)
    for offset in range(2):
        sink.offer(site.received(of, site.value(of, 3, data_key, seed=offset), offset))
        sink.decide()
        if offset == 0:
            sink.commit(site.now_ms)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(Transient, match="disk"):
        sink.commit(site.now_ms)
    monkeypatch.undo()
    assert site.lake.head().version == 1
    sink.commit(site.now_ms)
    assert site.found(keyring, "actions") == site.expected["actions"]


def test_a_commit_whose_outcome_is_unknown_is_settled_by_loading(
    site: LakeSite, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = stream(ACTIONS)
    value = site.value(of, 3, key(keyring, site, of, 2), seed=0)
    sink, _ = site.sink(keyring)
    sink.offer(site.received(of, value, 0))
    sink.decide()
    real = os.link

    def linked_but_unsure(*places: object) -> None:
        real(*places)  # type: ignore[arg-type]
        raise OSError(5, "input/output error")

    monkeypatch.setattr(os, "link", linked_but_unsure)
    with pytest.raises(Transient) as unsure:
        sink.commit(site.now_ms)
    monkeypatch.undo()
    assert unsure.value.reason == "conflict"
    again, _ = site.sink(keyring)
    assert again.head.offsets == {f"byleave.{ACTIONS}/0": 1}
    assert site.found(keyring, "actions") == site.expected["actions"]


PROMISED_LESS = {
    "level 2": {"readers": (Reader("ml", 1, PURPOSE),)},
    "TYPE": {"kinds": ("pointer", "window"), "fields": ()},
    "text": {"fields": ("pointer.x", "window.app", "key.modifiers", "target.role", "target.box", "target.label")},
    "app": {"fields": ("pointer.x", "key.key")},
}


@pytest.mark.parametrize("part", PROMISED_LESS)
def test_a_record_with_more_than_its_manifest_promises_stops_the_sink_until_it_is_ordered_to_be_erased(
    site: LakeSite, keyring: Keyring, part: str
) -> None:
    of, other = stream(ACTIONS), stream(ACTIONS, "ep-b")
    sink, reasons = site.sink(keyring)
    sink.offer(site.received(other, site.value(other, 1, key(keyring, site, other, 2), seed=1), 0))
    sink.decide()
    sink.commit(site.now_ms)
    head, whole = site.lake.head().version, site.document
    site.document = replace(whole, **PROMISED_LESS[part])
    found = metrics.DRIFT.labels("sink")._value.get()
    value = site.value(of, 2, key(keyring, site, of, 2), seed=7, expect=False)
    for sink, reasons in (site.sink(keyring), site.sink(keyring)):  # and again after a restart
        sink.offer(site.received(of, value, 1))
        with pytest.raises(Broken, match=f"{part}. Halt its endpoint") as caught:
            sink.decide()
        assert caught.value.reason == "drift"
        assert PLANTED not in str(caught.value)
        assert (sink.pending, reasons, site.lake.head().version) == (False, [], head)
    assert metrics.DRIFT.labels("sink")._value.get() == found + 2
    site.hear(site.knowledge(), Scope("endpoint", "ep-a"), "capture", site.now_ms + 5_000, site.now_ms - 60_000)
    sink, reasons = site.sink(keyring)
    sink.offer(site.received(of, value, 1))
    sink.decide()
    sink.commit(site.now_ms)
    assert reasons == ["discarded"]
    site.document = whole
    assert site.found(keyring, "actions") == site.expected["actions"]


def test_every_column_of_the_lake_is_either_promised_by_a_field_or_tells_of_no_input() -> None:
    times = {"at_ms", "start_ms", "end_ms"}
    silent = {name for name, _ in columns._IDENTITY} | times | {"kind", "screen_width", "screen_height", "redactions", "text"}
    for schema in columns.SCHEMAS.values():
        assert set(schema.names) <= silent | columns._TOLD.keys()
    assert set(columns._TOLD.values()) <= promised.FIELDS.keys()
    kinds = {kind.value for kind in ActionKind} | {kind.name.lower() for kind in Kind if kind < KEY_ROW} | {"key"}
    assert kinds - {"GAP"} <= columns._KIND_OF.keys()
