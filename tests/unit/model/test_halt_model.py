"""The text that Spin is given, without Spin: the same each time, one rule less in each variant, and no doubt read as proof."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MODEL = Path(__file__).resolve().parents[2] / "model"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(MODEL))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))  # `generate` and `check` are names for this folder alone
    return importlib.import_module


def test_the_generator_writes_the_text_that_is_kept_beside_it() -> None:
    written = subprocess.run(
        [sys.executable, str(MODEL / "generate.py")], capture_output=True, text=True, timeout=60, check=True
    )
    assert written.stdout == (MODEL / "halt.pml").read_text(encoding="utf-8"), "generate.py > halt.pml"


def test_each_variant_is_another_text_and_asks_for_one_thing_or_takes_one_away(load: Any) -> None:
    text, variants = load("generate").text, load("variants").ALL
    assert len({text(variant.rules) for variant in variants}) == len(variants)
    for variant in variants:
        assert len(set(variant.changes) - {"whose", "asked", "times", "remembers", "arrives", "admits"}) <= 2, variant.name
        assert "$" not in text(variant.rules)


def test_a_rule_that_there_is_not_cannot_be_taken_away(load: Any) -> None:
    with pytest.raises(KeyError, match="leese"):
        load("generate").text({"leese": "true"})


WHOLE = "State-vector 92 byte, depth reached 55, errors: 0\n  3528270 states, stored\n"


@pytest.mark.parametrize(
    ("report", "found"),
    [
        (WHOLE, "holds"),
        ("pan:1: assertion violated x (at depth 3)\nWarning: Search not completed\nerrors: 1\n", "breaks"),
        ("pan: reached -DMEMLIM bound\nout of memory\n" + WHOLE, "no answer"),
        ("error: max search depth too small\n" + WHOLE, "no answer"),
        ("Warning: Search not completed\n" + WHOLE, "no answer"),
        ("pan:1: invalid end state (at depth 3)\nerrors: 1\n", "no answer"),
        ("", "no answer"),
    ],
)
def test_only_a_full_search_without_errors_is_a_proof_and_only_a_broken_assertion_a_counterexample(
    load: Any, report: str, found: str
) -> None:
    assert load("check").judge(report) == found


@pytest.mark.parametrize(
    ("expected", "found"), [("HOLDS", "breaks"), ("BREAKS", "holds"), ("LIMIT", "holds"), ("HOLDS", "no answer")]
)
def test_whatever_was_not_expected_is_a_surprise(load: Any, expected: str, found: str) -> None:
    variants, check = load("variants"), load("check")
    outcome = check.Outcome(variants.Variant("any", "safe", variants.Expected[expected]), found, 1, 1.0)
    assert not outcome.expected
