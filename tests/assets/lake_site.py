"""A small site for the tests of the sinks: real keys, real signed documents, real sealed records; no broker, no network.

Whatever a test reads back is compared with `expected`, which is built from the seed alone.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import trust
from byleave.control.admission import Admitted, Claim, Refuses, Waits
from byleave.control.documents import (
    Beacon,
    Consent,
    Effective,
    Enrolment,
    Halt,
    Manifest,
    Reader,
    Role,
    Root,
    Run,
    Scope,
    State,
    digest,
    dump,
)
from byleave.control.knowledge import Knowledge
from byleave.core import codec
from byleave.core.batches import Content, SanitizedBatch, SanitizedHeader, body_schema, data_key_id, seal_sanitized
from byleave.core.broker import Received
from byleave.core.events import Screen
from byleave.core.keyring import ReadRequest, ReleasedKeys
from byleave.core.keys import public_hex
from byleave.core.levels import Level
from byleave.core.rows import KEY_ROW, ActionKind, ActionRow, EventRow, KeyClass, pack_actions, pack_events
from byleave.core.targets import Target
from byleave.sinks.access import Look, read
from byleave.sinks.keyring import Keyring
from byleave.sinks.keyring_main import open_keyring
from byleave.sinks.lake import LocalLake
from byleave.sinks.orders import Standing, standing_of
from byleave.sinks.sink import Sink

NOW_MS = 1_795_500_000_000
DAY = "2026-11-24"
PURPOSE = "train-assistant"
PLANTED = "zebra-vault-917"
"""Planted in each text: it must never be found in any byte at rest."""
FAR_MS = 4_000_000_000_000


@dataclass(frozen=True)
class As:
    """The keyring as one principal sees it, in this process: the calls of `KeyringClient` without the network."""

    keyring: Keyring
    principal: str

    def data_key(self, key_id: str) -> bytes:
        return self.keyring.data_key(self.principal, key_id)

    def file_key(
        self, level: int, *, table: str, file: str, manifests: Sequence[str], key_ids: Sequence[str], endpoints: Sequence[str]
    ) -> tuple[bytes, str]:
        return self.keyring.file_key(self.principal, level=level, table=table, file=file, manifests=manifests, key_ids=key_ids,
                                     endpoints=endpoints)  # fmt: skip

    def record_commit(self, version: int, digest: str, rows: int, discarded: Mapping[str, Any] | None = None) -> int:
        return self.keyring.record_commit(self.principal, version=version, digest=digest, rows=rows, discarded=discarded)

    def erase_keys(self, halt_id: str, tickets: Sequence[str]) -> dict[str, bytes]:
        return self.keyring.erase_keys(self.principal, halt_id=halt_id, tickets=tickets)

    def release(self, request: ReadRequest) -> ReleasedKeys:
        return self.keyring.release(self.principal, request)


@dataclass
class Stream:
    """One session's rows of one topic, and how many there are."""

    topic: str
    endpoint: str
    session: bytes
    row: int = 0


