"""Runs Spin over the protocol and every variant, and prints what came of it: `python tests/model/check.py`.

Exits 1 on any surprise: a property that breaks, a search that was not exhaustive, a weakened variant in which nothing breaks.
`check.py show NAME` prints the run by which Spin breaks the variants whose name holds NAME.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from generate import text
from variants import ALL, Expected, Variant

SECONDS_MAX = 300
PROCESSES = 2
DEPTH_MAX = 10_000
MEMORY_MIB_MAX = 4_000
ROW = "{:<49} {:<20} {:<21} {:<21} {:>10} {:>8}"


@dataclass(frozen=True)
class Outcome:
    """`found` is "holds" after an exhaustive search, "breaks" with a counterexample, or else why there is no answer."""

    variant: Variant
    found: str
    states: int
    seconds: float

    @property
    def expected(self) -> bool:
        return self.found == ("holds" if self.variant.expected is Expected.HOLDS else "breaks")


def _run(folder: Path, *command: str) -> str:
    """What a program prints. Raises CalledProcessError, TimeoutExpired."""
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS_MAX, check=True
    )
    return done.stdout


def judge(report: str) -> str:
    """What the verifier's report says. Doubt is no proof: anything but a full search without errors is not "holds"."""
    if "assertion violated" in report and re.search(r"errors: [1-9]", report):
        return "breaks"
    whole = "errors: 0" in report and not re.search(r"not completed|truncated|too small|out of memory|resource", report)
    return "holds" if whole else "no answer"


def search(variant: Variant, folder: Path) -> Outcome:
    """Generates, compiles and searches one variant in `folder`."""
    started, holds = time.monotonic(), variant.expected is Expected.HOLDS
    (folder / "halt.pml").write_text(text(variant.rules), encoding="utf-8")
    _run(folder, "spin", "-a", "halt.pml")
    # -DSAFETY: assertions only. What must come about in the end is an assertion too, once everything was read.
    _run(folder, "cc", "-O2" if holds else "-O1", "-w", "-DSAFETY", f"-DMEMLIM={MEMORY_MIB_MAX}", "-o", "pan", "pan.c")
    report = _run(folder, "./pan", "-E", f"-m{DEPTH_MAX}", "-w24" if holds else "-w20")
    states = re.search(r"(\S+) states, stored", report)
    return Outcome(variant, judge(report), int(float(states[1])) if states else 0, time.monotonic() - started)


def _searched(variant: Variant) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="byleave-model-") as folder:
        try:
            return search(variant, Path(folder))
        except (subprocess.SubprocessError, OSError) as error:
            return Outcome(variant, f"no answer: {type(error).__name__}", 0, 0.0)


def _row(outcome: Outcome) -> str:
    variant, surprise = outcome.variant, "" if outcome.expected else "  <- surprise"
    found = "reached" if variant.expected is Expected.REACHED and outcome.found == "breaks" else outcome.found
    cells = (variant.name, variant.asked, variant.expected.value, found, f"{outcome.states:,}", f"{outcome.seconds:.1f}")
    return ROW.format(*cells) + surprise


def check(variants: Sequence[Variant] = ALL) -> list[Outcome]:
    """Searches all of them, two at a time, the long ones first; prints a row each, in order."""
    outcomes = []
    print(ROW.format("variant", "property", "expected", "found", "states", "seconds"))  # noqa: T201
    with ThreadPoolExecutor(PROCESSES) as pool:
        for outcome in pool.map(_searched, variants):
            outcomes.append(outcome)
            print(_row(outcome), flush=True)  # noqa: T201
    return outcomes


def show(name: str) -> int:
    """Prints the counterexample of each variant whose name holds `name`; 1 if there is none."""
    shown = 0
    for variant in (v for v in ALL if name in v.name and v.expected is not Expected.HOLDS):
        with tempfile.TemporaryDirectory(prefix="byleave-model-") as folder:
            if search(variant, Path(folder)).found == "breaks":
                sys.stdout.write(f"{variant.name}\n{_run(Path(folder), 'spin', '-t', '-p', '-g', '-l', 'halt.pml')}\n")
                shown += 1
    return int(shown == 0)


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["show"] and len(arguments) == 2:
        return show(arguments[1])
    surprises = [outcome for outcome in check() if not outcome.expected]
    print(f"{len(ALL) - len(surprises)} of {len(ALL)} as expected")  # noqa: T201
    return int(bool(surprises))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
