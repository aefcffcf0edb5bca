"""Control topics in the hands of whoever runs the broker: deleted and made anew, compacted away, filled with old truths.

Nothing of it can make an endpoint capture: what is no longer on the topics is no permission, and what is older than what an
endpoint has seen is none either. It can stop them, and that is all it can do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from halt_fleet import LEASE_MS, HaltFleet, await_true
from narrowed import narrowed

from byleave.control import desk, ordering
from byleave.control.bootstrap import documents_to_publish
from byleave.core.clock import boot_ms
from byleave.core.errors import Broken
from byleave.core.kafka import KafkaTail, producer_options
from byleave.core.settings import Installation
from byleave.core.topics import load_catalogue
from byleave.deploy import pki, provision

pytestmark = [pytest.mark.broker, pytest.mark.timeout(400)]
STATE, HALT = "control.state.v1", "control.halt.v1"
QUIET_S = 4.0
"""For how long nobody may begin although everything but leave is there; grants are asked for within two seconds."""
TINY = {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "0", "max.compaction.lag.ms": "100"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HaltFleet]:
    with HaltFleet(tmp_path_factory.mktemp("attacked") / "home", 3) as made:
        yield made


def test_control_topics_that_are_deleted_and_made_anew_stop_everybody(fleet: HaltFleet) -> None:
    old_state = newest(fleet)
    fleet.halt()
    fleet.resume()
    everybody_begins(fleet)
    began_ms = boot_ms()
    remade(fleet.admin(), fleet.at, fleet.names)
    stopped(fleet, began_ms)

    # the state of epoch 1 was valid once, and so is everything else: it is below what these endpoints have seen
    restored(fleet, state=old_state)
    beacon_anew(fleet)
    nobody_begins(fleet)
    restarted(fleet, fleet.names[0])
    nobody_begins(fleet)

    restored(fleet, state=(fleet.home / "trust" / "state.dsse").read_bytes())
    await_true(
        lambda: all(fleet.report(name).get("capturing") for name in fleet.names), 60.0, "all capture under the newest state"
    )


def test_a_state_that_is_compacted_away_starts_nobody(fleet: HaltFleet) -> None:
    """A thief with the right to write: a tombstone, compaction without delay, then the state of an epoch that is over."""
    old_state = newest(fleet)
    fleet.halt()
    fleet.resume()
    everybody_begins(fleet)
    compacted_away(fleet, STATE, fleet.at.site.encode())
    restarted(fleet, fleet.names[0])
    nobody_begins(fleet, fleet.names[:1])

    began_ms = boot_ms()
    fleet.beacon.kill()
    fleet.restart_beacon()  # it finds no state to vouch for: no lease is renewed
    stopped(fleet, began_ms)
    desk.publish(fleet.at, "security", [(STATE, fleet.at.site.encode(), old_state)])
    nobody_begins(fleet)
    restarted(fleet, fleet.names[1])
    nobody_begins(fleet)
    desk.publish(fleet.at, "security", [(STATE, fleet.at.site.encode(), newest(fleet))])
    everybody_begins(fleet)


def test_an_order_that_is_compacted_away_still_stands(fleet: HaltFleet) -> None:
    halted = fleet.halt()
    fleet.effective(halted)
    fleet.acked(halted)
    await_true(lambda: not any(fleet.report(name)["capturing"] for name in fleet.names), 5.0, "their reports say so")
    compacted_away(fleet, HALT, halted.halt_id.encode())
    restarted(fleet, fleet.names[0])
    nobody_begins(fleet)
    fleet.beacon.kill()
    fleet.restart_beacon()
    restarted(fleet, fleet.names[1])
    nobody_begins(fleet)


@pytest.mark.parametrize("records", [0, 2])
def test_a_reader_is_told_that_its_topic_was_made_anew(kafka: Any, site: str, records: int) -> None:
    """Where the new one holds more records than were read, it may be read on: what was missed so, a beacon still names."""
    at, admin = kafka.installation(site), AdminClient(dict(kafka.conf("admin")))
    desk.publish(at, "security", [(STATE, b"%d" % n, b"anything") for n in range(3)])
    tail = KafkaTail(at.kafka("security"), at.topic("security-test"), [at.topic(STATE)])
    until_told(lambda: tail.caught_up, tail)
    remade(admin, at, pki.endpoints_in(at.pki))
    desk.publish(at, "security", [(STATE, b"%d" % n, b"anything") for n in range(records)])
    with pytest.raises(Broken):
        until_told(lambda: False, tail)
    tail.close()


def until_told(enough: Callable[[], bool], tail: KafkaTail) -> None:
    until_s = time.monotonic() + 30
    while not enough():
        assert time.monotonic() < until_s
        tail.read(0.1)


def stopped(fleet: HaltFleet, began_ms: int) -> None:
    """Nobody captures any more, nor has anybody since the last lease ran out."""
    await_true(
        lambda: not any(fleet.report(name).get("capturing") for name in fleet.names), LEASE_MS / 1000 + 5.0, "nobody captures",
        lambda: str({name: fleet.report(name).get("answer") for name in fleet.names}),
    )  # fmt: skip
    marks = [mark for name in fleet.names for mark in fleet.spooled(name)] + fleet.fence.captured
    over_ms = began_ms + LEASE_MS + 4_000
    assert not [mark for mark in marks if mark.typed_ms > over_ms]


def nobody_begins(fleet: HaltFleet, names: Sequence[str] = ()) -> None:
    before = {name: fleet.report(name)["sessions"] for name in names or fleet.names}
    until_s = time.monotonic() + QUIET_S
    while time.monotonic() < until_s:
        assert not any(fleet.report(name)["capturing"] for name in names or fleet.names)
        time.sleep(0.1)
    assert {name: fleet.report(name)["sessions"] for name in names or fleet.names} == before


def restarted(fleet: HaltFleet, name: str) -> None:
    fleet.agents[name].kill()
    fleet.launch(name)
    fleet.agents[name].ready()
    await_true(lambda: fleet.report(name).get("sessions") == 0, 10.0, "its report is the new process's")


def beacon_anew(fleet: HaltFleet) -> None:
    """The service ends when its topics are taken away, and whoever supervises it starts it again."""
    fleet.beacon.kill()
    fleet.restart_beacon()


def everybody_begins(fleet: HaltFleet) -> None:
    await_true(
        lambda: all(fleet.report(name).get("capturing") for name in fleet.names), 60.0, "all capture under the newest state"
    )


def newest(fleet: HaltFleet) -> bytes:
    return (fleet.home / "trust" / "state.dsse").read_bytes()


def remade(admin: AdminClient, at: Installation, endpoints: Sequence[str]) -> None:
    """All control topics deleted and made again, empty, by the super user."""
    names = [at.topic(topic.name) for topic in load_catalogue().topics if topic.name.startswith("control.")]
    for done in admin.delete_topics(names, operation_timeout=20).values():
        done.result(timeout=25)
    provision.apply(at.kafka("admin"), at.site, narrowed(load_catalogue(), 2), endpoints)


def restored(fleet: HaltFleet, state: bytes) -> None:
    """Every document of the site once more, and this state."""
    for topic, key, value in documents_to_publish(fleet.home):
        writer = ordering.WRITERS.get(topic, "enrol")
        desk.publish(fleet.at, writer, [(topic, key, state if topic == STATE else value)])


def compacted_away(fleet: HaltFleet, topic: str, key: bytes) -> None:
    """A tombstone, and more of them, until nothing else stands on the topic under this key."""
    name = fleet.at.topic(topic)
    changes = [ConfigEntry(k, v, incremental_operation=AlterConfigOpType.SET) for k, v in TINY.items()]
    resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=changes)
    admin = fleet.admin()
    admin.incremental_alter_configs([resource])[resource].result(timeout=20)
    thief = Producer(producer_options(fleet.at.kafka("security"), **{"enable.idempotence": False}))
    until_s = time.monotonic() + 90
    while any(record.value is not None for record in standing(fleet, name) if record.key == key):
        assert time.monotonic() < until_s, "the broker did not compact"
        thief.produce(name, None, key)
        thief.flush(10)
        time.sleep(0.5)


def standing(fleet: HaltFleet, name: str) -> list[Any]:
    tail = KafkaTail(fleet.at.kafka("security"), fleet.at.topic("security-test"), [name])
    found = []
    while not tail.caught_up:
        found += tail.read(0.2)
    tail.close()
    return found
