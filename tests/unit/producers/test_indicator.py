"""The sign that shows capture, on a real X server: it can be seen, it says what is so, and whatever happens to it is known."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from Xlib import X, display

from byleave.control.bootstrap import dev_site
from byleave.core.clock import boot_ms
from byleave.core.settings import load_installation
from byleave.deploy import pki
from byleave.producers.hooks.live import LiveSource
from byleave.producers.inquiries import Inquiries
from byleave.producers.main import Process
from byleave.producers.person import card
from byleave.producers.person.indicator import Indicator
from byleave.producers.person.sign import act, browse
from demo.desktop import Desktop, open_desktop

pytestmark = pytest.mark.display
RED, GROUND = (0xFF, 0x5A, 0x4F), (0x1B, 0x1D, 0x22)


@pytest.fixture(scope="module")
def desktop() -> Iterator[Desktop]:
    opened = open_desktop()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def screen(desktop: Desktop) -> Iterator[display.Display]:
    opened = display.Display(desktop.display)
    yield opened
    opened.close()


@pytest.fixture
def sign(desktop: Desktop, tmp_path: Path) -> Iterator[Indicator]:
    made = Indicator({**os.environ, **desktop.environment()}, tmp_path)
    made.tell(capturing=False, sentence="not capturing: paused by you", paused=True, now_ms=boot_ms())
    assert not made.shows(boot_ms()), "it cannot be seen before it is there"
    until(lambda: shows(made))
    yield made
    made.stop()


def shows(sign: Indicator) -> bool:
    sign.tell(capturing=sign._told.capturing, sentence=sign._told.sentence, paused=sign._told.paused, now_ms=boot_ms())
    return sign.shows(boot_ms())


def until(condition: Callable[[], object], within_s: float = 10.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, "the condition did not come true in time"
        time.sleep(0.01)
    return time.monotonic() - began


def window_of(screen: display.Display):
    """The sign's window as any client sees it."""
    return next((w for w in screen.screen().root.query_tree().children if w.get_wm_class() == ("byleave", "Byleave")), None)


def pixels(screen: display.Display) -> list[tuple[int, int, int]]:
    """What stands on the screen, whoever drew it, where the sign is."""
    at = window_of(screen).get_geometry()
    raw = screen.screen().root.get_image(at.x, at.y, at.width, at.height, X.ZPixmap, 0xFFFFFFFF).data
    return [(raw[n + 2], raw[n + 1], raw[n]) for n in range(0, len(raw), 4)]


def test_it_is_on_the_screen_and_red_only_while_something_is_captured(sign: Indicator, screen: display.Display) -> None:
    assert GROUND in pixels(screen)
    assert RED not in pixels(screen)
    sign.tell(capturing=True, sentence="capturing", paused=False, now_ms=boot_ms())
    until(lambda: RED in pixels(screen))
    until(lambda: shows(sign) and sign._heard == sign._told.number)
    expected = card.draw(sign._told, opened=False).picture
    assert pixels(screen) == [expected.getpixel((x, y)) for y in range(expected.height) for x in range(expected.width)]


@pytest.mark.parametrize("how", ["killed", "stopped", "destroyed"])
def test_a_sign_that_is_gone_is_known_within_a_second_and_comes_back(
    sign: Indicator, screen: display.Display, how: str
) -> None:
    before, sign._retry_ms = sign.pid, 50
    if how == "destroyed":
        window_of(screen).destroy()
        screen.sync()
    else:
        os.kill(before, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
    assert until(lambda: not shows(sign)) < 1.3
    assert not Path(f"/proc/{before}").exists(), "it was not reaped"
    until(lambda: shows(sign))
    assert sign.pid != before


def test_a_hidden_sign_comes_back_and_a_covered_one_is_not_there(sign: Indicator, screen: display.Display) -> None:
    root, number = screen.screen().root, sign.pid
    window_of(screen).unmap()
    screen.sync()
    until(lambda: window_of(screen).get_attributes().map_state == X.IsViewable)
    window_of(screen).configure(x=5000, y=0)
    screen.sync()
    until(lambda: window_of(screen).get_geometry().x < 1280)
    until(lambda: shows(sign))
    size = root.get_geometry()
    locker = root.create_window(0, 0, size.width, size.height, 0, X.CopyFromParent, override_redirect=True,
                                event_mask=X.VisibilityChangeMask)  # fmt: skip
    locker.map()
    screen.sync()
    fights, gone, began = 0, False, time.monotonic()
    while time.monotonic() - began < 0.9:
        while screen.pending_events():
            if screen.next_event().type == X.VisibilityNotify:
                locker.configure(stack_mode=X.Above)  # as a lock screen does
                screen.sync()
                fights += 1
        gone = not shows(sign) or gone
        time.sleep(0.01)
    assert gone, "a covered sign was taken for one that is seen"
    assert fights < 8, "it fights a lock screen"
    locker.destroy()
    screen.sync()
    until(lambda: shows(sign))
    assert sign.pid == number


def test_it_dies_with_its_agent(desktop: Desktop, tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from byleave.core.clock import boot_ms\n"
        "from byleave.producers.person.indicator import Indicator\n"
        "sign = Indicator(os.environ, Path(sys.argv[1]))\n"
        "while not sign.shows(boot_ms()):\n"
        "    sign.tell(capturing=True, sentence='s', paused=False, now_ms=boot_ms()); time.sleep(.02)\n"
        "print(sign.pid, flush=True); time.sleep(60)"
    )
    environment = {**os.environ, **desktop.environment()}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, env=environment) as agent:
        child = int(agent.stdout.readline())
        agent.kill()
    until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().rpartition(")")[2])


