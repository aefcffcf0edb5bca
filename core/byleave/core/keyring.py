"""Edge: how other processes ask the keyring, the only holder of master keys. HTTP over mutual TLS 1.3, JSON bodies.

Promises  a key reaches only the principal that the certificate proves, and a reader's key only after the look is on record
          (P3, P6); no key is in a `repr`, a message or a log.
Refuses   what the keyring refuses, under the same family and reason; a keyring that does not answer is Transient.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import ssl
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from byleave.core.errors import Broken, ByleaveError, Forged, Misconfigured, Refused, Transient

KEYS_MAX = 4_096
"""Data keys that a redactor or sink remembers: about a day's."""
SEALED_COLUMNS = frozenset(("text", "target_label"))
"""Columns of the lake that are sealed row by row: a reader of these needs data keys too."""
LEASE_S_MAX = 60.0
"""How long a reader may use what one release gave it (ruling 12)."""
REQUEST_S_MAX = 10.0
ANSWER_BYTES_MAX = 8 << 20
REQUEST_BYTES_MAX = 8 << 20
FAMILIES: Mapping[str, type[ByleaveError]] = {kind.__name__: kind for kind in (Refused, Forged, Transient, Broken)}

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A look at the lake. `tickets` are the wrapped keys of the files, `manifests` the signed documents of their records."""

    person: str
    purpose: str
    level: int
    table: str
    columns: tuple[str, ...]
    snapshot: int
    tickets: tuple[str, ...] = field(repr=False)
    manifests: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReleasedKeys:
    """What one entry of the ledger released. `gone` names the data keys that were destroyed: their text stays shut."""

    entry: int
    files: Mapping[str, bytes] = field(repr=False)
    data: Mapping[str, bytes] = field(repr=False)
    gone: tuple[str, ...] = ()


class KeyringClient:
    """One connection to the keyring, kept open; calls from several threads take turns."""

    def __init__(self, address: str, certificate: tuple[Path, Path, Path]) -> None:
        """`address` is host:port; `certificate` is CA, certificate and key. Raises Misconfigured if they cannot be used."""
        host, _, port = address.rpartition(":")
        ca, own, key = certificate
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            self._tls.load_verify_locations(ca)
            self._tls.load_cert_chain(own, key)
        except (OSError, ssl.SSLError):
            raise Misconfigured(f"{own} and its key cannot be used for TLS") from None
        self._place = (host.strip("[]"), int(port))
        self._connection: http.client.HTTPSConnection | None = None
        self._lock = threading.Lock()
        self._keys: OrderedDict[str, bytes] = OrderedDict()

    def data_key(self, key_id: str) -> bytes:
        """The key of (subject, day, level); made if it is new and this principal is the redactor.

        Raises Refused: not this principal's, unknown (`unknown-key`), or destroyed (`key-destroyed`). Transient: no answer.
        """
        known = self._keys.get(key_id)
        if known is None:
            known = _secret(self.ask("data-key", {"key_id": key_id})["key"])
            self._keys[key_id] = known
            if len(self._keys) > KEYS_MAX:
                self._keys.popitem(last=False)
        return known

    def file_key(
        self, level: int, *, table: str, file: str, manifests: Sequence[str], key_ids: Sequence[str], endpoints: Sequence[str]
    ) -> tuple[bytes, str]:
        """A fresh key for one file of the lake, and its ticket: the key wrapped with what the file is and whose it holds."""
        lists = {"manifests": [*manifests], "key_ids": [*key_ids], "endpoints": [*endpoints]}
        answer = self.ask("file-key", {"level": level, "table": table, "file": file, **lists})
        return _secret(answer["key"]), str(answer["ticket"])

    def record_commit(self, version: int, digest: str, rows: int, discarded: Mapping[str, Any] | None = None) -> int:
        """Puts a lake commit on record, before it is made, and what it erases: halt_id, files, rows. The entry's index."""
        question = {"version": version, "digest": digest, "rows": rows, "discarded": discarded}
        return int(self.ask("commit", question)["entry"])

    def erase_keys(self, halt_id: str, tickets: Sequence[str]) -> dict[str, bytes]:
        """Keys of those files that may hold what a signed order says is to be erased, by file.

        Raises Transient (`order-unread`): the keyring does not know that order, or it is not in effect.
        """
        answer = self.ask("erase", {"halt_id": halt_id, "tickets": [*tickets]})
        return {file: _secret(key) for file, key in answer["files"].items()}

    def release(self, request: ReadRequest) -> ReleasedKeys:
        """Keys for a read, after its entry is in the ledger; to be forgotten after `LEASE_S_MAX`.

        Raises Refused: purpose, level or reader not in the manifest of the records, or the ledger cannot take the entry.
        """
        documents = [base64.b64encode(m).decode() for m in request.manifests]
        answer = self.ask("release", asdict(request) | {"manifests": documents})
        files, data = ({name: _secret(key) for name, key in answer[part].items()} for part in ("files", "data"))
        return ReleasedKeys(int(answer["entry"]), files, data, tuple(answer["gone"]))

    def open_record(self, person: str, purpose: str, value: bytes, manifest: bytes) -> bytes:
        """The body of one sanitized record, opened by the keyring itself: level 3 goes record by record (ruling 14)."""
        record, document = (base64.b64encode(part).decode() for part in (value, manifest))
        return _secret(self.ask("open", {"person": person, "purpose": purpose, "record": record, "manifest": document})["body"])

    def destroy(self, subject: str, day: str | None = None) -> list[str]:
        """Destroys the data keys of a subject, of one day (YYYY-MM-DD) or all. Returns their ids. Not to be undone."""
        return [str(name) for name in self.ask("destroy", {"subject": subject, "day": day})["destroyed"]]

    def ask(self, path: str, question: Mapping[str, Any]) -> Answer:
        """One question. Tried twice: a connection kept open may have been closed by the other side meanwhile."""
        body = json.dumps(question).encode()
        with self._lock:
            for attempt in range(2):
                try:
                    return self._exchange(path, body)
                except ssl.SSLError:
                    self._drop()
                    raise Refused("the keyring and this certificate do not accept each other", reason="tls") from None
                except (OSError, http.client.HTTPException):
                    self._drop()
                    if attempt == 1:
                        raise Transient("the keyring does not answer; is it running?", reason="keyring") from None
        raise Broken("unreachable")  # the loop returns or raises

    def close(self) -> None:
        self._keys.clear()
        self._drop()

    def _exchange(self, path: str, body: bytes) -> Answer:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(*self._place, timeout=REQUEST_S_MAX, context=self._tls)
        self._connection.request("POST", f"/v1/{path}", body, {"Content-Type": "application/json"})
        reply = self._connection.getresponse()
        raw = reply.read(ANSWER_BYTES_MAX + 1)
        try:
            answer = json.loads(raw)
            if len(raw) > ANSWER_BYTES_MAX or not isinstance(answer, dict):
                raise ValueError
            if reply.status == 200:
                return answer
            kind, sentence, reason = FAMILIES[answer["family"]], str(answer["error"]), str(answer["reason"])
        except (ValueError, KeyError):
            self._drop()
            raise Broken("the keyring's answer is not of its protocol", reason="keyring") from None
        raise kind(sentence, reason=reason)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _secret(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except (ValueError, binascii.Error):
        raise Broken("the keyring's answer is not of its protocol", reason="keyring") from None
