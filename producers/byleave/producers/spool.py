"""Sealed batches wait here for the broker, first in, first out per session (ruling 21).

    spool/<number>-<session>/<batch>.raw     32 bytes SHA-256 of the rest, then the sealed Kafka value

Promises  what was kept is on disk, whole, before it is sent, and stays until the broker has it; a torn file is found by its
          digest, counted and removed; the spool never grows beyond its bound; nothing here can be opened on this machine.
Refuses   a batch for which there is no room: the caller declares it as a gap. A sealed session (halt) is never sent.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from byleave.core.batches import parse_raw
from byleave.core.errors import Broken, Forged

BYTES_MAX = 64 << 20
AGE_MS_MAX = 12 * 3_600_000
"""Longest age of what is sent (ruling 21); older batches the fence would refuse."""
_DIGEST_BYTES = 32
_SEALED = "sealed"


@dataclass(frozen=True, slots=True)
class Entry:
    """One waiting batch. `hi_max` is its last permit time, for its age."""

    path: Path
    size: int
    events: int
    hi_max: int

    def value(self) -> bytes:
        """The sealed Kafka value. Raises Forged if the file is not what was written."""
        try:
            raw = self.path.read_bytes()
        except OSError as error:
            raise Forged(f"{self.path.name} cannot be read ({type(error).__name__})", reason="torn") from None
        if hashlib.sha256(raw[_DIGEST_BYTES:]).digest() != raw[:_DIGEST_BYTES]:
            raise Forged(f"{self.path.name} is not what was written", reason="torn")
        return raw[_DIGEST_BYTES:]


class Spool:
    """The spool of one endpoint. One process at a time.

    `torn` and `expired` count what was found damaged or too old; both are losses that the redactor sees as a missing range.
    """

    def __init__(self, folder: Path, bytes_max: int = BYTES_MAX) -> None:
        self._folder, self._bytes_max = folder, bytes_max
        self._waiting: deque[Entry] = deque()
        self._session: Path | None = None
        self._number = 0
        self.bytes = 0
        self.torn = 0
        self.expired = 0
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._recover()

    @property
    def waiting(self) -> int:
        """Batches not acknowledged yet."""
        return len(self._waiting)

    @property
    def waiting_events(self) -> int:
        return sum(entry.events for entry in self._waiting)

    def entry(self, place: int) -> Entry | None:
        """The batch at `place` from the oldest, 0 first."""
        return self._waiting[place] if place < len(self._waiting) else None

    def open_session(self, session: bytes) -> None:
        """What is kept from now on belongs to `session`, behind all earlier ones."""
        self._number += 1
        self._session = self._folder / f"{self._number:08d}-{session.hex()}"
        self._session.mkdir(mode=0o700)

    def keep(self, batch: int, value: bytes, events: int, hi_max: int) -> bool:
        """Writes a batch; False when there is no room for it, in the bound or on the disk. It is durable when this returns."""
        size = _DIGEST_BYTES + len(value)
        if self._session is None:
            raise Broken("a batch without a session")
        if self.bytes + size > self._bytes_max:
            return False
        path = self._session / f"{batch:010d}.raw"
        try:
            _write_whole(path, hashlib.sha256(value).digest() + value)
        except OSError:  # a full or failing disk is no room
            with contextlib.suppress(OSError):
                path.with_suffix(".new").unlink()
            return False
        self._waiting.append(Entry(path, size, events, hi_max))
        self.bytes += size
        return True

    def acknowledge(self) -> None:
        """The broker has the oldest batch: it is forgotten here."""
        self._forget(self._waiting.popleft())

    def discard_torn(self) -> None:
        """Forgets the oldest batch, found damaged when it was to be sent."""
        self.torn += 1
        self._forget(self._waiting.popleft())

    def expire(self, now_ms: int) -> None:
        """Forgets what is older than AGE_MS_MAX at permit time `now_ms`."""
        while self._waiting and self._waiting[0].hi_max < now_ms - AGE_MS_MAX:
            self.expired += self._waiting[0].events
            self._forget(self._waiting.popleft())

    def drop(self) -> None:
        """Removes everything, sealed sessions included (halt with buffer: drop)."""
        for folder in self._folders():
            shutil.rmtree(folder, ignore_errors=True)
        self._waiting.clear()
        self.bytes, self._session = 0, None

    def seal(self) -> None:
        """Sets everything aside: it stays, counts against the bound, and is never sent by this endpoint (buffer: seal)."""
        for folder in self._folders():
            _write_whole(folder / _SEALED, b"")
        self._waiting.clear()
        self._session = None

    def _folders(self) -> list[Path]:
        return sorted(p for p in self._folder.iterdir() if p.is_dir() and p.name[:8].isdigit())

    def _forget(self, entry: Entry) -> None:
        entry.path.unlink(missing_ok=True)
        self.bytes -= entry.size
        if entry.path.parent != self._session:
            with contextlib.suppress(OSError):
                entry.path.parent.rmdir()  # only when it was the last

    def _recover(self) -> None:
        """Takes up what a former process left: whole batches in their order; drafts and torn files go."""
        for folder in self._folders():
            self._number = max(self._number, int(folder.name[:8]))
            sealed = (folder / _SEALED).exists()
            for draft in folder.glob("*.new"):
                draft.unlink()
                self.torn += 1
            for path in sorted(folder.glob("*.raw")):
                entry = _read_entry(path)
                if entry is None:
                    path.unlink()
                    self.torn += 1
                    continue
                self.bytes += entry.size
                if not sealed:
                    self._waiting.append(entry)
            with contextlib.suppress(OSError):
                folder.rmdir()


def _read_entry(path: Path) -> Entry | None:
    entry = Entry(path, path.stat().st_size, 0, 0)
    try:
        header = parse_raw(entry.value()).header
    except Forged:
        return None
    return Entry(path, entry.size, header.count, header.hi_max)


def _write_whole(path: Path, content: bytes) -> None:
    """On disk under its name only when whole: written beside, synced, renamed, and the rename synced."""
    draft = path.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
