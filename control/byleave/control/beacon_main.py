"""Edge: the beacon service in its process: reads the control topics and does what `beacon.step` says, in its order.

Its memory is on disk, synced, before the next thing is done. A document that could not be published is not said again: the next
beacon is a second away, and an endpoint asks again.
"""

from __future__ import annotations

import secrets
from argparse import Namespace
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Any

from byleave.control import beacon, brake, calendar, desk, trust
from byleave.control.watch import ControlWatch
from byleave.core import log, metrics, role
from byleave.core.broker import Delivered
from byleave.core.clock import anchored, boot_ms, boot_name, wall_ms
from byleave.core.errors import Broken, ByleaveError, Transient
from byleave.core.kafka import KafkaPublisher
from byleave.core.keys import read_signing_key, replace_file
from byleave.core.settings import Installation

ROLE = "beacon"
TURN_MS = 20
READS_FAILED_MAX = 60
"""Reads that may fail one after the other, each after a second: then the process ends, and every lease with it."""
QUIET_MS_MAX = 10_000
MEASURE_MS = 2_000


class Service:
    """The service's state and clients. `turn` does one round; nothing else changes it."""

    def __init__(self, installation: Installation, watch: ControlWatch, connect: Any) -> None:
        self._at = installation
        self._watch = watch
        self._connect = connect
        self._publisher = connect()
        self._key = read_signing_key(installation.home / ROLE / "beacon.key")
        self._path: Path = installation.home / ROLE / "memory.json"
        self._state = beacon.Service(beacon.load(self._path.read_bytes()) if self._path.exists() else beacon.Memory())
        self._log = log.configure(ROLE)
        # T: a wall clock that is set, in mid-service or between two processes, must not stretch a lease
        self._service_ms = anchored(installation.home / ROLE / "clock.json", boot_name(), wall_ms, boot_ms)
        self.turned_boot_ms = boot_ms()
        self.taken_boot_ms = -QUIET_MS_MAX
        self._measure_boot_ms = 0
        self._asked_boot_ms = -beacon.BEACON_EVERY_MS

    def turn(self) -> bool:
        """Reads for at most TURN_MS, then lets time pass. Whether all was read. Raises Transient, Broken."""
        for record, document in self._watch.read(TURN_MS / 1000):
            name = trust.name_of(record.value)
            self._step(beacon.Heard(document, name, record.append_ms, secrets.token_bytes(16)))
        self.turned_boot_ms = boot_ms()
        self._step(beacon.Tick(self._watch.caught_up and self._hears()))
        if self._watch.caught_up and self.turned_boot_ms >= self._measure_boot_ms:
            self._measure()
        return self._watch.caught_up

    def close(self) -> None:
        self._publisher.close()
        self._watch.close()

    def _step(self, given: beacon.Input) -> None:
        waiting = deque([given])
        while waiting:
            after, outputs = beacon.step(self._state, self._watch.knowledge, waiting.popleft(), self._service_ms())
            waiting.extend(answer for answer in map(self._carry_out, outputs) if answer is not None)
            self._state = after

    def _carry_out(self, output: beacon.Output) -> beacon.Input | None:
        match output:
            case beacon.Remember():
                replace_file(self._path, beacon.dump(output.memory))
            case beacon.Say("control.beacon.v1"):
                self._publish(output, self._taken)
            case beacon.Say():
                self._publish(output)
                metrics.GRANTS.labels("granted").inc()
            case beacon.Brake():
                return self._brake(output.wanted)
            case beacon.Stopped():
                metrics.HALT_TO_ACK.observe(output.seconds)
            case beacon.Refusal():
                self._log.warning(f"{output.what.lower()}-refused", reason=output.reason)
                if output.what == "Request":
                    metrics.GRANTS.labels(output.reason).inc()
        return None

    def _hears(self) -> bool:
        """Whether the topic of orders is there and read to its end, as of the last second: silence alone says nothing."""
        if self.turned_boot_ms >= self._asked_boot_ms + beacon.BEACON_EVERY_MS // 2:
            if not self._watch.at_end("control.halt.v1"):
                return False
            self._asked_boot_ms = self.turned_boot_ms
        return True

    def _measure(self) -> None:
        """What alerts look at: what runs out, and of how many it is not known that they stopped."""
        self._measure_boot_ms = self.turned_boot_ms + MEASURE_MS
        knowledge, now_ms = self._watch.knowledge, self._service_ms()
        metrics.HALT_UNKNOWN.set(beacon.unproved(self._state, knowledge, now_ms))
        for what, left_ms in calendar.soonest(knowledge, now_ms).items():
            metrics.EXPIRES_IN.labels(what).set(left_ms / 1000)

    def _taken(self, taken: bool) -> None:
        """A beacon counts once the broker has it: one that nobody can hear keeps no endpoint capturing."""
        if taken:
            self.taken_boot_ms = boot_ms()
            metrics.BEACONS.inc()
            metrics.PROGRESS.set_to_current_time()

    def _publish(self, said: beacon.Say, delivered: Delivered | None = None) -> None:
        signed = trust.sign(said.document, [self._key])
        if said.topic == "control.beacon.v1":  # it reads no beacons: without its own, no drill would ever be over for it
            self._watch.knowledge.learn(said.topic, signed)
        try:
            self._publisher.publish(self._at.topic(said.topic), said.key.encode(), signed, delivered)
        except Transient as error:
            self._log.warning("not-published", reason=error.reason, topic=said.topic)
        except Broken as error:  # the client is spent; the next beacon is a second away
            self._log.warning("publisher-renewed", reason=error.reason, topic=said.topic)
            self._publisher.close()
            self._publisher = self._connect()

    def _brake(self, wanted: frozenset[str]) -> beacon.Braked:
        try:
            connection = self._at.kafka("brake")
            denied = brake.engaged(connection, self._at.site)
            for change, names in ((brake.engage, wanted - denied), (brake.release, denied - wanted)):
                if names:
                    change(connection, self._at.site, names)
        except ByleaveError as error:
            self._log.warning("brake-not-set", reason=error.reason)
            return beacon.Braked(None)
        return beacon.Braked(wanted)


def main(argv: list[str]) -> int:
    """Runs until SIGTERM or SIGINT. Returns the exit code."""
    return role.run(ROLE, "Vouches once a second for the state in force.", argv, _work)


def _work(running: role.Role, _: Namespace) -> None:
    connection = running.installation.kafka(ROLE)
    watch = desk.open_watch(running.installation, ROLE, tries=desk.TRIES_MAX, pause=running.stopped)
    # a beacon that could not be delivered for three seconds is worth less than the next one
    publisher = {"message.timeout.ms": 3_000, "linger.ms": 0}
    service = Service(running.installation, watch, lambda: KafkaPublisher(connection, **publisher))
    ready, alive = (
        lambda: watch.caught_up and boot_ms() - service.taken_boot_ms < QUIET_MS_MAX,
        lambda: boot_ms() - service.turned_boot_ms < QUIET_MS_MAX,
    )
    with closing(service), running.served(ready, alive):
        running.keep_on(service.turn, READS_FAILED_MAX)
