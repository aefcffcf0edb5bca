"""Receipts on the real broker: the redactor is killed in mid-hour, and its endpoint reads each hour once, and right."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redactor_process import Stage, accounts_of, now_ms
from redactor_site import Endpoint, receipt_key, typed_text

from byleave.core.batches import Boundary
from byleave.core.keys import write_secret
from byleave.core.receipts import HOUR_MS
from byleave.producers.receipts import TOPIC, Receipts, TopicPlace

pytestmark = pytest.mark.broker
PASSWORDS = 14


@pytest.fixture
def stage(kafka, site: str, tmp_path: Path) -> Iterator[Stage]:
    with Stage(kafka, site, tmp_path) as stage:
        yield stage


def send(stage: Stage, endpoint: Endpoint, texts: list[str], at_ms: int) -> int:
    """Publishes one batch a text, and the end of the session. The number of its events."""
    for n, text in enumerate(texts):
        value = endpoint.seal(typed_text(at_ms + 2_000 * n, text))
        stage.publish(endpoint.name, "raw.events.v1", endpoint.name.encode(), value)
    value = endpoint.seal([], Boundary.END, hi_max=at_ms + 2_000 * len(texts))
    stage.publish(endpoint.name, "raw.events.v1", endpoint.name.encode(), value)
    return endpoint.seq


def fetched(stage: Stage, name: str, hours: int, patience_s: float = 30.0) -> list[dict]:
    """What an endpoint has read of its receipts once there are so many."""
    folder = stage.home / "endpoints" / name
    if not (folder / "receipt.key").exists():
        write_secret(folder / "receipt.key", receipt_key(name).private_bytes_raw())
    connection, topic = stage.kafka.conf(name), stage.site.name + TOPIC
    receipts = Receipts(
        folder, stage.site.knowledge(), name, lambda at: TopicPlace(connection, stage.site.name + name, topic, at)
    )
    until_s, found = time.monotonic() + patience_s, []
    while len(found) < hours:
        assert time.monotonic() < until_s, stage.log.read_text()[-2000:]
        receipts.turn(int(time.monotonic() * 1000))
        found = receipts.questions["receipts"]({})["hours"]
        time.sleep(0.05)
    receipts.close()
    return found


@pytest.mark.parametrize("again_after", [False, pytest.param(True, marks=pytest.mark.prove)], ids=["in-it", "and-after-it"])
def test_killed_in_mid_hour_the_redactor_tells_each_hour_once_and_fourteen_passwords_are_fourteen(
    stage: Stage, again_after: bool
) -> None:
    began_ms = now_ms() - 120_000
    her, his = Endpoint(stage.site, "ep-a", b"a" * 16), Endpoint(stage.site, "ep-b", b"b" * 16)
    texts = [f"my password: hunter{n}zebra" for n in range(PASSWORDS)]
    first = stage.redactor(protocol="classic")
    stage.beacon()
    stage.publish("ep-a", "raw.events.v1", b"ep-a", her.seal(typed_text(began_ms, texts[0])))
    stage.until("account.v1", lambda records: len(records) >= 1)
    first.kill()
    first.wait(10)
    hers = send(stage, her, texts[1:], began_ms + 2_000)
    send(stage, his, ["the report is ready"], began_ms)
    second = stage.redactor(protocol="classic")
    stage.beacon()
    stage.all_ended(2)
    if again_after:
        second.kill()
        second.wait(10)
        stage.redactor(protocol="classic")
    later_ms = now_ms() + HOUR_MS
    stage.beacon(later_ms)  # the time of the partitions, for nobody writes: the hour is over
    [told] = fetched(stage, "ep-a", 1)
    again = Endpoint(stage.site, "ep-a", b"c" * 16)
    more = send(stage, again, ["the numbers are ready"], now_ms() - 60_000)
    stage.all_ended(3)
    stage.beacon(later_ms + HOUR_MS)
    [first_hour, second_hour] = fetched(stage, "ep-a", 2)
    assert first_hour == told
    assert sum(removal["count"] for removal in told["removals"] if removal["label"] == "PASSWORD") == PASSWORDS
    assert (told["captured"], told["held"], told["refused"]) == (hers, 0, 0)
    assert told["captured"] == told["written"] + told["removed"]
    assert (second_hour["captured"], second_hour["removals"], second_hour["held_before"]) == (more, [], 0)
    accounts = accounts_of(stage.read("account.v1"))
    admitted = sum(account["admitted"] for key, account in accounts.items() if key.startswith(b"ep-a/"))
    assert admitted == told["captured"] + second_hour["captured"]
    [his_hour] = fetched(stage, "ep-b", 1)
    assert his_hour["endpoint"] == "ep-b"
    records = stage.read(TOPIC, principal="ep-c")
    assert len(records) == len({record.key for record in records}) == 3
    assert len({len(record.value or b"") for record in records}) == 1
    assert b"hunter" not in b"".join(record.value or b"" for record in records)
