"""A site with keys, documents and endpoints of its own for tests of the redactor: what is signed here is signed for real."""

from __future__ import annotations

import hashlib
import random
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from byleave.control import documents as d
from byleave.control.knowledge import Knowledge
from byleave.control.trust import load_root
from byleave.core import codec, dsse
from byleave.core.batches import (
    AdmittedBatch,
    Boundary,
    Origin,
    RawHeader,
    SanitizedHeader,
    open_raw,
    open_sanitized,
    parse_raw,
    seal_raw,
    verify_sanitized,
)
from byleave.core.broker import Received
from byleave.core.envelope import Opener, fresh_key
from byleave.core.events import Event, FocusEvent, KeyEvent, Kind, PointerEvent, Screen, Window
from byleave.core.keys import public_hex, write_secret
from byleave.core.receipts import open_receipt
from byleave.processors.account import Account
from byleave.processors.intake import partition_of
from byleave.processors.partition import Output, Partition, Tools
from byleave.processors.session import EndpointState, feed, load_rules
from byleave.processors.state import StateSeal

DAY_MS = 86_400_000
SCREEN = Screen(1920, 1080)
KEY_ID = "k1"
SECRETS = ("anna.kowalczyk@example.org", "+1-202-555-0143", "4111111111111111", "hunter2zebra")
SENTENCE = "the report is ready and we can send it to the team after lunch today please check the numbers in the table"
WORDS = tuple(SENTENCE.split())


def seed_key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b".")[:32])


