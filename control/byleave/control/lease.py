"""Whether an endpoint may capture at this moment (P2; docs/formats/control.md, section 4).

Pure: no clock, no socket, no file. The agent asks before every event, the simulator asks a million times.

Promises  capture is allowed only while somebody else vouched, less than a lease ago, for the state this endpoint obeys.
Refuses   everything else. Silence, delay, sleep, replay and doubt all end in the same answer: no.

`boot` times come from a clock that counts while the machine sleeps; the service's clock is never compared with a wall clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from byleave.control.documents import Beacon

DRIFT_PPM_MAX = 500
"""How far a quartz clock may run from true time before this bound is no bound."""
LEASE_MS_MAX = 10_000
"""Whatever a beacon says, a lease is not longer: a stolen beacon key cannot stretch it."""
LEAD_MS_MAX = 100
"""How far a beacon may be ahead of the latest that the service's clock could read: it is counted in milliseconds and slewed."""


class Verdict(Enum):
    """Why capture is, or is not, allowed. The text is what the person at the keyboard reads."""

    CAPTURE = "capturing, with your permission"
    NO_GRANT = "not capturing: this machine has not been admitted since it started"
    HALTED = "not capturing: halted by order"
    STALE = "not capturing: the control service has not been heard of in time"
    DISAGREES = "not capturing: the control service vouches for another state"
    OVER = "not capturing: this session has reached its end, a new one is asked for"


@dataclass(frozen=True, slots=True)
class Permit:
    """A verified grant to this endpoint's own nonce, with the boot time at which the request was sent: ties the two clocks."""

    service_ms: int
    request_boot_ms: int
    not_after_ms: int


def permit_time_ms(permit: Permit, boot_ms: int) -> int:
    """The latest that the service's clock can read now; never early, so a lease can only end too soon.

    Counted from the moment the request was *sent*: whoever delays the answer shortens the lease, never stretches it.
    """
    elapsed_ms = boot_ms - permit.request_boot_ms
    # divided, not multiplied by (1 + drift): that falls short of the bound by the square of the drift
    return permit.service_ms + elapsed_ms * 1_000_000 // (1_000_000 - DRIFT_PPM_MAX) + 1


def verdict(permit: Permit | None, beacon: Beacon | None, state_digest: str, *, halted: bool, boot_ms: int) -> Verdict:
    """Decide at `boot_ms`. `halted` is any halt that matches this endpoint, ordered or local; it outranks everything."""
    if halted:
        return Verdict.HALTED
    if permit is None or boot_ms < permit.request_boot_ms:  # the clock restarted: a grant of a former boot is worth nothing
        return Verdict.NO_GRANT
    now_ms = permit_time_ms(permit, boot_ms)
    if beacon is None or now_ms >= beacon.service_ms + min(beacon.lease_ms, LEASE_MS_MAX):
        return Verdict.STALE
    if beacon.service_ms > now_ms + LEAD_MS_MAX:  # the service's clock was set ahead, or its key is in other hands
        return Verdict.OVER
    if beacon.state != state_digest:
        return Verdict.DISAGREES
    return Verdict.CAPTURE if now_ms < permit.not_after_ms else Verdict.OVER
