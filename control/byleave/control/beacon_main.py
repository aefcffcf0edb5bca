"""Edge: the beacon service in its process: reads the control topics, keeps its memory on disk, signs once a second.

Order of things, and why: memory is on disk before what it says is signed, so that no restart takes a promise back; an order
is told before the broker brake is set, since endpoints wait for it; a brake is released before the new state is vouched for,
so that nobody is told to capture what the broker then refuses.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from byleave.control import beacon, brake, desk, trust
from byleave.control.documents import Halt, Request, State, digest
from byleave.control.watch import ControlWatch
from byleave.core import log, metrics
from byleave.core.broker import Delivered, Received
from byleave.core.clock import anchored, boot_ms, wall_ms
from byleave.core.dsse import load_envelope
from byleave.core.errors import Broken, ByleaveError, Misconfigured, Refused, Transient
from byleave.core.kafka import KafkaPublisher
from byleave.core.keys import read_signing_key, replace_file
from byleave.core.settings import Installation, load_installation

ROLE = "beacon"
TURN_MS = 20
BRAKE_RETRY_MS = 5_000
READS_FAILED_MAX = 60
"""Reads that may fail one after the other, each after a second: then the process ends, and every lease with it."""
QUIET_MS_MAX = 10_000


class Service:
    """The service's state and clients. `turn` does one round; nothing else changes it."""

    def __init__(self, installation: Installation, watch: ControlWatch, connect: Any) -> None:
        self._at = installation
        self._watch = watch
        self._connect = connect
        self._publisher = connect()
        self._key = read_signing_key(installation.home / ROLE / "beacon.key")
        self._path: Path = installation.home / ROLE / "memory.json"
        self._memory = beacon.load(self._path.read_bytes()) if self._path.exists() else beacon.Memory()
        self._due_ms = 0
        self._braked: frozenset[str] | None = None
        self._brake_retry_ms = 0
        self._answered: dict[str, None] = {}
        self._log = log.configure(ROLE)
        self._service_ms = anchored(wall_ms, boot_ms)  # T: a wall clock set in mid-service must not stretch a lease
        self.turned_boot_ms = boot_ms()
        self.taken_boot_ms = -QUIET_MS_MAX

    def turn(self) -> None:
        """Reads for at most TURN_MS, takes in orders, answers requests, signs when it is time. Raises Transient, Broken."""
        for record, document in self._watch.read(TURN_MS / 1000):
            self._take(record, document)
        self.turned_boot_ms = boot_ms()
        if self._watch.caught_up and boot_ms() >= self._due_ms:
            wanted = beacon.denied(self._watch.knowledge)
            if self._braked is None or self._braked - wanted:
                self._sync_brake(wanted)
            self._vouch()
            self._sync_brake(wanted)

    def close(self) -> None:
        self._publisher.close()
        self._watch.close()

    def _take(self, record: Received, document: Any) -> None:
        try:
            if isinstance(document, Halt):
                halt_id = digest(load_envelope(record.value).body)
                self._remember(self._accepted(halt_id, document, record.append_ms))
                self._due_ms = 0
            elif isinstance(document, State):
                self._due_ms = 0
            elif isinstance(document, Request):
                self._answer(record, document)
        except Refused as refusal:
            self._log.warning("refused", reason=refusal.reason, topic=record.topic, offset=record.offset)
            if isinstance(document, Request):
                metrics.GRANTS.labels(refusal.reason).inc()

    def _accepted(self, halt_id: str, halt: Halt, append_ms: int) -> beacon.Memory:
        drill = self._watch.knowledge.is_drill(halt_id)
        return beacon.accept(self._memory, halt_id, halt, append_ms, self._service_ms(), drill=drill)

    def _answer(self, record: Received, request: Request) -> None:
        now_ms = self._service_ms()
        if now_ms - record.append_ms > beacon.REQUEST_AGE_MS_MAX or request.nonce in self._answered:
            return
        self._answered[request.nonce] = None
        while len(self._answered) > 10_000:
            del self._answered[next(iter(self._answered))]
        named = digest(load_envelope(record.value).body)
        grant = beacon.answer(self._memory, self._watch.knowledge, request, named, now_ms, secrets.token_bytes(16))
        self._publish("control.grant.v1", request.nonce.encode(), trust.sign(grant, [self._key]))
        metrics.GRANTS.labels("granted").inc()

    def _vouch(self) -> None:
        self._due_ms = boot_ms() + beacon.BEACON_EVERY_MS
        try:
            memory, said = beacon.vouch(self._memory, self._watch.knowledge, self._service_ms())
        except Refused as refusal:
            self._log.warning("no-beacon", reason=refusal.reason)
            return
        self._remember(memory)
        self._publish("control.beacon.v1", self._at.site.encode(), trust.sign(said, [self._key]), self._taken)

    def _taken(self, taken: bool) -> None:
        """A beacon counts once the broker has it: one that nobody can hear keeps no endpoint capturing."""
        if taken:
            self.taken_boot_ms = boot_ms()
            metrics.BEACONS.inc()
            metrics.PROGRESS.set_to_current_time()

    def _remember(self, memory: beacon.Memory) -> None:
        if memory != self._memory:
            replace_file(self._path, beacon.dump(memory))
            self._memory = memory

    def _publish(self, topic: str, key: bytes, value: bytes, delivered: Delivered | None = None) -> None:
        try:
            self._publisher.publish(self._at.topic(topic), key, value, delivered)
        except Transient as error:
            self._log.warning("not-published", reason=error.reason, topic=topic)
        except Broken as error:  # the client is spent; the next beacon is a second away
            self._log.warning("publisher-renewed", reason=error.reason, topic=topic)
            self._publisher.close()
            self._publisher = self._connect()

    def _sync_brake(self, wanted: frozenset[str]) -> None:
        """The broker denies whom the orders in force name, and nobody else."""
        if wanted == self._braked or boot_ms() < self._brake_retry_ms:
            return
        try:
            connection = self._at.kafka("brake")
            denied = brake.engaged(connection, self._at.site)
            for change, names in ((brake.engage, wanted - denied), (brake.release, denied - wanted)):
                if "*" in names:
                    change(connection, self._at.site, None)
                if names - {"*"}:
                    change(connection, self._at.site, names - {"*"})
            self._braked = wanted
        except ByleaveError as error:
            self._brake_retry_ms = boot_ms() + BRAKE_RETRY_MS
            self._log.warning("brake-not-set", reason=error.reason)


