"""Scores a redactor on labelled text, the way the project's redaction goals are stated.

A redactor is any function from a text to the character ranges that it takes out: `[(start, end), ...]`; a third item, the
label, may follow and is not looked at. What counts is whether the characters are gone.

Over the spans of tier 1 (must never get out; tier 2 is what identifies only in combination):

leak         share of sensitive characters that survive (letters and digits only); the first number to look at
full_recall  share of spans of which nothing survives
hit_recall   share of spans touched at all (the usual "overlap" recall)
precision    share of redacted ranges that touch any labelled span, of either tier
f2           of hit_recall and precision
over         share of the characters outside all spans that were redacted
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TIER1 = frozenset(
    (
        "PERSON",
        "EMAIL",
        "PHONE",
        "US_SSN",
        "CREDIT_CARD",
        "IBAN",
        "BANK_ACCOUNT",
        "PASSPORT",
        "DRIVER_LICENSE",
        "TAX_ID",
        "NATIONAL_ID",
        "MEDICAL",
        "MEDICAL_ID",
        "PASSWORD",
        "API_KEY",
        "PRIVATE_KEY",
        "IP",
        "USERNAME",
        "ADDRESS",
        "DOB",
        "FINANCIAL",
        "EMPLOYEE_ID",
        "CASE_ID",
        "OTHER_ID",
    )
)
TIER2 = frozenset(["LOCATION", "DATE", "AGE", "ORG", "NRP", "URL", "TITLE", "MAC"])
STRUCTURED = frozenset(["EMAIL", "PHONE", "US_SSN", "CREDIT_CARD", "IBAN", "IP", "API_KEY", "PRIVATE_KEY"])
"""Labels that have a fixed format, or a keyword beside them: what patterns alone can be asked to find."""
SECRETS = frozenset(["PASSWORD", "API_KEY", "PRIVATE_KEY"])

Labelled = Mapping[str, Any]
"""A record: `text` and `spans`, each with `start`, `end` and `label`."""
Redactor = Callable[[str], Iterable[Sequence[Any]]]


@dataclass(slots=True)
class Tally:
    """Counts over spans: how many, touched, wholly gone, and their letters and digits, all and surviving."""

    spans: int = 0
    hits: int = 0
    full: int = 0
    chars: int = 0
    leaked: int = 0

    def add(self, text: str, cover: bytearray, start: int, end: int) -> None:
        """Counts one span of `text`; `cover` marks the characters that were taken out."""
        mind = [place for place in range(start, end) if text[place].isalnum()] or list(range(start, end))
        left = sum(not cover[place] for place in mind)
        self.spans += 1
        self.hits += any(cover[start:end])
        self.full += left == 0
        self.chars += len(mind)
        self.leaked += left

    def rates(self) -> dict[str, Any]:
        """The shares of one label; at least one span was counted."""
        return {
            "spans": self.spans,
            "hit_recall": self.hits / self.spans,
            "full_recall": self.full / self.spans,
            "leak": self.leaked / max(1, self.chars),
        }


@dataclass(slots=True)
class Count:
    """All that is counted over records."""

    labels: dict[str, Tally] = field(default_factory=dict)
    ranges: int = 0
    right: int = 0
    outside: int = 0
    lost: int = 0
    size: int = 0

    def add(self, record: Labelled, found: Sequence[Sequence[Any]], tier: frozenset[str]) -> None:
        """Counts one record from which the ranges `found` were taken."""
        text, spans = str(record["text"]), record["spans"]
        cover, gold = covered(found, len(text)), covered([(s["start"], s["end"]) for s in spans], len(text))
        self.size += len(text)
        self.ranges += len(found)
        self.right += sum(any(gold[each[0] : each[1]]) for each in found)
        self.outside += gold.count(0)
        self.lost += sum(gone and not labelled for gone, labelled in zip(cover, gold, strict=True))
        for span in spans:
            if span["label"] in tier:
                self.labels.setdefault(span["label"], Tally()).add(text, cover, span["start"], span["end"])

    def total(self) -> Tally:
        """The counts of all labels together."""
        rows = self.labels.values()
        return Tally(*(sum(getattr(row, name) for row in rows) for name in Tally.__slots__))


def load(path: str | Path) -> list[dict[str, Any]]:
    """The records of a JSON Lines file."""
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def covered(ranges: Iterable[Sequence[Any]], size: int) -> bytearray:
    """One byte a character: 1 where a range lies."""
    out = bytearray(size)
    for start, end, *_ in ranges:
        out[start:end] = b"\1" * (min(end, size) - start)
    return out


def score(records: Iterable[Labelled], redactor: Redactor, tier: frozenset[str] = TIER1) -> dict[str, Any]:
    """The figures above over `records`, with characters a second and milliseconds a record of the redactor's wall time."""
    count, took = Count(), list[float]()
    for record in records:
        begin = time.perf_counter()
        found = [each for each in redactor(record["text"]) if each[1] > each[0]]
        took.append(time.perf_counter() - begin)
        count.add(record, found, tier)
    return {**rates(count), **speed(count.size, took)}


def rates(count: Count) -> dict[str, Any]:
    """What was counted, as shares."""
    total = count.total()
    recall, precision = total.hits / max(1, total.spans), count.right / max(1, count.ranges)
    return {
        "spans": total.spans,
        "leak": total.leaked / max(1, total.chars),
        "full_recall": total.full / max(1, total.spans),
        "hit_recall": recall,
        "precision": precision,
        "f2": 5 * precision * recall / max(1e-9, 4 * precision + recall),
        "over": count.lost / max(1, count.outside),
        "labels": {label: row.rates() for label, row in sorted(count.labels.items())},
    }


def speed(size: int, took: Iterable[float]) -> dict[str, Any]:
    """How fast `size` characters went through, from the seconds that each record took."""
    ordered = sorted(took)
    return {
        "records": len(ordered),
        "chars_per_s": size / max(1e-9, sum(ordered)),
        "p50_ms": 1e3 * ordered[len(ordered) // 2],
        "p99_ms": 1e3 * ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
    }
