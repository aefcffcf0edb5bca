"""What became of each event of a session: cumulative counters, no content (`account.avsc`, ruling 25).

Each admitted event has exactly one disposition; `held` is what is not decided yet:

    admitted == kept + reviewed + level4 + dropped + withheld + held        after every batch

A release counts with its press. A modifier counts with the next key. Keys inside a redacted span count as kept: they went on as
one placeholder. Keys that delete, and those that move the caret within held text, are withheld, as is what they deleted.

`shares` and `rules` are of the hour, for the endpoint's receipt alone (`receipts.py`): the account that others read has none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from byleave.core.codec import Record
from byleave.core.receipts import OTHERS
from byleave.processors.reassemble import Outcome

LABELS_MAX = 256
SHARES_MAX = 64
"""So many different shares are told apart; those beyond are of the application OTHERS."""
REPLACED = "replaced"
"""The fate of events that were kept as one placeholder: their text is gone."""
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
    shares: dict[str, int] = field(default_factory=dict)
    """Events by application, kind, level and fate, parted by tabs."""
    rules: dict[str, int] = field(default_factory=dict)
    """Labels found by label and rule, parted by tabs."""

    def settle(self, outcome: Outcome, count: int, app: str, kind: str, level: int, *, replaced: bool = False) -> None:
        """`count` held events got their disposition."""
        self.held -= count
        name = DISPOSITIONS[outcome]
        setattr(self, name, getattr(self, name) + count)
        if count:
            rest = f"{kind}\t{level}\t{REPLACED if replaced else name}"
            share = f"{app}\t{rest}"
            if share not in self.shares and len(self.shares) >= SHARES_MAX:
                share = f"{OTHERS}\t{rest}"
            self.shares[share] = self.shares.get(share, 0) + count

    def found(self, label: str, rule: str) -> None:
        """A label was found and removed, by that step of the redaction."""
        _add(self.labels, label)
        _add(self.rules, f"{label}\t{rule}")

    def record(self, endpoint: str, session: bytes, subject: str) -> Record:
        """The Avro record of `account.avsc`."""
        found = {"endpoint": endpoint, "session": session, "subject": subject} | asdict(self)
        return {name: value for name, value in found.items() if name not in ("shares", "rules")}


def _add(counts: dict[str, int], name: str) -> None:
    if name in counts or len(counts) < LABELS_MAX:
        counts[name] = counts.get(name, 0) + 1
