"""What a person is told of themselves, given, and may erase: in words, as JSON, and what is left behind afterwards (P7)."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lake_site import LakeSite
from typer.testing import CliRunner

from byleave.control.bootstrap import dev_site
from byleave.core.errors import Refused
from byleave.core.events import Kind, Screen, Window
from byleave.core.keyring import KeyringClient
from byleave.core.settings import Installation, load_installation
from byleave.deploy import pki
from byleave.producers.cli import app
from byleave.producers.hooks.canary import canary
from byleave.producers.hooks.replay import Timeline
from byleave.producers.hooks.source import Observed
from byleave.producers.inquiries import ask
from byleave.producers.main import Process
from byleave.producers.person import own, pause
from byleave.producers.person.today import FILE, Days
from byleave.sinks.keyring_main import serve

NOW_MS = 1_800_000_000_000
EDITOR = Window(7, "editor", layout="us")


@pytest.fixture
def at(tmp_path: Path, world, bench, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """An endpoint with something in its spool, and an account of one day; no broker and no keyring can be reached."""
    home = tmp_path / "home"
    pki.ensure_pki(home, ["ep-a"])
    dev_site(home, "byleave.", [("ep-a", "person-a", "team-1")], NOW_MS, os.urandom, consent=True)
    typed = [Observed(0, Kind.FOCUS, window=EDITOR), *(Observed(300 + n * 50, Kind.PRESS, key="x") for n in range(60))]
    days = Days()
    days.turn_to("2026-11-24")
    b = bench(Timeline(typed, Screen(800, 600)), days=days)
    world.broker.down = True
    b.run(5_000)
    b.agent.finish()
    folder = home / "endpoints" / "ep-a"
    shutil.copytree(world.folder / "spool", folder / "spool")
    (folder / FILE).write_bytes(days.dump())
    monkeypatch.setattr("byleave.producers.main.WAIT_S", 0.05)
    monkeypatch.setattr("byleave.control.consenting.read_offer", unreachable)
    for name in [name for name in os.environ if name.startswith("BYLEAVE_")]:
        monkeypatch.delenv(name)
    settings = {"BYLEAVE_HOME": str(home), "BYLEAVE_KEYRING": "127.0.0.1:9", "BYLEAVE_BOOTSTRAP": "127.0.0.1:9"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return load_installation(settings)


def unreachable(*_: object) -> None:
    raise Refused("nobody answers", reason="no-run")


@contextmanager
def running(at: Installation) -> Iterator[Process]:
    """The agent's process on a thread: its loop, its socket, its files."""
    process, over = Process(at, "ep-a", canary(), lambda seconds: bool(over.wait(min(seconds, 0.02)))), threading.Event()
    process.person.listen()

    def loop() -> None:
        while not over.is_set():
            process.turn()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield process
    finally:
        over.set()
        thread.join()
        process.close()


