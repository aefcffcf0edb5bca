"""The sink as a process on the real broker, with a real keyring: killed, stopped, doubled, starved; the lake stays exact.

What the redactor would write is written here in transactions, some of them aborted. Afterwards every row of the lake is
compared with what was committed: a row too few is a loss, one too many a duplicate.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from lake_site import DAY, PLANTED, LakeSite, Stream, files_with

from byleave.control import trust
from byleave.control.documents import Beacon, Effective, Halt, Scope, State
from byleave.core import codec
from byleave.core.kafka import KafkaPublisher, KafkaTail, producer_options
from byleave.core.settings import Installation, load_installation

pytestmark = pytest.mark.broker

TOPICS = ("sanitized.events.l1.v1", "sanitized.events.l2.v1", "sanitized.actions.l1.v1", "sanitized.actions.l2.v1")
WRITERS = {"control.state.v1": "security", "control.halt.v1": "security", "control.beacon.v1": "beacon"}
DONE_S_MAX = 60.0


class Stage:
    """A site on the broker with its documents published and a keyring running. What is started here is stopped here."""

    def __init__(self, kafka: Any, site: str, home: Path) -> None:
        self.kafka, self.home = kafka, home
        self.site = LakeSite(home, site=site, now_ms=time.time_ns() // 1_000_000)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            keyring = f"127.0.0.1:{probe.getsockname()[1]}"
        self.environment = {
            "BYLEAVE_HOME": str(home), "BYLEAVE_BOOTSTRAP": kafka.bootstrap, "BYLEAVE_PKI": str(kafka.pki),
            "BYLEAVE_SITE": site, "BYLEAVE_KEYRING": keyring, "BYLEAVE_METRICS_PORT": "0",
        }  # fmt: skip
        self.at: Installation = load_installation(self.environment)
        self.processes: list[subprocess.Popen[str]] = []
        self.keys: dict[str, bytes] = {}
        opened = self.site.keyring()  # makes what the redactor would ask for, before the keyring's process takes the store
        for endpoint in self.site.endpoints:
            for level in (1, 2):
                name = f"{self.site.subject(endpoint)}/{DAY}/{level}"
                self.keys[name] = opened.data_key("redactor", name)
        opened.close()
        self.say(self.site.documents())
        self.keyring = self.start("byleave.sinks.keyring_main")
        self.streams = [Stream(topic, endpoint, os.urandom(16)) for topic in TOPICS for endpoint in self.site.endpoints]

    def say(self, documents: list[tuple[str, bytes, bytes]]) -> None:
        for who in {WRITERS.get(topic, "enrol") for topic, _, _ in documents}:
            publisher = KafkaPublisher(self.at.kafka(who))
            for topic, key, value in documents:
                if WRITERS.get(topic, "enrol") == who:
                    publisher.publish(self.at.topic(topic), key, value)
            assert publisher.flush(20)
            publisher.close()

    def start(self, module: str, *words: str, ready: bool = True) -> subprocess.Popen[str]:
        log = (self.home / "log.txt").open("a")
        process = subprocess.Popen([sys.executable, "-m", module, *words], stdout=subprocess.PIPE, stderr=log, text=True,
                                   env={**os.environ, **self.environment})  # fmt: skip
        log.close()
        self.processes.append(process)
        if ready:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline() or "{}").get("ready"), (self.home / "log.txt").read_text()[-2000:]
        return process

    def sink(self, commit_s: float = 0.1, *, ready: bool = True) -> subprocess.Popen[str]:
        return self.start("byleave.sinks.main", "--commit-s", str(commit_s), ready=ready)

    def redactor(self) -> Producer:
        producer = Producer(producer_options(self.at.kafka("redactor"), **{"transactional.id": self.at.topic("redactor-t")}))
        producer.init_transactions(20)
        return producer

    def write(self, producer: Producer, seed: int, *, abort: bool = False) -> None:
        """One transaction with a record of each stream."""
        producer.begin_transaction()
        for n, stream in enumerate(self.streams):
            level = stream.topic.split(".l")[1][0]
            key = self.keys[f"{self.site.subject(stream.endpoint)}/{DAY}/{level}"]
            row = stream.row
            value = self.site.value(stream, 3, key, seed=seed * 100 + n, expect=not abort)
            stream.row = row if abort else stream.row
            producer.produce(self.at.topic(stream.topic), value, stream.endpoint.encode(), partition=n % 2)
        assert producer.flush(20) == 0  # what is aborted shall stand on the broker, too
        (producer.abort_transaction if abort else producer.commit_transaction)(20)

    def written(self) -> dict[str, Counter[tuple[str, int, str]]]:
        return {table: Counter(rows) for table, rows in self.site.expected.items()}

    def in_lake(self) -> dict[str, int]:
        rows = {"events": 0, "actions": 0}
        for snapshot in self.site.lake.history():
            for file in snapshot.added:
                rows[file.table] += file.rows
        return rows

    def all_arrived(self) -> None:
        """Until the lake holds as many rows as were written, or more, or the time is up; then a moment for what is too many."""
        wanted, until = {table: len(rows) for table, rows in self.site.expected.items()}, time.monotonic() + DONE_S_MAX
        pause = threading.Event()
        while any(self.in_lake()[table] < count for table, count in wanted.items()) and time.monotonic() < until:
            pause.wait(0.1)
        pause.wait(0.5)

    def exact(self) -> None:
        """The keyring's process gives way, and the whole lake is read and compared."""
        self.stop(self.keyring)
        opened = self.site.keyring()
        try:
            assert {table: Counter(self.site.found(opened, table)) for table in ("events", "actions")} == self.written()
        finally:
            opened.close()

    def stop(self, process: subprocess.Popen[str]) -> int:
        process.send_signal(signal.SIGTERM)
        return process.wait(20)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()


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
                stage.keyring = stage.start("byleave.sinks.keyring_main")
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
    tail = KafkaTail(stage.at.kafka("security"), stage.at.topic("security"), [stage.at.topic("refused.v1")])
    refused = [codec.decode("refusal", record.value) for _ in range(20) if not tail.caught_up for record in tail.read(0.5)]
    tail.close()
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
    stage.keyring = stage.start("byleave.sinks.keyring_main")
    stage.all_arrived()
    assert stage.stop(sink) == 0
    stage.exact()


def test_a_wrong_setting_ends_with_one_sentence_and_code_two(stage: Stage) -> None:
    (stage.home / "trust" / "root.dsse").unlink()
    assert stage.sink(ready=False).wait(20) == 2
    assert stage.start("byleave.sinks.keyring_main", ready=False).wait(20) == 2
    said = (stage.home / "log.txt").read_text()
    assert "byleave sink: trust/root.dsse cannot be read" in said
    assert "Traceback" not in said
