"""A batch that was captured after a halt, as a dishonest endpoint would make it: well formed, well signed, and too late.

For proofs only (`byleave demo`, tests): it needs the device key of the endpoint, which nobody but the endpoint has.
"""

from __future__ import annotations

import os
from pathlib import Path

from byleave.control.knowledge import Knowledge
from byleave.core.batches import Boundary, RawHeader, seal_raw
from byleave.core.envelope import Binding, fresh_key
from byleave.core.errors import Broken
from byleave.core.events import FocusEvent, KeyEvent, Kind, Screen, Window
from byleave.core.keys import read_signing_key, recipient

AFTER_MS = 250
_TEXT = "late"


def late_batch(home: Path, endpoint: str, knowledge: Knowledge, session: bytes, seq0: int, batch: int) -> bytes:
    """The Kafka value of a batch that continues `session` with keys pressed a quarter of a second after the halt took effect.

    Raises Broken when no halt is in force for the endpoint, or its leave is not known.
    """
    state = knowledge.state
    times = (
        [o.effective_ms for o in knowledge.orders(endpoint, "capture", state.epoch) if o.effective_ms is not None]
        if state
        else []
    )
    run = knowledge.run_of(endpoint, state.epoch) if state else None
    if state is None or run is None or not times:
        raise Broken(f"no halt of {endpoint} is in force: there is nothing to be late for")
    at = min(times) + AFTER_MS
    binding = Binding(endpoint, session, state.epoch, bytes.fromhex(run.manifest), run.key_id)
    key = fresh_key(binding, recipient(run.recipient), 0, os.urandom)
    events = [FocusEvent(seq0, at, Window(0, "xterm", layout="us"))]
    keys = [KeyEvent(seq0 + 1 + n, at, Kind.PRESS, letter) for n, letter in enumerate(_TEXT)]
    header = RawHeader(
        endpoint=endpoint,
        session=session,
        epoch=state.epoch,
        batch=batch,
        seq0=seq0,
        count=1 + len(keys),
        gap=0,
        hi_min=at,
        hi_max=at,
        manifest=bytes.fromhex(run.manifest),
        key_id=run.key_id,
        wrap=key.wrap,
        boundary=Boundary.NONE,
    )
    return seal_raw(
        header, [*events, *keys], Screen(1280, 800), key, read_signing_key(home / "endpoints" / endpoint / "device.key")
    )
