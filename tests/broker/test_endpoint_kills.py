"""The real agent is killed at seeded moments while a recording replays to a real broker (P8): every number that it gave out is
on the topic once or declared as a gap, whatever was on its way. And its disk fills up, and empties again.

A recording whose keys say their own place: "17" is the eighteenth that goes down. So what arrived is compared with what was
recorded, not only counted. A witness beside the source counts what was handed over, and the redactor's own rules decide what is
a copy.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from halt_fleet import Child, await_true, start
from narrowed import narrowed

from byleave.control import bootstrap, ordering
from byleave.core.batches import AdmittedBatch, Origin, RawBatch, open_raw, parse_raw, verify_raw
from byleave.core.clock import wall_ms
from byleave.core.envelope import Opener
from byleave.core.errors import Forged, Refused
from byleave.core.events import KeyEvent, Kind
from byleave.core.kafka import KafkaTail
from byleave.core.keys import read_hpke_key, read_signing_key
from byleave.core.settings import Installation, load_installation
from byleave.core.topics import load_catalogue
from byleave.deploy import broker, pki, provision
from byleave.processors.account import Account
from byleave.processors.session import EndpointState, feed, load_rules
from byleave.producers.hooks.source import FOCUS_HOLD_MS

pytestmark = [pytest.mark.broker, pytest.mark.timeout(1_800)]

AGENT = Path(__file__).parents[1] / "assets" / "counted_agent.py"
KEYS, STEP_S, SPEED = 40_000, 0.004, 4
"""A thousand keys a second: a full batch four times a second, so that many kills fall into a write."""
DISK = "ep-disk"
DOUBT = 2 * round(FOCUS_HOLD_MS / 1000 / STEP_S) + 2
"""Events of a session that the focus may cost: those after its first focus, and those held at its end."""


@dataclass
class Life:
    """One run of an agent: what its sessions' files say was given out, and what the witness saw handed over."""

    handed: int
    last_poll: int
    given: dict[str, int]


@dataclass
class Ground:
    """A site with a broker and a beacon service."""

    home: Path
    names: tuple[str, ...]
    at: Installation
    environment: dict[str, str]
    recording: Path
    lives: dict[str, list[Life]] = field(default_factory=dict)
    children: list[Child] = field(default_factory=list)

    def launch(self, name: str, source: str = "") -> Child:
        log = (self.home / "logs" / f"{name}.log").open("ab")
        clean = {key: text for key, text in os.environ.items() if not key.startswith("BYLEAVE_")}
        words = ["--endpoint", name, "--source", source or f"replay:{self.recording}", "--speed", str(SPEED)]
        popen = subprocess.Popen(
            [sys.executable, str(AGENT), str(self.witness(name)), *words], env={**clean, **self.environment}, stderr=log,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        log.close()
        self.children.append(Child(name, popen))
        return self.children[-1]

    def folder(self, name: str) -> Path:
        return self.home / "endpoints" / name

    def witness(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.handed"

    def handed(self, name: str) -> tuple[int, int]:
        try:
            first, last = self.witness(name).read_bytes().split()
        except (FileNotFoundError, ValueError):
            return 0, 0
        return int(first), int(last)

    def given(self, name: str) -> dict[str, int]:
        """By session, as the killed process left it on disk."""
        found = {}
        for path in self.folder(name).glob("spool/*/count"):
            raw = path.read_bytes()
            files = [parse_raw(batch.read_bytes()[32:]).header.seq_end for batch in path.parent.glob("*.raw")]
            found[path.parent.name[9:]] = max([struct.unpack(">4q", raw[:32])[0], *files])
        return found

    def report(self, name: str) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder(name) / "report.json").read_bytes()))
        except (OSError, ValueError):
            return {}

    def capturing(self, name: str) -> bool:
        return self.handed(name)[0] > 0

    def batches(self, name: str) -> list[RawBatch]:
        """Everything of an endpoint on the raw topic, in its order."""
        tail = KafkaTail(self.at.kafka("redactor"), self.at.topic("redactor-kills"), [self.at.topic("raw.events.v1")])
        found: list[RawBatch] = []
        while not tail.caught_up:
            found += [parse_raw(record.value) for record in tail.read(0.2) if record.key == name.encode()]
        tail.close()
        return found

    def opener(self) -> Opener:
        return Opener({path.stem: read_hpke_key(path) for path in (self.home / "redactor").glob("raw-*.key")})


