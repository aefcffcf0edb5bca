"""One contract for every hook behind live capture, on a real X server: what is pressed is what is told, or nothing is (P1, P2).

Where `pynput` cannot know which text was typed (layout groups, caps lock, remapped keys) the layout that it tells is empty, so
that no text is taken: `text_taken` reads as the scope does. Never is it another text.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from unicodedata import normalize

import pytest
from Xlib import X, display
from Xlib import error as xerror
from Xlib.ext import res, xtest

from byleave.core.clock import boot_ms
from byleave.core.events import Kind, Modifiers
from byleave.producers.hooks.live import WORKERS, LiveSource
from byleave.producers.hooks.source import Observed
from demo.desktop import open_desktop

pytestmark = pytest.mark.display

TEXT = "The quick brown fox; jumps over 42 lazy dogs! user@example.com 4111-1111-1111-1111 "
Q, W, E, ONE, TWO, MENU, CAPS, SHIFT, ALTGR, DEAD, ENTER = 24, 25, 26, 10, 11, 135, 66, 50, 108, 21, 36
"""Keycodes of a PC keyboard: places of keys, whatever they put. DEAD is right of the zero and its neighbour."""


class Screen:
    """An X server of its own, with one hook on it and a hand on its keyboard and pointer."""

    def __init__(self, hook: str) -> None:
        self.hook, self.desktop = hook, open_desktop()
        self.environment = {**os.environ, **self.desktop.environment()}
        self.source = LiveSource(self.environment, hook)
        self.x = display.Display(self.desktop.display)
        self.found: list[Observed] = []

    def start(self) -> None:
        self.source.start(boot_ms(), titles=True)
        self.until(lambda: self.source.screen.width > 0)

    def poll(self) -> None:
        self.found.extend(self.source.poll(boot_ms(), 0.02))

    def until(self, condition: Callable[[], object], within_s: float = 20.0) -> None:
        end = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < end, f"the condition did not come true in time; alive: {self.source.alive}"
            self.poll()

    def keys(self, *codes: int, held: Sequence[int] = ()) -> None:
        """Presses and releases keys by their places, and waits until the hook has told of them."""
        before = sum(e.kind is Kind.RELEASE for e in self.found)
        for code in held:
            xtest.fake_input(self.x, X.KeyPress, code)
        for code in codes:
            xtest.fake_input(self.x, X.KeyPress, code)
            xtest.fake_input(self.x, X.KeyRelease, code)
        for code in held:
            xtest.fake_input(self.x, X.KeyRelease, code)
        self.x.sync()
        self.until(lambda: sum(e.kind is Kind.RELEASE for e in self.found) >= before + len(codes) + len(held))

    def run(self, *words: str) -> None:
        subprocess.run(words, env=self.environment, check=True, timeout=60)

    def layout(self, *words: str) -> None:
        """Another layout, in force for the hook: pynput's ends, and the next one has read it."""
        self.run("setxkbmap", *words)
        if self.hook == "pynput":
            self.until(lambda: not self.source.alive, 2.0)
            assert self.source.stop()
            self.start()

    def focus(self) -> Observed:
        return next(e for e in reversed(self.found) if e.kind is Kind.FOCUS)

    def close(self) -> None:
        assert self.source.stop()
        with suppress(xerror.ConnectionClosedError):
            self.x.close()
        self.desktop.close()


@pytest.fixture(params=WORKERS)
def screen(request: pytest.FixtureRequest) -> Iterator[Screen]:
    made = Screen(request.param)
    yield made
    made.close()


@pytest.fixture
def started(screen: Screen) -> Screen:
    screen.start()
    return screen


def text_taken(events: Sequence[Observed]) -> str:
    """The text that a scope lets through: keys under a known layout and no prompt. An unknown key is \ufffd."""
    text, usable = "", False
    for event in events:
        if event.kind is Kind.FOCUS:
            usable = event.window is not None and bool(event.window.layout) and not event.window.secure
        elif event.kind is Kind.PRESS and usable:
            text += {"space": " ", "": "\ufffd"}.get(event.key, event.key if len(event.key) == 1 else "")
    for accent in "\u0301\u0302":  # a dead key goes before its letter
        head, *tails = text.split(accent)
        text = head + "".join(normalize("NFC", tail[:1] + accent) + tail[1:] for tail in tails)
    return text


def running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# -- what is told ---------------------------------------------------------------------------------------------------------


