"""Where keys rest: master keys sealed under a secret file, data keys wrapped under them in SQLite.

Promises  no key is on disk in the clear; a destroyed key leaves nothing in the store's files and is never made again;
          one process owns the store.
Refuses   another secret, a changed wrap, a second owner.

What destruction cannot reach: a copy of the store taken before it. Backups of this folder must age out within 7 days (P7), or
the promise of erasure is not kept; and blocks that a file system has freed are its own affair.
"""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from byleave.core.envelope import Randomness
from byleave.core.errors import Broken, Forged, Misconfigured, Refused
from byleave.core.keys import replace_file, write_secret

LEVELS = (1, 2, 3)
KEY_BYTES = 32
SECRET_BYTES_MIN = 16
_SUBJECT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY_ID = re.compile(r"([A-Za-z0-9._-]{1,64})/(\d{4}-\d{2}-\d{2})/([123])")
_SALT_BYTES = 16
_TABLES = """
create table if not exists data_key (key_id text primary key, wrapped blob not null) without rowid;
create table if not exists destroyed (key_id text primary key) without rowid;
"""


def ensure_secret(path: Path, *, may_make: bool) -> bytes:
    """The content of the secret file; for development one is made if `may_make` and there is none.

    Raises Misconfigured: missing, readable by others, or too short.
    """
    if not path.exists() and may_make:
        write_secret(path, secrets.token_bytes(32))
    try:
        mode, content = path.stat().st_mode, path.read_bytes().strip()
    except OSError:
        raise Misconfigured(
            f"{path} cannot be read: the keyring needs the secret that its master keys are sealed under"
        ) from None
    if os.name == "posix" and mode & 0o077:
        raise Misconfigured(f"{path} can be read by others: chmod 600 it")
    if len(content) < SECRET_BYTES_MIN:
        raise Misconfigured(f"{path} holds fewer than {SECRET_BYTES_MIN} bytes: that is no secret")
    return content


def level_of(key_id: str) -> int:
    """The level in 'subject/2026-11-24/2'. Raises Refused (`malformed-key-id`) unless it is of that form."""
    match = _KEY_ID.fullmatch(key_id)
    if match is None:
        raise Refused("a key id is subject/day/level", reason="malformed-key-id")
    return int(match[3])


