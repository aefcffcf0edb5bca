"""`byleave preview text`: one line in, one line out, by the code that decides a stretch."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from byleave.core.errors import Forged
from byleave.processors.classify import context_of, record_level
from byleave.processors.cli import app
from byleave.processors.preview_text import judged, window_of
from byleave.processors.redact import find_spans
from byleave.processors.session import Rules

SECRET = "my ssn is 219-09-9999"


def preview(*lines: object) -> tuple[int, list[dict[str, Any]], BaseException | None]:
    sent = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    result = CliRunner().invoke(app, ["preview", "text"], input=sent)
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()], result.exception


def test_ranges_are_those_of_the_stream_and_text_is_redacted(rules: Rules) -> None:
    code, [row], _ = preview({"id": "a", "text": "mail ann@example.com now"})
    assert code == 0
    spans = find_spans("", "mail ann@example.com now", rules)
    assert row["ranges"] == [[span.start, span.end, span.label] for span in spans] == [[5, 20, "EMAIL"]]
    assert (row["id"], row["text"], row["why"][0]) == ("a", "mail <EMAIL> now", "EMAIL: has the shape of an e-mail address")
    here = context_of(window_of({}), rules.policy)
    assert row["level"] == record_level(here.text_level, "mail ann@example.com now", ["EMAIL"], rules)


def test_of_level_4_the_text_comes_redacted_and_the_level_says_that_it_is_not_written(rules: Rules) -> None:
    found = judged(1, {"id": 1, "text": SECRET}, rules)
    assert (found["level"], found["text"]) == (4, "my ssn is <US_SSN>")
    found = judged(1, {"id": 1, "text": "good morning", "context": {"app": "keepassxc"}}, rules)
    assert (found["level"], found["text"]) == (4, "good morning")
    assert any("is level 4" in why for why in found["why"])


@pytest.mark.parametrize(
    ("context", "level"),
    [(None, 2), ({}, 2), ({"app": "code"}, 2), ({"app": None, "title": None}, 2), ({"app": "no-such-app"}, 4),
     ({"url": "https://github.com/a/b?c"}, 2), ({"url": "github.com/a"}, 2), ({"url": "https://nowhere.example"}, 4),
     ({"url": "about:blank"}, 4), ({"url": "http://[oops"}, 4), ({"app": "firefox"}, 4)],
)  # fmt: skip
def test_a_context_is_judged_by_the_policy(rules: Rules, context: dict[str, Any] | None, level: int) -> None:
    assert judged(1, {"id": 1, "text": "good morning", "context": context}, rules)["level"] == level


def test_of_an_address_path_and_query_go(rules: Rules) -> None:
    row = {"id": 1, "text": "https://github.com/jane/notes?token=x", "context": {"channel": "url"}}
    found = judged(1, row, rules)
    assert found["text"] == "https://github.com<URL>"
    assert found["ranges"][-1] == [18, 37, "URL"]


@pytest.mark.parametrize("line", ["{", "[]", "7", '{"id":1}', '{"id":1,"text":5}', '{"id":1,"text":"hunter2","context":[1]}',
                                  '{"id":1,"text":"hunter2","context":{"app":7}}'])  # fmt: skip
def test_a_bad_line_is_one_sentence_with_its_number(line: str) -> None:
    code, rows, error = preview({"id": 1, "text": "good morning"}, "", line)
    assert (code, len(rows)) == (1, 1)
    assert isinstance(error, Forged)
    assert str(error).startswith("line 3 is not")
    assert "hunter2" not in str(error)


def test_half_a_surrogate_pair_stays_json() -> None:
    code, [row], _ = preview('{"id":1,"text":"good morning \\ud800"}')
    assert code == 0
    assert row["id"] == 1