def test_the_text_typed_is_the_text_told_to_the_last_character(started: Screen) -> None:
    typed = TEXT * 5
    assert len(typed) == 415
    began = boot_ms()
    started.run("xdotool", "type", "--delay", "2", typed)
    started.until(lambda: len(text_taken(started.found)) >= len(typed))
    assert text_taken(started.found) == typed
    assert all(began <= e.at_ms <= boot_ms() for e in started.found if e.kind is Kind.PRESS)
    assert all(a.at_ms <= b.at_ms for a, b in pairwise(started.found))
    assert started.source.take_lost() == 0


def test_the_focus_is_told_before_anything_in_it(started: Screen) -> None:
    started.keys(Q)
    first = started.found[0]
    assert first.kind is Kind.FOCUS
    assert first.window is not None
    assert (first.window.app, first.window.layout, first.window.secure) == ("xterm", "us", False)


def test_clicks_drags_and_the_wheel_are_exact(started: Screen) -> None:
    for n in range(10):
        started.run("xdotool", "mousemove", str(100 + n), str(200 + n), "click", "1")
    started.run("xdotool", "mousemove", "50", "60", "mousedown", "3", "mousemove", "150", "160", "mouseup", "3")
    started.run("xdotool", "click", "4", "click", "5", "click", "6", "click", "7", "click", "2")
    started.until(lambda: sum(e.kind is Kind.BUTTON_UP for e in started.found) == 12)
    found = [(e.kind, e.x, e.y, e.button, e.dx, e.dy) for e in started.found if e.kind not in (Kind.FOCUS, Kind.MOVE)]
    clicks = [(kind, 100 + n, 200 + n, 1, 0, 0) for n in range(10) for kind in (Kind.BUTTON_DOWN, Kind.BUTTON_UP)]
    drag = [(Kind.BUTTON_DOWN, 50, 60, 3, 0, 0), (Kind.BUTTON_UP, 150, 160, 3, 0, 0)]
    wheel = [(Kind.SCROLL, 150, 160, 0, dx, dy) for dx, dy in ((0, 1), (0, -1), (-1, 0), (1, 0))]
    middle = [(kind, 150, 160, 2, 0, 0) for kind in (Kind.BUTTON_DOWN, Kind.BUTTON_UP)]
    assert found == clicks + drag + wheel + middle
    moves = [(e.x, e.y) for e in started.found if e.kind is Kind.MOVE]
    assert (50, 60) in moves
    assert (150, 160) in moves


def test_each_press_has_its_release_also_where_shift_is_let_go_first(started: Screen) -> None:
    for kind, code in ((X.KeyPress, SHIFT), (X.KeyPress, Q), (X.KeyRelease, SHIFT), (X.KeyRelease, Q), (X.KeyPress, W),
                       (X.KeyPress, E), (X.KeyRelease, W), (X.KeyRelease, E)):  # fmt: skip
        xtest.fake_input(started.x, kind, code)
    started.x.sync()
    started.until(lambda: sum(e.kind is Kind.RELEASE for e in started.found) == 4)
    told = [(e.kind, e.key.lower(), e.modifiers) for e in started.found if e.kind is not Kind.FOCUS]
    none, shift, down, up = Modifiers.NONE, Modifiers.SHIFT, Kind.PRESS, Kind.RELEASE
    assert told == [(down, "shift", none), (down, "q", shift), (up, "shift", shift), (up, "q", none),
                    (down, "w", none), (down, "e", none), (up, "w", none), (up, "e", none)]  # fmt: skip
    assert text_taken(started.found) == "Qwe"


def test_named_keys_have_one_name_whichever_hook_saw_them(started: Screen) -> None:
    symbols = "Return Tab BackSpace Delete Left Right Up Down Home End Prior Next Escape F5 Insert Control_L Alt_L Super_L"
    started.run("xdotool", "key", "--delay", "4", *symbols.split())
    names = "enter tab backspace delete left right up down home end page_up page_down esc f5 insert ctrl alt cmd"
    started.until(lambda: sum(e.kind is Kind.RELEASE for e in started.found) == len(names.split()))
    assert " ".join(e.key for e in started.found if e.kind is Kind.PRESS) == names


def test_a_shortcut_carries_its_modifiers(started: Screen) -> None:
    started.run("xdotool", "key", "ctrl+alt+q", "super+w")
    started.until(lambda: sum(e.kind is Kind.RELEASE for e in started.found) == 5)
    assert [(e.key, e.modifiers) for e in started.found if e.kind is Kind.PRESS and len(e.key) == 1] == [
        ("q", Modifiers.CONTROL | Modifiers.ALT), ("w", Modifiers.META)]  # fmt: skip


