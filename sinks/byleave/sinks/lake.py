"""The lake: encrypted Parquet files and a chain of snapshots that says which of them count (P4, P8; docs/formats/lake.md).

    lake/<table>/l<level>/data/<32 hex>.parquet   Parquet Modular Encryption, AES-256-GCM, a key of its own, footer sealed
    lake/snapshots/v<10 digits>.json              one per commit: files added and removed, tickets, offsets, rows of each stream
    lake/manifests/<sha-256>.dsse                 the signed manifests that the records name

Promises  offsets and rows enter in one step or not at all; of two writers on one parent exactly one wins; a file without
          encryption, of a wrong level, or with offsets that do not continue, never enters; no path or snapshot names a person.
          what is removed is unlinked once the snapshot that says so stands.
Refuses   a snapshot that does not follow its parent, a file that was changed or moved.

`Table` is all that the sink knows of it, so that another table format can take this one's place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

from byleave.core.errors import Broken, Forged, Transient
from byleave.core.keys import replace_file
from byleave.sinks.columns import EARLIER, SCHEMAS

LEVELS = (1, 2)
MAGIC = b"PARE"
"""First and last four bytes of a Parquet file with a sealed footer."""
ORPHAN_AGE_S = 3_600.0
_NAME = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")

Spans = Mapping[str, tuple[int, int]]
"""By 'topic/partition': the offset from which records were taken, and the next one."""
Streams = Mapping[str, tuple[int, int]]
"""By stream: the next row number, and the broker's stamp of the newest record."""
RecordCommit = Callable[[int, str, int], object]
"""Puts (version, digest, rows) on record; if it raises, there is no commit."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of the lake. `ticket` is its key, wrapped by the keyring."""

    table: str
    level: int
    file: str
    rows: int
    bytes: int
    manifests: tuple[str, ...]
    ticket: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One commit. `offsets`, `streams` and `discards` are whole, `added` and `removed` are this commit's; `digest` is of its
    own bytes."""

    version: int = 0
    parent: str = ""
    at_ms: int = 0
    added: tuple[DataFile, ...] = ()
    offsets: Mapping[str, int] = field(default_factory=dict)
    streams: Streams = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    """Names of files that count no more."""
    discards: Mapping[str, int] = field(default_factory=dict)
    """Orders to erase that were carried out, and the beacon service's time by then."""
    digest: str = ""


def live(snapshots: Iterable[Snapshot]) -> list[DataFile]:
    """The files that count, given every snapshot."""
    known = list(snapshots)
    removed = {name for snapshot in known for name in snapshot.removed}
    return [file for snapshot in known for file in snapshot.added if file.file not in removed]


class Table(Protocol):
    """What the sink needs of a table format."""

    def head(self) -> Snapshot:
        """The newest snapshot; version 0 of an empty lake."""

    def stage(self, table: str, level: int, file: str, rows: pa.Table, key: bytes) -> int:
        """Writes an encrypted file that does not count yet. Its size in bytes."""

    def commit(
        self, parent: Snapshot, added: Sequence[DataFile], spans: Spans, streams: Streams, at_ms: int, record: RecordCommit,
        *, removed: Sequence[str] = (), discards: Mapping[str, int] | None = None,
    ) -> Snapshot:  # fmt: skip
        """Makes files and offsets count, and what is removed count no more, all or none of it.

        Raises Transient (`conflict`) if `parent` is not the newest.
        """

    def history(self) -> Iterator[Snapshot]:
        """Every snapshot, oldest first."""

    def read(self, file: DataFile, key: bytes) -> Iterator[pa.RecordBatch]:
        """The rows of one file."""