@pytest.fixture(scope="module", params=[10, pytest.param(200, marks=pytest.mark.prove)])
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    kills: int = request.param
    names = tuple(f"ep-{n:02d}" for n in range(2 if kills < 50 else 4))
    home = tmp_path_factory.mktemp("kills") / "home"
    (home / "logs").mkdir(parents=True)
    disk = home / "endpoints" / DISK
    disk.mkdir(parents=True)
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, check=False
    ).returncode
    pki.ensure_pki(home, [*names, DISK])
    ports = broker.Ports(*broker.free_ports(2))
    environment = {"BYLEAVE_HOME": str(home), "BYLEAVE_BOOTSTRAP": f"127.0.0.1:{ports.client}"}
    beacons: list[Child] = []
    made = Ground(home, names, load_installation(environment), environment, write_recording(home / "recordings" / "office"))
    try:
        broker.start(home, ports)
        at = made.at
        people = [(name, f"person-{name}", "team-1") for name in (*names, DISK)]
        bootstrap.dev_site(home, at.site, people, wall_ms(), os.urandom, consent=True)
        provision.apply(at.kafka("admin"), at.site, narrowed(load_catalogue(), 1), [*names, DISK])
        ordering.publish_missing(at)
        beacons.append(start("beacon", home / "logs" / "beacon.log", ["run", "beacon"], environment))
        beacons[0].ready()
        made.lives = kill_all(made, kills)
        yield made
    finally:
        for child in [*made.children, *beacons]:
            child.kill()
        broker.stop(home)
        if mounted:
            subprocess.run(["umount", str(disk)], check=True)


