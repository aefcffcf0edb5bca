"""`python -m bench [--json]`: the speed goals of this version, each from one run, with the machine that it ran on."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import hop, machine, paths
from byleave.core.settings import load_installation
from byleave.deploy import broker, pki

HOP_EVENTS = 150_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One goal and what was measured. `at_least` tells on which side of the goal the figure must lie."""

    name: str
    goal: float
    found: float
    unit: str
    at_least: bool = True

    @property
    def met(self) -> bool:
        return self.found >= self.goal if self.at_least else self.found <= self.goal

    @property
    def text(self) -> str:
        return f"{self.found:,.0f}" if self.found >= 100 else f"{self.found:.1f}"


def main(argv: list[str]) -> int:
    as_json = "--json" in argv
    console = Console(stderr=as_json)
    figures = [*_paths(console), *_broker(console)]
    about = machine.describe()
    if as_json:
        rows = [{"name": f.name, "goal": f.goal, "found": f.found, "unit": f.unit, "met": f.met} for f in figures]
        print(json.dumps({"machine": about, "figures": rows}))
        return 0
    table = Table(title=", ".join(f"{name} {value}" for name, value in about.items()), title_justify="left")
    for column in ("figure", "goal", "found", "unit", ""):
        table.add_column(column, justify="right" if column in ("goal", "found") else "left")
    for figure in figures:
        sign = "≥" if figure.at_least else "≤"
        table.add_row(
            figure.name, f"{sign} {figure.goal:,.0f}", figure.text, figure.unit, "met" if figure.met else "[bold]missed[/]"
        )
    console.print(table)
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
