"""Edge: this endpoint's own receipts: fetched now and then, opened, verified, kept for 31 days (docs/formats/receipts.md).

In: `receipts.v1`, where all endpoints' sealed records stand. Out: `receipts.json` in the endpoint's folder, numbers and labels
of its person; answers to `{"ask": "receipts"}`.

Promises  only what the redactor signed, sealed to this endpoint's key, is kept (P3, P4); an hour is kept once, in order.
Refuses   forged, moved and replayed records: counted, and the next one is looked at.
Bounds    a look ends after LOOK_MS_MAX without a record; there is one each LOOK_MS, and between them no client that wakes up.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from confluent_kafka import Consumer, TopicPartition

from byleave.control import trust
from byleave.control.knowledge import Knowledge
from byleave.core import metrics
from byleave.core.broker import Received
from byleave.core.errors import Broken, Forged, Misconfigured, Refused, Transient
from byleave.core.kafka import PREFETCH, Options, called, consumer_options, sorted_out
from byleave.core.keys import public_hex, read_hpke_key, replace_file, verify_key
from byleave.core.receipts import HOUR_MS, open_receipt
from byleave.producers.inquiries import Handler
from byleave.producers.person.today import DAY

TOPIC, FILE, KEY_FILE = "receipts.v1", "receipts.json", "receipt.key"
KEPT_MS = 31 * 24 * HOUR_MS
LOOK_MS, LOOK_MS_MAX = 600_000, 30_000
READ_MAX = 500
TOLD_MAX = 200
"""Most hours in one answer."""
SUMS = ("captured", "written", "removed", "refused", "gaps", "late", "sessions")
NO_KEY = "this endpoint was enrolled without a key for receipts: enrol it again to get them"

Counts = dict[str, Any]


class Place(Protocol):
    """Reads the topic from an offset on, without waiting."""

    def read(self) -> Sequence[Received]:
        """What is there, at most READ_MAX records. Raises Transient, Broken, Refused."""

    @property
    def ended(self) -> bool:
        """Whether all that stood there was returned."""

    def close(self) -> None: ...


class Receipts:
    """`knowledge` holds the endpoint's enrolment, which names its receipt key; `make` opens the topic at an offset."""

    def __init__(self, folder: Path, knowledge: Knowledge, endpoint: str, make: Callable[[int], Place]) -> None:
        self._path, self._knowledge, self._endpoint, self._make = folder / FILE, knowledge, endpoint, make
        self._key = None
        with suppress(Misconfigured):
            key = read_hpke_key(folder / KEY_FILE)
            self._key = key if public_hex(key) == knowledge.enrolments[endpoint].receipt_key else None
        self._offset, self._hours = _load(self._path)
        self._place: Place | None = None
        self._due_ms = self._began_ms = 0
        self.questions: dict[str, Handler] = {"receipts": self._told}

    def turn(self, boot_ms: int) -> None:
        """Goes on with a look, or begins one that is due; does not wait."""
        if self._key is None or (self._place is None and boot_ms < self._due_ms):
            return
        try:
            if self._place is None:
                self._place, self._began_ms, self._due_ms = self._make(self._offset), boot_ms, boot_ms + LOOK_MS
            records = self._place.read()
            self._take(records)
            self._began_ms = boot_ms if records else self._began_ms
            if self._place.ended or boot_ms - self._began_ms > LOOK_MS_MAX:
                self.close()
        except (Transient, Broken, Refused, OSError):  # looked for again in its turn
            self.close()

    def close(self) -> None:
        """No client is left."""
        place, self._place = self._place, None
        if place is not None:
            place.close()

    def _take(self, records: Sequence[Received]) -> None:
        if not records:
            return
        found, hours = len(self._hours), self._hours
        for record in records:
            try:
                hours = [*hours, *self._opened(record, hours[-1]["hour_ms"] if hours else -1)]
            except (Forged, Refused) as error:
                metrics.REFUSED.labels("receipt", error.reason).inc()
        self._offset = records[-1].offset + 1
        if len(hours) > found:
            self._hours = [counts for counts in hours if counts["hour_ms"] > hours[-1]["hour_ms"] - KEPT_MS]
            replace_file(self._path, json.dumps({"offset": self._offset, "hours": self._hours}).encode())

    def _opened(self, record: Received, last_ms: int) -> Iterable[Counts]:
        if self._key is None:
            return []
        redactor = [verify_key(key) for key in trust.role_of(self._knowledge.root, "redactor").keys]
        counts = open_receipt(self._knowledge.site, self._key, (record.key, record.value), redactor)
        if counts is None:
            return []
        if counts["endpoint"] != self._endpoint:
            raise Forged("a receipt of another endpoint than this", reason="wrong-endpoint")
        if counts["hour_ms"] <= last_ms:
            raise Refused("a receipt of an hour that is known", reason="replayed")
        return [counts]

    def _told(self, question: dict[str, Any]) -> dict[str, Any]:
        """The hours from `since_ms` on, at most TOLD_MAX of them, and what they come to. Asking looks for more at once."""
        self._due_ms = 0
        hours = [counts for counts in self._hours if counts["hour_ms"] >= int(question.get("since_ms") or 0)]
        why = "" if self._key is not None else NO_KEY
        return {"hours": hours[:TOLD_MAX], "more": len(hours) > TOLD_MAX, "summary": summary(hours), "why": why}


