"""A site in memory around one endpoint: officers, a beacon service that answers, a broker that can fail, a clock moved by hand.

Everything signed is signed for real; what is simulated is what lies outside the endpoint.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from byleave.control import trust
from byleave.control.documents import (
    Ack,
    Beacon,
    Consent,
    Effective,
    Enrolment,
    Grant,
    Halt,
    Lifted,
    Manifest,
    Request,
    Role,
    Root,
    Run,
    Scope,
    State,
    Window,
    digest,
    dump,
)  # fmt: skip
from byleave.control.knowledge import Knowledge
from byleave.core.batches import Boundary, open_raw, parse_raw, verify_raw
from byleave.core.broker import Delivered
from byleave.core.envelope import Opener
from byleave.core.errors import Transient
from byleave.core.events import Event
from byleave.core.keys import public_hex
from byleave.producers.agent import Agent, Identity
from byleave.producers.gate import Switches
from byleave.producers.hooks.source import Source
from byleave.producers.outbox import Outbox
from byleave.producers.person.today import Days
from byleave.producers.spool import Spool

SITE = "byleave."
EPOCH_MS = 1_000_000_000_000
"""How far the service's clock is ahead of this machine's boot clock."""
DAY_MS = 86_400_000
ROLES = ("root", "halt", "resume", "manifest", "enrol", "beacon")


class MemoryBroker:
    """What a broker has, in order. `down`: nothing is acknowledged; `deny`: each delivery fails; `hold`: answers wait."""

    def __init__(self) -> None:
        self.records: list[tuple[str, bytes, bytes]] = []
        self.down = self.deny = False
        self.clients = 0

    def client(self) -> MemoryPublisher:
        self.clients += 1
        return MemoryPublisher(self)


class MemoryPublisher:
    """The Publisher port on a MemoryBroker."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker, self._queue = broker, []
        self.closed = False

    def publish(self, topic: str, key: bytes, value: bytes | None, delivered: Delivered | None = None) -> None:
        if self.closed:
            raise Transient("closed")
        self._queue.append((topic, key, value, delivered))

    def flush(self, _: float) -> bool:
        while self._queue and not self._broker.down:
            topic, key, value, delivered = self._queue.pop(0)
            if not self._broker.deny:
                self._broker.records.append((topic, key, value))
            if delivered is not None:
                delivered(not self._broker.deny)
        return not self._queue

    def purge(self) -> None:
        self._queue.clear()

    def close(self) -> None:
        self.purge()
        self.closed = True


