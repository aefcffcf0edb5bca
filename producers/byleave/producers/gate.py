"""Whether this endpoint may capture now, with the sentence that the person reads (P1, P2).

Pure. Combines what the lease says with what was agreed: state, manifest and consent, orders, and the person's own switches.
Every doubt is a no; the first reason that stands is the one that is told.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from byleave.control import lease
from byleave.control.documents import Grant, Manifest, Run
from byleave.control.knowledge import Knowledge
from byleave.control.lease import Permit, permit_time_ms
from byleave.control.versions import older

ROUND_TRIP_MS_MAX = 1_500
"""A grant that took longer is asked for again: it would put our stamps ahead of the broker's clock, which the fence refuses."""
RENEW_MS = 600_000
"""Age at which a permit is renewed within its session (ruling 21): 500 ppm of drift are 0.3 s by then."""


class Answer(Enum):
    """Why capture is, or is not, allowed. The text is what the person reads."""

    CAPTURE = lease.Verdict.CAPTURE.value
    PAUSED = "not capturing: paused by you, until you lift it"
    HALTED_HERE = "not capturing: halted on this machine"
    HALTED = lease.Verdict.HALTED.value
    NO_SIGN = "not capturing: the sign that shows capture is gone"
    FULL = "not capturing: this machine has no room left for what is waiting to be sent"
    UNREAD = "not capturing: the control documents have not been read yet"
    OUT_OF_DATE = "not capturing: this version of the agent is older than the state in force allows; update it"
    NO_LEAVE = "not capturing: no state in force allows this machine to capture"
    NO_MANIFEST = "not capturing: the manifest in force is missing, not validly signed, incomplete, or has run out"
    NO_CONSENT = "not capturing: you have not agreed to the manifest in force"
    DRIFT = "not capturing: more than the manifest promises was about to be recorded; restart the agent to try again"
    NO_GRANT = lease.Verdict.NO_GRANT.value
    STALE = lease.Verdict.STALE.value
    DISAGREES = lease.Verdict.DISAGREES.value
    OVER = lease.Verdict.OVER.value


_ASK = (Answer.NO_GRANT, Answer.OVER)
"""A new grant would help; all else must pass by itself first."""


PERMIT_MS_MAX = 3 * RENEW_MS
"""Age at which a permit that could not be renewed ends: whoever grants may have reasons not to."""


@dataclass(frozen=True, slots=True)
class Switches:
    """What stands in this endpoint's folder; it can only stop. `agreed`: the consent file is there and is the person's. `full`:
    what would be captured could not be kept. `shown`: the person can see that it is captured. `drifted`: the manifest under
    which something outside it was found, or empty."""

    paused: bool = False
    halted: bool = False
    agreed: bool = True
    full: bool = False
    shown: bool = True
    drifted: str = ""


@dataclass(frozen=True, slots=True)
class Permission:
    """The gate's answer. `run`, `manifest` and `epoch` are those that capture would be under, where they are known; `orders`
    are the ids of those that stop it."""

    answer: Answer
    epoch: int = 0
    run: Run | None = None
    manifest: Manifest | None = None
    orders: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        return self.answer is Answer.CAPTURE

    @property
    def ask(self) -> bool:
        return self.answer in _ASK


def decide(
    knowledge: Knowledge, endpoint: str, permit: Permit | None, switches: Switches, *, caught_up: bool, boot_ms: int,
    version: str = "",
) -> Permission:  # fmt: skip
    """The permission at `boot_ms`, for an agent of this version. `caught_up`: what stood on the control topics has been read;
    before, silence is nothing."""
    state, beacon = knowledge.state, knowledge.beacon
    epoch = state.epoch if state is not None else 0
    standing = knowledge.standing(endpoint, "capture", epoch) if state is not None else ()  # before, lifts are not known
    orders = tuple(order.halt_id for order in standing)
    stopped = _stopped(orders, switches, readable=caught_up and state is not None)
    if stopped is not None or state is None or beacon is None:
        return Permission(stopped or Answer.STALE, epoch, orders=orders)
    now_ms = max(beacon.service_ms, permit_time_ms(permit, boot_ms) if permit else 0)
    run = knowledge.leave(endpoint, now_ms)
    if run is None:
        return Permission(_no_leave(knowledge, endpoint, now_ms), epoch)
    if older(version, state.minimum):
        return Permission(Answer.OUT_OF_DATE, epoch)
    if run.manifest == switches.drifted:
        return Permission(Answer.DRIFT, epoch)
    if not switches.agreed or not knowledge.consented(endpoint, run.manifest):
        return Permission(Answer.NO_CONSENT, epoch)
    verdict = lease.verdict(permit, beacon, knowledge.state_digest, halted=False, boot_ms=boot_ms)
    if verdict is lease.Verdict.CAPTURE and permit is not None and boot_ms - permit.request_boot_ms > PERMIT_MS_MAX:
        verdict = lease.Verdict.OVER
    return Permission(Answer(verdict.value), epoch, run, knowledge.manifests[run.manifest])


def _stopped(orders: Collection[str], switches: Switches, *, readable: bool) -> Answer | None:
    if switches.halted:
        return Answer.HALTED_HERE
    if orders:
        return Answer.HALTED
    if switches.paused:
        return Answer.PAUSED
    if not readable:
        return Answer.UNREAD
    if not switches.shown:
        return Answer.NO_SIGN
    return Answer.FULL if switches.full else None


def _no_leave(knowledge: Knowledge, endpoint: str, now_ms: int) -> Answer:
    """A state that asks for capture under a manifest that is nothing is told apart: its owners must mend it."""
    state = knowledge.state
    run = knowledge.run_of(endpoint, state.epoch) if state and not knowledge.conflict and now_ms < state.expires_ms else None
    manifest = knowledge.manifests.get(run.manifest) if run else None
    return Answer.NO_MANIFEST if run and (manifest is None or now_ms >= manifest.expires_ms) else Answer.NO_LEAVE


def accept(grant: Grant, *, nonce: str, request_digest: str, request_boot_ms: int, epoch: int, boot_ms: int) -> Permit | None:
    """The permit in a verified grant, or None.

    None: another nonce, another request, another epoch, or an answer older than ROUND_TRIP_MS_MAX. Used once: the caller
    forgets the nonce.
    """
    if (grant.nonce, grant.request, grant.epoch) != (nonce, request_digest, epoch):
        return None
    if not 0 <= boot_ms - request_boot_ms <= ROUND_TRIP_MS_MAX:
        return None
    return Permit(grant.service_ms, request_boot_ms, grant.not_after_ms)