def summary(hours: Sequence[Counts]) -> dict[str, Any] | None:
    """What hours in a row come to: sums, `removals` by label and by rule, events by application; None without any.

    `held_before` is of the first, `held` of the last. `difference` is 0, or the receipts do not add up.
    """
    if not hours:
        return None
    told = {name: sum(counts[name] for counts in hours) for name in SUMS}
    told |= {"held_before": hours[0]["held_before"], "held": hours[-1]["held"], "hours": len(hours)}
    left = told["held_before"] + told["captured"]
    parts = sum(told[name] for name in ("written", "removed", "refused", "gaps", "held"))
    removals = [removal for counts in hours for removal in counts["removals"]]
    shares = [share for counts in hours for share in counts["shares"]]
    return {
        **told, "difference": left - parts, "removals": _by("label", removals), "rules": _by("rule", removals),
        "applications": _by("app", shares), "kinds": _by("kind", shares), "levels": _by("level", shares),
        "fates": _by("fate", shares), "from_ms": hours[0]["hour_ms"], "to_ms": hours[-1]["hour_ms"] + HOUR_MS,
    }  # fmt: skip


def added(told: Mapping[str, Any]) -> str:
    """What the captured events of a summary came to: the sum that its numbers must make."""
    parts = {name: told[name] for name in ("written", "removed", "refused", "gaps")}
    parts["held"] = told["held"] - told["held_before"]
    return " + ".join(f"{count:,} {name}" for name, count in parts.items())


def of_day(folder: Path, day: str) -> dict[str, Any] | None:
    """The summary of the kept hours that began on a day (YYYY-MM-DD, where the person is)."""
    hours = _load(folder / FILE)[1]
    return summary([c for c in hours if time.strftime(DAY, time.localtime(c["hour_ms"] / 1000)) == day])


def _by(name: str, rows: Iterable[Counts]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for row in rows:
        sums[str(row[name])] += row["count"]
    return dict(sums.most_common())


def _load(path: Path) -> tuple[int, list[Counts]]:
    """The offset to read on from, and the hours that are kept. What is damaged is fetched again, as long as it stands there."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_bytes())
        return int(kept["offset"]), [dict(counts) for counts in kept["hours"]]
    return 0, []


class TopicPlace:
    """`Place` on the real broker. The topic has one partition."""

    def __init__(self, connection: Options, group: str, topic: str, offset: int) -> None:
        options = consumer_options(connection, group, **{**PREFETCH, "enable.partition.eof": True})
        self._consumer = Consumer(options | {"auto.offset.reset": "earliest"})
        self._consumer.assign([TopicPartition(topic, 0, offset)])
        self.ended = False

    def read(self) -> Sequence[Received]:
        messages = called(lambda: self._consumer.consume(READ_MAX, 0.0), "reading receipts")
        return sorted_out(messages, "reading receipts", self._at_end)

    def _at_end(self, topic: str, number: int, offset: int) -> None:
        del topic, number, offset
        self.ended = True

    def close(self) -> None:
        self._consumer.close()
