"""What is unsigned, expired, foreign, malformed or out of time: nothing is captured or left behind, and one line says why."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import trust
from byleave.control.bootstrap import dev_site
from byleave.control.documents import Consent, Manifest, Run, Scope, State, digest, dump
from byleave.core import dsse
from byleave.core.errors import ByleaveError
from byleave.core.events import Kind, Screen, Window
from byleave.core.keys import public_hex
from byleave.deploy import pki
from byleave.producers.gate import Answer
from byleave.producers.hooks.replay import Timeline
from byleave.producers.hooks.source import Observed

HOUR_MS = 3_600_000


def source() -> Timeline:
    keys = [Observed(500 + 100 * n, Kind.PRESS, key="k") for n in range(600)]
    return Timeline([Observed(0, Kind.FOCUS, window=Window(7, "editor", layout="us")), *keys], Screen(1, 1))


def nothing(world, b, answer: Answer, folder: Path) -> None:
    report = b.agent.report()
    assert (report["answer"], report["capturing"], report["captured"], report["sessions"]) == (answer.value, False, 0, 0)
    assert "\n" not in report["answer"]
    assert report["answer"].startswith("not capturing: ")
    assert not b.source.alive
    assert (world.broker.records, world.requests()) == ([], []), "nothing was sent, and nobody was asked"
    assert [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size] == []


def stranger(world, manifest: Manifest) -> bytes:
    del world
    return trust.sign(manifest, [Ed25519PrivateKey.generate()])


def signed_body(world, body: bytes) -> bytes:
    key = world.officers["manifest"]
    return dsse.Envelope(Manifest.TYPE, body, ((public_hex(key), dsse.sign(key, Manifest.TYPE, body)),)).dump()


def with_unknown_field(world, manifest: Manifest) -> bytes:
    return signed_body(world, json.dumps(json.loads(dump(manifest)) | {"surprise": 1}).encode())


def without(name: str) -> Callable[..., bytes]:
    def made(world, manifest: Manifest) -> bytes:
        told = json.loads(dump(manifest))
        del told[name]
        return signed_body(world, json.dumps(told).encode())

    return made


MANIFESTS: dict[str, tuple[Callable[..., bytes], str]] = {
    "unsigned": (lambda _, m: dsse.Envelope(Manifest.TYPE, dump(m), ()).dump(), "bad-signature"),
    "of another key": (stranger, "bad-signature"),
    "of another site": (lambda w, m: w.sign("manifest", replace(m, site="elsewhere.")), "wrong-site"),
    "signed as something else": (lambda w, m: w.sign("manifest", Consent(m.site, "s", "00", True, 1)), "wrong-type"),
    "with an unknown field": (with_unknown_field, "malformed"),
    "without the less intrusive means": (without("less_intrusive"), "malformed"),
    "with empty less intrusive means": (lambda w, m: w.sign("manifest", replace(m, less_intrusive=" ")), "incomplete"),
    "without an assessment": (lambda w, m: w.sign("manifest", replace(m, dpia="")), "incomplete"),
    "without the assessment's hash": (lambda w, m: w.sign("manifest", replace(m, fields=("key.key",))), "incomplete"),
}


def put_in_force(world, named: str) -> State:
    """A good state, signed by those who may, that names a manifest."""
    run = Run(Scope("global"), named, "key-1", public_hex(world.redactor))
    epoch = world.state.epoch + 1
    state = State(world.state.site, epoch, world.prev, 1, world.service_ms, world.state.expires_ms, (run,), ())
    world.state, world.prev = state, digest(dump(state))
    world.learn("control.state.v1", world.sign("resume", state))
    return state


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_that_is_not_good_lets_nobody_capture(world, bench, tmp_path: Path, case: str) -> None:
    make, reason = MANIFESTS[case]
    value = make(world, replace(world.manifest, title="another"))
    with pytest.raises(ByleaveError) as caught:
        world.learn("control.manifest.v1", value)
    assert caught.value.reason == reason
    named = digest(dsse.load_envelope(value).body)
    put_in_force(world, named)
    world.now += 1
    world.consent(manifest=named)
    b = bench(source())
    b.run(5_000)
    nothing(world, b, Answer.NO_MANIFEST, tmp_path)


def test_a_manifest_that_has_run_out_ends_capture(world, bench) -> None:
    world.manifest = replace(world.manifest, title="short", expires_ms=world.service_ms + 5_000)
    world.allow()
    world.now += 1
    world.consent()
    b = bench(source())
    b.run(3_000)
    assert b.agent.capturing
    b.run(6_000)
    report = b.agent.report()
    assert (report["answer"], report["capturing"], b.source.alive) == (Answer.NO_MANIFEST.value, False, False)
    assert max(header.hi_max for header, _ in world.published()) < world.manifest.expires_ms


@pytest.mark.parametrize("who", ["another manifest", "another person's key", "withdrawn", "silent"])
def test_no_word_another_word_and_a_no_are_one_answer(world, bench, tmp_path: Path, who: str) -> None:
    """The endpoint itself does not tell them apart either."""
    world.now += 1
    if who == "silent":
        world.manifest = replace(world.manifest, title="never asked about")
        world.allow()
    elif who == "another person's key":
        world.manifest = replace(world.manifest, title="signed for by somebody else")
        world.allow()
        said = Consent(world.manifest.site, "subject-a", world.manifest_digest, True, world.service_ms)
        with pytest.raises(ByleaveError):
            world.learn("control.consent.v1", trust.sign(said, [Ed25519PrivateKey.generate()]))
    else:
        world.consent(given=who != "withdrawn", manifest=world.manifest_digest if who == "withdrawn" else "00" * 32)
    b = bench(source())
    b.run(5_000)
    nothing(world, b, Answer.NO_CONSENT, tmp_path)


@pytest.mark.parametrize("jump_ms", [12 * HOUR_MS, HOUR_MS, 30_000, -HOUR_MS], ids=["+12h", "+1h", "+30s", "-1h"])
def test_a_jump_of_the_boot_clock_ends_the_session_and_its_stamps_stay_in_order(world, bench, jump_ms: int) -> None:
    """Forwards as after sleep. Backwards it never goes on a sound machine: then nobody knows the time, and nothing is taken."""
    b = bench(source())
    b.run(4_000)
    assert b.agent.capturing
    before, b.beacons, b.answers = b.agent.report()["captured"], False, False
    world.now += jump_ms
    b.turn(1)
    assert not b.agent.capturing
    assert not b.source.alive
    b.run(3_000)
    assert b.agent.report()["captured"] == before
    stamps = [(header.hi_min, header.hi_max) for header, _ in world.published()]
    assert all(lo <= hi for lo, hi in stamps)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(stamps))


@pytest.mark.parametrize("jump_s", [10 * 365 * 86_400, -10 * 365 * 86_400])
def test_a_jump_of_the_wall_clock_moves_nothing(world, bench, monkeypatch: pytest.MonkeyPatch, jump_s: int) -> None:
    b = bench(source())
    b.run(4_000)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump_s)
    b.run(4_000)
    assert b.agent.capturing
    assert b.agent.report()["sessions"] == 1
    stamps = [header.hi_max for header, _ in world.published()]
    assert stamps == sorted(stamps)
    assert stamps[-1] <= world.service_ms + 10_000


KEYS = {"garbage": (b"not a key at all\n", 0o600, 2)}
FILES = {"enrolment.dsse": (b"{}", 1)}


def ended(home: Path) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BYLEAVE_")}
    words = ["-m", "byleave.producers.main", "--endpoint", "ep-a", "--source", "canary"]
    return subprocess.run(
        [sys.executable, *words],
        env={**kept, "BYLEAVE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("site")
    pki.ensure_pki(home, ["ep-a"])
    dev_site(home, "byleave.", [("ep-a", "subject-a", "team-1")], 1_800_000_000_000, os.urandom, consent=True)
    return home


@pytest.mark.parametrize("case", [*KEYS, *FILES])
def test_a_key_or_file_that_cannot_be_used_ends_the_agent_with_one_sentence_and_its_code(made: Path, case: str) -> None:
    """2 for what is to be repaired here, 1 for what is not what it claims to be. Nothing was started or written."""
    folder = made / "endpoints" / "ep-a"
    name = case if case in FILES else "device.key"
    value, mode, code = KEYS[case] if case in KEYS else (FILES[case][0], 0o600, FILES[case][1])
    path = folder / name
    before = path.read_bytes() if path.exists() else None
    there = sorted(entry.name for entry in folder.iterdir())
    path.write_bytes(value)
    path.chmod(mode)
    try:
        found = ended(made)
    finally:
        path.chmod(0o600)
        path.unlink() if before is None else path.write_bytes(before)
    assert (found.returncode, found.stdout) == (code, "")
    [said] = [line for line in found.stderr.splitlines() if line.startswith("byleave agent: ")]
    assert "Traceback" not in found.stderr
    assert value.decode("latin-1").strip() not in said
    assert sorted(entry.name for entry in folder.iterdir()) == there
