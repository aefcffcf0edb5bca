"""Key files: what is refused, and that no refusal shows what is inside."""

from __future__ import annotations

import os
import stat
import traceback
from pathlib import Path

import pytest

from byleave.core import keys
from byleave.core.errors import Forged, Misconfigured

SECRET = bytes(range(32))
POSIX = pytest.mark.skipif(os.name != "posix", reason="file modes are of POSIX systems")


@POSIX
def test_a_key_is_written_for_its_owner_alone_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "device.key"
    keys.write_secret(path, SECRET)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keys.read_secret(path) == SECRET
    assert keys.public_hex(keys.read_signing_key(path)) != keys.public_hex(keys.read_hpke_key(path))


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    keys.write_secret(path, SECRET)
    with pytest.raises(Misconfigured):
        keys.write_secret(path, bytes(32))
    assert keys.read_secret(path) == SECRET


@POSIX
@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o622, 0o611])
def test_a_key_that_others_can_touch_is_not_used(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "device.key"
    keys.write_secret(path, SECRET)
    path.chmod(mode)
    with pytest.raises(Misconfigured, match="chmod 600"):
        keys.read_secret(path)


@pytest.mark.parametrize("content", [b"", b"abcd", b"zz" * 32, b"ab" * 31, b"ab" * 33, b"\xff" * 64, b"ab" * 5_000])
def test_a_malformed_key_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "device.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(Misconfigured) as caught:
        keys.read_signing_key(path)
    shown = "".join(traceback.format_exception(caught.value))
    assert "abab" not in shown
    assert "zzzz" not in shown
    assert str(path) in shown


def test_a_missing_key_is_said_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"none\.key"):
        keys.read_secret(tmp_path / "none.key")


@pytest.mark.parametrize("text", ["", "ab", "AB" * 32, "ab " * 32, "zz" * 32, "ab" * 33, "é" * 32])
def test_a_public_key_has_one_spelling(text: str) -> None:
    for read in (keys.verify_key, keys.recipient):
        with pytest.raises(Forged) as caught:
            read(text)
        assert caught.value.reason == "malformed"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "memory.json"
    keys.replace_file(path, b"one")

    def torn(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", torn)
    with pytest.raises(OSError, match="no space"):
        keys.replace_file(path, b"two")
    assert path.read_bytes() == b"one"
    monkeypatch.undo()
    keys.replace_file(path, b"two")
    assert [entry.name for entry in tmp_path.iterdir()] == ["memory.json"]
    assert path.read_bytes() == b"two"
