"""Reading: what comes out in each form, when the keys are asked for again, and what a refused look leaves behind."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from lake_site import DAY, PLANTED, PURPOSE, As, LakeSite, Stream
from typer.testing import CliRunner

from byleave.control.documents import Scope
from byleave.core.errors import ByleaveError, Forged, Misconfigured, Refused
from byleave.core.keyring import LEASE_S_MAX
from byleave.core.settings import load_installation
from byleave.deploy.pki import ensure_pki
from byleave.sinks.access import read
from byleave.sinks.cli import app
from byleave.sinks.keyring import Keyring
from byleave.sinks.keyring_main import serve
from byleave.sinks.ledger import verify

PORT_RANGE = (20_000, 32_000)


@pytest.fixture
def site(tmp_path: Path) -> LakeSite:
    return LakeSite(tmp_path)


@pytest.fixture
def keyring(site: LakeSite) -> Iterator[Keyring]:
    keyring = site.keyring()
    yield keyring
    keyring.close()


def fill(site: LakeSite, keyring: Keyring, topic: str = "sanitized.actions.l2.v1", commits: int = 3, rows: int = 4) -> None:
    sink, _ = site.sink(keyring)
    of = Stream(topic, "ep-a", os.urandom(16))
    level = int(topic.split(".l")[1][0])
    key = keyring.data_key("redactor", f"person-a/{DAY}/{level}")
    start = site.lake.head().offsets.get(f"{site.site}{topic}/0", 0)
    for offset in range(start, start + commits):
        sink.offer(site.received(of, site.value(of, rows, key, seed=offset), offset))
        sink.decide()
        sink.commit(site.now_ms)


def test_keys_are_asked_for_again_when_the_lease_is_over_and_a_halt_ends_the_reading(site: LakeSite, keyring: Keyring) -> None:
    fill(site, keyring, commits=4)
    now_s = [0.0]
    batches = read(site.lake, As(keyring, "ml"), site.look("actions"), lambda: now_s[0])
    next(batches)
    next(batches)
    looks = [line.entry for line in verify(site.home / "ledger") if line.entry["what"] == "read"]
    assert [len(entry["files"]) for entry in looks] == [4]
    now_s[0] = LEASE_S_MAX
    next(batches)
    looks = [line.entry for line in verify(site.home / "ledger") if line.entry["what"] == "read"]
    assert [len(entry["files"]) for entry in looks] == [4, 2], "only what is left is asked for again"
    (site.home / "keyring" / "halt").touch()
    now_s[0] = 2 * LEASE_S_MAX
    with pytest.raises(Refused, match="halted"):
        next(batches)


@pytest.mark.parametrize(("scope", "ends"), [(Scope("subject", "person-a"), True), (Scope("subject", "person-b"), False)])
def test_a_signed_order_ends_a_reading_that_runs_at_its_next_lease_and_others_go_on(
    site: LakeSite, keyring: Keyring, scope: Scope, ends: bool
) -> None:
    fill(site, keyring, commits=4)
    now_s, rows = [0.0], 0
    batches = read(site.lake, As(keyring, "ml"), site.look("actions"), lambda: now_s[0])
    rows += next(batches).num_rows
    site.hear(site.knowledge(), scope, "reads", site.now_ms)
    now_s[0] = LEASE_S_MAX - 0.001
    rows += next(batches).num_rows
    now_s[0] = LEASE_S_MAX
    if ends:
        with pytest.raises(Refused) as refused:
            next(batches)
        assert refused.value.reason == "reads-halted"
        with pytest.raises(StopIteration):
            next(batches)
    else:
        assert rows + sum(batch.num_rows for batch in batches) == 16
    looks = [line.entry["what"] for line in verify(site.home / "ledger") if line.entry["what"].startswith("read")]
    assert looks == ["read", "read-refused" if ends else "read"]


def test_a_level_is_read_up_to_and_no_further(site: LakeSite, keyring: Keyring) -> None:
    fill(site, keyring, "sanitized.actions.l1.v1", commits=1)
    low = len(site.expected["actions"])
    fill(site, keyring, commits=1)
    assert len(site.rows(keyring, site.look("actions", level=1))) == low
    assert len(site.rows(keyring, site.look("actions", level=2))) == len(site.expected["actions"])
    with pytest.raises(Refused):
        site.rows(keyring, site.look("actions", level=3))


def test_only_the_columns_asked_for_come_out(site: LakeSite, keyring: Keyring) -> None:
    fill(site, keyring)
    rows = site.rows(keyring, site.look("actions", columns=("text", "app")))
    assert {tuple(row) for row in rows} == {("text", "app")}
    for columns in (("nope",), ("text; drop",)):
        with pytest.raises(Refused, match="no column"):
            site.rows(keyring, site.look("actions", columns=columns))
    with pytest.raises(Refused, match="no table"):
        site.rows(keyring, site.look("secrets"))


def test_a_target_comes_out_with_its_label_opened(site: LakeSite, keyring: Keyring) -> None:
    fill(site, keyring, commits=1)
    rows = site.rows(keyring, site.look("actions", columns=("target_label", "target_role", "target_box")))
    assert {(row["target_role"], row["target_label"]) for row in rows} == {
        (None, ""), ("button", f"{PLANTED} label 1"), ("button", f"{PLANTED} label 3"),
    }  # fmt: skip
    assert [1, 2, 30, 40] in [row["target_box"] for row in rows]


def test_a_text_copied_to_another_row_does_not_open(site: LakeSite, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(site, keyring, commits=1)
    honest = site.lake.read

    def swapped(*asked: object) -> Iterator[pa.RecordBatch]:
        for batch in honest(*asked):  # type: ignore[arg-type]
            place = batch.schema.get_field_index("text")
            yield batch.set_column(place, "text", batch.column(place).take(pa.array([1, 0, 2, 3])))

    monkeypatch.setattr(site.lake, "read", swapped)
    with pytest.raises(Forged):
        site.rows(keyring, site.look("actions"))


def test_the_manifest_kept_beside_the_lake_is_not_trusted(site: LakeSite, keyring: Keyring, tmp_path: Path) -> None:
    fill(site, keyring)
    liar = LakeSite(tmp_path / "liar")
    (site.home / "lake" / "manifests" / f"{site.manifest_digest}.dsse").write_bytes(liar.manifest)
    with pytest.raises(ByleaveError) as refused:
        site.rows(keyring, site.look("actions"))
    assert refused.value.reason == "bad-signature"


@pytest.fixture
def served(site: LakeSite, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> Iterator[LakeSite]:
    """The keyring behind its real door, as the commands need it."""
    ensure_pki(site.home, [])
    for port in range(*PORT_RANGE, 37):
        at = load_installation({"BYLEAVE_HOME": str(site.home), "BYLEAVE_KEYRING": f"127.0.0.1:{port}"})
        try:
            server = serve(at, keyring)
            break
        except ByleaveError:
            continue
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("BYLEAVE_HOME", str(site.home))
    monkeypatch.setenv("BYLEAVE_KEYRING", at.keyring)
    fill(site, keyring)
    fill(site, keyring, "sanitized.events.l1.v1")
    yield site
    server.shutdown()
    server.server_close()


def run(*words: str) -> tuple[int, bytes, str]:
    result = CliRunner().invoke(app, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout_bytes, result.stderr


def test_rows_come_out_in_each_form(served: LakeSite) -> None:
    texts = [text for _, _, text in served.expected["actions"]]
    asked = ("lake", "read", "--purpose", PURPOSE, "--columns", "row,text,keys,session,target_box", "--person", "ann")
    _, lines, said = run(*asked, "--format", "jsonl")
    assert [json.loads(line)["text"] for line in lines.splitlines()] == texts
    assert "on record" in said
    _, table, _ = run(*asked, "--format", "csv")
    assert [row["text"] for row in csv.DictReader(io.StringIO(table.decode()))] == texts
    _, stream, _ = run(*asked, "--format", "arrow")
    with pa.ipc.open_stream(stream) as opened:
        assert opened.read_all().column("text").to_pylist() == texts
    _, shown, _ = run(*asked, "--limit", "2")
    assert len(shown.splitlines()) == 3
    out = served.home / "out.jsonl"
    _, printed, _ = run(*asked, "--format", "jsonl", "--out", str(out), "--json")
    assert json.loads(printed)["rows"] == len(texts)
    assert out.read_bytes() == lines
    if os.name == "posix":
        assert out.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("form", ["table", "csv", "jsonl", "arrow"])
def test_a_refused_look_writes_no_row_no_header_and_no_file(served: LakeSite, form: str) -> None:
    out = served.home / "out"
    for place in ((), ("--out", str(out))):
        result = CliRunner().invoke(
            app, ["lake", "read", "--purpose", "advertising", "--person", "eve", "--format", form, *place]
        )
        assert isinstance(result.exception, Refused)
        assert result.stdout_bytes == b""
    assert not out.exists()
    _, answer, _ = run("who-read", "--json")
    assert [(look["what"], look["person"]) for look in json.loads(answer)["looks"]] == [("read-refused", "eve")] * 2


def test_who_read_answers_from_the_ledger_alone(served: LakeSite) -> None:
    run("lake", "read", "--purpose", PURPOSE, "--person", "ann", "--format", "jsonl")
    snapshot = served.lake.head().version
    _, answer, _ = run("who-read", "--subject", "person-a", "--json")
    assert [look["person"] for look in json.loads(answer)["looks"]] == ["ann"]
    for other in (("--subject", "person-b"), ("--snapshot", str(snapshot + 1))):
        _, answer, _ = run("who-read", *other, "--json")
        assert json.loads(answer)["count"] == 0
    _, answer, _ = run("who-read", "--snapshot", str(snapshot))
    assert b"ann as ml" in answer
    assert b"records of 1 people" in answer


def test_a_ledger_that_is_not_there_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYLEAVE_HOME", str(tmp_path / "another"))
    for words in (("who-read",), ("ledger", "verify")):
        result = CliRunner().invoke(app, [*words])
        assert isinstance(result.exception, Misconfigured)
        assert result.stdout == ""


def test_verify_finds_a_snapshot_that_is_not_on_record_and_a_lost_head(served: LakeSite) -> None:
    _, answer, _ = run("ledger", "verify", "--json")
    report = json.loads(answer)
    assert report["snapshots"] == 6
    run("ledger", "verify", "--head", report["head"])
    assert isinstance(CliRunner().invoke(app, ["ledger", "verify", "--head", "1:" + "0" * 64]).exception, Forged)
    served.lake.commit(served.lake.head(), [], {}, {}, 1, lambda *_: None)
    result = CliRunner().invoke(app, ["ledger", "verify"])
    assert isinstance(result.exception, Forged)
    assert "snapshot 7" in str(result.exception)


def test_the_snapshot_command_counts_and_opens_nothing(served: LakeSite) -> None:
    before = len(list(verify(served.home / "ledger")))
    _, answer, _ = run("lake", "snapshot", "--json")
    assert json.loads(answer)["rows"] == {"actions.l2": 12, "events.l1": 12}
    assert len(list(verify(served.home / "ledger"))) == before


def test_keys_are_destroyed_only_when_somebody_says_so(served: LakeSite, keyring: Keyring) -> None:
    asked = ["keys", "destroy", "--subject", "person-a", "--day", DAY]
    result = CliRunner().invoke(app, asked)
    assert result.exception is not None
    assert "nothing was destroyed" in str(result.exception)
    assert None not in [row["text"] for row in served.rows(keyring, served.look("actions"))]
    _, answer, _ = run(*asked, "--yes", "--json")
    assert json.loads(answer)["destroyed"] == [f"person-a/{DAY}/{level}" for level in (1, 2, 3)]
    assert {row["text"] for row in served.rows(keyring, served.look("actions"))} == {None}


def test_each_command_shows_an_example() -> None:
    for words in (
        ("lake", "read"),
        ("lake", "snapshot"),
        ("who-read",),
        ("ledger", "verify"),
        ("keys", "destroy"),
    ):
        code, text, _ = run(*words, "--help")
        assert code == 0
        assert b"Example: byleave" in text


def test_a_look_without_columns_names_all_of_them(site: LakeSite) -> None:
    look = site.look("events")
    assert "text" not in look.names()
    assert "text" in replace(look, table="actions").names()
