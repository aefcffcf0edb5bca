"""The next state: what k of n sign when capture may go on (P2). Pure; `cli` signs and publishes it.

Promises  the new epoch is one more, names the digest of the state before it, and lifts exactly the orders that are named;
          what was lifted before stays named with the epoch that lifted it, so that a fence that starts today still refuses
          what was captured under an order of yesterday.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from byleave.control.documents import BODY_BYTES_MAX, Lifted, State, Window, dump
from byleave.control.knowledge import STATE_MS_MAX, Knowledge
from byleave.core.errors import Refused

EARLIER_MAX = 16
"""Earlier epochs that a state carries; batches of older ones are refused (`epoch-not-kept`)."""
LIFTED_MS_MAX = 30 * 86_400_000
"""An order lifted longer ago is not named any more: its record has left the topic, and nothing captured then can still come."""


def next_state(knowledge: Knowledge, lift: Collection[str], now_ms: int) -> State:
    """The state that follows the one in force, with the orders of `lift` lifted; everything else stays.

    Raises Refused: `no-state`, `conflict`, `unknown-order`, `manifest-over`, `too-many-orders`.
    """
    state = knowledge.state
    if state is None or knowledge.conflict:
        raise Refused("there is no one state to go on from", reason="no-state" if state is None else "conflict")
    fresh = tuple(_lifted(knowledge, halt_id, state.epoch + 1) for halt_id in sorted(lift))
    kept = tuple(row for row in state.lifted if row.effective_ms > now_ms - LIFTED_MS_MAX)
    earlier = (*state.earlier, Window(state.epoch, state.expires_ms, state.run, knowledge.begun_ms(state.epoch)))[-EARLIER_MAX:]
    made = State(
        site=state.site,
        epoch=state.epoch + 1,
        prev=knowledge.state_digest,
        root_version=knowledge.root.version,
        issued_ms=now_ms,
        expires_ms=_expires_ms(knowledge, state, now_ms),
        run=state.run,
        lifted=(*kept, *fresh),
        earlier=earlier,
    )
    while made.earlier and len(dump(made)) > BODY_BYTES_MAX:
        made = replace(made, earlier=made.earlier[1:])
    if len(dump(made)) > BODY_BYTES_MAX:
        raise Refused(f"{len(made.lifted)} lifted orders do not fit into one state", reason="too-many-orders")
    return made


def _lifted(knowledge: Knowledge, halt_id: str, epoch: int) -> Lifted:
    halt = knowledge.halts.get(halt_id)
    if halt is None or halt_id not in knowledge.in_force():
        raise Refused(f"no order {halt_id[:12]} is in force", reason="unknown-order")
    effective_ms = knowledge.effective_ms(halt_id)
    if effective_ms is None:  # never accepted by the beacon service: endpoints obeyed it all the same
        effective_ms = max(halt.issued_ms, knowledge.beacon.service_ms + 1 if knowledge.beacon else 0)
    return Lifted(halt_id, halt.scope, halt.what, effective_ms, epoch)


def _expires_ms(knowledge: Knowledge, state: State, now_ms: int) -> int:
    ends = [knowledge.manifests[run.manifest].expires_ms for run in state.run if run.manifest in knowledge.manifests]
    expires_ms = min([now_ms + STATE_MS_MAX, knowledge.root.expires_ms, *ends])
    if len(ends) < len(state.run) or expires_ms <= now_ms:
        raise Refused("a manifest of the state is not known or has run out: sign a new one first", reason="manifest-over")
    return expires_ms
