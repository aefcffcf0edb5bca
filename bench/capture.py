"""`byleave bench capture`: what capture costs this machine, with both hooks beside each other, on an X server of its own.

    an event at the hook   CPU of the capture process alone, at 500 and at 5,000 events a second
    replay                 a public recording of a hand on macOS, 412 events a second, pressed into the X server as it was; CPU
                           of agent and capture process together, from the hook to the broker's answer
    idle                   CPU of both when nobody touches anything

Where the recording is absent a hand is made up with its numbers. Real agents, a real Kafka on loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.figures import Figure, report
from byleave.control import desk
from byleave.control.bootstrap import dev_site, documents_to_publish
from byleave.core.clock import boot_ms, wall_ms
from byleave.core.settings import Installation, load_installation
from byleave.core.topics import load_catalogue
from byleave.deploy import broker, pki, provision
from byleave.producers.hooks.live import WORKERS, LiveSource
from demo.desktop import Desktop, open_desktop

ENDPOINT = "ep-a"
RECORDING = Path(__file__).parents[2] / "shared" / "data" / "recordings" / "ducktrack-macos" / "events.jsonl"
IDLE_S, FLOOD_S, SETTLE_S = 20.0, 4.0, 2.5
RATES = (500, 5_000)
GOAL_US = {500: 162, 5_000: 70}
"""At most a third of a core at 5,000 events a second; at 500 what pynput took by itself, without focus and layout."""
WAIT_S_MAX = 60.0

_HAND = """
import json, sys, time
from Xlib import X, display
from Xlib.ext import xtest
x = display.Display()
size = x.screen().width_in_pixels, x.screen().height_in_pixels
rows = [json.loads(line) for line in sys.stdin]
began, origin, code, sent = time.monotonic(), rows[0]["time_stamp"], {}, 0
def put(kind, detail=0, **at):
    global sent
    xtest.fake_input(x, kind, detail, **at)
    sent += 1
for row in rows:
    wait = began + row["time_stamp"] - origin - time.monotonic()
    if wait > 0:
        x.flush()
        time.sleep(wait)
    action = row["action"]
    if action == "move":
        put(X.MotionNotify, x=int(row["x"]) % size[0], y=int(row["y"]) % size[1])
    elif action == "click":
        put(X.ButtonPress if row["pressed"] else X.ButtonRelease, {"left": 1, "middle": 2, "right": 3}[row["button"]])
    elif action == "scroll":
        put(X.ButtonPress, 4 if row["dy"] > 0 else 5), put(X.ButtonRelease, 4 if row["dy"] > 0 else 5)
        sent -= 1
    else:
        keycode = code.setdefault(row["name"], 24 + len(code) % 10)
        put(X.KeyPress if action == "press" else X.KeyRelease, keycode)
x.sync()
print(json.dumps([sent, time.monotonic() - began]))
"""


def cpu_s(pid: int) -> float:
    """CPU seconds of all threads of a process so far."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def child(pid: int, module: str) -> int:
    """The child process that runs a module of this name, or with this in its name."""
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return next(one for one in children if module.encode() in Path(f"/proc/{one}/cmdline").read_bytes())


def recording() -> list[str]:
    """Lines of events.jsonl of the recording, or of a made-up hand with as many events a second for 30 s."""
    if RECORDING.is_file():
        return RECORDING.read_text(encoding="utf-8").splitlines()
    rows: list[dict[str, object]] = []
    for n in range(12_360):
        at = n / 412
        rows.append({"time_stamp": at, "action": "move", "x": 100 + n % 900, "y": 100 + n % 500})
        if n % 400 == 0:
            rows += [{"time_stamp": at, "action": action, "name": "w"} for action in ("press", "release")]
    return [json.dumps(row) for row in rows]


def flood(rate: int, seconds: float) -> list[str]:
    """Key presses and releases, moves and clicks by turns."""
    rows = []
    for n in range(int(rate * seconds)):
        row: dict[str, object] = {"time_stamp": n / rate, "action": ("press", "release")[n % 2], "name": "w"}
        if n % 4 > 1:
            row = {"time_stamp": n / rate, "action": "move", "x": n % 1000, "y": n % 700}
        rows.append(json.dumps(row))
    return rows


def play(environment: Mapping[str, str], lines: list[str]) -> subprocess.Popen[str]:
    """A hand on the screen's keyboard and pointer, in a process of its own."""
    with tempfile.TemporaryFile("w+") as script:
        script.write("\n".join(lines))
        script.seek(0)
        command = [sys.executable, "-c", _HAND]
        return subprocess.Popen(command, stdin=script, stdout=subprocess.PIPE, env={**os.environ, **environment}, text=True)


def an_event_us(desktop: Desktop, hook: str, rate: int) -> float:
    """Microseconds of the capture process's CPU for one event."""
    source = LiveSource({**os.environ, **desktop.environment()}, hook)
    source.start(boot_ms(), titles=False)
    while not source.screen.width:
        source.poll(boot_ms(), 0.1)
    assert source.pid is not None
    before, seen = cpu_s(source.pid), 0
    hand = play(desktop.environment(), flood(rate, FLOOD_S))
    quiet = time.monotonic()
    while hand.poll() is None or time.monotonic() - quiet < 0.5:
        if found := source.poll(boot_ms(), 0.05):
            seen, quiet = seen + len(found), time.monotonic()
    spent = cpu_s(source.pid) - before
    assert seen >= rate * FLOOD_S, f"{seen} events of {rate * FLOOD_S:.0f} were told"
    assert source.stop()
    hand.communicate()
    return spent / seen * 1e6


