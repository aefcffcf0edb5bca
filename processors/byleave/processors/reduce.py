"""Settled events to rows: event rows without text, and actions in the grain that trainers use.

    click, double, triple   same button within 500 ms and 5 px          drag    moved more than 5 px while down
    scroll                  notches with gaps of at most 1 s            type    a decided stretch
    press                   enter, tab and named keys                   hotkey  ctrl, alt or meta with a key

Promises  waiting (is this click the first of two?) is by the endpoint's own stamps, so that rows do not depend on how the
          input was cut into batches. Places of actions are fractions of the screen.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from byleave.core.events import BUTTONS, Kind, PointerEvent
from byleave.core.rows import KEY_ROW, ROW_TIME_STEP_MS, ActionKind, ActionRow, EventRow, KeyClass

CLICK_MS_MAX = 500
CLICK_PIXELS_MAX = 5
SCROLL_GAP_MS_MAX = 1000
_BUTTONS = {number: name for name, number in BUTTONS.items()}
_CLICKS = (ActionKind.CLICK, ActionKind.DOUBLE_CLICK, ActionKind.TRIPLE_CLICK)


@dataclass(slots=True)
class Click:
    """A button that is down, or clicks that may become more: the row so far, with exact times, and its place in pixels."""

    level: int
    row: ActionRow
    button: int
    down_ms: int
    px: int
    py: int
    times: int = 0


@dataclass(slots=True)
class Scroll:
    """Notches that may become more: the row so far, with exact times."""

    level: int
    row: ActionRow


@dataclass(slots=True)
class Rows:
    """Rows of one batch by level, in the order of the session.

    `hidden` tells the preview what was written nowhere, and is itself written nowhere: (time, first event, last, labels).
    """

    events: dict[int, list[EventRow]] = field(default_factory=dict)
    actions: dict[int, list[ActionRow]] = field(default_factory=dict)
    hidden: list[tuple[int, int, int, tuple[str, ...]]] = field(default_factory=list)

    def hide(self, at_ms: int, first: int, last: int, labels: tuple[str, ...] = ()) -> None:
        """Events of level 4. Those that follow one another are one run."""
        if self.hidden and self.hidden[-1][2] + 1 == first and not (labels or self.hidden[-1][3]):
            at_ms, first, _, _ = self.hidden.pop()
        self.hidden.append((at_ms, first, last, labels))

    def event(self, level: int, row: EventRow) -> None:
        self.events.setdefault(level, []).append(row)

    def action(self, level: int, row: ActionRow) -> None:
        """Adds a row; from here on it tells its times no finer than rows may."""
        row = replace(row, start_ms=rounded(row.start_ms), end_ms=rounded(row.end_ms))
        self.actions.setdefault(level, []).append(row)


def rounded(at_ms: int) -> int:
    """A time as rows may say it."""
    return at_ms // ROW_TIME_STEP_MS * ROW_TIME_STEP_MS


@dataclass(slots=True)
class Reducer:
    """What the last settled events may still become."""

    down: Click | None = None
    click: Click | None = None
    scroll: Scroll | None = None

    def tick(self, now_ms: int, rows: Rows) -> None:
        """Ends what no event after `now_ms` can join."""
        if self.click is not None and self.down is None and now_ms - self.click.down_ms > CLICK_MS_MAX:
            self._end_click(rows)
        if self.scroll is not None and now_ms - self.scroll.row.end_ms > SCROLL_GAP_MS_MAX:
            self._end_scroll(rows)

    def pointer(self, event: PointerEvent, x: float, y: float, app: str, level: int, rows: Rows) -> None:
        """A settled pointer event; `x`, `y` its place as fractions of the screen of its time."""
        rows.event(level, EventRow(event.at_ms, event.kind, app, event.x, event.y, event.button, event.dx, event.dy))
        if event.kind is Kind.BUTTON_DOWN:
            self._button_down(event, x, y, app, level, rows)
        elif event.kind is Kind.BUTTON_UP:
            self._button_up(event, x, y, rows)
        elif event.kind is Kind.SCROLL:
            self._turn(event, x, y, app, level, rows)

    def key(self, at_ms: int, app: str, level: int, key_class: KeyClass, action: ActionRow | None, rows: Rows) -> None:
        """A settled key, with the action that it is by itself."""
        rows.event(level, EventRow(at_ms, KEY_ROW, app, key_class=key_class))
        if action is not None:
            self.typed(level, action, rows)

    def typed(self, level: int, action: ActionRow, rows: Rows) -> None:
        """An action that is whole; what came before it is over, if it is more than keys that are down."""
        if action.kind is not ActionKind.HELD:
            self._end_click(rows)
            self._end_scroll(rows)
        rows.action(level, action)

    def finish(self, rows: Rows) -> None:
        """The session is over: nothing can join any more. A button still down counts as a click where it went down."""
        self._release_down(rows)
        self._end_click(rows)
        self._end_scroll(rows)

    def _button_down(self, event: PointerEvent, x: float, y: float, app: str, level: int, rows: Rows) -> None:
        self._release_down(rows)  # if one is down still, its release was lost
        self._end_scroll(rows)
        last = self.click
        if last is not None and not (
            last.button == event.button and event.at_ms - last.down_ms <= CLICK_MS_MAX and _near(last, event) and last.times < 3
        ):
            self._end_click(rows)
        at_ms, seq, name = event.at_ms, event.seq, _BUTTONS.get(event.button, "")
        row = ActionRow(ActionKind.CLICK, at_ms, at_ms, app, name, x, y, target=event.target, first=seq, last=seq)
        self.down = Click(level, row, event.button, at_ms, event.x, event.y)

    def _button_up(self, event: PointerEvent, x: float, y: float, rows: Rows) -> None:
        down = self.down
        if down is None or down.button != event.button:
            return
        down.row = replace(down.row, end_ms=event.at_ms, last=event.seq)
        if _near(down, event):
            self._release_down(rows)
            return
        self.down = None
        self._end_click(rows)
        rows.action(down.level, replace(down.row, kind=ActionKind.DRAG, to_x=x, to_y=y))

    def _release_down(self, rows: Rows) -> None:
        down, self.down = self.down, None
        if down is None:
            return
        if self.click is None:
            self.click = down
        else:
            self.click.down_ms, self.click.level = down.down_ms, max(self.click.level, down.level)
            self.click.row = replace(self.click.row, end_ms=down.row.end_ms, last=down.row.last)
        self.click.times += 1
        if self.click.times == len(_CLICKS):
            self._end_click(rows)

    def _end_click(self, rows: Rows) -> None:
        click, self.click = self.click, None
        if click is not None:
            rows.action(click.level, replace(click.row, kind=_CLICKS[click.times - 1]))

    def _turn(self, event: PointerEvent, x: float, y: float, app: str, level: int, rows: Rows) -> None:
        self._end_click(rows)
        last = self.scroll
        if last is not None and last.row.app == app and event.at_ms - last.row.end_ms <= SCROLL_GAP_MS_MAX:
            dx, dy = last.row.dx + event.dx, last.row.dy + event.dy
            last.row = replace(last.row, end_ms=event.at_ms, dx=dx, dy=dy, last=event.seq)
            return
        self._end_scroll(rows)
        at_ms, seq = event.at_ms, event.seq
        row = ActionRow(ActionKind.SCROLL, at_ms, at_ms, app, x=x, y=y, dx=event.dx, dy=event.dy, first=seq, last=seq)
        self.scroll = Scroll(level, row)

    def _end_scroll(self, rows: Rows) -> None:
        scroll, self.scroll = self.scroll, None
        if scroll is not None:
            rows.action(scroll.level, scroll.row)


def _near(click: Click, event: PointerEvent) -> bool:
    return abs(click.px - event.x) <= CLICK_PIXELS_MAX and abs(click.py - event.y) <= CLICK_PIXELS_MAX
