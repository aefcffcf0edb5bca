"""`byleave bench [halt | redact | capture | endpoint | observer] [--json]`: the goals of this version, each from one run, with
its machine; `observer` has none, it says what sizes and times give away."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from bench import halt, hop, paths
from bench.figures import Figure, report
from byleave.core.settings import load_installation
from byleave.deploy import broker, pki

HOP_EVENTS = 150_000
OWN = ("halt", "redact", "capture", "endpoint", "observer")


def main(argv: list[str]) -> int:
    """All figures; with `halt`, `redact`, `capture`, `endpoint` or `observer` and their options those of it."""
    if argv and argv[0] in OWN:
        return int(importlib.import_module(f"bench.{argv[0]}").main(argv[1:]))
    parser = argparse.ArgumentParser("byleave bench", description=f"{main.__doc__} Each has a --help of its own.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    as_json = parser.parse_args(argv).json
    console = Console(stderr=True)
    figures = [*_paths(console), *_broker(console)]
    with console.status("halts of real agents"):
        figures += halt.measure(halt.Size(endpoints=5, halts=4, clients=20, seeds=1))[0]
    report(figures, as_json=as_json)
    return 0


def _paths(console: Console) -> list[Figure]:
    with console.status("batches: seal, open, redact"):
        full = {cost.name.split(":")[0]: cost for cost in paths.measure("full")}
        ordinary = paths.measure("ordinary")
    by_name = {cost.name: cost.us_a_batch for cost in ordinary}
    whole = by_name["redactor: whole path"]
    record, plain, sealed = hop.event_bytes()
    return [
        Figure("full batches: redactor, open to seal, one core", 20_000, full["redactor"].events_a_second, "key events/s"),
        Figure("full batches: seal and sign at the endpoint", 3, full["endpoint"].us_a_batch / 250, "µs/event", at_least=False),
        Figure(
            "full batches: size before sealing",
            20,
            plain,
            f"bytes/event (one record each: {record:.0f}; sealed: {sealed:.1f})",
            at_least=False,
        ),
        Figure(
            "ordinary batches: crypto at the endpoint", 150, by_name["endpoint: pack, seal, sign"], "µs/batch", at_least=False
        ),
        Figure(
            "ordinary batches: crypto at the redactor",
            250,
            by_name["redactor: parse, verify, open"],
            "µs/batch",
            at_least=False,
        ),
        Figure("ordinary batches: active endpoints a core", 1_000, 1e6 / whole, "endpoints at one batch a second"),
    ]


def _broker(console: Console) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="byleave-bench-") as folder, console.status("Kafka: start, then both hops"):
        home = Path(folder)
        pki.ensure_pki(home, ["ep-bench"])
        try:
            ready = broker.start(home, broker.Ports(*broker.free_ports(2))).ready_s
            installation = load_installation({"BYLEAVE_HOME": str(home)})
            event, batch = hop.run(installation.kafka("admin"), HOP_EVENTS)
        finally:
            broker.stop(home)
    ratio = batch.per_cpu_s / event.per_cpu_s
    note = f"times ({batch.per_cpu_s:,.0f} against {event.per_cpu_s:,.0f} events per CPU-second)"
    return [
        Figure("embedded broker: ready", 8, ready, "s", at_least=False),
        Figure("transport hop, exactly once, mTLS, against one message an event", 25, ratio, note),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
