"""`byleave bench halt`: how soon everything stops, in one run on loopback, with the processes that a site has.

    order to worker reaped   from before the order is signed until an endpoint's capture process was reaped (boot clock of both)
    order to all             until the last of many clients, each a connection of its own over mutual TLS, has read the order
    broker-side stop         until the broker denies its first write to a client that does not care about orders
    unreachable endpoints    cut off or stopped by a signal: until the board may say that no lease is left; what they captured
    simulated endpoints      seeded worlds of a thousand: leaks, and anybody UNKNOWN when all leases are over

The endpoints are the product's agents; a typist sits where the keyboard hook would (tests/assets/halt_fleet.py).
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, Producer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "assets"))

from halt_fleet import LEASE_MS, Halted, HaltFleet, Listeners, await_true, why_no_wire
from halt_world import one

from bench.figures import Figure, report
from byleave.core.clock import boot_ms
from byleave.core.kafka import producer_options

SIMULATED = 1_000
CERTAIN_S = LEASE_MS / 1000 + 1.0 + 0.5
"""Lease and one second, and half a second to be read."""
WRITE_EVERY_S = 0.002
WRITE_BYTES = b"not a batch: a client that writes whatever was ordered"


@dataclass(frozen=True, slots=True)
class Size:
    endpoints: int = 20
    halts: int = 10
    clients: int = 200
    seeds: int = 3


_CARELESS: dict[str, str | int | bool] = {"enable.idempotence": False, "linger.ms": 0, "acks": "1"}


class Writer:
    """Writes to the raw topic one record after the other, as an endpoint that obeys nobody; says when it is first denied."""

    def __init__(self, connection: Any, topic: str) -> None:
        self._connection, self._topic = connection, topic
        self.written = threading.Event()
        self.denied_ms: int | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self.written.wait(30), "it could not write before the halt"

    def first_denied_ms(self, seconds: float) -> int:
        self._thread.join(seconds)
        assert self.denied_ms is not None, "the broker never denied it"
        return self.denied_ms

    def _run(self) -> None:
        options = producer_options(self._connection, **_CARELESS)
        producer = Producer(options)

        def answered(error: Any, _: Any) -> None:
            if error is None:
                self.written.set()
            elif self.denied_ms is None:
                self.denied_ms = boot_ms()

        while self.denied_ms is None:
            try:
                producer.produce(self._topic, WRITE_BYTES, b"k", on_delivery=answered)
            except KafkaException:
                answered(True, None)
            producer.flush(5)
            time.sleep(WRITE_EVERY_S)


def measure(size: Size) -> tuple[list[Figure], dict[str, Any]]:
    """The figures, and what they were made from."""
    with tempfile.TemporaryDirectory(prefix="byleave-halt-") as folder:
        far = 0 if why_no_wire() else 1
        with HaltFleet(Path(folder) / "home", size.endpoints, far) as fleet:
            rounds = [one_halt(fleet, None) for _ in range(size.halts)]
            gone = unreachable(fleet)
            fleet.resume()
            with listening(fleet, size.clients) as listeners:
                crowded = [one_halt(fleet, listeners) for _ in range(max(2, size.halts // 2))]
            late = len(fleet.late(fleet.fence.admitted))
            foreign = dict(fleet.foreign.failed)
    worlds = [one(seed, SIMULATED) for seed in range(size.seeds)]
    leaks = sum(len(faults) for _, faults, _ in worlds)
    reaped = sorted(ms for each in rounds for ms in each["reaped_ms"])
    heard = sorted(ms for each in crowded for ms in each["heard_ms"])
    brakes = sorted(each["denied_ms"] for each in rounds)
    limits = [
        (
            "order to worker reaped, p50",
            50,
            percentile(reaped, 50),
            f"ms, {len(reaped)} of {size.endpoints} endpoints in {size.halts} halts",
        ),
        ("order to worker reaped, p99", 500, percentile(reaped, 99), "ms"),
        ("order to worker reaped, longest", 1_000, reaped[-1], "ms"),
        ("order to all clients, p99", 250, percentile(heard, 99), f"ms, {size.clients} clients over mTLS"),
        ("order to the broker's own stop, p50", 100, percentile(brakes, 50), "ms"),
        ("order to the broker's own stop, longest", 100, brakes[-1], "ms"),
        ("unreachable: the board is certain", CERTAIN_S, gone["certain_s"], "s after the order counted"),
        ("unreachable: captured after lease + 1 s", 0, gone["after_lease"], "marks"),
        ("typed under a halt and admitted", 0, late, "marks"),
        ("foreign topic: failed writes", 0, sum(foreign.values()), "records"),
        ("simulated: leaks, or UNKNOWN at lease + 1 s", 0, leaks, f"in {size.seeds} worlds of {SIMULATED:,}"),
    ]
    figures = [Figure(*limit, at_least=False) for limit in limits]
    return figures, {"size": asdict(size), "rounds": rounds, "crowded": crowded, "unreachable": gone}


def one_halt(fleet: HaltFleet, listeners: Listeners | None) -> dict[str, Any]:
    """Everybody captures, the order is given, everybody has signed; then the resume."""
    fleet.await_capturing()
    writer = Writer(fleet.at.kafka(fleet.names[-1]), fleet.at.topic("raw.events.v1"))
    halted = fleet.halt()
    fleet.effective(halted)
    fleet.acked(halted)
    await_true(lambda: all(reaped_ms(fleet, halted, name) for name in fleet.names), 5.0, "all reports tell of the halt")
    found: dict[str, Any] = {
        "published_ms": halted.sent_ms - halted.ordered_ms,
        "effective_ms": (halted.effective_ms or 0) - halted.ordered_ms,
        "reaped_ms": sorted(reaped_ms(fleet, halted, name) - halted.ordered_ms for name in fleet.names),
        "heard_ms": [ms - halted.ordered_ms for ms in listeners.heard(halted.halt_id)] if listeners else [],
        "denied_ms": writer.first_denied_ms(20) - halted.ordered_ms,
    }
    assert listeners is None or len(found["heard_ms"]) == listeners.clients, "a client did not hear the order"
    fleet.resume()
    return found


def reaped_ms(fleet: HaltFleet, halted: Halted, name: str) -> int:
    told = fleet.report(name).get("halt") or {}
    return int(told["reaped_boot_ms"]) if told.get("halt_id") == halted.halt_id else 0


def unreachable(fleet: HaltFleet) -> dict[str, Any]:
    """One endpoint behind a cut cable, where this machine has network namespaces, and one stopped by a signal."""
    fleet.await_capturing()
    stopped, gone = fleet.names[-1], [*fleet.far, fleet.names[-1]]
    for wire in fleet.wires.values():
        wire.cut()
    fleet.agents[stopped].signal(signal.SIGSTOP)
    halted = fleet.halt()
    effective_ms = fleet.effective(halted)
    await_true(lambda: set(gone) <= set(fleet.standing(halted, "LEASE_ENDED")), 30.0, "no lease is left")
    certain_s = (boot_ms() - effective_ms) / 1000
    time.sleep(2.0)
    kept = [mark for name in gone for mark in (*fleet.spooled(name), *fleet.fence.captured) if mark.endpoint == name]
    for wire in fleet.wires.values():
        wire.mend()
    fleet.agents[stopped].signal(signal.SIGCONT)
    fleet.acked(halted, seconds=60.0)
    kept += [mark for mark in fleet.fence.captured if mark.endpoint in gone]
    return {
        "endpoints": {"cut off": len(fleet.far), "stopped by a signal": 1},
        "certain_s": certain_s,
        "last_captured_s": max(mark.typed_ms - effective_ms for mark in kept) / 1000,
        "after_lease": len({mark for mark in kept if mark.typed_ms >= effective_ms + LEASE_MS + 1_000}),
    }


@contextlib.contextmanager
def listening(fleet: HaltFleet, clients: int) -> Iterator[Listeners]:
    listeners = Listeners(fleet.at, fleet.environment, fleet.names, clients)
    try:
        yield listeners
    finally:
        listeners.close()


def percentile(values: Sequence[int], percent: int) -> float:
    """The value that so many per cent do not exceed (nearest rank)."""
    return float(sorted(values)[max(0, -(-len(values) * percent // 100) - 1)])


def main(argv: list[str]) -> int:
    """0 if every goal is met, 1 if one is missed."""
    size = Size()
    parser = argparse.ArgumentParser("byleave bench halt", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--endpoints", type=int, default=size.endpoints, help="agents, each a process")
    parser.add_argument("--halts", type=int, default=size.halts)
    parser.add_argument("--clients", type=int, default=size.clients, help="readers of the control topic, each a connection")
    parser.add_argument("--seeds", type=int, default=size.seeds, help="simulated worlds of a thousand endpoints")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(argv)
    figures, more = measure(Size(asked.endpoints, asked.halts, asked.clients, asked.seeds))
    return report(figures, as_json=asked.json, more=more)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
