"""Edge: the drill in its process, beside a canary agent: once an hour it halts the canary and sees whether each brake holds.

It needs `drill/drill.key` and the canary's device key in the state folder, and the certificates of `drill` and of the canary.
A drill that failed is told and counted, and the next one comes in its time: an alert is raised when none has passed for 2 h.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial

from byleave.control import desk
from byleave.control.documents import CANARY, Ack
from byleave.control.drill import PARTS, PRINCIPAL, RESUME_MS, Drill, Keys, Part, Refusal, Taken, Write, obstacle
from byleave.control.halts import DRILL_MS
from byleave.core import codec, metrics, role
from byleave.core.clock import boot_ms
from byleave.core.errors import Broken, Forged, Misconfigured, Refused, Transient
from byleave.core.kafka import KafkaPublisher, KafkaTail
from byleave.core.keys import read_signing_key

TURN_S = 0.02
IDLE_S = 0.2
START_MS_MAX = DRILL_MS + RESUME_MS + 15_000
"""How long a drill waits to begin: an earlier one must be over, and the canary must capture again."""
TURN_MS_MAX = 30_000
"""A loop that did not come round for so long is not alive."""
EVERY_S_MIN = 2 * DRILL_MS // 1000
FAILURES_MAX = 60
_MARKS = {True: "passed", False: "FAILED", None: "not tried"}
Parts = Mapping[str, Part]


class Room:
    """What the drill reads: the control topics and what was refused."""

    def __init__(self, process: role.Role, *, brake: bool) -> None:
        at = self._at = process.installation
        self._stopped = process.stopped
        self._connections = {name: at.kafka(name) for name in ([PRINCIPAL, CANARY] if brake else [PRINCIPAL])}
        device = read_signing_key(at.home / "endpoints" / CANARY / "device.key")
        self._keys = Keys(read_signing_key(at.home / PRINCIPAL / "drill.key"), device)
        self._watch = desk.open_watch(at, PRINCIPAL, tries=desk.TRIES_MAX, pause=process.stopped)
        tail = partial(KafkaTail, self._connections[PRINCIPAL], at.topic(f"{PRINCIPAL}-refused"), [at.topic("refused.v1")])
        self._refused = desk.persistent(tail, desk.TRIES_MAX, process.stopped)
        self._session = ""  # that the canary's last ack named
        self.turned_ms = boot_ms()

    @property
    def ready(self) -> bool:
        return self._watch.caught_up and self._refused.caught_up and self._watch.fresh

    def pump(self, timeout_s: float) -> list[object]:
        """What was heard, for at most so long. Raises Transient, Broken."""
        heard: list[object] = [*self._watch.pump(timeout_s)]
        self._session = next((a.session for a in reversed(heard) if isinstance(a, Ack) and a.endpoint == CANARY), self._session)
        for record in self._refused.read(0.0):
            with contextlib.suppress(Forged):  # whoever wrote it, it is no refusal
                row = codec.decode("refusal", record.value)
                heard += [Refusal(row["seq0"], row["reason"])] if row["endpoint"] == CANARY else []
        self.turned_ms = boot_ms()
        metrics.PROGRESS.set_to_current_time()
        return heard

    def drill(self) -> Parts:
        """One drill, from waiting for its turn to its end. Raises Transient if told to end, Broken."""
        until_ms = boot_ms() + START_MS_MAX
        while why := obstacle(self._watch.knowledge) if self.ready else "no-beacon":
            self._listen()
            if boot_ms() > until_ms:
                return {"start": Part(None, why)}
        drill = Drill(self._watch.knowledge, self._keys, os.urandom, self._session, brake=CANARY in self._connections)
        answers: list[Taken] = []
        with contextlib.ExitStack() as clients:
            publishers = {name: KafkaPublisher(connection, **desk.PLAIN) for name, connection in self._connections.items()}
            for publisher in publishers.values():
                clients.callback(publisher.close)
            while not drill.over:
                heard = [*self._listen(), *answers]
                answers.clear()
                for write in drill.step(heard, boot_ms()):
                    self._publish(publishers[write.principal], write, answers.append)
                for publisher in publishers.values():
                    publisher.flush(0.0)
        return {name: drill.parts[name] for name in PARTS}

    def close(self) -> None:
        self._watch.close()
        self._refused.close()

    def _listen(self) -> list[object]:
        """In mid-drill a silent broker is what the drill is about: its parts run out of time by themselves."""
        if self._stopped():
            raise Transient("told to end in mid-drill", reason="stopped")
        try:
            return self.pump(TURN_S)
        except Transient:
            return []

    def _publish(self, publisher: KafkaPublisher, write: Write, answered: Callable[[Taken], None]) -> None:
        try:
            told = partial(Taken, write.part)
            publisher.publish(self._at.topic(write.topic), write.key, write.value, lambda taken: answered(told(taken)))
        except Refused:
            answered(Taken(write.part, False))
        except Transient:  # unanswered: its part runs out of time
            return


def judge(parts: Parts) -> str:
    """What a drill comes to: a part that was not tried fails nothing, a drill that was not passes nothing."""
    if "start" in parts:
        return "not-tried"
    return "failed" if any(part.passed is False for part in parts.values()) else "passed"


def sentence(parts: Parts) -> str:
    """What a person is told, a line a part."""
    lines = []
    for name, part in parts.items():
        ms, why = "" if part.ms is None else f"{part.ms} ms", "" if part.passed else f"({part.why})"
        lines.append(f"{name:<6} {_MARKS[part.passed]:<10}{ms:>9} {why}".rstrip())
    return "\n".join([*lines, f"The drill: {judge(parts).replace('-', ' ')}."])


def _drill(process: role.Role, room: Room, *, as_json: bool) -> Parts:
    """One drill, told to the log, to the metrics and, `as_json`, on stdout."""
    parts = room.drill()
    outcome = judge(parts)
    metrics.DRILLS.labels(outcome).inc()
    for name, part in parts.items():
        process.log.info("drill-part", state=name, reason=part.why, ms=part.ms or 0)
    if outcome == "passed":
        metrics.DRILL_PASSED.set(time.time())
        metrics.DRILL_HALT.observe((parts["halt"].ms or 0) / 1000)
    process.log.info("drill", state=outcome)
    if as_json:
        role.say(drill=outcome, parts={name: asdict(part) for name, part in parts.items()})
    return parts


def _work(process: role.Role, options: argparse.Namespace) -> None:
    if options.every_s < EVERY_S_MIN:
        raise Misconfigured(f"--every-s {options.every_s}: a drill takes its time; at least {EVERY_S_MIN}")
    with contextlib.closing(Room(process, brake=not options.no_brake)) as room:
        if options.once:
            _once(process, room, as_json=options.json)
        else:
            _hourly(process, room, options)


def _once(process: role.Role, room: Room, *, as_json: bool) -> None:
    try:
        parts = _drill(process, room, as_json=as_json)
    except Transient as error:  # told to end: that is no drill that passed, whatever it had seen by then
        raise Broken(str(error), reason=error.reason) from None
    if not as_json:
        print(sentence(parts))  # noqa: T201 - for the person who asked
    if judge(parts) != "passed":
        failed = ", ".join(f"{name} ({part.why})" for name, part in parts.items() if not part.passed)
        raise Broken(f"the drill did not pass: {failed}", reason="drill")


def _hourly(process: role.Role, room: Room, options: argparse.Namespace) -> None:
    due_ms = 0
    with process.served(lambda: room.ready, lambda: boot_ms() - room.turned_ms < TURN_MS_MAX) as say_ready:

        def turn() -> bool:
            nonlocal due_ms
            room.pump(IDLE_S)
            if room.ready and boot_ms() >= due_ms:
                say_ready()  # before the drill, which takes its time
                due_ms = boot_ms() + options.every_s * (900 + secrets.randbelow(201))  # a tenth early to a tenth late
                _drill(process, room, as_json=options.json)
            return room.ready

        process.keep_on(turn, FAILURES_MAX)


OPTIONS: role.Options = {
    "--every-s": {"type": int, "default": 3600, "help": "seconds between drills, a tenth more or less"},
    "--once": {"action": "store_true", "help": "one drill, then end: 0 if it passed, 1 if not"},
    "--json": {"action": "store_true", "help": "one line of JSON a drill"},
    "--no-brake": {"action": "store_true", "help": "this cluster gives nobody the right to set the broker brake"},
}


def main(argv: list[str]) -> int:
    """Runs until told to end, or one drill with --once: then 0 if it passed, else 1."""
    return role.run(PRINCIPAL, "Halts the canary and sees whether each brake holds.", argv, _work, OPTIONS)
