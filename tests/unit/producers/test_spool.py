"""The spool: what was kept survives a kill at any byte, in order; what is missing is declared; no room is said (ruling 21)."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from byleave.core.batches import RAW_BYTES_MAX, Boundary, open_raw, parse_raw, verify_raw
from byleave.core.envelope import Binding, Opener
from byleave.core.errors import Broken, Forged
from byleave.core.events import KeyEvent, Kind, Screen
from byleave.producers import spool as spool_edge
from byleave.producers.batch import Cut, Sealer
from byleave.producers.spool import AGE_MS_MAX, Spool

DEVICE, REDACTOR = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()
A, B = (Binding("ep-a", session * 16, 1, b"m" * 32, "k") for session in (b"a", b"b"))
COUNT = 6


def cut(batch: int, *, gap: int = 0, seq0: int | None = None, hi: int = 5_000, text: str = "z") -> Cut:
    first = batch * 3 if seq0 is None else seq0
    return Cut(batch, first, gap, hi, hi, Boundary.NONE, tuple(KeyEvent(first + i, hi, Kind.PRESS, text) for i in range(3)))


def value(made: Cut, binding: Binding = A) -> bytes:
    sealer = Sealer(binding, REDACTOR.public_key(), DEVICE, random.Random(made.batch).randbytes)
    return sealer.seal(made, Screen(1, 1), 0)


VALUES = [value(cut(n)) for n in range(COUNT)]


def keep(spool: Spool, made: Cut, binding: Binding = A) -> bool:
    kept = spool.keep(made, value(made, binding))
    spool.note(made.seq0 + len(made.events), made.hi_max)
    return kept


def filled(folder: Path, count: int = COUNT, bytes_max: int = 1 << 22) -> Spool:
    spool = Spool(folder, DEVICE, bytes_max)
    spool.open_session(A)
    for n in range(count):
        assert spool.keep(cut(n), VALUES[n])
        spool.note(3 * n + 3, 5_000)
    return spool


def contents(spool: Spool) -> list[bytes]:
    return [spool.value(entry) for n in range(spool.waiting) if (entry := spool.entry(n))]


def ranges(values: list[bytes]) -> list[tuple[int, int, int]]:
    """(gap before it, first number, events) of each batch; every one is signed and opens."""
    opener, found = Opener({"k": REDACTOR}), []
    for one in values:
        batch = parse_raw(one)
        verify_raw(batch, DEVICE.public_key())
        events, _ = open_raw(batch, opener)
        assert [event.seq for event in events] == list(range(batch.header.seq0, batch.header.seq_end))
        found.append((batch.header.gap, batch.header.seq0, batch.header.count))
    return found


def whole(found: list[tuple[int, int, int]], upto: int) -> bool:
    """Every number below `upto` is in exactly one batch or one declared gap, in order."""
    due = 0
    for gap, seq0, count in found:
        if seq0 != due + gap:
            return False
        due = seq0 + count
    return due == upto


def test_a_restart_finds_everything_in_order(tmp_path: Path) -> None:
    first = filled(tmp_path)
    first.acknowledge()
    again = Spool(tmp_path, DEVICE)
    assert contents(again) == VALUES[1:]
    assert (again.waiting_events, again.bytes, again.torn, again.unsaved) == (15, first.bytes, 0, 0)
    again.open_session(B)
    late = value(cut(0, hi=6_000), B)
    again.keep(cut(0, hi=6_000), late)
    assert contents(Spool(tmp_path, DEVICE)) == [*VALUES[1:], late]  # the older session first


def test_what_a_killed_process_had_numbered_and_not_kept_is_declared_by_the_next(tmp_path: Path) -> None:
    killed = filled(tmp_path, 2)
    killed.note(11, 5_500)
    killed.acknowledge()
    again = Spool(tmp_path, DEVICE)
    assert ranges(contents(again)) == [(0, 3, 3), (5, 11, 0)]
    header = parse_raw(contents(again)[1]).header
    assert (header.session, header.epoch, header.manifest, header.hi_max) == (A.session, A.epoch, A.manifest, 5_500)
    assert (header.boundary, again.unsaved, again.waiting_events) == (Boundary.NONE, 5, 3)
    again.acknowledge()
    assert ranges(contents(Spool(tmp_path, DEVICE))) == [(5, 11, 0)]  # killed once more before that one was sent
    again.acknowledge()
    assert list(tmp_path.iterdir()) == []
    assert Spool(tmp_path, DEVICE).waiting == 0


def test_a_session_that_ended_whole_declares_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    spool = filled(tmp_path, 2)
    spool.close_session(6, 5_000)
    assert ranges(contents(spool)) == [(0, 0, 3), (0, 3, 3)]
    spool.acknowledge()
    spool.acknowledge()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Broken):
        spool.keep(cut(2), VALUES[2])


def test_a_session_that_got_no_source_leaves_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, DEVICE)
    spool.open_session(A)
    spool.open_session(B)
    assert [folder.name[9:] for folder in tmp_path.iterdir()] == [B.session.hex()]
    assert Spool(tmp_path, DEVICE).waiting == 0


@settings(max_examples=120, deadline=None)
@given(
    at=st.integers(0, COUNT - 1), cut_at=st.integers(0, len(VALUES[0]) + 40),
    how=st.sampled_from(["cut", "flip", "draft", "gone"]), acked=st.integers(0, 2), numbered=st.integers(0, 4),
)  # fmt: skip
@pytest.mark.slow
def test_a_file_torn_at_any_byte_costs_only_itself_and_is_declared(
    at: int, cut_at: int, how: str, acked: int, numbered: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spool = filled(folder)
        spool.note(COUNT * 3 + numbered, 5_400)
        for _ in range(acked):
            spool.acknowledge()
        at = max(at, acked)
        path = sorted(folder.rglob("*.raw"))[at - acked]
        raw = bytearray(path.read_bytes())
        damaged = how != "cut" or cut_at < len(raw)
        if how == "flip":
            raw[min(cut_at, len(raw) - 1)] ^= 1 << (cut_at % 8)
        elif how == "cut":
            del raw[cut_at:]
        path.write_bytes(bytes(raw))
        if how == "draft":  # killed before the rename: even a whole draft was never kept
            path.rename(path.with_name(path.name + ".new"))
        elif how == "gone":
            path.unlink()
        again = Spool(folder, DEVICE)
        wanted = [one for n, one in enumerate(VALUES) if n >= acked and not (damaged and n == at)]
        found = contents(again)
        assert [one for one in found if parse_raw(one).header.count] == wanted
        assert whole([(0, 0, acked * 3), *ranges(found)], COUNT * 3 + numbered)
        assert (again.torn, again.unsaved) == (int(damaged and how != "gone"), 3 * damaged + numbered)
        assert not list(folder.rglob("*.new"))
        assert contents(Spool(folder, DEVICE)) == found


@settings(max_examples=120, deadline=None)
@given(file=st.sampled_from(["header", "count"]), at=st.integers(0, 400), flip=st.booleans())
@pytest.mark.slow
def test_a_sessions_own_files_torn_at_any_byte_invent_nothing(file: str, at: int, flip: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spool = filled(folder)
        spool.note(COUNT * 3 + 2, 5_400)
        spool.acknowledge()
        path = next(folder.rglob(file))
        raw = bytearray(path.read_bytes())
        if flip:
            raw[min(at, len(raw) - 1)] ^= 1 << (at % 8)
        else:
            del raw[at:]
        whole_file = bytes(raw) == path.read_bytes()
        path.write_bytes(bytes(raw))
        again = Spool(folder, DEVICE)
        found = ranges(contents(again))
        assert [one for one in contents(again) if parse_raw(one).header.count] == VALUES[1:]
        assert whole([(0, 0, 3), *found], COUNT * 3 + (2 if whole_file or file == "header" else 0))
        again.acknowledge()
        assert contents(Spool(folder, DEVICE))[0] == VALUES[2]


def test_a_file_damaged_while_it_waits_is_declared_instead_of_sent(tmp_path: Path) -> None:
    spool = filled(tmp_path, 2)
    min(tmp_path.rglob("*.raw")).write_bytes(b"x" * 50)
    entry = spool.entry(0)
    assert entry is not None
    with pytest.raises(Forged):
        spool.value(entry)
    spool.discard_torn()
    assert ranges(contents(spool)) == [(3, 3, 0), (0, 3, 3)]
    assert spool.torn == 1


def test_what_is_too_old_is_declared_instead_of_sent(tmp_path: Path) -> None:
    spool = filled(tmp_path, 2)
    keep(spool, cut(2, hi=9_000))
    spool.close_session(9, 9_000)
    spool.open_session(B)
    keep(spool, cut(0, hi=9_500), B)
    spool.expire(5_000 + AGE_MS_MAX)
    assert spool.waiting == 4
    for _ in range(2):  # what was declared stays declared
        spool.expire(5_001 + AGE_MS_MAX)
        assert ranges(contents(spool)) == [(6, 6, 0), (0, 6, 3), (0, 0, 3)]
        assert (spool.expired, len(list(tmp_path.rglob("*.raw")))) == (6, 2)
    spool.expire(10_000 + AGE_MS_MAX)
    assert ranges(contents(spool)) == [(9, 9, 0), (3, 3, 0)]
    assert (spool.expired, spool.bytes) == (12, 0)
    spool.acknowledge()
    assert [folder.name[9:] for folder in tmp_path.iterdir()] == [B.session.hex()]


def test_a_full_spool_refuses_keeps_what_it_has_and_finds_room_again(tmp_path: Path) -> None:
    spool = filled(tmp_path, 3, bytes_max=3 * (len(VALUES[0]) + 40))
    assert not spool.full
    assert not keep(spool, cut(3))
    assert spool.full
    assert contents(spool) == VALUES[:3]
    spool.close_session(12, 5_000)
    assert ranges(contents(spool))[3:] == [(3, 12, 0)]
    spool.find_room()
    assert spool.full
    spool.acknowledge()
    spool.find_room()
    assert not spool.full
    spool.open_session(B)
    assert keep(spool, cut(0, hi=6_000), B)
    assert ranges(contents(Spool(tmp_path, DEVICE))) == [(0, 3, 3), (0, 6, 3), (3, 12, 0), (0, 0, 3)]


def fill(spool: Spool) -> list[bytes]:
    """Keeps batches until one is refused; those that were kept."""
    kept: list[bytes] = []
    for n in range(10_000):
        made = value(cut(n))
        if not spool.keep(cut(n), made):
            return kept
        kept.append(made)
    raise AssertionError("it never got full")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / "disk"
    where.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(where)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("this machine does not let us mount a small tmpfs")
    yield where
    subprocess.run(["umount", str(where)], check=True)


def test_a_full_disk_loses_nothing_that_was_kept_and_is_left_again(small_disk: Path) -> None:
    spool = Spool(small_disk / "spool", DEVICE)
    spool.open_session(A)
    values = fill(spool)
    kept = len(values)
    assert kept > 20
    with pytest.raises(OSError, match="No space"):
        (small_disk / "more").write_bytes(bytes(65_536))
    (small_disk / "more").unlink()
    spool.note(3 * kept + 5, 5_200)  # needs no room
    spool.find_room()
    assert spool.full
    with pytest.raises(OSError, match="No space"):
        Spool(small_disk / "spool", DEVICE).open_session(B)
    again = Spool(small_disk / "spool", DEVICE)
    wanted = [*((0, 3 * n, 3) for n in range(kept)), (5, 3 * kept + 5, 0)]
    assert ranges(contents(again)) == wanted
    for n in range(kept):
        assert contents(again)[0] == values[n]
        again.acknowledge()
    again.find_room()
    assert not again.full
    again.open_session(B)
    assert keep(again, cut(0), B)


def test_a_disk_with_room_for_half_a_file_keeps_nothing_of_it(tmp_path: Path) -> None:
    """A limit on the size of files, which the system enforces in the middle of a write."""
    program = f"""
