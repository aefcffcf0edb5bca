"""Patterns: what each finds, check digits, slips beside a word, and that no text makes them slow or go astray."""

from __future__ import annotations

import json
import re
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from hostile import UNITS, hostile, near_misses
from hypothesis import given, settings
from hypothesis import strategies as st

from byleave.core.errors import Misconfigured
from byleave.processors import patterns
from byleave.processors.checks import find_check
from byleave.processors.detectors import Detectors, load_detectors
from byleave.processors.patterns import load_patterns
from byleave.processors.prefilter import prefilter
from byleave.processors.redact import LABELS, find_spans
from byleave.processors.rules import Rules, load_rules

ROOT = Path(__file__).parents[3]
TEXTS = [
    *sorted((ROOT / "tests" / "assets" / "text").glob("*.jsonl")),
    *sorted((ROOT.parent / "shared" / "data").glob("*_dev.jsonl")),
]
FILE = tomllib.loads(Path(str(patterns.__file__)).with_name("languages").joinpath("en", "patterns.toml").read_text("utf-8"))

FOUND = [
    ("ssn 219-09-999", "219-09-999", "US_SSN"),
    ("social security number: 219.09.9999", "219.09.9999", "US_SSN"),
    ("card 4111 1111 1111 111 ok", "4111 1111 1111 111", "CREDIT_CARD"),
    ("4111 1111 1111 1111 12/27", "4111 1111 1111 1111", "CREDIT_CARD"),
    ("iban DE89 3704 0044 0532 0130 0", "DE89 3704 0044 0532 0130 0", "IBAN"),
    ("GB29 NWBK 6016 1331 9268 19 then", "GB29 NWBK 6016 1331 9268 19", "IBAN"),
    ("ni number QQ 12 34 56 C", "QQ 12 34 56 C", "NATIONAL_ID"),
    ("nhs number 943 476 5919", "943 476 5919", "MEDICAL_ID"),
    ("utr 1234567890", "1234567890", "TAX_ID"),
    ("sort code 20-00-00", "20-00-00", "BANK_ACCOUNT"),
    ("itin 912-70-1234", "912-70-1234", "TAX_ID"),
    ("ein is 12-3456789", "12-3456789", "TAX_ID"),
    ("Steuer-ID 36 574 261 809", "36 574 261 809", "TAX_ID"),
    ("Personalausweis T220001293", "T220001293", "NATIONAL_ID"),
    ("2 95 10 99 126 111 93", "2 95 10 99 126 111 93", "NATIONAL_ID"),
    ("dni 54362315K", "54362315K", "NATIONAL_ID"),
    ("54362315-K", "54362315-K", "NATIONAL_ID"),
    ("X-2482300-W", "X-2482300-W", "NATIONAL_ID"),
    ("RCCMNL83S18D969H", "RCCMNL83S18D969H", "NATIONAL_ID"),
    ("bsn 111222333", "111222333", "NATIONAL_ID"),
    ("PESEL 44051401359", "44051401359", "NATIONAL_ID"),
    ("NIP 8567346215", "8567346215", "TAX_ID"),
    ("2341 2341 2346", "2341 2341 2346", "NATIONAL_ID"),
    ("ABCPE1234F", "ABCPE1234F", "NATIONAL_ID"),
    ("390.533.447-05", "390.533.447-05", "NATIONAL_ID"),
    ("16.727.230/0001-97", "16.727.230/0001-97", "TAX_ID"),
    ("sin 123-456-782", "123-456-782", "NATIONAL_ID"),
    ("tfn 123 456 782", "123 456 782", "TAX_ID"),
    ("medicare 2123 45670 1", "2123 45670 1", "MEDICAL_ID"),
    ("S1234567D", "S1234567D", "NATIONAL_ID"),
    ("880320-0016", "880320-0016", "NATIONAL_ID"),
    ("756.9217.0769.85", "756.9217.0769.85", "NATIONAL_ID"),
    ("passport no 546920187 ok", "546920187", "PASSPORT"),
    ("driving licence MORGA657054SM9IJ", "MORGA657054SM9IJ", "DRIVER_LICENSE"),
    ("call 020 7946 0958", "020 7946 0958", "PHONE"),
    ("Tel.: 030/901820", "030/901820", "PHONE"),
    ("text me on +49 30 901820", "+49 30 901820", "PHONE"),
    ("10 Rue de la Paix", "10 Rue de la Paix", "ADDRESS"),
    ("Hauptstraße 12, 10115 Berlin", "Hauptstraße 12, 10115 Berlin", "ADDRESS"),
    ("Calle Mayor 74", "Calle Mayor 74", "ADDRESS"),
    ("he lives at 12 Baker Street", "12 Baker Street", "ADDRESS"),
    ("moving to 7 maple drive", "7 maple drive", "ADDRESS"),
    ("SW1A 1AA", "SW1A 1AA", "ADDRESS"),
    ("Austin, TX 78701", ", TX 78701", "ADDRESS"),
    ("PSC 5420, box 2708", "PSC 5420, box 2708", "ADDRESS"),
    ("2a02:f08:b939:8f::600", "2a02:f08:b939:8f::600", "IP"),
    ("born on the 3rd of May 1988", "3rd of May 1988", "DOB"),
    ("birthday is the third of march", "the third of march", "DOB"),
    ("base: EUR 68.400", "EUR 68.400", "FINANCIAL"),
    ("they offered her 97k", "97k", "FINANCIAL"),
    ("HbA1c 9.1 %", "HbA1c 9.1 %", "MEDICAL"),
    ("panic attacks", "panic attacks", "MEDICAL"),
    ("employee id E-20418", "E-20418", "EMPLOYEE_ID"),
    ("case no 2:24-cv-01234", "2:24-cv-01234", "CASE_ID"),
    ("jolanta dot wrona at mail dot example", "jolanta dot wrona at mail dot example", "EMAIL"),
    ("four one one one one one", "four one one one one one", "NUMBER"),
    ("login as bluewhale", "bluewhale", "USERNAME"),
    ("/ho" "me/bluewhale/x", "bluewhale", "USERNAME"),
    ("password: hunter2", "hunter2", "PASSWORD"),
    ("the password is correct horse battery staple", "correct horse battery staple", "PASSWORD"),
    ("my pw's tr0ub4dor&3", "tr0ub4dor&3", "PASSWORD"),
    ("password for db.prod is sunshine", "sunshine", "PASSWORD"),
    ("hunter2 is my password", "hunter2", "PASSWORD"),
    ("wifi: rivers run deep", "rivers run deep", "PASSWORD"),
    ("the door code is 4821", "4821", "PASSWORD"),
    ("your code is 482913", "482913", "PASSWORD"),
    ("otp 482 913", "482", "PASSWORD"),
    ("mysql -uroot -pS3cret99", "S3cret99", "PASSWORD"),
    ("curl -u ann:tiger1 http://x", "ann:tiger1", "PASSWORD"),
    ("sudo apt update\ntiger lily", "tiger lily", "PASSWORD"),
    ("Password:\ntiger lily", "tiger lily", "PASSWORD"),
    ("CREATE USER x IDENTIFIED BY 'tiger'", "'tiger", "PASSWORD"),
    ("postgres://ann:tiger@db/x", "ann:tiger", "API_KEY"),
    ("DB_PASSWORD=tiger99", "tiger99", "API_KEY"),
    ("<password>tiger99</password>", "tiger99", "API_KEY"),
    ('"client_secret": "abcd efgh"', '"abcd efgh', "API_KEY"),
    ("Authorization: Basic YWxhZGRpbjpvcGVu", "YWxhZGRpbjpvcGVu", "API_KEY"),
    ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE", "API_KEY"),
    ("--api-key abc123def", "abc123def", "API_KEY"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKC", "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKC", "PRIVATE_KEY"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value", "label"), FOUND, ids=[text for text, _, _ in FOUND])
