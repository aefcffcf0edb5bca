"""Edge: a new version goes out in rings, and no further where what it writes is refused (P8).

Whoever installs (MDM, packages) installs on the endpoints that `rollout` names; which those are follows from version and
pseudonym, so that each version begins with others, and nobody chooses whom. The next ring opens after the last one has stood
long enough without more refusals than are borne. At the end a state names the version as the least that may capture
(`byleave resume --minimum`): that takes k of n, and is the only part of a rollout that an endpoint must believe.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from byleave.control import desk
from byleave.control.ordering import PRINCIPAL
from byleave.control.versions import is_version
from byleave.core import codec
from byleave.core.clock import wall_ms
from byleave.core.errors import Forged, Misconfigured, Refused, Transient
from byleave.core.kafka import KafkaTail
from byleave.core.keys import replace_file
from byleave.core.settings import Installation

HOUR_MS = 3_600_000
READ_S_MAX = 60.0
EXPECTED = frozenset({
    "halted", "revoked", "discarded", "no-consent", "no-run", "leave-over", "enrolment-over", "too-old", "duplicate-sequence",
    "key-destroyed",
})  # fmt: skip
"""Reasons that follow from what people ordered, or from a network that was away: no software is to blame for them."""


def in_ring(version: str, endpoint: str, percent: int) -> bool:
    """Whether an endpoint is among the first `percent` of a version. A larger ring holds every smaller one."""
    drawn = hashlib.sha256(f"{version}/{endpoint}".encode()).digest()
    return int.from_bytes(drawn[:8], "big") * 100 < percent << 64


def may_open(rings: list[dict[str, int]], percent: int, refused: int, refused_max: int, now_ms: int, hold_ms: int) -> None:
    """Raises Refused: `stopped` (more refusals than are borne), `too-early`, `not-wider`."""
    if not rings:
        return
    last = rings[-1]
    if refused > refused_max:
        said = f"{refused} batches of the ring of {last['percent']} % were refused, {refused_max} are borne: it goes no further"
        raise Refused(said, reason="stopped")
    if percent <= last["percent"]:
        raise Refused(f"the ring of {last['percent']} % is open already", reason="not-wider")
    if now_ms < last["since_ms"] + hold_ms:
        raise Refused(f"the ring of {last['percent']} % has not stood for {hold_ms // HOUR_MS} h yet", reason="too-early")


def open_ring(at: Installation, version: str, percent: int, *, refused_max: int, hold_h: int) -> dict[str, Any]:
    """Opens the next ring, and names who is in it and who is new. If it raises (Refused, Misconfigured, Transient), none."""
    if not is_version(version) or not 1 <= percent <= 100:
        raise Misconfigured("--version is up to four numbers with dots between; --ring is 1 to 100 percent")
    knowledge = desk.read_now(at, PRINCIPAL)
    names = sorted(knowledge.enrolments.keys() - knowledge.revoked.keys())
    path, now_ms = at.home / "fleet" / f"rollout-{version}.json", wall_ms()
    rings = _rings(path)
    before = {name for name in names if rings and in_ring(version, name, rings[-1]["percent"])}
    refused = _refused(at, before, min(ring["since_ms"] for ring in rings)) if rings else Counter[str]()
    may_open(rings, percent, refused.total(), refused_max, now_ms, hold_h * HOUR_MS)
    replace_file(path, json.dumps([*rings, {"percent": percent, "since_ms": now_ms}]).encode())
    ring = [name for name in names if in_ring(version, name, percent)]
    new = [name for name in ring if name not in before]
    return {"version": version, "percent": percent, "endpoints": ring, "new": new, "refused": dict(refused), "of": len(names)}


def _rings(path: Path) -> list[dict[str, int]]:
    try:
        return [{"percent": int(one["percent"]), "since_ms": int(one["since_ms"])} for one in json.loads(path.read_bytes())]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError):
        raise Misconfigured(f"{path} is damaged: restore it, or move it away to begin with the first ring again") from None


def _refused(at: Installation, names: Iterable[str], since_ms: int) -> Counter[str]:
    """What was refused of these endpoints since then, by reason. Raises Transient if not all of it can be read."""
    wanted, found = {name.encode() for name in names}, Counter[str]()
    tail = desk.persistent(
        lambda: KafkaTail(at.kafka(PRINCIPAL), at.topic(f"{PRINCIPAL}-rollout"), [at.topic("refused.v1")]), 2
    )
    until_s = time.monotonic() + READ_S_MAX
    with closing(tail):
        while not tail.caught_up:
            if time.monotonic() > until_s:
                raise Transient(f"refused.v1 could not be read to its end in {READ_S_MAX:.0f} s")
            for record in tail.read(0.2):
                if record.key in wanted and record.append_ms >= since_ms:
                    found[_reason(record.value)] += 1
    for reason in EXPECTED:
        del found[reason]
    return found


def _reason(value: bytes | None) -> str:
    try:
        return str(codec.decode("refusal", value)["reason"])
    except Forged:
        return "malformed"  # whoever may write there wrote this: better one too many than one too few
