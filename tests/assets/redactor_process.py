"""The redactor as it runs: processes of its own on a real broker, a real keyring beside it, endpoints that publish."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from redactor_site import Endpoint, Row, Site, opened, rows_of, work

from byleave.core import codec
from byleave.core.broker import Received
from byleave.core.kafka import KafkaPublisher, KafkaTail
from byleave.core.keyring import KeyringClient
from byleave.core.settings import Installation, load_installation

HOUR_MS = 3_600_000
READY_S_MAX = 30.0
DONE_S_MAX = 60.0
OUTPUTS = (
    "sanitized.events.l1.v1",
    "sanitized.events.l2.v1",
    "sanitized.actions.l1.v1",
    "sanitized.actions.l2.v1",
    "review.l3.v1",
)
WRITERS = {"control.state.v1": "security", "control.halt.v1": "security", "control.beacon.v1": "beacon"}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Stage:
    """A site on the broker, with documents published and a keyring running. Everything started here is stopped here."""

    def __init__(self, kafka: Any, site: str, home: Path) -> None:
        self.kafka, self.home = kafka, home
        self.site = Site(site, now_ms() - 10 * HOUR_MS)
        self.site.write(home)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            keyring = f"127.0.0.1:{probe.getsockname()[1]}"
        self.environment = {
            "BYLEAVE_HOME": str(home), "BYLEAVE_BOOTSTRAP": kafka.bootstrap, "BYLEAVE_PKI": str(kafka.pki),
            "BYLEAVE_SITE": site, "BYLEAVE_KEYRING": keyring, "BYLEAVE_METRICS_PORT": "0",
        }  # fmt: skip
        self.installation: Installation = load_installation(self.environment)
        self.processes: list[subprocess.Popen[str]] = []
        self.publishers: dict[str, KafkaPublisher] = {}
        self.log = home / "log.txt"
        for topic, key, value in self.site.documents():
            self.say(topic, key, value)
        self.start("keyring")

    def say(self, topic: str, key: str, value: bytes) -> None:
        """Publishes a control document, as the principal that may."""
        self.publish(WRITERS.get(topic, "enrol"), topic, key.encode(), value)

    def beacon(self, service_ms: int | None = None, halts: Sequence[tuple[str, int]] = ()) -> None:
        self.say("control.beacon.v1", self.site.name, self.site.beacon(service_ms or now_ms(), halts))

    def publish(self, principal: str, topic: str, key: bytes, value: bytes | None) -> None:
        publisher = self.publishers.setdefault(principal, KafkaPublisher(self.kafka.conf(principal)))
        publisher.publish(self.site.name + topic, key, value)
        assert publisher.flush(20.0)

    def start(self, role: str, *arguments: str, wait: bool = True) -> subprocess.Popen[str]:
        """A role in a process of its own; returns once it says that it is ready."""
        environment = {**{k: v for k, v in os.environ.items() if not k.startswith("BYLEAVE_")}, **self.environment}
        with self.log.open("a") as errors:
            command = [sys.executable, "-m", "byleave.deploy.cli", "run", role, *arguments]
            process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
        self.processes.append(process)
        if wait:
            timer = threading.Timer(READY_S_MAX, process.kill)
            timer.start()
            line = process.stdout.readline() if process.stdout else ""
            timer.cancel()
            assert line, f"{role} did not get ready: {self.log.read_text()[-2000:]}"
            assert json.loads(line)["ready"] is True
        return process

    def redactor(self, slot: str = "0", protocol: str = "consumer", *, wait: bool = True) -> subprocess.Popen[str]:
        return self.start("redactor", "--slot", slot, "--protocol", protocol, "--commit-ms", "100", wait=wait)

    def raw(self) -> list[Received]:
        return self.read("raw.events.v1")

    def read(self, *topics: str, principal: str = "admin") -> list[Received]:
        """Everything committed on some topics, as this principal may read it."""
        group, names = self.site.name + principal, [self.site.name + topic for topic in topics]
        tail = KafkaTail(self.kafka.conf(principal), group, names)
        found: list[Received] = []
        try:
            while not tail.caught_up:
                found += tail.read(0.2)
        finally:
            tail.close()
        return found

    def until(self, topic: str, enough: Any, patience_s: float = DONE_S_MAX) -> list[Received]:
        """Reads a topic until `enough(records)`; fails with what the processes said if that takes too long."""
        tail = KafkaTail(self.kafka.conf("admin"), "test", [self.site.name + topic])
        found: list[Received] = []
        until_s = time.monotonic() + patience_s
        try:
            while not enough(found):
                assert time.monotonic() < until_s, f"{len(found)} records on {topic}; {self.log.read_text()[-3000:]}"
                found += tail.read(0.2)
        finally:
            tail.close()
        return found

    def all_ended(self, sessions: int, patience_s: float = DONE_S_MAX) -> list[Received]:
        """Waits until so many sessions are closed; every account record in order."""

        def ended(records: list[Received]) -> bool:
            return sum(account["ended"] for account in accounts_of(records).values()) >= sessions

        return self.until("account.v1", ended, patience_s)

    def rows(self) -> list[Row]:
        """Every sanitized row that stands on the topics, opened with the keyring's keys."""
        client = KeyringClient(self.installation.keyring, self.installation.certificate("redactor"))
        try:
            return rows_of(opened(self.site, [record.value for record in self.read(*OUTPUTS)], client.data_key))
        finally:
            client.close()

    def refusals(self) -> list[dict[str, Any]]:
        return [codec.decode("refusal", record.value) for record in self.read("refused.v1")]

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        for publisher in self.publishers.values():
            publisher.close()
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            if process.poll() is None:
                process.kill()
                process.wait(5)
            if process.stdout:
                process.stdout.close()


def accounts_of(records: Sequence[Received]) -> dict[bytes, dict[str, Any]]:
    return {record.key or b"": codec.decode("account", record.value) for record in records}


class Fleet(threading.Thread):
    """Endpoints that publish real work, each under its own certificate, over `seconds`; the rest at once on `hurry`."""

    def __init__(self, stage: Stage, seed: int, batches: int, seconds: float) -> None:
        super().__init__(name="fleet", daemon=True)
        self.stage, self.seconds, self.hurry = stage, seconds, threading.Event()
        self.values: list[tuple[str, bytes]] = []
        rng, start_ms = random.Random(seed), now_ms() - 9 * HOUR_MS
        queues = []
        for n, name in enumerate(stage.site.endpoints):
            queues.append([(name, value) for value in self._sealed(name, seed + 100 * n, batches, start_ms)])
        while any(queues):
            self.values.append(rng.choice([q for q in queues if q]).pop(0))

    def _sealed(self, name: str, seed: int, batches: int, start_ms: int) -> Iterator[bytes]:
        endpoint = Endpoint(self.stage.site, name, random.Random(seed).randbytes(16))
        for events, boundary in work(seed, start_ms, batches):
            yield endpoint.seal(events, boundary)

    def run(self) -> None:
        publishers = {name: KafkaPublisher(self.stage.kafka.conf(name)) for name in self.stage.site.endpoints}
        began_s, beacon_s = time.monotonic(), 0.0
        for n, (name, value) in enumerate(self.values):
            due_s = began_s + self.seconds * n / len(self.values)
            self.hurry.wait(max(0.0, due_s - time.monotonic()))
            publishers[name].publish(self.stage.site.name + "raw.events.v1", name.encode(), value)
            if time.monotonic() - beacon_s > 1.0:
                self.stage.beacon()
                beacon_s = time.monotonic()
        for publisher in publishers.values():
            assert publisher.flush(20.0)
            publisher.close()
        self.stage.beacon()