class World:
    """One endpoint's surroundings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.officers = {role: Ed25519PrivateKey.generate() for role in ROLES}
        self.device, self.person = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        self.redactor = X25519PrivateKey.generate()
        roles = tuple(Role(name, (public_hex(key),), ("one",), 1, 1) for name, key in self.officers.items())
        self.root = Root(SITE, 1, EPOCH_MS + 365 * DAY_MS, roles)
        self.now = 5_000_000
        self.manifest = Manifest(
            SITE, "work", ("pointer", "key", "window"), ("editor", "terminal"), (), ("train",), (), 30, "dpia-1", "-", EPOCH_MS,
            EPOCH_MS + DAY_MS,
        )  # fmt: skip
        self.knowledge = Knowledge(self.root, SITE)
        self.state: State | None = None
        self.prev = ""
        self.n = 0
        self.effective: tuple[Effective, ...] = ()
        self.enrolment = Enrolment(
            SITE, "ep-a", public_hex(self.device), "subject-a", public_hex(self.person), "team-1", EPOCH_MS + DAY_MS
        )
        self.broker = MemoryBroker()
        self.said: list[tuple[str, bytes]] = []
        self.randomness: Callable[[int], bytes] = random.Random("world").randbytes
        self.grant_changes: dict[str, object] = {}
        self.answer_after_ms = 5

    @property
    def service_ms(self) -> int:
        return EPOCH_MS + self.now

    @property
    def manifest_digest(self) -> str:
        return digest(dump(self.manifest))

    def sign(self, role: str, document: object) -> bytes:
        return trust.sign(document, [self.officers[role]])

    def learn(self, topic: str, value: bytes | None) -> object:
        return self.knowledge.learn(topic, value)

    def enrol(self) -> None:
        self.learn("control.enrolment.v1", self.sign("enrol", self.enrolment))

    def consent(self, given: bool = True, manifest: str | None = None) -> None:
        consent = Consent(SITE, "subject-a", manifest or self.manifest_digest, given, self.service_ms)
        self.learn("control.consent.v1", trust.sign(consent, [self.person]))

    def allow(self, *, lifted: tuple[Lifted, ...] = (), run: bool = True, minimum: str = "") -> State:
        """The next state: everybody may capture under the manifest."""
        self.learn("control.manifest.v1", self.sign("manifest", self.manifest))
        runs = (Run(Scope("global"), self.manifest_digest, "key-1", public_hex(self.redactor)),) if run else ()
        epoch = self.state.epoch + 1 if self.state else 1
        earlier = (Window(self.state.epoch, self.state.expires_ms, self.state.run),) if self.state else ()
        self.state = State(SITE, epoch, self.prev, 1, self.service_ms, EPOCH_MS + DAY_MS, runs, lifted, earlier, minimum)
        self.prev = digest(dump(self.state))
        self.learn("control.state.v1", self.sign("resume", self.state))
        return self.state

    def beacon(self, **changes: object) -> Beacon:
        """The next beacon, learned here."""
        self.n += 1
        epoch = self.state.epoch if self.state else 0
        beacon = replace(Beacon(SITE, epoch, self.prev, self.service_ms, self.n, 10_000, self.effective), **changes)
        self.learn("control.beacon.v1", self.sign("beacon", beacon))
        return beacon

    def halt(self, buffer: str = "drop", scope: Scope = Scope("global")) -> tuple[Halt, str]:  # noqa: B008 - frozen
        halt = Halt(SITE, scope, "capture", "drill", buffer, self.service_ms, 60_000, self.randomness(8).hex())
        self.learn("control.halt.v1", self.sign("halt", halt))
        return halt, digest(dump(halt))

    def grant(self, request: Request, /, **changes: object) -> bytes:
        grant = Grant(
            SITE, request.nonce, digest(dump(request)), self.randomness(16).hex(), self.service_ms,
            self.state.epoch if self.state else 0, self.service_ms + DAY_MS // 2,
        )  # fmt: skip
        return self.sign("beacon", replace(grant, **changes))

    def acks(self) -> list[Ack]:
        key = self.device.public_key()
        return [trust.verify_by(key, Ack, value, site=SITE)[0] for topic, value in self.said if topic == "control.ack.v1"]

    def requests(self) -> list[Request]:
        key = self.device.public_key()
        return [trust.verify_by(key, Request, v, site=SITE)[0] for topic, v in self.said if topic == "control.request.v1"]

    def published(self) -> list[tuple[object, tuple[Event, ...]]]:
        """Headers and events of all raw batches that reached the broker, opened as the redactor would."""
        opener = Opener({"key-1": self.redactor})
        found = []
        for topic, key, value in self.broker.records:
            assert (topic, key) == ("byleave.raw.events.v1", b"ep-a")
            batch = parse_raw(value)
            verify_raw(batch, self.device.public_key())
            found.append((batch.header, open_raw(batch, opener)[0]))
        return found


class Bench:
    """An agent on a World, turned by hand."""

    def __init__(self, world: World, source: Source, spool_bytes: int = 1 << 22, days: Days | None = None) -> None:
        self.world, self.source = world, source
        self.spool = Spool(world.folder / "spool", world.device, spool_bytes)
        self.outbox = Outbox(self.spool, "byleave.raw.events.v1", b"ep-a", world.broker.client)
        identity = Identity("ep-a", world.device, "agent", "")
        self.agent = Agent(
            identity, world.knowledge, source, self.spool, self.outbox,
            say=lambda topic, value: world.said.append((topic, value)), clock=lambda: world.now, randomness=world.randomness,
            days=days,
        )  # fmt: skip
        self.switches = Switches()
        self.caught_up = True
        self.beacons = True
        self.answers = True
        self._answered = 0
        self._beacon_at = 0

    def turn(self, ms: int = 20) -> None:
        """One turn of the agent's loop, then `ms` pass."""
        if self.beacons and self.world.now >= self._beacon_at:
            self._beacon_at = self.world.now + 1_000
            self.agent.hear([self.world.beacon()])
        self.agent.turn(self.switches, caught_up=self.caught_up, timeout_s=0)
        asked = sum(topic == "control.request.v1" for topic, _ in self.world.said)
        self.world.now += ms
        if self.answers and asked > self._answered:
            self._answered, requests = asked, self.world.requests()
            granted = self.world.learn("control.grant.v1", self.world.grant(requests[-1], **self.world.grant_changes))
            self.world.now += self.world.answer_after_ms
            self.agent.hear([granted])
        if self.agent.may_send:
            self.outbox.pump(self.world.now, self.world.service_ms)

    def run(self, ms: int, step_ms: int = 20) -> None:
        until = self.world.now + ms
        while self.world.now < until:
            self.turn(step_ms)

    def tell(self, *documents: object) -> None:
        self.agent.hear(documents)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Enrolled, consented, allowed: all but the beacons, which a Bench sends."""
    return _ready(tmp_path)


@pytest.fixture
def another(tmp_path: Path) -> Callable[[str], World]:
    """Worlds beside each other, by name."""
    return lambda name: _ready(tmp_path / name)


def _ready(folder: Path) -> World:
    made = World(folder)
    made.enrol()
    made.allow()
    made.consent()
    return made


@pytest.fixture
def bench(world: World) -> Callable[..., Bench]:
    return lambda source, of=world, **more: Bench(of, source, **more)


@pytest.fixture
def boundaries() -> type[Boundary]:
    return Boundary