def said(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["me", *words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


def left(at: Installation) -> list[str]:
    folder = at.home / "endpoints" / "ep-a"
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix == ".raw"]


def test_the_day_is_told_with_what_is_missing_from_it(at: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = at.home / "endpoints" / "ep-a"
    report = own.day(folder, "2026-11-24")
    assert (report["captured"], report["counts"], report["receipt"]) == (61, {"keys": 60}, None)
    assert any("no receipt" in line for line in own.day_words(report))
    receipt = {"captured": 50, "written": 30, "removed": 14, "refused": 2, "gaps": 1, "held_before": 1, "held": 4,
               "difference": 0, "removals": {"password": 14}}  # fmt: skip
    words = "\n".join(own.day_words({**report, "never": {"tax": 1}, "receipt": receipt}))
    assert "1 tax" in words
    assert "14 password" in words
    assert "50 = 30 written + 14 removed + 2 refused + 1 gaps + 3 held" in words
    assert "11 events stand in no receipt" in words
    assert 30 + 14 + 2 + 1 + 3 == 50
    full = "\n".join(own.day_words({**report, "receipt": {**receipt, "captured": 61}}))
    assert "Difference" not in full


def test_an_export_holds_all_that_is_known_here_and_says_what_is_not(at: Installation, tmp_path: Path) -> None:
    out = tmp_path / "me.json"
    words = said("export", "--out", str(out))
    kept = json.loads(out.read_text())
    assert out.stat().st_mode & 0o777 == 0o600
    assert (kept["enrolment"]["subject"], kept["consent"]["given"], kept["paused"]) == ("person-a", True, False)
    assert kept["days"][0]["counts"] == {"keys": 60}
    assert "private" not in json.dumps(kept)
    assert kept["manifest_missing"] == "nobody answers"
    for line in (*own.UNKNOWN, "person-a", "60 keys", "could not be read"):
        assert line in words
    said("export", "--out", str(out), code=1)
    assert json.loads(out.read_text()) == kept, "what is there already is not written over"


def test_the_last_minutes_are_asked_of_the_agent_alone(at: Installation) -> None:
    said("show", code=1)
    with running(at) as process:
        process.agent.ring.take(Observed(2**50, Kind.PRESS, key="q"), "editor")
        assert "editor  q" in said("show", "--last", "2m")
        assert "2026" in said("today")
        assert "q" in "".join(json.loads(said("export", "--recent", "--json"))["recent"])
    for wrong in ("6m", "0s", "x", "1h"):
        said("show", "--last", wrong, code=1)


@pytest.mark.parametrize("agent_runs", [True, False])
def test_erasing_leaves_nothing_here_and_says_what_it_did_not_reach(at: Installation, agent_runs: bool) -> None:
    folder = at.home / "endpoints" / "ep-a"
    assert left(at)
    if agent_runs:
        with running(at) as process:
            process.agent.ring.take(Observed(2**50, Kind.PRESS, key="q"), "editor")
            told = json.loads(said("erase", "--yes", "--json", code=1).splitlines()[-1])
            assert ask(folder, {"ask": "show", "last_s": 300}) == {"lines": []}
    else:
        told = json.loads(said("erase", "--yes", "--json", code=1).splitlines()[-1])
    assert told["done"][0].startswith("here: 61 events")
    assert "keys destroy --subject person-a" in told["not_done"][0], "the keyring could not be reached"
    assert told["not_reached"] == [*own.UNREACHED]
    assert left(at) == []
    assert own.day(folder, "2026-11-24")["captured"] == 0
    assert not (folder / pause.NAME).exists(), "erasing is no pause"
    assert (folder / "consent.dsse").exists(), "and no withdrawal"


def test_on_a_full_disk_the_account_of_days_is_erased_all_the_same(at: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "no room")

    monkeypatch.setattr("byleave.producers.person.account.replace_file", full)
    with running(at):
        said("erase", "--yes", code=1)
    assert not (at.home / "endpoints" / "ep-a" / FILE).exists()


def test_erasing_keeps_a_pause_and_asks_first(at: Installation) -> None:
    folder = at.home / "endpoints" / "ep-a"
    said("erase", code=1)
    assert left(at), "not confirmed"
    said("pause")
    said("erase", "--yes", code=1)
    assert (folder / pause.NAME).exists()
    assert "no agent runs" in said("resume")
    assert not (folder / pause.NAME).exists()


def test_erasing_destroys_the_keys_of_this_person_and_of_nobody_else(
    at: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(at, tmp_path / "keys", monkeypatch) as client:
        for key_id in ("person-a/2026-11-23/2", "person-a/2026-11-24/1", "person-b/2026-11-24/2"):
            client("redactor").data_key(key_id)
        told = json.loads(said("erase", "--yes", "--json"))
        assert told["not_done"] == []
        assert told["done"][1].startswith("everywhere: 2 keys")
        for key_id in ("person-a/2026-11-23/2", "person-a/2026-11-24/1"):
            with pytest.raises(Refused) as refused:
                client("sink").data_key(key_id)
            assert refused.value.reason == "key-destroyed"
        assert client("sink").data_key("person-b/2026-11-24/2")


@contextmanager
def served(at: Installation, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], KeyringClient]]:
    """A keyring under the endpoint's certificate authority, and clients of it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("BYLEAVE_KEYRING", address)
    settings = {"BYLEAVE_HOME": str(home), "BYLEAVE_PKI": str(at.pki), "BYLEAVE_KEYRING": address}
    keyring, there = LakeSite(home).keyring(), load_installation(settings)
    server = serve(there, keyring)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    clients: list[KeyringClient] = []

    def client(principal: str) -> KeyringClient:
        clients.append(KeyringClient(address, there.certificate(principal)))
        return clients[-1]

    try:
        yield client
    finally:
        for one in clients:
            one.close()
        server.shutdown()
        server.server_close()
        keyring.close()
