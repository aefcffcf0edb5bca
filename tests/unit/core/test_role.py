"""The frame of a role: one ready line, one sentence for an error, the exit code, and an end that is always heard."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from byleave.core.errors import Broken, Forged, Misconfigured, Refused, Transient
from byleave.core.role import Role
from byleave.core.settings import load_installation

PROGRAM = """
import sys
from byleave.core import role
from byleave.core.errors import *
def work(role, options):
    with role.served(lambda: False, lambda: True) as ready:
        ready()
        ready()
        %s
sys.exit(role.run("sink", "Tries the frame.", None, work, {"--times": {"type": int, "default": 1}}))
"""
WAIT = "while not role.stopped(60.0): pass"


def start(home: Path, body: str, *words: str, **environment: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BYLEAVE_")}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM % body, *words], env={**kept, "BYLEAVE_HOME": str(home), **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors
    return process.returncode, out, errors


@pytest.fixture
def role(tmp_path: Path) -> Role:
    return Role("sink", load_installation({"BYLEAVE_HOME": str(tmp_path)}))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_once_that_it_is_ready_answers_for_its_health_and_ends_when_told(tmp_path: Path, number: int) -> None:
    process = start(tmp_path, WAIT)
    assert process.stdout
    line = json.loads(process.stdout.readline())
    assert (line["ready"], line["role"], line["pid"]) == (True, "sink", process.pid)
    port = line["metrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=10) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10)
    process.send_signal(number)
    assert ended(process) == (0, "", "")


def test_who_is_not_admitted_or_comes_by_another_name_gets_no_number(role: Role, capsys: pytest.CaptureFixture[str]) -> None:
    admitted = [True, True, False]
    with role.served(lambda: True, lambda: True, admits=lambda *_: not admitted or admitted.pop(0)) as ready:
        ready()
        port = json.loads(capsys.readouterr().out)["metrics_port"]

        def asked(host: str) -> int:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as talk:
                talk.request("GET", "/metrics", headers={"Host": host})
                with talk.getresponse() as answer:
                    return answer.status

        assert asked(f"127.0.0.1:{port}") == 200
        assert asked(f"example.org:{port}") == 403, "a page whose name was led to this machine"
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            asked(f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ("raise Misconfigured('put it right')", 2, "byleave sink: put it right\n"),
        ("raise Broken('it is over')", 1, "byleave sink: it is over\n"),
        ("raise Transient('nobody answers')", 1, "byleave sink: nobody answers\n"),
        ("role.stop(); raise Transient('nobody answers')", 0, ""),
        ("role.stop(); raise Broken('it is over')", 1, "byleave sink: it is over\n"),
        ("open('gone.key')", 1, "byleave sink: No such file or directory: gone.key\n"),
        ("assert options.times == 1", 0, ""),
    ],
)
def test_an_error_is_one_sentence_and_an_exit_code(tmp_path: Path, body: str, code: int, says: str) -> None:
    got, _, errors = ended(start(tmp_path, body))
    assert (got, errors) == (code, says)


def test_a_wrong_setting_or_flag_ends_it_before_its_work_begins(tmp_path: Path) -> None:
    code, out, errors = ended(start(tmp_path, WAIT, BYLEAVE_HOEM="x"))
    assert (code, out) == (2, "")
    assert errors.startswith("byleave sink: unknown setting BYLEAVE_HOEM")
    code, out, errors = ended(start(tmp_path, WAIT, "--times", "x"))
    assert (code, out) == (2, "")
    assert "--times" in errors


def test_what_may_pass_is_tried_again_within_a_bound_and_a_step_that_succeeds_begins_the_count_anew(role: Role) -> None:
    left = [Transient("1"), Transient("2"), None, Transient("3"), Transient("4"), Transient("the last")]

    def step() -> None:
        failure = left.pop(0)
        if failure:
            raise failure

    with pytest.raises(Transient, match="the last"):
        role.keep_on(step, failures_max=2)
    assert left == []


@pytest.mark.parametrize("error", [Refused("x"), Forged("x"), Broken("x"), Misconfigured("x")])
def test_what_does_not_pass_is_not_tried_again(role: Role, error: Exception) -> None:
    tried: list[int] = []

    def step() -> None:
        tried.append(1)
        raise error

    with pytest.raises(type(error)):
        role.keep_on(step, failures_max=9)
    assert tried == [1]


def test_it_takes_no_further_step_once_it_is_told(role: Role) -> None:
    taken: list[int] = []

    def step() -> None:
        taken.append(1)
        if len(taken) == 3:
            role.stop()
            role.stop()  # told twice is told once

    role.keep_on(step, failures_max=0)
    assert len(taken) == 3
    assert role.stopped()
    assert role.stopped(60.0), "and does not wait for what it knows"
