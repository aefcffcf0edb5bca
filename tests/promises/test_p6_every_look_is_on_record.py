"""P6. Every look is on record: the entry comes before the first row, a refused look has one too, and none can be taken out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lake_site import DAY, As, LakeSite, Stream

from byleave.control.documents import Scope
from byleave.core.errors import ByleaveError, Forged
from byleave.core.keyring import ReadRequest, ReleasedKeys
from byleave.sinks.access import read
from byleave.sinks.keyring import Keyring
from byleave.sinks.ledger import read_head, verify


@pytest.fixture
def site(tmp_path: Path) -> LakeSite:
    return LakeSite(tmp_path)


@pytest.fixture
def keyring(site: LakeSite) -> Iterator[Keyring]:
    """With rows of two people in the lake."""
    keyring = site.keyring()
    sink, _ = site.sink(keyring)
    for endpoint in ("ep-a", "ep-b"):
        of = Stream("sanitized.actions.l2.v1", endpoint, os.urandom(16))
        key = keyring.data_key("redactor", f"{site.subject(endpoint)}/{DAY}/2")
        for offset in range(2):
            sink.offer(site.received(of, site.value(of, 3, key, seed=offset), offset, partition=endpoint == "ep-b"))
        sink.decide()
        sink.commit(site.now_ms)
    yield keyring
    keyring.close()


def entries(site: LakeSite, what: str) -> list[dict[str, Any]]:
    return [line.entry for line in verify(site.home / "ledger", read_head(site.home / "ledger")) if line.entry["what"] == what]


def test_the_entry_is_on_disk_before_the_key_is_out_of_the_keyring(site: LakeSite, keyring: Keyring) -> None:
    class Watching(As):
        def release(self, request: ReadRequest) -> ReleasedKeys:
            before = len(entries(site, "read"))
            released = super().release(request)
            seen.append((before, entries(site, "read")[-1], released.entry))
            return released

    seen: list[tuple[int, dict[str, Any], int]] = []
    rows = read(site.lake, Watching(keyring, "ml"), site.look("actions"), lambda: 0.0)
    assert next(rows).num_rows > 0
    [(before, entry, index)] = seen
    assert before == 0
    assert (entry["person"], entry["principal"], entry["table"], entry["level"]) == ("ann", "ml", "actions", 2)
    assert index == len(list(verify(site.home / "ledger"))) - 1


def test_an_entry_says_whose_records_were_seen(site: LakeSite, keyring: Keyring) -> None:
    site.rows(keyring, site.look("actions"))
    assert entries(site, "read")[0]["covers"] == [f"person-a/{DAY}/2", f"person-b/{DAY}/2"]


def test_a_refused_look_is_on_record_and_gave_no_row(site: LakeSite, keyring: Keyring) -> None:
    with pytest.raises(ByleaveError):
        site.rows(keyring, site.look("actions", purpose="curiosity"))
    [entry] = entries(site, "read-refused")
    assert (entry["purpose"], entry["reason"]) == ("curiosity", "purpose")
    assert entries(site, "read") == []


def test_one_signed_order_ends_all_looking_and_each_attempt_after_it_is_on_record(site: LakeSite, keyring: Keyring) -> None:
    reading = read(site.lake, As(keyring, "ml"), site.look("actions"), lambda: clock_s[0])
    clock_s = [0.0]
    assert next(reading).num_rows > 0
    site.hear(site.knowledge(), Scope("global"), "reads", site.now_ms)
    clock_s[0] = 60.0  # who was reading when the order came has lost the keys within the minute
    with pytest.raises(ByleaveError):
        next(reading)
    with pytest.raises(ByleaveError):
        site.rows(keyring, site.look("actions"))
    assert [entry["reason"] for entry in entries(site, "read-refused")] == ["reads-halted", "reads-halted"]
    assert len(entries(site, "read")) == 1


def test_with_no_record_possible_there_is_no_look(site: LakeSite, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr("os.fsync", full)
    rows = read(site.lake, As(keyring, "ml"), site.look("actions"), lambda: 0.0)
    with pytest.raises(ByleaveError) as refused:
        next(rows)
    assert refused.value.reason == "ledger"


def test_every_key_made_every_file_and_every_commit_is_on_record(site: LakeSite, keyring: Keyring) -> None:
    assert [e["key_id"] for e in entries(site, "key-made")] == [f"person-a/{DAY}/2", f"person-b/{DAY}/2"]
    snapshots = list(site.lake.history())
    assert [(e["version"], e["digest"]) for e in entries(site, "commit")] == [(s.version, s.digest) for s in snapshots]
    assert [e["file"] for e in entries(site, "file-key")] == [file.file for s in snapshots for file in s.added]
    keyring.destroy("enrol", subject="person-a", day=None)
    assert [e["key_ids"] for e in entries(site, "keys-destroyed")] == [[f"person-a/{DAY}/2"]]


def test_a_look_cannot_be_taken_out_of_the_record_afterwards(site: LakeSite, keyring: Keyring) -> None:
    site.rows(keyring, site.look("actions"))
    keyring.close()
    folder = site.home / "ledger"
    lines = (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    looks = [n for n, line in enumerate(lines) if json.loads(line)["entry"]["what"] == "read"]
    assert looks
    for n in looks:
        for attempt in (
            lines[:n] + lines[n + 1 :],
            lines[:n],
            [*lines[:n], lines[n].replace(b'"ann"', b'"bob"'), *lines[n + 1 :]],
        ):
            (folder / "ledger.jsonl").write_bytes(b"".join(attempt))
            with pytest.raises(Forged):
                list(verify(folder, read_head(folder)))
