"""A look at the lake: ask the keyring, which puts it on record, then read (P3, P6, P7; rulings 12, 13, 15).

Promises  no row before the entry; keys are used for at most a lease and asked for again, so that a halt of reads ends a running
          iteration; text under a destroyed key comes out as null, the other columns as they are.
Refuses   what the keyring refuses. There is no way to ask for one person's rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from byleave.core.errors import Refused
from byleave.core.keyring import LEASE_S_MAX, SEALED_COLUMNS, KeyringClient, ReadRequest, ReleasedKeys
from byleave.sinks.columns import SCHEMAS, open_text
from byleave.sinks.keyring import FILES_MAX
from byleave.sinks.lake import DataFile, LocalLake, Snapshot, live

TICKET_BYTES_MAX = 4 << 20
"""Tickets in one question."""
_ROW_IDENTITY = ("endpoint", "session", "level", "row", "key_id")
"""What a sealed text is tied to; read beside it, and dropped unless asked for."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Look:
    """Who wants to see what, and why. Levels up to and including `level`; no `columns` means all."""

    person: str
    purpose: str
    table: str
    level: int
    columns: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        """The columns, checked. Raises Refused: no such table or column."""
        if self.table not in SCHEMAS:
            raise Refused(f"no table {self.table}; there are {', '.join(SCHEMAS)}", reason="malformed")
        unknown = [name for name in self.columns if name not in SCHEMAS[self.table].names]
        if unknown:
            raise Refused(f"table {self.table} has no column {unknown[0]}", reason="malformed")
        return self.columns or tuple(SCHEMAS[self.table].names)

    def schema(self) -> pa.Schema:
        """What `read` gives: as stored, but text is text."""
        fields = [SCHEMAS[self.table].field(name) for name in self.names()]
        return pa.schema([pa.field(f.name, pa.string()) if f.name in SEALED_COLUMNS else f for f in fields])


def read(lake: LocalLake, keyring: KeyringClient, look: Look, clock_s: Clock) -> Iterator[pa.RecordBatch]:
    """The rows of a look, file by file. `clock_s` is a clock that does not run back, for leases.

    Raises Refused: not allowed, on record as such. Forged: a file, a snapshot or a text is not what was written.
    """
    snapshots = list(lake.history())
    files = [file for file in live(snapshots) if file.table == look.table and file.level <= look.level]
    stored = _stored(look.names())
    for group in groups(files):
        lease = _Lease(lake, keyring, look, snapshots[-1], clock_s)
        for n, file in enumerate(group):
            batches = lake.read(file, lease.keys(group[n:]).files[file.file], stored)
            for batch in batches:
                yield _plain(batch, look, lease.keys(group[n:]))


class _Lease:
    """Released keys and their end."""

    def __init__(self, lake: LocalLake, keyring: KeyringClient, look: Look, snapshot: Snapshot, clock_s: Clock) -> None:
        self._lake, self._keyring, self._look, self._snapshot, self._clock_s = lake, keyring, look, snapshot, clock_s
        self._until_s = 0.0
        self._keys: ReleasedKeys | None = None

    def keys(self, rest: Sequence[DataFile]) -> ReleasedKeys:
        """Keys for what is left to read, asked for anew when the lease is over."""
        if self._keys is None or self._clock_s() >= self._until_s:
            asked_s = self._clock_s()
            self._keys = self._keyring.release(self._request(rest))
            self._until_s = asked_s + LEASE_S_MAX
        return self._keys

    def _request(self, files: Sequence[DataFile]) -> ReadRequest:
        look, digests = self._look, sorted({digest for file in files for digest in file.manifests})
        return ReadRequest(
            look.person, look.purpose, look.level, look.table, look.names(), self._snapshot.version,
            tuple(file.ticket for file in files), tuple(self._lake.manifest(digest) for digest in digests),
        )  # fmt: skip


def groups(files: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    """In order, each small enough for one question to the keyring."""
    group: list[DataFile] = []
    size = 0
    for file in files:
        if group and (len(group) >= FILES_MAX or size + len(file.ticket) > TICKET_BYTES_MAX):
            yield group
            group, size = [], 0
        group.append(file)
        size += len(file.ticket)
    if group:
        yield group


def _stored(names: Sequence[str]) -> list[str]:
    return [*names] if SEALED_COLUMNS.isdisjoint(names) else [*names, *(name for name in _ROW_IDENTITY if name not in names)]


def _plain(batch: pa.RecordBatch, look: Look, keys: ReleasedKeys) -> pa.RecordBatch:
    for name in SEALED_COLUMNS & {*look.names()}:
        batch = batch.set_column(batch.schema.get_field_index(name), name, _texts(batch, keys, name))
    return batch.select([*look.names()]).cast(look.schema())


def _texts(batch: pa.RecordBatch, keys: ReleasedKeys, column: str) -> pa.Array:
    """Opened row by row; "" where there is none, null where the key was destroyed."""
    columns = zip(*(batch.column(name).to_pylist() for name in (*_ROW_IDENTITY, column)), strict=True)
    texts: list[str | None] = []
    for endpoint, session, level, row, key_id, sealed in columns:
        key = keys.data.get(key_id)
        if sealed is None:
            texts.append("")
        else:
            texts.append(open_text(key, endpoint, session, level, row, sealed, column) if key is not None else None)
    return pa.array(texts, pa.string())
