"""Edge: from the spool to the broker, strictly in order (ruling 21).

A delivery that fails makes all that is behind it suspect: the Kafka client is thrown away and a new one goes on at the oldest
batch that was not acknowledged. On a halt the client is purged and thrown away; it is never flushed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from byleave.core import metrics
from byleave.core.broker import Publisher
from byleave.core.errors import Broken, Forged, Refused, Transient
from byleave.producers.spool import Spool

IN_FLIGHT_MAX = 64
RETRY_MS_MIN = 200
RETRY_MS_MAX = 10_000


class Outbox:
    """Sends one endpoint's spool. `pump` is called often and does not block; `make` builds a fresh client."""

    def __init__(self, spool: Spool, topic: str, key: bytes, make: Callable[[], Publisher]) -> None:
        self._spool, self._topic, self._key, self._make = spool, topic, key, make
        self._publisher: Publisher | None = None
        self._generation = 0
        self._in_flight = 0
        self._unanswered: dict[int, int] = {}
        self._sent = self._head = 0
        self._failed = self._purging = False
        self._retry_ms = RETRY_MS_MIN
        self._wait_until_ms = 0
        self.delivered_batches = 0
        self.delivered_events = 0

    @property
    def idle(self) -> bool:
        """Whether everything that was kept has been acknowledged."""
        return self._spool.waiting == 0

    def pump(self, boot_ms: int, service_ms: int) -> None:
        """Sends what waits and takes in acknowledgements. A client's failure ends in a new client, later.

        `service_ms` is the beacon service's time, for the age of what waits.
        """
        if boot_ms < self._wait_until_ms:
            return
        if not self._in_flight:
            self._spool.expire(service_ms)
        try:
            if self._publisher is None:
                self._publisher = self._make()
            self._send(self._publisher)
            if self._in_flight:  # asking costs the client a turn of all its threads
                self._publisher.flush(0)
        except (Transient, Refused, Broken):
            self._failed = True
        if self._failed:
            self.throw_away()
            self._wait_until_ms = boot_ms + self._retry_ms
            self._retry_ms = min(RETRY_MS_MAX, self._retry_ms * 2)

    def throw_away(self) -> int:
        """Purges the client and forgets it: nothing of what it held is sent any more.

        Returns how many events had been handed to it without an answer: the broker may have them or not.
        """
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            self._purging = True
            publisher.purge()  # answers that come meanwhile count: what the broker has is no longer ours to drop
            publisher.close()
        unanswered = sum(self._unanswered.values())
        self._unanswered.clear()
        self._generation += 1
        self._in_flight, self._head = 0, self._sent
        self._failed = self._purging = False
        return unanswered

    def _send(self, publisher: Publisher) -> None:
        while self._in_flight < IN_FLIGHT_MAX and not self._failed:
            entry = self._spool.entry(self._in_flight)
            if entry is None:
                return
            try:
                value = self._spool.value(entry)
            except Forged:
                if self._in_flight:
                    return  # its turn comes when it is the oldest
                self._spool.discard_torn()
                continue
            number, self._sent = self._sent, self._sent + 1
            self._unanswered[number] = entry.events
            publisher.publish(self._topic, self._key, value, partial(self._answered, self._generation, number))
            self._in_flight += 1

    def _answered(self, generation: int, number: int, ok: bool) -> None:
        if generation != self._generation:
            return
        events = self._unanswered.pop(number, 0)
        if self._failed or number != self._head:
            return  # behind a failure: it is sent again, and the redactor drops what it has
        if not ok:
            self._failed = not self._purging
            return
        self._spool.acknowledge()
        self._head += 1
        self._in_flight -= 1
        self._retry_ms = RETRY_MS_MIN
        self.delivered_batches += 1
        self.delivered_events += events
        metrics.BATCHES.inc()
