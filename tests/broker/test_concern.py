"""A person checks and objects, on a real broker under its access lists: paused, on the board, read by those named, answered."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from byleave.control import cli as control_cli
from byleave.control import concern_cli, consenting, desk, ordering, trust
from byleave.control.bootstrap import dev_site, pinned_root
from byleave.core.clock import wall_ms
from byleave.core.errors import Refused
from byleave.core.keys import read_signing_key
from byleave.core.settings import load_installation
from byleave.producers import cli
from byleave.producers.person import verify

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]
TEXT = "it took down what I wrote to my doctor"


def root_keys(home: Path) -> list[Any]:
    return [read_signing_key(home / "officers" / f"root-{n}.key") for n in (1, 2)]


def test_a_person_verifies_raises_a_concern_and_is_answered(
    kafka: Any, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {**kafka.env(site), "BYLEAVE_HOME": str(tmp_path)}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    at = load_installation(env)
    dev_site(tmp_path, site, [("ep-a", "p-a", "t"), ("ep-b", "p-b", "t")], wall_ms(), secrets.token_bytes)
    ordering.publish_missing(at)

    def said(app: Any, *words: str, code: int = 0) -> dict[str, Any]:
        done = CliRunner().invoke(app, [*words, "--json"])
        assert done.exit_code == code, done.output
        return dict(json.loads(done.stdout))

    lines = {line["what"]: line for line in said(cli.app, "me", "verify", "--endpoint", "ep-a", code=1)["lines"]}
    assert (lines["root"]["found"], lines["files"]["found"]) == ("ok", "NOT OK"), "it runs from a source tree"
    assert consenting.agree(at, "ep-a", consenting.read_offer(at, "ep-a"))["given"]
    own = verify.Own(at, "ep-a", "", None)
    assert (verify.consent(own)[0], verify.root(own)[0]) == (verify.Found.OK, verify.Found.OK)
    elsewhere = trust.sign(dataclasses.replace(pinned_root(tmp_path, site), expires_ms=wall_ms() + 9), root_keys(tmp_path))
    desk.publish(at, "security", [("control.root.v1", b"1", elsewhere)])
    assert verify.root(own)[0] is verify.Found.BAD, "another root of this version stands there"

    raised = said(cli.app, "me", "raise", TEXT, "--endpoint", "ep-a")
    assert (tmp_path / "endpoints" / "ep-a" / "pause").exists()
    assert not (tmp_path / "endpoints" / "ep-b" / "pause").exists()
    left = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and os.access(path, os.R_OK))
    assert TEXT.encode() not in left, "nothing of it is kept"

    board = said(control_cli.app, "board")["concerns"]
    assert [(row["number"], row["concern"], row["answered"]) for row in board] == [(1, raised["concern"], False)]
    assert "ep-a" not in json.dumps(board)
    with closing(desk.open_watch(at, "security", topics=("control.concern.v1",))) as watch:
        records: list[Any] = []
        while not watch.caught_up:
            records += watch.read(0.1)
    assert b"ep-a" not in records[0][0].key + records[0][0].value
    with pytest.raises(Refused), closing(desk.open_watch(at, "ep-b", "endpoint", ("control.concern.v1",))) as denied:
        desk.read_all(denied)

    read = said(concern_cli.app, "read", "1", "--as", "council")
    assert (read["endpoint"], read["text"]) == ("ep-a", TEXT)
    assert said(cli.app, "me", "raise", "--list", "--endpoint", "ep-a")["concerns"][0]["answer"] is None
    said(concern_cli.app, "answer", "1", "that site is barred now", "--as", "council", "--officer", "council-1")
    assert said(control_cli.app, "board")["concerns"] == []
    assert said(concern_cli.app, "list")["concerns"][0]["answered"] is True
    assert said(cli.app, "me", "raise", "--list", "--endpoint", "ep-a")["concerns"][0]["answer"] == "that site is barred now"
