"""The endpoint's receipts: only its own, only the redactor's, each hour once; and no client where nothing is looked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from redactor_site import Bench, Endpoint, Site, receipt_key, received, seed_key

from byleave.control.knowledge import Knowledge
from byleave.core import metrics
from byleave.core.broker import Received
from byleave.core.errors import Transient
from byleave.core.events import FocusEvent, KeyEvent, Kind, Window
from byleave.core.keys import write_secret
from byleave.core.receipts import HOUR_MS, SEALED_BYTES
from byleave.producers.receipts import FILE, KEPT_MS, LOOK_MS, LOOK_MS_MAX, NO_KEY, Receipts, of_day, summary

BASE_MS = 1_760_000_400_000 // HOUR_MS * HOUR_MS
HOURS = 3


class Topic:
    """`Place`s on a topic in memory, and how many of them are open."""

    def __init__(self, records: list[Received]) -> None:
        self.records, self.made, self.open, self.broken, self.endless = records, [], 0, False, False

    def place(self, offset: int) -> Place:
        self.made.append(offset)
        self.open += 1
        return Place(self, offset)


class Place:
    def __init__(self, topic: Topic, offset: int) -> None:
        self.topic, self.at, self.ended = topic, offset, False

    def read(self) -> Sequence[Received]:
        if self.topic.broken:
            raise Transient("no broker")
        found = self.topic.records[self.at : self.at + 2]
        self.at += len(found)
        self.ended = not found and not self.topic.endless
        return found

    def close(self) -> None:
        self.topic.open -= 1


@pytest.fixture(scope="module")
def site() -> Site:
    return Site("t.", BASE_MS)


@pytest.fixture(scope="module")
def records(site: Site) -> list[Received]:
    """What a redactor writes of three endpoints in three hours; in each, one password of everybody."""
    bench = Bench(site, site.knowledge(BASE_MS + (HOURS + 1) * HOUR_MS))
    for hour in range(HOURS):
        for n, name in enumerate(site.endpoints):
            endpoint, at_ms = Endpoint(site, name, bytes([hour, n]) * 8), BASE_MS + hour * HOUR_MS + 60_000
            keys = [KeyEvent(0, at_ms + 10 * k, Kind.PRESS, key) for k, key in enumerate([*"my password: hunter2zx", "enter"])]
            value = endpoint.seal([FocusEvent(0, at_ms, Window(7, "code", layout="us")), *keys])
            bench.offer(received(name, value, bench.partition.next_offset, at_ms + 5_000))
    bench.partition.sweep(BASE_MS + HOURS * HOUR_MS, bench.knowledge, bench.pending.append)
    bench.commit()
    outputs = bench.topics["receipts.v1"]
    return [Received("t.receipts.v1", 0, n, BASE_MS, out.key, out.value) for n, out in enumerate(outputs)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_secret(tmp_path / "receipt.key", receipt_key("ep-a").private_bytes_raw())
    return tmp_path


def opened(site: Site, folder: Path, topic: Topic) -> Receipts:
    return Receipts(folder, site.knowledge(), "ep-a", topic.place)


def look(receipts: Receipts, topic: Topic, at_ms: int = 1_000) -> None:
    receipts.turn(at_ms)
    for turn in range(20):
        if topic.open:
            receipts.turn(at_ms + turn)
    assert topic.open == 0


def refused(reason: str) -> float:
    return metrics.REFUSED.labels("receipt", reason)._value.get()


def test_its_own_hours_are_kept_once_and_in_order_and_a_restart_reads_on(site: Site, folder: Path, records: list) -> None:
    topic = Topic(records[:4])
    first = opened(site, folder, topic)
    look(first, topic)
    topic.records = records
    look(first, topic, 1_000 + LOOK_MS)
    kept = json.loads((folder / FILE).read_bytes())
    assert (folder / FILE).stat().st_mode & 0o777 == 0o600
    assert [counts["hour_ms"] for counts in kept["hours"]] == [BASE_MS + n * HOUR_MS for n in range(HOURS)]
    assert {counts["endpoint"] for counts in kept["hours"]} == {"ep-a"}
    before = refused("replayed")
    again = opened(site, folder, topic)
    look(again, topic)
    assert topic.made == [0, 4, kept["offset"]]
    assert json.loads((folder / FILE).read_bytes()) == kept
    assert refused("replayed") == before


def test_replayed_forged_and_foreign_records_are_counted_or_passed_and_what_follows_is_taken(
    site: Site, folder: Path, records: list
) -> None:
    own = [r for r in records if r.key in {key_of(site, n) for n in range(HOURS)}]
    changed = replace(own[0], value=own[0].value[:-1] + bytes([own[0].value[-1] ^ 1]))
    hostile = [changed, replace(own[1], key=own[0].key), replace(own[0], value=b"\x00\x00"), replace(own[0], value=None)]
    topic = Topic([*hostile, own[0], own[0], own[2], own[1]])
    counts = {reason: refused(reason) for reason in ("bad-signature", "replayed", "truncated", "tombstone")}
    receipts = opened(site, folder, topic)
    look(receipts, topic)
    assert {reason: refused(reason) - was for reason, was in counts.items()} == {
        "bad-signature": 1, "replayed": 2, "truncated": 1, "tombstone": 1,
    }  # fmt: skip
    hours = receipts.questions["receipts"]({})["hours"]
    assert [hour["hour_ms"] for hour in hours] == [BASE_MS, BASE_MS + 2 * HOUR_MS]


def key_of(site: Site, hour: int) -> bytes:
    from byleave.core.receipts import record_key

    return record_key(site.name, receipt_key("ep-a").public_key(), BASE_MS + hour * HOUR_MS)


def test_a_receipt_that_another_than_the_redactor_signed_is_worth_nothing(site: Site, folder: Path) -> None:
    forger = Site("t.", BASE_MS)
    forger.sign = seed_key("enrol-1")
    endpoint, bench = Endpoint(forger, "ep-a", b"a" * 16), Bench(forger, forger.knowledge(BASE_MS + 2 * HOUR_MS))
    value = endpoint.seal([FocusEvent(0, BASE_MS + 1_000, Window(7, "code", layout="us"))])
    bench.offer(received("ep-a", value, 0, BASE_MS + 5_000))
    bench.partition.sweep(BASE_MS + HOUR_MS, bench.knowledge, bench.pending.append)
    bench.commit()
    topic = Topic([Received("t.receipts.v1", 0, 0, 0, out.key, out.value) for out in bench.topics["receipts.v1"]])
    before, receipts = refused("bad-signature"), opened(site, folder, topic)
    look(receipts, topic)
    assert refused("bad-signature") == before + 1
    assert not (folder / FILE).exists()


def test_between_looks_there_is_no_client_and_asking_looks_at_once(site: Site, folder: Path, records: list) -> None:
    topic = Topic(records)
    receipts = opened(site, folder, topic)
    look(receipts, topic)
    for at_ms in range(2_000, LOOK_MS, 30_000):
        receipts.turn(at_ms)
    assert len(topic.made) == 1
    assert receipts.questions["receipts"]({})["more"] is False
    look(receipts, topic, LOOK_MS - 1)
    assert len(topic.made) == 2


def test_a_look_is_bounded_and_one_that_fails_is_made_again_later(site: Site, folder: Path, records: list) -> None:
    topic = Topic([])
    topic.endless = True
    receipts = opened(site, folder, topic)
    receipts.turn(0)
    receipts.turn(LOOK_MS_MAX)
    assert topic.open == 1
    receipts.turn(LOOK_MS_MAX + 1)
    assert topic.open == 0
    topic.broken, topic.records, topic.endless = True, records, False
    receipts.turn(LOOK_MS)
    assert (topic.open, len(topic.made)) == (0, 2)
    topic.broken = False
    look(receipts, topic, 2 * LOOK_MS)
    assert len(receipts.questions["receipts"]({})["hours"]) == HOURS


@pytest.mark.parametrize("held", ["another", "none", "open"])
def test_an_endpoint_without_the_key_that_its_enrolment_names_is_told_so_and_fetches_nothing(
    site: Site, tmp_path: Path, records: list, held: str
) -> None:
    if held != "none":
        write_secret(tmp_path / "receipt.key", receipt_key("ep-b" if held == "another" else "ep-a").private_bytes_raw())
    if held == "open":
        (tmp_path / "receipt.key").chmod(0o644)
    topic = Topic(records)
    receipts = opened(site, tmp_path, topic)
    receipts.turn(1_000)
    assert topic.made == []
    assert receipts.questions["receipts"]({}) == {"hours": [], "more": False, "summary": None, "why": NO_KEY}


def test_an_endpoint_that_was_enrolled_before_there_were_receipts_is_told_so(folder: Path) -> None:
    before = Site("t.", BASE_MS, receipts=False)
    knowledge: Knowledge = before.knowledge()
    assert Receipts(folder, knowledge, "ep-a", Topic([]).place).questions["receipts"]({})["why"] == NO_KEY


def test_what_is_kept_is_bounded_in_age_and_a_damaged_file_is_fetched_again(site: Site, folder: Path, records: list) -> None:
    old = {"hour_ms": BASE_MS - KEPT_MS, "removals": [], "shares": []}
    (folder / FILE).write_text(json.dumps({"offset": 0, "hours": [old]}), encoding="ascii")
    topic = Topic(records)
    look(opened(site, folder, topic), topic)
    hours = json.loads((folder / FILE).read_bytes())["hours"]
    assert [hour["hour_ms"] for hour in hours] == [BASE_MS + n * HOUR_MS for n in range(HOURS)]
    for damaged in (b"", b"{", b"[]", b'{"offset": "x"}'):
        (folder / FILE).write_bytes(damaged)
        again = opened(site, folder, topic)
        look(again, topic)
        assert len(again.questions["receipts"]({})["hours"]) == HOURS


def test_the_summary_adds_up_and_says_the_difference_where_it_does_not(site: Site, folder: Path, records: list) -> None:
    topic = Topic(records)
    receipts = opened(site, folder, topic)
    look(receipts, topic)
    told = receipts.questions["receipts"]({"since_ms": BASE_MS + HOUR_MS})["summary"]
    assert (told["hours"], told["captured"], told["difference"]) == (2, 48, 0)
    assert told["removals"] == {"PASSWORD": 2}
    assert told["applications"] == {"editor": 48}
    hours = receipts.questions["receipts"]({})["hours"]
    short = [dict(hours[0], written=hours[0]["written"] - 3), *hours[1:]]
    assert summary(short)["difference"] == 3
    assert summary([]) is None
    assert of_day(folder, "1999-01-01") is None
    assert sum((of_day(folder, day) or {"hours": 0})["hours"] for day in ("2025-10-08", "2025-10-09", "2025-10-10")) == HOURS


def test_no_record_says_more_by_its_size_than_the_others(records: list) -> None:
    assert {len(record.value) for record in records} == {len(records[0].value)}
    assert len(records[0].value) > SEALED_BYTES
    assert len({record.key for record in records}) == len(records)
