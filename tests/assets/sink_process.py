"""A site of the sink on a real broker: documents published, a real keyring beside it, records written in transactions."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from lake_site import DAY, LakeSite, Stream

from byleave.core import codec
from byleave.core.kafka import KafkaPublisher, KafkaTail, producer_options
from byleave.core.settings import Installation, load_installation

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
        self.keyring = self.start("keyring")
        self.streams = [Stream(topic, endpoint, os.urandom(16)) for topic in TOPICS for endpoint in self.site.endpoints]

    def say(self, documents: list[tuple[str, bytes, bytes]]) -> None:
        for who in {WRITERS.get(topic, "enrol") for topic, _, _ in documents}:
            publisher = KafkaPublisher(self.at.kafka(who))
            for topic, key, value in documents:
                if WRITERS.get(topic, "enrol") == who:
                    publisher.publish(self.at.topic(topic), key, value)
            assert publisher.flush(20)
            publisher.close()

    def start(self, role: str, *words: str, ready: bool = True) -> subprocess.Popen[str]:
        log = (self.home / "log.txt").open("a")
        command = [sys.executable, "-m", "byleave.deploy.cli", "run", role, *words]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **self.environment}
        )
        log.close()
        self.processes.append(process)
        if ready:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline() or "{}").get("ready"), (self.home / "log.txt").read_text()[-2000:]
        return process

    def sink(self, commit_s: float = 0.1, *, ready: bool = True) -> subprocess.Popen[str]:
        return self.start("sink", "--commit-s", str(commit_s), ready=ready)

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

    def refusals(self) -> list[dict[str, Any]]:
        """What stands on `refused.v1`."""
        tail = KafkaTail(self.at.kafka("security"), self.at.topic("security"), [self.at.topic("refused.v1")])
        found = [codec.decode("refusal", record.value) for _ in range(20) if not tail.caught_up for record in tail.read(0.5)]
        tail.close()
        return found
