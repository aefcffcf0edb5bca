"""What the keyring knows of the orders, as its control topics come in, fall silent, break off and change their root."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from lake_site import NOW_MS, LakeSite

from byleave.control import trust
from byleave.control.documents import Scope
from byleave.control.knowledge import Knowledge
from byleave.control.watch import FRESH_MS, ControlWatch
from byleave.core.broker import Received
from byleave.core.errors import Broken, ByleaveError, Refused, Transient
from byleave.sinks.keyring_main import Orders


class Topics:
    """A `Tail` on a list: what stands in it at the start is the backlog."""

    def __init__(self, site: str, backlog: Sequence[tuple[str, bytes]]) -> None:
        self._site, self.records, self._next, self._end = site, list(backlog), 0, len(backlog)
        self.trouble: ByleaveError | None = None
        self.closed = False

    def read(self, timeout_s: float) -> Sequence[Received]:  # noqa: ARG002
        if self.trouble is not None:
            raise self.trouble
        found, self._next = self.records[self._next :], len(self.records)
        return [Received(self._site + topic, 0, 0, NOW_MS, None, value) for topic, value in found]

    @property
    def caught_up(self) -> bool:
        return self._next >= self._end

    def rewind(self) -> None:
        self._next, self._end = 0, len(self.records)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def site(tmp_path: Path) -> LakeSite:
    return LakeSite(tmp_path)


@pytest.fixture
def topics(site: LakeSite) -> Topics:
    return Topics(site.site, [(topic, value) for topic, _, value in site.documents()])


class Hearing:
    """Orders on a clock that a test moves."""

    def __init__(self, site: LakeSite, topics: Topics) -> None:
        self.now_ms, self.pinned = 50_000, list[bytes]()
        self.site, self.topics = site, topics
        self.knowledge = site.knowledge()
        self.orders = Orders(site.root, self._listen, lambda: self.now_ms)

    def _listen(self) -> ControlWatch:
        knowledge = Knowledge(self.site.root, self.site.site)
        return ControlWatch(self.topics, knowledge, self.site.site, lambda: self.now_ms, self.pinned.append)

    def beacon(self, service_ms: int) -> None:
        self.topics.records.append(("control.beacon.v1", self.site.beacon(self.knowledge, service_ms)))

    def stops(self) -> str | None:
        return self.orders.standing().stops({"ep-a"}, {"person-a"})


@pytest.fixture
def hearing(site: LakeSite, topics: Topics) -> Hearing:
    return Hearing(site, topics)


def test_a_beacon_that_stood_there_already_is_no_news(hearing: Hearing) -> None:
    assert hearing.stops() == "control-unknown", "before anything was read"
    for _ in range(3):
        hearing.orders.step()
    assert hearing.stops() == "control-unknown", "it may be of any age"
    hearing.beacon(NOW_MS + 2_000)
    hearing.orders.step()
    assert hearing.stops() is None


def test_silence_ends_all_looks_and_an_order_ends_its_own_at_once(hearing: Hearing) -> None:
    hearing.orders.step()
    hearing.beacon(NOW_MS + 2_000)
    hearing.orders.step()
    hearing.now_ms += FRESH_MS - 1
    assert hearing.stops() is None
    hearing.now_ms += 1
    assert hearing.stops() == "control-unknown"
    hearing.beacon(NOW_MS + 20_000)
    hearing.orders.step()
    assert hearing.stops() is None
    hearing.topics.records.append(("control.halt.v1", hearing.site.order(Scope("subject", "person-a"), "reads")[1]))
    hearing.orders.step()
    assert hearing.stops() == "reads-halted"


def test_a_broker_that_hands_out_old_beacons_one_by_one_holds_nobody_in_the_past(hearing: Hearing) -> None:
    hearing.orders.step()
    answers = []
    for second in range(2, 7):  # the next beacon, one second on, each fourteen
        hearing.beacon(NOW_MS + second * 1_000)
        hearing.orders.step()
        answers.append(hearing.stops())
        hearing.now_ms += FRESH_MS - 1_000
    assert answers == [None, None, *["control-unknown"] * 3]
    hearing.beacon(NOW_MS + 2_000 + 5 * (FRESH_MS - 1_000))
    hearing.orders.step()
    assert hearing.stops() is None, "the newest is let go: it is known again"


def test_a_clock_that_drifts_as_clocks_do_ends_no_looks(hearing: Hearing) -> None:
    hearing.orders.step()
    started_ms = hearing.now_ms
    for hour in range(1, 24 * 14):
        hearing.now_ms = started_ms + hour * 3_600_000 * (1_000_000 + 80) // 1_000_000
        hearing.beacon(NOW_MS + hour * 3_600_000)
        hearing.orders.step()
        assert hearing.stops() is None, hour


@pytest.mark.parametrize(("make", "closes"), [(Transient, False), (Refused, True), (Broken, True)])
def test_when_the_topics_break_off_nothing_new_is_known_and_they_are_opened_anew(
    hearing: Hearing, make: Callable[[str], ByleaveError], closes: bool
) -> None:
    hearing.orders.step()
    hearing.beacon(NOW_MS + 2_000)
    hearing.orders.step()
    hearing.topics.trouble = make("broken off")
    with pytest.raises(ByleaveError):
        hearing.orders.step()
    assert hearing.topics.closed is closes
    assert hearing.stops() == ("control-unknown" if closes else None), "a moment's silence ends nothing before its time"
    hearing.topics.trouble = None
    if closes:
        hearing.topics.rewind()
    hearing.orders.step()
    hearing.beacon(NOW_MS + 30_000)
    hearing.orders.step()
    assert hearing.stops() is None


def test_a_next_root_is_kept_and_everything_is_read_again_under_it(hearing: Hearing) -> None:
    site = hearing.site
    hearing.orders.step()
    hearing.beacon(NOW_MS + 2_000)
    hearing.orders.step()
    successor = replace(site.root, version=2)
    hearing.topics.records.append(("control.root.v1", trust.sign(successor, [site.signer])))
    hearing.orders.step()
    assert (hearing.stops(), len(hearing.pinned)) == ("control-unknown", 1)
    hearing.orders.step()
    assert hearing.orders.standing().root == successor, "looks are judged by the root that is in force now"
    assert hearing.stops() == "control-unknown", "the state names the root before: nothing is vouched for"
