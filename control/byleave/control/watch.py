"""Edge: carries records of the control topics into a `Knowledge`. Decides nothing about trust; counts what was refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

from byleave.control.knowledge import Knowledge
from byleave.core import metrics
from byleave.core.broker import Received, Tail
from byleave.core.errors import Broken, Forged, Refused


class ControlWatch:
    """One reader's view of the control topics, fed from a tail. `refused` counts by reason; a hostile record stops nothing."""

    def __init__(self, tail: Tail, knowledge: Knowledge, site: str) -> None:
        self._tail = tail
        self._site = site
        self.knowledge = knowledge
        self.refused: Counter[str] = Counter()

    @property
    def caught_up(self) -> bool:
        """Whether all that stood on the topics at the start was read: before that, silence means nothing."""
        return self._tail.caught_up

    def pump(self, timeout_s: float) -> list[Any]:
        """Reads once and returns the documents learned. Raises Transient and Broken of the tail, nothing else."""
        return [document for _, document in self.read(timeout_s)]

    def read(self, timeout_s: float) -> list[tuple[Received, Any]]:
        """As `pump`, each document beside its record, for those who need the broker's stamp or the exact bytes."""
        learned = []
        for record in self._tail.read(timeout_s):
            try:
                document = self.knowledge.learn(record.topic.removeprefix(self._site), record.value)
            except (Forged, Refused, Broken) as error:  # a conflict of states is Broken for all, and the view says so
                self.refused[error.reason] += 1
                metrics.REFUSED.labels("control", error.reason).inc()
            else:
                if document is not None:
                    learned.append((record, document))
        return learned

    def close(self) -> None:
        self._tail.close()
