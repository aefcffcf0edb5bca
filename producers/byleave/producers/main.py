"""The agent's process: builds the clients, reads this endpoint's files, and turns the agent in one loop on one thread.

    byleave run agent --endpoint ep-a [--source x11 | pynput | replay:office | canary]  [--speed 1.0] [--once]

Prints one JSON line when the control topics have been read, and with --once another at the end. Files of the endpoint's folder:
device.key, receipt.key, enrolment.dsse, consent.dsse (read); floor.json, acks.json, report.json, days.json, receipts.json,
asked.json, agent.sock, open.html, spool/ (written); halt, pause (obeyed).
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog

from byleave.control.bootstrap import pin_root, pinned_root
from byleave.control.knowledge import Knowledge
from byleave.control.versions import own_version
from byleave.control.watch import ControlWatch
from byleave.core import metrics, role
from byleave.core.clock import boot_ms, wall_ms
from byleave.core.errors import Broken, Misconfigured, Transient
from byleave.core.kafka import KafkaPublisher, KafkaTail
from byleave.core.keys import public_hex, read_signing_key
from byleave.core.settings import Installation
from byleave.producers import receipts
from byleave.producers.agent import Agent, Identity
from byleave.producers.consent import ConsentFile
from byleave.producers.gate import Answer, Switches
from byleave.producers.hooks import chord
from byleave.producers.hooks.canary import canary
from byleave.producers.hooks.live import WORKERS, LiveSource, check_display
from byleave.producers.hooks.replay import replay
from byleave.producers.hooks.source import POLL_EVENTS_MAX, Source
from byleave.producers.kept import Kept
from byleave.producers.opening import Opening
from byleave.producers.outbox import Outbox
from byleave.producers.own_files import own_digest
from byleave.producers.person import pause
from byleave.producers.person.account import kept_days
from byleave.producers.person.attendant import Attendant
from byleave.producers.person.page import ours
from byleave.producers.renewal import OLD_MS, Renewal
from byleave.producers.spool import Spool
from byleave.producers.voice import Voice

TOPICS = tuple(f"control.{name}.v1" for name in ("root", "state", "halt", "manifest", "beacon", "grant", "certificate"))
WAIT_S, AWAKE_S, BUSY_S, STIR_S = 1.2, 0.5, 0.05, 0.6
"""Longest wait in one turn: at rest, within AWAKE_MS of an event, while events come. What is waited for are orders, which are
so seen at once; an event has the time at which it happened, whenever it is fetched. At rest a beacon ends the wait first. So
does, within STIR_S, what the person does (a question, a file in this folder), and the end of the capture process."""
AWAKE_MS = 5_000
OPEN_S = 0.25
"""How long a turn waits for a client that is being opened."""
REPORT_MS = 1_000
_UNTOLD = (Answer.PAUSED, Answer.NO_CONSENT)
"""What the person did is in no log: who administers a machine reads those."""
_PR_SET_DUMPABLE = 4
TURN_MS_MAX = 30_000
"""A loop that did not come round for so long is not alive."""
ASLEEP_MS = 10_000
"""After a turn that took so long every lease is over: the machine slept, and comes back as from a pause."""
_AT_REST = {"fetch.wait.max.ms": 1_500}
"""How long a broker that has nothing new lets us wait; it answers at once when it has, and a beacon a second is soon enough."""
_DELIVERY = {"message.timeout.ms": 30_000, "enable.gapless.guarantee": True}


class Process:
    """One running agent with its clients and files."""

    def __init__(self, installation: Installation, endpoint: str, source: Source, stopped: Callable[[float], bool]) -> None:
        self._installation, self._endpoint, self._stopped = installation, endpoint, stopped
        self._folder = installation.home / "endpoints" / endpoint
        self._kept = Kept(self._folder)
        self.knowledge = Knowledge(pinned_root(installation.home, installation.site), installation.site, self._kept.floor)
        self._connection = installation.kafka(endpoint)
        self._watch: ControlWatch | None = None
        self._opening = Opening(self._open_tail)
        key = read_signing_key(self._folder / "device.key")
        self._consent = ConsentFile(self._folder, self.knowledge, endpoint, public_hex(key))
        name = endpoint.encode()
        spool = Spool(self._folder / "spool", key)
        self._outbox = Outbox(
            spool, installation.topic("raw.events.v1"), name, lambda: KafkaPublisher(self._connection, **_DELIVERY)
        )
        self._voice = Voice(lambda: KafkaPublisher(self._connection), installation.topic, name)
        self.agent = Agent(
            Identity(endpoint, key, files := own_digest(), self._kept.ack_prev, own_version()), self.knowledge, source, spool,
            self._outbox,
            say=self._voice.say, clock=boot_ms, randomness=os.urandom, days=kept_days(self._folder),
        )  # fmt: skip
        self._renewal = Renewal(installation.pki, self._folder, installation.site, endpoint, key, self._voice.say)
        self._hear_anew_ms = 0
        place = (installation.topic(endpoint), installation.topic(receipts.TOPIC))
        self._receipts = receipts.Receipts(
            self._folder, self.knowledge, endpoint, lambda offset: receipts.TopicPlace(self._connection, *place, offset)
        )
        self._source = source
        self._reported_ms = 0
        self._told, self._shown = "", False
        self._awake_ms = -AWAKE_MS
        self._log = structlog.get_logger()
        self.turned_ms = boot_ms()
        others = {**self._receipts.questions, "digest": lambda _: {"digest": files}}
        self.person = Attendant(self.agent, source, self._folder, installation, self.knowledge, others)

    @property
    def caught_up(self) -> bool:
        return self._watch is not None and self._watch.caught_up

    @property
    def fresh(self) -> bool:
        """Whether the control service is heard."""
        return self._watch is not None and self._watch.fresh

    def turn(self) -> None:
        """One turn of the loop: hear, decide, collect, send, report."""
        count, paused = self.agent.observed, self.person.paused
        self._awake_ms = boot_ms() if count else self._awake_ms
        rest_s = WAIT_S if self.turned_ms - self._awake_ms > AWAKE_MS else min(WAIT_S, AWAKE_S)
        heard = [] if paused else self._pump(0.0 if count >= POLL_EVENTS_MAX else BUSY_S if count else rest_s)
        self.agent.hear(heard)
        kept = self._kept.keep_floor(self.knowledge.epoch_floor)
        paused = paused or self.person.paused or boot_ms() - self.turned_ms > ASLEEP_MS
        self.agent.turn(replace(self._switches(paused), full=not kept), caught_up=self.caught_up, timeout_s=0.0)
        now = self.turned_ms = boot_ms()
        self.person.turn(now)
        if paused:
            self._fall_silent()
        elif self.agent.may_send:
            self._outbox.pump(now, self.knowledge.beacon.service_ms if self.knowledge.beacon else 0)
        if not paused:
            self._mind_certificate(heard, now)
            self._voice.pump(now)
            if self.caught_up:
                self._receipts.turn(now)
        self.person.answer(WAIT_S if self.person.paused else 0.0)
        if now - self._reported_ms >= REPORT_MS or self.agent.capturing is not self._shown:
            self._reported_ms, self._shown = now, self.agent.capturing
            self.report()
            metrics.CAPTURING.set(self.agent.capturing)
            metrics.LEASE_LEFT.set(self.agent.lease_left_ms / 1000)
            metrics.PROGRESS.set(time.time())

    @property
    def drained(self) -> bool:
        return self._outbox.idle and self._voice.idle

    def close(self) -> None:
        """Kills what may still run and forgets the clients. Nothing more is sent: what is left waits in the spool, as at a
        pause and when the machine falls asleep."""
        self._source.stop()
        self.person.close()
        self._receipts.close()
        self._outbox.throw_away()
        self._voice.close()
        if self._watch is not None:
            self._watch.close()
        self.report()

    def report(self) -> None:
        """Writes down what stands; a change of the answer is logged."""
        report = self.agent.report()
        if report["answer"] != self._told:
            self._told = report["answer"]
            if (answer := Answer(self._told)) not in _UNTOLD:
                self._log.info("gate", state=answer.name)
        self._kept.report(report, self.agent.ack_prev)

    def _fall_silent(self) -> None:
        """Nothing is heard or said, and afterwards all is read again, as after a start."""
        self._opening.drop()
        self._receipts.close()
        if self._watch is not None:
            self._outbox.throw_away()
            self._voice.close()
            self._forget_orders(self._watch)

    def _forget_orders(self, watch: ControlWatch) -> None:
        watch.close()
        self._watch = None
        self._consent.forget()
        self.knowledge.restart()  # what is not on the topics any more is no permission

    def _mind_certificate(self, heard: list[Any], now: int) -> None:
        """With a new certificate all clients are made anew, and none loses anything: what is on its way is sent again.

        Only what hears the orders stays until nothing is captured, or the old certificate is about to end.
        """
        if self._renewal.hear(heard):
            self._hear_anew_ms = self._renewal.ends_ms - OLD_MS
            self._outbox.throw_away()
            self._voice.close()
        if self._hear_anew_ms and self._watch is not None and not (self.agent.capturing and wall_ms() < self._hear_anew_ms):
            self._watch.close()
            self._watch, self._hear_anew_ms = None, 0
        self._renewal.look(now, wall_ms())

    def _open_tail(self) -> KafkaTail:
        at = self._installation
        topics = [at.topic(name) for name in TOPICS]
        return KafkaTail(self._connection, at.topic(f"endpoint-{self._endpoint}"), topics, **_AT_REST)

    def _pump(self, timeout_s: float) -> list[Any]:
        try:
            if self._watch is None:
                tail = self._opening.take(OPEN_S)
                if tail is None:
                    return []
                self._watch = ControlWatch(tail, self.knowledge, self._installation.site, pin=self._pin)
            return self._hear(self._watch, timeout_s)
        except (Transient, Broken) as error:  # without news the lease ends by itself
            if self._watch is not None and (isinstance(error, Broken) or self._consent.stale):
                self._forget_orders(self._watch)
            self._stopped(WAIT_S)
            return []

    def _hear(self, watch: ControlWatch, timeout_s: float) -> list[Any]:
        until_s, before = time.monotonic() + timeout_s, self._folder.stat().st_mtime_ns
        while True:
            left_s = until_s - time.monotonic()
            found = watch.pump(max(0.0, min(STIR_S, left_s)))
            if found or left_s <= STIR_S or self.person.waiting or os.stat(self._folder).st_mtime_ns != before:
                return found

    def _pin(self, signed: bytes) -> None:
        pin_root(self._installation.home, signed)

    def _switches(self, paused: bool) -> Switches:
        halted = os.path.exists(f"{self._folder}/halt")
        return Switches(paused=paused, halted=halted, agreed=self._consent.agreed(), shown=self.person.shown)


def harden() -> None:
    """Nobody debugs this process or gets a core dump of it, where the system can forbid it: its memory holds what was typed."""
    if os.name == "posix":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def build_source(text: str, speed: float) -> Source:
    """The source that a command line names. Raises Misconfigured and Refused."""
    kind, _, rest = text.partition(":")
    if kind == "replay":
        return replay(rest or "office", speed)
    if kind == "canary":
        if rest and not rest.isdigit():
            raise Misconfigured(f"canary:{rest}: the seed must be a number")
        return canary(int(rest or "0"), speed)
    if text in WORKERS:
        check_display(os.environ)
        return LiveSource(os.environ, text)
    raise Misconfigured(f"no source {text}: use x11, pynput, replay:<recording> or canary[:<seed>]")


def numbers_for(source: Source) -> metrics.Admits:
    """Who may read this process's metrics: of a person, nobody else; they tell when and how much somebody types."""
    return ours if isinstance(source, LiveSource) else metrics.anybody