def test_a_value_is_found_under_its_label(text: str, value: str, label: str) -> None:
    assert (value, label) in {(text[start:end].strip(), found) for start, end, found in load_patterns().find(text)}


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("4111 1111 1111 1112", "CREDIT_CARD"), ("DE88 3704 0044 0532 0130 00", "IBAN"), ("000-12-3456", "US_SSN"),
        ("54362315A", "NATIONAL_ID"), ("390.533.447-06", "NATIONAL_ID"), ("2341 2341 2347", "NATIONAL_ID"),
        ("756.9217.0769.86", "NATIONAL_ID"), ("880320-0017", "NATIONAL_ID"), ("123-456-783", "NATIONAL_ID"),
        ("44051401358", "NATIONAL_ID"), ("16.727.230/0001-98", "TAX_ID"), ("999.1.1.1", "IP"), ("255.255.255.0", "IP"),
    ],
)  # fmt: skip
def test_a_number_without_its_word_counts_only_with_its_check_digit(text: str, label: str) -> None:
    assert label not in {found for _, _, found in load_patterns().find(text)}


def test_every_repetition_has_a_bound() -> None:
    for row in load_patterns().rows:
        bare = re.sub(r"\\.|\[(?:\\.|[^\]\\])+\]", "x", row.expression.pattern)
        assert not re.search(r"[x).\w][*]|[x)\w]\+(?!\))|\{\d+,\}", re.sub(r"([})])\+", r"\1", bare)), row.expression.pattern


def test_every_row_names_a_label_and_a_check_that_exist() -> None:
    assert {row.label for row in load_patterns().rows} <= set(LABELS)
    with pytest.raises(Misconfigured):
        find_check("stdnum:no.such")
    with pytest.raises(Misconfigured):
        find_check("phone:XX")
    with pytest.raises(Misconfigured):
        load_detectors(["another"])


def _all_texts() -> list[str]:
    return [json.loads(line)["text"] for file in TEXTS for line in file.read_text("utf-8").splitlines()]


