"""What no manifest can allow: by class, title, site and, in a terminal, by the command in the title (P1)."""

from __future__ import annotations

import pytest

from byleave.control.documents import Manifest
from byleave.core.events import Kind, Window
from byleave.producers import never
from byleave.producers.hooks.source import Observed
from byleave.producers.scope import Scope

FORBIDDEN = [
    Window(1, "editor", layout="us", secure=True),
    Window(1, "org.keepassxc.KeePassXC", layout="us"),
    Window(1, "Pinentry", layout="us"),
    Window(1, "polkit-gnome-authentication-agent-1", layout="us"),
    Window(1, "i3lock", layout="us"),
    Window(1, "editor", title="Enter Password", layout="us"),
    Window(1, "firefox", title="Wiki — Mozilla Firefox Private Browsing", layout="us"),
    Window(1, "firefox", title="Your tax return 2026", layout="us"),
    Window(1, "firefox", site="www.IRS.gov.", layout="us"),
    Window(1, "firefox", site="eu.mychart.org", layout="us"),
    Window(1, "xterm", title="dana@host: sudo apt update", layout="us"),
    Window(1, "gnome-terminal", title="[sudo] password for dana", layout="us"),
]
ALLOWED = [
    Window(1, "editor", title="sudoku for superusers", layout="us"),
    Window(1, "editor", title="how sudo works", layout="us"),
    Window(1, "xterm", title="dana@host: ~/project", layout="us"),
    Window(1, "firefox", site="notirs.gov", layout="us"),
    Window(1, "firefox", site="", layout="us"),
]


@pytest.mark.parametrize("window", FORBIDDEN)
def test_a_manifest_that_names_it_captures_nothing_of_it_and_nothing_is_counted(window: Window) -> None:
    kinds = ("pointer", "key", "window", "title")
    scope = Scope(Manifest("byleave.", "t", kinds, (window.app,), (window.site,), (), (), 1, "", "", 0, 1))
    for event in (Observed(0, Kind.FOCUS, window=window), Observed(1, Kind.PRESS, key="q"), Observed(2, Kind.MOVE, 1, 1),
                  Observed(3, Kind.BUTTON_DOWN, 1, 1, 1)):  # fmt: skip
        assert scope.admit(event) is None
    assert scope.dropped == 0


@pytest.mark.parametrize("window", ALLOWED)
def test_the_list_means_whole_words_and_whole_names(window: Window) -> None:
    assert not never.forbids(window)