class LocalLake:
    """`Table` in a folder. Holds no state: whatever counts is on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._snapshots, self._manifests = folder / "snapshots", folder / "manifests"

    def head(self) -> Snapshot:
        newest = max(self._snapshots.glob("v*.json"), default=None)
        return _load(newest) if newest else Snapshot()

    def history(self) -> Iterator[Snapshot]:
        """Every snapshot, oldest first. Raises Forged if one is missing or does not follow the one before."""
        parent = Snapshot()
        for path in sorted(self._snapshots.glob("v*.json")):
            snapshot = _load(path)
            if snapshot.version != parent.version + 1 or snapshot.parent != parent.digest:
                raise Forged(f"snapshot {snapshot.version} does not follow the one before it", reason="snapshot")
            yield snapshot
            parent = snapshot

    def stage(self, table: str, level: int, file: str, rows: pa.Table, key: bytes) -> int:
        path = self._path(table, level, file)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        sealing = pe.create_encryption_properties(key, aad_prefix=_aad_prefix(table, level, file), store_aad_prefix=False)
        try:
            pq.write_table(rows, path, compression="zstd", encryption_properties=sealing)
            path.chmod(0o600)
            _sync(path)
            return path.stat().st_size
        except OSError:
            path.unlink(missing_ok=True)
            raise Transient("the lake cannot be written; is its disk full?", reason="lake-disk") from None

    def commit(
        self, parent: Snapshot, added: Sequence[DataFile], spans: Spans, streams: Streams, at_ms: int, record: RecordCommit,
        *, removed: Sequence[str] = (), discards: Mapping[str, int] | None = None,
    ) -> Snapshot:  # fmt: skip
        for file in added:
            self._gate(file)
        offsets = _continued(parent.offsets, spans)
        self._snapshots.mkdir(parents=True, exist_ok=True, mode=0o700)
        done = parent.discards if discards is None else discards
        fresh = Snapshot(parent.version + 1, parent.digest, at_ms, tuple(added), offsets, streams, tuple(removed), done)
        body = _dump(fresh)
        digest = hashlib.sha256(body).hexdigest()
        path = self._snapshots / f"v{fresh.version:010}.json"
        if path.exists():
            raise _conflict(fresh.version)
        record(fresh.version, digest, sum(file.rows for file in added))
        for folder in {self._path(f.table, f.level, f.file).parent for f in added}:
            _sync(folder)
        draft = self._snapshots / f".{digest[:16]}.{os.getpid()}"
        try:
            replace_file(draft, body)
            os.link(draft, path)  # fails if the name is taken: compare-and-swap on the version, content whole from the start
            _sync(self._snapshots)
        except OSError:  # the name is taken, or the outcome is not known: both are settled by loading what is there
            raise _conflict(fresh.version) from None
        finally:
            draft.unlink(missing_ok=True)
        return _load(path)

    def read(self, file: DataFile, key: bytes, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of one file. Raises Forged: changed, moved, or another key. Broken: not there."""
        path = self._path(file.table, file.level, file.file)
        opening = pe.create_decryption_properties(key, aad_prefix=_aad_prefix(file.table, file.level, file.file))
        try:
            with pq.ParquetFile(path, decryption_properties=opening) as opened:
                found, schema = opened.schema_arrow, SCHEMAS[file.table]
                known = found.equals(schema) or found.equals(EARLIER.get(file.table, schema))
                if not (known and opened.metadata.num_rows == file.rows and _sealed(path)):
                    raise Forged(f"file {file.file} is not what its snapshot says", reason="lake-file")
                wanted = [column for column in schema if not columns or column.name in columns]
                for batch in opened.iter_batches(columns=[column.name for column in wanted if column.name in found.names]):
                    yield _widened(batch, wanted)
        except FileNotFoundError:
            raise Broken(f"file {file.file} is missing from the lake", reason="lake-file") from None
        except (OSError, pa.ArrowException):
            raise Forged(f"file {file.file} does not open: changed, moved, or another key", reason="lake-file") from None

    def keep_manifest(self, digest: str, document: bytes) -> None:
        """Keeps a signed manifest beside the records that name it."""
        path = self._manifests / f"{digest}.dsse"
        if not path.exists():
            replace_file(path, document)

    def manifest(self, digest: str) -> bytes:
        """The signed manifest as kept; whoever uses it verifies it. Raises Broken if it is missing."""
        try:
            return (self._manifests / f"{_checked(_DIGEST, digest)}.dsse").read_bytes()
        except OSError:
            raise Broken(f"manifest {digest} is missing from the lake", reason="manifest") from None

    def remove_orphans(self, now_s: float) -> int:
        """Unlinks files that a snapshot removed; and, older than `ORPHAN_AGE_S`, those of no snapshot: what a killed sink
        left, their keys are lost already."""
        snapshots = list(self.history())
        known = {self._path(f.table, f.level, f.file) for f in live(snapshots)}
        removed = {name for snapshot in snapshots for name in snapshot.removed}
        unlinked = 0
        for path in self.folder.glob("*/l*/data/*.parquet"):
            with contextlib.suppress(FileNotFoundError):
                if path not in known and (path.stem in removed or now_s - path.stat().st_mtime > ORPHAN_AGE_S):
                    path.unlink()
                    unlinked += 1
        return unlinked

    def _gate(self, file: DataFile) -> None:
        """No file counts unless it is encrypted, where it should be, and as large as it was."""
        path = self._path(file.table, file.level, file.file)
        if not _sealed(path) or path.stat().st_size != file.bytes:
            raise Broken(f"file {file.file} is not encrypted or not as it was written", reason="commit-gate")
        if not file.ticket.startswith(f"{file.level}.") or not file.manifests:
            raise Broken(f"file {file.file} has no key of its level or no manifest", reason="commit-gate")

    def _path(self, table: str, level: int, file: str) -> Path:
        if table not in SCHEMAS or level not in LEVELS:
            raise Forged("no such table or level in the lake", reason="snapshot")
        return self.folder / table / f"l{level}" / "data" / f"{_checked(_NAME, file)}.parquet"


