"""What the redactor takes for the past when it starts: never less than its committed offsets belong to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from redactor_site import Site, key_for

from byleave.core.errors import Broken
from byleave.core.kafka import consumer_options, producer_options
from byleave.processors.partition import STATE_TOPIC, Tools
from byleave.processors.restore import Restorer
from byleave.processors.session import EndpointState
from byleave.processors.state import Stream

pytestmark = pytest.mark.broker
BASE_MS = 1_760_000_000_000


class Redactor:
    """The clients of one redactor that writes state by hand, in transactions that may be left open."""

    def __init__(self, kafka, site: str, slot: str) -> None:
        self.site, self.conf = site, kafka.conf("redactor")
        self.seal = Site(site, BASE_MS).tools(key_for).state_seal
        more = {"transactional.id": f"{site}redactor-{slot}", "transaction.timeout.ms": 4_000}
        self.producer = Producer(producer_options(self.conf) | more)
        self.producer.init_transactions(20)
        self.group = Consumer(consumer_options(self.conf, f"{site}redactor"))
        self.group.subscribe([site + "raw.events.v1"])

    def join(self) -> None:
        for _ in range(200):
            self.group.consume(1, 0.1)
            if self.group.assignment():
                return
        raise AssertionError("no assignment")

    def write(self, offset: int) -> int:
        """A state of ep-a that belongs to an input offset, in an open transaction; its offset on the state topic."""
        self.producer.begin_transaction()
        found: list[int] = []
        value = self.seal.seal("ep-a", 0, Stream(EndpointState(), offset, BASE_MS))
        self.producer.produce(
            self.site + STATE_TOPIC, value, b"ep-a", partition=0, on_delivery=lambda _, message: found.append(message.offset())
        )
        assert self.producer.flush(20) == 0
        return found[0]

    def commit(self, offset: int, state: int) -> None:
        place = TopicPartition(self.site + "raw.events.v1", 0, offset, f"s={state}")
        self.producer.send_offsets_to_transaction([place], self.group.consumer_group_metadata(), 20)
        self.producer.commit_transaction(20)

    def restored(self, tools: Tools) -> dict[str, int]:
        restorer = Restorer(self.conf, f"{self.site}redactor-restore", self.site)
        try:
            places = [TopicPartition(self.site + "raw.events.v1", 0)]
            [partition], _ = restorer.restore(self.group, places, 2, tools)
        finally:
            restorer.close()
        return {"next": partition.next_offset} | {name: stream.offset for name, stream in partition.endpoints.items()}


@pytest.fixture
def redactor(kafka, site: str) -> Iterator[Redactor]:
    redactor = Redactor(kafka, site, "0")
    redactor.join()
    yield redactor
    redactor.group.close()


@pytest.fixture
def tools(site: str) -> Tools:
    return Site(site, BASE_MS).tools(key_for)


def test_a_fresh_site_begins_at_zero_with_nothing(redactor: Redactor, tools: Tools) -> None:
    assert redactor.restored(tools) == {"next": 0}


def test_what_was_committed_comes_back_and_what_was_aborted_does_not(redactor: Redactor, tools: Tools) -> None:
    redactor.commit(11, redactor.write(10))
    redactor.write(99)
    redactor.producer.abort_transaction(20)
    assert redactor.restored(tools) == {"next": 11, "ep-a": 10}


def test_state_committed_above_a_dead_redactors_open_transaction_is_not_missed(
    kafka, site: str, redactor: Redactor, tools
) -> None:
    """The dead one's transaction hides what stands above it from every committed read: a first end of partition lies."""
    redactor.commit(11, redactor.write(10))
    dead = Redactor(kafka, site, "dead")
    dead.write(15)  # and never ends it
    redactor.commit(21, redactor.write(20))
    began_s = time.monotonic()
    assert redactor.restored(tools) == {"next": 21, "ep-a": 20}
    assert time.monotonic() - began_s > 0.5  # it waited for the broker to end that transaction
    dead.group.close()


def test_a_commit_that_is_still_undecided_is_waited_for(redactor: Redactor, tools: Tools) -> None:
    redactor.commit(11, redactor.write(10))
    state = redactor.write(20)
    place = TopicPartition(redactor.site + "raw.events.v1", 0, 21, f"s={state}")
    redactor.producer.send_offsets_to_transaction([place], redactor.group.consumer_group_metadata(), 20)
    later = threading.Timer(1.0, redactor.producer.commit_transaction, [20])
    later.start()
    assert redactor.restored(tools) == {"next": 21, "ep-a": 20}
    later.join()


def test_a_state_topic_that_ends_before_what_the_commit_names_stops_the_redactor(redactor: Redactor, tools: Tools) -> None:
    redactor.commit(11, redactor.write(10) + 1_000)
    with pytest.raises(Broken, match="cut off or made anew"):
        redactor.restored(tools)


def test_a_state_record_of_another_key_stops_the_redactor(redactor: Redactor, site: str) -> None:
    redactor.commit(11, redactor.write(10))
    other = Site(site, BASE_MS)
    other.state_key = bytes(32)
    with pytest.raises(Broken, match="does not open"):
        redactor.restored(other.tools(key_for))
