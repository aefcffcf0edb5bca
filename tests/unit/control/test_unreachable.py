"""A broker that does not answer: every command says so in a bounded time, in an error of ours, and names what to look at."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from byleave.control import brake, desk
from byleave.control.beacon_main import Service
from byleave.control.cli import _board_lines
from byleave.control.watch import ControlWatch
from byleave.core import kafka, metrics
from byleave.core.errors import Transient
from byleave.core.settings import load_installation


@pytest.fixture
def nobody() -> Iterator[dict[str, str | int | bool]]:
    """Options of a cluster at a port that is taken and that nobody answers on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield {"bootstrap.servers": f"127.0.0.1:{held.getsockname()[1]}", "log_level": 0}


@pytest.mark.parametrize(
    "ask",
    [
        lambda at: brake.engage(at, "t.", ["*"]),
        lambda at: brake.release(at, "t.", ["ep-a"]),
        lambda at: brake.engaged(at, "t."),
    ],
)
def test_a_brake_that_nobody_answers_for_is_an_error_of_ours(nobody: Any, monkeypatch: pytest.MonkeyPatch, ask: Any) -> None:
    """The client's own is an OSError: `byleave halt` would end as a bug, and the beacon as if its disk were full."""
    monkeypatch.setattr(brake, "ANSWER_S_MAX", 0.2)
    with pytest.raises(Transient, match="no broker answers"):
        ask(nobody)


def test_a_silent_broker_is_asked_once_and_named(nobody: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "REQUEST_S_MAX", 0.2)
    slept: list[float] = []
    monkeypatch.setattr(kafka.time, "sleep", slept.append)
    with pytest.raises(Transient, match=r"no broker answers .*byleave status"):
        kafka.KafkaTail(nobody, "t.nobody", ["t.control.state.v1"])
    assert slept == []


def test_a_command_gives_up_sooner_than_a_role() -> None:
    tried: list[int] = []

    def never() -> None:
        tried.append(1)
        raise Transient("down")

    with pytest.raises(Transient):
        desk.persistent(never, desk.COMMAND_TRIES_MAX, lambda _: None)
    assert len(tried) == desk.COMMAND_TRIES_MAX < desk.TRIES_MAX
    tried.clear()
    with pytest.raises(Transient):
        desk.persistent(never, desk.TRIES_MAX, lambda _: True)  # told to end meanwhile
    assert len(tried) == 1


class Silence:
    """A `broker.Tail` of topics on which nothing more comes."""

    caught_up = True

    def read(self, timeout_s: float) -> list[Any]:  # noqa: ARG002 - the port's parameter
        return []

    def at_end(self, topic: str) -> bool:  # noqa: ARG002 - the port's parameter
        return True

    def close(self) -> None:
        pass


def test_a_beacon_that_no_broker_took_is_not_counted_as_given(site: Any, nobody: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(site.home, home)
    watch = ControlWatch(Silence(), site.knowledge(), "test.")
    at = load_installation({"BYLEAVE_HOME": str(home), "BYLEAVE_SITE": "test."})
    service = Service(at, watch, lambda: kafka.KafkaPublisher(nobody))
    before, counted = service.taken_boot_ms, metrics.BEACONS._value.get()
    service.turn()
    service.close()
    assert (home / "beacon" / "memory.json").exists(), "one was signed, and remembered before"
    assert (service.taken_boot_ms, metrics.BEACONS._value.get()) == (before, counted)


@pytest.mark.parametrize("heard", [True, False])
def test_nothing_is_vouched_for_while_an_order_may_stand_there_unread(
    site: Any, nobody: Any, tmp_path: Path, heard: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The topic of orders is asked for its end: a service that hears nothing must not say that nothing was ordered."""
    home = tmp_path / "home"
    shutil.copytree(site.home, home)
    silence = Silence()
    monkeypatch.setattr(silence, "at_end", lambda topic: heard and topic == "test.control.halt.v1")
    at = load_installation({"BYLEAVE_HOME": str(home), "BYLEAVE_SITE": "test."})
    service = Service(at, ControlWatch(silence, site.knowledge(), "test."), lambda: kafka.KafkaPublisher(nobody))
    service.turn()
    service.close()
    assert (home / "beacon" / "memory.json").exists() is heard


def test_a_board_that_never_heard_a_beacon_says_so() -> None:
    report: dict[str, Any] = {"epoch": 1, "beacon_age_ms": None, "orders": [], "endpoints": []}
    assert next(iter(_board_lines(report))) == "Epoch 1; no beacon was heard."
    assert next(iter(_board_lines(report | {"beacon_age_ms": 0}))) == "Epoch 1; last beacon 0 ms ago."
