"""Edge: carries records of the control topics into a `Knowledge`. Decides nothing about trust; counts what was refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from byleave.control.documents import Beacon, Root
from byleave.control.knowledge import Knowledge
from byleave.core import metrics
from byleave.core.broker import Received, Tail
from byleave.core.clock import boot_ms
from byleave.core.errors import Broken, Forged, Refused

FRESH_MS = 15_000
"""Without a beacon for so long a reader is not ready: by then every lease is over."""


class ControlWatch:
    """One reader's view of the control topics, fed from a tail. `refused` counts by reason; a hostile record stops nothing.

    A next root is kept by `pin` before it is believed; then everything is forgotten and read again under it. Without `pin` a
    root is refused.
    """

    def __init__(
        self, tail: Tail, knowledge: Knowledge, site: str, clock: Callable[[], int] = boot_ms,
        pin: Callable[[bytes], object] | None = None,
    ) -> None:  # fmt: skip
        self._tail = tail
        self._pin = pin
        self._rewinds = False
        self._site = site
        self.knowledge = knowledge
        self.refused: Counter[str] = Counter()
        self._clock = clock
        self._heard_ms = clock() - FRESH_MS

    @property
    def caught_up(self) -> bool:
        """Whether all that stood on the topics at the start was read: before that, silence means nothing."""
        return self._tail.caught_up and not self._rewinds

    @property
    def fresh(self) -> bool:
        """Whether a beacon was heard lately: for health checks only, no decision asks for it."""
        return self._clock() - self._heard_ms < FRESH_MS

    def at_end(self, topic: str) -> bool:
        """Whether all that stands on `topic` (named without site) now was read. Raises Transient: then nobody can say."""
        return self._tail.at_end(f"{self._site}{topic}")

    def pump(self, timeout_s: float) -> list[Any]:
        """Reads once and returns the documents learned. Raises Transient and Broken of the tail, nothing else."""
        return [document for _, document in self.read(timeout_s)]

    def read(self, timeout_s: float) -> list[tuple[Received, Any]]:
        """As `pump`, each document beside its record, for those who need the broker's stamp or the exact bytes."""
        if self._rewinds:
            self._tail.rewind()
            self._rewinds = False
        learned = []
        for record in self._tail.read(timeout_s):
            try:
                document = self.knowledge.learn(record.topic.removeprefix(self._site), record.value)
                if isinstance(document, Root):
                    self._begin_again(document, record.value)
                    return [(record, document)]
            except (Forged, Refused, Broken) as error:  # a conflict of states is Broken for all, and the view says so
                self.refused[error.reason] += 1
                metrics.REFUSED.labels("control", error.reason).inc()
            else:
                if isinstance(document, Beacon):
                    self._heard_ms = self._clock()
                if document is not None:
                    learned.append((record, document))
        return learned

    def _begin_again(self, root: Root, signed: bytes | None) -> None:
        if self._pin is None or signed is None:
            raise Refused("a next root, and nobody here to keep it", reason="root-not-kept")
        self._pin(signed)
        self.knowledge.restart(root)
        self._rewinds = True  # at the next read, and at each one until it could be done

    def close(self) -> None:
        self._tail.close()
