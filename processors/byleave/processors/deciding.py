"""When held text is decided: the piece that is being typed, in the queue of what waits for it.

Promises  a stretch is decided whole, or cut where nothing that must go stands beside the cut and no paste is divided; its one
          action stands in the queue in front of the first of its keys; what is held is bounded in time and in length.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from byleave.core.levels import Level
from byleave.processors.account import Account
from byleave.processors.classify import NOWHERE, Context, record_level
from byleave.processors.reassemble import Field, Outcome
from byleave.processors.redact import Span, find_spans, safe_cut
from byleave.processors.reduce import Rows
from byleave.processors.rules import Rules
from byleave.processors.stretch import hidden_row, stretch_row
from byleave.processors.waiting import Waiting

HOLD_MS = 30_000
HOLD_CHARS = 500
CHECK_MS, CHECK_CHARS = 5_000, 100
PIECE_CHARS_MAX = 5_000
"""Longest held stretch (one paste and what surrounds it); beyond it the stretch ends where it is."""
CUTS_MAX = 8
"""Places that are tried for a cut that divides no paste."""


@dataclass(slots=True)
class Deciding:
    """What a decision needs to know: what waits, the window's context and the piece under the caret."""

    waiting: Waiting
    context: Context = NOWHERE
    piece: Field = field(default_factory=Field)

    @property
    def account(self) -> Account:
        return self.waiting.account

    def decide(self, rules: Rules, rows: Rows, *, closed: bool = False) -> None:
        """Decides all that is held. `closed`: the last token is known to be whole."""
        piece = self.piece
        if piece.chars:
            text = "".join(piece.chars)
            spans = find_spans(piece.context, text, rules, open_left=piece.open_left, open_right=not closed)
            self._decide(text, spans, len(text), rules)
            torn = not closed and any(span.start <= piece.caret <= span.end for span in spans)
            piece.remember(text[: piece.caret], torn=torn)
            if piece.caret < len(text):  # final text stands on both sides of the caret
                piece.lose_caret()
            piece.clear()
        if self.waiting.items:
            self.waiting.settle(rows)

    def _let_go(self, rules: Rules, rows: Rows) -> None:
        """Decides the part of the piece that is 30 s or 500 characters behind its newest key, if nothing touches the cut."""
        piece, size, newest_ms = self.piece, len(self.piece.chars), self.piece.newest_ms
        old = newest_ms - piece.owners[0].at_ms > HOLD_MS and newest_ms >= piece.check_ms
        if not old and (size <= HOLD_CHARS or size < piece.check_chars):
            return
        piece.check_ms, piece.check_chars = newest_ms + CHECK_MS, size + CHECK_CHARS
        limit = size - HOLD_CHARS
        if old:
            first_young = next((n for n, owner in enumerate(piece.owners) if newest_ms - owner.at_ms < HOLD_MS), size)
            limit = max(limit, first_young)
        text = "".join(piece.chars)
        spans = find_spans(piece.context, text, rules, open_left=piece.open_left, open_right=True)
        cut, tries = safe_cut(text, spans, limit), 0
        while tries < CUTS_MAX and (whole := piece.whole_before(cut)) < cut:
            cut, tries = safe_cut(text, spans, whole), tries + 1
        if cut > 0 and tries < CUTS_MAX:
            self._decide(text[:cut], [span for span in spans if span.end <= cut], cut, rules)
            piece.release(cut)
            piece.check_chars = len(piece.chars) + CHECK_CHARS
            self.waiting.settle(rows)
        elif size > PIECE_CHARS_MAX:
            self.decide(rules, rows)

    def level_of(self, text: str, spans: list[Span], rules: Rules) -> Level:
        """The level of `text` if it were decided now."""
        start = Level(max(self.context.text_level, self.piece.level))
        return record_level(start, text, [span.label for span in spans], rules)

    def _decide(self, text: str, spans: list[Span], size: int, rules: Rules) -> None:
        """Gives each owner of `text` its outcome and puts the stretch's action in front of the first of them."""
        piece = self.piece
        self._found(spans)
        level = piece.level = self.level_of(text, spans, rules)
        outcome = Outcome.of(level)
        owners = piece.owners[:size]
        for owner in owners:
            owner.outcome, owner.level = outcome, level
        if outcome is Outcome.LEVEL4:
            row = hidden_row(owners, spans, self.context.app)
        else:
            row = stretch_row(text, owners, spans, self.context.app, disturbed=piece.disturbed)
        self.waiting.put_before(outcome, row, level)

    def _found(self, spans: list[Span]) -> None:
        for span in spans:
            self.account.found(span.label, span.rule)

    def _barrier(self, rules: Rules, rows: Rows) -> None:
        """Decides what is held; what follows may stand anywhere in the same field."""
        self.decide(rules, rows)
        self.piece.lose_caret()

    def _after_edit(self, rows: Rows) -> None:
        if self.waiting.items and not self.piece.chars:
            self.waiting.settle(rows)
