"""What clicks were on, from a real toolkit's window on a real X server: role, box, name, nothing of a password (P1, P5)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from Xlib import X, display
from Xlib.ext import xtest

from byleave.control.documents import Manifest
from byleave.core.clock import boot_ms
from byleave.core.events import Kind
from byleave.core.targets import Target
from byleave.producers.focus_hold import FocusHold
from byleave.producers.hooks.live import LiveSource
from byleave.producers.hooks.source import Observed
from byleave.producers.scope import Scope
from demo.desktop import open_desktop

pytestmark = pytest.mark.display

PROGRAM = Path(__file__).parents[1] / "assets/gtk_window.py"
MANIFEST = Manifest("byleave.", "t", ("pointer", "key", "window", "target"), ("expenses",), (), (), (), 1, "", "", 0, 1)
ORIGIN = (100, 80)
"""Where the window puts itself on the screen."""
SYSTEM = "/usr/bin/python3"


def missing() -> str:
    """What is not installed, in words."""
    if not (shutil.which("dbus-daemon") and Path("/usr/libexec/at-spi-bus-launcher").exists()):
        return "dbus-daemon and at-spi2-core"
    asked = [SYSTEM, "-c", "import gi; gi.require_version('Gtk', '3.0')"]
    return "python3-gi and GTK 3" if subprocess.run(asked, capture_output=True, check=False, timeout=60).returncode else ""


class Form:
    """A screen with the window of `gtk_window.py`, and what an endpoint takes of it."""

    def __init__(self, folder: Path, *, bus: bool = True) -> None:
        self.desktop = open_desktop()
        folder.chmod(0o700)
        self.environment = {**os.environ, **self.desktop.environment(), "XDG_RUNTIME_DIR": str(folder)}
        self.environment.pop("DBUS_SESSION_BUS_ADDRESS", None)
        quiet = {"stderr": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True}
        self.programs: list[subprocess.Popen[str]] = []
        if bus:
            self.programs.append(subprocess.Popen(["dbus-daemon", "--session", "--nofork", "--print-address=1"],
                                                  env=self.environment, **quiet))  # type: ignore[call-overload] # fmt: skip
            self.environment["DBUS_SESSION_BUS_ADDRESS"] = self.line(self.programs[0])
        self.window = subprocess.Popen([SYSTEM, str(PROGRAM)], env=self.environment, **quiet)  # type: ignore[call-overload]
        self.programs.append(self.window)
        assert self.line(self.window) == "ready"
        self.boxes = {name: tuple(map(int, box)) for name, *box in (self.line(self.window).split() for _ in range(3))}
        self.x = display.Display(self.desktop.display)
        self.source, self.found, self.taken = LiveSource(self.environment), list[Observed](), list[Observed]()
        self.hold, self.scope, self.sway = FocusHold(200), Scope(MANIFEST), 1

    @staticmethod
    def line(program: subprocess.Popen[str]) -> str:
        assert program.stdout is not None
        return program.stdout.readline().strip()

    def start(self) -> None:
        self.focus("expenses")
        self.source.start(boot_ms(), titles=False, targets=True)
        self.until(lambda: self.open_for("expenses"))
        self.rest()

    def focus(self, name: str) -> None:
        self.run("xdotool", "search", "--sync", "--onlyvisible", "--class", name, "windowfocus", "--sync")

    def open_for(self, app: str) -> bool:
        told = next((event.window for event in reversed(self.found) if event.kind is Kind.FOCUS), None)
        return told is not None and told.app == app and not told.secure

    def secure(self) -> bool:
        told = next((event.window for event in reversed(self.found) if event.kind is Kind.FOCUS), None)
        return told is not None and told.secure

    def run(self, *words: str) -> None:
        subprocess.run(words, env=self.environment, check=True, timeout=30, capture_output=True)

    def poll(self) -> None:
        found = self.source.poll(boot_ms(), 0.02)
        self.found += found
        for event in found:
            self.see(self.hold.feed(event))
        self.see(self.hold.settle(self.source.settled_ms))

    def see(self, certain: Iterator[Observed]) -> None:
        self.taken += [admitted for event in certain if (admitted := self.scope.admit(event)) is not None]

    def until(self, condition: Callable[[], object], within_s: float = 10.0) -> None:
        end = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < end, "the condition did not come true in time"
            assert self.source.alive
            self.poll()

    def rest(self) -> None:
        """Until the hold around what happened has passed, as a move tells that comes after it."""
        end_ms = boot_ms() + 210
        self.until(lambda: boot_ms() > end_ms)
        self.sway = -self.sway
        xtest.fake_input(self.x, X.MotionNotify, True, x=self.sway)
        self.x.sync()
        self.until(lambda: self.found and self.found[-1].kind is Kind.MOVE and self.found[-1].at_ms >= end_ms)

    def click(self, name: str) -> Observed | None:
        """Clicks into the middle of a widget; the click as it is taken, if it is."""
        x, y, width, height = self.boxes[name]
        return self.click_at(x + width // 2, y + height // 2)

    def click_at(self, x: int, y: int) -> Observed | None:
        """Clicks at a place of the window."""
        before = len(self.clicks())
        xtest.fake_input(self.x, X.MotionNotify, x=ORIGIN[0] + x, y=ORIGIN[1] + y)
        for what in (X.ButtonPress, X.ButtonRelease):
            xtest.fake_input(self.x, what, 1)
        self.x.sync()
        self.rest()
        return next(iter(self.clicks()[before:]), None)

    def clicks(self) -> list[Observed]:
        return [event for event in self.taken if event.kind is Kind.BUTTON_DOWN]

    def text(self) -> str:
        return "".join(event.key for event in self.taken if event.kind is Kind.PRESS)

    def close(self) -> None:
        assert self.source.stop()
        self.x.close()
        for program in reversed(self.programs):
            program.kill()
            program.communicate(timeout=10)
        self.desktop.close()


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Form]:
    if what := missing():
        pytest.skip(f"{what} not installed: there is no toolkit to ask")
    made = Form(tmp_path_factory.mktemp("session"))
    made.start()
    yield made
    made.close()


def test_a_click_on_a_button_says_its_role_its_place_and_its_name(form: Form) -> None:
    click = form.click("button")
    assert click is not None
    assert click.target == Target("button", *form.boxes["button"], "Save")


def test_of_a_field_nothing_that_is_written_in_it_is_told(form: Form) -> None:
    form.click("entry")
    click = form.click("entry")
    assert click is not None
    assert click.target == Target("entry", *form.boxes["entry"], "")


def test_a_click_beside_everything_does_not_tell_the_title_of_the_window(form: Form) -> None:
    """Titles are a field of their own, which a manifest may leave out; MANIFEST does."""
    click = form.click_at(-20, -20)
    assert click is not None
    assert click.target is not None
    assert (click.target.role, click.target.label) == ("window", "")


def test_nothing_is_taken_while_a_password_is_being_written(form: Form) -> None:
    form.click("entry")
    form.run("xdotool", "type", "--delay", "5", "open")
    form.rest()
    assert form.text() == "open"
    taken = len(form.taken)
    assert form.click("password") is None
    assert form.secure()
    form.run("xdotool", "type", "--delay", "5", "hunter2")
    form.click("password")
    form.click("entry")
    form.until(lambda: not form.secure())
    form.rest()
    assert "hunter2" not in form.text()
    assert [event.kind for event in form.taken[taken:] if event.kind in (Kind.PRESS, Kind.BUTTON_DOWN)] == []
    form.run("xdotool", "type", "--delay", "5", "again")
    form.rest()
    assert form.text() == "openagain"


def test_a_password_that_is_shown_while_it_is_written_is_a_password_still(form: Form) -> None:
    form.click("password")
    form.until(form.secure)
    os.kill(form.window.pid, signal.SIGUSR1)  # it shows what is in it, as a button beside many such fields does
    form.click("entry")
    form.until(lambda: not form.secure())
    text = form.text()
    assert form.click("password") is None
    form.run("xdotool", "type", "--delay", "5", "hunter3")
    form.click("entry")
    form.until(lambda: not form.secure())
    form.rest()
    assert form.text() == text


def test_an_application_that_does_not_answer_delays_nobody(form: Form) -> None:
    form.click("entry")
    os.kill(form.window.pid, signal.SIGSTOP)
    try:
        at_ms = boot_ms()
        click = form.click("button")
        assert click is not None
        assert click.target == Target("unknown")
        [told] = [event for event in form.found if event.kind is Kind.BUTTON_DOWN and event.at_ms >= at_ms]
        assert click.at_ms == told.at_ms
    finally:
        os.kill(form.window.pid, signal.SIGCONT)
    answered = form.click("button")
    assert answered is not None
    assert answered.target is not None
    assert answered.target.role == "button"


def test_an_application_that_does_not_say_what_has_its_focus_is_not_captured(form: Form) -> None:
    form.click("button")
    form.focus("xterm")
    form.until(lambda: form.open_for("xterm"))  # it speaks no AT-SPI, and is captured as its window allows
    os.kill(form.window.pid, signal.SIGSTOP)
    try:
        form.focus("expenses")
        form.until(form.secure)
    finally:
        os.kill(form.window.pid, signal.SIGCONT)
    form.until(lambda: form.open_for("expenses"))
    form.rest()
    assert form.click("password") is None
    assert form.secure()


def test_without_a_bus_a_click_is_on_something_unknown(tmp_path: Path) -> None:
    if what := missing():
        pytest.skip(f"{what} not installed: there is no toolkit to ask")
    form = Form(tmp_path, bus=False)
    try:
        form.start()
        click = form.click("button")
        assert click is not None
        assert click.target == Target("unknown")
    finally:
        form.close()
