"""Looks for planted secrets in everything that a site leaves on disk (promise P4)."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from byleave.core.errors import Broken

FILES_MAX = 200_000
KEYS_SOUGHT = 8
"""Of a secret that lies there key by key: tables of keys name each only once, so its beginning is sought."""
FILE_BYTES_MAX = 1 << 31


@dataclass(frozen=True, slots=True)
class Hit:
    """A planted secret that was found: which (by its place in the list, never by value), in which file, at which byte."""

    secret: int
    file: Path
    offset: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """What was searched, and what was found."""

    files: int
    bytes: int
    hits: tuple[Hit, ...]


def sweep(folders: Iterable[Path], secrets: Iterable[str]) -> Sweep:
    """Searches every regular file for each secret as UTF-8 and UTF-16, upper- and lower-case forms included.

    Raises Broken if there is more than it searches: what was not searched is not free of hits.

    Encrypted bytes would hide nothing that compression hides as well, so this is evidence beside the magic bytes and the key
    tests, not instead of them.
    """
    needles = [(number, form) for number, secret in enumerate(secrets) for form in _forms(secret)]
    files = total = 0
    hits: list[Hit] = []
    for path in _files(folders):
        size = path.stat().st_size
        files, total = files + 1, total + size
        hits.extend(_search(path, size, needles))
    return Sweep(files, total, tuple(hits))


def _forms(secret: str) -> set[bytes]:
    shapes = {secret, secret.lower(), secret.upper()}
    whole = {shape.encode(encoding) for shape in shapes for encoding in ("utf-8", "utf-16-le", "utf-16-be")}
    keys = secret[:KEYS_SOUGHT]  # as single keys: Avro strings of one character, or a list in JSON
    return whole | {between.join(keys).encode() for between in ("\x02", '","', '", "', "\n")}


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    seen = 0
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                seen += 1
                if seen > FILES_MAX:
                    raise Broken(f"more than {FILES_MAX} files under {folder}: they were not all searched")
                yield path


def _search(path: Path, size: int, needles: list[tuple[int, bytes]]) -> Iterator[Hit]:
    if size > FILE_BYTES_MAX:
        raise Broken(f"{path} has {size} bytes, more than {FILE_BYTES_MAX}: it was not searched")
    if size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for start, end in _extents(file.fileno(), size):
            for number, form in needles:
                at = content.find(form, start, end)
                if at >= 0:
                    yield Hit(number, path, at)


def _extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where the file holds data. A broker's index files are megabytes of hole, which read as zeros."""
    if not hasattr(os, "SEEK_DATA"):
        yield 0, size
        return
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:  # nothing but a hole follows
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end
