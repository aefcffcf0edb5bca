"""One endpoint's session as one sequence: batches in, sanitized batches out (rulings 18, 19, 25).

Promises  decisions depend on the endpoint's events and stamps only: no clock, no batch boundary, no randomness. However the
          input is cut into batches, the rows of each content and level are the same. Nothing leaves before what came before it
          is decided.
Refuses   batches out of order, a second time, or after the session's end; the state is then as it was.

Final is what stands before a boundary: enter, tab, click, focus change, a batch closed as FOCUS or IDLE, END or HALT, 30 s
without a key in the field; or what is 30 s or 500 characters behind its field's newest key with no removed span beside it,
looked at whenever a word ends (at most every 5 s or 100 characters, so the hold is at most some seconds or words longer). A
word cut off by a boundary other than enter or tab may go on elsewhere, and is let out only if it is a plain word by itself, in
small letters. Where the caret is lost (click, up, an unknown shortcut) what was typed before stays a cue for what follows.

A field's level only rises. A new field starts at tab and click, and at enter where enter submits (`policy.toml`): what follows
is then another record. In text fields enter is a new line of the same field, so a rise outlives it (ruling 18).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from byleave.core import codec
from byleave.core.batches import (
    AdmittedBatch,
    Boundary,
    Content,
    SanitizedBatch,
    SanitizedHeader,
    body_schema,
    data_key_id,
    utc_day,
)
from byleave.core.codec import Record
from byleave.core.errors import Refused
from byleave.core.events import FocusEvent, PointerEvent, Screen
from byleave.core.levels import Level
from byleave.core.rows import KEY_ROW, ActionRow, EventRow, pack_actions, pack_events
from byleave.processors.account import Account
from byleave.processors.hold import Hold
from byleave.processors.reduce import Rows, rounded
from byleave.processors.rules import Rules, load_rules
from byleave.processors.waiting import Waiting

__all__ = ["Account", "EndpointState", "Rules", "close", "feed", "load_rules"]

PAST_SESSIONS_MAX = 16
_ROWS = {Content.EVENTS: "event_rows", Content.ACTIONS: "action_rows"}
TIME_MS_MAX = 7_258_118_400_000
"""The year 2200."""
SILENCE_MS_MAX = 30 * 86_400_000
"""Longest silence within a session: rows of one record must span less than 49 days."""


@dataclass(slots=True)
class EndpointState:
    """The whole state of one endpoint (ruling 19): all that `feed` reads. It holds raw text: sealed wherever it is stored.

    `closed` holds the accounts of sessions that a newer session of the endpoint closed, until the caller takes them; `drifted`
    the sessions that held what their manifest does not promise.
    """

    session: bytes = b""
    ended: bool = False
    hold: Hold = field(default_factory=lambda: Hold(Waiting(Account())), repr=False)
    screen: Screen = field(default_factory=lambda: Screen(0, 0))
    rows_written: dict[tuple[Content, int], int] = field(default_factory=dict)
    past: list[bytes] = field(default_factory=list)
    drifted: list[bytes] = field(default_factory=list)
    closed: list[tuple[bytes, Account]] = field(default_factory=list)

    @property
    def account(self) -> Account:
        """The counters of the session."""
        return self.hold.account

    @property
    def next_seq(self) -> int:
        """The next sequence number expected."""
        return self.account.next_seq


def feed(state: EndpointState, batch: AdmittedBatch, rules: Rules, rows: Rows | None = None) -> list[SanitizedBatch]:
    """What `batch` gives, and what it decides of what was held: at most one sanitized batch for each content and level.

    A batch of a new session closes the session before it first, as vanished; its account then stands in `state.closed`.
    `rows`, empty, gets the rows of the batch's own session themselves: they know their source (the preview).
    Raises Refused before anything changed: `out-of-order`, `duplicate-sequence`, `session-ended`.
    """
    header = batch.header
    renewed = header.session != state.session
    _check(state, batch, renewed)
    out: list[SanitizedBatch] = []
    if renewed:
        if state.session:
            out += close(state, rules, batch)
            state.closed.append((state.session, state.account))
            state.past = [*state.past, state.session][-PAST_SESSIONS_MAX:]
        state.session, state.ended, state.hold, state.rows_written = header.session, False, Hold(Waiting(Account())), {}
    rows = Rows() if rows is None else rows
    _apply(state, batch, rules, rows)
    return out + _sanitized(state, batch, rules, rows)


def close(state: EndpointState, rules: Rules, at: AdmittedBatch, *, vanished: bool = True) -> list[SanitizedBatch]:
    """Closes a session without a batch of its own: decides what is held. Of an endpoint that vanished, the open token is
    dropped; a halt is a boundary like the end (ruling 18).

    `at` is whatever came in its place, for the headers: a batch of the next session, or a closing record as a batch of none.
    """
    if state.ended:
        return []
    rows = Rows()
    state.hold.finish(rules, rows, vanished=vanished)
    state.ended = state.account.ended = True
    return _sanitized(state, at, rules, rows)


def _check(state: EndpointState, batch: AdmittedBatch, renewed: bool) -> None:
    header = batch.header
    since_ms = state.hold.now_ms if not renewed and state.hold.now_ms else header.hi_max
    if header.hi_max > TIME_MS_MAX or header.hi_max - since_ms > SILENCE_MS_MAX:
        raise Refused("the batch claims a time that no session reaches", reason="bad-time")
    if header.session in state.past or (not renewed and state.ended):
        raise Refused("the batch belongs to a session that has ended", reason="session-ended")
    due = (0 if renewed else state.next_seq) + header.gap
    if header.seq0 < due:
        raise Refused(f"sequence starts at {header.seq0}, {due} is due", reason="duplicate-sequence")
    if header.seq0 > due:
        raise Refused(f"sequence starts at {header.seq0}, {due} is due", reason="out-of-order")


def _apply(state: EndpointState, batch: AdmittedBatch, rules: Rules, rows: Rows) -> None:
    header, hold, account = batch.header, state.hold, state.account
    if batch.screen.width and batch.screen != state.screen:
        state.screen = batch.screen
    if header.gap:
        hold.lose(header.seq0 - header.gap, header.seq0 - 1, header.hi_min, rules, rows)
    account.gaps += header.gap
    account.admitted += header.count
    account.held += header.count
    account.next_seq = header.seq_end
    for event in batch.events:
        if event.at_ms > hold.now_ms:
            hold.advance(event.at_ms, rules, rows)
        if isinstance(event, PointerEvent):
            hold.pointer(event, state.screen, rules, rows)
        elif isinstance(event, FocusEvent):
            hold.focus(event, rules, rows)
        else:
            hold.key(event, rules, rows)
    hold.advance(header.hi_max, rules, rows)
    if header.boundary in (Boundary.END, Boundary.HALT):
        hold.finish(rules, rows)
        state.ended = account.ended = True
    elif header.boundary is not Boundary.NONE:
        hold.decide(rules, rows)


def _sanitized(state: EndpointState, batch: AdmittedBatch, rules: Rules, rows: Rows) -> list[SanitizedBatch]:
    out, account = [], state.account
    packed: list[tuple[Content, int, Sequence[EventRow | ActionRow], Record]] = [
        *((Content.EVENTS, level, found, pack_events(found, state.screen)) for level, found in sorted(rows.events.items())),
        *((Content.ACTIONS, level, found, pack_actions(found)) for level, found in sorted(rows.actions.items())),
    ]
    for content, level, found, body in packed:
        header = _header(state, batch, rules, content, level, found)
        out.append(SanitizedBatch(header, codec.encode_body(body_schema(content), body)))
        counter = "review_rows" if level == Level.PEOPLE else _ROWS[content]
        setattr(account, counter, getattr(account, counter) + len(found))
    return out


def _row_ms(row: EventRow | ActionRow) -> int:
    """A row's time as the row itself tells it: a header must not say the time of a key more finely."""
    if isinstance(row, ActionRow):
        return row.start_ms
    return rounded(row.at_ms) if row.kind == KEY_ROW else row.at_ms


def _header(
    state: EndpointState, batch: AdmittedBatch, rules: Rules, content: Content, level: int, rows: Sequence[EventRow | ActionRow]
) -> SanitizedHeader:
    header, origin = batch.header, batch.origin
    times = [_row_ms(row) for row in rows]
    row0 = state.rows_written.get((content, level), 0)
    state.rows_written[content, level] = row0 + len(rows)
    key_id = data_key_id(batch.subject, utc_day(header.hi_max), Level(level))
    return SanitizedHeader(
        endpoint=header.endpoint, session=state.session, subject=batch.subject, epoch=header.epoch, content=content,
        level=Level(level), key_id=key_id, rows=len(rows), row0=row0, seq0=header.seq0,
        count=header.count, hi_min=min(times), hi_max=max(times), raw_topic=origin.topic, raw_partition=origin.partition,
        raw_offset=origin.offset, raw_append_ms=origin.append_ms, manifest=header.manifest, policy=rules.digest,
        t_star=batch.t_star,
    )  # fmt: skip
