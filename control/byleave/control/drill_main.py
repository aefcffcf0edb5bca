"""Edge: the drill in its process, beside a canary agent: once an hour it halts the canary and sees whether each brake holds.

It needs `drill/drill.key` and the canary's device key in the state folder, and the certificates of `drill` and of the canary.
A drill that failed is told and counted, and the next one comes in its time: an alert is raised when none has passed for 2 h.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict

from byleave.control import desk
from byleave.control.documents import CANARY, Ack
from byleave.control.drill import PRINCIPAL, RESUME_MS, Drill, Keys, Part, Refusal, Taken, Write, obstacle
from byleave.control.knowledge import DRILL_MS
from byleave.core import codec, metrics, role
from byleave.core.clock import boot_ms
from byleave.core.errors import Broken, Forged, Misconfigured, Refused, Transient
from byleave.core.kafka import KafkaPublisher, KafkaTail
from byleave.core.keys import read_signing_key
from byleave.core.settings import Installation

TURN_S = 0.02
IDLE_S = 0.2
START_MS_MAX = DRILL_MS + RESUME_MS + 15_000
"""How long a drill waits to begin: an earlier one must be over, and the canary must capture again."""
TURN_MS_MAX = 30_000
"""A loop that did not come round for so long is not alive."""
EVERY_S_MIN = 2 * DRILL_MS // 1000
FAILURES_MAX = 60
_PLAIN: Mapping[str, str | int | bool] = {"enable.idempotence": False, "max.in.flight": 1, "linger.ms": 0}
"""As the desk publishes: a producer id would cost half a second, and the canary could not get one behind the brake."""
Parts = Mapping[str, Part]


class Room:
    """What the drill reads: the control topics and what was refused. `session`: the one that the canary's last ack named."""

    def __init__(self, at: Installation, pause: Callable[[float], object], *, brake: bool) -> None:
        self._at, self._brake, self.session = at, brake, ""
        self._keys = Keys(
            read_signing_key(at.home / PRINCIPAL / "drill.key"), read_signing_key(at.home / "endpoints" / CANARY / "device.key")
        )
        at.certificate(CANARY if brake else PRINCIPAL)
        self._watch = desk.open_watch(at, PRINCIPAL, tries=desk.TRIES_MAX, pause=pause)
        self._refused = desk.persistent(self._open_refused, desk.TRIES_MAX, pause)
        self.turned_ms = boot_ms()

    @property
    def caught_up(self) -> bool:
        return self._watch.caught_up and self._refused.caught_up

    @property
    def fresh(self) -> bool:
        return self._watch.fresh

    def pump(self, timeout_s: float) -> list[object]:
        """What was heard, for at most so long. Raises Transient, Broken."""
        heard: list[object] = [*self._watch.pump(timeout_s)]
        for one in heard:
            if isinstance(one, Ack) and one.endpoint == CANARY:
                self.session = one.session
        for record in self._refused.read(0.0):
            with contextlib.suppress(Forged):  # whoever wrote it, it is no refusal
                row = codec.decode("refusal", record.value)
                if row["endpoint"] == CANARY:
                    heard.append(Refusal(row["seq0"], row["reason"]))
        self.turned_ms = boot_ms()
        metrics.PROGRESS.set_to_current_time()
        return heard

    def drill(self, stopped: Callable[[], bool]) -> Parts:
        """One drill, from waiting for its turn to its end. Raises Transient if told to end, Broken."""
        why, until_ms = "not-read", boot_ms() + START_MS_MAX
        while boot_ms() < until_ms:
            self._listen(stopped)
            found = obstacle(self._watch.knowledge) if self.caught_up and self.fresh else "no-beacon"
            if found is None:
                break
            why = found
        else:
            return {"start": Part(None, why)}
        drill = Drill(self._watch.knowledge, self._keys, os.urandom, self.session, brake=self._brake)
        with contextlib.ExitStack() as clients:
            names = (PRINCIPAL, CANARY) if self._brake else (PRINCIPAL,)
            publishers = {name: KafkaPublisher(self._at.kafka(name), **_PLAIN) for name in names}
            for publisher in publishers.values():
                clients.callback(publisher.close)
            answers: list[Taken] = []
            while not drill.over:
                heard, answers[:] = [*self._listen(stopped), *answers], []
                for write in drill.step(heard, boot_ms()):
                    _publish(self._at, publishers[write.principal], write, answers)
                for publisher in publishers.values():
                    publisher.flush(0.0)
        return drill.parts

    def close(self) -> None:
        self._watch.close()
        self._refused.close()

    def _listen(self, stopped: Callable[[], bool]) -> list[object]:
        """In mid-drill a silent broker is what the drill is about: its parts run out of time by themselves."""
        if stopped():
            raise Transient("told to end in mid-drill", reason="stopped")
        try:
            return self.pump(TURN_S)
        except Transient:
            return []

    def _open_refused(self) -> KafkaTail:
        return KafkaTail(self._at.kafka(PRINCIPAL), self._at.topic(f"{PRINCIPAL}-refused"), [self._at.topic("refused.v1")])


