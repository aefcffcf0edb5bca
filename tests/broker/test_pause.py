"""The person's own pause on a real screen and a real broker: by keys pressed anywhere and by command (P7).

What is compared is what others can see: records on the topics, and connections to the broker.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
from awaiting import until
from roles import Roles

from byleave.core.batches import Boundary, open_raw, parse_raw
from byleave.core.envelope import Opener
from byleave.core.events import KeyEvent, Kind
from byleave.core.kafka import KafkaTail
from byleave.core.keys import read_hpke_key
from byleave.core.settings import Installation
from byleave.producers.inquiries import ask
from byleave.producers.person import pause
from demo.desktop import Desktop

pytestmark = [pytest.mark.broker, pytest.mark.display]
BEFORE, MEANWHILE = "written before ", "zanquavel meanwhile "


class Witness:
    """All that an endpoint sends, as whoever may read everything sees it."""

    def __init__(self, at: Installation) -> None:
        readers = (("redactor", "raw.events.v1"), ("beacon", "control.request.v1"), ("security", "control.ack.v1"))
        self._tails = [KafkaTail(at.kafka(who), at.topic(who), [at.topic(name)]) for who, name in readers]
        self._opener = Opener({(key := next((at.home / "redactor").glob("raw-*.key"))).stem: read_hpke_key(key)})
        self.sent: list[tuple[str, bytes]] = []

    def read(self, for_s: float = 0.1) -> int:
        until_s = time.monotonic() + for_s
        while time.monotonic() < until_s:
            for tail in self._tails:
                self.sent += [(record.topic, record.value or b"") for record in tail.read(0.02)]
        return len(self.sent)

    def batches(self) -> list[tuple[Boundary, tuple[object, ...]]]:
        parsed = [parse_raw(value) for topic, value in self.sent if topic.endswith("raw.events.v1")]
        return [(batch.header.boundary, open_raw(batch, self._opener)[0]) for batch in parsed]

    def typed(self) -> str:
        self.read()
        keys = [e.key for _, events in self.batches() for e in events if isinstance(e, KeyEvent) and e.kind is Kind.PRESS]
        return "".join({"space": " "}.get(key, key if len(key) == 1 else f"<{key}>") for key in keys)

    def close(self) -> None:
        for tail in self._tails:
            tail.close()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def workers(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in children if b"_worker" in Path(f"/proc/{child}/cmdline").read_bytes()]


def connections(pid: int, bootstrap: str) -> int:
    """How many of this process's sockets are connected to the broker's port."""
    port = int(bootstrap.rpartition(":")[2])
    remote = {line.split()[9] for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
              if line.split()[2].endswith(f":{port:04X}")}  # fmt: skip
    held = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            held.add(os.readlink(link).removeprefix("socket:[").rstrip("]"))
        except FileNotFoundError:
            continue
    return len(held & remote)


def xdotool(desktop: Desktop, *words: str) -> None:
    subprocess.run(["xdotool", *words], env={**os.environ, **desktop.environment()}, check=True, timeout=30)


@pytest.mark.parametrize("hook", ["x11", pytest.param("pynput", marks=pytest.mark.prove)])
def test_a_pause_ends_capture_in_a_blink_and_nobody_hears_of_it(
    desktop: Desktop, installation: Installation, roles: Roles, hook: str
) -> None:
    assert hasattr(socket, "SO_PEERCRED")
    folder = installation.home / "endpoints" / "ep-a"
    roles.start("beacon")
    agent = roles.start("agent", "--endpoint", "ep-a", "--source", hook, **desktop.environment())
    witness = Witness(installation)
    until(lambda: ask(folder, {"ask": "status"})["capturing"])
    until(lambda: witness.read(0.1) and witness.batches())  # the first focus is told: the hook is live
    xdotool(desktop, "type", "--delay", "8", BEFORE)
    until(lambda: witness.typed() == BEFORE)
    (worker,) = workers(agent.pid)
    xdotool(desktop, "getwindowfocus", "set_window", "--name", "Your tax return")
    xdotool(desktop, "type", "--delay", "8", MEANWHILE)
    xdotool(desktop, "getwindowfocus", "set_window", "--name", "notes")
    until(lambda: ask(folder, {"ask": "today"})["never"] == {"tax": 1})  # the part of the list, counted once, and no title

    xdotool(desktop, "key", "shift+alt+ctrl+Escape")  # the order in which the modifiers go down is the person's own
    pressed_s = time.monotonic()
    until(lambda: not runs(worker), 1.0)
    assert time.monotonic() - pressed_s < 0.1
    assert (folder / "pause").exists()
    until(lambda: connections(agent.pid, installation.bootstrap) == 0, 5.0)
    sent = witness.read(0.5)
    xdotool(desktop, "type", "--delay", "8", MEANWHILE)
    assert witness.read(1.2) == sent
    status = ask(folder, {"ask": "status"})
    assert "paused by you" in status["answer"]
    (line,) = ask(folder, {"ask": "show", "last_s": 300})["lines"]
    assert line.endswith(BEFORE.rstrip()), "who pauses may look at what was taken"
    assert not workers(agent.pid), "it was reaped, and no other was started"

    assert pause.lift(folder) == {"endpoint": "ep-a", "paused": False, "running": True}
    until(lambda: ask(folder, {"ask": "status"})["capturing"])
    until(lambda: witness.read() and Boundary.END in [boundary for boundary, _ in witness.batches()])
    assert "esc" not in witness.typed()
    assert not set("zqv") & set(witness.typed()), "letters that were typed meanwhile only"
    (worker,) = workers(agent.pid)
    asked_s = time.monotonic()
    assert pause.pause(folder) == {"endpoint": "ep-a", "paused": True, "running": True}
    assert time.monotonic() - asked_s < 0.1
    assert not runs(worker)
    witness.close()
