"""Fits the weights of `languages/en/levels.toml` to the labelled developer texts: a logistic regression without libraries.

    .venv/bin/python tests/assets/level_weights.py            print how well the weights in the file do, and fitted ones would
    .venv/bin/python tests/assets/level_weights.py --write    put fitted ones into the file

A text is sensitive if its level is 3 or 4. Texts in which a label was found that decides by itself take no part. A feature that
speaks for a topic or a label may not weigh against it. Fitted on four fifths and judged on the rest, five times, so that the
printed figures are not those of texts that the fit has seen.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from byleave.processors import topics
from byleave.processors.redact import find_spans
from byleave.processors.rules import Rules, load_rules
from byleave.processors.topics import COUNT_MAX, Topics

ASSETS = Path(__file__).parent
SETS = (
    "workplace_dev.jsonl",
    "text/workplace_dev2.jsonl",
    "text/workplace_dev3.jsonl",
    "text/levels_dev.jsonl",
    "text/prose_dev.jsonl",
)
FILE = Path(topics.__file__).parent / "languages" / "en" / "levels.toml"
ROUNDS, STEP, PULL, PRIOR = 700, 0.5, 0.01, 0.9
SENSITIVE_COUNTS = 2.55
"""A text of level 3 or 4 that is let out is worse than one that is held back."""
FOLDS = 5
CHOICE_ROUNDS = 50
Row = tuple[list[dict[int, float]], bool]
"""The runs of a text, each with its feature counts, and whether the text is sensitive."""


def rows_of(texts: Sequence[Mapping[str, object]], rules: Rules) -> list[Row]:
    """The texts that no label decides."""
    rows = []
    for entry in texts:
        labels = {span.label for span in find_spans("", str(entry["text"]), rules)}
        if all(rules.policy.labels[label] < 3 for label in labels):
            runs = rules.topics.runs(str(entry["text"]), labels)
            rows.append(
                ([{n: float(min(count, COUNT_MAX)) for n, count in run.items()} for run in runs], int(str(entry["level"])) >= 3)
            )
    return rows


def fit(rows: Sequence[Row], model: Topics) -> tuple[float, list[float]]:
    """Bias and weights. Those that speak for a topic are pulled to PRIOR: a list that no text here uses keeps a say.

    A text is as sensitive as its most sensitive run, so that run is what it teaches; it is chosen anew from time to time.
    """
    floors = [0.0 if feature.topic or feature.label else -3.0 for feature in model.features]
    priors = [PRIOR if feature.topic else 0.0 for feature in model.features]
    weights, bias, chosen = list(priors), -1.0, list[tuple[dict[int, float], bool]]()
    for number in range(ROUNDS):
        if number % CHOICE_ROUNDS == 0:
            chosen = [(max(runs, key=lambda run: total(run, weights)), sensitive) for runs, sensitive in rows]
        slopes, slope = [PULL * (weight - prior) for weight, prior in zip(weights, priors, strict=True)], 0.0
        for counts, sensitive in chosen:
            error = 1 / (1 + math.exp(-bias - total(counts, weights))) - sensitive
            error *= (SENSITIVE_COUNTS if sensitive else 1.0) / len(rows)
            slope += error
            for n, count in counts.items():
                slopes[n] += error * count
        bias -= STEP * slope
        weights = [max(low, weight - STEP * part) for low, weight, part in zip(floors, weights, slopes, strict=True)]
    return bias, weights


def total(counts: Mapping[int, float], weights: Sequence[float]) -> float:
    """What the features of a run weigh together."""
    return sum(weights[n] * count for n, count in counts.items())


def missed_and_false(rows: Sequence[Row], bias: float, weights: Sequence[float]) -> tuple[int, int, int, int]:
    """Sensitive texts below the line, all sensitive ones, harmless ones over it, all harmless ones."""
    over = [(any(bias + total(run, weights) >= 0 for run in runs), sensitive) for runs, sensitive in rows]
    sensitive = sum(is_so for _, is_so in over)
    return over.count((False, True)), sensitive, over.count((True, False)), len(over) - sensitive


def main(arguments: Sequence[str]) -> None:
    rules = load_rules()
    model = rules.topics
    paths = [ASSETS / name for name in SETS if (ASSETS / name).is_file()]
    rows = [row for path in paths for row in rows_of(list(map(json.loads, path.open(encoding="utf-8"))), rules)]
    print("in the file:", missed_and_false(rows, model.bias, [feature.weight for feature in model.features]))  # noqa: T201 - a script
    totals = [0, 0, 0, 0]
    for fold in range(FOLDS):
        fitted = fit([row for n, row in enumerate(rows) if n % FOLDS != fold], model)
        judged = missed_and_false(rows[fold::FOLDS], *fitted)
        totals = [total + part for total, part in zip(totals, judged, strict=True)]
    print("fitted, on texts not seen (missed, of, false, of):", totals)  # noqa: T201 - a script
    bias, weights = fit(rows, model)
    print("fitted, on the same texts:", missed_and_false(rows, bias, weights))  # noqa: T201 - a script
    if "--write" in arguments:
        numbers = iter([bias, *weights])
        text = re.sub(r"(?m)^(bias|weight) = .*$", lambda line: f"{line[1]} = {next(numbers):.2f}", FILE.read_text("utf-8"))
        FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
