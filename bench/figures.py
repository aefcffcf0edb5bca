"""A goal, what was measured, and how both are printed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import machine


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
        if self.found >= 100 or self.found == int(self.found):
            return f"{self.found:,.0f}"
        return f"{self.found:.1f}" if self.found >= 10 else f"{self.found:.2f}"


def report(figures: Sequence[Figure], *, as_json: bool, more: Mapping[str, Any] | None = None) -> int:
    """Prints them with the machine they were measured on. Returns 0 if every goal is met, else 1."""
    about = machine.describe()
    met = all(figure.met for figure in figures)
    if as_json:
        rows = [{"name": f.name, "goal": f.goal, "found": f.found, "unit": f.unit, "met": f.met} for f in figures]
        print(json.dumps({"machine": about, "figures": rows, "met": met, **(more or {})}))
        return 0 if met else 1
    table = Table(title=", ".join(f"{name} {value}" for name, value in about.items()), title_justify="left")
    for column in ("figure", "goal", "found", "unit", ""):
        table.add_column(column, justify="right" if column in ("goal", "found") else "left")
    for figure in figures:
        goal = f"{'≥' if figure.at_least else '≤'} {figure.goal:,.1f}".removesuffix(".0")
        table.add_row(figure.name, goal, figure.text, figure.unit, "met" if figure.met else "[bold]missed[/]")
    Console().print(table)
    return 0 if met else 1