# -- layouts --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "layout", "typed"),
    [
        (("fr",), "fr", "aze&é"),
        (("us", "-variant", "dvorak"), "us(dvorak)", "',.12"),
        (("de", "-variant", "nodeadkeys"), "de(nodeadkeys)", "qwe12"),
        (("ru",), "ru", "йцу12"),  # noqa: RUF001
        (("gr",), "gr", ";ςε12"),
    ],
)
def test_a_layout_is_read_as_the_programs_of_this_screen_read_it(started: Screen, words, layout: str, typed: str) -> None:
    started.layout(*words)
    started.keys(Q, W, E, ONE, TWO)
    assert text_taken(started.found) == typed
    window = started.focus().window
    assert window is not None
    assert window.layout == layout


def test_alt_gr_puts_what_the_layout_has_there(started: Screen) -> None:
    started.layout("de")
    started.keys(Q, E, held=[ALTGR])
    assert text_taken(started.found) == ("@€" if started.hook == "x11" else "\ufffd\ufffd")


def test_a_dead_key_travels_as_its_accent(started: Screen) -> None:
    started.layout("de")
    started.keys(DEAD, E)
    assert [e.key for e in started.found if e.kind is Kind.PRESS] == ["\u0301", "e"]
    assert text_taken(started.found) == "é"


def test_of_two_layouts_the_one_that_is_locked_counts_or_no_text_is_taken(started: Screen) -> None:
    started.layout("us,fr", "-option", "grp:menu_toggle")
    started.keys(Q, W)
    started.keys(MENU)
    started.keys(Q, W)
    assert text_taken(started.found) == ("qw" + "\ufffd" + "az" if started.hook == "x11" else "")
    layouts = [e.window.layout for e in started.found if e.window]
    assert layouts[-1] == ("fr" if started.hook == "x11" else "")


def test_caps_lock_is_applied_or_no_text_is_taken(started: Screen) -> None:
    started.keys(Q)
    started.keys(CAPS)
    started.keys(Q, ONE)
    started.keys(W, held=[SHIFT])
    started.keys(CAPS)
    started.keys(Q)
    assert text_taken(started.found) == ("qQ1wq" if started.hook == "x11" else "qq")


def test_characters_of_no_key_are_told_or_no_text_is_taken(started: Screen) -> None:
    started.keys(SHIFT)
    started.run("xdotool", "type", "--delay", "12", "é ñ € ü 日本 ß Ж")
    started.until(lambda: sum(e.kind is Kind.RELEASE for e in started.found) >= 15)
    if started.hook == "x11":
        assert text_taken(started.found) == "é ñ € ü 日本 ß Ж"
    assert set(text_taken(started.found)) <= set("é ñ € ü 日本 ß Ж\ufffd")


def test_a_key_that_is_mapped_anew_puts_what_it_puts_now_or_no_text_is_taken(started: Screen) -> None:
    started.x.change_keyboard_mapping(Q, [(ord("x"), ord("X"))])
    started.x.sync()
    time.sleep(0.6)  # pynput's worker sees it at its next look at the latest: there is nothing to wait for
    started.keys(Q)
    started.keys(Q, held=[SHIFT])
    assert text_taken(started.found) == ("xX" if started.hook == "x11" else "")


def test_what_a_compose_key_begins_is_unknown_until_a_named_key(screen: Screen) -> None:
    screen.run("setxkbmap", "us", "-option", "compose:menu")
    screen.start()
    screen.keys(Q, MENU, E, TWO, ENTER, Q)
    assert text_taken(screen.found) == "q\ufffd\ufffd\ufffdq"


# -- prompts --------------------------------------------------------------------------------------------------------------


def test_while_another_program_holds_the_keyboard_nothing_typed_is_taken(started: Screen) -> None:
    """As pinentry, ssh-askpass and a terminal's "secure keyboard" do: X11 shows their keys to everybody all the same."""

    def seen() -> tuple[str, str, bool] | None:
        window = started.focus().window
        return (window.app, window.title, window.secure) if window else None

    started.keys(Q)
    prompt = display.Display(started.desktop.display)
    window = prompt.screen().root.create_window(10, 10, 100, 50, 1, X.CopyFromParent, event_mask=X.ExposureMask)
    window.set_wm_class("notes", "Notes")
    window.change_property(prompt.intern_atom("_NET_WM_NAME"), prompt.intern_atom("UTF8_STRING"), 8, b"Notes of Dana")
    window.map()
    prompt.next_event()
    assert window.grab_keyboard(True, X.GrabModeAsync, X.GrabModeAsync, X.CurrentTime) == X.GrabSuccess
    window.set_input_focus(X.RevertToPointerRoot, X.CurrentTime)
    prompt.sync()
    started.until(lambda: seen() == ("notes", "", True), 2.0)
    started.keys(ONE, TWO)
    prompt.ungrab_keyboard(X.CurrentTime)
    prompt.sync()
    started.until(lambda: seen() == ("notes", "Notes of Dana", False), 2.0)
    started.keys(W)
    prompt.close()
    assert text_taken(started.found) == "qw"


