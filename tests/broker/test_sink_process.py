"""The sink as a process on the real broker, with a real keyring: killed, stopped, doubled, starved; the lake stays exact.

What the redactor would write is written here in transactions, some of them aborted. Afterwards every row of the lake is
compared with what was committed: a row too few is a loss, one too many a duplicate.
"""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from lake_site import PLANTED, files_with
from sink_process import TOPICS, Stage

from byleave.control import trust
from byleave.control.documents import Beacon, Effective, Halt, Scope, State

pytestmark = pytest.mark.broker


@pytest.fixture
def stage(kafka: Any, site: str, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(kafka, site, tmp_path)
    try:
        yield stage
    finally:
        stage.close()


def test_what_is_decided_when_sigterm_comes_is_committed_and_only_what_was_committed_arrives(stage: Stage) -> None:
    producer = stage.redactor()
    for seed in range(4):
        stage.write(producer, seed, abort=seed % 2 == 1)
    stage.sink(commit_s=0.1)
    stage.all_arrived()
    stage.write(producer, 9)
    slow = stage.sink(commit_s=3600)
    for process in stage.processes[1:]:
        assert stage.stop(process) == 0
    assert slow.returncode == 0
    stage.sink()
    stage.all_arrived()
    stage.exact()


def killed_while_records_arrive(stage: Stage, *, kills: int, seed: int) -> dict[str, float]:
    """Kills the sink `kills` times, and the keyring with each third; returns figures to print."""
    rng, producer, ended = random.Random(seed), stage.redactor(), threading.Event()

    def publish() -> None:
        for number in range(100_000):
            if ended.wait(0.02):
                return
            stage.write(producer, number, abort=number % 7 == 6)

    publisher = threading.Thread(target=publish)
    publisher.start()
    versions = []
    try:
        for kill in range(kills):
            met = kill % 4 != 3  # most kills meet a sink at work, some its start
            sink = stage.sink(ready=met)
            threading.Event().wait(rng.uniform(0.02, 0.7) if met else rng.uniform(0.3, 1.5))
            if kill % 3 == 2:
                stage.keyring.kill()
                stage.keyring.wait(10)
                stage.keyring = stage.start("keyring")
            sink.kill()
            sink.wait(10)
            versions.append(stage.site.lake.head().version)
    finally:
        ended.set()
        publisher.join(30)
    began = time.monotonic()
    last = stage.sink()
    stage.all_arrived()
    caught_up_s = time.monotonic() - began
    assert stage.stop(last) == 0
    stage.exact()
    return {"kills": kills, "commits": stage.site.lake.head().version, "rows": sum(stage.in_lake().values()),
            "kills_after_a_commit": len(set(versions)), "caught_up_s": round(caught_up_s, 1)}  # fmt: skip


@pytest.mark.timeout(180)
def test_killed_ten_times_nothing_is_lost_and_nothing_twice(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    figures = killed_while_records_arrive(stage, kills=10, seed=20261124)
    assert figures["commits"] > 5, "the kills must have met commits"
    assert files_with(stage.home, PLANTED.encode()) == [], "nor is anything in the clear in what the kills left"
    with capsys.disabled():
        sys.stdout.write(f"\nsink killed: {figures}\n")


@pytest.mark.prove
@pytest.mark.timeout(1_800)
def test_killed_two_hundred_times(stage: Stage) -> None:
    killed_while_records_arrive(stage, kills=200, seed=7)


@pytest.mark.timeout(180)
def test_two_sinks_at_once_and_one_that_was_frozen_write_nothing_twice(stage: Stage) -> None:
    producer = stage.redactor()
    stage.write(producer, 0)
    one, two = stage.sink(), stage.sink()
    for seed in range(1, 30):
        stage.write(producer, seed)
        if seed == 10:
            one.send_signal(signal.SIGSTOP)
        if seed == 25:
            one.send_signal(signal.SIGCONT)
    stage.all_arrived()
    assert stage.stop(one) == stage.stop(two) == 0
    stage.exact()


def test_a_halt_that_reached_only_the_sink_is_obeyed_there_and_counted(stage: Stage) -> None:
    site, producer = stage.site, stage.redactor()
    halt = Halt(site.site, Scope("endpoint", "ep-a"), "capture", "test", "drop", site.now_ms, 60_000, "n")
    value = trust.sign(halt, [site.signer])
    halt_id = trust.verify(site.root, "halt", Halt, value, site=site.site)[1]
    state = trust.verify(site.root, "resume", State, site.documents()[1][2], site=site.site)[1]
    newer = Beacon(site.site, 1, state, site.now_ms + 2_000, 2, 10_000, (Effective(halt_id, site.now_ms - 500),))
    stage.say([("control.halt.v1", halt_id.encode(), value), ("control.beacon.v1", b"b", trust.sign(newer, [site.signer]))])
    stage.write(producer, 0)
    expected = {table: [row for row in rows if row[0] not in {s.session.hex() for s in stage.streams if s.endpoint == "ep-a"}]
                for table, rows in site.expected.items()}  # fmt: skip
    site.expected = expected
    stage.sink()
    stage.all_arrived()
    refused = stage.refusals()
    assert {(r["stage"], r["reason"], r["endpoint"]) for r in refused} == {("SINK", "halted", "ep-a")}
    assert len(refused) == len(TOPICS)
    stage.exact()


def test_records_that_retention_took_before_the_lake_had_them_stop_the_sink_loudly(stage: Stage) -> None:
    producer = stage.redactor()
    stage.write(producer, 0)
    sink = stage.sink()
    stage.all_arrived()
    assert stage.stop(sink) == 0
    for seed in range(1, 4):
        stage.write(producer, seed)
    admin = AdminClient(stage.kafka.conf("admin"))
    for future in admin.delete_records([TopicPartition(stage.at.topic(TOPICS[0]), 0, -1)]).values():
        future.result(20)
    late = stage.sink(ready=False)
    assert late.wait(30) == 1
    assert "byleave sink: " in (stage.home / "log.txt").read_text()


def test_without_a_keyring_the_lake_stops_and_nothing_is_written_plain(stage: Stage) -> None:
    producer = stage.redactor()
    sink = stage.sink()
    stage.keyring.kill()
    stage.keyring.wait(10)
    stage.write(producer, 0)
    threading.Event().wait(1.5)
    assert sink.poll() is None
    assert stage.in_lake() == {"events": 0, "actions": 0}
    stage.keyring = stage.start("keyring")
    stage.all_arrived()
    assert stage.stop(sink) == 0
    stage.exact()


def test_a_wrong_setting_ends_with_one_sentence_and_code_two(stage: Stage) -> None:
    (stage.home / "trust" / "root.dsse").unlink()
    assert stage.sink(ready=False).wait(20) == 2
    assert stage.start("keyring", ready=False).wait(20) == 2
    said = (stage.home / "log.txt").read_text()
    assert f"byleave sink: {stage.home}/trust/root.dsse cannot be read" in said
    assert f"byleave keyring: {stage.home}/trust/root.dsse cannot be read" in said
    assert "Traceback" not in said
