"""What is asked of the model, and what must come of it: of the full protocol, of one rule less, and where no rule is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from generate import (
    AHEAD,
    COVERS_APPEND,
    COVERS_HI,
    JUMPING_CLOCK,
    LAST,
    LIES,
    LISTED,
    NOT_AHEAD,
    NOT_OLDER,
    PROPERTIES,
    STATE_READ,
    any_beacon,
    conditions,
    options,
)


class Expected(Enum):
    """HOLDS: every state was visited. BREAKS: a run breaks the property. LIMIT: breaks, and the protocol does not claim it."""

    HOLDS = "holds"
    BREAKS = "breaks"
    LIMIT = "breaks (known limit)"
    REACHED = "reached"


@dataclass(frozen=True)
class Variant:
    """`asked` is one property, or several joined by a comma; `changes` are rules put in the place of the full protocol's."""

    name: str
    asked: str
    expected: Expected
    changes: Mapping[str, str] = field(default_factory=dict)

    @property
    def rules(self) -> Mapping[str, str]:
        own = "asked" in self.changes  # a property told in the model's own words
        asked = {} if own else {"asked": " && ".join(PROPERTIES[name] for name in self.asked.split(", "))}
        return {"headline": f"Variant: {self.name}. Asked: {self.asked}.", **asked, **self.changes}


LYING = {"whose": LIES}
JUMP = {"clock": JUMPING_CLOCK, "times": str(LAST + 2 + AHEAD)}
THIS_EPOCH = any_beacon("{0} <= heard && epoch_of[{0}] == STAMP && {0} >= hi && {0} + SKEW >= append")
NEXT_EPOCH = {
    "liar_epochs": options("newest < EPOCHS -> epoch = newest + 1"),
    "remembers": "byte arrived = 0; bool early = false; /* nobody knows this either */",
    "arrives": "arrived = now;",
    "admits": f"early = !({any_beacon('epoch_of[{0}] >= epoch && {0} <= arrived + 2 * SKEW')});",
    "asked": "!(batch == ADMITTED && early)",
    **LYING,
}
"""A liar names an epoch that is not signed yet. What must not be: admitted, though it came twice the skew before its epoch."""
UNHEARD = "last != 0 && effective[{0}] == 0 -> effective[{0}] = last; lifted[{0}] = newest"

FULL = (
    Variant("full protocol, honest endpoint", "safe, bounded, owed", Expected.HOLDS),
    Variant("full protocol, lying endpoint", "stamped, owed", Expected.HOLDS, LYING),
    Variant("full protocol, liar names the next epoch", "none of before its epoch", Expected.HOLDS, NEXT_EPOCH),
)
WEAKENED = (
    Variant("flag at the processor", "safe", Expected.BREAKS, {"closes": "true"}),
    Variant("fence asks for a fresh beacon only", "safe", Expected.BREAKS, {"closes": "heard != 0 && now < heard + LEASE"}),
    Variant("effective = now", "safe", Expected.BREAKS, {"effective": "WALL"}),
    Variant("no lease", "bounded", Expected.BREAKS, {"may_capture": conditions(NOT_AHEAD, LISTED)}),
    Variant("beacons do not list orders", "bounded", Expected.BREAKS, {"lists_0": "false", "lists_1": "false"}),
    Variant("beacon of one epoch only", "owed", Expected.BREAKS, {"closes": THIS_EPOCH}),
    Variant("stamp without epoch", "safe", Expected.BREAKS, {"stamp_epoch": "state"}),
    Variant("beacon closes before its state is read", "safe", Expected.BREAKS,
            {"closes": conditions(NOT_OLDER, COVERS_HI, COVERS_APPEND)}),
    Variant("beacon need not cover the broker's stamp", "stamped", Expected.BREAKS,
            {"closes": conditions(NOT_OLDER, STATE_READ, COVERS_HI), **LYING}),
    Variant("order does not refuse by the broker's stamp", "stamped", Expected.BREAKS, {"stamp_refuses": "", **LYING}),
    Variant("an epoch has no beginning", "none of before its epoch", Expected.BREAKS, {**NEXT_EPOCH, "begun": "true"}),
    Variant("a resume lifts what nobody heard the time of", "safe", Expected.BREAKS,
            {"resumes_0": UNHEARD.format(0), "resumes_1": UNHEARD.format(1)}),
)  # fmt: skip
LIMITS = (
    Variant("service's clock set forward after a grant", "safe", Expected.LIMIT, JUMP),
)  # fmt: skip


def _reached(name: str, never: str, changes: Mapping[str, str] | None = None) -> Variant:
    return Variant(name, "can it be", Expected.REACHED, {"asked": f"!({never})", **(changes or {})})


REACHED = (
    _reached("a liar is admitted", "batch == ADMITTED", LYING),
    _reached("admitted after a renewal", "batch == ADMITTED && epoch < vouched && lifted[0] == 0 && lifted[1] == 0"),
    _reached("admitted while an order about others stands",
             "batch == ADMITTED && IN_FORCE(1, newest) && !mine[1] && captured >= effective[1]"),
    _reached("captured late, within the lease", "batch == CAPTURED && STOPPED(0) && captured >= effective[0]"),
    _reached("admitted after a resume, before a second order",
             "batch == ADMITTED && LIFTED_BY(0, epoch) && STOPPED(1) && captured < effective[1]"),
)  # fmt: skip
ALL = (*FULL, *WEAKENED, *LIMITS, *REACHED)