def test_a_click_opens_it_and_what_is_chosen_is_asked_for(
    sign: Indicator, desktop: Desktop, screen: display.Display, tmp_path: Path
) -> None:
    (tmp_path / "pause").touch()

    def click(dy: int) -> None:
        at = window_of(screen).get_geometry()
        words = ["mousemove", str(at.x + 20), str(at.y + dy), "click", "1"]
        subprocess.run(["xdotool", *words], env={**os.environ, **desktop.environment()}, check=True, timeout=10)

    click(10)
    until(lambda: window_of(screen).get_geometry().width == card.WIDTH)
    assert shows(sign)
    click(dict(card.draw(sign._told, opened=True).actions)["resume"] + 10)
    until(lambda: not (tmp_path / "pause").exists())
    until(lambda: window_of(screen).get_geometry().height == card.HEAD)
    at = window_of(screen).get_geometry()
    words = ["mousemove", f"{at.x + 20}", f"{at.y + 10}", "mousedown", "1", "mousemove", "40", "60", "mouseup", "1"]
    subprocess.run(["xdotool", *words], env={**os.environ, **desktop.environment()}, check=True, timeout=10)
    until(lambda: (window_of(screen).get_geometry().x, window_of(screen).get_geometry().y) == (20, 50))
    assert window_of(screen).get_geometry().height == card.HEAD, "a drag is no click"
    assert shows(sign)


def test_what_else_writes_into_its_pipe_is_no_sign(desktop: Desktop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byleave.producers.person.indicator._PROGRAM", "this")  # prints a poem
    sign = Indicator({**os.environ, **desktop.environment()}, tmp_path)
    sign.shows(boot_ms())
    until(lambda: sign.shows(boot_ms()) or sign.pid is None)
    assert not sign.shows(boot_ms())
    sign.stop()


def test_a_watched_terminal_counts_while_it_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)  # no sign can be shown
    pki.ensure_pki(tmp_path, ["ep-a"])
    dev_site(tmp_path, "byleave.", [("ep-a", "subject-a", "team-1")], 1_800_000_000_000, os.urandom, consent=True)
    process = Process(load_installation({"BYLEAVE_HOME": str(tmp_path)}), "ep-a", LiveSource({}), lambda _: False)
    sign = process.person._sign
    assert not sign.shows(boot_ms())
    process.person.questions["status"]({"ask": "status"})
    assert not sign.shows(boot_ms())
    process.person.questions["status"]({"ask": "status", "watch": True})
    assert sign.shows(boot_ms())
    assert not sign.shows(boot_ms() + 1_501)
    process.close()


def test_the_page_is_opened_for_the_person_but_never_by_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, asked = list[str](), list[dict]()
    monkeypatch.setattr(webbrowser, "open", opened.append)
    agent, answers = Inquiries(tmp_path), {"open": lambda question: asked.append(question) or {"file": "/a b/open.html"}}
    for root in (True, False):
        acting = threading.Thread(target=act, args=(tmp_path, "today"), kwargs={"root": root})
        acting.start()
        while acting.is_alive():
            agent.answer(answers, 0.01)
    agent.close()
    assert opened == ["file:///a%20b/open.html"]
    assert asked == [{"ask": "open", "at": "today"}]


def test_from_a_unit_the_browser_is_started_by_the_persons_own_service_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of the unit it would inherit what the unit may not do."""
    for name, text in (("systemd-run", f'#!/bin/sh\necho "$@" > {tmp_path}/told\n'), ("xdg-open", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(webbrowser, "open", lambda address: pytest.fail(f"opened inside the unit: {address}"))
    browse("file:///a/open.html", {"INVOCATION_ID": "0" * 32})
    assert (tmp_path / "told").read_text() == f"--user --quiet --collect {tmp_path}/xdg-open file:///a/open.html\n"
