"""Writes the Promela text of the halt protocol: the full one, or with other rules in the place of its own.

In: the rules to replace. Out: `halt.pml.in` with all rules in their places, and an option for each beacon, state and stamp.
`python tests/model/generate.py > tests/model/halt.pml` writes the full protocol down, for those who read it without running it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template

TEMPLATE = Path(__file__).with_name("halt.pml.in")
LAST, LEASE, SKEW, EPOCHS = 4, 2, 1, 3
"""In ticks. Long enough that an order counts, is outlived by a stamp and a lease, and is lifted, with a renewal beside it."""
AHEAD = 2
"""By how much the clock of the service jumps, where it does."""
TIMES = LAST + 2

CLOCK = """#define WALL now /* the wall clock of the beacon service */
proctype Clock() {
  do
  :: now <= LAST -> now++
  od
}"""
JUMPING_CLOCK = f"""byte ahead = 0;
#define WALL (now + ahead) /* the wall clock of the beacon service, set forward once */
proctype Clock() {{
  do
  :: now <= LAST -> now++
  :: atomic {{ now <= LAST && ahead == 0 -> ahead = {AHEAD} }}
  od
}}"""
PROPERTIES = {
    "safe": "SAFE(0) && SAFE(1)",
    "stamped": "STAMPED(0) && STAMPED(1)",
    "bounded": "BOUNDED(0) && BOUNDED(1)",
    "owed": "!withheld",
}
HONEST, LIES = "run Endpoint(); run Broker()", "run Liar()"
EFFECTIVE = "LATER(WALL, last + 1)"
RESUMES = "effective[{0}] != 0 && lifted[{0}] == 0 -> lifted[{0}] = newest"
LISTED = "!(mine[0] && names_0[heard]) && !(mine[1] && names_1[heard])"
NOT_AHEAD = "heard <= hi"
NOT_OLDER = "heard != 0 && epoch_of[heard] >= STAMP"
STATE_READ = "epoch_of[heard] <= state"
COVERS_HI = "heard >= hi"
COVERS_APPEND = "heard + SKEW >= append"


def conditions(*parts: str) -> str:
    return " && ".join(parts)


def lines(indent: int, form: str, first: int, last: int) -> str:
    """`form` once for each number, as options of an `if`."""
    return "\n".join(" " * indent + form.format(n) for n in range(first, last + 1))


def options(*forms: str) -> str:
    return "\n".join(f"       :: {form}" for form in forms)


def any_beacon(form: str) -> str:
    return " || ".join(f"({form.format(t)})" for t in range(1, TIMES))


FULL: Mapping[str, str] = {
    "headline": "The full protocol.",
    "last": str(LAST),
    "lease": str(LEASE),
    "skew": str(SKEW),
    "epochs": str(EPOCHS),
    "times": str(TIMES),
    "clock": CLOCK,
    "resumes_0": RESUMES.format(0),
    "resumes_1": RESUMES.format(1),
    "effective": EFFECTIVE,
    "lists_0": "IN_FORCE(0, vouched)",
    "lists_1": "IN_FORCE(1, vouched)",
    "hears": lines(7, ":: epoch_of[{0}] != 0 -> heard = {0}", 1, TIMES - 1),
    "may_capture": conditions("hi < heard + LEASE", NOT_AHEAD, LISTED),
    "liar_epochs": lines(7, ":: newest >= {0} -> epoch = {0}", 1, EPOCHS),
    "stamps": options("hi = now", "hi = now + 1"),
    "liar_stamps": options("hi = 0"),
    "reads_states": lines(7, ":: newest >= {0} -> state = {0}", 1, EPOCHS),
    "listed_before_0": any_beacon("names_0[{0}] && {0} < heard"),
    "listed_before_1": any_beacon("names_1[{0}] && {0} < heard"),
    "clears": "; ".join(f"epoch_of[{t}] = 0; names_0[{t}] = 0; names_1[{t}] = 0" for t in range(1, TIMES)),
    "asked": " && ".join(PROPERTIES.values()),
    "whose": HONEST,
    "stamp_epoch": "epoch",
    "begun": any_beacon("epoch_of[{0}] >= STAMP && {0} <= append + SKEW"),
    "remembers": "",
    "arrives": "",
    "admits": "",
    "stamp_refuses": " || append > effective[i] + SKEW",
    "closes": conditions(NOT_OLDER, STATE_READ, COVERS_HI, COVERS_APPEND),
}


def text(changes: Mapping[str, str] | None = None) -> str:
    """The model with these rules in place of the full protocol's. Raises KeyError for a rule that there is not."""
    unknown = set(changes or {}) - set(FULL)
    if unknown:
        raise KeyError(f"no such rule: {sorted(unknown)}")
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute({**FULL, **(changes or {})})


if __name__ == "__main__":
    sys.stdout.write(text())