def main(argv: list[str]) -> int:
    """Runs until SIGTERM or SIGINT. Returns 0; 2 if misconfigured, 1 after any other error, with one sentence on stderr."""
    argparse.ArgumentParser(prog="byleave run beacon", description="Vouches once a second for the state in force.").parse_args(
        argv
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        _run(load_installation(), stop)
    except (ByleaveError, OSError) as error:
        if isinstance(error, Transient) and stop.is_set():
            return 0  # told to end before the broker had answered
        said = str(error) if isinstance(error, ByleaveError) else f"its memory file cannot be written ({type(error).__name__})"
        print(f"beacon: {said}", file=sys.stderr)  # noqa: T201 - the process contract
        return 2 if isinstance(error, Misconfigured) else 1
    return 0


def _run(installation: Installation, stop: threading.Event) -> None:
    connection = installation.kafka(ROLE)
    watch = desk.open_watch(installation, ROLE, tries=desk.TRIES_MAX, pause=stop.wait)
    # a beacon that could not be delivered for three seconds is worth less than the next one
    service = Service(installation, watch, lambda: KafkaPublisher(connection, **{"message.timeout.ms": 3_000, "linger.ms": 0}))
    server = metrics.serve(
        installation.metrics_port,
        ready=lambda: watch.caught_up and boot_ms() - service.taken_boot_ms < QUIET_MS_MAX,
        alive=lambda: boot_ms() - service.turned_boot_ms < QUIET_MS_MAX,
    )
    line = {"ready": True, "role": ROLE, "pid": os.getpid(), "metrics_port": server.server_address[1]}
    failed, said = 0, False
    try:
        while not stop.is_set():
            try:
                service.turn()
                failed = 0
            except Transient:
                failed += 1
                if failed > READS_FAILED_MAX:
                    raise
                stop.wait(1.0)
            if watch.caught_up and not said:
                print(json.dumps(line), flush=True)  # noqa: T201 - the process contract
                said = True
    finally:
        service.close()
        server.shutdown()
