"""What one run of the whole way measured. Nothing in it is assumed; `broken` names each promise that did not hold."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Facts:
    """What one run measured; `record` is the JSON object that `byleave demo --json` ends with."""

    endpoints: int = 3
    captured: int = 0
    gaps: int = 0
    discarded: int = 0
    """Captured, still in the spool when the halt came, and dropped as it ordered: declared by the endpoint."""
    uncertain: int = 0
    admitted: int = 0
    refused: int = 0
    """Batches: the planted one, and any that was captured in the blink between the halt's effective time and its hearing."""
    refused_events: int = 0
    """Of captured events; the planted batch is not among them."""
    dispositions: dict[str, int] = field(default_factory=dict)
    sanitized_events: int = 0
    actions: int = 0
    review_rows: int = 0
    lake_rows: int = 0
    lost: int = 0
    duplicated: int = 0
    redactions: dict[str, int] = field(default_factory=dict)
    canaries_planted: int = 0
    canaries_found: int = 0
    stopped: int = 0
    unknown: int = 0
    halt_ms: list[float] = field(default_factory=list)
    brake: str = ""
    late_offered: int = 0
    late_denied: int = 0
    late_refused: int = 0
    late_admitted: int = 0
    ledger_entries: int = 0
    read_refused: int = 0
    lake_files: int = 0
    lake_files_encrypted: int = 0
    screen_events: int = 0
    """Captured on the real screen."""
    swept_files: int = 0
    swept_bytes: int = 0
    plaintext_hits: int = 0
    seconds: float = 0.0
    live: str = ""
    broken: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Every fact, and the halt's percentiles in milliseconds."""
        found = dict(self.__dict__)
        halts = found.pop("halt_ms")
        return found | {
            "halt_ms_p50": round(statistics.median(halts), 1) if halts else None,
            "halt_ms_max": round(max(halts), 1) if halts else None,
        }

    def require(self, holds: bool, promise: str) -> None:
        """Notes a promise that does not hold."""
        if not holds:
            self.broken.append(promise)


@dataclass(frozen=True, slots=True)
class Sample:
    """One action as the lake gave it back; redacted text only."""

    endpoint: str
    app: str
    kind: str
    text: str
