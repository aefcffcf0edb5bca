"""The hold: one queue of a session's events in input order, from which nothing leaves before what came before it is decided.

Promises  text is decided a stretch at a time, whole; an event that waits is in the account as held; all of it is bounded. See
          `session.py` for when a key is final.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from byleave.core.events import MODIFIER_BITS, FocusEvent, KeyEvent, Kind, Modifiers, PointerEvent, Screen
from byleave.core.levels import Level
from byleave.processors.classify import context_of
from byleave.processors.deciding import HOLD_MS, PIECE_CHARS_MAX, Deciding
from byleave.processors.keyboard import (
    AWAY,
    COMMAND,
    EDITING,
    MOVING,
    NAMED,
    NO_EFFECT_ON_TEXT,
    SHORTCUTS,
    is_command,
    plain_key,
    shortcut_names,
)
from byleave.processors.marks import HELD_STEP_MS, gap_row, held_row, judged_click, switch_row, task_row
from byleave.processors.reassemble import KEY, PASTED, POINTER, TEXT, UNKNOWN_CHAR, Field, Item, Outcome, is_dead
from byleave.processors.reduce import Rows
from byleave.processors.rules import Rules
from byleave.processors.waiting import QUEUE_MAX

FIELDS_MAX = 64
DOWN_MAX = 64
_LEVELS = {Outcome.KEPT: Level.INTERNAL, Outcome.REVIEWED: Level.PEOPLE, Outcome.LEVEL4: Level.SECRET}
SHORTCUTS_IN_A_ROW_MAX = 4
"""More shortcuts than this without other input is a stuck modifier under someone's typing: they are counted, not written."""