def test_a_prompt_counts_by_its_class_and_a_terminal_by_the_command_in_its_title(started: Screen) -> None:
    def secure() -> bool:
        window = started.focus().window
        return window is not None and window.secure

    started.keys(Q)
    terminal = started.x.get_input_focus().focus
    while not terminal.get_wm_class():
        terminal = terminal.query_tree().parent
    for title in ("sudo true", "somewhere"):
        for name in ("_NET_WM_NAME", "WM_NAME"):
            terminal.change_property(started.x.intern_atom(name), started.x.intern_atom("UTF8_STRING"), 8, title.encode())
        started.x.sync()
        started.keys(W)
        started.until(lambda title=title: secure() is title.startswith("sudo"), 2.0)
    prompt = started.x.screen().root.create_window(10, 10, 100, 50, 1, X.CopyFromParent, event_mask=X.ExposureMask)
    prompt.set_wm_class("pinentry", "Pinentry")
    prompt.map()
    started.x.next_event()
    prompt.set_input_focus(X.RevertToPointerRoot, X.CurrentTime)
    started.x.sync()
    started.until(secure, 2.0)
    titles = {e.window.title for e in started.found if e.window and e.window.secure}
    assert titles <= {"", "password"}, "the part of the never-list, at most"


def test_looking_whether_the_keyboard_is_held_takes_no_key_from_anybody(started: Screen) -> None:
    started.keys(*[Q, W, E] * 20)
    assert started.x.screen().root.grab_keyboard(True, X.GrabModeAsync, X.GrabModeAsync, X.CurrentTime) == X.GrabSuccess
    started.x.ungrab_keyboard(X.CurrentTime)
    started.x.sync()
    assert not any(e.window and e.window.secure for e in started.found[:-2])


# -- ends -----------------------------------------------------------------------------------------------------------------


def test_stop_kills_and_reaps_at_once_also_a_worker_that_is_stopped(screen: Screen) -> None:
    for signalled in (None, signal.SIGSTOP):
        screen.start()
        pid = screen.source.pid
        assert pid is not None
        if signalled is not None:
            os.kill(pid, signalled)
            screen.run("xdotool", "type", "--delay", "1", "typed while it was stopped")
        began = time.monotonic()
        assert screen.source.stop()
        assert time.monotonic() - began < 1.0
        assert not Path(f"/proc/{pid}").exists()
        assert not screen.source.alive
        assert screen.source.poll(boot_ms(), 0) == []


def test_a_silent_worker_is_not_alive(started: Screen) -> None:
    assert started.source.pid is not None
    os.kill(started.source.pid, signal.SIGSTOP)
    started.until(lambda: not started.source.alive, 3.5)


@pytest.mark.parametrize("what", ["the X server", "the worker"])
def test_capture_is_over_within_a_second_when_killed_is(started: Screen, what: str) -> None:
    pid = dict(started.desktop.pids())["xvfb"] if what == "the X server" else started.source.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    started.until(lambda: not started.source.alive, 1.0)


def test_a_hook_that_lost_a_connection_ends_or_still_tells_everything(screen: Screen) -> None:
    """Each connection of the worker in turn. pynput's `Listener.running` stays true then, which is why nobody asks it."""
    ended, n, bases = 0, 0, [0]
    while n < len(bases):
        screen.start()
        assert screen.source.pid is not None
        bases = _connections(screen.x, screen.source.pid)
        _cut(screen, bases[n])
        end = time.monotonic() + 1.0
        while screen.source.alive and time.monotonic() < end:
            screen.poll()
        ended += not screen.source.alive
        if screen.source.alive:
            screen.keys(Q)
            screen.run("xdotool", "click", "1")
            screen.until(lambda: screen.found[-1].kind is Kind.BUTTON_UP)
        assert screen.source.stop()
        n += 1
    assert ended >= 2


def _cut(screen: Screen, base: int) -> None:
    """One that is gone by itself is refused with BadValue, for which python-xlib has lost the class."""
    knife = display.Display(screen.desktop.display)
    with suppress(AttributeError, xerror.BadValue):
        knife.create_resource_object("window", base).kill_client()
        knife.sync()
    knife.close()


