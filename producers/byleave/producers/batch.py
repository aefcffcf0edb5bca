"""Cuts a session's events into batches and numbers them (rulings 18, 21, 22).

Pure: times come as arguments, sealing is `seal_cut`. A batch closes at 250 events, after one second, or at a boundary; an open
session cuts one at least every ten seconds, be it empty, so that the redactor reads silence from our stamps.

Promises  sequence numbers rise by one an event, in the order of capture; what is lost is declared as a gap before the next
          batch, never silently; stamps never run back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from byleave.core.batches import Boundary, RawHeader, seal_raw
from byleave.core.envelope import Binding, ContentKey, Randomness, fresh_key
from byleave.core.events import EVENTS_MAX, Event, FocusEvent, KeyEvent, Kind, PointerEvent, Screen, Window
from byleave.producers.hooks.source import Observed

BATCH_MS_MAX = 1_000
SILENCE_MS_MAX = 10_000
_KEYS = (Kind.PRESS, Kind.RELEASE, Kind.PASTE, Kind.TASK)


@dataclass(frozen=True, slots=True)
class Cut:
    """A closed batch before sealing. `gap` numbers before `seq0` were lost."""

    batch: int
    seq0: int
    gap: int
    hi_min: int
    hi_max: int
    boundary: Boundary
    events: tuple[Event, ...] = field(repr=False)


class Batcher:
    """One session's numbering and cutting. All times are permit times (ms)."""

    def __init__(self, now_ms: int) -> None:
        self.seq_next = 0
        self.gaps = 0
        self._gap = 0
        self._batch = 0
        self._last_ms = now_ms
        self._cut_ms = now_ms
        self._pending: list[Event] = []

    def add(self, observed: Observed, hi_ms: int) -> Iterator[Cut]:
        """Numbers and stamps one event; yields the batches that it closes."""
        hi_ms = max(hi_ms, self._last_ms)  # a later grant may know the time better: stamps still never run back
        if observed.kind is Kind.FOCUS:
            yield from self.boundary(Boundary.FOCUS)
        yield from self.tick(hi_ms)
        self._last_ms = hi_ms
        self._pending.append(stamp(observed, self.seq_next, hi_ms))
        self.seq_next += 1
        if len(self._pending) >= EVENTS_MAX:
            yield self._close(Boundary.NONE, hi_ms)

    def tick(self, now_ms: int) -> Iterator[Cut]:
        """The batch that is due by time, if any."""
        if self._pending and now_ms - self._pending[0].at_ms >= BATCH_MS_MAX:
            yield self._close(Boundary.NONE, self._last_ms)
        elif not self._pending and now_ms - self._cut_ms >= SILENCE_MS_MAX:
            yield self._close(Boundary.NONE, now_ms)

    def boundary(self, boundary: Boundary) -> Iterator[Cut]:
        """Closes what is pending; nothing where nothing is."""
        if self._pending:
            yield self._close(boundary, self._last_ms)

    def end(self, boundary: Boundary, now_ms: int) -> Cut:
        """The last batch of the session, be it empty: END or HALT.

        END has the time of what was last said: of a pause, a log-out and a suspended machine it tells the same.
        """
        last_said = self._pending or boundary is Boundary.END
        return self._close(boundary, self._last_ms if last_said else max(now_ms, self._last_ms))

    def lose(self, count: int) -> Iterator[Cut]:
        """`count` events were lost before the next one: what is pending goes first, so that the gap stands at its place."""
        if count > 0:
            yield from self.boundary(Boundary.NONE)
            self._gap += count
            self.gaps += count
            self.seq_next += count

    def refuse(self, cut: Cut) -> None:
        """A cut that could not be kept (spool full): its numbers become a gap before the next batch."""
        lost = cut.gap + len(cut.events)
        self._gap += lost
        self.gaps += len(cut.events)

    def _close(self, boundary: Boundary, hi_max: int) -> Cut:
        events = tuple(self._pending)
        self._pending = []
        hi_min = events[0].at_ms if events else hi_max
        seq0 = self.seq_next - len(events)
        cut = Cut(self._batch, seq0, self._gap, hi_min, hi_max, boundary, events)
        self._batch, self._gap = self._batch + 1, 0
        self._cut_ms = self._last_ms = hi_max  # an event seen late, after a sign of life, must not be stamped before it
        return cut


def stamp(observed: Observed, seq: int, hi_ms: int) -> Event:
    """The event with its number and permit time."""
    if observed.kind is Kind.FOCUS:
        return FocusEvent(seq, hi_ms, observed.window or Window(0, ""))
    if observed.kind in _KEYS:
        return KeyEvent(seq, hi_ms, observed.kind, observed.key, observed.modifiers)
    o = observed
    return PointerEvent(seq, hi_ms, o.kind, o.x, o.y, o.button, o.dx, o.dy, o.target)


class Sealer:
    """Seals one session's cuts. Holds the content key in use, fresh each minute or 1,000 events, never on disk (ruling 11)."""

    def __init__(self, binding: Binding, recipient: X25519PublicKey, signer: Ed25519PrivateKey, randomness: Randomness) -> None:
        self._binding, self._recipient, self._signer, self._randomness = binding, recipient, signer, randomness
        self._key: ContentKey | None = None

    def seal(self, cut: Cut, screen: Screen, now_ms: int) -> bytes:
        """The Kafka value of a cut. `now_ms`: any clock that does not run back, for the age of the content key."""
        if self._key is None or self._key.spent(now_ms):
            self._key = fresh_key(self._binding, self._recipient, now_ms, self._randomness)
        b = self._binding
        header = RawHeader(
            endpoint=b.endpoint, session=b.session, epoch=b.epoch, batch=cut.batch, seq0=cut.seq0, count=len(cut.events),
            gap=cut.gap, hi_min=cut.hi_min, hi_max=cut.hi_max, manifest=b.manifest, key_id=b.key_id, wrap=self._key.wrap,
            boundary=cut.boundary,
        )  # fmt: skip
        return seal_raw(header, cut.events, screen, self._key, self._signer)
