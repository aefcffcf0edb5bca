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
ROUNDS, STEP, PULL, PRIOR = 1500, 0.5, 0.01, 0.6
SENSITIVE_COUNTS = 1.6
"""A text of level 3 or 4 that is let out is worse than one that is held back."""
FOLDS = 5
Row = tuple[dict[int, float], bool]


def rows_of(texts: Sequence[Mapping[str, object]], rules: Rules, model: Topics) -> list[Row]:
    """Feature counts and whether the text is sensitive, for those that no label decides."""
    rows = []
    for entry in texts:
        text, labels = str(entry["text"]), set()
        for span in find_spans("", text, rules):
            labels.add(span.label)
        if any(rules.policy.labels.get(label, 0) >= 3 for label in labels):
            continue
        counts = {n: 1 for n, feature in enumerate(model.features) if feature.label in labels}
        found = model.counts(text)
        found.update(counts)
        rows.append(({n: float(min(count, COUNT_MAX)) for n, count in found.items()}, int(str(entry["level"])) >= 3))
    return rows


def fit(rows: Sequence[Row], model: Topics) -> tuple[float, list[float]]:
    """Bias and weights. Those that speak for a topic are pulled to PRIOR: a list that no text here uses keeps a say."""
    floors = [0.0 if feature.topic or feature.label else -3.0 for feature in model.features]
    priors = [PRIOR if feature.topic else 0.0 for feature in model.features]
    weights, bias = list(priors), -1.0
    for _ in range(ROUNDS):
        slopes, slope = [PULL * (weight - prior) for weight, prior in zip(weights, priors, strict=True)], 0.0
        for counts, sensitive in rows:
            score = bias + sum(weights[n] * count for n, count in counts.items())
            error = (1 / (1 + math.exp(-score)) - sensitive) * (SENSITIVE_COUNTS if sensitive else 1.0) / len(rows)
            slope += error
            for n, count in counts.items():
                slopes[n] += error * count
        bias -= STEP * slope
        weights = [max(low, weight - STEP * part) for low, weight, part in zip(floors, weights, slopes, strict=True)]
    return bias, weights


def missed_and_false(rows: Sequence[Row], bias: float, weights: Sequence[float]) -> tuple[int, int, int, int]:
    """Sensitive texts below the line, all sensitive ones, harmless ones over it, all harmless ones."""
    over = [(bias + sum(weights[n] * count for n, count in counts.items()) >= 0, sensitive) for counts, sensitive in rows]
    sensitive = sum(is_so for _, is_so in over)
    return over.count((False, True)), sensitive, over.count((True, False)), len(over) - sensitive


def main(arguments: Sequence[str]) -> None:
    rules = load_rules()
    model = rules.topics
    paths = [ASSETS / name for name in SETS if (ASSETS / name).is_file()]
    rows = [row for path in paths for row in rows_of(list(map(json.loads, path.open(encoding="utf-8"))), rules, model)]
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
