"""Edge: a batch that was captured after a halt (`control.late`), with an endpoint's own key: for proofs only."""

from __future__ import annotations

import os
from pathlib import Path

from byleave.control import late
from byleave.control.knowledge import Knowledge
from byleave.core.errors import Broken
from byleave.core.keys import read_signing_key


def late_batch(home: Path, endpoint: str, knowledge: Knowledge, session: bytes, seq0: int, batch: int) -> bytes:
    """The Kafka value of a batch that continues `session` with keys pressed a quarter of a second after the halt took effect.

    Raises Broken when no halt is in force for the endpoint; Refused if its leave is not known.
    """
    orders = knowledge.orders(endpoint, "capture", knowledge.state.epoch) if knowledge.state else []
    times = [order.effective_ms for order in orders if order.effective_ms is not None]
    if not times:
        raise Broken(f"no halt of {endpoint} is in force: there is nothing to be late for")
    device = read_signing_key(home / "endpoints" / endpoint / "device.key")
    return late.late_batch(knowledge, endpoint, device, min(times), os.urandom, session=session, seq0=seq0, batch=batch)
