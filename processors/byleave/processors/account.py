"""What became of each event of a session: cumulative counters, no content (`account.avsc`, ruling 25).

Each admitted event has exactly one disposition; `held` is what is not decided yet:

    admitted == kept + reviewed + level4 + dropped + withheld + held        after every batch

A release counts with its press. A modifier counts with the next key. Keys inside a redacted span count as kept: they went on as
one placeholder. Keys that delete, and those that move the caret within held text, are withheld, as is what they deleted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from byleave.core.codec import Record
from byleave.processors.reassemble import Outcome

LABELS_MAX = 256
DISPOSITIONS: dict[Outcome, str] = {outcome: outcome.name.lower() for outcome in Outcome if outcome is not Outcome.PENDING}


@dataclass(slots=True)
class Account:
    """The counters of one session. `refused` is the worker's to add to."""

    next_seq: int = 0
    gaps: int = 0
    admitted: int = 0
    refused: int = 0
    kept: int = 0
    reviewed: int = 0
    level4: int = 0
    dropped: int = 0
    withheld: int = 0
    held: int = 0
    late_deletions: int = 0
    event_rows: int = 0
    action_rows: int = 0
    review_rows: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    ended: bool = False

    def settle(self, outcome: Outcome, count: int) -> None:
        """`count` held events got their disposition."""
        self.held -= count
        name = DISPOSITIONS[outcome]
        setattr(self, name, getattr(self, name) + count)

    def found(self, label: str) -> None:
        """A label was found and removed."""
        if label in self.labels or len(self.labels) < LABELS_MAX:
            self.labels[label] = self.labels.get(label, 0) + 1

    def record(self, endpoint: str, session: bytes, subject: str) -> Record:
        """The Avro record of `account.avsc`."""
        return {"endpoint": endpoint, "session": session, "subject": subject} | asdict(self)
