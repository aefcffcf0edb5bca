"""What a batch costs at the endpoint and in the redactor, in the two profiles of ruling 22.

full      250 events a batch, keys only where key events are counted
ordinary  batches as an agent cuts them: two to five events after thinning, from 120 sessions in turn
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from byleave.core.batches import (
    AdmittedBatch,
    Boundary,
    Origin,
    RawHeader,
    open_raw,
    parse_raw,
    seal_raw,
    seal_sanitized,
    verify_raw,
)
from byleave.core.envelope import Binding, ContentKey, Opener, fresh_key
from byleave.core.events import EVENTS_MAX, Event, FocusEvent, KeyEvent, Kind, PointerEvent, Screen, Window
from byleave.processors.session import EndpointState, Rules, feed, load_rules
from demo.typist import type_out

Item = TypeVar("Item")
Result = TypeVar("Result")

SESSIONS = 120
SECONDS = 40
SCREEN = Screen(1920, 1080)
START_MS = 1_760_000_000_000
_TEXT = (
    "the review of the new release is planned for friday, please look at the open points before the meeting. "
    "the build is green and the tests run in two minutes. write to anna.larsen@example.com or call 415-555-0117. "
    "we should move the old cluster before the end of the month and tell the other teams about it.\n"
)


@dataclass(slots=True)
class Session:
    """One made-up endpoint, with its key material and where it stands."""

    name: str
    recipient: X25519PrivateKey = field(repr=False)
    signer: Ed25519PrivateKey = field(repr=False)
    key: ContentKey | None = None
    batch: int = 0
    seq: int = 0

    def header(self, batch: list[Event], boundary: Boundary) -> tuple[RawHeader, ContentKey]:
        count, hi_min, hi_max, now_ms = len(batch), batch[0].at_ms, batch[-1].at_ms, batch[0].at_ms
        binding = Binding(self.name, self.name.encode().ljust(16)[:16], 1, b"m" * 32, "r1")
        if self.key is None or self.key.spent(now_ms):
            self.key = fresh_key(binding, self.recipient.public_key(), now_ms, os.urandom)
        made = RawHeader(
            self.name,
            binding.session,
            1,
            self.batch,
            self.seq,
            count,
            0,
            hi_min,
            hi_max,
            b"m" * 32,
            "r1",
            self.key.wrap,
            boundary,
        )
        self.batch, self.seq = self.batch + 1, self.seq + count
        return made, self.key


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds a batch in one step, and what it held on average."""

    name: str
    batches: int
    events: int
    us_a_batch: float

    @property
    def events_a_second(self) -> float:
        return self.events / max(1e-9, self.batches * self.us_a_batch / 1e6)


