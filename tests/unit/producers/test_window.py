"""The endpoint's core: the order of what is done, whatever happens, and what never follows what (P2)."""

from __future__ import annotations

from typing import Any

import pytest

from byleave.control.documents import Effective, Grant, Scope
from byleave.core.batches import Boundary
from byleave.producers import window
from byleave.producers.gate import Answer, Switches
from byleave.producers.window import (
    Acknowledge,
    Ask,
    Close,
    Dispose,
    Finish,
    Heard,
    Kill,
    NotOpened,
    Open,
    Reaped,
    RunWindow,
    ThrowAway,
    Tick,
    step,
)


class Endpoint:
    """A window on a World, with a worker that dies when it is told to, or does not."""

    def __init__(self, world: Any) -> None:
        self.world, self.window, self.mortal, self.done, self.n = world, RunWindow("ep-a", "agent"), True, [], 0

    def does(self, given_input: Any) -> list[Any]:
        """One input and all that follows from it: the outputs in their order."""
        waiting, done = [given_input], []
        while waiting:
            self.window, outputs = step(self.window, self.world.knowledge, waiting.pop(0), self.world.now)
            done += outputs
            waiting += [Reaped(self.mortal) for output in outputs if isinstance(output, Kill)]
        self.done += done
        return done

    def tick(self, ms: int = 20, *, caught_up: bool = True, alive: bool = True, switches: Switches = Switches()) -> list[Any]:  # noqa: B008 - frozen
        self.world.now += ms
        self.n += 1
        return self.does(Tick(switches, caught_up, f"{self.n:032x}", alive))

    def opens(self) -> Open:
        self.does(Heard(self.world.beacon()))
        (asked,) = self.tick(2_000)
        assert isinstance(asked, Ask)
        self.does(Heard(self.world.learn("control.grant.v1", self.world.grant(asked.request))))
        (opened,) = self.tick()
        assert isinstance(opened, Open)
        return opened


@pytest.fixture
def endpoint(world: Any) -> Endpoint:
    return Endpoint(world)


def kinds(outputs: list[Any]) -> list[type]:
    return [type(output) for output in outputs]


@pytest.mark.parametrize("buffer", ["drop", "seal"])
def test_a_halt_kills_closes_throws_away_disposes_and_acknowledges_in_this_order(endpoint, world, buffer: str) -> None:
    endpoint.opens()
    order, halt_id = world.halt(buffer)
    world.now += 30
    assert endpoint.does(Heard(order)) == []
    done = endpoint.tick(20)
    assert kinds(done) == [Kill, Close, ThrowAway, Dispose, Acknowledge]
    assert done[1:4] == [Close(Boundary.HALT), ThrowAway(), Dispose(buffer)]
    assert (done[4].halt_id, done[4].epoch) == (halt_id, 1)
    assert done[4].reaped_boot_ms - done[4].seen_boot_ms == done[4].stopped_ms - done[4].seen_ms == 20
    assert [endpoint.tick() for _ in range(5)] == [[]] * 5, "once is enough"


def test_a_halt_of_an_endpoint_that_captures_nothing_is_obeyed_and_acknowledged_all_the_same(endpoint, world) -> None:
    order, _ = world.halt()
    endpoint.does(Heard(order))
    assert kinds(endpoint.tick()) == [ThrowAway, Dispose, Acknowledge]


def test_a_second_order_is_answered_too_and_nothing_is_thrown_away_twice(endpoint, world) -> None:
    endpoint.opens()
    orders = [world.halt()]
    endpoint.does(Heard(orders[0][0]))
    endpoint.tick()
    orders.append(world.halt("seal", Scope("team", "team-1")))
    endpoint.does(Heard(orders[1][0]))
    assert endpoint.tick() == [Dispose("seal"), endpoint.done[-1]]
    assert [done.halt_id for done in endpoint.done if isinstance(done, Acknowledge)] == [halt_id for _, halt_id in orders]


def test_while_a_worker_cannot_be_reaped_nothing_is_acknowledged_or_disposed_of_and_it_is_killed_again(endpoint, world) -> None:
    endpoint.opens()
    order, _ = world.halt()
    endpoint.does(Heard(order))
    endpoint.mortal = False
    assert kinds(endpoint.tick()) == [Kill, Close, ThrowAway]
    assert [kinds(endpoint.tick(100)) for _ in range(3)] == [[Kill]] * 3
    endpoint.mortal = True
    *first, ack = endpoint.tick(100)
    assert kinds(first) == [Kill, Dispose]
    assert ack.stopped_ms - ack.seen_ms == 420, "it stopped when it was reaped, not when it was told to"
    assert endpoint.tick() == []


