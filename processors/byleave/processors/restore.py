"""Edge: from the topics, all that the redactor knew when it last committed (rule 9 of docs/adr/0004). The order is the proof.

    a  committed offsets, as read_committed: the broker answers once pending transactions are decided; none at all is an error
    b  after that, where the state partition ends, as read_uncommitted: open transactions included
    c  read state from 0 as read_committed to an end of partition at or beyond b
    d  that end must lie above the state offset that the commit names, else the topic was cut or made anew: stop

A client that reads only committed records sees its first "end" before an open transaction: restoring to that would bring back
an older state than the offsets belong to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from confluent_kafka import Consumer, TopicPartition

from byleave.core.errors import Broken, Transient
from byleave.core.kafka import Options, asked, bounds, consumer_options, sorted_out, translate
from byleave.processors.partition import STATE_TOPIC, Partition, Tools

COMMITTED_S_MAX = 50.0
READS_EMPTY_MAX = 150
"""Reads of 0.2 s in a row that bring nothing before a restore is given up: longer than a dead transaction can stay open."""
METADATA = "s="


class Restorer:
    """Two clients that never join a group; kept for as long as the membership lives, since making one costs 0.1 s."""

    def __init__(self, connection: Options, group: str, site: str) -> None:
        options = consumer_options(connection, group)
        self._topic = site + STATE_TOPIC
        self._probe = Consumer({**options, "isolation.level": "read_uncommitted"})
        self._reader = Consumer(
            {**options, "auto.offset.reset": "earliest", "enable.partition.eof": True, "fetch.wait.max.ms": 10}
        )

    def restore(
        self, group: Consumer, places: Sequence[TopicPartition], count: int, tools: Tools
    ) -> tuple[list[Partition], dict[int, int]]:
        """Some of the `count` input partitions, at their committed offsets with their state; and the state offset that each
        commit named.

        Raises Transient (no answer in time), Broken (no committed offset, state cut off, or a record that does not open).
        """
        found = committed(group, places)
        named = {place.partition: _named(place) for place in found}
        ends = {number: bounds(self._probe, self._topic, number)[1] for number in named}
        records = self._read(ends, named)
        restored = []
        for place in found:
            number = place.partition
            streams = {key: tools.state_seal.open(key, number, value) for key, value in records[number].items()}
            restored.append(Partition(number, count, place.offset, streams, tools))
        return restored, named

    def close(self) -> None:
        self._probe.close()
        self._reader.close()

    def _read(self, ends: dict[int, int], named: dict[int, int]) -> dict[int, dict[str, bytes]]:
        records: dict[int, dict[str, bytes]] = {number: {} for number in ends}
        left, empty = set(ends), 0

        def ended(_: str, number: int, offset: int) -> None:
            if offset < ends[number]:
                return  # an open transaction stands there: its end will come, or the broker ends it
            if offset <= named[number]:  # the end, not the last record: compaction may have removed that
                raise Broken(
                    f"state of partition {number} ends at {offset}, the commit names {named[number]}: cut off or made anew"
                )
            left.discard(number)

        self._reader.assign([TopicPartition(self._topic, number, 0) for number in ends])
        while left:
            messages = self._reader.consume(5_000, 0.2)
            empty = 0 if messages else empty + 1
            if empty > READS_EMPTY_MAX:
                raise Transient("the state topic could not be read to its end in time", reason="restore")
            for record in sorted_out(messages, "reading the state", ended):
                # A key that is no UTF-8 is no endpoint's: what stands under it does not open.
                _fold(records[record.partition], (record.key or b"").decode("utf-8", "replace"), record.value)
        self._reader.unassign()
        return records


def committed(group: Consumer, places: Sequence[TopicPartition]) -> list[TopicPartition]:
    """Committed offsets with their metadata. Raises Broken where there is none: provisioning commits 0 once."""
    asking = [TopicPartition(p.topic, p.partition) for p in places]
    found = asked(lambda: group.committed(asking, COMMITTED_S_MAX), "asking for committed offsets", COMMITTED_S_MAX)
    for place in found:
        if place.error is not None:
            raise translate(place.error, "asking for committed offsets")
        if place.offset < 0:
            raise Broken(f"no committed offset for partition {place.partition}: run 'byleave topics apply'", reason="no-offset")
    return list(found)


def _named(place: TopicPartition) -> int:
    """The state offset in a commit's metadata, -1 where nothing was written yet."""
    found = re.fullmatch(rf"{METADATA}([0-9]{{1,18}})", place.metadata or "")
    return int(found[1]) if found else -1


def _fold(records: dict[str, bytes], key: str, value: bytes | None) -> None:
    if value is None:
        records.pop(key, None)
    else:
        records[key] = value
