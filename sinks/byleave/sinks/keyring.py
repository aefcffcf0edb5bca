"""The keyring: who may have which key, and the entry that stands before each key that leaves (P3, P6; rulings 12 to 14).

Promises  log-then-release: a key leaves only after its entry is durable; what a file is and whose records it holds is sealed
          into its ticket, so that a reader cannot claim another purpose for it; a manifest counts only if its owners signed it.
Refuses   whatever the table below does not grant, purposes and levels that a manifest of the records does not name for this
          reader, looks at records that a signed order covers, and every look while the orders are not known; each refused
          look is on record as well. A ledger that cannot be written releases nothing.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from byleave.control import trust
from byleave.control.documents import Manifest
from byleave.core import metrics
from byleave.core.batches import open_sanitized, verify_sanitized
from byleave.core.envelope import Randomness
from byleave.core.errors import ByleaveError, Forged, Refused, Transient
from byleave.core.keyring import KEYS_MAX, SEALED_COLUMNS, ReadRequest, ReleasedKeys
from byleave.core.keys import verify_key
from byleave.sinks.keystore import KEY_BYTES, KeyStore, level_of
from byleave.sinks.ledger import Ledger
from byleave.sinks.orders import Standing

FILES_MAX = 1_024
"""Files in one release."""
COLUMNS_MAX = 64
_WORD = re.compile(r"[A-Za-z0-9_.@-]{1,64}")


class Right(StrEnum):
    """What a principal may ask for."""

    MAKE = "make"
    GET = "get"
    FILE = "file"
    RELEASE = "release"
    OPEN = "open"
    DESTROY = "destroy"
    ERASE = "erase"


Rights = Mapping[Right, frozenset[int]]
_READER: Rights = {Right.RELEASE: frozenset({1, 2})}
POLICY: Mapping[str, Rights] = {
    "redactor": {Right.MAKE: frozenset({1, 2, 3})},
    "sink": {Right.GET: frozenset({1, 2}), Right.FILE: frozenset({1, 2}), Right.ERASE: frozenset({1, 2})},
    "review": {Right.OPEN: frozenset({3})},
    "enrol": {Right.DESTROY: frozenset({1, 2, 3})},
    **{service: {} for service in ("beacon", "security", "ops", "brake", "admin", "broker", "keyring")},
}
"""Right and levels by principal. Who is not named is a reader: then the manifest of the records decides."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What is sealed beside a file's key. `key_ids` and `endpoints` are those of all its records: whose they are, from where,
    and under which key."""

    level: int
    table: str
    file: str
    manifests: tuple[str, ...]
    key_ids: tuple[str, ...]
    endpoints: tuple[str, ...]
    key: bytes = field(repr=False)

    def subjects(self) -> set[str]:
        return {key_id.split("/")[0] for key_id in self.key_ids}


class Keyring:
    """Key store and ledger under one lock: no key between its entry and its release can be mixed up with another."""

    def __init__(self, store: KeyStore, ledger: Ledger, standing: Callable[[], Standing], *, now_ms: Callable[[], int],
                 random_bytes: Randomness, halt_file: Path | None = None) -> None:  # fmt: skip
        """`standing` says which signed orders there are, now; it is asked at every look."""
        self._store, self._ledger, self._standing = store, ledger, standing
        self._now_ms, self._random, self._halt_file = now_ms, random_bytes, halt_file
        self._lock = threading.Lock()

    def data_key(self, principal: str, key_id: str) -> bytes:
        """The key of (subject, day, level). Made for the redactor if new, with an entry before it leaves."""
        level, rights = level_of(key_id), POLICY.get(principal, _READER)
        may_make = level in rights.get(Right.MAKE, ())
        if not may_make:
            self._allow(principal, Right.GET, level)
        with self._lock:
            try:
                key = self._store.get(key_id)
            except Refused as refusal:
                if not may_make or refusal.reason != "unknown-key":
                    raise
                if self._useless(key_id):
                    raise Refused("all of that day is to be erased", reason="key-destroyed") from None
                self._record("key-made", principal, key_id=key_id)
                key = self._store.make(key_id)
        metrics.KEY_RELEASES.labels("service", "given").inc()
        return key

    def file_key(
        self, principal: str, *, level: int, table: str, file: str, manifests: Sequence[str], key_ids: Sequence[str],
        endpoints: Sequence[str],
    ) -> tuple[bytes, str]:  # fmt: skip
        """A fresh key for one file, and its ticket, which only this keyring opens."""
        self._allow(principal, Right.FILE, level)
        if len(key_ids) > KEYS_MAX or not 0 < len(endpoints) <= KEYS_MAX or not manifests:
            raise Refused(f"a file names its manifests, endpoints, and at most {KEYS_MAX} data keys", reason="malformed")
        with self._lock:
            self._record("file-key", principal, level=level, table=table, file=file)
            key = self._random(KEY_BYTES)
            body = {"table": table, "file": file, "manifests": [*manifests], "key_ids": [*key_ids],
                    "endpoints": [*endpoints], "key": key.hex()}  # fmt: skip
            wrapped = self._store.wrap(level, b"file", json.dumps(body).encode())
        return key, f"{level}.{base64.b64encode(wrapped).decode()}"

    def record_commit(
        self, principal: str, *, version: int, digest: str, rows: int, discarded: Mapping[str, Any] | None = None
    ) -> int:
        """The entry of a lake commit, written before the commit is made.

        `discarded` (halt_id, files, rows) says what it erases: that has an entry of its own, and from then on the keys of
        those files are released to nobody, whoever kept a copy.
        """
        self._allow(principal, Right.FILE, 1)
        with self._lock:
            if discarded is not None:
                self._record("discard", principal, version=version, **discarded)
                self._store.destroy([_gone(file) for file in discarded["files"]])
            return self._record("commit", principal, version=version, digest=digest, rows=rows)

    def erase_keys(self, principal: str, *, halt_id: str, tickets: Sequence[str]) -> dict[str, bytes]:
        """Keys of those files that may hold what an order says is to be erased, so that they can be written anew without.

        Raises Transient (`order-unread`) while the order is not known here, or not in effect.
        """
        self._allow(principal, Right.ERASE, 1)
        with self._lock:
            standing = self._standing()
            order = next((one for one in standing.discards if one.halt_id == halt_id), None)
            if order is None:
                raise Transient("the keyring knows no such order in effect", reason="order-unread")
            opened = [self._open_ticket(text) for text in tickets]
            found = [
                one for one in opened if standing.concerns(order.scope, one.endpoints, one.subjects())
                and any(order.has_day(key_id.split("/")[1]) for key_id in one.key_ids)
            ]  # fmt: skip
            if found:
                self._record("discard-opened", principal, halt_id=halt_id, files=[one.file for one in found])
        return {one.file: one.key for one in found}

    def discard(self) -> None:
        """Destroys the data keys that orders in effect leave nothing for. To be repeated at will; each time on record."""
        with self._lock:
            standing = self._standing()
            for order in standing.discards:
                key_ids = [key_id for key_id in self._store.ids() if standing.useless(order, key_id)]
                if key_ids:
                    self._record("discard", "keyring", halt_id=order.halt_id, keys=key_ids)
                    self._store.destroy(key_ids)

    def release(self, principal: str, request: ReadRequest) -> ReleasedKeys:
        """File keys, and data keys if a column of SEALED_COLUMNS is asked for, for one look at the lake."""
        claimed = _claims(request)
        with self._lock:
            try:
                tickets = self._permitted(principal, request)
            except ByleaveError as refusal:
                self._refuse(principal, refusal, claimed)
                raise
            covers = sorted({key_id for ticket in tickets for key_id in ticket.key_ids})
            entry = self._record("read", principal, **claimed, files=[t.file for t in tickets], covers=covers)
            data, gone = self._data_keys(covers) if SEALED_COLUMNS & {*request.columns} else ({}, [])
        metrics.KEY_RELEASES.labels("reader", "given").inc()
        return ReleasedKeys(entry, {t.file: t.key for t in tickets}, data, tuple(gone))

    def open_record(self, principal: str, *, person: str, purpose: str, record: bytes, manifest: bytes) -> bytes:
        """The plain body of one sanitized record, for one reviewer (ruling 14)."""
        _words(person, purpose)
        claimed: dict[str, Any] = {"person": person, "purpose": purpose}
        with self._lock:
            try:
                redactor = map(verify_key, trust.role_of(self._standing().root, "redactor").keys)
                batch = verify_sanitized(record, *redactor)
                header = batch.header
                claimed |= {"level": int(header.level), "record": [header.raw_topic, header.raw_partition, header.raw_offset]}
                self._reads_allowed({header.endpoint}, {header.subject})
                if self._standing().may_be_discarded(header):
                    raise Refused("that record is to be erased", reason="discarded")
                self._allow(principal, Right.OPEN, header.level)
                documents = self._manifests((manifest,))
                self._named(principal, purpose, header.level, documents.get(header.manifest.hex()))
            except ByleaveError as refusal:
                self._refuse(principal, refusal, claimed)
                raise
            self._record("open", principal, **claimed, covers=[header.key_id])
            return open_sanitized(batch, self._store.get(header.key_id)).body

    def destroy(self, principal: str, *, subject: str, day: str | None) -> list[str]:
        """Destroys a subject's data keys. The entry comes first; who got no answer repeats the call: it is idempotent."""
        self._allow(principal, Right.DESTROY, 1)
        with self._lock:
            key_ids = self._store.of_subject(subject, day)
            self._record("keys-destroyed", principal, key_ids=key_ids)
            self._store.destroy(key_ids)
        return key_ids

    def close(self) -> None:
        """After what is under way: no key is left half made."""
        with self._lock:
            self._store.close()
            self._ledger.close()

    def _permitted(self, principal: str, request: ReadRequest) -> list[Ticket]:
        """The opened tickets of a look that every manifest of its records allows. Raises Refused, Forged."""
        self._allow(principal, Right.RELEASE, request.level)
        if not 1 <= len(request.tickets) <= FILES_MAX:
            raise Refused(f"a look names 1 to {FILES_MAX} files", reason="malformed")
        tickets = [self._open_ticket(text) for text in request.tickets]
        self._reads_allowed(_all(t.endpoints for t in tickets), _all(t.subjects() for t in tickets))
        documents = self._manifests(request.manifests)
        for ticket in tickets:
            if self._store.destroyed(_gone(ticket.file)):
                raise Refused("a file whose rows were erased; read the newest snapshot", reason="discarded")
            if ticket.level > request.level or ticket.table != request.table:
                raise Refused("a file of another table or a higher level than was asked for", reason="level")
            for digest in ticket.manifests:
                self._named(principal, request.purpose, request.level, documents.get(digest))
        return tickets

    def _named(self, principal: str, purpose: str, level: int, manifest: Manifest | None) -> None:
        """Ruling 13: the manifest of the records names this purpose, level and reader. A reader's level is the highest."""
        if manifest is None:
            raise Refused("the manifest of these records was not shown", reason="manifest")
        readers = [r for r in manifest.readers if r.principal == principal and r.purpose == purpose]
        if purpose not in manifest.purposes or not readers:
            raise Refused(f"the manifest does not name {principal} for this purpose", reason="purpose")
        if max(r.level for r in readers) < level:
            raise Refused(f"the manifest lets {principal} read up to level {max(r.level for r in readers)}", reason="level")

    def _manifests(self, unverified: Sequence[bytes]) -> dict[str, Manifest]:
        root = self._standing().root
        if self._now_ms() >= root.expires_ms:
            raise Refused("the root has expired: no manifest can be believed", reason="root-expired")
        found = (trust.verify(root, "manifest", Manifest, one, site=root.site) for one in unverified)
        return {digest: document for document, digest in found}

    def _open_ticket(self, text: str) -> Ticket:
        level, _, wrapped = text.partition(".")
        try:
            body = json.loads(self._store.unwrap(int(level), b"file", base64.b64decode(wrapped, validate=True)))
        except ValueError:
            raise Forged("a ticket is not of its form", reason="malformed") from None
        lists = tuple(body["manifests"]), tuple(body["key_ids"]), tuple(body["endpoints"])
        return Ticket(int(level), body["table"], body["file"], *lists, bytes.fromhex(body["key"]))

    def _data_keys(self, key_ids: Sequence[str]) -> tuple[dict[str, bytes], list[str]]:
        data, gone = {}, []
        for key_id in key_ids:
            try:
                data[key_id] = self._store.get(key_id)
            except Refused:
                gone.append(key_id)
        return data, gone

    def _reads_allowed(self, endpoints: Collection[str], subjects: Collection[str]) -> None:
        """Strict: a look that a single covered record belongs to is refused whole."""
        if self._halt_file is not None and self._halt_file.exists():
            raise Refused("reads are halted here", reason="reads-halted")
        reason = self._standing().stops(endpoints, subjects)
        if reason == "control-unknown":
            raise Refused("the orders in force are not known: is the broker up, and the beacon service?", reason=reason)
        if reason is not None:
            raise Refused("an order halts reading of these records", reason=reason)

    def _useless(self, key_id: str) -> bool:
        standing = self._standing()
        return any(standing.useless(order, key_id) for order in standing.discards)

    def _allow(self, principal: str, right: Right, level: int) -> None:
        if level not in POLICY.get(principal, _READER).get(right, ()):
            metrics.KEY_RELEASES.labels("any", "refused").inc()
            raise Refused(f"{principal} may not {right} at level {level}", reason="not-entitled")

    def _refuse(self, principal: str, refusal: ByleaveError, claimed: dict[str, Any]) -> None:
        metrics.KEY_RELEASES.labels("reader", "refused").inc()
        self._record("read-refused", principal, **claimed, reason=refusal.reason)

    def _record(self, what: str, principal: str, **more: Any) -> int:
        return self._ledger.append({"what": what, "principal": principal, **more}, self._now_ms())


def _claims(request: ReadRequest) -> dict[str, Any]:
    """What the entry says of a look. Raises Refused if it is not of its form: a ledger is no place for whatever was sent."""
    _words(request.person, request.purpose, request.table, *request.columns)
    if type(request.level) is not int or type(request.snapshot) is not int or not 1 <= len(request.columns) <= COLUMNS_MAX:
        raise Refused("a look names its level, snapshot and columns", reason="malformed")
    return {"person": request.person, "purpose": request.purpose, "level": request.level, "table": request.table,
            "columns": [*request.columns], "snapshot": request.snapshot}  # fmt: skip


def _gone(file: str) -> str:
    """The name under which the store remembers that a file's key was destroyed."""
    return f"file/{file}"


def _all(parts: Iterable[Iterable[str]]) -> set[str]:
    return {one for part in parts for one in part}


def _words(*values: object) -> None:
    if not all(isinstance(value, str) and _WORD.fullmatch(value) for value in values):
        raise Refused("names and codes are 1 to 64 characters of [A-Za-z0-9_.@-]", reason="malformed")