def test_an_unreaped_worker_of_an_ended_window_keeps_the_next_from_opening(endpoint, world) -> None:
    endpoint.opens()
    endpoint.mortal = False
    assert kinds(endpoint.tick(switches=Switches(paused=True))) == [Kill, Close]
    for _ in range(200):
        endpoint.does(Heard(world.beacon()))
        assert kinds(endpoint.tick(100)) == [Kill]
    endpoint.mortal = True
    assert kinds(endpoint.tick()) == [Kill]
    assert isinstance(endpoint.opens(), Open)


def test_before_all_is_read_an_order_stops_but_decides_nothing_about_the_spool(endpoint, world) -> None:
    endpoint.opens()
    order, _ = world.halt()
    endpoint.does(Heard(order))
    assert kinds(endpoint.tick(caught_up=False)) == [Kill, Close, ThrowAway]
    assert kinds(endpoint.tick()) == [Dispose, Acknowledge]


def test_an_order_that_only_a_beacon_names_stops_and_is_answered_once_it_is_read(endpoint, world) -> None:
    endpoint.opens()
    order, halt_id = world.halt()
    del world.knowledge._halts[halt_id]  # not read yet
    world.effective = (Effective(halt_id, world.service_ms),)
    endpoint.does(Heard(world.beacon()))
    assert kinds(endpoint.tick()) == [Kill, Close, ThrowAway]
    assert endpoint.tick() == []
    world.learn("control.halt.v1", world.sign("halt", order))
    endpoint.does(Heard(order))
    assert kinds(endpoint.tick()) == [Dispose, Acknowledge]


def test_a_local_halt_drops_what_waits_once_and_signs_nothing(endpoint, world) -> None:
    endpoint.opens()
    here = Switches(halted=True)
    assert endpoint.tick(switches=here) == [Kill(), Close(Boundary.HALT), ThrowAway(), Dispose("drop")]
    assert endpoint.tick(switches=here) == []
    assert endpoint.window.answer is Answer.HALTED_HERE
    endpoint.tick()
    assert endpoint.tick(switches=here) == [ThrowAway(), Dispose("drop")], "and what was taken up since"


@pytest.mark.parametrize(
    ("tick", "lost"), [({"switches": Switches(paused=True)}, False), ({"caught_up": False}, False), ({"alive": False}, True)]
)
def test_any_other_end_kills_closes_and_sends_what_was_captured(endpoint, tick: dict[str, Any], lost: bool) -> None:
    endpoint.opens()
    assert endpoint.tick(**tick) == [Kill(lost), Close(Boundary.END)]


def test_each_window_has_a_grant_and_a_session_of_its_own(endpoint, world) -> None:
    first = endpoint.opens()
    endpoint.tick(switches=Switches(paused=True))
    assert kinds(endpoint.tick()) == [] == kinds(endpoint.tick(1_000)), "the old grant opens nothing"
    second = endpoint.opens()
    assert first.session.id != second.session.id
    assert first.permit != second.permit


def test_an_open_that_failed_is_undone_and_tried_again_later_with_a_new_grant(endpoint, world) -> None:
    endpoint.opens()
    assert kinds(endpoint.does(NotOpened())) == [Kill]
    assert endpoint.window.session is None
    endpoint.does(Heard(world.beacon()))
    assert endpoint.tick(900) == []
    assert kinds(endpoint.tick(2_000)) == [Ask]


def test_after_finish_nothing_is_opened_or_asked_for(endpoint, world) -> None:
    endpoint.opens()
    assert endpoint.does(Finish()) == [Kill(), Close(Boundary.END)]
    assert endpoint.does(Finish()) == []
    for _ in range(100):
        endpoint.does(Heard(world.beacon()))
        assert endpoint.tick(100) == []


def test_a_nonce_is_answered_once(endpoint, world) -> None:
    endpoint.does(Heard(world.beacon()))
    (asked,) = endpoint.tick(2_000)
    wrong = Grant("byleave.", asked.request.nonce, "00" * 32, "00" * 16, world.service_ms, 1, world.service_ms + 1_000)
    right = world.learn("control.grant.v1", world.grant(asked.request))
    endpoint.does(Heard(wrong))
    endpoint.does(Heard(right))
    assert endpoint.window.permit is None
    assert endpoint.tick() == []


def test_when_nothing_is_left_on_the_topics_nothing_is_permitted(endpoint, world) -> None:
    """A control topic deleted and made anew: the process forgets all but its floor, and reads again."""
    endpoint.opens()
    world.knowledge.restart()
    assert endpoint.tick() == [Kill(), Close(Boundary.END)], "even if the new, empty topics are read to their end"
    assert endpoint.window.answer in window.CLOSED
    for _ in range(50):
        assert endpoint.tick(100) == []
