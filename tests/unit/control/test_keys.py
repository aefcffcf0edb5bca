"""Officers' keys: sealed under a passphrase, looked after with ssh-keygen, and useless to whoever lacks the passphrase."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from byleave.control import calendar, desk, officers, rollcall, trust
from byleave.control.cli import app
from byleave.control.documents import Rehearsal
from byleave.core.errors import ByleaveError, Misconfigured, Refused
from byleave.core.keys import public_hex

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
WORDS = "correct horse battery"
SECRET = bytes(range(32))
PUBLIC = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"


def contents(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def never() -> str:
    pytest.fail("nobody has to be asked here")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "officers" / "security-2.key"
    assert officers.seal_officer(path, SECRET, WORDS) == PUBLIC
    return path


def test_a_sealed_key_opens_with_its_passphrase_and_holds_nothing_readable(sealed: Path) -> None:
    assert public_hex(officers.read_officer(sealed, lambda: WORDS)) == PUBLIC
    assert sealed.stat().st_mode & 0o777 == 0o600
    text = sealed.read_bytes()
    assert SECRET not in text
    assert SECRET.hex().encode() not in text
    assert officers.public_of(sealed) == PUBLIC, "the public key is read without any passphrase"


@pytest.mark.parametrize("wrong", ["correct horse batterz", "", WORDS + " "])
def test_a_wrong_passphrase_is_one_sentence_that_does_not_repeat_it(sealed: Path, wrong: str) -> None:
    before = contents(sealed.parent)
    with pytest.raises(Misconfigured) as caught:
        officers.read_officer(sealed, lambda: wrong)
    assert caught.value.__cause__ is None
    assert len(str(caught.value).splitlines()) == 1
    assert not wrong or wrong not in str(caught.value)
    assert contents(sealed.parent) == before


def test_a_key_is_never_overwritten_and_a_short_passphrase_writes_nothing(sealed: Path, tmp_path: Path) -> None:
    before = contents(sealed.parent)
    with pytest.raises(Misconfigured):
        officers.seal_officer(sealed, bytes(32), WORDS)
    assert contents(sealed.parent) == before
    with pytest.raises(Misconfigured):
        officers.seal_officer(tmp_path / "new.key", bytes(32), "too short")
    assert contents(tmp_path) == {}


def test_ssh_keygen_reads_it_and_changes_its_passphrase(sealed: Path, tmp_path: Path) -> None:
    tool = shutil.which("ssh-keygen")
    if tool is None:
        pytest.skip("no ssh-keygen on this machine")
    mine = tmp_path / "mine.key"
    shutil.copy(sealed, mine)
    told = subprocess.run([tool, "-l", "-f", mine], capture_output=True, text=True, check=True).stdout
    assert officers.fingerprint(PUBLIC) in told.split()
    subprocess.run([tool, "-q", "-p", "-f", mine, "-P", WORDS, "-N", "quite other words"], check=True, capture_output=True)
    assert public_hex(officers.read_officer(mine, lambda: "quite other words")) == PUBLIC
    subprocess.run([tool, "-q", "-p", "-f", mine, "-P", "quite other words", "-N", ""], check=True, capture_output=True)
    with pytest.raises(Misconfigured, match="has no passphrase"):
        officers.read_officer(mine, lambda: WORDS)


def test_a_key_of_another_kind_or_open_to_others_or_damaged_is_refused(sealed: Path, tmp_path: Path) -> None:
    tool = shutil.which("ssh-keygen")
    if tool is None:
        pytest.skip("no ssh-keygen on this machine")
    other = tmp_path / "other.key"
    subprocess.run([tool, "-q", "-t", "ecdsa", "-f", other, "-N", WORDS], check=True, capture_output=True)
    with pytest.raises(Misconfigured, match="not an Ed25519 key"):
        officers.read_officer(other, lambda: WORDS)
    with pytest.raises(Misconfigured, match="not an Ed25519 key"):
        officers.public_of(other)
    damaged, text = tmp_path / "damaged.key", sealed.read_bytes()
    for cut in (text[:200], text[:300] + b"AAAA" + text[304:], text.replace(b"OPENSSH", b"OPENSSL")):
        damaged.write_bytes(cut)
        damaged.chmod(0o600)
        with pytest.raises(Misconfigured):
            officers.read_officer(damaged, lambda: WORDS)
    damaged.chmod(0o644)
    with pytest.raises(Misconfigured, match="open to others"):
        officers.read_officer(damaged, lambda: WORDS)


def test_development_keys_need_no_passphrase(site: Any) -> None:
    path = officers.officer_path(site.home, "security-1")
    assert public_hex(officers.read_officer(path, never)) == officers.public_of(path)


def test_a_sealed_key_is_left_to_its_owner_when_development_keys_sign(site: Any, sealed: Path, tmp_path: Path) -> None:
    shutil.copytree(site.home / "officers", tmp_path / "officers")
    shutil.copy(sealed, tmp_path / "officers" / "security-2.key")
    assert len(desk.officers(site.root, "resume", tmp_path / "officers")) == 2
    (tmp_path / "officers" / "security-1.key").unlink()
    (tmp_path / "officers" / "privacy-1.key").unlink()
    with pytest.raises(Refused, match="--propose"):
        desk.officers(site.root, "resume", tmp_path / "officers")
    assert officers.keys_here(tmp_path)[PUBLIC] == "security-2"


def test_the_list_says_for_each_key_what_it_may_and_when_it_last_worked(site: Any) -> None:
    knowledge, mine = site.knowledge(), public_hex(site.key("officers/security-1"))
    said = Rehearsal("test.", mine, NOW_MS - 5 * DAY_MS, "00")
    knowledge.learn("control.rehearsal.v1", trust.sign(said, site.officers("security-1")))
    rows = {row["key"]: row for row in rollcall.keys(knowledge, {mine: "security-1"}, NOW_MS)}
    assert (rows[mine]["worked_days_ago"], rows[mine]["here"], rows[mine]["group"]) == (5, "security-1", "security")
    assert rows[mine]["roles"] == ["halt", "resume", "manifest"]
    other = rows[public_hex(site.key("officers/council-1"))]
    assert (other["worked_days_ago"], other["here"]) == (None, None)


def test_a_rehearsal_of_a_day_to_come_counts_as_none(site: Any) -> None:
    """Else a key that is lost would pass for one that works until then, on the board and in the calendar."""
    knowledge, mine = site.knowledge(), public_hex(site.key("officers/security-1"))
    said = Rehearsal("test.", mine, NOW_MS + DAY_MS, "00")
    knowledge.learn("control.rehearsal.v1", trust.sign(said, site.officers("security-1")))
    for now_ms, days, level in ((NOW_MS - 1, None, "soon"), (NOW_MS, 0, "ok")):
        row = next(row for row in rollcall.keys(knowledge, {}, now_ms) if row["key"] == mine)
        due = next(
            row for row in calendar.calendar(site.root, knowledge, {}, {mine: "me"}, now_ms) if row.name.startswith("me")
        )
        assert (row["worked_days_ago"], due.level) == (days, level)


def settings(home: Path) -> dict[str, str]:
    return {"BYLEAVE_HOME": str(home), "BYLEAVE_BOOTSTRAP": "127.0.0.1:1", "BYLEAVE_SITE": "test."}


def byleave(home: Path, *words: str) -> tuple[int, str]:
    """Exit code and output, as the front door tells errors; in this process, since a process takes most of a second."""
    done = CliRunner().invoke(app, words, env=settings(home))
    if isinstance(done.exception, ByleaveError):
        return 2 if isinstance(done.exception, Misconfigured) else 1, str(done.exception)
    return done.exit_code, done.output


@pytest.mark.slow
def test_a_first_root_goes_from_description_to_pin_with_sealed_keys_and_without_a_broker(site: Any, tmp_path: Path) -> None:
    home, words, wrong = tmp_path / "home", tmp_path / "words", tmp_path / "wrong"
    for path, text in ((words, WORDS + "\n"), (wrong, "some other words\n")):
        path.write_text(text)
        path.chmod(0o600)
    made = []
    for name in ("root-a", "root-b"):
        done = byleave(home, "keys", "new", "--name", name, "--passphrase-file", str(words), "--json")
        assert done[0] == 0, done
        made.append(json.loads(done[1])["key"])
    roles = {
        role.name: {"threshold": role.threshold, "groups": role.groups_min,
                    "keys": [f"{key}@{group}" for key, group in zip(role.keys, role.groups, strict=True)]}
        for role in site.root.roles
    }  # fmt: skip
    roles["root"] = {"threshold": 2, "groups": 2, "keys": [f"{made[0]}@security", f"{made[1]}@council"]}
    told, file = tmp_path / "roles.json", str(tmp_path / "root-1.json")
    told.write_text(json.dumps({"roles": roles}))
    assert byleave(home, "root", "init", str(told), "--propose", file)[0] == 0

    before, opened = contents(tmp_path), ("--passphrase-file", str(words), "--yes")
    for options, code in (
        (("--sign", file, "--officer", "root-a", "--passphrase-file", str(wrong), "--yes"), 2),
        (("--sign", file, "--officer", "nobody", *opened), 2),
        (("--sign", file, *opened), 2),
        (("--submit", file), 1),
        (("--submit", file, "--sign", file), 2),
        ((str(told), "--propose", file), 2),
    ):
        done = byleave(home, "root", "init", *options)
        assert (done[0], len(done[1].strip().splitlines()[-1:])) == (code, 1), done
        assert contents(tmp_path) == before
    assert "the Root needs 2 keys of 2 groups of role root, has 0" in byleave(home, "root", "init", "--submit", file)[1]

    for name, left in (("root-a", 1), ("root-b", 0)):
        done = byleave(home, "root", "init", "--sign", file, "--officer", name, *opened, "--json")
        assert (done[0], len(json.loads(done[1].splitlines()[-1])["missing"])) == (0, left), done
    again = byleave(home, "root", "init", "--sign", file, "--officer", "root-a", *opened)
    assert (again[0], "signed this already" in again[1]) == (1, True)
    assert json.loads(byleave(home, "root", "init", "--submit", file, "--json")[1])["root"] == 1
    shown = json.loads(byleave(home, "root", "show", "--json")[1])
    assert (shown["version"], shown["pinned"]) == (1, None)
    for pin, code in ((shown["digest"], 0), ("ab" * 32, 1)):
        (home / "trust" / "root.pin").write_text(pin + "\n")
        assert byleave(home, "root", "show")[0] == code
    assert byleave(home, "root", "init", str(told), "--propose", str(tmp_path / "other.json"))[0] == 2


def test_at_the_front_door_a_wrong_passphrase_is_one_sentence_exit_2_and_nothing_is_left(sealed: Path, tmp_path: Path) -> None:
    wrong, home = tmp_path / "wrong", sealed.parent.parent
    wrong.write_text("some other words\n")
    wrong.chmod(0o600)
    before = contents(home)
    words = ("keys", "rehearse", "--officer", "security-2", "--passphrase-file", str(wrong))
    done = subprocess.run(
        [sys.executable, "-m", "byleave.deploy.cli", *words], env={**os.environ, **settings(home)}, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, len(done.stderr.strip().splitlines())) == (2, "", 1)
    assert "some other words" not in done.stderr
    assert contents(home) == before
