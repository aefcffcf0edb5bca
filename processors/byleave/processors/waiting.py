"""The queue of a session: events in input order, none of which leaves before what came before it is decided (ruling 18)."""

from __future__ import annotations

from dataclasses import dataclass, field

from byleave.core.rows import ActionKind, ActionRow, KeyClass
from byleave.processors.account import Account
from byleave.processors.keyboard import NAMED
from byleave.processors.reassemble import POINTER, TEXT, TYPED, Item, Outcome
from byleave.processors.reduce import Reducer, Rows

QUEUE_MAX = 3_500
"""More events than this end the stretch that they wait for. Their rows fit one record (`codec.ITEMS_MAX`)."""


@dataclass(slots=True)
class Waiting:
    """Items whose turn has not come, and the reducer that takes them when it has."""

    account: Account
    items: list[Item] = field(default_factory=list)
    reducer: Reducer = field(default_factory=Reducer)

    def take(self, item: Item, rows: Rows) -> None:
        """A decided item: it leaves now if nothing waits before it."""
        if self.items:
            self.items.append(item)
        else:
            self._leave(item, rows)

    def mark(self, level: int, row: ActionRow, rows: Rows) -> None:
        """A row that no event waits for."""
        self.take(Item(TYPED, row.start_ms, row.app, level, Outcome.of(level), 0, row, row.first), rows)

    def settle(self, rows: Rows) -> None:
        """Lets go what is decided, up to the first that is not."""
        done = 0
        for item in self.items:
            if item.outcome is Outcome.PENDING:
                break
            done += 1
            self._leave(item, rows)
        del self.items[:done]

    def put_before(self, outcome: Outcome, action: ActionRow, level: int) -> None:
        """Puts a decided stretch's action in front of the first key of it that leaves."""
        first = next(n for n, item in enumerate(self.items) if item.kind == TEXT and item.outcome is outcome)
        self.items.insert(first, Item(TYPED, action.start_ms, action.app, level, outcome, 0, action, action.first))

    def _leave(self, item: Item, rows: Rows) -> None:
        """Counts an item for good, with all that shares its fate, and makes its rows."""
        outcome, kind = item.outcome, item.kind
        what = "pointer" if kind == POINTER else "key"
        self.account.settle(outcome, item.count, item.app, what, item.level, replaced=item.replaced)
        item.count = 0
        if outcome is not Outcome.KEPT and outcome is not Outcome.REVIEWED:
            if outcome is Outcome.LEVEL4 and kind == TYPED:
                rows.hide(item.at_ms, item.data.first, item.data.last, item.data.redactions)
            elif outcome is Outcome.LEVEL4 and kind != TEXT:
                rows.hide(item.at_ms, item.seq, item.seq)
            return
        if kind == TEXT:
            if item.data is None:
                self.reducer.key(item.at_ms, item.app, item.level, KeyClass.CHAR, None, rows)
        elif kind == POINTER:
            event, x, y = item.data
            self.reducer.pointer(event, x, y, item.app, item.level, rows)
        elif kind == TYPED:
            self.reducer.typed(item.level, item.data, rows)
        elif item.data:
            names: tuple[str, ...] = item.data
            action, at_ms = (ActionKind.PRESS if len(names) == 1 else ActionKind.HOTKEY), item.at_ms
            clear = (item.seq,) if len(names[-1]) == 1 else ()
            row = ActionRow(action, at_ms, at_ms, item.app, keys=names, first=item.seq, last=item.seq, clear=clear)
            self.reducer.key(item.at_ms, item.app, item.level, NAMED.get(names[-1], KeyClass.CHAR), row, rows)
