"""P4. Never in the clear: what was typed is not in any byte at rest after the redactor, in no message, no log and no repr.

A marked secret goes through sink, lake, keyring and ledger; then every file is searched, unpacked where it is packed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from lake_site import DAY, PLANTED, LakeSite, Stream, files_with

from byleave.core.batches import verify_sanitized
from byleave.core.errors import ByleaveError, Misconfigured
from byleave.core.log import only_declared
from byleave.sinks.keyring import Keyring
from byleave.sinks.keyring_main import open_keyring

TOPICS = ("sanitized.actions.l1.v1", "sanitized.actions.l2.v1", "sanitized.events.l1.v1", "sanitized.events.l2.v1")


@pytest.fixture
def site(tmp_path: Path) -> LakeSite:
    return LakeSite(tmp_path)


@pytest.fixture
def keyring(site: LakeSite) -> Iterator[Keyring]:
    keyring = site.keyring()
    yield keyring
    keyring.close()


def fill(site: LakeSite, keyring: Keyring) -> dict[str, bytes]:
    """Rows of each table and level in the lake; returns the data keys by name."""
    sink, _ = site.sink(keyring)
    keys = {f"person-a/{DAY}/{level}": keyring.data_key("redactor", f"person-a/{DAY}/{level}") for level in (1, 2)}
    for topic in TOPICS:
        of = Stream(topic, "ep-a", os.urandom(16))
        key = keys[f"person-a/{DAY}/{topic.split('.l')[1][0]}"]
        sink.offer(site.received(of, site.value(of, 40, key, seed=1), 0))
    sink.decide()
    sink.commit(site.now_ms)
    return keys


def test_no_file_of_lake_keyring_or_ledger_holds_a_planted_secret_a_key_or_a_person_in_a_path(
    site: LakeSite, keyring: Keyring
) -> None:
    keys = fill(site, keyring)
    assert PLANTED in str(site.rows(keyring, site.look("actions"))), "it is there, for who may see it"
    assert files_with(site.home, PLANTED.encode()) == []
    for key in keys.values():
        assert files_with(site.home, key) == files_with(site.home, key.hex().encode()) == []
    assert files_with(site.home / "lake", b"person-a") == files_with(site.home / "lake", b"ep-a") == []
    assert [path for path in site.home.rglob("*") if "person-a" in str(path.relative_to(site.home))] == []


def test_every_data_file_says_encrypted_and_no_ordinary_reader_opens_it(site: LakeSite, keyring: Keyring) -> None:
    """Compression hides plain text from a search; the format's own marks and a reader without key do not err."""
    fill(site, keyring)
    files = list((site.home / "lake").rglob("*.parquet"))
    assert len(files) == len(TOPICS)
    for path in files:
        assert path.read_bytes()[:4] == path.read_bytes()[-4:] == b"PARE"
        with pytest.raises(OSError, match=r"(?i)encrypt|decrypt"):
            pq.read_table(path)


def test_text_is_sealed_a_second_time_inside_the_file(site: LakeSite, keyring: Keyring) -> None:
    fill(site, keyring)
    file = next(f for s in site.lake.history() for f in s.added if (f.table, f.level) == ("actions", 2))
    ticket = keyring._open_ticket(file.ticket)
    inside = [row for batch in site.lake.read(file, ticket.key) for row in batch.to_pylist()]
    assert len(inside) == 40
    assert PLANTED not in str(inside)
    assert all(PLANTED.encode() not in row["text"] for row in inside)


def test_another_master_key_opens_nothing(site: LakeSite, keyring: Keyring, tmp_path_factory: pytest.TempPathFactory) -> None:
    fill(site, keyring)
    tickets = [file.ticket for s in site.lake.history() for file in s.added]
    elsewhere = LakeSite(tmp_path_factory.mktemp("other"))
    stranger = elsewhere.keyring()
    for ticket in tickets:
        with pytest.raises(ByleaveError) as refused:
            stranger._open_ticket(ticket)
        assert refused.value.reason == "bad-wrap"
    stranger.close()
    keyring.close()
    (site.home / "keyring" / "dev.secret").write_text("0" * 64)
    with pytest.raises(Misconfigured, match="does not open"):
        open_keyring(site.home, lambda: site.standing)


def test_no_message_and_no_repr_holds_what_was_captured(site: LakeSite, keyring: Keyring) -> None:
    of = Stream("sanitized.actions.l2.v1", "ep-a", os.urandom(16))
    key = keyring.data_key("redactor", f"person-a/{DAY}/2")
    record = site.received(of, site.value(of, 3, key, seed=5), 0)
    batch = verify_sanitized(record.value, site.redactor.public_key())
    shown = repr(record) + repr(batch)
    assert record.value is not None
    assert str(record.value[20:40])[2:-1] not in shown
    messages = []
    for damage in range(0, len(record.value), 7):
        changed = bytearray(record.value)
        changed[damage] ^= 1
        sink, reasons = site.sink(keyring)
        sink.offer(site.received(of, bytes(changed), 0))
        sink.decide()
        messages += reasons
    assert len(messages) == len(range(0, len(record.value), 7)), "every damaged record is refused"
    assert all(PLANTED not in reason for reason in messages)


def test_a_log_line_cannot_carry_text() -> None:
    assert PLANTED not in str(only_declared(None, "", {"event": "refused", "reason": f"{PLANTED} {PLANTED}", "text": PLANTED}))
