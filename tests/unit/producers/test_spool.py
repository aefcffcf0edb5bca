"""The spool: what was kept survives a kill at any byte, in order; what is torn is found; a full one says so (ruling 21)."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byleave.core.batches import Boundary, parse_raw
from byleave.core.envelope import Binding
from byleave.core.errors import Forged
from byleave.core.events import KeyEvent, Kind, Screen
from byleave.producers.batch import Cut, Sealer
from byleave.producers.spool import AGE_MS_MAX, Spool

DEVICE, REDACTOR = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()


def value(batch: int, events: int = 3, hi: int = 5_000, session: bytes = b"a" * 16) -> bytes:
    seal = Sealer(Binding("ep-a", session, 1, b"m" * 32, "k"), REDACTOR.public_key(), DEVICE, random.Random(batch).randbytes)
    made = tuple(KeyEvent(batch * events + i, hi, Kind.PRESS, "z") for i in range(events))
    return seal.seal(Cut(batch, batch * events, 0, hi, hi, Boundary.NONE, made), Screen(1, 1), 0)


VALUES = [value(n) for n in range(6)]


def filled(folder: Path, count: int = 6) -> Spool:
    spool = Spool(folder)
    spool.open_session(b"a" * 16)
    for n in range(count):
        assert spool.keep(n, VALUES[n], 3, 5_000)
    return spool


def contents(spool: Spool) -> list[bytes]:
    return [entry.value() for n in range(spool.waiting) if (entry := spool.entry(n))]


def test_a_restart_finds_everything_in_order(tmp_path: Path) -> None:
    first = filled(tmp_path)
    first.acknowledge()
    again = Spool(tmp_path)
    assert contents(again) == VALUES[1:]
    assert (again.waiting_events, again.bytes, again.torn) == (15, first.bytes, 0)
    again.open_session(b"b" * 16)
    late = value(0, session=b"b" * 16)
    again.keep(0, late, 3, 6_000)
    assert contents(Spool(tmp_path)) == [*VALUES[1:], late]  # the older session first


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, len(VALUES[5]) + 32), draft=st.booleans(), flip=st.booleans())
def test_a_write_torn_at_any_byte_is_found_and_costs_only_itself(tmp_path: Path, cut: int, draft: bool, flip: bool) -> None:
    shutil.rmtree(tmp_path / "spool", ignore_errors=True)
    filled(tmp_path / "spool")
    last = max((tmp_path / "spool").rglob("*.raw"))
    raw = bytearray(last.read_bytes())
    if flip:
        raw[min(cut, len(raw) - 1)] ^= 1
    else:
        del raw[cut:]
    whole = not flip and cut >= len(last.read_bytes())
    last.write_bytes(bytes(raw))
    if draft:
        last.rename(last.with_suffix(".new"))  # killed before the rename: even a whole draft was never kept
    again = Spool(tmp_path / "spool")
    assert contents(again) == (VALUES if whole and not draft else VALUES[:5])
    assert again.torn == int(draft or not whole)
    assert not list((tmp_path / "spool").rglob("*.new"))


def test_a_file_damaged_while_it_waits_is_not_sent(tmp_path: Path) -> None:
    spool = filled(tmp_path, 2)
    min(tmp_path.rglob("*.raw")).write_bytes(b"x" * 50)
    entry = spool.entry(0)
    assert entry is not None
    with pytest.raises(Forged):
        entry.value()
    spool.discard_torn()
    assert (contents(spool), spool.torn) == ([VALUES[1]], 1)


def test_a_full_spool_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    spool = Spool(tmp_path, bytes_max=2 * (len(VALUES[0]) + 40))
    spool.open_session(b"a" * 16)
    assert [spool.keep(n, VALUES[n], 3, 5_000) for n in range(3)] == [True, True, False]
    assert contents(spool) == VALUES[:2]
    spool.acknowledge()
    assert spool.keep(3, VALUES[3], 3, 5_000)


def test_a_disk_that_fails_is_no_room(tmp_path: Path) -> None:
    spool = filled(tmp_path, 1)
    shutil.rmtree(next(tmp_path.iterdir()))
    assert spool.keep(1, VALUES[1], 3, 5_000) is False
    assert spool.waiting == 1


def test_drop_leaves_nothing_and_seal_leaves_what_is_never_sent(tmp_path: Path) -> None:
    sealed = filled(tmp_path, 3)
    sealed.seal()
    again = Spool(tmp_path)
    assert (again.waiting, again.entry(0)) == (0, None)
    assert again.bytes == sealed.bytes > 0
    assert len(list(tmp_path.rglob("*.raw"))) == 3
    again.drop()
    assert list(tmp_path.iterdir()) == []
    assert again.bytes == 0


def test_what_is_too_old_goes(tmp_path: Path) -> None:
    spool = filled(tmp_path, 2)
    spool.expire(5_000 + AGE_MS_MAX)
    assert spool.waiting == 2
    spool.expire(5_001 + AGE_MS_MAX)
    assert (spool.waiting, spool.expired) == (0, 6)


def test_nothing_in_the_spool_is_readable(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.open_session(b"a" * 16)
    seal = Sealer(Binding("ep-a", b"a" * 16, 1, b"m" * 32, "k"), REDACTOR.public_key(), DEVICE, random.Random(1).randbytes)
    event = KeyEvent(0, 5_000, Kind.PASTE, "my ssn is 219-09-9999")
    spool.keep(0, seal.seal(Cut(0, 0, 0, 5_000, 5_000, Boundary.NONE, (event,)), Screen(1, 1), 0), 1, 5_000)
    (path,) = tmp_path.rglob("*.raw")
    assert b"219-09" not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    assert parse_raw(path.read_bytes()[32:]).header.count == 1
