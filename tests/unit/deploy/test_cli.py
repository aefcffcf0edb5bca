"""The command: one sentence and the right exit code for each kind of failure, and never the words of an unforeseen error."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from byleave.core.errors import Broken, Forged, Misconfigured, Refused, Transient
from byleave.deploy import cli
from generator import roles

ROOT = Path(__file__).resolve().parents[3]


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["byleave", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    output = capsys.readouterr()
    return int(ended.value.code or 0), output.out, output.err


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cli, "ROOMS", ())
    monkeypatch.setenv("BYLEAVE_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("error", "code"),
    [(Refused("no"), 1), (Forged("no"), 1), (Transient("no"), 1), (Broken("no"), 1), (Misconfigured("no"), 2)],
)
def test_an_error_of_ours_is_one_sentence_and_an_exit_code(monkeypatch, capsys, error: Exception, code: int) -> None:
    monkeypatch.setattr(roles, "load_roles", lambda: (_ for _ in ()).throw(error))
    assert run(monkeypatch, capsys, "generate", "--check") == (code, "", "byleave: no\n")


def test_an_unforeseen_error_is_told_without_its_words(monkeypatch, capsys) -> None:
    monkeypatch.setattr(roles, "load_roles", lambda: {}["the typed secret"])
    code, out, err = run(monkeypatch, capsys, "generate", "--check")
    assert (code, out) == (1, "")
    assert re.fullmatch(r"byleave: internal error KeyError at test_cli\.py:\d+; please report it\n", err)


def test_a_home_that_cannot_be_used_is_wrong_configuration(monkeypatch, capsys, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file, not a folder")
    code, out, err = run(monkeypatch, capsys, "up")
    assert (code, out) == (2, "")
    assert err.startswith(f"byleave: {tmp_path / 'home'}")
    assert err.endswith("name another folder with BYLEAVE_HOME\n")
    assert err.count("\n") == 1


def test_an_error_of_the_system_without_a_file_is_told_without_its_words(monkeypatch, capsys) -> None:
    monkeypatch.setattr(roles, "load_roles", lambda: (_ for _ in ()).throw(TimeoutError("the typed secret")))
    code, _, err = run(monkeypatch, capsys, "generate", "--check")
    assert code == 1
    assert re.fullmatch(r"byleave: internal error TimeoutError at test_cli\.py:\d+; please report it\n", err)


def test_wrong_usage_and_unknown_settings_are_exit_code_2(monkeypatch, capsys) -> None:
    assert run(monkeypatch, capsys, "nonsense")[0] == 2
    monkeypatch.setenv("BYLEAVE_SIET", "x.")
    code, _, err = run(monkeypatch, capsys, "status")
    assert code == 2
    assert "BYLEAVE_SIET" in err


def test_status_and_down_say_that_nothing_runs(monkeypatch, capsys, tmp_path: Path) -> None:
    code, out, _ = run(monkeypatch, capsys, "status", "--json")
    assert (code, json.loads(out)["up"]) == (1, False)
    code, out, _ = run(monkeypatch, capsys, "down", "--json")
    assert (code, json.loads(out)) == (0, {"was_up": False, "roles": []})
    assert not (tmp_path / "home").exists()


def test_generate_check_names_what_is_out_of_date_and_writes_nothing(monkeypatch, capsys, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    code, out, _ = run(monkeypatch, capsys, "generate", "--check", "--root", str(tmp_path), "--json")
    assert code == 1
    assert "docs/topics.md" in json.loads(out)["stale"]
    assert [p.name for p in tmp_path.iterdir()] == ["pyproject.toml"]
    assert run(monkeypatch, capsys, "generate", "--root", str(tmp_path))[0] == 0
    assert run(monkeypatch, capsys, "generate", "--check", "--root", str(tmp_path))[0] == 0


@pytest.mark.parametrize(
    "command", [["up"], ["down"], ["status"], ["generate"], ["topics", "apply"], ["topics", "check"]], ids=" ".join
)
def test_every_command_shows_an_example(monkeypatch, capsys, command: list[str]) -> None:
    code, out, _ = run(monkeypatch, capsys, *command, "--help")
    assert code == 0
    assert "Example:" in out
    assert "--json" in out


@pytest.mark.parametrize(("command", "folder"), [("demo", "demo"), ("bench", "bench"), ("generate", "generator")])
def test_what_is_not_installed_is_said_to_belong_to_the_source_tree(
    monkeypatch, capsys, tmp_path: Path, command: str, folder: str
) -> None:
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "lib" / "byleave" / "deploy" / "cli.py"))
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "__main__.py").write_text("raise SystemExit('a stranger ran')")
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, capsys, command, "--help") == (
        2,
        "",
        f"byleave: the {folder} belongs to the source tree: run it in a clone\n",
    )


def test_the_demo_is_found_from_a_clone_and_keeps_its_options(monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(monkeypatch, capsys, "demo", "--help")
    assert code == 0
    assert [option for option in ("--keep", "--json", "--live", "--home", "--picture", "Example:") if option not in out] == []
    assert run(monkeypatch, capsys, "demo", "--nonsense")[0] == 2


def test_rooms_add_commands_and_share_groups() -> None:
    target, first, second, run_first, run_second = (typer.Typer() for _ in range(5))
    for room, name, group in ((first, "sink", run_first), (second, "agent", run_second)):
        group.command(name)(lambda: None)
        room.command(f"show-{name}")(lambda: None)
        room.add_typer(group, name="run")
        cli.merge(target, room)
    assert [c.name for c in target.registered_commands] == ["show-sink", "show-agent"]
    assert [g.name for g in target.registered_groups] == ["run"]
    assert [c.name for c in target.registered_groups[0].typer_instance.registered_commands] == ["sink", "agent"]


def test_start_up_imports_nothing_heavy() -> None:
    heavy = ("confluent_kafka", "cryptography", "fastavro", "pyarrow", "pynput", "symspellpy")
    code = "import sys\nfrom byleave.deploy.cli import main\nsys.argv = ['byleave', '--help']\n"
    code += f"try: main()\nexcept SystemExit: print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