@cache
def _prefiltered() -> patterns.Patterns:
    """The shipped patterns with a prefilter from the first text on."""
    shipped = load_patterns()
    return replace(shipped, possible=prefilter([row.expression.pattern for row in shipped.rows], 0))


@pytest.mark.skipif(not find_spec("hyperscan"), reason="hyperscan has no wheel here")
def test_another_hyperscan_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperscan.__version__", "0.9.1")
    assert prefilter(["a"], 0) is None


@pytest.mark.skipif(not find_spec("hyperscan"), reason="hyperscan has no wheel here")
@pytest.mark.slow
def test_the_prefilter_changes_no_span() -> None:
    """With the prefilter and by trying every row: the same finds, in all labelled and in hostile text."""
    shipped = _prefiltered()
    assert shipped.possible is not None
    plain = patterns.Patterns(shipped.rows, shipped.digest)
    rows = {row: list(near_misses(row.expression.pattern)) for row in shipped.rows}
    texts = [*_all_texts(), *(text for text, _, _ in FOUND), *(hostile(unit, 300) for unit in UNITS)]
    texts += [text for near in rows.values() for text in near]
    texts += [f"we plan the work of the week here {text}" for near in rows.values() for text in near[:1]]
    texts += [f"{'x' * size} --password hunter2x" for size in range(40)]  # Vectorscan 5.4.12 misses most of these
    for text in texts:
        every = {row.label for row in shipped.rows if _hits(row, text)}
        assert sorted(shipped.find(text)) == sorted(plain.find(text)), "the prefilter misses a row"
        assert {label for _, _, label in shipped.find(text)} == every


def _hits(row: patterns.Pattern, text: str) -> bool:
    one = patterns.Patterns((row,), "")
    return any(True for _ in one.find(text))


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("aA1 .-@:=\n'\"\x0b\x1c/+é\u017fK4\ufffd"), max_size=60))
@pytest.mark.slow
def test_the_prefilter_changes_no_span_of_random_text(text: str) -> None:
    shipped = _prefiltered()
    plain = patterns.Patterns(shipped.rows, shipped.digest)
    assert sorted(shipped.find(text)) == sorted(plain.find(text))


def test_the_prefilter_asks_nothing_about_text_that_two_libraries_read_differently() -> None:
    if (possible := prefilter([r"a\s1"], 0)) is None:
        pytest.skip("hyperscan has no wheel here")
    assert possible("a 1") == [0]
    assert possible("a1") == []
    assert possible("a\x1c1") is None
    assert possible("a\u017f1") is None
    assert possible("\u00e9") == []


def test_the_prefilter_compiles_nothing_for_a_short_run() -> None:
    if (possible := prefilter([r"a\s1"], 8)) is None:
        pytest.skip("hyperscan has no wheel here")
    assert possible("a 1 b") is None
    assert possible("b 1") == []


def _grows_linearly(work: Callable[[str], object], unit: str, small: int) -> bool:
    """Whether eight times the text costs less than twenty times as much; asked again before the answer is no."""

    def cost_s(size: int) -> float:
        text = hostile(unit, size)
        began = time.process_time()
        work(text)
        return time.process_time() - began

    return any(cost_s(8 * small) < 20 * max(cost_s(small), 0.0005) for _ in range(3))


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.slow
def test_the_whole_takes_linear_time_on_hostile_text(rules: Rules, unit: str) -> None:
    assert _grows_linearly(lambda text: find_spans("", text, rules), unit, 12_500)


@pytest.mark.parametrize("place", range(len(FILE["pattern"])))
def test_a_row_takes_linear_time_on_near_misses_of_its_own(place: int) -> None:
    row = load_patterns().rows[place]
    for near in set(near_misses(row.expression.pattern)):
        if near:
            assert _grows_linearly(lambda text: sum(1 for _ in row.expression.finditer(text)), near, 2_000), near


def test_presidio_is_one_more_detector_where_it_is_installed() -> None:
    if not find_spec("presidio_analyzer"):
        pytest.skip("presidio-analyzer is not installed (extra: presidio)")
    rules = load_rules(detectors=["presidio"])
    found = {label for _, _, label in rules.patterns.find("card 4111 1111 1111 1111")}
    assert "CREDIT_CARD" in found
    assert rules.digest != load_rules().digest


def test_without_presidio_asking_for_it_is_refused_with_a_way_out() -> None:
    if find_spec("presidio_analyzer"):
        pytest.skip("presidio-analyzer is installed")
    with pytest.raises(Misconfigured, match=r"byleave\[presidio\]"):
        load_rules(detectors=["presidio"])


class _Always:
    digest = "always"

    def find(self, text: str) -> list[tuple[int, int, str]]:
        return [(0, len(text), "PASSWORD")]


def test_several_detectors_find_together_and_are_named_together() -> None:
    both = Detectors((load_patterns(), _Always()))
    assert (0, 7, "PASSWORD") in list(both.find("1.2.3.4"))
    assert "IP" in {label for _, _, label in both.find("1.2.3.4")}
    assert both.digest != Detectors((load_patterns(),)).digest