def _publish(at: Installation, publisher: KafkaPublisher, write: Write, answers: list[Taken]) -> None:
    def answered(taken: bool) -> None:
        answers.append(Taken(write.part, taken))

    try:
        publisher.publish(at.topic(write.topic), write.key, write.value, answered)
    except Refused:
        answered(False)
    except Transient:
        pass  # unanswered: its part runs out of time


def judge(parts: Parts) -> str:
    """What a drill comes to, as a constant and a label: a part that was not tried fails nothing, a drill that was not passes
    nothing."""
    if "start" in parts:
        return "not-tried"
    return "failed" if any(part.passed is False for part in parts.values()) else "passed"


def sentence(parts: Parts) -> str:
    """What a person is told, a line a part."""
    marks = {True: "passed", False: "FAILED", None: "not tried"}
    lines = [
        f"{name:<6} {marks[part.passed]:<10}{'' if part.ms is None else f'{part.ms:>6} ms'}"
        + ("" if part.passed else f"  ({part.why})")
        for name, part in parts.items()
    ]
    return "\n".join([*lines, f"The drill is {judge(parts).replace('-', ' ')}."])


def _tell(process: role.Role, parts: Parts, *, as_json: bool) -> str:
    outcome = judge(parts)
    metrics.DRILLS.labels(outcome).inc()
    for name, part in parts.items():
        process.log.info("drill-part", state=name, reason=part.why, ms=part.ms or 0)
    if outcome == "passed":
        metrics.DRILL_PASSED.set(time.time())
        metrics.DRILL_HALT.observe((parts["halt"].ms or 0) / 1000)
        process.log.info("drill", state=outcome)
    else:
        process.log.error("drill", state=outcome)
    if as_json:
        role.say(drill=outcome, parts={name: asdict(part) for name, part in parts.items()})
    return outcome


def _work(process: role.Role, options: argparse.Namespace) -> None:
    if options.every_s < EVERY_S_MIN:
        raise Misconfigured(f"--every-s {options.every_s}: a drill takes its time; at least {EVERY_S_MIN}")
    room = Room(process.installation, process.stopped, brake=not options.no_brake)
    try:
        if options.once:
            _once(process, room, as_json=options.json)
        else:
            _hourly(process, room, options)
    finally:
        room.close()


def _once(process: role.Role, room: Room, *, as_json: bool) -> None:
    parts = room.drill(process.stopped)
    if not as_json:
        print(sentence(parts))  # noqa: T201 - for the person who asked
    if _tell(process, parts, as_json=as_json) != "passed":
        failed = ", ".join(f"{name} ({part.why})" for name, part in parts.items() if not part.passed)
        raise Broken(f"the drill did not pass: {failed}", reason="drill")


def _hourly(process: role.Role, room: Room, options: argparse.Namespace) -> None:
    due_ms = 0
    with process.served(lambda: room.caught_up and room.fresh, lambda: boot_ms() - room.turned_ms < TURN_MS_MAX) as say_ready:

        def turn() -> None:
            nonlocal due_ms
            room.pump(IDLE_S)
            if room.caught_up:
                say_ready()
            if room.caught_up and boot_ms() >= due_ms:
                due_ms = boot_ms() + options.every_s * (900 + secrets.randbelow(201))  # a tenth early to a tenth late
                _tell(process, room.drill(process.stopped), as_json=options.json)

        process.keep_on(turn, FAILURES_MAX)


def main(argv: list[str]) -> int:
    """Runs until told to end, or one drill with --once: then 0 if it passed, else 1."""
    options: role.Options = {
        "--every-s": {"type": int, "default": 3600, "help": "seconds between drills, a tenth more or less"},
        "--once": {"action": "store_true", "help": "one drill, then end: 0 if it passed, 1 if not"},
        "--json": {"action": "store_true", "help": "one line of JSON a drill"},
        "--no-brake": {"action": "store_true", "help": "this cluster gives nobody the right to set the broker brake"},
    }
    return role.run("drill", "Halts the canary and sees whether each brake holds.", argv, _work, options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
