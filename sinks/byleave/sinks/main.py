"""The sink's process: reads what the redactor wrote, commits it to the lake, exactly once (P8).

All outcomes of a failure are two: try again within a bound, or stop with one sentence. What is decided when SIGTERM comes is
committed before the process ends.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from contextlib import closing

import structlog

from byleave.control import trust
from byleave.control.desk import open_watch
from byleave.control.documents import Manifest, Root
from byleave.core import metrics
from byleave.core.batches import SanitizedHeader, refusal
from byleave.core.broker import Received
from byleave.core.clock import wall_ms
from byleave.core.errors import Transient
from byleave.core.kafka import KafkaPublisher
from byleave.core.keyring import KeyringClient
from byleave.core.keys import verify_key
from byleave.core.role import Role, run
from byleave.core.settings import Installation
from byleave.sinks.discard import discard
from byleave.sinks.lake import LocalLake
from byleave.sinks.orders import standing_of
from byleave.sinks.sink import SOURCES, Sink, fence
from byleave.sinks.stream import SanitizedStream

COMMIT_S_DEFAULT = 30.0
ATTEMPTS_MAX = 60
"""Failures in a row after which the process gives up: about a minute."""
FLUSH_S_MAX = 10.0
TURN_S_MAX = 60.0
"""A loop that did not come round for so long is not alive: each call in it is bounded below."""


class Worker:
    """The sink with its clients. `step` is one turn of its loop."""

    def __init__(self, installation: Installation, commit_s: float, log: structlog.stdlib.BoundLogger) -> None:
        self._at, self._commit_s, self._log = installation, commit_s, log
        self._connection = installation.kafka("sink")
        self._keyring = KeyringClient(installation.keyring, installation.certificate("sink"))
        self._lake = LocalLake(installation.home / "lake")
        self._refusals = KafkaPublisher(self._connection)
        self._watch = open_watch(installation, "sink")
        self._knowledge = self._watch.knowledge
        self._standing = standing_of(self._knowledge, caught_up=False)
        self._sink, self._stream = self._begin()
        self._committed_s = self.turned_s = time.monotonic()

    @property
    def healthy(self) -> bool:
        """Ready, and the control service is heard."""
        return self.ready and self._watch.fresh

    @property
    def ready(self) -> bool:
        """Before all control topics are read, an unknown endpoint means nothing, and nothing is decided.

        Nor before this sink has heard what one before it had when it erased: that must not come in again.
        """
        heard_ms = self._knowledge.beacon.service_ms if self._knowledge.beacon else 0
        return self._watch.caught_up and heard_ms >= max(self._sink.head.discards.values(), default=0)

    def step(self) -> bool:
        """Learns, reads, decides, and commits or erases if it is time. Whether it is ready. Raises the families of
        `core.errors`."""
        self.turned_s = time.monotonic()
        try:
            self._learn()
            self._stream.hold(self._sink.full)
            for record in self._stream.read(0.1):
                self._sink.offer(record)
            if self.ready:
                self._sink.decide()
                self._discard()
            if self._sink.due or (self._sink.pending and time.monotonic() - self._committed_s >= self._commit_s):
                self.commit()
        except Transient as error:
            if error.reason == "conflict":
                self._begin_anew()
            raise
        metrics.PROGRESS.set(time.time())
        return self.ready

    def commit(self) -> None:
        """Commits what was decided. Refusals are on the broker before their offsets count."""
        if not self._sink.pending:
            return
        if not self._refusals.flush(FLUSH_S_MAX):
            raise Transient("refusals are not acknowledged", reason="broker")
        snapshot = self._sink.commit(wall_ms())
        self._committed_s = time.monotonic()
        self._log.info("committed", count=sum(file.rows for file in snapshot.added))

    def close(self) -> None:
        self._stream.close()
        self._refusals.close()
        self._watch.close()
        self._keyring.close()

    def _begin(self) -> tuple[Sink, SanitizedStream]:
        keys = [verify_key(key) for key in trust.role_of(self._knowledge.root, "redactor").keys]
        site, topics = self._at.site, [self._at.topic(name) for name in SOURCES]
        sink = Sink(
            self._lake, self._keyring, keys, fence(self._knowledge), self._refuse,
            standing=lambda: self._standing, manifests=lambda: self._knowledge.manifests, site=site, random_bytes=os.urandom,
        )  # fmt: skip
        orphans = self._lake.remove_orphans(time.time())
        self._log.info("begin", count=orphans)
        return sink, SanitizedStream(self._connection, self._at.topic("sink"), topics, sink.head.offsets)

    def _begin_anew(self) -> None:
        """Forgets what was decided, and begins at the offsets of the newest snapshot."""
        old = self._stream
        self._sink, self._stream = self._begin()
        old.close()

    def _learn(self) -> None:
        learned = self._watch.read(0.0)
        if learned or not self._standing.known:
            self._standing = standing_of(self._knowledge, caught_up=self._watch.caught_up)
        for record, document in learned:
            if isinstance(document, Manifest) and record.value is not None:
                self._lake.keep_manifest(trust.name_of(record.value), record.value)
            elif isinstance(document, Root):
                self._begin_anew()

    def _discard(self) -> None:
        """Erases what orders say. Everything decided before is committed first, so that it is erased as well."""
        beacon = self._knowledge.beacon
        due = [order for order in self._standing.discards if order.halt_id not in self._sink.head.discards]
        if not due or beacon is None:
            return
        self.commit()
        for order in due:
            snapshot = discard(
                self._lake, self._keyring, order, self._standing,
                now_ms=wall_ms(), service_ms=beacon.service_ms, random_bytes=os.urandom,
            )  # fmt: skip
            self._log.info("discarded", count=len(snapshot.removed))
        self._begin_anew()

    def _refuse(self, record: Received, reason: str, header: SanitizedHeader | None) -> None:
        """To `refused.v1`: place and reason, and of the header only what its signature vouches for."""
        endpoint = header.endpoint if header else ""
        value = refusal(reason, "SINK", record, endpoint, header)
        self._refusals.publish(self._at.topic("refused.v1"), endpoint.encode(), value)
        self._log.warning("refused", reason=reason, topic=record.topic, partition=record.partition, offset=record.offset)


def main(argv: Sequence[str]) -> int:
    """Runs the sink until SIGTERM or SIGINT. Exit code 0, 2 when misconfigured, 1 on other errors."""
    commit_s = {"type": float, "default": COMMIT_S_DEFAULT, "help": "seconds between commits, default 30"}
    return run("sink", "Writes sanitized records to the encrypted lake.", [*argv], _work, {"--commit-s": commit_s})


def _work(role: Role, given: argparse.Namespace) -> None:
    with closing(Worker(role.installation, given.commit_s, role.log)) as worker:
        with role.served(lambda: worker.healthy, lambda: time.monotonic() - worker.turned_s < TURN_S_MAX):
            role.keep_on(worker.step, ATTEMPTS_MAX)
        worker.commit()
    role.log.info("stopped")
