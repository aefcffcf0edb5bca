"""The key store: what is on disk, who opens it, and what is left of a destroyed key."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from lake_site import files_with

from byleave.core.errors import Forged, Misconfigured, Refused
from byleave.sinks.keystore import KeyStore, ensure_secret

SECRET = b"a passphrase of a test"
KEY_ID = "person-a/2026-11-24/2"


def test_no_key_stands_on_disk_in_the_clear(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, SECRET, os.urandom)
    key = store.make(KEY_ID)
    store.close()
    for form in (key, key.hex().encode(), base64.b64encode(key), SECRET):
        assert files_with(tmp_path, form) == []
    if os.name == "posix":
        assert [oct(path.stat().st_mode & 0o077) for path in tmp_path.iterdir() if path.stat().st_mode & 0o077] == []


def test_a_key_comes_back_after_a_restart_and_only_under_the_same_secret(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, SECRET, os.urandom)
    key = store.make(KEY_ID)
    store.close()
    store = KeyStore(tmp_path, SECRET, os.urandom)
    assert store.get(KEY_ID) == key
    store.close()
    with pytest.raises(Misconfigured, match="does not open"):
        KeyStore(tmp_path, b"another passphrase", os.urandom)


def test_of_a_destroyed_key_nothing_is_left_and_it_is_never_made_again(tmp_path: Path) -> None:
    made: list[bytes] = []

    def remembered(count: int) -> bytes:
        made.append(os.urandom(count))
        return made[-1]

    store = KeyStore(tmp_path, SECRET, remembered)
    store.make("person-b/2026-11-24/2")
    mark = len(made)
    store.make(KEY_ID)
    nonce = made[mark + 1]  # the first bytes of the wrapped key: random, so found only if the wrapped key is there
    assert files_with(tmp_path, nonce), "the search below would find it"
    for n in range(200):
        store.make(f"person-c{n}/2026-11-24/2")  # pages split and move
    store.destroy([KEY_ID])
    assert files_with(tmp_path, nonce) == [], "not in the database, not in its journal"
    store.close()
    assert files_with(tmp_path, nonce) == []
    store = KeyStore(tmp_path, SECRET, os.urandom)
    with pytest.raises(Refused) as refused:
        store.get(KEY_ID)
    assert refused.value.reason == "key-destroyed"
    assert store.get("person-b/2026-11-24/2")
    store.close()


def test_a_wrapped_key_moved_to_another_name_or_level_does_not_open(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, SECRET, os.urandom)
    wrapped = store.wrap(2, b"data/a", b"k" * 32)
    assert store.unwrap(2, b"data/a", wrapped) == b"k" * 32
    for level, context, text in (
        (1, b"data/a", wrapped),
        (2, b"data/b", wrapped),
        (2, b"data/a", wrapped[:-1]),
        (4, b"data/a", wrapped),
    ):
        with pytest.raises(Forged):
            store.unwrap(level, context, text)
    store.close()


def test_a_second_keyring_on_one_store_does_not_start(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, SECRET, os.urandom)
    with pytest.raises(Misconfigured, match="another keyring"):
        KeyStore(tmp_path, SECRET, os.urandom)
    store.close()


def test_subjects_that_share_a_beginning_are_not_destroyed_together(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, SECRET, os.urandom)
    for subject in ("ann", "anna", "ann-b"):
        store.make(f"{subject}/2026-11-24/1")
    assert store.of_subject("ann", None) == ["ann/2026-11-24/1"]
    for name in ("", "a/b", "%", "ann/2026-11-24"):
        with pytest.raises(Refused):
            store.of_subject(name, None)
    store.close()


def test_the_secret_file_is_private_and_never_silently_replaced(tmp_path: Path) -> None:
    path = tmp_path / "k" / "dev.secret"
    with pytest.raises(Misconfigured, match="cannot be read"):
        ensure_secret(path, may_make=False)
    assert ensure_secret(path, may_make=True) == ensure_secret(path, may_make=True)
    if os.name == "posix":
        path.chmod(0o644)
        with pytest.raises(Misconfigured, match="chmod"):
            ensure_secret(path, may_make=True)
        path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(Misconfigured, match="no secret"):
        ensure_secret(path, may_make=True)
