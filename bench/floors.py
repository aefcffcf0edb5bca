"""Floors of redaction: no figure may become worse than the best that was measured and written down.

`floors.toml` holds for each set of texts each figure, with the day on which its floor was last raised. "Raised" always means
made stricter: of most figures less is better. Only figures that do not depend on the machine have a floor. What gets out has
its floor where it was found. What is lost or raised for nothing has it half a point beside: a rule that lets less out may cost
so much without a word.
"""

from __future__ import annotations

import datetime
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("floors.toml")
MORE_IS_BETTER = frozenset(("full_recall",))
MARGIN = {"lost": 0.005, "false_bare": 0.005, "false_context": 0.005}
PLACES = 10_000
"""A floor has four places, and so has a figure before it is compared; both are rounded to the worse side."""
_HEAD = """# How well redaction does at least, by set of labelled texts; see bench/floors.py. Shares, not per cent.
# `byleave bench redact --raise-floors` makes them stricter where the figures have become better, and never looser. Only a
# change of the texts themselves is a reason to write a looser floor, by hand, and to say so.
"""


@dataclass(frozen=True, slots=True)
class Floor:
    """The worst allowed value, and when it was last made stricter."""

    floor: float
    raised: datetime.date


Figures = Mapping[str, Mapping[str, float]]
Floors = dict[str, dict[str, Floor]]


def load_floors(text: str) -> Floors:
    """The floors in `text`, a TOML document."""
    return {
        name: {figure: Floor(float(row["floor"]), row["raised"]) for figure, row in rows.items()}
        for name, rows in tomllib.loads(text).items()
    }


def worse(figures: Figures, floors: Floors) -> Iterator[str]:
    """One sentence for each figure that is worse than its floor. A figure that was not measured is not worse."""
    for name, rows in floors.items():
        for figure, row in rows.items():
            found = figures.get(name, {}).get(figure)
            if found is not None and _less_strict(figure, _rounded(figure, found), row.floor):
                yield f"{name}: {figure} is {found:.4f}, its floor since {row.raised} is {row.floor:.4f}"


def raised(figures: Figures, floors: Floors, today: datetime.date) -> Floors:
    """`floors` made as strict as `figures`; where a figure is worse than its floor, the floor stays."""
    out = {name: dict(rows) for name, rows in floors.items()}
    for name, rows in figures.items():
        for figure, found in rows.items():
            kept = out.setdefault(name, {})
            floor = _rounded(figure, found + MARGIN.get(figure, 0.0))
            if figure not in kept or _less_strict(figure, kept[figure].floor, floor):
                kept[figure] = Floor(floor, today)
    return out


def written(floors: Floors) -> str:
    """`floors` as the text of the file."""
    parts = [_HEAD]
    for name, rows in sorted(floors.items()):
        parts.append(f"\n[{name if name.isidentifier() else chr(34) + name + chr(34)}]\n")
        parts += [f"{figure} = {{ floor = {row.floor:.4f}, raised = {row.raised} }}\n" for figure, row in sorted(rows.items())]
    return "".join(parts)


def _less_strict(figure: str, one: float, other: float) -> bool:
    return one < other if figure in MORE_IS_BETTER else one > other


def _rounded(figure: str, found: float) -> float:
    side = math.floor if figure in MORE_IS_BETTER else math.ceil
    return side(round(found * PLACES, 6)) / PLACES