def _connections(x: display.Display, pid: int) -> list[int]:
    """By the first resource number of each client of that process (X-Resource extension)."""
    answer = x.res_query_client_ids([{"client": X.NONE, "mask": res.LocalClientPIDMask}])
    return [found.spec.client for found in answer.ids if list(found.value) == [pid]]


def test_the_worker_dies_with_its_parent(screen: Screen) -> None:
    code = (
        "import os, sys, time; from byleave.core.clock import boot_ms\n"
        "from byleave.producers.hooks.live import LiveSource\n"
        "s = LiveSource(os.environ, sys.argv[1]); s.start(boot_ms(), titles=False)\n"
        "while not s.screen.width: s.poll(boot_ms(), 0.05)\n"
        "print(s.pid, flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, screen.hook]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=screen.environment, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert running(worker)
        parent.kill()
    screen.until(lambda: not running(worker), 2.0)


# -- load -----------------------------------------------------------------------------------------------------------------

FLOOD = """
import sys, time
from Xlib import X, display
from Xlib.ext import xtest
x, rate, seconds = display.Display(), int(sys.argv[1]), float(sys.argv[2])
began, sent = time.monotonic(), 0
while sent < rate * seconds:
    for n in range(24):  # whole pairs: a key that stays down repeats by itself
        kind = (X.KeyPress, X.KeyRelease, X.ButtonPress, X.ButtonRelease)[sent % 4]
        xtest.fake_input(x, kind, 24 if sent % 4 < 2 else 1)
        sent += 1
    x.sync()
    time.sleep(max(0, began + sent / rate - time.monotonic()))
print(sent, time.monotonic() - began)
"""


@pytest.mark.parametrize("seconds", [2, pytest.param(10, marks=pytest.mark.prove)])
def test_nothing_is_lost_at_five_thousand_events_a_second(started: Screen, seconds: int) -> None:
    command = [sys.executable, "-c", FLOOD, "5000", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=started.environment, text=True) as hand:
        started.until(lambda: hand.poll() is not None, 60.0)
        assert hand.stdout is not None
        sent, took = map(float, hand.stdout.read().split())
    assert took < seconds * 1.5, "the machine was too busy to be asked"
    started.until(lambda: len([e for e in started.found if e.kind is not Kind.FOCUS]) >= sent, 60.0)
    counts = [
        sum(e.kind is kind for e in started.found) for kind in (Kind.PRESS, Kind.RELEASE, Kind.BUTTON_DOWN, Kind.BUTTON_UP)
    ]
    assert counts == [sent / 4] * 4
    assert started.source.take_lost() == 0


def test_what_a_full_pipe_refuses_is_counted_and_the_focus_is_told_again(started: Screen) -> None:
    # Beyond what it can work off, pynput loses events that it never told of.
    command = [sys.executable, "-c", FLOOD, *(("15000", "4") if started.hook == "x11" else ("9000", "7"))]
    hand = subprocess.run(command, capture_output=True, env=started.environment, check=True)  # nobody reads the pipe meanwhile
    sent, lost = int(hand.stdout.split()[0]), 0

    def told() -> int:
        return sum(e.kind is not Kind.FOCUS for e in started.found)

    def all_told() -> bool:
        nonlocal lost
        lost += started.source.take_lost()
        return told() + lost >= sent

    started.until(all_told, 30.0)  # a loaded machine works it off slowly
    assert told() + lost == sent
    assert lost > 0
    started.until(lambda: sum(e.kind is Kind.FOCUS for e in started.found) > 1, 2.0)  # told again behind the loss
    del started.found[:]
    started.keys(Q)
    assert not any(e.kind is Kind.FOCUS for e in started.found)


def test_every_symbol_is_the_character_that_others_say_it_is(started: Screen) -> None:
    """Against pynput's table, which needs a screen to be looked at. It errs in two places."""
    code = (
        "from pynput._util.xorg_keysyms import SYMBOLS; from byleave.producers.hooks.keysyms import key_of\n"
        "found = [(name, key_of(s), char) for name, (s, char) in SYMBOLS.items() if char and len(key_of(s)) == 1]\n"
        "print(len(found), *(name for name, ours, theirs in found if ours != theirs))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, env=started.environment, check=True, text=True)
    count, *wrong = ran.stdout.split()
    assert int(count) > 1_400
    assert wrong == ["Ocaron", "approxeq"]
