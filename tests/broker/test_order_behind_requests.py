"""An order to stop is not kept waiting by whoever may write many requests, and a long topic is read no slower for it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from byleave.core.errors import Transient
from byleave.core.kafka import READ_MAX, KafkaPublisher, KafkaTail

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]
REQUESTS = 8_000
WAIT_S = 30.0


def write_requests(publisher: KafkaPublisher, topic: str) -> None:
    for number in range(REQUESTS):
        while True:
            try:
                publisher.publish(topic, b"ep-a", b"%0700d" % number)
                break
            except Transient:  # as many wait as may
                assert publisher.flush(WAIT_S)
    assert publisher.flush(WAIT_S)


def test_an_order_comes_before_all_but_a_few_of_the_requests_that_were_there_first(kafka: Any, site: str) -> None:
    requests, orders = f"{site}control.request.v1", f"{site}control.halt.v1"
    tail, publisher = KafkaTail(kafka.conf("admin"), f"{site}test", [requests, orders]), KafkaPublisher(kafka.conf("admin"))
    try:
        assert tail.caught_up
        write_requests(publisher, requests)
        time.sleep(1.0)  # the reader is busy, and its client fetches ahead: as far as it may
        publisher.publish(orders, b"k", b"an order")
        assert publisher.flush(WAIT_S)
        before, until_s, found = 0, time.monotonic() + WAIT_S, False
        while not found and time.monotonic() < until_s:
            values = [record.value for record in tail.read(0.1)]
            found = b"an order" in values
            before += values.index(b"an order") if found else len(values)
        assert found
        assert before <= 4 * READ_MAX
        while before < REQUESTS:
            assert time.monotonic() < until_s, "the rest comes as fast"
            before += len(tail.read(0.1))
    finally:
        publisher.close()
        tail.close()
