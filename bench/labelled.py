"""The labelled texts, what ours makes of them, and how far that is from what is right.

leak, full_recall, lost   as in tests/assets/redaction_score.py; `lost` is the share of harmless characters that go
secrets                   leak of passwords, keys and tokens alone
secrets_context           the same where the window is known: what is of level 4 is written nowhere, so it does not leak
missed, false             records of level 3 or 4 that would go on as 1 or 2, and the other way; `_bare`: the text alone
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "assets"))

from redaction_score import SECRETS, Count, Labelled, Redactor, load, rates, score

from byleave.core.levels import Level
from byleave.processors.preview_text import judged
from byleave.processors.redact import redactor
from byleave.processors.rules import Rules

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "tests" / "assets"
SHARED = ROOT.parent / "shared" / "data"
"""Other people's labelled texts: read where they are, never committed."""
FOREIGN = ("pii_dev",)
PLAIN = {"app": "code", "title": "notes.md"}
"""Where a record without a window of its own stands: an approved application that says nothing about the text."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What ours takes out of a text, and its level."""

    ranges: list[tuple[int, int, str]] = field(repr=False)
    level: Level


def sets_here() -> dict[str, list[dict[str, Any]]]:
    """Every set of labelled text that is in this clone, and those beside it, by name."""
    files = [ASSETS / "workplace_dev.jsonl", *sorted((ASSETS / "text").glob("*.jsonl"))]
    found = {path.stem: load(path) for path in files}
    for name in FOREIGN:
        if (path := SHARED / f"{name}.jsonl").is_file():
            found |= by_source(name, load(path))
    return found


def by_source(name: str, records: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The whole set, and its parts by who wrote them."""
    parts = {part: [r for r in records if part in r["source"]] for part in ("original", "presidio", "gitleaks")}
    return {name: list(records), **{f"{name}/{part}": some for part, some in parts.items() if some}}


def judge(record: Labelled, rules: Rules, context: Mapping[str, str] | None = None) -> Verdict:
    """Ours on one record, by the code of `byleave preview text`; without a `context` as if it stood in any approved window."""
    found = judged(0, {"text": record["text"], "context": context}, rules)
    return Verdict([(start, end, label) for start, end, label in found["ranges"]], Level(found["level"]))


def scores(records: Sequence[Labelled], system: Redactor) -> dict[str, Any]:
    """The figures of any redactor on records with spans."""
    found = score(records, system)
    tight = score(records, system, SECRETS)
    return {
        "records": found["records"],
        "spans": found["spans"],
        "leak": found["leak"] if found["spans"] else None,
        "full_recall": found["full_recall"] if found["spans"] else None,
        "secrets": tight["leak"] if tight["spans"] else None,
        "lost": found["over"],
        "chars_per_s": found["chars_per_s"],
        "p99_ms": found["p99_ms"],
        "labels": {label: row["leak"] for label, row in found["labels"].items()},
    }


def level_figures(records: Sequence[Labelled], rules: Rules) -> dict[str, float]:
    """Missed and false, of the text alone and where the window is known."""
    known = [record for record in records if "level" in record]
    bare = _errors([(r["level"], judge(r, rules).level) for r in known], "_bare")
    told = [(r["level"], judge(r, rules, r["context"]).level) for r in known if r.get("context")]
    return bare | _errors(told, "_context")


def _errors(pairs: Sequence[tuple[int, Level]], tail: str) -> dict[str, float]:
    high, low = [found for due, found in pairs if due >= Level.PEOPLE], [found for due, found in pairs if due < Level.PEOPLE]
    out = {}
    if high:
        out[f"missed{tail}"] = sum(found < Level.PEOPLE for found in high) / len(high)
    if low:
        out[f"false{tail}"] = sum(found >= Level.PEOPLE for found in low) / len(low)
    return out


def secrets_in_context(records: Sequence[Labelled], rules: Rules) -> float | None:
    """Leak of secrets where the window is known. None if there is no secret."""
    count = Count()
    for record in records:
        verdict = judge(record, rules, record.get("context") or PLAIN)
        gone = [(0, len(record["text"]))] if verdict.level == Level.SECRET else verdict.ranges
        count.add(record, gone, SECRETS)
    found = rates(count)
    return float(found["leak"]) if found["spans"] else None


def ours(sets: Mapping[str, Sequence[Labelled]], rules: Rules) -> dict[str, dict[str, float]]:
    """All figures of ours that do not depend on the machine, by set; those that a set cannot give are left out."""
    out: dict[str, dict[str, float]] = {}
    for name, records in sets.items():
        found: dict[str, float | None] = {}
        if all("spans" in record for record in records):
            scored = scores(records, redactor(rules))
            found |= {figure: scored[figure] for figure in ("leak", "full_recall", "secrets", "lost")}
            found["secrets_context"] = secrets_in_context(records, rules)
        if not name.startswith(("prose", "pii")):
            found |= level_figures(records, rules)
        out[name] = {figure: value for figure, value in found.items() if value is not None}
    return out


def texts_of(sets: Mapping[str, Iterable[Labelled]]) -> list[str]:
    """Every text once, in order."""
    return list(dict.fromkeys(str(record["text"]) for records in sets.values() for record in records))