class KeyStore:
    """Open for as long as the keyring runs; not for several threads at once."""

    def __init__(self, folder: Path, secret: bytes, random_bytes: Randomness) -> None:
        """Makes the master keys on first use. Raises Misconfigured: wrong secret, or another process has the store."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._random = random_bytes
        self._database = _open(folder / "keys.sqlite")
        self._masters = _masters(folder / "master.sealed", secret, random_bytes)

    def get(self, key_id: str) -> bytes:
        """An existing data key. Raises Refused: `unknown-key`, `key-destroyed`."""
        level = level_of(key_id)
        row = self._database.execute("select wrapped from data_key where key_id = ?", (key_id,)).fetchone()
        if row is not None:
            return self.unwrap(level, b"data/" + key_id.encode(), row[0])
        if self.destroyed(key_id):
            raise Refused("that data key was destroyed", reason="key-destroyed")
        raise Refused("no such data key", reason="unknown-key")

    def destroyed(self, name: str) -> bool:
        """Whether a key of this name was destroyed."""
        return self._database.execute("select 1 from destroyed where key_id = ?", (name,)).fetchone() is not None

    def ids(self) -> list[str]:
        """Ids of all data keys that exist."""
        return [key_id for (key_id,) in self._database.execute("select key_id from data_key")]

    def make(self, key_id: str) -> bytes:
        """A new data key. Raises Broken if there is one; the caller has looked."""
        key = self._random(KEY_BYTES)
        wrapped = self.wrap(level_of(key_id), b"data/" + key_id.encode(), key)
        try:
            with self._database:
                self._database.execute("insert into data_key values (?, ?)", (key_id, wrapped))
        except sqlite3.Error:
            raise Broken("the key store cannot be written", reason="key-store") from None
        return key

    def of_subject(self, subject: str, day: str | None) -> list[str]:
        """Ids of the keys of a subject, of one day or of all that exist."""
        if not _SUBJECT.fullmatch(subject):
            raise Refused("a subject is a pseudonym of [A-Za-z0-9._-]", reason="malformed-key-id")
        if day is not None:
            ids = [f"{subject}/{day}/{level}" for level in LEVELS]
            for key_id in ids:
                level_of(key_id)
            return ids
        rows = self._database.execute(
            "select key_id from data_key where key_id > ? and key_id < ?", (f"{subject}/", f"{subject}0")
        )
        return [key_id for (key_id,) in rows.fetchall()]

    def destroy(self, key_ids: list[str]) -> None:
        """Overwrites and forgets them, and remembers their names so that none is made again."""
        names = [(key_id,) for key_id in key_ids]
        try:
            with self._database:
                self._database.executemany("delete from data_key where key_id = ?", names)
                self._database.executemany("insert or ignore into destroyed values (?)", names)
        except sqlite3.Error:
            raise Broken("the key store cannot be written: the keys are not destroyed", reason="key-store") from None

    def wrap(self, level: int, context: bytes, plain: bytes) -> bytes:
        """AES-256-GCM under the level's master key, tied to `context`. Random nonces: far below 2^32 wraps a level."""
        nonce = self._random(12)
        return nonce + self._masters[level].encrypt(nonce, plain, b"byleave/v1/" + context)

    def unwrap(self, level: int, context: bytes, wrapped: bytes) -> bytes:
        """The reverse. Raises Forged (`bad-wrap`): other master key, other context, or changed bytes."""
        try:
            return self._masters[level].decrypt(wrapped[:12], wrapped[12:], b"byleave/v1/" + context)
        except (InvalidTag, ValueError, KeyError):
            raise Forged("a wrapped key does not open under this master key and place", reason="bad-wrap") from None

    def close(self) -> None:
        self._database.close()


def _open(path: Path) -> sqlite3.Connection:
    """secure_delete overwrites what is deleted; TRUNCATE leaves no old page in the journal; EXCLUSIVE keeps others out."""
    try:
        if not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        database = sqlite3.connect(path, timeout=1.0, check_same_thread=False)
        for pragma in ("secure_delete = on", "locking_mode = exclusive", "journal_mode = truncate", "synchronous = full"):
            database.execute(f"pragma {pragma}").fetchall()
        database.executescript(_TABLES)
        database.execute("begin immediate")
        database.rollback()
    except (sqlite3.Error, OSError):
        raise Misconfigured(f"{path} cannot be opened: another keyring has it, or it is damaged") from None
    return database


def _masters(path: Path, secret: bytes, random_bytes: Randomness) -> dict[int, AESGCM]:
    """The master keys of the levels: salt, nonce, then AES-256-GCM under scrypt(secret) (RFC 7914)."""
    if not path.exists():
        salt, nonce, keys = random_bytes(_SALT_BYTES), random_bytes(12), random_bytes(KEY_BYTES * len(LEVELS))
        replace_file(path, salt + nonce + _sealer(secret, salt).encrypt(nonce, keys, b"byleave/v1/masters"))
    sealed = path.read_bytes()
    salt, nonce, body = sealed[:_SALT_BYTES], sealed[_SALT_BYTES : _SALT_BYTES + 12], sealed[_SALT_BYTES + 12 :]
    try:
        keys = _sealer(secret, salt).decrypt(nonce, body, b"byleave/v1/masters")
    except (InvalidTag, ValueError):
        raise Misconfigured(f"{path} does not open with this secret") from None
    return {level: AESGCM(keys[n * KEY_BYTES : (n + 1) * KEY_BYTES]) for n, level in enumerate(LEVELS)}


def _sealer(secret: bytes, salt: bytes) -> AESGCM:
    return AESGCM(Scrypt(salt=salt, length=KEY_BYTES, n=1 << 15, r=8, p=1).derive(secret))
