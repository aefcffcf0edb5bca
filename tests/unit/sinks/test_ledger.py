"""The ledger: nothing in it can be changed, dropped, moved or cut off without `verify` saying so."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from byleave.core.errors import Broken, Forged
from byleave.sinks.ledger import Head, Ledger, parse_head, read_head, verify


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ledger = Ledger(tmp_path)
    for n in range(5):
        assert ledger.append({"what": "read", "person": f"p{n}"}, at_ms=n) == n
    ledger.close()
    return tmp_path


def edit(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2].replace(b"p2", b"p9"), *lines[3:]]


def delete(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], *lines[3:]]


def reorder(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[3], lines[2], *lines[4:]]


def truncate(lines: list[bytes]) -> list[bytes]:
    return lines[:-1]


def respell(lines: list[bytes]) -> list[bytes]:
    return [lines[0].replace(b":", b": ", 1), *lines[1:]]


def garble(lines: list[bytes]) -> list[bytes]:
    return [b"\xff{[", *lines[1:]]


@pytest.mark.parametrize("attack", [edit, delete, reorder, truncate, respell, garble])
def test_a_tampered_ledger_is_found_and_takes_no_more_entries(
    folder: Path, attack: Callable[[list[bytes]], list[bytes]]
) -> None:
    path = folder / "ledger.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in attack(path.read_bytes().splitlines())))
    left = path.read_bytes()
    with pytest.raises(Forged):
        list(verify(folder, read_head(folder)))
    with pytest.raises(Forged):
        Ledger(folder)
    assert path.read_bytes() == left, "the evidence stays as it was found"


def test_a_forked_ledger_is_found_by_whoever_remembers_a_head(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    remembered = read_head(folder)
    fork = tmp_path_factory.mktemp("fork")
    ledger = Ledger(fork)
    for n in range(6):
        ledger.append({"what": "read", "person": "other"}, at_ms=n)
    ledger.close()
    assert len(list(verify(fork, read_head(fork)))) == 6, "in itself it is whole"
    with pytest.raises(Forged, match="remembered head"):
        list(verify(fork, remembered))


def test_a_ledger_whose_head_was_taken_away_takes_no_more_entries(folder: Path) -> None:
    (folder / "head").unlink()
    with pytest.raises(Forged, match="head"):
        Ledger(folder)
    assert not (folder / "head").exists()


def test_an_older_head_lies_on_the_chain(folder: Path) -> None:
    older = [Head(line.index + 1, line.hash) for line in verify(folder)][2]
    assert len(list(verify(folder, parse_head(str(older))))) == 5


def test_a_torn_last_line_was_never_answered_for_and_is_dropped(folder: Path) -> None:
    path = folder / "ledger.jsonl"
    with path.open("ab") as file:
        file.write(b'{"at_ms":9,"entry":{"what"')
    ledger = Ledger(folder)
    assert ledger.append({"what": "read"}, at_ms=9) == 5
    ledger.close()
    assert [line.index for line in verify(folder, read_head(folder))] == list(range(6))


def test_after_a_failed_write_the_ledger_goes_on_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "no space left")

    ledger = Ledger(folder)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Broken, match="nothing is released"):
        ledger.append({"what": "read"}, at_ms=6)
    monkeypatch.undo()
    assert ledger.append({"what": "read"}, at_ms=7) == 5
    ledger.close()
    assert [line.at_ms for line in verify(folder, read_head(folder))] == [0, 1, 2, 3, 4, 7]
