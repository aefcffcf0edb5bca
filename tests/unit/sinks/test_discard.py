"""Erasing by order: which rows go, what stays as it was, what the record says, and what a crash at each step leaves."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lake_site import DAY, NOW_MS, As, LakeSite, Stream

from byleave.control.documents import Scope
from byleave.control.knowledge import Knowledge
from byleave.core.errors import Refused, Transient
from byleave.core.levels import Level
from byleave.sinks.access import read
from byleave.sinks.discard import discard
from byleave.sinks.keyring import Keyring
from byleave.sinks.lake import LocalLake, Snapshot, live
from byleave.sinks.ledger import verify

ACTIONS, EVENTS = "sanitized.actions.l2.v1", "sanitized.events.l1.v1"
MINUTE_MS = 60_000
TIMES = tuple(NOW_MS - minutes * MINUTE_MS for minutes in (40, 20, 1))
SINCE_MS = NOW_MS - 30 * MINUTE_MS
EFFECTIVE_MS = NOW_MS


class Crash(Exception):
    """As if the process had ended there."""


@pytest.fixture
def site(tmp_path: Path) -> LakeSite:
    return LakeSite(tmp_path)


@pytest.fixture
def keyring(site: LakeSite) -> Iterator[Keyring]:
    keyring = site.keyring()
    yield keyring
    keyring.close()


@pytest.fixture
def knowledge(site: LakeSite) -> Knowledge:
    return site.knowledge()


@pytest.fixture
def filled(site: LakeSite, keyring: Keyring) -> LakeSite:
    """Three commits, 40, 20 and 1 minutes old, each with actions and events of three endpoints in common files."""
    sink, _ = site.sink(keyring)
    streams = [Stream(topic, endpoint, os.urandom(16)) for topic in (ACTIONS, EVENTS) for endpoint in site.endpoints]
    for offset, at_ms in enumerate(TIMES):
        site.now_ms = at_ms
        for number, of in enumerate(streams):
            key = keyring.data_key("redactor", f"{site.subject(of.endpoint)}/{DAY}/{of.topic.split('.l')[1][0]}")
            sink.offer(site.received(of, site.value(of, 2, key, seed=offset), offset, number))
        sink.decide()
        sink.commit(site.now_ms)
    site.now_ms = NOW_MS
    return site


def erase(site: LakeSite, keyring: Keyring) -> Snapshot:
    [order] = [one for one in site.standing.discards if one.halt_id not in site.lake.head().discards]
    return discard(site.lake, As(keyring, "sink"), order, site.standing, now_ms=site.now_ms, service_ms=77,
                   random_bytes=os.urandom)  # fmt: skip


def ages(site: LakeSite, keyring: Keyring) -> dict[str, list[int]]:
    """By endpoint: how many minutes old its rows are, actions and events alike. All of them carry what they carried."""
    found: dict[str, list[int]] = {}
    for table, time in (("actions", "start_ms"), ("events", "at_ms")):
        for row in site.rows(keyring, site.look(table)):
            found.setdefault(str(row["endpoint"]), []).append(round((NOW_MS - int(str(row[time]))) / MINUTE_MS))
    return {endpoint: sorted(minutes, reverse=True) for endpoint, minutes in found.items()}


def entries(site: LakeSite, what: str) -> list[dict[str, Any]]:
    return [line.entry for line in verify(site.home / "ledger") if line.entry["what"] == what]


ALL = [40] * 4 + [20] * 4 + [1] * 4
OLD = [40] * 4


@pytest.mark.parametrize(
    ("scope", "gone"),
    [
        (Scope("global"), {"ep-a", "ep-b", "ep-c"}),
        (Scope("team", "team"), {"ep-a", "ep-b", "ep-c"}),
        (Scope("endpoint", "ep-a"), {"ep-a"}),
        (Scope("subject", "person-b"), {"ep-b"}),
        (Scope("team", "others"), set()),
    ],
)
def test_rows_of_the_scope_and_time_are_gone_and_all_others_are_as_they_were(
    filled: LakeSite, keyring: Keyring, knowledge: Knowledge, scope: Scope, gone: set[str]
) -> None:
    before = filled.lake.head()
    texts = {(row["session"], row["row"]): row["text"] for row in filled.rows(keyring, filled.look("actions"))}
    halt_id = filled.hear(knowledge, scope, "capture", EFFECTIVE_MS, SINCE_MS)
    after = erase(filled, keyring)
    assert ages(filled, keyring) == {endpoint: OLD if endpoint in gone else ALL for endpoint in filled.endpoints}
    left = {(row["session"], row["row"]): row["text"] for row in filled.rows(keyring, filled.look("actions"))}
    assert left.items() <= texts.items()
    assert (after.offsets, after.streams, after.parent) == (before.offsets, before.streams, before.digest)
    assert after.discards == {halt_id: 77}
    assert len(list(filled.lake.history())) == 4
    for entry in entries(filled, "discard"):
        assert entry == {"what": "discard", "principal": "sink", "version": 4, "halt_id": halt_id, "files": list(after.removed),
                         "rows": 8 * len(gone)}  # fmt: skip
    assert len(entries(filled, "discard")) == 1
    assert [(e["version"], e["digest"]) for e in entries(filled, "commit")][-1] == (4, after.digest)


def test_rows_after_the_effective_time_stay_so_that_a_late_erasure_spares_what_came_after_the_resume(
    filled: LakeSite, keyring: Keyring, knowledge: Knowledge
) -> None:
    filled.hear(knowledge, Scope("global"), "capture", NOW_MS - 10 * MINUTE_MS, SINCE_MS)
    erase(filled, keyring)
    assert ages(filled, keyring) == dict.fromkeys(filled.endpoints, [40] * 4 + [1] * 4)


def test_an_action_that_ends_within_the_time_goes_and_one_that_begins_after_it_stays(
    site: LakeSite, keyring: Keyring, knowledge: Knowledge
) -> None:
    sink, _ = site.sink(keyring)
    of = Stream(ACTIONS, "ep-a", os.urandom(16))
    key = keyring.data_key("redactor", f"person-a/{DAY}/2")
    begins = (SINCE_MS - 300, SINCE_MS - 200, SINCE_MS - 199, SINCE_MS - 100, EFFECTIVE_MS - 1, EFFECTIVE_MS)  # each lasts 100
    for offset, at_ms in enumerate(begins):
        site.now_ms = at_ms
        sink.offer(site.received(of, site.value(of, 1, key, seed=offset), offset))
    sink.decide()
    sink.commit(NOW_MS)
    site.hear(knowledge, Scope("global"), "capture", EFFECTIVE_MS, SINCE_MS)
    erase(site, keyring)
    left = [row["start_ms"] for row in site.rows(keyring, site.look("actions"))]
    assert left == [begins[0], begins[1], begins[-1]], "an end that was rounded down to just before may be within"


def test_old_files_are_unlinked_once_the_new_snapshot_stands_and_a_copy_of_one_opens_to_nobody(
    filled: LakeSite, keyring: Keyring, knowledge: Knowledge, tmp_path_factory: pytest.TempPathFactory
) -> None:
    copy = tmp_path_factory.mktemp("copy") / "lake"
    shutil.copytree(filled.home / "lake", copy)
    filled.hear(knowledge, Scope("endpoint", "ep-a"), "capture", EFFECTIVE_MS, SINCE_MS)
    after = erase(filled, keyring)
    assert filled.lake.remove_orphans(0.0) == len(after.removed) == 4
    on_disk = {path.stem for path in (filled.home / "lake").glob("*/l*/data/*.parquet")}
    assert on_disk == {file.file for file in live(filled.lake.history())}
    assert ages(filled, keyring)["ep-a"] == OLD
    old = LocalLake(copy)
    with pytest.raises(Refused) as refused:
        list(read(old, As(keyring, "ml"), filled.look("actions"), lambda: 0.0))
    assert refused.value.reason == "discarded"
    assert entries(filled, "read-refused")[-1]["reason"] == "discarded"


def test_done_once_it_is_done_and_nothing_is_written_a_second_time(
    filled: LakeSite, keyring: Keyring, knowledge: Knowledge
) -> None:
    filled.hear(knowledge, Scope("endpoint", "ep-a"), "capture", EFFECTIVE_MS, SINCE_MS)
    [order] = filled.standing.discards
    first = erase(filled, keyring)
    again = discard(filled.lake, As(keyring, "sink"), order, filled.standing, now_ms=1, service_ms=78, random_bytes=os.urandom)
    assert (again.added, again.removed) == ((), ())
    assert again.discards == {order.halt_id: 78}
    assert [file.file for file in live(filled.lake.history())][-len(first.added) :] == [file.file for file in first.added]
    sink, _ = filled.sink(keyring)
    assert sink.commit(NOW_MS).discards == again.discards, "later commits remember what was carried out"


@pytest.mark.parametrize(
    ("where", "name", "skip"),
    [
        (As, "erase_keys", 0), (LocalLake, "read", 1), (As, "file_key", 1), (LocalLake, "stage", 2), (As, "record_commit", 0),
        (os, "link", 0),
    ],
)  # fmt: skip
def test_killed_at_any_step_nothing_is_half_erased_and_the_next_attempt_ends_it(
    filled: LakeSite, keyring: Keyring, knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, skip: int
) -> None:
    halt_id = filled.hear(knowledge, Scope("endpoint", "ep-a"), "capture", EFFECTIVE_MS, SINCE_MS)
    real: Callable[..., Any] = getattr(where, name)
    calls: list[int] = []

    def crashing(*given: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) > skip:
            raise Crash
        return real(*given, **more)

    monkeypatch.setattr(where, name, crashing)
    with pytest.raises(Crash):
        erase(filled, keyring)
    monkeypatch.undo()
    assert filled.lake.head().version == 3
    if name == "link":  # on record as erased: from then on nobody reads the old files, though they still count
        with pytest.raises(Refused):
            ages(filled, keyring)
    else:
        assert ages(filled, keyring) == dict.fromkeys(filled.endpoints, ALL)
    erase(filled, keyring)
    assert ages(filled, keyring) == {"ep-a": OLD, "ep-b": ALL, "ep-c": ALL}
    assert {entry["halt_id"] for entry in entries(filled, "discard")} == {halt_id}
    assert len(list(filled.lake.history())) == 4


def test_killed_before_the_old_files_are_unlinked_the_next_start_unlinks_them(
    filled: LakeSite, keyring: Keyring, knowledge: Knowledge
) -> None:
    filled.hear(knowledge, Scope("global"), "capture", EFFECTIVE_MS, SINCE_MS)
    after = erase(filled, keyring)
    assert filled.lake.remove_orphans(0.0) == len(after.removed)
    assert filled.lake.remove_orphans(0.0) == 0


def test_of_a_writer_that_commits_meanwhile_nothing_is_lost(filled: LakeSite, keyring: Keyring, knowledge: Knowledge,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    filled.hear(knowledge, Scope("endpoint", "ep-a"), "capture", EFFECTIVE_MS, SINCE_MS)
    real = LocalLake.commit

    def second(lake: LocalLake, parent: Snapshot, *given: Any, **more: Any) -> Snapshot:
        monkeypatch.undo()
        real(lake, lake.head(), [], {"t/0": (0, 5)}, {}, 1, lambda *_: None)
        return real(lake, parent, *given, **more)

    monkeypatch.setattr(LocalLake, "commit", second)
    with pytest.raises(Transient) as lost:
        erase(filled, keyring)
    assert lost.value.reason == "conflict"
    after = erase(filled, keyring)
    assert after.offsets["t/0"] == 5
    assert ages(filled, keyring)["ep-a"] == OLD


def test_only_the_sink_gets_such_keys_only_for_an_order_in_effect_and_only_of_whom_it_is_about(
    filled: LakeSite, keyring: Keyring, knowledge: Knowledge
) -> None:
    tickets = [file.ticket for file in live(filled.lake.history())]
    halt_id, order = filled.order(Scope("subject", "person-z"), "capture", SINCE_MS)
    with pytest.raises(Transient) as unread:
        keyring.erase_keys("sink", halt_id=halt_id, tickets=tickets)
    assert unread.value.reason == "order-unread"
    assert order
    nobody = filled.hear(knowledge, Scope("subject", "person-z"), "capture", EFFECTIVE_MS, SINCE_MS)
    assert keyring.erase_keys("sink", halt_id=nobody, tickets=tickets) == {}
    somebody = filled.hear(knowledge, Scope("subject", "person-a"), "capture", EFFECTIVE_MS, SINCE_MS)
    for principal in ("ml", "redactor", "review", "enrol", "ops"):
        with pytest.raises(Refused) as refused:
            keyring.erase_keys(principal, halt_id=somebody, tickets=tickets)
        assert refused.value.reason == "not-entitled"
    assert entries(filled, "discard-opened") == []
    opened = keyring.erase_keys("sink", halt_id=somebody, tickets=tickets)
    assert [entry["files"] for entry in entries(filled, "discard-opened")] == [list(opened)]


def test_what_comes_late_is_refused_with_its_reason_and_its_rows_are_spent(
    site: LakeSite, keyring: Keyring, knowledge: Knowledge
) -> None:
    sink, reasons = site.sink(keyring)
    of, other = Stream(ACTIONS, "ep-a", os.urandom(16)), Stream(ACTIONS, "ep-b", os.urandom(16))
    keys = {s.endpoint: keyring.data_key("redactor", f"{site.subject(s.endpoint)}/{DAY}/2") for s in (of, other)}
    site.hear(knowledge, Scope("endpoint", "ep-a"), "reads", EFFECTIVE_MS, SINCE_MS)
    for offset, (stream, at_ms) in enumerate([(of, TIMES[0]), (of, TIMES[1]), (other, TIMES[1]), (of, EFFECTIVE_MS + 1_000)]):
        site.now_ms = at_ms
        sink.offer(site.received(stream, site.value(stream, 2, keys[stream.endpoint], seed=offset, expect=offset != 1), offset))
    sink.decide()
    sink.commit(NOW_MS)
    site.standing = type(site.standing)(site.root, known=True)
    assert reasons == ["discarded"]
    assert site.found(keyring, "actions") == site.expected["actions"]


def test_keys_go_only_with_their_whole_day_and_are_never_made_again(
    filled: LakeSite, keyring: Keyring, knowledge: Knowledge
) -> None:
    for day in ("2026-11-22", "2026-11-23"):
        keyring.data_key("redactor", f"person-a/{day}/2")
        keyring.data_key("redactor", f"person-b/{day}/2")
    midnight_ms = 1_795_478_400_000
    halt_id = filled.hear(knowledge, Scope("subject", "person-a"), "capture", EFFECTIVE_MS, midnight_ms - 86_400_000)
    assert filled.standing.discards
    for _ in range(2):
        keyring.discard()
    assert entries(filled, "discard") == [
        {"what": "discard", "principal": "keyring", "halt_id": halt_id, "keys": ["person-a/2026-11-23/2"]}
    ]
    assert keyring.data_key("sink", "person-a/2026-11-22/2")
    assert keyring.data_key("sink", f"person-a/{DAY}/2"), "of this day only a part is meant: its rows go, its key stays"
    assert keyring.data_key("sink", "person-b/2026-11-23/2")
    for level in (1, 2, 3):
        with pytest.raises(Refused) as refused:
            keyring.data_key("redactor", f"person-a/2026-11-23/{level}")
        assert refused.value.reason == "key-destroyed"
    assert "person-a/2026-11-23/1" not in str(entries(filled, "key-made"))


def test_killed_between_the_entry_and_the_destruction_the_next_attempt_destroys(
    filled: LakeSite, keyring: Keyring, knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring.data_key("redactor", "person-a/2026-11-23/2")
    filled.hear(knowledge, Scope("global"), "capture", EFFECTIVE_MS, NOW_MS - 3 * 86_400_000)

    def crash(_: list[str]) -> None:
        raise Crash

    monkeypatch.setattr(keyring._store, "destroy", crash)
    with pytest.raises(Crash):
        keyring.discard()
    monkeypatch.undo()
    assert keyring.data_key("sink", "person-a/2026-11-23/2")
    keyring.discard()
    with pytest.raises(Refused):
        keyring.data_key("sink", "person-a/2026-11-23/2")
    assert len(entries(filled, "discard")) == 2


def test_a_record_for_review_that_is_to_be_erased_is_opened_to_nobody(
    site: LakeSite, keyring: Keyring, knowledge: Knowledge
) -> None:
    of = Stream("review.l3.v1", "ep-a", b"s" * 16)
    key = keyring.data_key("redactor", f"person-a/{DAY}/3")
    site.now_ms = TIMES[1]
    value = site.value(of, 1, key, seed=1, level=Level.PEOPLE)
    asked = {"person": "rita", "purpose": "review", "record": value, "manifest": site.manifest}
    assert keyring.open_record("review", **asked)
    site.hear(knowledge, Scope("subject", "person-a"), "capture", EFFECTIVE_MS, SINCE_MS)
    with pytest.raises(Refused) as refused:
        keyring.open_record("review", **asked)
    assert refused.value.reason == "discarded"
    assert entries(site, "read-refused")[-1]["reason"] == "discarded"
