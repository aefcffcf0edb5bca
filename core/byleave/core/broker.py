"""The ports to Kafka, so that rules above them never see a client. `kafka.py` is the real one; tests hold both to one contract.

    Tail       reads whole topics from their beginning, without a group: control documents
    Publisher  writes records in order and says when the broker has them

The redactor's transactional loop uses the client directly (`processors/worker.py`): its rules are about that client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Received:
    """A record as it stands on the broker. `append_ms` is the broker's own stamp (LogAppendTime)."""

    topic: str
    partition: int
    offset: int
    append_ms: int
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)


class Tail(Protocol):
    """Reads topics from their beginning for as long as it lives."""

    def read(self, timeout_s: float) -> Sequence[Received]:
        """The next records, at most 500, in order within a partition; empty after `timeout_s`. Raises Transient, Broken."""

    @property
    def caught_up(self) -> bool:
        """Whether everything that stood on the topics when reading began has been returned.

        The last record of a compacted topic is not its newest state until then.
        """

    def at_end(self, topic: str) -> bool:
        """Whether all that stands on a topic of one partition now has been returned: asks the broker. Raises Transient."""

    def rewind(self) -> None:
        """Begins again at the beginning: `caught_up` is False until all that stands there now was read. Raises Transient."""

    def close(self) -> None: ...


Delivered = Callable[[bool], None]


class Publisher(Protocol):
    """Writes records; idempotent, in order per partition."""

    def publish(self, topic: str, key: bytes, value: bytes | None, delivered: Delivered | None = None) -> None:
        """Queues one record. Raises Transient when the queue is full, Refused when the broker denies the topic.

        `delivered` is told once whether the broker has it; never, if it was on the wire when `purge` gave up waiting.
        """

    def flush(self, timeout_s: float) -> bool:
        """Whether everything queued was acknowledged in time. Raises Broken if the client is spent, Refused if denied."""

    def purge(self) -> None:
        """Forgets what is queued: on a halt nothing more is sent, never flush then. Waits briefly for answers on the wire."""

    def close(self) -> None: ...