def key_events(count: int, seed: int) -> list[KeyEvent]:
    """Presses and releases of a person who types `_TEXT` over and over, with slips and corrections."""
    found: list[KeyEvent] = []
    typed = type_out(_TEXT * (1 + count // (2 * len(_TEXT))), seed)
    for stroke in typed:
        key = stroke.text if stroke.kind == "char" else {"ctrl_backspace": "backspace"}.get(stroke.kind, stroke.kind)
        found += [KeyEvent(0, stroke.t_ms, Kind.PRESS, key), KeyEvent(0, stroke.t_ms + 40, Kind.RELEASE, key)]
        if len(found) >= count:
            break
    return found[:count]


def full_batches(count: int) -> list[list[Event]]:
    """`count` full batches of key events of one session. Typing is sped up, so that 250 events fit a batch's 65 seconds."""
    events: list[Event] = [FocusEvent(0, START_MS, Window(1, "code", layout="us"))]
    events += [KeyEvent(0, START_MS + e.at_ms // 4, e.kind, e.key) for e in key_events(count * EVENTS_MAX, 1)]
    ordered = sorted(events, key=lambda e: e.at_ms)
    return [ordered[n * EVENTS_MAX : (n + 1) * EVENTS_MAX] for n in range(count)]


def ordinary_batches(seed: int) -> list[list[Event]]:
    """One session's batches as an agent cuts them: a second each, a few keys and thinned moves in it."""
    typed, place = key_events(SECONDS * 10, seed), 0
    batches: list[list[Event]] = []
    for second in range(SECONDS):
        at = START_MS + second * 1_000
        batch: list[Event] = [FocusEvent(0, at, Window(1, "code", layout="us"))] if second == 0 else []
        batch += [KeyEvent(0, at + 200 + n * 90, e.kind, e.key) for n, e in enumerate(typed[place : place + 3])]
        place += 3
        batch += [PointerEvent(0, at + 600 + n * 100, Kind.MOVE, 300 + 11 * second + n, 200 + n) for n in range(second % 3)]
        batches.append(batch)
    return batches


def numbered(batch: list[Event], seq0: int) -> list[Event]:
    from dataclasses import replace

    return [replace(event, seq=seq0 + n) for n, event in enumerate(batch)]


def measure(profile: str) -> list[Cost]:
    """Costs of each step in one profile, in one run, on one core."""
    recipient = X25519PrivateKey.generate()
    if profile == "full":
        plan = [(_session("ep-0", recipient), full_batches(80))]
    else:
        plan = [(_session(f"ep-{n}", recipient), ordinary_batches(n)) for n in range(SESSIONS)]
    rounds = max(len(batches) for _, batches in plan)
    work = [
        (session, batches[n], Boundary.END if n == len(batches) - 1 else Boundary.NONE)
        for n in range(rounds)
        for session, batches in plan
        if n < len(batches)
    ]
    events = sum(len(batch) for _, batch, _ in work)

    def seal(item: tuple[Session, list[Event], Boundary]) -> tuple[Session, bytes]:
        session, batch, boundary = item
        made, key = session.header(batch, boundary)
        return session, seal_raw(made, numbered(batch, made.seq0), SCREEN, key, session.signer)

    sealed, seal_us = _timed(seal, work)
    opener, rules, states = Opener({"r1": recipient}), load_rules(), {s.name: EndpointState() for s, _ in plan}
    openable = [(session, value) for session, value in sealed]

    def open_one(item: tuple[Session, bytes]) -> AdmittedBatch:
        session, value = item
        raw = parse_raw(value)
        verify_raw(raw, session.signer.public_key())
        rows, screen = open_raw(raw, opener)
        return AdmittedBatch(
            raw.header, "subject", Origin("raw", 0, raw.header.batch, raw.header.hi_max), raw.header.hi_max, rows, screen
        )

    opened, open_us = _timed(open_one, openable)
    signer, data_key = Ed25519PrivateKey.generate(), os.urandom(32)

    def redact(batch: AdmittedBatch) -> int:
        return _redact(states[batch.header.endpoint], batch, rules, signer, data_key)

    written, redact_us = _timed(redact, opened)
    accounts = [state.account for state in states.values()]
    assert sum(written), "nothing was written: this is not the path that works"
    assert sum(account.kept for account in accounts) > events // 2, "most events did not go on: this is not the path that works"
    count = len(work)
    return [
        Cost("endpoint: pack, seal, sign", count, events, seal_us),
        Cost("redactor: parse, verify, open", count, events, open_us),
        Cost("redactor: reassemble, redact, classify, reduce, seal", count, events, redact_us),
        Cost("redactor: whole path", count, events, open_us + redact_us),
    ]


def _redact(state: EndpointState, batch: AdmittedBatch, rules: Rules, signer: Ed25519PrivateKey, data_key: bytes) -> int:
    found = feed(state, batch, rules)
    return sum(len(seal_sanitized(made, data_key, signer, os.urandom)) for made in found)


def _session(name: str, recipient: X25519PrivateKey) -> Session:
    return Session(name, recipient, Ed25519PrivateKey.generate())


def _timed(work: Callable[[Item], Result], items: list[Item]) -> tuple[list[Result], float]:
    """Results, and CPU microseconds an item of this process."""
    begin = time.process_time()
    results = [work(item) for item in items]
    return results, (time.process_time() - begin) * 1e6 / max(1, len(items))