def receipt_key(endpoint: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(("receipts of " + endpoint).encode().ljust(32, b".")[:32])


@dataclass
class Site:
    """Keys and documents. `base_ms` is the time of the state; everything the endpoints capture lies after it."""

    name: str
    base_ms: int
    endpoints: tuple[str, ...] = ("ep-a", "ep-b", "ep-c")
    applications: tuple[str, ...] = ("code", "xterm")
    kinds: tuple[str, ...] = ("pointer", "key", "window")
    random_bytes: Any = field(default=secrets.token_bytes)
    beacons: int = 0
    receipts: bool = True

    def __post_init__(self) -> None:
        self.officers = {name: seed_key(name) for name in ("security-1", "privacy-1", "council-1")}
        self.enrol, self.beacon_key, self.sign = seed_key("enrol-1"), seed_key("beacon"), seed_key("redactor")
        self.roots = [seed_key(f"root-{n}") for n in (1, 2, 3)]
        self.open = X25519PrivateKey.from_private_bytes(b"redactor opens".ljust(32, b"."))
        self.state_key = b"state key of a test".ljust(32, b".")
        self.manifest = d.Manifest(
            self.name, "test", self.kinds, self.applications, (), ("train-assistant",),
            (d.Reader("ml", 2, "train-assistant"),), 30, "dpia", "none",
            self.base_ms, self.base_ms + 20 * DAY_MS,
        )  # fmt: skip
        self.manifest_digest = d.digest(d.dump(self.manifest))
        run = d.Run(d.Scope("global"), self.manifest_digest, KEY_ID, public_hex(self.open))
        self.state = d.State(self.name, 1, "", 1, self.base_ms, self.base_ms + 10 * DAY_MS, (run,), ())
        self.state_digest = d.digest(d.dump(self.state))

    def root(self) -> bytes:
        groups = {"security-1": "security", "privacy-1": "privacy", "council-1": "council"}
        officers = {public_hex(key): groups[name] for name, key in self.officers.items()}

        def role(name: str, keys: dict[str, str], threshold: int, groups_min: int) -> d.Role:
            return d.Role(name, tuple(keys), tuple(keys.values()), threshold, groups_min)

        one = {name: {public_hex(key): name} for name, key in
               (("enrol", self.enrol), ("beacon", self.beacon_key), ("redactor", self.sign))}  # fmt: skip
        root = d.Root(self.name, 1, self.base_ms + 300 * DAY_MS, (
            role("root", {public_hex(k): f"g{n}" for n, k in enumerate(self.roots)}, 2, 1), role("halt", officers, 1, 1),
            role("resume", officers, 2, 2), role("manifest", officers, 2, 2), role("enrol", one["enrol"], 1, 1),
            role("beacon", one["beacon"], 1, 1), role("redactor", one["redactor"], 1, 1),
        ))  # fmt: skip
        return signed(root, *self.roots[:2])

    def documents(self) -> list[tuple[str, str, bytes]]:
        """Topic, key and value of everything that stands on the control topics, but beacons."""
        two = (self.officers["security-1"], self.officers["privacy-1"])
        found = [
            ("control.manifest.v1", self.manifest_digest, signed(self.manifest, *two)),
            ("control.state.v1", self.name, signed(self.state, *two)),
        ]
        for name in self.endpoints:
            found.append(("control.enrolment.v1", name, self.enrolment(name)))
            found.append(("control.consent.v1", subject_of(name), self.consent(name)))
        return found

    def enrolment(self, name: str) -> bytes:
        keys = (public_hex(seed_key(name)), subject_of(name), public_hex(seed_key("person of " + name)))
        told_to = public_hex(receipt_key(name)) if self.receipts else ""
        return signed(d.Enrolment(self.name, name, *keys, "team-1", self.base_ms + 20 * DAY_MS, told_to), self.enrol)

    def consent(self, name: str, given: bool = True, at_ms: int = 0) -> bytes:
        consent = d.Consent(self.name, subject_of(name), self.manifest_digest, given, at_ms or self.base_ms)
        return signed(consent, seed_key("person of " + name))

    def beacon(self, service_ms: int, halts: Sequence[tuple[str, int]] = ()) -> bytes:
        self.beacons += 1
        effective = tuple(d.Effective(name, at_ms) for name, at_ms in halts)
        beacon = d.Beacon(self.name, 1, self.state_digest, service_ms, self.beacons, 10_000, effective)
        return signed(beacon, self.beacon_key)

    def halt(self, scope: d.Scope, issued_ms: int) -> tuple[str, bytes]:
        halt = d.Halt(self.name, scope, "capture", "test", "drop", issued_ms, 60_000, "00" * 16)
        return d.digest(d.dump(halt)), signed(halt, self.officers["security-1"])

    def knowledge(self, beacon_ms: int | None = None) -> Knowledge:
        knowledge = Knowledge(load_root(self.root(), self.name), self.name)
        for topic, _, value in self.documents():
            knowledge.learn(topic, value)
        if beacon_ms is not None:
            knowledge.learn("control.beacon.v1", self.beacon(beacon_ms))
        return knowledge

    def tools(self, data_key: Any) -> Tools:
        seal = StateSeal(self.state_key, self.name, self.random_bytes)
        return Tools(load_rules(), Opener({KEY_ID: self.open}), self.sign, seal, data_key, self.random_bytes)

    def write(self, home: Path) -> None:
        """The files that the redactor's and the keyring's processes read."""
        (home / "trust").mkdir(parents=True, exist_ok=True)
        (home / "trust" / "root.dsse").write_bytes(self.root())
        keys = {"sign": self.sign.private_bytes_raw(), KEY_ID: self.open.private_bytes_raw(), "state": self.state_key}
        for name, key in keys.items():
            write_secret(home / "redactor" / f"{name}.key", key)


def signed(document: Any, *keys: Ed25519PrivateKey) -> bytes:
    return dsse.seal_envelope(document.TYPE, d.dump(document), keys).dump()


def subject_of(endpoint: str) -> str:
    return "person-of-" + endpoint


@dataclass
class Endpoint:
    """Seals what it is given, batch by batch, in one session."""

    site: Site
    name: str
    session: bytes
    epoch: int = 1
    batch: int = 0
    seq: int = 0

    def __post_init__(self) -> None:
        self.header = RawHeader(
            self.name, self.session, self.epoch, 0, 0, 0, 0, 0, 0, bytes.fromhex(self.site.manifest_digest), KEY_ID, b""
        )
        self.key = fresh_key(self.header.binding, self.site.open.public_key(), 0, self.site.random_bytes)

    def seal(self, events: Sequence[Event], boundary: Boundary = Boundary.NONE, *, hi_max: int = 0, **changes: Any) -> bytes:
        """The Kafka value of the next batch; `changes` are fields of the header that are to be other than true."""
        hi_min = min((e.at_ms for e in events), default=hi_max)
        hi_max = hi_max or max((e.at_ms for e in events), default=0)
        header = replace(
            self.header, batch=self.batch, seq0=self.seq, count=len(events), hi_min=hi_min, hi_max=hi_max, boundary=boundary,
            wrap=self.key.wrap,
        )  # fmt: skip
        header = replace(header, **changes)
        value = seal_raw(header, events, SCREEN, self.key, seed_key(self.name))
        self.batch += 1
        self.seq = header.seq_end
        self.last = header
        return value


def admitted(site: Site, record: Received) -> AdmittedBatch:
    """The batch in a record, as the fence hands it on: what the oracle is fed with."""
    batch = parse_raw(record.value)
    events, screen = open_raw(batch, Opener({KEY_ID: site.open}))
    origin = Origin.of(record)
    return AdmittedBatch(batch.header, subject_of(batch.header.endpoint), origin, 0, events, screen)


def received(
    name: str, value: bytes, offset: int, append_ms: int, *, partitions: int = 1, key: bytes | None = None
) -> Received:
    own = name.encode() if key is None else key
    return Received("raw.events.v1", partition_of(own, partitions), offset, append_ms, own, value)


def work(seed: int, start_ms: int, batches: int, app: str = "code") -> Iterator[tuple[list[Event], Boundary]]:
    """What somebody does, cut at seeded places: words, slips, made-up personal data, clicks; the last batch ends it."""
    rng, at = random.Random(seed), start_ms
    window = Window(7, app, layout="us")
    events: list[Event] = [FocusEvent(0, at, window)]
    for n in range(batches):
        for _ in range(rng.randint(2, 9)):
            at += rng.randint(60, 900)
            events.extend(_typed(rng, at))
            at += 40 * 60
            if rng.random() < 0.2:
                at += 200
                events.append(PointerEvent(0, at, Kind.BUTTON_DOWN, rng.randint(0, 1900), rng.randint(0, 1000), 1))
                events.append(PointerEvent(0, at + 40, Kind.BUTTON_UP, 5, 5, 1))
                at += 100
        last = n == batches - 1
        cut = len(events) if last else rng.randint(1, len(events))
        taken, events = events[: min(cut, 200)], events[min(cut, 200) :]
        yield _within_a_minute(taken), Boundary.END if last and not events else Boundary.NONE
    if events:
        yield _within_a_minute(events[:200]), Boundary.END


def typed_text(at_ms: int, text: str, app: str = "code") -> list[Event]:
    """A focus, `text` typed in it, and enter."""
    keys = [KeyEvent(0, at_ms + 10 + n * 10, Kind.PRESS, key) for n, key in enumerate([*text, "enter"])]
    return [FocusEvent(0, at_ms, Window(7, app, layout="us")), *keys]


def _typed(rng: random.Random, at: int) -> Iterator[Event]:
    word = rng.choice(SECRETS) if rng.random() < 0.12 else rng.choice(WORDS)
    keys = [*word]
    if rng.random() < 0.2:
        keys[1:1] = ["q", "z", "backspace", "backspace"]
    keys.append("enter" if rng.random() < 0.1 else " ")
    for n, key in enumerate(keys):
        yield KeyEvent(0, at + n * 40, Kind.PRESS, key)
        yield KeyEvent(0, at + n * 40 + 20, Kind.RELEASE, key)


def _within_a_minute(events: list[Event]) -> list[Event]:
    return [event for event in events if event.at_ms - events[0].at_ms < 60_000]


class Bench:
    """One partition and its topics in memory: what was committed stands, what was not is lost with a crash."""

    def __init__(self, site: Site, knowledge: Knowledge, data_key: Any = None) -> None:
        self.site, self.knowledge = site, knowledge
        self.tools = site.tools(data_key or key_for)
        self.topics: dict[str, list[Output]] = {}
        self.states: dict[bytes, bytes] = {}
        self.offset = 0
        self.restore()

    def restore(self) -> None:
        """As after kill -9."""
        self.pending: list[Output] = []
        streams = {key.decode(): self.tools.state_seal.open(key.decode(), 0, value) for key, value in self.states.items()}
        self.partition = Partition(0, 1, self.offset, streams, self.tools)

    def offer(self, *records: Received) -> None:
        for record in records:
            self.partition.accept(record, self.knowledge)
        self.step()

    def step(self) -> None:
        self.partition.step(self.knowledge, self.pending.append)

    def learn(self, topic: str, value: bytes) -> None:
        self.knowledge.learn(topic, value)
        self.partition.fence.wake()
        self.step()

    def commit(self) -> None:
        self.partition.settle(self.pending.append)
        for output in self.pending:
            if output.topic != "redactor.state.v1":
                self.topics.setdefault(output.topic, []).append(output)
            elif output.value is None:
                self.states.pop(output.key, None)
            else:
                self.states[output.key] = output.value
        self.pending.clear()
        self.offset = self.partition.committable

    def refusals(self) -> list[dict[str, Any]]:
        return [codec.decode("refusal", output.value) for output in self.topics.get("refused.v1", ())]

    def accounts(self) -> dict[bytes, dict[str, Any]]:
        return {output.key: codec.decode("account", output.value) for output in self.topics.get("account.v1", ())}

    def receipts(self, endpoint: str) -> list[dict[str, Any]]:
        """What the endpoint opens of all that stands there."""
        records = [(output.key, output.value) for output in self.topics.get("receipts.v1", ())]
        return opened_receipts(self.site, endpoint, records)

    def sanitized(self) -> list[tuple[SanitizedHeader, bytes]]:
        values = [o.value for topic, found in self.topics.items() if topic.startswith(("sanitized", "review")) for o in found]
        return opened(self.site, values)


def opened_receipts(site: Site, endpoint: str, records: Iterable[tuple[bytes | None, bytes | None]]) -> list[dict[str, Any]]:
    own = (open_receipt(site.name, receipt_key(endpoint), record, [site.sign.public_key()]) for record in records)
    return [counts for counts in own if counts is not None]


def key_for(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def opened(site: Site, values: Iterable[bytes | None], data_key: Any = key_for) -> list[tuple[SanitizedHeader, bytes]]:
    """Header and plain body of sanitized records, their signature checked."""
    found = []
    for value in values:
        batch = verify_sanitized(value, site.sign.public_key())
        found.append((batch.header, open_sanitized(batch, data_key(batch.header.key_id)).body))
    return found


Row = tuple[str, bytes, str, int, int, int, int, int, bytes]


def rows_of(found: Iterable[tuple[SanitizedHeader, bytes]]) -> list[Row]:
    """What must be the same however often the redactor was killed: everything but when and where it was read."""
    return sorted(
        (h.endpoint, h.session, h.content.value, int(h.level), h.row0, h.rows, h.seq0, h.count, body) for h, body in found
    )


def oracle(site: Site, records: Iterable[Received]) -> tuple[list[Row], dict[bytes, Account]]:
    """What an uninterrupted redactor gives for these records, all of which the fence admits; and the accounts."""
    rules, states, found = load_rules(), {}, []
    for record in records:
        batch = admitted(site, record)
        state = states.setdefault(batch.header.endpoint, EndpointState())
        found += [(out.header, out.body) for out in feed(state, batch, rules)]
    accounts = {f"{name}/{state.session.hex()}".encode(): state.account for name, state in states.items()}
    return rows_of(found), accounts


def balanced(account: Mapping[str, Any]) -> bool:
    parts = ("kept", "reviewed", "level4", "dropped", "withheld", "held")
    return bool(account["admitted"] == sum(account[part] for part in parts))
