"""A development site in a folder, and short ways to sign what its officers and services would."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import bootstrap, trust
from byleave.control.documents import Ack, Beacon, Consent, Effective, Halt, Lifted, Root, Scope, State, Window, digest, load
from byleave.control.knowledge import Knowledge
from byleave.core.dsse import load_envelope
from byleave.core.keys import read_signing_key

SITE = "test."
NOW_MS = 1_800_000_000_000
ENDPOINTS = (("ep-a", "person-a", "team-1"), ("ep-b", "person-b", "team-2"))


@dataclass(frozen=True)
class Site:
    home: Path
    root: Root

    def key(self, place: str) -> Ed25519PrivateKey:
        return read_signing_key(self.home / f"{place}.key")

    def officers(self, *names: str) -> list[Ed25519PrivateKey]:
        return [self.key(f"officers/{name}") for name in names]

    def bytes(self, path: str) -> bytes:
        return (self.home / path).read_bytes()

    def knowledge(self, *, floor: int = 0) -> Knowledge:
        """Everything that the site's files say, learned."""
        found = Knowledge(self.root, SITE, floor)
        for topic, _, value in bootstrap.documents_to_publish(self.home):
            found.learn(topic, value)
        return found

    @property
    def first(self) -> State:
        return load(State, load_envelope(self.bytes("trust/state.dsse")).body)

    def state(self, after: bytes, lifted: tuple[Lifted, ...] = (), **changes: Any) -> bytes:
        """The state that follows `after`, signed by two officers of two groups."""
        body = load_envelope(after).body
        last = load(State, body)
        earlier = (*last.earlier, Window(last.epoch, last.expires_ms, last.run, last.issued_ms))
        chain = {"epoch": last.epoch + 1, "prev": digest(body), "lifted": (*last.lifted, *lifted), "earlier": earlier}
        made = replace(last, **{**chain, **changes})
        return trust.sign(made, self.officers("security-1", "privacy-1"))

    def halt(self, scope: Scope | None = None, *, what: str = "capture", nonce: str = "00", issued_ms: int = NOW_MS) -> bytes:
        order = Halt(SITE, scope or Scope("global"), what, "a test", "drop", issued_ms, 600_000, nonce)
        return trust.sign(order, self.officers("security-1"))

    def beacon(self, knowledge: Knowledge, service_ms: int, **effective: int) -> bytes:
        """A beacon for the state that `knowledge` holds."""
        assert knowledge.state is not None
        halts = tuple(Effective(name, ms) for name, ms in effective.items())
        said = Beacon(SITE, knowledge.state.epoch, knowledge.state_digest, service_ms, service_ms, 10_000, halts)
        return trust.sign(said, [self.key("beacon/beacon")])

    def consent(self, person: str, manifest: str, *, given: bool, at_ms: int) -> bytes:
        return trust.sign(Consent(SITE, person, manifest, given, at_ms), [self.key(f"people/{person}/person")])

    def ack(self, endpoint: str, halt_id: str, *, reaped: bool = True, stopped_ms: int = NOW_MS) -> Ack:
        return Ack(SITE, endpoint, "ab" * 16, halt_id, 1, stopped_ms, stopped_ms, reaped, 41, 0, "dropped", "")


def id_of(signed: bytes) -> str:
    return digest(load_envelope(signed).body)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    home = tmp_path_factory.mktemp("site")
    numbers = random.Random(7)
    return Site(home, bootstrap.dev_site(home, SITE, ENDPOINTS, NOW_MS, numbers.randbytes, consent=True))
