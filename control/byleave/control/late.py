"""A batch that was captured after a halt, as a dishonest endpoint would make it: well formed, well signed, and too late.

Pure. For drills and proofs only: it needs the endpoint's device key, which nobody but the endpoint has.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control.knowledge import Knowledge
from byleave.core.batches import Boundary, RawHeader, seal_raw
from byleave.core.envelope import Binding, Randomness, fresh_key
from byleave.core.errors import Refused
from byleave.core.events import Event, FocusEvent, KeyEvent, Kind, Screen, Window
from byleave.core.keys import recipient

AFTER_MS = 250
"""How long after the effective time its keys were pressed; the broker's stamp allows it, so only the halt refuses it."""
_TEXT = "late"


def late_batch(
    knowledge: Knowledge, endpoint: str, device: Ed25519PrivateKey, effective_ms: int, randomness: Randomness,
    *, session: bytes, seq0: int, batch: int,
) -> bytes:  # fmt: skip
    """The Kafka value of such a batch, under the leave in force. Raises Refused (`no-run`) where there is none."""
    state = knowledge.state
    run = knowledge.run_of(endpoint, state.epoch) if state else None
    if state is None or run is None:
        raise Refused(f"no leave covers {endpoint}: there is nothing to be late for", reason="no-run")
    at = effective_ms + AFTER_MS
    binding = Binding(endpoint, session, state.epoch, bytes.fromhex(run.manifest), run.key_id)
    key = fresh_key(binding, recipient(run.recipient), 0, randomness)
    events: list[Event] = [FocusEvent(seq0, at, Window(0, "xterm", layout="us"))]
    events += [KeyEvent(seq0 + 1 + n, at, Kind.PRESS, letter) for n, letter in enumerate(_TEXT)]
    header = RawHeader(
        endpoint=endpoint, session=session, epoch=state.epoch, batch=batch, seq0=seq0, count=len(events), gap=0, hi_min=at,
        hi_max=at, manifest=binding.manifest, key_id=run.key_id, wrap=key.wrap, boundary=Boundary.NONE,
    )  # fmt: skip
    return seal_raw(header, events, Screen(1280, 800), key, device)
