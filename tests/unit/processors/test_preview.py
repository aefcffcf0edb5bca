"""`byleave preview live`: the stream's own code, nothing stored, and a terminal that is left as it was found."""

from __future__ import annotations

import json
import os
import sys
import time

import pytest
from typed_sessions import focused, run
from typer.testing import CliRunner

from byleave.core.errors import Misconfigured
from byleave.processors.cli import app
from byleave.processors.patterns import load_patterns
from byleave.processors.preview import WHY, Preview, preview_text
from byleave.processors.session import Rules
from byleave.processors.terminal import split_keys


def test_a_text_is_decided_as_in_the_stream(rules: Rules) -> None:
    text = "hi Mark, mail ann@example.com\nmy ssn is 219-09-9999\nls -la"
    shown = [row.text for row in preview_text(text, "xterm", rules).left if row.kind == "TYPE"]
    assert sorted(shown) == sorted(run(focused([text + "\n"], "xterm"), rules).texts())
    assert shown == ["hi <NAME>, mail <EMAIL>", "ls -la"]


def test_what_leaves_nothing_is_said_with_its_reason(rules: Rules) -> None:
    rows = preview_text("my ssn is 219-09-9999\nhello team", "xterm", rules).left
    assert [(row.level, row.kind) for row in rows] == [(1, "SWITCH"), (4, "NOTHING"), (1, "PRESS"), (2, "TYPE"), (1, "PRESS")]
    assert rows[1].redactions == ("US_SSN",)
    assert [(row.level, row.kind) for row in preview_text("hello team", "firefox", rules).left] == [(4, "NOTHING")]


def test_json_is_one_object_with_the_reasons(rules: Rules) -> None:
    result = CliRunner().invoke(app, ["preview", "live", "--text", "mail ann@example.com", "--app", "code", "--json"])
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert [row["text"] for row in report["rows"] if row["text"]] == ["mail <EMAIL>"]
    assert report["why"] == {"EMAIL": WHY["EMAIL"]}
    assert report["account"]["held"] == 0


def test_the_table_shows_what_would_leave_and_why() -> None:
    result = CliRunner().invoke(app, ["preview", "live", "--text", "mail ann@example.com"], env={"COLUMNS": "160"})
    assert result.exit_code == 0
    assert "<EMAIL>" in result.stdout
    assert WHY["EMAIL"] in result.stdout
    assert "ann@" not in result.stdout


def test_without_a_terminal_it_says_what_to_do() -> None:
    result = CliRunner().invoke(app, ["preview", "live"])
    assert isinstance(result.exception, Misconfigured)
    assert "--text" in str(result.exception)


def test_held_text_is_shown_as_it_would_read(rules: Rules) -> None:
    preview = Preview(rules, "code")
    preview.begin()
    for key in "write to ann@example.com":
        preview.press(key)
    assert preview.held() == "write to <EMAIL>"
    assert [row.kind for row in preview.left] == ["SWITCH"]
    preview.wait(preview.now_ms + 30_000)
    assert preview.held() == ""
    assert [row.text for row in preview.left if row.kind == "TYPE"] == ["write to <EMAIL>"]
    for key in " my ssn is 219-09-9999":
        preview.press(key)
    assert preview.held() == "NOTHING", "what would be written nowhere does not read like anything"


def test_every_label_of_a_pattern_has_a_reason_in_words() -> None:
    assert {row.label for row in load_patterns().rows} <= set(WHY)


def test_terminal_input_is_split_into_keys() -> None:
    names = ["a", "é", "backspace", "enter", "tab", "up", "home", "delete", "", "x"]
    assert split_keys("aé\x7f\r\t\x1b[A\x1bOH\x1b[3~\x1b[99~x") == names
    assert split_keys("\x1b") == ["esc"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
@pytest.mark.parametrize("quit_key", [b"\x03", b"\x04"])
@pytest.mark.slow
def test_live_in_a_real_terminal(quit_key: bytes) -> None:
    import pty
    import termios

    pid, handle = pty.fork()
    if pid == 0:  # the child
        os.environ["COLUMNS"] = "140"
        program = "from byleave.processors.cli import app; app()"
        os.execv(sys.executable, [sys.executable, "-c", program, "preview", "live"])  # noqa: S606
    try:
        seen = _read_until(handle, b"Ctrl-C ends it")
        before = termios.tcgetattr(handle)[3]
        os.write(handle, b"write to ann@example.com\r")
        seen += _read_until(handle, b"<EMAIL>")
        os.write(handle, quit_key)
        while chunk := _read(handle):
            seen += chunk
    finally:
        _, status = os.waitpid(pid, 0)
        os.close(handle)
    assert os.waitstatus_to_exitcode(status) == 0
    assert not before & termios.ECHO
    assert b"ann@" not in seen


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 65_536)
    except OSError:
        return b""  # the child closed its end


def _read_until(handle: int, what: bytes) -> bytes:
    seen, until = b"", time.monotonic() + 30
    while what not in seen and time.monotonic() < until:
        chunk = _read(handle)
        if not chunk:
            break
        seen += chunk
    assert what in seen, seen[-500:]
    return seen