def write_recording(folder: Path) -> Path:
    folder.mkdir(parents=True)
    lines = [
        json.dumps({"time_stamp": n * STEP_S, "action": "release" if n % 2 else "press", "name": str(n // 2)})
        for n in range(KEYS)
    ]
    (folder / "events.jsonl").write_text("\n".join(lines))
    return folder


def kill_all(ground: Ground, kills: int) -> dict[str, list[Life]]:
    """So many kills, spread over the endpoints, and a last life of each that ends in order."""
    turn = threading.Lock()
    with ThreadPoolExecutor(len(ground.names)) as pool:
        shares = [pool.submit(lives_of, ground, name, kills // len(ground.names), turn) for name in ground.names]
        return {name: share.result(1_500) for name, share in zip(ground.names, shares, strict=True)}


def lives_of(ground: Ground, name: str, kills: int, turn: threading.Lock) -> list[Life]:
    rng, lives = random.Random(name), []
    for n in range(kills):
        ground.witness(name).unlink(missing_ok=True)
        known, agent = ground.given(name), ground.launch(name)
        if n % 6 == 5:  # while it starts: it may be taking up, declaring or sending what the last one left
            time.sleep(rng.uniform(0.2, 2.5))
        else:
            await_true(lambda: ground.capturing(name), 60.0, f"{name} captures", lambda: str(ground.report(name).get("answer")))
            time.sleep(rng.uniform(0.0, 1.5))
        if n % 6 == 3:  # while the broker stands still: what is kept cannot leave
            with turn:
                running = broker.status(ground.home)
                assert running is not None
                os.kill(running.pid, signal.SIGSTOP)
                time.sleep(rng.uniform(0.2, 0.8))
                agent.kill()
                os.kill(running.pid, signal.SIGCONT)
        else:
            agent.kill()
        fresh = {session: given for session, given in ground.given(name).items() if session not in known}
        lives.append(Life(*ground.handed(name), fresh))
    agent = ground.launch(name)
    agent.ready()
    await_true(lambda: ground.report(name).get("waiting") == 0, 60.0, f"{name} sends what the others left")
    assert agent.end() == 0
    report = ground.report(name)
    lives.append(Life(*ground.handed(name), {str(report["session"]): int(str(report["captured"]))}))
    send_the_rest(ground, name)
    return lives


def send_the_rest(ground: Ground, name: str) -> None:
    """Who ends sends nothing more: the next does, which here captures nothing."""
    (ground.folder(name) / "consent.dsse").unlink()
    agent = ground.launch(name)
    agent.ready()
    await_true(lambda: ground.report(name).get("waiting") == 0, 60.0, f"{name} sends what the last one left")
    assert agent.end() == 0


def test_every_number_is_on_the_topic_once_or_declared(ground: Ground) -> None:
    rules, opener, total = load_rules(), ground.opener(), Counter[str]()
    for name in ground.names:
        key = read_signing_key(ground.folder(name) / "device.key").public_key()
        state, accounts, seen = EndpointState(), dict[bytes, Account](), Counter[tuple[bytes, int]]()
        for place, batch in enumerate(ground.batches(name)):
            verify_raw(batch, key)
            events, screen = open_raw(batch, opener)
            origin = Origin("raw", 0, place, batch.header.hi_max)
            try:
                feed(state, AdmittedBatch(batch.header, "person", origin, batch.header.hi_max, events, screen), rules)
            except Refused as refused:
                assert refused.reason in ("duplicate-sequence", "session-ended"), refused.reason
                total["copies"] += len(events)
                continue
            accounts[batch.header.session] = state.account
            total["declared"] += batch.header.gap
            seen.update((batch.header.session, event.seq) for event in events)
        given = {session: count for life in ground.lives[name] for session, count in life.given.items() if count}
        assert {session.hex(): account.gaps + account.admitted for session, account in accounts.items()} == given
        assert set(seen.values()) == {1}
        total.update(captured=sum(given.values()), delivered=len(seen), sessions=len(given))
        for life in ground.lives[name]:
            assert 0 <= life.handed - sum(life.given.values()) <= life.last_poll + len(life.given) * (1 + DOUBT)
            total["lives"] += 1
    print(f"\n{dict(total)}")  # noqa: T201 - the figures that a person looks for
    assert total["captured"] == total["delivered"] + total["declared"]
    assert total["declared"] > 0, "no kill lost anything: this proves nothing"
    assert total["sessions"] > total["lives"] // 2


def test_what_arrived_is_what_was_recorded(ground: Ground) -> None:
    opener = ground.opener()
    for name in ground.names:
        shift: dict[bytes, int] = {}
        for batch in ground.batches(name):
            for event in open_raw(batch, opener)[0]:
                if isinstance(event, KeyEvent):
                    place = 2 * int(event.key) + (event.kind is Kind.RELEASE) - event.seq
                    assert shift.setdefault(batch.header.session, place) == place


def test_no_key_of_an_endpoint_opens_what_it_sent(ground: Ground) -> None:
    """All 32 bytes that stand anywhere in its files are tried, as they are, in hex, in Base64; a redactor's key is found so."""
    name = ground.names[0]
    batch = next(batch for batch in ground.batches(name) if batch.header.count)
    places = [path for path in ground.folder(name).rglob("*") if path.is_file() and "spool" not in path.parts]
    places.append(Path(str(ground.at.kafka(name)["ssl.key.location"])))
    assert {"device.key", "report.json", "enrolment.dsse"} <= {path.name for path in places}
    assert opened_by(batch, places) == []
    redactors = list((ground.home / "redactor").glob("raw-*.key"))
    assert opened_by(batch, [*places, *redactors]) != []


def opened_by(batch: RawBatch, places: list[Path]) -> list[str]:
    found = []
    for path in places:
        raw = path.read_bytes()
        texts = [line for line in raw.replace(b'"', b"\n").split() if len(line) > 40]
        for content in {raw, *(one for text in texts for one in decoded(text))}:
            for at in range(len(content) - 31):
                candidate = X25519PrivateKey.from_private_bytes(content[at : at + 32])
                try:
                    open_raw(batch, Opener({batch.header.key_id: candidate}))
                    found.append(path.name)
                except Forged:
                    continue
    return found


def decoded(text: bytes) -> list[bytes]:
    found = []
    for read in (base64.b64decode, base64.b16decode):
        with contextlib.suppress(ValueError):
            found.append(read(text.upper() if read is base64.b16decode else text + b"=" * (-len(text) % 4)))
    return found


def test_a_full_disk_stops_capture_says_so_and_is_left_again(ground: Ground) -> None:
    folder = ground.folder(DISK)
    if not os.path.ismount(folder):
        pytest.skip("this machine does not let us mount a small tmpfs")
    agent = ground.launch(DISK)
    try:
        await_true(lambda: ground.capturing(DISK), 60.0, "it captures")
        ballast = folder / "ballast"
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        await_true(lambda: "no room" in str(ground.report(DISK).get("answer")), 10.0, "it says that there is no room")
        stopped = ground.handed(DISK)[0]
        time.sleep(2.5)
        assert ground.handed(DISK)[0] == stopped
        assert agent.popen.poll() is None
        log = (ground.home / "logs" / f"{DISK}.log").read_text().splitlines()
        assert [json.loads(line)["state"] for line in log if '"gate"' in line][-1] == "FULL"
        ballast.unlink()
        await_true(lambda: ground.handed(DISK)[0] > stopped, 30.0, "it starts again by itself")
        await_true(lambda: ground.report(DISK).get("capturing") is True, 10.0, "it says so")
    finally:
        code = agent.end()
    assert code == 0
    report, handed = ground.report(DISK), ground.handed(DISK)[0]
    send_the_rest(ground, DISK)
    batches = ground.batches(DISK)
    assert report["captured"] == sum(batch.header.count + batch.header.gap for batch in batches)
    # a key that went down before there was no room and came up after it is of neither window
    counted = report["captured"] + report["gate_closed"] + report["out_of_scope"]
    assert 0 <= handed - counted <= DOUBT * report["sessions"]
    assert len({batch.header.session for batch in batches}) >= 2
