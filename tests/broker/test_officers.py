"""The officers' work on a real site: one leaves, one comes, under a running beacon service and a running agent.

Desk, service and endpoint have a folder each, so that each keeps the next root by itself; all are the product's own processes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from byleave.control import desk, trust
from byleave.control.documents import Halt, Scope, digest, dump
from byleave.core.clock import wall_ms
from byleave.core.keys import public_hex, read_signing_key
from byleave.core.settings import Installation, load_installation

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]
WAIT_S = 40.0
WORDS = "correct horse battery"


@dataclass
class Site:
    """Three installations of one site."""

    at: Installation
    folder: Path
    env: dict[str, str]
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def of(self, place: str) -> dict[str, str]:
        return {**os.environ, **self.env, "BYLEAVE_HOME": str(self.folder / place)}

    def byleave(self, *words: str, code: int = 0) -> dict[str, Any]:
        command = [sys.executable, "-m", "byleave.deploy.cli", *words, "--json"]
        done = subprocess.run(command, env=self.of("desk"), text=True, capture_output=True, timeout=90, check=False)
        assert done.returncode == code, f"{words}: {done.stdout}{done.stderr[-2_000:]}"
        return dict(json.loads(done.stdout.splitlines()[-1])) if done.stdout else {"said": done.stderr}

    def start(self, place: str, *words: str) -> None:
        shutil.copytree(self.at.home, self.folder / place)
        with (self.folder / f"{place}.log").open("wb") as log:
            command = [sys.executable, "-m", "byleave.deploy.cli", "run", *words]
            self.running.append(subprocess.Popen(command, env=self.of(place), stdout=log, stderr=log))

    def agent(self) -> dict[str, Any]:
        path = self.folder / "endpoint" / "endpoints" / "ep-a" / "report.json"
        return dict(json.loads(path.read_bytes())) if path.is_file() else {"capturing": False, "answer": ""}

    def until(self, found: Callable[[], Any]) -> None:
        limit_s = time.monotonic() + WAIT_S
        while not found():
            logs = [path.read_text()[-800:] for path in self.folder.glob("*.log")]
            assert time.monotonic() < limit_s, f"{self.agent()}\n{logs}"
            time.sleep(0.05)

    def root_of(self, place: str) -> int:
        return trust.load_root((self.folder / place / "trust" / "root.dsse").read_bytes(), self.at.site).version

    def sign(self, file: Path, *names: str, command: tuple[str, ...] = ("root", "rotate")) -> list[str]:
        missing: list[str] = []
        for name in names:
            words = str(self.folder / "words")
            missing = self.byleave(*command, "--sign", str(file), "--officer", name, "--yes", "--passphrase-file", words)[
                "missing"
            ]
        return missing

    def offer(self, order: Halt, name: str) -> str:
        """Puts an order on the topic as it is, past everything that the commands would refuse."""
        key = read_signing_key(self.at.home / "officers" / f"{name}.key")
        desk.publish(self.at, "security", [("control.halt.v1", digest(dump(order)).encode(), trust.sign(order, [key]))])
        return digest(dump(order))


@pytest.fixture
def stage(kafka: Any, site: str, tmp_path: Path) -> Iterator[Site]:
    env = {**kafka.env(site), "BYLEAVE_HOME": str(tmp_path / "desk")}
    words = tmp_path / "words"
    words.write_text(WORDS)
    words.chmod(0o600)
    made = Site(load_installation(env), tmp_path, env)
    made.byleave("enrol", "--endpoint=ep-a=person-a@team-1")
    made.byleave("me", "consent", "--endpoint", "ep-a", "--yes")
    made.start("service", "beacon")
    made.start("endpoint", "agent", "--endpoint", "ep-a", "--source", "canary")
    yield made
    for process in made.running:
        process.send_signal(signal.SIGKILL)
        process.wait(20)


def test_an_officer_leaves_and_another_comes_while_the_site_runs(stage: Site) -> None:
    stage.until(lambda: stage.agent()["capturing"])
    old = public_hex(read_signing_key(stage.at.home / "officers" / "security-1.key"))
    new = stage.byleave("keys", "new", "--name", "security-2", "--passphrase-file", str(stage.folder / "words"))["key"]
    added = [f"--add={role}={new}@security" for role in ("halt", "resume", "manifest")]
    file = stage.folder / "next.json"

    # The root first, alone: everybody stops, and each machine keeps the root that it was shown.
    stage.byleave("root", "rotate", "--propose", str(file), "--remove", old, *added)
    assert stage.sign(file, "root-1")
    twice = stage.byleave("root", "rotate", "--sign", str(file), "--officer", "root-1", "--yes", code=1)
    assert "signed this already" in twice["said"]
    assert "the Root needs 2 keys" in stage.byleave("root", "rotate", "--submit", str(file), "--alone", code=1)["said"]
    assert stage.root_of("desk") == 1
    stage.sign(file, "root-2")
    assert "role resume" in stage.byleave("root", "rotate", "--submit", str(file), code=1)["said"]
    assert stage.byleave("root", "rotate", "--submit", str(file), "--alone") == {"root": 2}
    stage.until(lambda: not stage.agent()["capturing"])
    stage.until(lambda: [stage.root_of(place) for place in ("desk", "service", "endpoint")] == [2, 2, 2])
    assert stage.byleave("root", "show")["version"] == 2

    # Then the state, from hand to hand: the one who left cannot sign it, the one who came can.
    state = stage.folder / "state.json"
    stage.byleave("resume", "--propose", str(state))
    assert "names your key" in stage.byleave("resume", "--sign", str(state), "--officer", "security-1", "--yes", code=1)["said"]
    stage.sign(state, "security-2", command=("resume",))
    assert "left are" in stage.byleave("resume", "--submit", str(state), code=1)["said"]
    assert stage.sign(state, "council-1", command=("resume",)) == []
    assert stage.byleave("resume", "--submit", str(state)) == {"epoch": 2, "lifted": [], "standing": 0}
    stage.until(lambda: stage.agent()["capturing"])

    # What the one who left signs stops nobody; what the one who came signs stops everybody.
    assert "no key of role halt" in stage.byleave("halt", "--reason", "revenge", "--officer", "security-1", code=1)["said"]
    order = Halt(stage.at.site, Scope("global"), "capture", "revenge", "drop", wall_ms(), 600_000, "00")
    refused = stage.offer(order, "security-1")
    words = ("--officer", "security-2", "--passphrase-file", str(stage.folder / "words"))
    board = stage.byleave("halt", "--reason", "a test", *words, "--wait")["board"]
    assert [(row["endpoint"], row["standing"]) for row in board["rows"]] == [("ep-a", "ACKED")]
    report = stage.byleave("board")
    assert [one["halt_id"] for one in report["orders"]] == [board["halt_id"]]
    assert refused not in str(report)

    # Root and state in one. It would forget the order of security-2, so that is signed again, and stands until it is lifted.
    both = stage.folder / "both.json"
    drop = stage.byleave("root", "rotate", "--propose", str(both), "--remove", new, "--threshold", "resume=2/2")
    assert any("Stop capture" in line for line in drop["words"])
    stage.sign(both, "root-1", "root-2", "privacy-1", "council-1")
    assert stage.byleave("root", "rotate", "--submit", str(both)) == {
        "root": 3, "epoch": 3, "lifted": [], "standing": 1, "halts": [board["halt_id"]],
    }  # fmt: skip
    stage.until(lambda: stage.root_of("endpoint") == 3 and stage.root_of("service") == 3)
    assert stage.byleave("board")["orders"][0]["halt_id"] == board["halt_id"]
    assert not stage.agent()["capturing"]
    assert stage.byleave("resume")["lifted"] == [board["halt_id"]]
    stage.until(lambda: stage.agent()["capturing"])


def test_keys_are_rehearsed_and_the_board_and_the_calendar_know(stage: Site) -> None:
    stage.byleave("keys", "rehearse", "--officer", "council-1")
    rows = {row["here"]: row["worked_days_ago"] for row in stage.byleave("keys", "list")["keys"]}
    assert (rows["council-1"], rows["privacy-1"]) == (0, None)
    assert {row["worked_days_ago"] for row in stage.byleave("board")["keys"]} == {0, None}
    rows = {(row["what"], row["level"]) for row in stage.byleave("calendar")["rows"]}
    assert {("rehearsal", "ok"), ("rehearsal", "soon"), ("root", "ok"), ("certificate", "ok"), ("state", "ok")} <= rows
    lonely = stage.byleave("keys", "new", "--name", "stranger", "--passphrase-file", str(stage.folder / "words"))
    words = ("--officer", "stranger", "--passphrase-file", str(stage.folder / "words"))
    assert "names no such key" in stage.byleave("keys", "rehearse", *words, code=1)["said"]
    assert lonely["key"] not in str(stage.byleave("keys", "list"))


def test_to_erase_more_than_an_hour_several_sign_and_one_alone_is_refused(stage: Site) -> None:
    file = stage.folder / "erase.json"
    assert "k of n" in stage.byleave("halt", "--reason", "a test", "--discard-since", "2h", code=1)["said"]
    stage.byleave("halt", "--reason", "a test", "--discard-since", "2h", "--propose", str(file))
    stage.sign(file, "security-1", command=("halt",))
    assert "role resume" in stage.byleave("halt", "--submit", str(file), code=1)["said"]
    stage.sign(file, "privacy-1", command=("halt",))
    (halt_id,) = stage.byleave("halt", "--submit", str(file))["halts"]
    watch = desk.read_all(desk.open_watch(stage.at, "security"))
    try:
        stage.until(lambda: (watch.pump(0.1), watch.knowledge.discards())[1])
    finally:
        watch.close()
    assert [row[0] for row in watch.knowledge.discards()] == [halt_id]
    stage.until(lambda: stage.agent()["halted"])
