"""The fence: whether a batch that was captured then may pass now (P1, P2; docs/adr/0006; docs/formats/control.md, section 5).

The third of the protocol's cores, beside `beacon.step` and the endpoint's `window.step`: the same here, in simulator and tests.

Pure: a function of what the batch claims, what the broker stamped, and the control documents. Redactor and sink ask the same
question, and an auditor can ask it again. The caller has checked the batch's signature: the claim is the endpoint's word.

Promises  nothing captured at or after the effective time of an order that stops it is ever admitted, however late it comes;
          nothing that the broker stamped more than `SKEW_MS` after that time is, whatever the endpoint says of its capture;
          everything else, under a leave and a consent, is admitted once a beacon closes both times.
Waits     while the documents that could refuse it may still be on their way; neither dropped nor let through.

A beacon of time T says: every order effective at or before T is in this list. So `hi <= T` settles what an honest endpoint
says, and `append - SKEW_MS <= T` what the broker says of one that lies: no order that would refuse it can still be on its way.
"""

from __future__ import annotations

from dataclasses import dataclass

from byleave.control.halts import names_digest
from byleave.control.knowledge import Knowledge

SKEW_MS = 2_000
"""How far the broker's clock and the beacon service's may stand apart."""
SPOOL_AGE_MS_MAX = 12 * 3_600_000


@dataclass(frozen=True, slots=True)
class Claim:
    """What a verified batch says of itself, and `append_ms`, which the broker says of it. Times in service ms."""

    endpoint: str
    session: bytes
    epoch: int
    hi_max: int
    append_ms: int
    manifest: bytes
    spool_age_ms_max: int = SPOOL_AGE_MS_MAX


@dataclass(frozen=True, slots=True)
class Admitted:
    """It may pass. `t_star` is the closed timestamp that covered it, written beside the record."""

    t_star: int


@dataclass(frozen=True, slots=True)
class Waits:
    """Not decided yet: ask again after more was learned. `why` is a constant."""

    why: str


@dataclass(frozen=True, slots=True)
class Refuses:
    """It will never pass. `reason` is a constant, fit for `refused.v1`."""

    reason: str


def decide(claim: Claim, knowledge: Knowledge) -> Admitted | Waits | Refuses:
    """The fence's answer. Never raises for a claim, however odd: odd claims are refused."""
    for rule in (_stamps, _revocation, _enrolment, _epoch, _leave, _consent, _orders):
        answer = rule(claim, knowledge)
        if answer is not None:
            return answer
    return _closed(claim, knowledge)


def _stamps(claim: Claim, _: Knowledge) -> Refuses | None:
    """The broker's stamp is the bound that an endpoint cannot lie about."""
    if claim.hi_max > claim.append_ms + SKEW_MS:
        return Refuses("future")
    return Refuses("too-old") if claim.append_ms - claim.hi_max > claim.spool_age_ms_max else None


def _revocation(claim: Claim, knowledge: Knowledge) -> Waits | Refuses | None:
    """Who was revoked may lie about when it captured: the broker's stamp counts as well.

    One that the beacon service has read and this reader has not may be about anybody.
    """
    since_ms = knowledge.revoked.get(claim.endpoint)
    if since_ms is not None and (claim.hi_max >= since_ms or claim.append_ms > since_ms + SKEW_MS):
        return Refuses("revoked")
    told = knowledge.beacon.revoked if knowledge.beacon else ""
    return Waits("revocation-unread") if told and told != names_digest(knowledge.revoked) else None


def _enrolment(claim: Claim, knowledge: Knowledge) -> Refuses | None:
    enrolment = knowledge.enrolments.get(claim.endpoint)
    if enrolment is None:
        return Refuses("unknown-endpoint")
    return Refuses("enrolment-over") if claim.hi_max >= enrolment.until_ms else None


def _epoch(claim: Claim, knowledge: Knowledge) -> Waits | Refuses | None:
    if knowledge.conflict:
        return Waits("conflict")
    if knowledge.state is None:
        return Waits("no-state")
    if knowledge.window(claim.epoch) is not None:
        # an epoch that was not in force yet when the broker had it: whoever claims it knows what was signed, not what counts
        early = min(claim.append_ms, claim.hi_max) + SKEW_MS < knowledge.begun_ms(claim.epoch)
        beacon = knowledge.beacon  # until one of the epoch was heard, only the officers' clock has said when it began
        return Refuses("epoch-not-begun") if early and beacon is not None and beacon.epoch >= claim.epoch else None
    if claim.epoch < knowledge.state.epoch:
        return Refuses("epoch-not-kept")
    return _unless_late("unknown-epoch", claim, knowledge)


def _leave(claim: Claim, knowledge: Knowledge) -> Waits | Refuses | None:
    run, window = knowledge.run_of(claim.endpoint, claim.epoch), knowledge.window(claim.epoch)
    if run is None or window is None:
        return Refuses("no-run")
    if run.manifest != claim.manifest.hex():
        return Refuses("wrong-manifest")
    manifest = knowledge.manifests.get(run.manifest)
    if manifest is None:
        return _unless_late("unknown-manifest", claim, knowledge)
    over = claim.hi_max >= min(window.expires_ms, manifest.expires_ms, knowledge.root.expires_ms)
    return Refuses("leave-over") if over else None


def _consent(claim: Claim, knowledge: Knowledge) -> Waits | Refuses | None:
    if knowledge.consented(claim.endpoint, claim.manifest.hex()):
        return None
    subject = knowledge.enrolments[claim.endpoint].subject
    if subject in knowledge.consents:  # withdrawn, or given to another manifest: the person has spoken
        return Refuses("no-consent")
    return _unless_late("no-consent", claim, knowledge)


def _orders(claim: Claim, knowledge: Knowledge) -> Waits | Refuses | None:
    """`end(E, scope)`: the least effective time of the orders that stop this endpoint. Certain refusals come before waiting."""
    waits: Waits | None = None
    for halt_id, effective_ms, until_ms in knowledge.orders(claim.endpoint, "capture", claim.epoch):
        if until_ms is not None and min(claim.hi_max, claim.append_ms) >= until_ms:
            continue
        if effective_ms is None:
            waits = Waits("halt-time-unknown")
        elif claim.hi_max >= effective_ms or claim.append_ms > effective_ms + SKEW_MS:
            if knowledge.read(halt_id):
                return Refuses("halted")
            waits = Waits("halt-unread")
    newest = knowledge.state.epoch if knowledge.state else 0
    pauses = [knowledge.read(order.halt_id) for order in knowledge.orders(claim.endpoint, "processing", newest)]
    if waits is None and pauses:
        waits = Waits("processing-halted" if any(pauses) else "halt-unread")
    return waits


def _closed(claim: Claim, knowledge: Knowledge) -> Admitted | Waits:
    beacon = knowledge.beacon
    if beacon is None or beacon.epoch < claim.epoch or beacon.service_ms < max(claim.hi_max, claim.append_ms - SKEW_MS):
        return Waits("uncovered")
    # a beacon drops what a state lifted, so it closes nothing until that state, and with it what was lifted, has been read
    return Admitted(beacon.service_ms) if knowledge.vouched(beacon) else Waits("state-unread")


def _unless_late(reason: str, claim: Claim, knowledge: Knowledge) -> Waits | Refuses:
    """A document that must have been there before the capture is not here: on its way, until a beacon says it cannot be."""
    beacon = knowledge.beacon
    late = beacon is not None and knowledge.vouched(beacon) and beacon.service_ms > claim.append_ms + SKEW_MS
    return Refuses(reason) if late else Waits(reason)
