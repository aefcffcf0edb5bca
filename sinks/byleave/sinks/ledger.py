"""The record of looks: append-only JSON lines, each chained to the one before (P6; docs/formats/lake.md, "Ledger").

    leaf   SHA-256(0x00 || canonical JSON of index, at_ms, entry)          the leaf hash of RFC 6962, 2.1
    hash   SHA-256(0x01 || hash of the line before || leaf)

Promises  an entry is on disk before `append` returns; an edit, a deletion, a reordering or a truncation shows in `verify`.
Refuses   to append to a ledger that does not verify, or after a write whose outcome is unknown.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from byleave.core.errors import Broken, Forged
from byleave.core.keys import replace_file

GENESIS = hashlib.sha256(b"byleave/v1/ledger").hexdigest()
LINE_BYTES_MAX = 4 << 20


@dataclass(frozen=True, slots=True)
class Head:
    """How many entries there are, and the hash of the last: whoever remembers one notices what is taken away."""

    size: int
    hash: str

    def __str__(self) -> str:
        return f"{self.size}:{self.hash}"


@dataclass(frozen=True, slots=True)
class Line:
    """One verified line."""

    index: int
    at_ms: int
    entry: dict[str, Any]
    hash: str


class Ledger:
    """The writing side; one process owns it (the keyring). Verifies the whole file when it opens."""

    def __init__(self, folder: Path) -> None:
        """Raises Forged if what is there does not verify against its head."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path, self._head_path = folder / "ledger.jsonl", folder / "head"
        remembered = read_head(folder)
        self.head = Head(0, GENESIS)
        for line in verify(folder, remembered):
            self.head = Head(line.index + 1, line.hash)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        self._file = self._path.open("r+b", buffering=0)
        self._bytes = sum(len(raw) + 1 for raw in _lines(self._path))
        self._file.truncate(self._bytes)  # a torn last line was never answered for
        replace_file(self._head_path, f"{self.head}\n".encode())

    def append(self, entry: dict[str, Any], at_ms: int) -> int:
        """The index of the entry, once it is on disk. Raises Broken (`ledger`) if it is not: then nothing may be released."""
        index = self.head.size
        leaf = _leaf(index, at_ms, entry)
        fresh = Head(index + 1, _chain(self.head.hash, leaf))
        text = _canonical({"index": index, "at_ms": at_ms, "entry": entry, "prev": self.head.hash, "hash": fresh.hash}) + b"\n"
        if len(text) > LINE_BYTES_MAX:
            raise Broken(f"a ledger entry of {len(text)} bytes, at most {LINE_BYTES_MAX}", reason="ledger")
        try:
            self._file.truncate(self._bytes)  # drops what an earlier failed write may have left
            self._file.seek(self._bytes)
            if self._file.write(text) != len(text):
                raise OSError
            os.fsync(self._file.fileno())
            replace_file(self._head_path, f"{fresh}\n".encode())
        except OSError:
            raise Broken("the ledger cannot be written: nothing is released", reason="ledger") from None
        self.head, self._bytes = fresh, self._bytes + len(text)
        return index

    def close(self) -> None:
        self._file.close()


def verify(folder: Path, remembered: Head | None = None) -> Iterator[Line]:
    """Every line, checked; and at the end that the remembered head lies on this chain.

    Raises Forged (`ledger`): a line edited, missing, out of order, or fewer lines than remembered. The check of the head
    happens at the end of the iteration.
    """
    previous, size, seen = GENESIS, 0, remembered is None or remembered == Head(0, GENESIS)
    for raw in _lines(folder / "ledger.jsonl"):
        try:
            row = json.loads(raw)
            leaf = _leaf(row["index"], row["at_ms"], row["entry"])
            honest = row["index"] == size and row["prev"] == previous and row["hash"] == _chain(previous, leaf)
            honest = honest and _canonical(row) == raw
        except (ValueError, KeyError, TypeError, RecursionError):
            honest = False
        if not honest:
            raise Forged(f"ledger line {size} is not what was written", reason="ledger")
        previous, size = row["hash"], size + 1
        seen = seen or Head(size, previous) == remembered
        yield Line(row["index"], row["at_ms"], row["entry"], previous)
    if not seen:
        raise Forged(f"the ledger of {size} entries does not contain the remembered head", reason="ledger")


def read_head(folder: Path) -> Head | None:
    """The remembered head; None for a new ledger. Raises Forged if it is not one, or was taken away."""
    path = folder / "head"
    if path.exists():
        return parse_head(path.read_text(encoding="ascii", errors="replace").strip())
    if len(list(islice(_lines(folder / "ledger.jsonl"), 2))) == 2:  # one line may have come before the first head
        raise Forged("the head of the ledger is missing", reason="ledger")
    return None


def parse_head(text: str) -> Head:
    """The reverse of `str(head)`. Raises Forged."""
    size, _, digest = text.partition(":")
    if not size.isdigit() or len(digest) != 64:
        raise Forged("a ledger head is 'size:hash'", reason="ledger")
    return Head(int(size), digest)


def _lines(path: Path) -> Iterator[bytes]:
    """The whole lines, without their ends."""
    if not path.exists():
        return
    with path.open("rb") as file:
        while raw := file.readline(LINE_BYTES_MAX + 1):
            if raw.endswith(b"\n"):
                yield raw[:-1]
            elif len(raw) > LINE_BYTES_MAX:
                raise Forged("a ledger line is too long", reason="ledger")


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _leaf(index: int, at_ms: int, entry: dict[str, Any]) -> bytes:
    return hashlib.sha256(b"\x00" + _canonical({"index": index, "at_ms": at_ms, "entry": entry})).digest()


def _chain(previous: str, leaf: bytes) -> str:
    return hashlib.sha256(b"\x01" + bytes.fromhex(previous) + leaf).hexdigest()