def _widened(batch: pa.RecordBatch, wanted: Sequence[pa.Field]) -> pa.RecordBatch:
    """With the columns that the version before did not write, as null."""
    columns = [batch[c.name] if c.name in batch.schema.names else pa.nulls(batch.num_rows, c.type) for c in wanted]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(wanted))


def _sealed(path: Path) -> bool:
    """Whether its first and last bytes say encrypted; the library itself does not look at the first four."""
    with path.open("rb") as opened:
        first = opened.read(4)
        opened.seek(-4, os.SEEK_END)
        return first == opened.read(4) == MAGIC


def _continued(committed: Mapping[str, int], spans: Spans) -> dict[str, int]:
    """The new offsets. Raises Broken unless each span begins where the last commit ended."""
    offsets = dict(committed)
    for place, (start, end) in spans.items():
        if offsets.get(place, start) != start or end < start:
            raise Broken(f"{place}: offset {start} does not continue {offsets.get(place)}", reason="commit-gate")
        offsets[place] = end
    return offsets


def _conflict(version: int) -> Transient:
    return Transient(f"snapshot {version} was made by another writer, or not at all: load and build anew", reason="conflict")


def _dump(snapshot: Snapshot) -> bytes:
    fields = asdict(snapshot)
    del fields["digest"]
    return json.dumps({"format": 1, **fields}, sort_keys=True, separators=(",", ":")).encode()


def _load(path: Path) -> Snapshot:
    body = path.read_bytes()
    try:
        row = json.loads(body)
        added = tuple(DataFile(**{**file, "manifests": tuple(file["manifests"])}) for file in row.pop("added"))
        streams = {name: (int(n), int(ms)) for name, (n, ms) in row.pop("streams").items()}
        if row.pop("format") != 1 or path.name != f"v{row['version']:010}.json":
            raise ValueError
        removed = tuple(row.pop("removed", ()))
        return Snapshot(**row, added=added, streams=streams, removed=removed, digest=hashlib.sha256(body).hexdigest())
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Forged(f"{path.name} is not a snapshot", reason="snapshot") from None


def _aad_prefix(table: str, level: int, file: str) -> bytes:
    """Not stored in the file: a file in another place does not open."""
    return f"byleave/v1/{table}/{level}/{file}".encode()


def _checked(pattern: re.Pattern[str], value: Any) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Forged("a name in a snapshot points outside the lake", reason="snapshot")
    return value


def _sync(path: Path) -> None:
    """On disk before it counts; folders too, where the system lets them be opened."""
    if path.is_dir() and os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
