"""A signed order against readers, and an order to erase, on the real broker: real keyring, real sink, real certificates."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from lake_site import PURPOSE
from sink_process import Stage

from byleave.control.documents import Scope
from byleave.control.watch import FRESH_MS
from byleave.core.errors import ByleaveError
from byleave.core.keyring import LEASE_S_MAX, KeyringClient
from byleave.sinks.access import Look, read
from byleave.sinks.lake import live
from byleave.sinks.ledger import verify

pytestmark = pytest.mark.broker

LOOK = Look("ann", PURPOSE, "actions", 2)
LEASE_S = 2.0
"""What this reader makes of its lease: it may ask sooner than it must, so its clock runs ahead."""


class Beacons:
    """Says each 0.2 s that the site's state stands, and which orders count from when, until it is told to be silent."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._silent = stage, threading.Event()
        self.halts: dict[str, int] = {}
        self._knowledge = stage.site.knowledge()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def now_ms(self) -> int:
        """Their time. The site's documents hold a beacon one second ahead of it."""
        return time.time_ns() // 1_000_000 + 2_000

    def silence(self) -> None:
        self._silent.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._silent.wait(0.2):
            value = self._stage.site.beacon(self._knowledge, self.now_ms(), **self.halts)
            self._stage.say([("control.beacon.v1", b"b", value)])


@pytest.fixture
def stage(kafka: Any, site: str, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(kafka, site, tmp_path)
    try:
        yield stage
    finally:
        stage.close()


@pytest.fixture
def beacons(stage: Stage) -> Iterator[Beacons]:
    beacons = Beacons(stage)
    yield beacons
    beacons.silence()


def fill(stage: Stage, commits: int = 12) -> None:
    producer = stage.redactor()
    sink = stage.sink(commit_s=0.05)
    for seed in range(commits):
        stage.write(producer, seed)
        threading.Event().wait(0.1)
    stage.all_arrived()
    assert stage.stop(sink) == 0


def refusal(stage: Stage, look: Look = LOOK) -> str:
    """Why a fresh look is refused; empty if it is not."""
    with closing(KeyringClient(stage.at.keyring, stage.at.certificate("ml"))) as keyring:
        try:
            next(read(stage.site.lake, keyring, look, time.monotonic))
        except ByleaveError as error:
            return error.reason
    return ""


def seconds_until(condition: Callable[[], bool], most_s: float) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < most_s
        threading.Event().wait(0.02)
    return time.monotonic() - began


def looks(stage: Stage, what: str) -> list[dict[str, Any]]:
    return [line.entry for line in verify(stage.home / "ledger") if line.entry["what"] == what]


@pytest.mark.timeout(180)
def test_a_signed_order_ends_every_look_within_its_lease_and_so_does_silence(
    stage: Stage, beacons: Beacons, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(stage)
    seconds_until(lambda: refusal(stage) == "", 20)
    ended: list[tuple[str, float]] = []

    def iterate() -> None:
        clock = lambda: time.monotonic() * LEASE_S_MAX / LEASE_S  # noqa: E731
        with closing(KeyringClient(stage.at.keyring, stage.at.certificate("ml"))) as keyring:
            try:
                while True:  # one look after the other, each over many files
                    for _ in read(stage.site.lake, keyring, LOOK, clock):
                        threading.Event().wait(0.3)
            except ByleaveError as error:
                ended.append((error.reason, time.monotonic()))

    reader = threading.Thread(target=iterate)
    reader.start()
    seconds_until(lambda: len(looks(stage, "read")) > 3, 30)
    halt_id, order = stage.site.order(Scope("endpoint", "ep-a"), "reads")
    given = time.monotonic()
    stage.say([("control.halt.v1", halt_id.encode(), order)])
    refused_s = seconds_until(lambda: refusal(stage) == "reads-halted", 10)
    reader.join(30)
    [(reason, at)] = ended
    assert reason == "reads-halted"
    assert at - given < LEASE_S + 1.0
    assert refused_s < 1.0
    with closing(KeyringClient(stage.at.keyring, stage.at.certificate("redactor"))) as redactor:
        assert redactor.data_key("person-a/2026-11-25/2"), "the redactor gets its keys all the same"
    assert {entry["reason"] for entry in looks(stage, "read-refused")} <= {"reads-halted", "control-unknown"}
    before = len(looks(stage, "read"))
    beacons.silence()
    silent_s = seconds_until(lambda: refusal(stage) == "control-unknown", FRESH_MS / 1000 + 5)
    assert len(looks(stage, "read")) == before, "nothing was given after the order"
    with capsys.disabled():
        sys.stdout.write(
            f"\nhalt of reads: refused after {refused_s * 1000:.0f} ms, a running reader with a lease of {LEASE_S:.0f} s ended "
            f"after {at - given:.2f} s; without beacons unknown after {silent_s:.1f} s\n"
        )


@pytest.mark.timeout(180)
def test_what_an_order_erases_is_gone_however_often_the_sink_is_killed_meanwhile(stage: Stage, beacons: Beacons) -> None:
    fill(stage, commits=6)
    site, rng, producer = stage.site, random.Random(20261124), stage.redactor()
    halt_id, order = site.order(Scope("subject", "person-a"), "capture", site.now_ms - 60_000)
    beacons.halts[halt_id] = beacons.now_ms()
    stage.say([("control.halt.v1", halt_id.encode(), order)])
    for _ in range(6):
        sink = stage.sink(ready=False)
        threading.Event().wait(rng.uniform(0.6, 1.4))
        sink.kill()
        sink.wait(10)
    sink = stage.sink(commit_s=0.1)
    seconds_until(lambda: halt_id in site.lake.head().discards, 60)
    gone = {stream.session.hex() for stream in stage.streams if stream.endpoint == "ep-a"}
    stage.write(producer, 99)  # of the same time, and late
    site.expected = {table: [row for row in rows if row[0] not in gone] for table, rows in site.expected.items()}
    wanted = {table: len(rows) for table, rows in site.expected.items()}

    def counted() -> dict[str, int]:
        rows = {"events": 0, "actions": 0}
        for file in live(site.lake.history()):
            rows[file.table] += file.rows
        return rows

    seconds_until(lambda: counted() == wanted, 60)
    seconds_until(lambda: sum(r["reason"] == "discarded" for r in stage.refusals()) >= 4, 30)
    assert stage.stop(sink) == 0
    assert {path.stem for path in site.lake.folder.glob("*/l*/data/*.parquet")} >= {f.file for f in live(site.lake.history())}
    removed = {name for snapshot in site.lake.history() for name in snapshot.removed}
    assert removed
    assert not any(path.stem in removed for path in site.lake.folder.glob("*/l*/data/*.parquet"))
    entry = [e for e in looks(stage, "discard") if e["version"] == _carried_out(stage, halt_id)][-1]
    assert (entry["halt_id"], entry["principal"], sorted(entry["files"])) == (halt_id, "sink", sorted(removed))
    stage.exact()


def _carried_out(stage: Stage, halt_id: str) -> int:
    return next(snapshot.version for snapshot in stage.site.lake.history() if halt_id in snapshot.discards)
