"""A process is ours only if its start time says so."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from byleave.deploy import process

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_spawn"), reason="the embedded broker needs Linux or macOS")

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
WILLING = "import signal; print('up', flush=True); signal.pause()"


@pytest.fixture
def start() -> Iterator:
    children: list[subprocess.Popen] = []

    def begin(code: str) -> int:
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        children.append(child)
        assert child.stdout.readline() == b"up\n"
        return child.pid

    yield begin
    for child in children:
        child.kill()
        child.wait(10)
        child.stdout.close()


@pytest.mark.parametrize(("code", "ending"), [(WILLING, "stopped"), (STUBBORN, "killed")])
def test_a_remembered_process_is_found_and_ended(tmp_path: Path, start, code: str, ending: str) -> None:
    path, pid = tmp_path / "pid", start(code)
    process.remember(path, pid)
    assert process.running(path) == pid
    assert process.end(path, patience_s=0.5) == ending
    assert process.running(path) is None
    assert process.start_mark(pid) is None
    assert not path.exists()


def test_a_process_with_the_same_id_but_another_start_is_left_alone(tmp_path: Path, start) -> None:
    path, pid = tmp_path / "pid", start(WILLING)
    path.write_text(f"{pid} 1\n")
    assert process.running(path) is None
    assert process.end(path, patience_s=0.5) == "none"
    assert process.start_mark(pid) is not None


@pytest.mark.parametrize("content", ["", "x", "12", "99999999 5", "-1 gone", "\x00"])
def test_an_unreadable_or_stale_file_counts_as_no_process(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pid"
    path.write_text(content)
    assert process.running(path) is None
    assert process.end(path, patience_s=0.5) == "none"


def test_all_that_a_folder_remembers_is_ended_the_newest_first(tmp_path: Path, start) -> None:
    for number, name in enumerate(("keyring", "sink", "stale")):
        process.remember(tmp_path / f"{name}.pid", start(WILLING))
        os.utime(tmp_path / f"{name}.pid", (number, number))
    (tmp_path / "stale.pid").write_text("99999999 5")
    assert process.end_all(tmp_path) == ["sink", "keyring"]
    assert list(tmp_path.iterdir()) == []
    assert process.end_all(tmp_path / "never made") == []
