"""Whatever an endpoint sends, what the redactor keeps of it stays below a stated bound; so does the time of one batch."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from state_size import deep_bytes
from typed_sessions import EDITOR, TERMINAL, focused

from byleave.core.events import EVENTS_MAX, KEY_CHARS_MAX, Event, Modifiers
from byleave.processors import snapshot
from byleave.processors.preview import batch_of
from byleave.processors.session import EndpointState, Rules, feed
from byleave.processors.waiting import QUEUE_MAX

pytestmark = pytest.mark.slow

IDLE_BYTES_MAX = 50_000
STATE_BYTES_MAX = 2_000_000
DUMP_BYTES_MAX = 600_000
BATCH_S_MAX = 5.0
"""For a batch at the bound of the format, a million characters; some times what it takes, as machines differ."""

SHIFT = Modifiers.SHIFT
HOSTILE: dict[str, list[object]] = {
    "pastes of words": [("paste", "word " * (KEY_CHARS_MAX // 5))] * 250,
    "pastes without a blank": [("paste", "x" * KEY_CHARS_MAX)] * 250,
    "pastes of digits": [("paste", "1-1-" * (KEY_CHARS_MAX // 4))] * 60,
    "pastes of two characters": [("paste", "a ")] * 9_000,
    "a paste that is typed into": [("paste", "we plan " * 400), ("key", "left"), *["go "] * 2_000, ("key", "end"), " we"],
    "10,000 windows": [what for n in range(10_000) for what in (("focus", EDITOR, n), "ab c ")],
    "keys that never come up": [chr(0x4E00 + n) for n in range(9_000)],
    "keys without a name": [("key", f"odd{n}") for n in range(9_000)],
    "a token without an end": ["x" * 9_000],
    "secrets without an end": ["wkowal 12345678 " * 600],
    "words without a boundary": ["we plan " * 1_500],
    "moves behind a held word": ["plan ", *[("move", n % 900, 3) for n in range(12_000)]],
    "typing in the middle": ["plan ", ("key", "left"), *["xy "] * 3_000],
    "selections": [what for _ in range(2_000) for what in ("abc ", ("key", "left", SHIFT))],
    "dead keys": [("key", "\u0301")] * 9_000,
    "modifiers": [("key", "shift_l")] * 9_000,
}  # fmt: skip


def worst(events: Sequence[Event], rules: Rules) -> tuple[int, int, float, EndpointState]:
    """Most bytes in memory, most bytes dumped, longest CPU time of a batch, and the state at the end."""
    state, kept, dumped, longest = EndpointState(), 0, 0, 0.0
    for n, start in enumerate(range(0, len(events), EVENTS_MAX)):
        some = events[start : start + EVENTS_MAX]
        began = time.process_time()
        feed(state, batch_of(some, start, some[-1].at_ms), rules)
        longest = max(longest, time.process_time() - began)
        assert len(state.hold.waiting.items) <= QUEUE_MAX + 1
        if n % 4 == 0 or start + EVENTS_MAX >= len(events):
            kept, dumped = max(kept, deep_bytes(state)), max(dumped, len(snapshot.dump(state)))
    return kept, dumped, longest, state


@pytest.mark.parametrize("stream", HOSTILE)
def test_a_hostile_stream_is_held_within_bounds(rules: Rules, stream: str) -> None:
    kept, dumped, longest, state = worst(focused(HOSTILE[stream], gap_ms=1), rules)
    assert kept <= STATE_BYTES_MAX
    assert dumped <= DUMP_BYTES_MAX
    assert longest <= BATCH_S_MAX
    assert snapshot.dump(snapshot.load(snapshot.dump(state))) == snapshot.dump(state)


def test_an_idle_endpoint_takes_little(rules: Rules) -> None:
    line = "good morning, please review the plan\n" * 5
    one = worst(focused([line, ("focus", TERMINAL, 2), "git status\n", ("wait", 40_000)]), rules)
    many = worst(focused([what for n in range(70) for what in (("focus", EDITOR, n), line)] + [("wait", 40_000)]), rules)
    assert deep_bytes(one[3]) <= IDLE_BYTES_MAX / 4
    assert deep_bytes(many[3]) <= IDLE_BYTES_MAX
    assert len(snapshot.dump(many[3])) <= IDLE_BYTES_MAX


def test_a_paste_is_decided_once_and_whole(rules: Rules) -> None:
    """An event that is let go in part would have left the queue with the rest of its text still held."""
    words = "we can talk about the plan " * 30
    for scene in ([("paste", words)] * 12, [("paste", words), "and we go on " * 60, ("paste", words), "\n"]):
        _, _, _, state = worst(focused(scene), rules)
        queued = set(map(id, state.hold.waiting.items))
        assert all(id(owner) in queued for owner in state.hold.piece.owners)