OPTIONS: role.Options = {
    "--endpoint": {"required": True, "help": "name of this endpoint, as on its certificate"},
    "--source": {"default": "x11", "help": "x11, pynput (this screen), replay:<recording> or canary[:<seed>]"},
    "--speed": {"type": float, "default": 1.0, "help": "how many times faster than real to replay"},
    "--pause-keys": {"default": chord.DEFAULT, "help": "what pauses capture, pressed anywhere while it captures"},
    "--once": {"action": "store_true", "help": "end when the source is exhausted and all is acknowledged"},
}


def main(argv: list[str]) -> int:
    """Runs until SIGTERM, SIGINT or, with --once, until the source is exhausted and all is acknowledged."""
    return role.run("agent", "The endpoint: captures what was agreed, while it may.", argv, _work, OPTIONS)


def _work(running: role.Role, options: Namespace) -> None:
    harden()
    source = build_source(options.source, options.speed)
    chord.chord(options.pause_keys)
    if isinstance(source, LiveSource):
        source.pause_by(options.pause_keys, str(running.installation.home / "endpoints" / options.endpoint / pause.NAME))
    process = Process(running.installation, options.endpoint, source, running.stopped)
    with running.served(
        ready=lambda: process.caught_up and process.fresh,
        alive=lambda: boot_ms() - process.turned_ms < TURN_MS_MAX,
        admits=numbers_for(source),
    ) as ready:
        try:
            process.person.listen()
            while not running.stopped():
                process.turn()
                if process.caught_up:
                    ready()
                if options.once and source.exhausted:
                    process.agent.finish()
                    if process.drained:
                        break
            process.agent.finish()
        finally:
            process.close()
    if options.once and source.exhausted:
        role.say(**process.agent.report())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
