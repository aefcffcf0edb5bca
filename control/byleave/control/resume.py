"""The next state: what k of n sign when capture may go on (P2). Pure; `cli` signs and publishes it.

Promises  the new epoch is one more, names the digest of the state before it, and lifts exactly the orders that are named;
          what was lifted before stays named with the epoch that lifted it, so that a fence that starts today still refuses
          what was captured under an order of yesterday.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from byleave.control.beacon import MORE, acceptable_until_ms
from byleave.control.documents import STATE_BYTES_MAX, Lifted, Manifest, Root, Run, Scope, State, Window, dump
from byleave.control.knowledge import STATE_MS_MAX, Knowledge
from byleave.core.errors import Refused

EARLIER_MAX = 16
"""Earlier epochs that a state carries; batches of older ones are refused (`epoch-not-kept`)."""
LIFTED_MS_MAX = 30 * 86_400_000
"""An order lifted longer ago is not named any more: its record has left the topic, and nothing captured then can still come."""
HALT_RECORD_MS = 2 * 86_400_000
"""How long a lifted order's record stays: longer than any batch that it refuses can wait."""
NEVER_MS = 10**15
"""Added to the time of lifting, it is the effective time of an order that never counted: it refuses and erases nothing."""
STALE_MS = 3_600_000
"""So long after an order's last moment a beacon without it says that it was not accepted, and not merely unread."""


def next_run(
    state: State | None, manifest: str | None, scopes: Sequence[Scope], recipient: tuple[str, str] | None
) -> tuple[Run, ...]:
    """Who may capture from then on: what is given changes, the rest stays as it is in `state`.

    `manifest` is a digest, `scopes` the whole list (narrower ones first, for the first that covers an endpoint counts),
    `recipient` the redactor's key as (id, X25519 public key in hex). Raises Refused: `no-manifest`, `no-recipient`.
    """
    run = state.run if state else ()
    wanted, manifests = list(scopes) or [one.scope for one in run] or [Scope("global")], {one.manifest for one in run}
    if manifest is None and scopes and len(manifests) != 1:
        raise Refused("say under which manifest: there is not exactly one in force", reason="no-manifest")
    if run and not scopes and manifest is None:
        return tuple(replace(one, key_id=recipient[0], recipient=recipient[1]) if recipient else one for one in run)
    if recipient is None and not run:
        raise Refused("say to which key of the redactor events are sealed: there is no state yet", reason="no-recipient")
    chosen = manifest or next(iter(manifests), None)
    if chosen is None:
        raise Refused("say under which manifest: there is no state yet", reason="no-manifest")
    key_id, key = recipient or (run[0].key_id, run[0].recipient)
    return tuple(Run(scope, chosen, key_id, key) for scope in sorted(wanted, key=lambda scope: scope.kind == "global"))


def next_state(
    knowledge: Knowledge, lift: Collection[str], now_ms: int,
    *, root: Root | None = None, run: tuple[Run, ...] | None = None, manifests: Mapping[str, Manifest] | None = None,
    minimum: str | None = None,
) -> State:  # fmt: skip
    """The state that follows the one in force, with the orders of `lift` lifted; everything else stays.

    `root` if it is to stand under a next one; `run` for another leave; `manifests`, by digest, that it brings; `minimum`,
    another least version of the agent. Without a state in force it is the first, and needs `run`; of two in conflict it follows
    one, and ends the conflict for whoever read both.
    Raises Refused: `no-state`, `unknown-order`, `no-effective-time`, `manifest-over`, `too-many-orders`.
    """
    state = knowledge.state
    if state is None and run is None:
        raise Refused("there is no state to go on from", reason="no-state")
    epoch = state.epoch + 1 if state else 1
    fresh = tuple(_lifted(knowledge, halt_id, epoch, now_ms) for halt_id in sorted(lift))
    # not before a state has named it that cleared its record away
    before_ms = min(now_ms - LIFTED_MS_MAX, state.issued_ms - HALT_RECORD_MS) if state else 0
    kept = tuple(row for row in (state.lifted if state else ()) if row.effective_ms % NEVER_MS > before_ms)
    last = (Window(state.epoch, state.expires_ms, state.run, knowledge.begun_ms(state.epoch)),) if state else ()
    root, run = root or knowledge.root, run if run is not None else state.run if state else ()
    made = State(
        site=knowledge.site,
        epoch=epoch,
        prev=knowledge.state_digest,
        root_version=root.version,
        issued_ms=now_ms,
        expires_ms=_expires_ms({**knowledge.manifests, **(manifests or {})}, run, root, now_ms),
        run=run,
        lifted=(*kept, *fresh),
        earlier=(*(state.earlier if state else ()), *last)[-EARLIER_MAX:],
        minimum=minimum if minimum is not None else state.minimum if state else "",
    )
    while made.earlier and len(dump(made)) > STATE_BYTES_MAX:
        made = replace(made, earlier=made.earlier[1:])
    if len(dump(made)) > STATE_BYTES_MAX:
        raise Refused(f"{len(made.lifted)} lifted orders do not fit into one state", reason="too-many-orders")
    return made


def stale_ms(knowledge: Knowledge, halt_id: str) -> int:
    """After this, an order without an effective time will never have one. KeyError if it was never read."""
    return acceptable_until_ms(knowledge.halts[halt_id], joint=knowledge.is_joint(halt_id)) + STALE_MS


def _lifted(knowledge: Knowledge, halt_id: str, epoch: int, now_ms: int) -> Lifted:
    standing, beacon = knowledge.in_force(), knowledge.beacon
    if halt_id not in standing or halt_id == MORE:
        raise Refused(f"no order {halt_id[:12]} is in force that has a name of its own", reason="unknown-order")
    effective_ms = knowledge.effective_ms(halt_id)
    if effective_ms is None and beacon and MORE not in standing:
        stale = beacon.service_ms > stale_ms(knowledge, halt_id)
        effective_ms = NEVER_MS + now_ms if stale else None
    if effective_ms is None:  # any time that we named could lie before a beacon that was signed meanwhile without it
        said = f"no beacon has said yet from when the order {halt_id[:12]} counts: wait for one, then lift it"
        raise Refused(said, reason="no-effective-time")
    halt = knowledge.halts.get(halt_id)  # None if only a beacon names it: whom it was about is not known, so everybody
    return Lifted(halt_id, halt.scope if halt else Scope("global"), halt.what if halt else "capture", effective_ms, epoch)


def _expires_ms(manifests: Mapping[str, Manifest], run: Sequence[Run], root: Root, now_ms: int) -> int:
    ends = [manifests[one.manifest].expires_ms for one in run if one.manifest in manifests]
    expires_ms = min([now_ms + STATE_MS_MAX, root.expires_ms, *ends])
    if len(ends) < len(run) or expires_ms <= now_ms:
        raise Refused("a manifest of the state is not known or has run out: sign a new one first", reason="manifest-over")
    return expires_ms
