"""The sink's process: reads what the redactor wrote, commits it to the lake, exactly once (P8).

All outcomes of a failure are two: try again within a bound, or stop with one sentence. What is decided when SIGTERM comes is
committed before the process ends.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial

import structlog

from byleave.control import trust
from byleave.control.bootstrap import pin_root
from byleave.control.documents import Manifest, Root, digest
from byleave.control.knowledge import Knowledge
from byleave.control.watch import ControlWatch
from byleave.core import codec, dsse, metrics
from byleave.core.batches import SanitizedHeader
from byleave.core.broker import Received
from byleave.core.clock import wall_ms
from byleave.core.errors import ByleaveError, Misconfigured, Transient
from byleave.core.kafka import KafkaPublisher, KafkaTail
from byleave.core.keyring import KeyringClient
from byleave.core.keys import verify_key
from byleave.core.log import configure
from byleave.core.settings import Installation, load_installation
from byleave.sinks.lake import LocalLake
from byleave.sinks.sink import SOURCES, Fence, Sink, fence
from byleave.sinks.stream import SanitizedStream

CONTROL = ("root", "state", "halt", "manifest", "enrolment", "consent", "beacon")
COMMIT_S_DEFAULT = 30.0
ATTEMPTS_MAX = 60
"""Failures in a row after which the process gives up: about a minute."""
FLUSH_S_MAX = 10.0
TURN_S_MAX = 60.0
"""A loop that did not come round for so long is not alive: each call in it is bounded below."""


class Worker:
    """The sink with its clients. `step` is one turn of its loop."""

    def __init__(self, installation: Installation, root: Root, commit_s: float, log: structlog.stdlib.BoundLogger) -> None:
        self._at, self._root, self._commit_s, self._log = installation, root, commit_s, log
        self._connection = installation.kafka("sink")
        self._group = installation.topic("sink")
        self._keyring = KeyringClient(installation.keyring, installation.certificate("sink"))
        self._lake = LocalLake(installation.home / "lake")
        self._refusals = KafkaPublisher(self._connection)
        topics = [installation.topic(f"control.{name}.v1") for name in CONTROL]
        tail = KafkaTail(self._connection, self._group, topics)
        pin = partial(pin_root, installation.home)
        self._watch = ControlWatch(tail, Knowledge(root, installation.site), installation.site, pin=pin)
        self._fence: Fence = fence(self._watch.knowledge)
        self._sink, self._stream = self._begin()
        self._committed_s = self.turned_s = time.monotonic()

    @property
    def healthy(self) -> bool:
        """Ready, and the control service is heard."""
        return self.ready and self._watch.fresh

    @property
    def ready(self) -> bool:
        """Before all control topics are read, an unknown endpoint means nothing, and nothing is decided."""
        return self._watch.caught_up

    def step(self) -> None:
        """Learns, reads, decides, and commits if it is time. Raises the families of `core.errors`."""
        self.turned_s = time.monotonic()
        self._learn()
        self._stream.hold(self._sink.full)
        for record in self._stream.read(0.1):
            self._sink.offer(record)
        if self.ready:
            self._sink.decide()
        if self._sink.due or (self._sink.pending and time.monotonic() - self._committed_s >= self._commit_s):
            self.commit()
        metrics.PROGRESS.set(time.time())

    def commit(self) -> None:
        """Commits what was decided. Refusals are on the broker before their offsets count."""
        if not self._sink.pending:
            return
        if not self._refusals.flush(FLUSH_S_MAX):
            raise Transient("refusals are not acknowledged", reason="broker")
        snapshot = self._sink.commit(wall_ms())
        self._committed_s = time.monotonic()
        self._log.info("committed", count=sum(file.rows for file in snapshot.added))

    def begin_anew(self) -> None:
        """After a conflict: forgets what was decided, and begins at the offsets of the newest snapshot."""
        self._stream.close()
        self._sink, self._stream = self._begin()

    def close(self) -> None:
        self._stream.close()
        self._refusals.close()
        self._watch.close()
        self._keyring.close()

    def _begin(self) -> tuple[Sink, SanitizedStream]:
        keys = [verify_key(key) for key in trust.role_of(self._root, "redactor").keys]
        site, topics = self._at.site, [self._at.topic(name) for name in SOURCES]
        sink = Sink(self._lake, self._keyring, keys, self._fence, self._refuse, site=site, random_bytes=os.urandom)
        orphans = self._lake.remove_orphans(time.time())
        self._log.info("begin", count=orphans)
        return sink, SanitizedStream(self._connection, self._group, topics, sink.head.offsets)

    def _learn(self) -> None:
        for record, document in self._watch.read(0.0):
            if isinstance(document, Manifest) and record.value is not None:
                self._lake.keep_manifest(digest(dsse.load_envelope(record.value).body), record.value)

    def _refuse(self, record: Received, reason: str, header: SanitizedHeader | None) -> None:
        """To `refused.v1`: place and reason, and of the header only what its signature vouches for."""
        endpoint = header.endpoint if header else ""
        value = codec.encode("refusal", {
            "reason": reason, "stage": "SINK", "topic": record.topic, "partition": record.partition, "offset": record.offset,
            "append_ms": record.append_ms, "endpoint": endpoint, "seq0": header.seq0 if header else -1,
            "count": header.count if header else 0,
        })  # fmt: skip
        self._refusals.publish(self._at.topic("refused.v1"), endpoint.encode(), value)
        self._log.warning("refused", reason=reason, topic=record.topic, partition=record.partition, offset=record.offset)


def main(argv: Sequence[str]) -> int:
    """Runs the sink until SIGTERM or SIGINT. Exit code 0, 2 when misconfigured, 1 on other errors."""
    parser = argparse.ArgumentParser(prog="byleave run sink", description="Writes sanitized records to the encrypted lake.")
    parser.add_argument("--commit-s", type=float, default=COMMIT_S_DEFAULT, help="seconds between commits, default 30")
    options = parser.parse_args([*argv])
    try:
        return _run(options.commit_s)
    except ByleaveError as error:
        sys.stderr.write(f"byleave sink: {error}\n")
        return 2 if isinstance(error, Misconfigured) else 1


def _run(commit_s: float) -> int:
    installation, log, ended = load_installation(), configure("sink"), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        root = trust.load_root((installation.home / "trust" / "root.dsse").read_bytes(), installation.site)
    except OSError:
        raise Misconfigured("trust/root.dsse cannot be read: put the pinned root there, or set BYLEAVE_HOME") from None
    worker = Worker(installation, root, commit_s, log)
    health = metrics.serve(
        installation.metrics_port,
        ready=lambda: worker.healthy,
        alive=lambda: time.monotonic() - worker.turned_s < TURN_S_MAX,
    )
    try:
        _loop(worker, ended, log, health.server_address[1])
        worker.commit()
    finally:
        worker.close()
    log.info("stopped")
    return 0


def _loop(worker: Worker, ended: threading.Event, log: structlog.stdlib.BoundLogger, port: object) -> None:
    """Steps until told to end. Failures that may pass are tried again, at most `ATTEMPTS_MAX` in a row."""
    failures, said = 0, False
    while not ended.is_set():
        try:
            worker.step()
        except Transient as error:
            failures += 1
            log.warning("again", reason=error.reason, attempt=failures)
            if failures > ATTEMPTS_MAX:
                raise
            ended.wait(min(1.0, 0.05 * 2**failures))
            if error.reason == "conflict":
                worker.begin_anew()
            continue
        failures = 0
        if worker.ready and not said:
            said = True
            sys.stdout.write(json.dumps({"ready": True, "role": "sink", "pid": os.getpid(), "metrics_port": port}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
