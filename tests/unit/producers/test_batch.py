"""Cutting and numbering: nothing lost or reordered, numbers contiguous with declared gaps (rulings 18, 21, 22)."""

from __future__ import annotations

import random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from byleave.core.batches import Boundary, open_raw, parse_raw, verify_raw
from byleave.core.envelope import Binding, Opener
from byleave.core.events import FocusEvent, KeyEvent, Kind, PointerEvent, Screen, Window
from byleave.producers.batch import Batcher, Cut, Sealer
from byleave.producers.hooks.source import Observed

WINDOW = Window(1, "editor", layout="us")


def observed(kind: Kind, at: int) -> Observed:
    if kind is Kind.FOCUS:
        return Observed(at, kind, window=WINDOW)
    return Observed(at, kind, key="a") if kind is Kind.PRESS else Observed(at, kind, x=at % 1000, y=5)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "add", "tick", "lose", "boundary"]),
        st.sampled_from([Kind.MOVE, Kind.PRESS, Kind.FOCUS, Kind.BUTTON_DOWN]),
        st.integers(-50, 70_000) | st.integers(0, 30),
        st.booleans(),
    ),
    max_size=120,
)


@given(STEPS)
def test_every_event_is_in_exactly_one_cut_or_in_a_declared_gap(steps) -> None:
    batcher, now, cuts, added, refused, lost = Batcher(1_000), 1_000, [], [], set(), 0

    def take(made, full: bool) -> None:
        for cut in made:
            if full:
                batcher.refuse(cut)
                refused.update(event.seq for event in cut.events)
            else:
                cuts.append(cut)

    for what, kind, step, full in steps:
        now += step
        if what == "add":
            added.append((batcher.seq_next, kind))
            take(batcher.add(observed(kind, now), now), full)
        elif what == "tick":
            take(batcher.tick(now), full)
        elif what == "lose":
            take(batcher.lose(step % 7), full)
            lost += max(0, step % 7)
        else:
            take(batcher.boundary(Boundary.FOCUS), full)
    cuts.append(batcher.end(Boundary.END, now))

    seq, hi, number = 0, 0, -1
    for cut in cuts:
        assert cut.seq0 == seq + cut.gap
        assert cut.batch > number
        assert hi <= cut.hi_min <= cut.hi_max
        assert [event.seq for event in cut.events] == list(range(cut.seq0, cut.seq0 + len(cut.events)))
        assert len(cut.events) <= 250
        assert all(cut.hi_min <= event.at_ms <= cut.hi_max for event in cut.events)
        assert cut.hi_max - cut.hi_min <= 1_000
        seq, hi, number = cut.seq0 + len(cut.events), cut.hi_max, cut.batch
    assert seq == batcher.seq_next == len(added) + lost
    assert [(e.seq, e.kind) for cut in cuts for e in cut.events] == [pair for pair in added if pair[0] not in refused]
    assert batcher.gaps == len(refused) + lost == sum(cut.gap for cut in cuts)


def test_a_batch_closes_at_250_events() -> None:
    batcher = Batcher(0)
    cuts = [cut for n in range(600) for cut in batcher.add(observed(Kind.PRESS, n // 10), n // 10)]
    assert [len(cut.events) for cut in cuts] == [250, 250]


def test_a_batch_closes_after_a_second_and_at_a_focus_change() -> None:
    batcher = Batcher(0)
    assert list(batcher.add(observed(Kind.PRESS, 10), 10)) == []
    assert list(batcher.tick(1_009)) == []
    (cut,) = batcher.tick(1_010)
    assert (cut.boundary, cut.hi_max) == (Boundary.NONE, 10)
    list(batcher.add(observed(Kind.PRESS, 1_020), 1_020))
    (cut,) = batcher.add(observed(Kind.FOCUS, 1_030), 1_030)
    assert cut.boundary is Boundary.FOCUS
    assert isinstance(batcher.end(Boundary.END, 1_040).events[0], FocusEvent)


def test_silence_is_a_batch_every_ten_seconds() -> None:
    batcher = Batcher(0)
    cuts = [cut for now in range(0, 35_000, 100) for cut in batcher.tick(now)]
    assert [(cut.hi_max, cut.events) for cut in cuts] == [(10_000, ()), (20_000, ()), (30_000, ())]


def sealer(redactor: X25519PrivateKey, device: Ed25519PrivateKey) -> Sealer:
    return Sealer(Binding("ep-a", b"s" * 16, 3, b"m" * 32, "key-1"), redactor.public_key(), device, random.Random(1).randbytes)


def cut_of(batch: int, events) -> Cut:
    return Cut(batch, events[0].seq, 0, events[0].at_ms, events[-1].at_ms, Boundary.NONE, tuple(events))


def test_a_sealed_cut_opens_at_the_redactor_alone_and_a_fresh_key_comes_each_minute_or_1000_events() -> None:
    redactor, device = X25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    seal, wraps = sealer(redactor, device), []
    for n in range(8):
        events = [KeyEvent(n * 250 + i, 5_000 + n, Kind.PRESS, "k") for i in range(250)]
        raw = parse_raw(seal.seal(cut_of(n, events), Screen(10, 10), 0))
        verify_raw(raw, device.public_key())
        assert open_raw(raw, Opener({"key-1": redactor}))[0][-1].seq == n * 250 + 249
        wraps.append(raw.header.wrap)
    assert len(set(wraps)) == 2
    raw = parse_raw(seal.seal(cut_of(9, [PointerEvent(3000, 1, Kind.MOVE, 1, 2)]), Screen(10, 10), 60_000))
    assert raw.header.wrap not in wraps


def test_a_cut_shows_no_event() -> None:
    cut = cut_of(0, [KeyEvent(0, 1, Kind.PRESS, "zanquavel")])
    assert "zanquavel" not in repr(cut)
    assert "events" not in repr(cut)


def test_an_event_that_is_seen_after_a_later_sign_of_life_is_not_stamped_before_it() -> None:
    batcher = Batcher(1_000)
    [sign] = batcher.tick(11_000)
    assert list(batcher.add(Observed(10_990, Kind.MOVE), 10_990)) == []
    assert batcher.end(Boundary.END, 11_000).hi_min >= sign.hi_max