@dataclass
class LakeSite:
    """Keys, documents, keyring and lake of one site in `home`."""

    home: Path
    site: str = "byleave."
    endpoints: tuple[str, ...] = ("ep-a", "ep-b", "ep-c")
    now_ms: int = NOW_MS
    signer: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    redactor: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    person: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def __post_init__(self) -> None:
        names = ("root", "halt", "resume", "manifest", "enrol", "beacon")
        roles = [Role(name, (public_hex(self.signer),), ("test",), 1, 1) for name in names]
        roles.append(Role("redactor", (public_hex(self.redactor),), ("test",), 1, 1))
        self.root = Root(self.site, 1, FAR_MS, tuple(roles))
        readers = (Reader("ml", 1, PURPOSE), Reader("ml", 2, PURPOSE), Reader("review", 3, "review"))
        kinds, purposes = ("pointer", "key", "window", "target"), (PURPOSE, "review")
        self.document = Manifest(self.site, "a test", kinds, ("xterm",), (), purposes, readers, 30, "d", "l", 0, FAR_MS)
        self.manifest = trust.sign(self.document, [self.signer])
        self.manifest_digest = trust.verify(self.root, "manifest", Manifest, self.manifest, site=self.site)[1]
        path = self.home / "trust" / "root.dsse"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(trust.sign(self.root, [self.signer]))
        self.standing = Standing(self.root, known=True)
        """What keyring and sink are told of the orders."""
        self.lake = LocalLake(self.home / "lake")
        self.lake.keep_manifest(self.manifest_digest, self.manifest)
        self.expected: dict[str, list[tuple[str, int, str]]] = {"events": [], "actions": []}

    def subject(self, endpoint: str) -> str:
        return endpoint.replace("ep-", "person-")

    def documents(self) -> list[tuple[str, bytes, bytes]]:
        """What the control topics must hold for every endpoint to be admitted: topic without site, key, value."""
        run = (Run(Scope("global"), self.manifest_digest, "r1", "00" * 32),)
        state = State(self.site, 1, "", 1, self.now_ms - 3_600_000, self.now_ms + 86_400_000, run, ())
        found = [("control.manifest.v1", self.manifest_digest.encode(), self.manifest),
                 ("control.state.v1", self.site.encode(), trust.sign(state, [self.signer]))]  # fmt: skip
        for endpoint in self.endpoints:
            key, subject = public_hex(Ed25519PrivateKey.generate()), self.subject(endpoint)
            enrolment = Enrolment(self.site, endpoint, key, subject, public_hex(self.person), "team", FAR_MS)
            consent = Consent(self.site, subject, self.manifest_digest, True, 1)
            found.append(("control.enrolment.v1", endpoint.encode(), trust.sign(enrolment, [self.signer])))
            found.append(("control.consent.v1", subject.encode(), trust.sign(consent, [self.person])))
        beacon = Beacon(self.site, 1, digest(dump(state)), self.now_ms + 1_000, 1, 10_000, ())
        return [*found, ("control.beacon.v1", self.site.encode(), trust.sign(beacon, [self.signer]))]

    def knowledge(self) -> Knowledge:
        """All documents read."""
        knowledge = Knowledge(self.root, self.site)
        for topic, _, value in self.documents():
            knowledge.learn(topic, value)
        return knowledge

    def order(self, scope: Scope, what: str, discard_since_ms: int = 0) -> tuple[str, bytes]:
        """A signed order to stop, and its id."""
        halt = Halt(self.site, scope, what, "test", "drop", self.now_ms, 60_000, os.urandom(4).hex(), discard_since_ms)
        return digest(dump(halt)), trust.sign(halt, [self.signer])

    def beacon(self, knowledge: Knowledge, service_ms: int, **effective_ms: int) -> bytes:
        """A beacon that vouches for the newest state and names orders by id."""
        halts = tuple(Effective(halt_id, at_ms) for halt_id, at_ms in effective_ms.items())
        epoch = knowledge.state.epoch if knowledge.state else 1
        return trust.sign(
            Beacon(self.site, epoch, knowledge.state_digest, service_ms, service_ms, 10_000, halts), [self.signer]
        )

    def hear(self, knowledge: Knowledge, scope: Scope, what: str, effective_ms: int, discard_since_ms: int = 0) -> str:
        """An order is read and in effect; keyring and sink are told. Returns its id."""
        halt_id, order = self.order(scope, what, discard_since_ms)
        knowledge.learn("control.halt.v1", order)
        heard_ms = max(effective_ms, knowledge.beacon.service_ms if knowledge.beacon else 0) + 1
        knowledge.learn("control.beacon.v1", self.beacon(knowledge, heard_ms, **{halt_id: effective_ms}))
        self.standing = standing_of(knowledge, caught_up=True)
        return halt_id

    def keyring(self, now_ms: Callable[[], int] | None = None) -> Keyring:
        return open_keyring(self.home, lambda: self.standing, now_ms=now_ms or (lambda: self.now_ms))

    def sink(
        self, keyring: Keyring, fence: Callable[[Claim], Admitted | Waits | Refuses] | None = None
    ) -> tuple[Sink, list[str]]:
        """A sink on this lake, and the reasons of what it refuses, as they come."""
        reasons: list[str] = []
        refuse = lambda _record, reason, _header: reasons.append(reason)  # noqa: E731
        always = fence or (lambda _: Admitted(self.now_ms))
        redactor = [self.redactor.public_key()]
        sink = Sink(self.lake, As(keyring, "sink"), redactor, always, refuse, site=self.site, random_bytes=os.urandom,
                    standing=lambda: self.standing, manifests=lambda: {self.manifest_digest: self.document})  # fmt: skip
        return sink, reasons

    def value(
        self, stream: Stream, count: int, key: bytes, seed: int, *, expect: bool = True,
        signer: Ed25519PrivateKey | None = None, **changes: object,
    ) -> bytes:  # fmt: skip
        """A sealed, signed record with the next rows of a stream."""
        content = Content.EVENTS if "events" in stream.topic else Content.ACTIONS
        level = Level(int(stream.topic.split(".l")[1][0]))
        subject, table = self.subject(stream.endpoint), content.value.lower()
        record, texts = _body(content, count, seed, self.now_ms)
        fields: dict[str, object] = {
            "endpoint": stream.endpoint, "session": stream.session, "subject": subject, "epoch": 1, "content": content,
            "level": level, "key_id": data_key_id(subject, DAY, level), "rows": count, "row0": stream.row, "seq0": 0,
            "count": count, "hi_min": self.now_ms - 1_000, "hi_max": self.now_ms, "raw_topic": f"{self.site}raw.events.v1",
            "raw_partition": 0, "raw_offset": seed, "raw_append_ms": self.now_ms,
            "manifest": bytes.fromhex(self.manifest_digest), "policy": "00" * 32, "t_star": self.now_ms,
        }  # fmt: skip
        header = SanitizedHeader(**{**fields, **changes})  # type: ignore[arg-type]  # a test may change any field
        batch = SanitizedBatch(header, codec.encode_body(body_schema(content), record))
        if expect:
            self.expected[table] += [(stream.session.hex(), stream.row + n, text) for n, text in enumerate(texts)]
        stream.row += count
        return seal_sanitized(batch, key, signer or self.redactor, os.urandom)

    def received(self, stream: Stream, value: bytes, offset: int, partition: int = 0) -> Received:
        return Received(f"{self.site}{stream.topic}", partition, offset, self.now_ms, stream.endpoint.encode(), value)

    def look(self, table: str, level: int = 2, columns: tuple[str, ...] = (), purpose: str = PURPOSE) -> Look:
        return Look("ann", purpose, table, level, columns)

    def rows(self, keyring: Keyring, look: Look, principal: str = "ml") -> list[dict[str, object]]:
        return [row for batch in read(self.lake, As(keyring, principal), look, lambda: 0.0) for row in batch.to_pylist()]

    def found(self, keyring: Keyring, table: str) -> list[tuple[str, int, str]]:
        """What the lake holds, in the form of `expected`."""
        rows = self.rows(keyring, self.look(table))
        return [(row["session"].hex(), row["row"], row["text"] if table == "actions" else row["kind"]) for row in rows]  # type: ignore[attr-defined, misc]


def files_with(folder: Path, needle: bytes) -> list[Path]:
    """Every file under `folder` whose bytes hold `needle`."""
    return [path for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]


def _body(content: Content, rows: int, seed: int, at_ms: int) -> tuple[codec.Record, list[str]]:
    made = random.Random(seed)
    if content is Content.ACTIONS:
        texts = [f"{PLANTED} {seed} {n}" for n in range(rows)]
        targets = [Target("button", 1, 2, 30, 40, f"{PLANTED} label {n}") if n % 2 else None for n in range(rows)]
        return pack_actions([
            ActionRow(ActionKind.TYPE, at_ms, at_ms + 100, "editor", text=text, target=target)
            for text, target in zip(texts, targets, strict=True)
        ]), texts  # fmt: skip
    events = [EventRow(at_ms + n, made.choice([0, 1, 2, 3, KEY_ROW]), "terminal", made.randrange(1920), made.randrange(1080),
                       key_class=KeyClass.CHAR) for n in range(rows)]  # fmt: skip
    kinds = {0: "move", 1: "button_down", 2: "button_up", 3: "scroll", KEY_ROW: "key"}
    return pack_events(events, Screen(1920, 1080)), [kinds[event.kind] for event in events]
