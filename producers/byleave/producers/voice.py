"""Edge: what the endpoint says on the control topics: requests and acknowledgements. What was not delivered is said again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from byleave.core.broker import Publisher
from byleave.core.errors import Broken, Refused, Transient

WAITING_MAX = 64
RETRY_MS = 1_000
REST_MS = 10_000
"""A client that nobody has used for so long is closed: its threads wake up once a second for nothing."""


class Voice:
    """Holds what is not acknowledged yet, at most WAITING_MAX documents; the oldest goes when there are more."""

    def __init__(self, make: Callable[[], Publisher], full_name: Callable[[str], str], key: bytes) -> None:
        self._make, self._full_name, self._key = make, full_name, key
        self._publisher: Publisher | None = None
        self._waiting: OrderedDict[int, tuple[str, bytes]] = OrderedDict()
        self._sent: set[int] = set()
        self._done: list[int] = []
        self._number = 0
        self._failed = False
        self._wait_until_ms = self._used_ms = 0

    @property
    def idle(self) -> bool:
        return not self._waiting

    def say(self, topic: str, value: bytes) -> None:
        """Queues a document for `topic` (named without site)."""
        self._number += 1
        self._waiting[self._number] = (topic, value)
        if len(self._waiting) > WAITING_MAX:
            self._waiting.popitem(last=False)

    def pump(self, boot_ms: int) -> None:
        """Sends and takes in answers; does not block."""
        if boot_ms < self._wait_until_ms or not self._waiting:
            if self._publisher is not None and boot_ms - self._used_ms >= REST_MS:
                self.close()
            return
        self._used_ms = boot_ms
        try:
            if self._publisher is None:
                self._publisher = self._make()
            for number, (topic, value) in self._waiting.items():
                if number not in self._sent:
                    self._publisher.publish(self._full_name(topic), self._key, value, partial(self._answered, number))
                    self._sent.add(number)
            self._publisher.flush(0)
        except (Transient, Refused, Broken):
            self._failed = True
        for number in self._done:
            self._waiting.pop(number, None)
            self._sent.discard(number)
        self._done.clear()
        if self._failed:
            self.close()
            self._failed, self._wait_until_ms = False, boot_ms + RETRY_MS

    def close(self) -> None:
        publisher, self._publisher = self._publisher, None
        self._sent.clear()
        if publisher is not None:
            publisher.close()

    def _answered(self, number: int, ok: bool) -> None:
        if ok:
            self._done.append(number)  # callbacks come while the queue is walked
        else:
            self._failed = True