@dataclass(slots=True)
class Hold(Deciding):
    """All that a session still has to decide. `down` maps keys that are down to their press, or to what became of it;
    `modifiers` and `named` to its time.
    """

    handle: int = -1
    fields: dict[int, Field] = field(default_factory=dict)
    down: dict[str, Item | Outcome] = field(default_factory=dict, repr=False)
    modifiers: dict[str, int] = field(default_factory=dict)
    named: dict[str, int] = field(default_factory=dict)
    loose: int = 0
    now_ms: int = 0
    shortcuts: int = 0

    # -- what the session calls -------------------------------------------------------------------------------------------

    def advance(self, now_ms: int, rules: Rules, rows: Rows) -> None:
        """The endpoint says that it is `now_ms`: 30 s of silence decide its field."""
        if now_ms <= self.now_ms:
            return
        second, self.now_ms = now_ms // HELD_STEP_MS > self.now_ms // HELD_STEP_MS, now_ms
        if second and (self.modifiers or self.named) and not self.piece.chars:
            self._name_held(rows)
        if self.piece.chars and now_ms - self.piece.newest_ms >= HOLD_MS:
            self.decide(rules, rows)
        self.waiting.reducer.tick(now_ms, rows)

    def pointer(self, event: PointerEvent, screen: Screen, rules: Rules, rows: Rows) -> None:
        """A move, button or wheel event."""
        if event.kind is Kind.BUTTON_DOWN:
            self.shortcuts = 0
            self._click(event.button, rules, rows)
        level, event, removed = judged_click(event, self.context, rules)
        self._found(removed)
        place = (event.x / screen.width, event.y / screen.height) if screen.width and screen.height else (-1.0, -1.0)
        item = Item(POINTER, event.at_ms, self.context.app, level, Outcome.of(level), 1, (event, *place), event.seq)
        self.waiting.take(item, rows)
        if len(self.waiting.items) > QUEUE_MAX:
            self.decide(rules, rows)

    def focus(self, event: FocusEvent, rules: Rules, rows: Rows) -> None:
        """Another window, or the same one anew. Modifiers held across it are not trusted."""
        self.decide(rules, rows)
        self._settle_loose()
        self.modifiers.clear()
        self.named.clear()
        self.shortcuts = 0
        window = event.window
        self.context = context_of(window, rules.policy)
        place = f"{window.app}\n{window.site}"
        if window.handle != self.handle or self.piece.app != place:
            level, row = switch_row(event, self.context, rules)
            self.waiting.mark(level, row, rows)
        self.handle = window.handle
        known = self.fields.pop(window.handle, None)
        self.piece = known if known is not None and known.app == place else Field(place)
        self.fields[window.handle] = self.piece
        if len(self.fields) > FIELDS_MAX:
            del self.fields[next(iter(self.fields))]
        self.account.settle(Outcome.of(self.context.level), 1, self.context.app, "window", self.context.level)

    def key(self, event: KeyEvent, rules: Rules, rows: Rows) -> None:
        """A press, release or paste, or a stated task."""
        if event.kind is Kind.TASK:
            self._task(event, rules, rows)
        elif self.context.text_level == Level.SECRET:
            self._settle(1)
            rows.hide(event.at_ms, event.seq, event.seq)
        elif event.kind is Kind.RELEASE:
            self._release(event)
        elif event.kind is Kind.PASTE:
            self._paste(event, rules, rows)
        elif event.key in MODIFIER_BITS:
            self.modifiers[event.key] = event.at_ms
            self.loose += 1
        else:
            self._press(event, rules, rows)
        if len(self.waiting.items) > QUEUE_MAX:
            self.decide(rules, rows)

    def finish(self, rules: Rules, rows: Rows, *, vanished: bool = False) -> None:
        """The session is over. If its endpoint vanished, the open token is dropped."""
        if vanished:
            self.piece.drop_open_token()
        self.decide(rules, rows)
        self._settle_loose()
        self.waiting.reducer.finish(rows)

    def lose(self, first: int, last: int, at_ms: int, rules: Rules, rows: Rows) -> None:
        """Events `first` to `last` are missing before `at_ms`: what they did to the text is not known."""
        self._barrier(rules, rows)
        self.waiting.mark(self.context.level, gap_row(self.now_ms or at_ms, at_ms, self.context.app, first, last), rows)
        self.down.clear()
        self.modifiers.clear()
        self.named.clear()

    def _task(self, event: KeyEvent, rules: Rules, rows: Rows) -> None:
        self.decide(rules, rows)
        level, row, removed = task_row(event, rules)
        self._found(removed)
        self.waiting.mark(level, row, rows)
        self.account.settle(Outcome.of(level), 1, row.app, "task", level)

    # -- keys -------------------------------------------------------------------------------------------------------------

    def _press(self, event: KeyEvent, rules: Rules, rows: Rows) -> None:
        modifiers = self._trusted(event)
        key = plain_key(event.key, modifiers) if event.key <= " " else event.key
        if modifiers & COMMAND and is_command(key, modifiers):
            self._command(event, key, modifiers, rules, rows)
            return
        self.shortcuts = 0
        if len(key) == 1:
            self._char(event, key, rules, rows)
        elif key == "space":
            self._text(event, " ", None, rules, rows)
        elif key in EDITING:
            self._edit(event, key, modifiers, rows)
        elif key in MOVING:
            self._move(event, key, modifiers, rules, rows)
        elif key == "enter":
            self._enter(event, rules, rows)
        elif key in NAMED:
            self._named(event, key, rules, rows)
        else:
            self._text(event, UNKNOWN_CHAR, None, rules, rows)

    def _char(self, event: KeyEvent, key: str, rules: Rules, rows: Rows) -> None:
        """A key that puts one character. A dead key is an unknown one until its letter comes."""
        if is_dead(key):
            self._text(event, UNKNOWN_CHAR, key, rules, rows)
        elif (dead := self.piece.compose(key)) is not None:
            dead.count += 1 + self.loose
            self.loose = 0
            self._remember_down(event.key, dead)
        else:
            self._text(event, key, None, rules, rows)

    def _text(self, event: KeyEvent, text: str, data: str | None, rules: Rules, rows: Rows) -> None:
        at_ms, context, piece = event.at_ms, self.context, self.piece
        item = Item(TEXT, at_ms, context.app, context.text_level, Outcome.PENDING, 1 + self.loose, data, event.seq)
        self.loose = 0
        self.waiting.items.append(item)
        if data is not PASTED:
            self._remember_down(event.key, item)
        piece.insert(text, item)
        if (text.isspace() or data is PASTED) and piece.caret == len(piece.chars):
            self._let_go(rules, rows)

    def _paste(self, event: KeyEvent, rules: Rules, rows: Rows) -> None:
        if not event.key:
            self._barrier(rules, rows)
            self._settle(1)
            return
        if len(self.piece.chars) + len(event.key) > PIECE_CHARS_MAX:
            self.decide(rules, rows)
        self._text(event, event.key, PASTED, rules, rows)

    def _edit(self, event: KeyEvent, key: str, modifiers: Modifiers, rows: Rows) -> None:
        word, line = bool(modifiers & (Modifiers.CONTROL | Modifiers.ALT)), bool(modifiers & Modifiers.META)
        self._erased(event, self.piece.delete(word) if key == "delete" else self.piece.backspace(word, line), rows)

    def _erased(self, event: KeyEvent, known: bool, rows: Rows) -> None:
        """`known`: all that was deleted was held; else some of it is final already."""
        self.account.late_deletions += not known
        self._withheld(event)
        self._after_edit(rows)

    def _move(self, event: KeyEvent, key: str, modifiers: Modifiers, rules: Rules, rows: Rows) -> None:
        select, word = bool(modifiers & Modifiers.SHIFT), bool(modifiers & (Modifiers.CONTROL | Modifiers.ALT))
        # With meta, or control and home, it goes to an end that only some systems agree on.
        far = modifiers & Modifiers.META or (key == "home" and word and self.piece.context)
        if self.piece.chars and not far and self.piece.move(key, select, word):
            self._withheld(event)  # how far the caret moved would tell the length of what it passed
            return
        if self.piece.chars or not (key == "end" and self.piece.anchored):
            self._barrier(rules, rows)
        self._named(event, key, rules, rows)

    def _enter(self, event: KeyEvent, rules: Rules, rows: Rows) -> None:
        if self.piece.anchor >= 0:
            self.piece.erase_selection()  # the new line stands in its place
        self.decide(rules, rows, closed=True)
        self.piece.remember("\n")
        self._key_row(event, "enter", rows)
        if self.context.enter_submits and not event.modifiers & Modifiers.SHIFT:
            self.piece.level = 0
            self.piece.anchored, self.piece.open_left = True, False

    def _named(self, event: KeyEvent, key: str, rules: Rules, rows: Rows) -> None:
        if key == "tab":
            self.decide(rules, rows, closed=not self.context.readline)
            # At a prompt tab completes: what stands before the caret then is not known.
            self.piece.lose_caret() if self.context.readline else self.piece.restart()
        elif key in AWAY or key == "insert":
            self._barrier(rules, rows)
        elif key == "esc":
            self.decide(rules, rows)
        self._key_row(event, key, rows)

    def _command(self, event: KeyEvent, key: str, modifiers: Modifiers, rules: Rules, rows: Rows) -> None:
        """A shortcut. What it does to the text is followed where that is known, else the stretch ends here."""
        key = key.lower()
        if key in EDITING:
            self._edit(event, key, modifiers, rows)
            return
        if key in MOVING:
            self._move(event, key, modifiers, rules, rows)
            return
        if self.context.readline and modifiers & COMMAND == Modifiers.CONTROL and self._line_edit(event, key, rules, rows):
            return
        self._shortcut_effect(key, modifiers, rules, rows)
        if key == "enter":
            self.decide(rules, rows, closed=True)
        self.shortcuts += 1
        code = key.isdigit() and modifiers & COMMAND == Modifiers.ALT  # a character by its number
        known = (key in SHORTCUTS or key in NAMED) and not code and self.shortcuts <= SHORTCUTS_IN_A_ROW_MAX
        self._key_row(event, key, rows, shortcut_names(key, modifiers) if known else ())

    def _line_edit(self, event: KeyEvent, key: str, rules: Rules, rows: Rows) -> bool:
        """The editing keys of a prompt. True if `key` is one."""
        if key in ("a", "e"):
            self._move(event, "home" if key == "a" else "end", Modifiers.NONE, rules, rows)
            self._after_edit(rows)
        elif key in ("w", "h", "u"):
            self._erased(event, self.piece.backspace(word=key == "w", line=key == "u"), rows)
        elif key == "k":
            self.piece.delete_to_end()
            self._erased(event, True, rows)
        else:
            return False
        return True

    def _shortcut_effect(self, key: str, modifiers: Modifiers, rules: Rules, rows: Rows) -> None:
        piece, prompt = self.piece, self.context.readline
        if modifiers & Modifiers.ALT or (prompt and key in ("a", "x")):
            self._barrier(rules, rows)
        elif key in ("z", "y") or (key == "x" and piece.anchor < 0):
            piece.withhold()  # undone or cut text may be any of it, and nobody knows what is left
            self._after_edit(rows)
            self._barrier(rules, rows)
        elif key == "a" and piece.chars:
            if not piece.select_all():
                piece.open_left = True
        elif key == "x":
            piece.erase_selection()
            self._after_edit(rows)
        elif key == "c" and prompt and modifiers & (Modifiers.CONTROL | Modifiers.SHIFT) == Modifiers.CONTROL:
            self.decide(rules, rows)
            piece.remember("\n")
        elif key not in NO_EFFECT_ON_TEXT or (prompt and modifiers & Modifiers.CONTROL):
            self._barrier(rules, rows)

    def _release(self, event: KeyEvent) -> None:
        key = event.key
        if key in MODIFIER_BITS:
            self.modifiers.pop(key, None)
            self.loose += 1
            return
        self.named.pop(key, None)
        owner = self.down.pop(key, None)
        if owner is None:
            owner = self.down.pop(key.swapcase(), None)  # shift came up before its letter
        if isinstance(owner, Item) and owner.count:
            owner.count += 1
        else:
            self._settle(1, owner.outcome if isinstance(owner, Item) else owner)

    def _trusted(self, event: KeyEvent) -> Modifiers:
        """Modifiers as reported, without those that went down more than 30 s ago: their release was lost."""
        modifiers = event.modifiers
        if modifiers & COMMAND and self.modifiers:
            for name, since_ms in list(self.modifiers.items()):
                if event.at_ms - since_ms > HOLD_MS:
                    modifiers &= ~MODIFIER_BITS[name]
        return modifiers

    # -- small things -----------------------------------------------------------------------------------------------------

    def _key_row(self, event: KeyEvent, key: str, rows: Rows, names: tuple[str, ...] | None = None) -> None:
        """A key that is an action by itself; with `names` empty it is counted and not written."""
        context = self.context
        shown = (key,) if names is None else names
        item = Item(KEY, event.at_ms, context.app, context.level, Outcome.of(context.level), 1 + self.loose, shown, event.seq)
        self.loose = 0
        self._remember_down(event.key, item)
        if event.key in NAMED and shown:
            self.named[event.key] = event.at_ms
        self.waiting.take(item, rows)

    def _name_held(self, rows: Rows) -> None:
        row = held_row(self.now_ms, self.context.app, self.modifiers, self.named)
        if row is not None and self.context.text_level < Level.SECRET:
            self.waiting.mark(self.context.level, row, rows)

    def _click(self, button: int, rules: Rules, rows: Rows) -> None:
        self.decide(rules, rows)
        if not self.context.readline or button != 1:  # the middle button pastes
            self.piece.level = 0
            self.piece.lose_caret()

    def _withheld(self, event: KeyEvent) -> None:
        self._settle(1 + self.loose, Outcome.WITHHELD)
        self.loose = 0
        self.piece.newest_ms = event.at_ms
        self._remember_down(event.key, Outcome.WITHHELD)

    def _remember_down(self, key: str, owner: Item | Outcome) -> None:
        if len(self.down) >= DOWN_MAX:
            self.down.clear()
        self.down[key] = owner

    def _settle_loose(self) -> None:
        self._settle(self.loose)
        self.loose = 0

    def _settle(self, count: int, outcome: Outcome | None = None) -> None:
        """Keys that need not wait: their outcome is that of text here, if not another, which then says its level, too."""
        outcome, app = outcome or Outcome.of(self.context.text_level), self.context.app
        self.account.settle(outcome, count, app, "key", _LEVELS.get(outcome, self.context.text_level))
