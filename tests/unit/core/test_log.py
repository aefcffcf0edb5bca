"""Logs cannot hold content: what is not a declared field with an identifier or number in it does not pass (P4)."""

from __future__ import annotations

import json
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from byleave.core import log

SECRET = "my password is hunter2"


def passed(**event: Any) -> dict[str, Any]:
    return dict(log.only_declared(None, "info", {"event": "halted", **event}))


def test_declared_fields_pass() -> None:
    fields = {"reason": "bad-signature", "topic": "byleave.raw.events.v1", "offset": 7, "seconds": 0.5}
    assert passed(**fields) == {"event": "halted", **fields}


@pytest.mark.parametrize(
    "event",
    [
        {"text": SECRET},
        {"reason": SECRET},
        {"event": SECRET},
        {"reason": SECRET.encode()},
        {"offset": SECRET},
        {"error": ValueError(SECRET)},
        {"reason": [SECRET]},
        {"endpoint": {"name": SECRET}},
        {"reason": "x" * 129},
    ],
)
def test_text_does_not_pass_in_any_field(event: dict[str, Any]) -> None:
    shown = json.dumps(passed(**event), default=repr)
    assert SECRET not in shown
    assert "x" * 129 not in shown
    assert "withheld" in shown


@given(
    st.dictionaries(st.sampled_from([*log.FIELDS, "text", "key"]), st.one_of(st.text(), st.binary(), st.integers(), st.none()))
)
def test_whatever_is_logged_only_identifiers_and_numbers_come_out(event: dict[str, Any]) -> None:
    for name, value in passed(**event).items():
        assert isinstance(value, int | float | str)
        if isinstance(value, str) and not value.startswith("<"):
            assert set(value) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:/-"), name


def test_a_logger_writes_one_json_line_with_its_role(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        log.configure("sink").warning("refused", reason="too-old", text=SECRET)
    finally:
        structlog.reset_defaults()
    line = json.loads(capsys.readouterr().err)
    assert (line["role"], line["reason"]) == ("sink", "too-old")
    assert SECRET not in str(line)


@pytest.mark.parametrize("word", ["Kestrel-hunter2", "hunter2", "415-555-0132", "maria.keller@example.com"])
def test_a_reason_is_a_constant_of_the_code_and_a_typed_word_is_not(word: str) -> None:
    assert word not in str(passed(reason=word))
    assert passed(reason="bad-signature")["reason"] == "bad-signature"
