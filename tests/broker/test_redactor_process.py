"""The redactor as a process on the real broker: what goes in sealed comes out redacted, sealed and accounted for, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from redactor_process import OUTPUTS, Fleet, Stage, accounts_of, now_ms
from redactor_site import SECRETS, Endpoint, balanced, oracle

from byleave.control.documents import Scope
from byleave.core.batches import Boundary
from byleave.core.broker import Received
from byleave.core.events import FocusEvent, KeyEvent, Kind, Window
from byleave.core.kafka import KafkaPublisher

pytestmark = pytest.mark.broker


@pytest.fixture
def stage(kafka, site: str, tmp_path: Path) -> Iterator[Stage]:
    with Stage(kafka, site, tmp_path) as stage:
        yield stage


def typed(at_ms: int, app: str = "code", text: str = "report") -> list:
    keys = [KeyEvent(0, at_ms + 10 + n * 10, Kind.PRESS, key) for n, key in enumerate([*text, "enter"])]
    return [FocusEvent(0, at_ms, Window(7, app, layout="us")), *keys]


def raw(stage: Stage, writer: str, value: bytes | None, key: str = "") -> None:
    stage.publish(writer, "raw.events.v1", (key or writer).encode(), value)


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def enough(count: int) -> Callable[[list[Received]], bool]:
    return lambda records: len(records) >= count


def test_three_endpoints_come_out_as_the_session_gives_them_and_their_accounts_balance(stage: Stage) -> None:
    fleet = Fleet(stage, seed=1, batches=40, seconds=2.0)
    redactor = stage.redactor()
    fleet.start()
    accounts = accounts_of(stage.all_ended(3))
    fleet.join()
    wanted, truth = oracle(stage.site, stage.raw())
    assert stage.rows() == wanted
    assert {key: a["admitted"] for key, a in accounts.items()} == {key: a.admitted for key, a in truth.items()}
    assert all(balanced(a) and a["held"] == 0 for a in accounts.values())
    assert stage.refusals() == []
    stop(redactor)


def test_each_bad_record_is_refused_and_named_and_the_redactor_goes_on(stage: Stage) -> None:
    at_ms = now_ms() - 60_000
    a, b, nobody = (
        Endpoint(stage.site, "ep-a", b"a" * 16),
        Endpoint(stage.site, "ep-b", b"b" * 16),
        Endpoint(stage.site, "no", b"n" * 16),
    )
    good = a.seal(typed(at_ms))
    forged = good[:-1] + bytes([good[-1] ^ 1])
    bad = {
        "bad-signature": forged, "unknown-magic": b"\x09" + good[1:], "unknown-schema": good[:4] + b"\x7f" + good[5:],
        "truncated": b"\x00", "malformed": good[:-7], "trailing-bytes": good + b"\x00", "tombstone": None,
    }  # fmt: skip
    for value in bad.values():
        raw(stage, "ep-a", value)
    raw(stage, "ep-a", good)
    raw(stage, "ep-a", good)
    raw(stage, "ep-a", a.seal(typed(at_ms + 1000, "payroll", SECRETS[3])))
    raw(stage, "ep-b", b.seal(typed(at_ms), seq0=7))
    raw(stage, "ep-b", nobody.seal(typed(at_ms, text=SECRETS[3])), "no")
    raw(stage, "ep-b", Endpoint(stage.site, "ep-a", b"a" * 16).seal(typed(at_ms)))
    raw(stage, "ep-a", a.seal([], Boundary.END, hi_max=at_ms + 5000))
    redactor = stage.redactor()
    stage.beacon(now_ms() + 5_000)
    stage.all_ended(1)
    stage.until("refused.v1", enough(13))
    redactor_errors = stage.log.read_text()
    stop(redactor)
    refusals = stage.refusals()
    reasons = Counter(refusal["reason"] for refusal in refusals)
    assert reasons == Counter(
        [*bad, "duplicate-sequence", "outside-manifest", "drift", "out-of-order", "unknown-endpoint", "wrong-key"]
    )
    stands = {(record.partition, record.offset) for record in stage.raw()}
    named = {(refusal["partition"], refusal["offset"]) for refusal in refusals}
    assert len(named) == 13
    assert named < stands
    everything = redactor_errors.encode() + b"".join(
        record.value or b"" for record in stage.read(*OUTPUTS, "refused.v1", "account.v1", "redactor.state.v1")
    )
    assert SECRETS[3].encode() not in everything
    assert b"report" not in everything


def test_a_flood_of_bad_records_is_refused_record_by_record_and_stops_nothing(stage: Stage) -> None:
    publisher = KafkaPublisher(stage.kafka.conf("ep-a"))
    for n in range(1_500):
        publisher.publish(stage.site.name + "raw.events.v1", b"ep-a", b"\x00\x00" + n.to_bytes(4, "big"))
    assert publisher.flush(20)
    publisher.close()
    a = Endpoint(stage.site, "ep-a", b"a" * 16)
    raw(stage, "ep-a", a.seal(typed(now_ms() - 60_000)))
    raw(stage, "ep-a", a.seal([], Boundary.END, hi_max=now_ms() - 50_000))
    stage.beacon(now_ms() + 1_000)
    redactor = stage.redactor()
    stage.all_ended(1)
    refusals = stage.refusals()
    assert {(r["partition"], r["offset"]) for r in refusals} == {(r.partition, r.offset) for r in stage.raw()[:1_500]}
    assert len(refusals) == 1_500
    assert "rebuilding" not in stage.log.read_text()
    stop(redactor)


def test_the_metrics_count_what_was_committed_and_show_no_name(stage: Stage) -> None:
    a = Endpoint(stage.site, "ep-a", b"a" * 16)
    process = stage.start("redactor", wait=False)
    ready = json.loads(process.stdout.readline())
    assert (ready["role"], ready["pid"]) == ("redactor", process.pid)
    raw(stage, "ep-a", a.seal(typed(now_ms() - 60_000)))
    raw(stage, "ep-a", b"\x00bad")
    raw(stage, "ep-a", a.seal([], Boundary.END, hi_max=now_ms() - 50_000))
    stage.beacon()
    stage.all_ended(1)
    stage.until("refused.v1", enough(1))
    with urllib.request.urlopen(f"http://127.0.0.1:{ready['metrics_port']}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert "byleave_admitted_events_total 8.0" in text
    assert 'byleave_refused_batches_total{reason="truncated",stage="redactor"} 1.0' in text
    assert "ep-a" not in text
    for path in ("livez", "readyz"):
        with urllib.request.urlopen(f"http://127.0.0.1:{ready['metrics_port']}/{path}", timeout=10) as answer:
            assert answer.status == 200
    stop(process)


def test_what_was_captured_after_a_halt_is_refused_and_what_waits_is_neither_dropped_nor_let_through(stage: Stage) -> None:
    a, redactor, early_ms = Endpoint(stage.site, "ep-a", b"a" * 16), stage.redactor(protocol="classic"), now_ms() - 5_000
    stage.beacon()
    raw(stage, "ep-a", a.seal(typed(early_ms)))
    stage.until("account.v1", enough(1))
    captured_ms = now_ms()
    halt_id, order = stage.site.halt(Scope("endpoint", "ep-a"), captured_ms)
    stage.say("control.halt.v1", halt_id, order)
    raw(stage, "ep-a", a.seal(typed(captured_ms - 100)))  # before the halt, but nothing says so yet
    raw(stage, "ep-a", a.seal(typed(captured_ms + 1_000)))
    other = Endpoint(stage.site, "ep-b", b"b" * 16)
    raw(stage, "ep-b", other.seal(typed(early_ms)))
    stage.beacon()  # of before the order, as far as it says
    stage.until("account.v1", enough(2))  # others go on
    [account] = [a for key, a in accounts_of(stage.read("account.v1")).items() if key.startswith(b"ep-a")]
    assert account["admitted"] == 8
    assert stage.refusals() == []
    redactor.kill()  # what waits is in nobody's memory now
    redactor.wait(10)
    stage.redactor(protocol="classic")
    stage.beacon(captured_ms + 2_000, [(halt_id, captured_ms + 500)])
    stage.until("refused.v1", enough(1))
    [refusal] = stage.refusals()
    assert (refusal["reason"], refusal["endpoint"], refusal["seq0"], refusal["count"]) == ("halted", "ep-a", 16, 8)
    account = accounts_of(stage.until("account.v1", enough(3)))[b"ep-a/" + b"61" * 16]
    assert (account["admitted"], account["refused"]) == (16, 8)


def test_a_second_instance_that_comes_and_goes_changes_nothing(stage: Stage) -> None:
    fleet = Fleet(stage, seed=4, batches=300, seconds=30)
    stage.redactor("0")
    fleet.start()
    for _ in range(3):
        second = stage.redactor("1")
        moved = len(stage.read("account.v1"))
        stage.until("account.v1", enough(moved + 20))
        stop(second)
    fleet.hurry.set()
    compare(stage, fleet)


def compare(stage: Stage, fleet: Fleet) -> None:
    accounts = accounts_of(stage.all_ended(3))
    fleet.join()
    wanted, _ = oracle(stage.site, stage.raw())
    found = stage.rows()
    assert not Counter(wanted) - Counter(found)
    assert not Counter(found) - Counter(wanted)
    assert stage.refusals() == []
    assert all(balanced(a) and a["held"] == 0 for a in accounts.values())


@pytest.mark.parametrize("slot", ["1", pytest.param("0", marks=pytest.mark.prove)], ids=["another-slot", "the-same-slot"])
def test_a_zombie_that_wakes_up_after_its_place_was_taken_writes_nothing(stage: Stage, slot: str) -> None:
    fleet = Fleet(stage, seed=5, batches=300, seconds=40)
    zombie = stage.redactor("0")
    fleet.start()
    stage.until("account.v1", enough(10))
    os.kill(zombie.pid, signal.SIGSTOP)
    stage.redactor(slot)
    frozen_ms = now_ms()
    stage.until("account.v1", lambda records: any(record.append_ms > frozen_ms + 2_000 for record in records[-5:]))
    os.kill(zombie.pid, signal.SIGCONT)
    awake_ms = now_ms()
    stage.until("account.v1", lambda records: any(record.append_ms > awake_ms + 2_000 for record in records[-5:]))
    fleet.hurry.set()
    compare(stage, fleet)


def test_wrong_configuration_is_one_sentence_and_exit_code_2(stage: Stage) -> None:
    (stage.home / "redactor" / "sign.key").chmod(0o644)
    process = stage.start("redactor", wait=False)
    assert process.wait(20) == 2
    said = stage.log.read_text().strip().splitlines()[-1]
    assert said.startswith("byleave redactor: ")
    assert "chmod 600" in said


def test_without_a_committed_offset_the_redactor_stops_and_says_what_to_do(stage: Stage) -> None:
    admin = AdminClient(stage.kafka.conf("admin"))
    group = stage.site.name + "redactor"
    admin.delete_consumer_groups([group])[group].result(20)
    process = stage.start("redactor", wait=False)
    assert process.wait(40) == 1
    assert "byleave topics apply" in stage.log.read_text()
