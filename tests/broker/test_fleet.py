"""A fleet on a real broker: a device becomes an endpoint by its own keys, renews its certificate while it captures, and leaves;
another is revoked while it sends, and nothing of it passes from then on.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from awaiting import until
from narrowed import narrowed

from byleave.control import admission, beacon_main, bootstrap, brake, certificates, consenting, desk, documents, ordering, trust
from byleave.control.late import late_batch
from byleave.core.batches import parse_raw, refusal
from byleave.core.broker import Received
from byleave.core.clock import boot_ms, wall_ms
from byleave.core.errors import Forged, Refused
from byleave.core.kafka import KafkaPublisher, KafkaTail
from byleave.core.keys import read_signing_key
from byleave.core.settings import Installation, load_installation
from byleave.core.topics import load_catalogue
from byleave.deploy import enrol, enroller, fleet, pki, provision, rollout
from byleave.producers.hooks.canary import canary
from byleave.producers.main import Process

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]


@contextmanager
def beacons(at: Installation) -> Iterator[None]:
    """The beacon service, in a thread of its own."""
    publisher = {"message.timeout.ms": 3_000, "linger.ms": 0}
    service = beacon_main.Service(at, desk.open_watch(at, "beacon"), lambda: KafkaPublisher(at.kafka("beacon"), **publisher))
    end = threading.Event()

    def run() -> None:
        while not end.is_set():
            service.turn()

    thread = threading.Thread(target=run, name="beacon")
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(20)
        service.close()


@pytest.fixture
def room(kafka: Any, site: str, tmp_path: Path) -> Installation:
    """The desks of officers and enroller, with two endpoints of a development site."""
    at = load_installation({**kafka.env(site), "BYLEAVE_HOME": str(tmp_path / "desk")})
    people = [("ep-a", "person-a", "team-1"), ("ep-b", "person-b", "team-1")]
    bootstrap.dev_site(at.home, site, people, wall_ms(), secrets.token_bytes, consent=True)
    ordering.publish_missing(at)
    return at


def started(at: Installation, words: list[str]) -> subprocess.Popen[bytes]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BYLEAVE_")}
    places = {"HOME": str(at.home), "BOOTSTRAP": at.bootstrap, "PKI": str(at.pki), "SITE": at.site}
    return subprocess.Popen(
        [sys.executable, "-m", "byleave.deploy.cli", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env=clean | {f"BYLEAVE_{name}": value for name, value in places.items()},
    )  # fmt: skip


def test_an_endpoint_revoked_while_it_sends_is_nobody_within_five_seconds(room: Installation) -> None:
    key, device = (read_signing_key(room.home / at) for at in ("officers/enrol-1.key", "endpoints/ep-a/device.key"))
    report = room.home / "endpoints" / "ep-a" / "report.json"
    agent = ["run", "agent", "--endpoint", "ep-a", "--source", "canary", "--speed", "2"]
    with beacons(room), started(room, agent) as running:
        try:
            until(lambda: report.exists() and json.loads(report.read_bytes())["delivered_events"] > 0, 30, "it sends")
            began, began_ms = time.monotonic(), wall_ms()
            done = fleet.revoke(room, "ep-a", "lost on a train", key)
            assert done["rights"].endswith("taken away")
            with closing(desk.open_watch(room, "redactor")) as fence:
                until(lambda: fence.pump(0.05) is None or "ep-a" in fence.knowledge.revoked, 5, "the fence has read it")
                until(lambda: fence.pump(0.05) is None or fence.knowledge.beacon.revoked, 5, "the beacon service has, too")
                until(lambda: "ep-a" in brake.engaged(room.kafka("brake"), room.site), 5, "the broker denies it by name")
                took_s = time.monotonic() - began
                assert running.wait(15) != 0, "it cannot hear any more, so it ends"
                assert b"denie" in (running.stderr.read() if running.stderr else b"")
                assert took_s <= 5.0
                refused_by_every_brake(room, fence, device, began_ms)
        finally:
            if running.poll() is None:
                running.send_signal(signal.SIGKILL)
    assert [(row.endpoint, row.state) for row in fleet.rows(room)] == [("ep-a", "revoked"), ("ep-b", "allowed")]
    kept = fleet.folder(room.home) / "ep-a.dsse"
    first = fleet._kept(kept)
    fleet.revoke(room, "ep-a", "to be sure", key)
    assert fleet._kept(kept).at_ms == first.at_ms, (
        "said again, it counts from when it was said first: compaction keeps the last"
    )


def refused_by_every_brake(room: Installation, fence: Any, device: Any, began_ms: int) -> None:
    """Each by itself: past the ACLs, by the drill's certificate, whatever ep-a's key signs is still refused."""
    for topic in ("raw.events.v1", "control.request.v1"):
        with pytest.raises(Refused):
            desk.publish(room, "ep-a", [(topic, b"ep-a", b"x")])
    by_b = read_signing_key(room.home / "endpoints" / "ep-b" / "device.key")
    asks = [documents.Request(room.site, name, nonce * 32, 5, "00" * 32, 1) for name, nonce in (("ep-a", "a"), ("ep-b", "b"))]
    signed = [trust.sign(one, [by]) for one, by in zip(asks, (device, by_b), strict=True)]
    desk.publish(room, "drill", [("control.request.v1", b"x", value) for value in signed])
    found: list[str] = []
    with closing(desk.open_watch(room, "security")) as watch:
        heard = lambda: [found.append(d.nonce) for d in watch.pump(0.05) if isinstance(d, documents.Grant)]  # noqa: E731
        until(lambda: heard() is None or "b" * 32 in found, 10, "ep-b has its grant")
    assert "a" * 32 not in found
    late = late_batch(fence.knowledge, "ep-a", device, wall_ms(), secrets.token_bytes, session=bytes(16), seq0=0, batch=0)
    header = parse_raw(late).header
    claim = admission.Claim("ep-a", header.session, header.epoch, header.hi_max, wall_ms(), header.manifest)
    assert admission.decide(claim, fence.knowledge) == admission.Refuses("revoked")
    backdated = admission.Claim("ep-a", header.session, header.epoch, began_ms - 60_000, wall_ms() + 3_000, header.manifest)
    assert admission.decide(backdated, fence.knowledge) == admission.Refuses("revoked")


def aged(at: Installation, name: str, authority: Path) -> None:
    """Its certificate, but issued 25 days ago."""
    csr = certificates.new_request(at.pki / f"{name}.key.pem", name)
    now = dt.datetime.now(dt.UTC)
    old = pki.issue(authority, name, csr, now - dt.timedelta(days=25), now + dt.timedelta(days=5))[0]
    (at.pki / f"{name}.crt.pem").write_bytes(old)


def test_a_device_is_enrolled_by_its_own_keys_renews_while_it_captures_and_leaves(
    kafka: Any, room: Installation, tmp_path: Path
) -> None:
    key, name = read_signing_key(room.home / "officers" / "enrol-1.key"), f"ep-{secrets.token_hex(3)}"
    env = {**kafka.env(room.site), "BYLEAVE_HOME": str(tmp_path / "device"), "BYLEAVE_PKI": str(tmp_path / "device" / "pki")}
    device = load_installation(env)
    pin = documents.digest(enroller.load_envelope((room.home / "trust" / "root.dsse").read_bytes()).body)
    application = enrol.enrol(device, name, pin, None)
    with pytest.raises(Forged):
        enroller.approve(room, application.replace(b"A", b"B", 1), "person-c", "team-1", key)
    bundle = enroller.approve(room, application, "person-c", "team-1", key)
    assert enrol.status(device, name)[1] == enrol.NOT_ENROLLED
    assert rights_differ(room) == [], "whoever sets the ACLs anew leaves those of the new device as they are"
    enrol.install(device, name, bundle)
    assert (enrol.status(device, name)[1], sorted(path.name for path in device.pki.iterdir())) == (
        enrol.NOT_RUNNING,
        sorted(["ca.crt.pem", f"{name}.crt.pem", f"{name}.key.pem"]),
    )
    aged(device, name, room.pki)
    before = (device.pki / f"{name}.crt.pem").read_bytes()
    with beacons(room):
        consenting.agree(device, name, consenting.read_offer(device, name))
        assert enroller.answer(room, key)["passed on"] == ["person-c"]
        captures_and_renews(device, room, name, key)
        assert (device.pki / f"{name}.crt.pem").read_bytes() != before
    done = enrol.leave(device, name)
    assert (done["told"], done["left"]) == (True, ["people", f"endpoints/{name}"])
    assert list(device.home.rglob("*.key")) == [device.home / "people" / "person-c" / "person.key"]
    assert enroller.answer(room, key) == {"renewed": [], "left": [name], "passed on": ["person-c"], "refused": []}
    assert {row.endpoint: row.state for row in fleet.rows(room)}[name] == "revoked"
    kept = enroller.load_envelope((room.home / "trust" / "revoked" / f"{name}.dsse").read_bytes())
    assert documents.load(documents.Revocation, kept.body).reason == enroller.LEFT, (
        "others are not told for ever that they asked for it"
    )
    assert rights_differ(room) == [], "and does not give them back once it was revoked"


def rights_differ(room: Installation) -> list[str]:
    found = provision.check(room.kafka("ops"), room.site, narrowed(load_catalogue(), 2), fleet.names_here(room))
    return [str(one) for one in found]


def captures_and_renews(device: Installation, room: Installation, name: str, key: Any) -> None:
    """The agent's own process, turned here: the renewal comes in mid-session, and every number arrives once and in order."""
    process = Process(device, name, canary(7, 2.0), lambda _: False)

    def turned(true: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: (process.turn(), true())[1]

    try:
        until(turned(lambda: process.agent.report()["delivered_events"] > 0), 30, "it captures")
        session, old = process.agent.report()["session"], (device.pki / f"{name}.crt.pem").read_bytes()
        assert enrol.status(device, name)[1] == enrol.CAPTURING
        assert enroller.answer(room, key)["renewed"] == [name]
        until(turned(lambda: (device.pki / f"{name}.crt.pem").read_bytes() != old), 20, "it has its new certificate")
        seen = process.agent.report()["delivered_events"]
        until(turned(lambda: process.agent.report()["delivered_events"] > seen + 20), 30, "it goes on by the new one")
        report = process.agent.report()
        assert (report["session"], report["gaps"], report["sessions"]) == (session, 0, 1)
        process.agent.finish()
        until(turned(lambda: process.drained), 20, "all of it is there")
        report = process.agent.report()
    finally:
        process.close()
    os.utime(device.home / "endpoints" / name / "report.json", (0, 0))
    tail = KafkaTail(room.kafka("redactor"), f"{room.site}redactor-count", [room.topic("raw.events.v1")])
    with closing(tail):
        headers = [parse_raw(one.value).header for one in read_to_end(tail) if one.key == name.encode()]
    assert {header.session.hex() for header in headers} == {session}
    assert sum(header.count for header in headers) >= report["captured"] > 0
    numbers = {n for header in headers for n in range(header.seq0, header.seq0 + header.count)}
    assert numbers == set(range(report["captured"]))


def read_to_end(tail: KafkaTail) -> list[Any]:
    found: list[Any] = []
    began = boot_ms()
    while not tail.caught_up:
        found += tail.read(0.2)
        assert boot_ms() - began < 20_000
    return found


def test_a_ring_whose_batches_are_refused_is_the_last(room: Installation) -> None:
    assert rollout.open_ring(room, "0.2.0", 99, refused_max=0, hold_h=0)["of"] == 2
    ring = [name for name in ("ep-a", "ep-b") if rollout.in_ring("0.2.0", name, 99)]
    at = Received(room.topic("raw.events.v1"), 0, 7, 5, b"ep-a", None)
    for reason in ("halted", "count-mismatch"):
        rows = [("refused.v1", name.encode(), refusal(reason, "REDACTOR", at, name, None)) for name in (*ring, "ep-x")]
        desk.publish(room, "redactor", rows)
    with pytest.raises(Refused, match="goes no further"):
        rollout.open_ring(room, "0.2.0", 100, refused_max=len(ring) - 1, hold_h=0)
    found = rollout.open_ring(room, "0.2.0", 100, refused_max=len(ring), hold_h=0)
    assert (found["endpoints"], found["refused"]) == (["ep-a", "ep-b"], {"count-mismatch": len(ring)})


def test_no_service_and_nobody_unknown_is_revoked(room: Installation) -> None:
    key = read_signing_key(room.home / "officers" / "enrol-1.key")
    for name in ("redactor", "ep-x"):
        with pytest.raises(Refused, match="ever enrolled"):
            fleet.revoke(room, name, "a slip", key)
    with pytest.raises(Forged):
        fleet.revoke(room, "ep-a", "not by me", read_signing_key(room.home / "officers" / "security-1.key"))
    assert fleet.revoked_here(room.home) == frozenset()
    assert {row.state for row in fleet.rows(room)} == {"allowed"}