@contextmanager
def site() -> Iterator[Installation]:
    """Kafka, the control documents and the control service."""
    with tempfile.TemporaryDirectory(prefix="byleave-bench-") as folder:
        home = Path(folder)
        pki.ensure_pki(home, [ENDPOINT])
        broker.start(home, broker.Ports(*broker.free_ports(2)))
        beacon = None
        try:
            at = load_installation({"BYLEAVE_HOME": folder})
            dev_site(home, at.site, [(ENDPOINT, "subject-a", "team-1")], wall_ms(), os.urandom, consent=True)
            provision.apply(at.kafka("admin"), at.site, load_catalogue(), [ENDPOINT])
            documents = documents_to_publish(home)
            desk.publish(at, "enrol", [record for record in documents if record[0] != "control.state.v1"])
            desk.publish(at, "security", [record for record in documents if record[0] == "control.state.v1"])
            beacon = run(at, {}, "beacon")
            yield at
        finally:
            if beacon is not None:
                beacon.terminate()
                beacon.communicate()
            broker.stop(home)


def run(at: Installation, environment: Mapping[str, str], *words: str) -> subprocess.Popen[str]:
    """`byleave run ...`, until it says that it is ready."""
    child = subprocess.Popen(
        [sys.executable, "-m", "byleave.deploy.cli", "run", *words], stdout=subprocess.PIPE, text=True,
        env={**os.environ, **environment, "BYLEAVE_HOME": str(at.home)},
    )  # fmt: skip
    assert child.stdout is not None
    assert json.loads(child.stdout.readline())["ready"] is True
    return child


@dataclass(frozen=True, slots=True)
class Spent:
    """Of one hook: shares of a core in per cent, events a second that were pressed, and how many of them went which way."""

    idle_agent: float
    idle_worker: float
    replay_agent: float
    replay_worker: float
    rate: float
    sent: int
    accounted: int
    memory_mb: float


def spent(at: Installation, desktop: Desktop, hook: str) -> Spent:
    """Runs a real agent with that hook: first nobody touches anything, then the recording."""
    agent = run(at, desktop.environment(), "agent", "--endpoint", ENDPOINT, "--source", hook)
    path = at.home / "endpoints" / ENDPOINT / "report.json"
    try:
        began = time.monotonic()
        while not (path.exists() and json.loads(path.read_bytes())["capturing"]):
            assert time.monotonic() - began < WAIT_S_MAX, "it does not capture"
            time.sleep(0.1)
        time.sleep(SETTLE_S)
        worker = child(agent.pid, "_worker")
        before = json.loads(path.read_bytes())
        idle = _shares((agent.pid, worker), lambda: time.sleep(IDLE_S))
        told: list[float] = []
        busy = _shares(
            (agent.pid, worker), lambda: told.extend(json.loads(play(desktop.environment(), recording()).communicate()[0]))
        )
        time.sleep(SETTLE_S)
        after = json.loads(path.read_bytes())
        memory = Path(f"/proc/{agent.pid}/status").read_text().split("VmRSS:")[1].split()[0]
    finally:
        agent.terminate()
        agent.communicate()
    assert after["gaps"] == 0, "events were lost"
    accounted = sum(after[name] - before[name] for name in ("captured", "thinned", "out_of_scope"))
    return Spent(idle[0], idle[1], busy[0], busy[1], told[0] / told[1], int(told[0]), accounted, int(memory) / 1024)


def _shares(pids: tuple[int, int], meanwhile: Callable[[], object]) -> list[float]:
    before, began = [cpu_s(pid) for pid in pids], time.monotonic()
    meanwhile()
    took = time.monotonic() - began
    return [(cpu_s(pid) - was) / took * 100 for pid, was in zip(pids, before, strict=True)]


def measure(console: Console) -> list[Figure]:
    figures, desktop = list[Figure](), open_desktop()
    try:
        with console.status("an event at each hook"):
            costs = {(hook, rate): an_event_us(desktop, hook, rate) for hook in WORKERS for rate in RATES}
        for (hook, rate), us in costs.items():
            name = f"{hook}: capture process, an event at {rate:,} a second"
            figures.append(Figure(name, GOAL_US[rate], us, "µs of CPU", at_least=False))
        ratio = costs["x11", RATES[-1]] / costs["pynput", RATES[-1]]
        figures.append(Figure(f"x11 against pynput, at {RATES[-1]:,} a second", 0.8, ratio, "times the CPU", at_least=False))
        with console.status("real agents with each hook: idle, then the recording"), site() as at:
            for hook in WORKERS:
                figures += _figures(hook, spent(at, desktop, hook))
    finally:
        desktop.close()
    return figures


def _figures(hook: str, found: Spent) -> list[Figure]:
    split = (
        f"% of a core ({found.replay_agent:.1f} agent, {found.replay_worker:.1f} capture process; {found.rate:.0f} events/s)"
    )
    whole = found.replay_agent + found.replay_worker
    return [
        Figure(f"{hook}: the recording, from hook to broker", 5, whole, split, at_least=False),
        Figure(f"{hook}: the recording, events told", found.sent, found.accounted, f"of {found.sent:,}"),
        Figure(f"{hook}: idle, agent", 0.2, found.idle_agent, "% of a core", at_least=False),
        Figure(f"{hook}: idle, capture process", 0.2, found.idle_worker, "% of a core", at_least=False),
        Figure(f"{hook}: memory of the agent", 80, found.memory_mb, "MB", at_least=False),
    ]


def main(argv: list[str]) -> int:
    """Prints all figures. 0 if every goal is met."""
    parser = argparse.ArgumentParser("byleave bench capture", description="What capture costs this machine.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    as_json = parser.parse_args(argv).json
    return report(measure(Console(stderr=True)), as_json=as_json)
