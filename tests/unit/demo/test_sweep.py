"""The sweep finds a planted secret in whatever form it was left, and does not repeat it in what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from byleave.core.errors import Broken
from demo import sweep as sweeping
from demo.sweep import sweep

SECRET = "Tr0ub4dor&3-kestrel"


@pytest.mark.parametrize(
    "form", [SECRET.encode(), SECRET.upper().encode(), SECRET.encode("utf-16-le"), SECRET.encode("utf-16-be")]
)
def test_a_planted_secret_is_found(tmp_path: Path, form: bytes) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "segment.log").write_bytes(b"\xff" * 5_000 + form + b"\xff" * 10)
    found = sweep([tmp_path], ["something else", SECRET])
    assert [(hit.secret, hit.file.name, hit.offset) for hit in found.hits] == [(1, "segment.log", 5_000)]
    assert SECRET not in repr(found)


def test_what_is_not_there_is_not_found_and_the_search_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    (tmp_path / "empty").write_bytes(b"")
    found = sweep([tmp_path], [SECRET])
    assert (found.files, found.bytes, found.hits) == (2, 100, ())


def test_a_secret_behind_a_hole_in_a_file_is_found(tmp_path: Path) -> None:
    with (tmp_path / "index").open("wb") as file:
        file.seek(20_000_000)
        file.write(SECRET.encode())
        file.truncate(40_000_000)
    found = sweep([tmp_path], [SECRET])
    assert [hit.offset for hit in found.hits] == [20_000_000]


@pytest.mark.parametrize(("bound", "most"), [("FILE_BYTES_MAX", 10), ("FILES_MAX", 1)])
def test_what_cannot_be_searched_whole_is_said_and_never_counted_as_clean(
    tmp_path: Path, monkeypatch, bound: str, most: int
) -> None:
    monkeypatch.setattr(sweeping, bound, most)
    for name in "ab":
        (tmp_path / name).write_bytes(b"x" * 11)
    with pytest.raises(Broken, match="not"):
        sweep([tmp_path], [SECRET])


@pytest.mark.parametrize("between", [b"\x02", b'","', b"\n"])
def test_a_secret_that_lies_there_key_by_key_is_found(tmp_path: Path, between: bytes) -> None:
    (tmp_path / "frames").write_bytes(b"\xff" * 100 + between.join(bytes([byte]) for byte in SECRET.encode()))
    assert [hit.secret for hit in sweep([tmp_path], [SECRET]).hits] == [0]
