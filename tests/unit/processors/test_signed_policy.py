"""The signed level policy: k of n officers sign it, the redactor believes no other, and goes back to no older one."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from byleave.control import bootstrap, policies, proposal, trust
from byleave.control.documents import LevelPolicy, Manifest, Root, dump
from byleave.control.officers import seal_officer
from byleave.core.clock import wall_ms
from byleave.core.dsse import Envelope
from byleave.core.errors import ByleaveError, Forged, Misconfigured, Refused
from byleave.core.keys import read_signing_key
from byleave.core.settings import load_installation
from byleave.processors.cli import app
from byleave.processors.main import rules_in_force
from byleave.processors.rules import load_rules

DAY_MS = 86_400_000
NOW_MS = 1_800_000_000_000
HOUSE = 'extends = "shipped"\n[[category]]\nname = "ledger"\nlevel = 2\napps = ["ledger"]\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BYLEAVE_HOME", str(tmp_path))
    bootstrap.dev_site(tmp_path, "byleave.", [], wall_ms(), secrets.token_bytes)
    return tmp_path


@pytest.fixture
def root(home: Path) -> Root:
    return bootstrap.pinned_root(home, "byleave.")


def officer(home: Path, name: str) -> Ed25519PrivateKey:
    return read_signing_key(home / "officers" / f"{name}.key")


def a_policy(version: int = 1, **changes: object) -> LevelPolicy:
    made = LevelPolicy("byleave.", version, HOUSE, ("wibbleforge",), NOW_MS, NOW_MS + DAY_MS)
    return replace(made, **changes)  # type: ignore[arg-type]


def put(home: Path, made: LevelPolicy, *names: str) -> Path:
    path = home / "redactor" / "policy.dsse"
    path.write_bytes(trust.sign(made, [officer(home, name) for name in names]))
    return path


def test_what_two_groups_signed_is_read_and_pinned(home: Path, root: Root) -> None:
    put(home, a_policy(3), "security-1", "council-1")
    found = policies.read(home / "redactor", root, "byleave.", NOW_MS, pin=True)
    assert found == a_policy(3)
    assert (home / "redactor" / "policy.pin").read_text().startswith("3 ")
    assert policies.read(home / "redactor", root, "byleave.", NOW_MS) == found, "the same one again is no roll-back"


@pytest.mark.parametrize(
    ("spoil", "kind", "reason"),
    [
        (lambda home: put(home, a_policy(), "security-1"), Forged, "below-threshold"),
        (lambda home: put(home, a_policy(), "root-1", "root-2"), Forged, "bad-signature"),
        (lambda home: put(home, a_policy(site="other."), "security-1", "council-1"), Forged, "wrong-site"),
        (lambda home: put(home, a_policy(3, expires_ms=NOW_MS), "security-1", "council-1"), Refused, "policy-over"),
        (lambda home: put(home, a_policy(3, issued_ms=NOW_MS + DAY_MS), "security-1", "council-1"), Refused, "policy-over"),
        (lambda home: put(home, a_policy(1), "security-1", "council-1"), Refused, "rolled-back"),
        (lambda home: put(home, a_policy(2, text=""), "security-1", "council-1"), Refused, "rolled-back"),
        (lambda home: (home / "redactor" / "policy.dsse").unlink(), Refused, "policy-missing"),
        (lambda home: (home / "redactor" / "policy.dsse").write_bytes(b"{}"), Forged, "malformed"),
        (lambda home: (home / "redactor" / "policy.dsse").write_bytes(b" " * 70_000), Forged, "oversized"),
        (lambda home: (home / "redactor" / "policy.pin").write_text("two"), Forged, "malformed"),
    ],
)
def test_any_other_is_refused_and_the_pin_stays(
    home: Path, root: Root, spoil: Callable[[Path], object], kind: type[ByleaveError], reason: str
) -> None:
    put(home, a_policy(2), "security-1", "council-1")
    policies.read(home / "redactor", root, "byleave.", NOW_MS, pin=True)
    spoil(home)
    pinned = (home / "redactor" / "policy.pin").read_bytes()
    with pytest.raises(kind) as caught:
        policies.read(home / "redactor", root, "byleave.", NOW_MS, pin=True)
    assert caught.value.reason == reason
    assert (home / "redactor" / "policy.pin").read_bytes() == pinned


def test_a_byte_that_was_changed_is_a_forgery(home: Path, root: Root) -> None:
    path = put(home, a_policy(), "security-1", "council-1")
    envelope = Envelope(LevelPolicy.TYPE, dump(a_policy(text=HOUSE.replace("level = 2", "level = 1"))), ())
    signatures = json.loads(path.read_bytes())["signatures"]
    path.write_bytes(json.dumps({**json.loads(envelope.dump()), "signatures": signatures}).encode())
    with pytest.raises(Forged):
        policies.read(home / "redactor", root, "byleave.", NOW_MS)


def test_the_rules_are_those_of_the_policy_in_force_and_shipped_ones_only_if_none_was_signed(home: Path) -> None:
    at = load_installation()
    assert rules_in_force(at).digest == load_rules().digest
    now_ms = wall_ms()
    put(home, a_policy(issued_ms=now_ms, expires_ms=now_ms + DAY_MS), "security-1", "council-1")
    rules = rules_in_force(at, pin=True)
    assert (rules.policy.app("ledger").name, rules.policy.app("xterm").name) == ("ledger", "terminal")
    assert "wibbleforge" in rules.vocabulary.words
    assert rules.digest != load_rules().digest
    put(home, a_policy(2, text="nonsense", issued_ms=now_ms, expires_ms=now_ms + DAY_MS), "security-1", "council-1")
    with pytest.raises(Misconfigured, match="not TOML"):
        rules_in_force(at)


def test_a_level_policy_goes_by_itself() -> None:
    manifest = Manifest("byleave.", "t", ("key",), ("a",), (), ("p",), (), 1, "d", "l", 1, 2)
    with pytest.raises(Forged, match="by itself"):
        proposal.load_proposal(proposal.propose([a_policy(), manifest]).dump(), "byleave.")


@pytest.mark.slow
def test_it_goes_from_hand_to_hand_and_into_the_redactors_folder(home: Path, tmp_path: Path) -> None:
    for name in ("security-1", "council-1"):
        path = home / "officers" / f"{name}.key"
        seed = officer(home, name).private_bytes_raw()
        path.unlink()
        seal_officer(path, seed, "words of mine")
    (tmp_path / "words").write_text("words of mine\n")
    (tmp_path / "words").chmod(0o600)
    (tmp_path / "house.toml").write_text(HOUSE)
    (tmp_path / "house.txt").write_text("Wibbleforge acme\n")
    next_file = str(tmp_path / "next.json")

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["policy", "propose", *arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit | ByleaveError), done.exception
        return done.exit_code, done.output + str(done.exception or "")

    made = run(str(tmp_path / "house.toml"), "--house", str(tmp_path / "house.txt"), "--propose", next_file)
    assert made[0] == 0
    assert '| name = "ledger"' in made[1]
    assert "acme wibbleforge" in made[1]
    sign = ("--sign", next_file, "--passphrase-file", str(tmp_path / "words"), "--yes", "--officer")
    assert run(*sign, "security-1")[0] == 0
    early = run("--submit", next_file)
    assert early[0] == 1
    assert "needs 2 keys of 2 groups of role manifest" in early[1]
    assert not (home / "redactor" / "policy.dsse").exists()
    assert run(*sign, "council-1")[0] == 0
    assert run("--submit", next_file)[0] == 0
    assert "wibbleforge" in rules_in_force(load_installation()).vocabulary.words
    said = CliRunner().invoke(app, ["policy", "explain", "--app", "ledger", "--json"])
    assert json.loads(said.output)["rules"][0]["rule"] == "ledger"
    typed = ("--text", "ship wibbleforge today", "--app", "ledger", "--json")
    shown = CliRunner().invoke(app, ["preview", "live", *typed])
    assert "ship wibbleforge today" in shown.output, "a preview decides by the policy in force, as the stream does"
    (home / "redactor" / "policy.dsse").write_bytes(b"{}")
    assert isinstance(CliRunner().invoke(app, ["preview", "live", *typed]).exception, Forged), "and by no other in its place"


def test_check_tells_each_error_and_a_good_file_is_good(tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.toml", tmp_path / "good.toml"
    bad.write_text('extends = "shipped"\n[[category]]\nname = "a"\nlevel = 9\nsites = ["co.uk"]')
    good.write_text(HOUSE)
    done = CliRunner().invoke(app, ["policy", "check", str(bad)])
    assert (done.exit_code, len(done.output.splitlines())) == (1, 2)
    assert CliRunner().invoke(app, ["policy", "check", str(good)]).exit_code == 0
    bad.write_text('extends = "shipped"\n[topics]\nweather = 3')
    done = CliRunner().invoke(app, ["policy", "check", "--json", str(bad)])
    assert (done.exit_code, len(json.loads(done.output)["errors"])) == (1, 1)


def test_explain_names_the_rules_and_repeats_only_the_deciding_words(home: Path) -> None:
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["policy", "explain", *arguments])
        assert done.exit_code == 0
        return done.output

    said = run("--app", "slack", "--title", "Payroll", "--text", "my wife is pregnant, Zyxwvut knows")
    assert "application: chat, level 3 to review" in said
    assert "title: money, level 4" in said
    assert "together: level 4" in said
    assert "wife" in said
    assert "Zyxwvut" not in said
    assert "level 2 internal" in run("--text", "run the tests")
    assert "What is not named is level 4." in run()
