"""`byleave bench endpoint`: what the endpoint costs while nobody does anything, and how soon it captures.

    start   from the start of the process until it says that it captures, several times, a grant of the control service included
    idle    CPU and memory of the agent, its capture process and the sign that shows it, on an X server that nobody touches

Real agents on a real Kafka on loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.capture import ENDPOINT, child, cpu_s, site
from bench.figures import Figure, report
from byleave.core.settings import Installation
from demo.desktop import Desktop, open_desktop

STARTS, IDLE_S, SETTLE_S, WAIT_S_MAX = 5, 30.0, 3.0, 60.0


def begin(at: Installation, desktop: Desktop) -> tuple[subprocess.Popen[str], float]:
    """An agent that captures, and the seconds until it did."""
    path = at.home / "endpoints" / ENDPOINT / "report.json"
    path.unlink(missing_ok=True)
    began = time.monotonic()
    agent = subprocess.Popen(
        [sys.executable, "-m", "byleave.deploy.cli", "run", "agent", "--endpoint", ENDPOINT, "--source", "x11"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, **desktop.environment(), "BYLEAVE_HOME": str(at.home)},
    )  # fmt: skip
    while not json.loads(path.read_bytes() if path.exists() else b"{}").get("capturing"):
        assert agent.poll() is None, "it ended"
        assert time.monotonic() - began < WAIT_S_MAX, "it does not capture"
        time.sleep(0.01)
    return agent, time.monotonic() - began


def end(agent: subprocess.Popen[str]) -> None:
    agent.terminate()
    agent.wait(20)


def memory_mb(pid: int) -> float:
    """Resident memory, with the files that it maps."""
    rows = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(rows["VmRSS"].split()[0]) / 1024


def measure(at: Installation, desktop: Desktop) -> list[Figure]:
    starts = []
    for _ in range(STARTS):
        agent, seconds = begin(at, desktop)
        starts.append(seconds)
        end(agent)
    agent, _ = begin(at, desktop)
    try:
        time.sleep(SETTLE_S)
        all_three = (agent.pid, child(agent.pid, "record_worker"), child(agent.pid, "person.sign"))
        before, began = [cpu_s(pid) for pid in all_three], time.monotonic()
        time.sleep(IDLE_S)
        took = time.monotonic() - began
        shares = [(cpu_s(pid) - was) / took * 100 for pid, was in zip(all_three, before, strict=True)]
        agent_mb, worker_mb, sign_mb = map(memory_mb, all_three)
    finally:
        end(agent)
    return [
        Figure("start to capturing, median", 3, statistics.median(starts), "s", at_least=False),
        Figure("start to capturing, longest", 3, max(starts), f"s of {STARTS}", at_least=False),
        Figure("idle: agent, capture process and sign", 0.2, sum(shares),
               f"% of a core ({', '.join(f'{share:.2f}' for share in shares)})", at_least=False),
        Figure("idle: memory of the agent", 80, agent_mb, f"MB (capture process {worker_mb:.0f}, sign {sign_mb:.0f})",
               at_least=False),
    ]  # fmt: skip


def main(argv: list[str]) -> int:
    """0 if every goal is met, 1 if one is missed."""
    parser = argparse.ArgumentParser("byleave bench endpoint", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(argv)
    desktop = open_desktop()
    try:
        with site() as at:
            return report(measure(at, desktop), as_json=asked.json)
    finally:
        desktop.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
