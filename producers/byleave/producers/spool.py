"""Sealed batches wait here for the broker, first in, first out per session (ruling 21).

    spool/<number>-<session>/header         32 bytes SHA-256 of the rest, then the session's header, without content
                             count          numbers given out and acknowledged, and a digest: written over in place
                             <batch>.raw    32 bytes SHA-256 of the rest, then the sealed Kafka value
    spool/sealed-<number>-<session>         set aside by an order

Promises  what was kept is on disk, whole, before it is sent, and stays until the broker has it. A number that was given out and
          is not there any more (killed, torn, expired, no room) is declared: in its place goes a signed batch that holds only a
          gap, so that what follows is not refused. The spool never grows beyond its bound. Nothing in it opens here.
Refuses   a batch for which there is no room, and says `full` until there is some. A sealed session is never sent.

After a power failure, unlike a kill, `count` may be older than the truth. Then too much is declared, and the redactor refuses
that as a copy, whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import struct
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.core import codec
from byleave.core.batches import RAW_BYTES_MAX, Boundary, RawHeader, load_raw_header, parse_raw, seal_raw
from byleave.core.envelope import Binding, ContentKey
from byleave.core.errors import Broken, Forged
from byleave.core.events import Screen
from byleave.producers.batch import Cut

BYTES_MAX = 64 << 20
AGE_MS_MAX = 12 * 3_600_000
"""Longest age of what is sent (ruling 21); older batches the fence would refuse."""
_DIGEST_BYTES = 32
_COUNT = struct.Struct(">4q")


@dataclass(slots=True, eq=False)
class Session:
    """A run window's part of the spool. `given`: one past the last number given out; `acked`: one past the last that the broker
    has, in the batches before `acked_batch`; `hi_max`: permit time of the last number."""

    folder: Path
    header: RawHeader = field(repr=False)
    given: int = 0
    acked: int = 0
    acked_batch: int = 0
    hi_max: int = 0
    waiting: int = 0

    def write_count(self) -> None:
        """In place, so that it needs no room. Raises OSError."""
        count = _COUNT.pack(self.given, self.acked, self.acked_batch, self.hi_max)
        with (self.folder / "count").open("r+b", buffering=0) as file:
            file.write(count + _digest(count))


@dataclass(frozen=True, slots=True)
class Entry:
    """One waiting batch: the numbers `first` to `end`, of which `events` are in it. Without a path it is a gap."""

    session: Session
    path: Path | None
    batch: int
    first: int
    end: int
    events: int
    hi_min: int
    hi_max: int
    size: int

    def gap(self) -> Entry:
        return replace(self, path=None, events=0, size=0)


class Spool:
    """The spool of one endpoint. One process at a time. `signer` signs the gaps.

    `torn` counts damaged files, `expired` events that grew too old, `unsaved` numbers found missing after a kill.
    """

    def __init__(self, folder: Path, signer: Ed25519PrivateKey, bytes_max: int = BYTES_MAX) -> None:
        self._folder, self._signer, self._bytes_max = folder, signer, bytes_max
        self._room_bytes = min(RAW_BYTES_MAX, bytes_max // 4)
        self._waiting: deque[Entry] = deque()
        self._session: Session | None = None
        self._kept = self._batch = self._number = 0
        self.bytes = self.torn = self.expired = self.unsaved = 0
        self.full = False
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for draft in [*folder.rglob("*.new"), *folder.glob("room")]:
            self.torn += draft.suffixes[:1] == [".raw"]
            draft.unlink()
        self.bytes = sum(path.stat().st_size for path in folder.glob("sealed-*/*.raw"))
        for place in self._folders():
            self._recover(place)

    @property
    def waiting(self) -> int:
        """Batches not acknowledged yet, gaps among them."""
        return len(self._waiting)

    @property
    def waiting_events(self) -> int:
        return sum(entry.events for entry in self._waiting)

    def entry(self, place: int) -> Entry | None:
        """The batch at `place` from the oldest, 0 first."""
        return self._waiting[place] if place < len(self._waiting) else None

    def value(self, entry: Entry) -> bytes:
        """The Kafka value: the sealed batch, or a signed gap. Raises Forged if the file is not what was written."""
        if entry.path is not None:
            return _read_whole(entry.path)
        header = replace(
            entry.session.header, batch=entry.batch, seq0=entry.end, gap=entry.end - entry.first, hi_min=entry.hi_max,
            hi_max=entry.hi_max,
        )  # fmt: skip
        return seal_raw(header, (), Screen(0, 0), ContentKey(b"", {}, 0), self._signer)

    def open_session(self, binding: Binding) -> None:
        """What is kept from now on belongs to this session, behind all earlier ones. Raises OSError."""
        left, self._session, self._kept, self._batch = self._session, None, 0, 0
        if left is not None:  # no source opened for it
            self._forget_if_done(left)
        self._number += 1
        header = RawHeader(
            binding.endpoint, binding.session, binding.epoch, 0, 0, 0, 0, 0, 0, binding.manifest, binding.key_id, b""
        )  # fmt: skip
        opened = Session(self._folder / f"{self._number:08d}-{binding.session.hex()}", header)
        try:
            opened.folder.mkdir(mode=0o700)
            body = codec.encode_body("raw_header", header.record())
            _write_whole(opened.folder / "count", bytes(_COUNT.size + _DIGEST_BYTES))
            _write_whole(opened.folder / "header", _digest(body) + body)
        except OSError:
            self.full = True
            raise
        self._session = opened

    def keep(self, cut: Cut, value: bytes) -> bool:
        """Writes a batch; False when there is no room for it, in the bound or on the disk. It is durable when this returns."""
        size, session = _DIGEST_BYTES + len(value), self._session
        if session is None:
            raise Broken("a batch without a session")
        path = session.folder / f"{cut.batch:010d}.raw"
        try:
            if self.bytes + size > self._bytes_max:
                raise OSError("the bound is reached")
            _write_whole(path, _digest(value) + value)
        except OSError:  # a full or failing disk is no room
            self.full = True
            return False
        entry = _entry(session, path, size, cut, len(cut.events), cut.seq0 + len(cut.events))
        self._add(entry)
        self._kept, self._batch = entry.end, cut.batch + 1
        return True

    def note(self, given: int, hi_max: int) -> None:
        """Numbers below `given` were given out: known to the next process, whatever becomes of this one."""
        session = self._session
        if session is None or session.given == given:
            return
        session.given, session.hi_max = given, hi_max
        try:
            session.write_count()
        except OSError:
            self.full = True

    def close_session(self, given: int, hi_max: int) -> None:
        """Nothing more comes; what was given out and not kept is declared."""
        self.note(given, hi_max)
        session, self._session = self._session, None
        if session is not None and given > self._kept:
            self._add(_gap(session, self._batch, self._kept, given, hi_max))
        elif session is not None:
            self._forget_if_done(session)

    def find_room(self) -> None:
        """Looks whether a batch of any size has room again: `full` until it has."""
        try:
            if self.bytes + self._room_bytes <= self._bytes_max:
                _write_whole(self._folder / "room", bytes(self._room_bytes))
                self.full = False
        except OSError:
            self.full = True
        (self._folder / "room").unlink(missing_ok=True)

    def acknowledge(self) -> None:
        """The broker has the oldest batch: it is forgotten here."""
        entry = self._waiting.popleft()
        session = entry.session
        session.acked, session.acked_batch = entry.end, entry.batch + 1
        with contextlib.suppress(OSError):  # then it is sent once more, and refused as a copy
            session.write_count()
        self._forget(entry)

    def discard_torn(self) -> None:
        """The oldest batch was found damaged when it was to be sent: a gap takes its place."""
        self.torn += 1
        entry = self._waiting.popleft()
        self._forget(entry, done=False)
        self._put_gap(entry.gap())

    def expire(self, now_ms: int) -> None:
        """What is older than AGE_MS_MAX at permit time `now_ms` gives its place to a gap."""
        gaps: list[Entry] = []
        while self._waiting and self._waiting[0].hi_max < now_ms - AGE_MS_MAX:
            entry = self._waiting.popleft()
            self.expired += entry.events
            first = gaps.pop().first if gaps and gaps[-1].session is entry.session else entry.first
            gaps.append(replace(entry.gap(), first=first))
            self._forget(entry, done=False)
        for gap in reversed(gaps):
            self._put_gap(gap)

    def drop(self) -> None:
        """Removes everything, sealed sessions included (halt with buffer: drop). Raises OSError if something stays."""
        for folder in [*self._folders(), *self._folder.glob("sealed-*")]:
            shutil.rmtree(folder)
        self._waiting.clear()
        self.bytes, self._session = 0, None

    def seal(self) -> None:
        """Sets everything aside: it stays, counts against the bound, and is never sent by this endpoint (buffer: seal)."""
        for folder in self._folders():
            folder.rename(folder.with_name(f"sealed-{folder.name}"))  # needs no room
        self._waiting.clear()
        self._session = None

    def _folders(self) -> list[Path]:
        return sorted(p for p in self._folder.iterdir() if p.is_dir() and p.name[:8].isdigit())

    def _add(self, entry: Entry, *, first: bool = False) -> None:
        entry.session.waiting += 1
        self.bytes += entry.size
        (self._waiting.appendleft if first else self._waiting.append)(entry)

    def _put_gap(self, gap: Entry) -> None:
        if gap.end > gap.first:
            self._add(gap, first=True)
        else:  # it held nothing
            self._forget_if_done(gap.session)

    def _forget(self, entry: Entry, *, done: bool = True) -> None:
        if entry.path is not None:
            entry.path.unlink(missing_ok=True)
        self.bytes -= entry.size
        entry.session.waiting -= 1
        if done:
            self._forget_if_done(entry.session)

    def _forget_if_done(self, session: Session) -> None:
        if not session.waiting and session is not self._session:
            shutil.rmtree(session.folder, ignore_errors=True)

    def _recover(self, folder: Path) -> None:
        """Takes up what a former process left: whole batches in their order, and gaps where numbers are missing."""
        self._number = max(self._number, int(folder.name[:8]))
        paths = sorted(folder.glob("*.raw"))
        found = {path: header for path in paths if (header := _read_header(path)) is not None}
        for path in paths:
            if path not in found:
                path.unlink()
                self.torn += 1
        session = _read_session(folder, found.values())
        if session is None:
            shutil.rmtree(folder, ignore_errors=True)
            return
        for entry in _without_holes(session, found):
            if entry.path is None:
                self.unsaved += entry.end - entry.first
            self._add(entry)
        self._forget_if_done(session)


def _without_holes(session: Session, found: dict[Path, RawHeader]) -> Iterator[Entry]:
    due, batch = session.acked, session.acked_batch
    for path, header in found.items():
        if header.batch < session.acked_batch:  # killed between the acknowledgement and its removal
            path.unlink()
            continue
        entry = _entry(session, path, path.stat().st_size, header, header.count, header.seq_end)
        if entry.first > due:
            yield _gap(session, batch, due, entry.first, header.hi_min)
        yield entry
        due, batch = entry.end, entry.batch + 1
    if session.given > due:
        yield _gap(session, batch, due, session.given, session.hi_max)


def _entry(session: Session, path: Path, size: int, at: Cut | RawHeader, events: int, end: int) -> Entry:
    return Entry(session, path, at.batch, at.seq0 - at.gap, end, events, at.hi_min, at.hi_max, size)


def _gap(session: Session, batch: int, first: int, end: int, hi_max: int) -> Entry:
    return Entry(session, None, batch, first, end, 0, hi_max, hi_max, 0)


def _read_session(folder: Path, found: Iterable[RawHeader]) -> Session | None:
    """By its own files, or what the first batch tells; None if neither does."""
    first = next(iter(found), None)
    try:
        header = load_raw_header(_read_whole(folder / "header"))
    except Forged:
        if first is None:
            return None
        header = replace(first, wrap=b"", count=0, boundary=Boundary.NONE)
    read = (folder / "count").read_bytes() if (folder / "count").exists() else b""
    count, digest = read[: _COUNT.size], read[_COUNT.size :]
    if len(count) == _COUNT.size and digest == _digest(count):
        return Session(folder, header, *_COUNT.unpack(count))
    at = first.seq0 - first.gap if first else 0  # damaged, or never written
    return Session(folder, header, at, at)


def _read_header(path: Path) -> RawHeader | None:
    try:
        return parse_raw(_read_whole(path)).header
    except Forged:
        return None


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _read_whole(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise Forged(f"{path.name} cannot be read ({type(error).__name__})", reason="torn") from None
    if _digest(raw[_DIGEST_BYTES:]) != raw[:_DIGEST_BYTES]:
        raise Forged(f"{path.name} is not what was written", reason="torn")
    return raw[_DIGEST_BYTES:]


def _write_whole(path: Path, content: bytes) -> None:
    """On disk under its name only when whole: written beside, synced, renamed, and the rename synced; else nothing is left."""
    draft = path.with_suffix(f"{path.suffix}.new")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb", buffering=0) as file:
            if file.write(content) != len(content):
                raise OSError("only a part had room")
            os.fsync(file.fileno())
        draft.replace(path)
        if os.name == "posix":
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError:
        for left in (draft, path):
            with contextlib.suppress(OSError):
                left.unlink()
        raise