import resource, signal, sys
from pathlib import Path
sys.path[:0] = [{str(Path(__file__).parent)!r}]
from test_spool import *
spool = filled(Path({str(tmp_path / "spool")!r}), 2)
resource.setrlimit(resource.RLIMIT_FSIZE, ({len(VALUES[0])} // 2, {RAW_BYTES_MAX}))
assert not keep(spool, cut(2)) and spool.full
spool.find_room()
assert spool.full
resource.setrlimit(resource.RLIMIT_FSIZE, ({RAW_BYTES_MAX}, {RAW_BYTES_MAX}))
spool.find_room()
assert not spool.full
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert len(list((tmp_path / "spool").rglob("*.raw"))) == 2
    assert not [path for path in (tmp_path / "spool").rglob("*") if path.name in ("room", "room.new") or path.suffix == ".new"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_at_any_step_keeps_nothing_under_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """One step after the other fails; whatever fails, the batch is not there and its numbers are declared."""
    failed = 0
    for nth in (1, 2):
        folder = tmp_path / str(nth)
        spool, calls, real = filled(folder, 2), [0], os.fsync if call == "fsync" else Path.replace

        def failing(*given: object, calls=calls, real=real, nth=nth) -> object:
            calls[0] += 1
            if calls[0] == nth:
                raise OSError(errno.EIO, "the disk failed")
            return real(*given)

        with monkeypatch.context() as patch:
            patch.setattr(spool_edge.os if call == "fsync" else Path, call, failing)
            if keep(spool, cut(2)):
                continue  # there is no second call
        failed += 1
        assert spool.full
        assert ranges(contents(Spool(folder, DEVICE))) == [(0, 0, 3), (0, 3, 3), (3, 9, 0)]
    assert failed == (2 if call == "fsync" else 1)


def test_a_folder_that_went_away_is_no_room(tmp_path: Path) -> None:
    spool = filled(tmp_path, 1)
    shutil.rmtree(next(tmp_path.iterdir()))
    assert keep(spool, cut(1)) is False
    assert (spool.waiting, spool.full) == (1, True)


def test_drop_leaves_nothing_and_seal_leaves_what_is_never_sent(tmp_path: Path) -> None:
    sealed = filled(tmp_path, 3)
    sealed.seal()
    again = Spool(tmp_path, DEVICE)
    assert (again.waiting, again.entry(0)) == (0, None)
    assert again.bytes == sealed.bytes > 0
    assert len(list(tmp_path.rglob("*.raw"))) == 3
    again.drop()
    assert list(tmp_path.iterdir()) == []
    assert again.bytes == 0


def test_nothing_in_the_spool_is_readable_nor_for_others(tmp_path: Path) -> None:
    """That no key of an endpoint's folder opens it is shown with the folder of a real one, in tests/broker."""
    spool = Spool(tmp_path, DEVICE)
    spool.open_session(A)
    keep(spool, cut(0, text="my ssn is 219-09-9999"))
    for path in tmp_path.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0
        assert path.is_dir() or b"219-09" not in path.read_bytes()
    for stranger in (X25519PrivateKey.generate(), X25519PrivateKey.from_private_bytes(DEVICE.private_bytes_raw())):
        with pytest.raises(Forged):
            open_raw(parse_raw(contents(spool)[0]), Opener({"k": stranger}))
