"""What comes to the fence and what comes out of it: each bad input is refused for its reason, and the next one is looked at."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redactor_site import SCREEN, SECRETS, Bench, Endpoint, Site, balanced, key_for, oracle, received, rows_of, seed_key, work

from byleave.control import documents as d
from byleave.control.admission import SKEW_MS
from byleave.core.batches import Boundary, seal_raw
from byleave.core.errors import Broken, Refused, Transient
from byleave.core.events import FocusEvent, KeyEvent, Kind, PointerEvent, Window
from byleave.core.targets import Target
from byleave.processors.intake import murmur2, partition_of
from byleave.processors.partition import KEPT_MS, LATE_MS

BASE_MS = 1_760_000_000_000
NOW_MS = BASE_MS + 3_600_000
HELLO = [FocusEvent(0, BASE_MS + 1000, Window(7, "code", layout="us")), KeyEvent(0, BASE_MS + 1100, Kind.PRESS, "a")]


@pytest.fixture
def site() -> Site:
    return Site("t.", BASE_MS)


@pytest.fixture
def bench(site: Site) -> Bench:
    return Bench(site, site.knowledge(NOW_MS))


def records_of(endpoint: Endpoint, seed: int, batches: int, first: int = 0, step: int = 1) -> list:
    return [
        received(endpoint.name, endpoint.seal(events, boundary), first + n * step, NOW_MS)
        for n, (events, boundary) in enumerate(work(seed, BASE_MS + 1000, batches))
    ]


def test_partitions_are_those_of_kafkas_own_partitioner() -> None:
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"abc": 479470107}
    assert {key: murmur2(key) for key in known} == {key: value & 0xFFFFFFFF for key, value in known.items()}
    assert {partition_of(bytes([n]), 3) for n in range(50)} == {0, 1, 2}


def test_good_batches_come_out_sealed_signed_and_as_the_session_gives_them(bench: Bench, site: Site) -> None:
    records = records_of(Endpoint(site, "ep-a", b"s" * 16), 1, 12)
    bench.offer(*records)
    bench.commit()
    wanted, accounts = oracle(site, records)
    assert rows_of(bench.sanitized()) == wanted
    assert len(wanted) > 3
    [(key, account)] = bench.accounts().items()
    assert balanced(account)
    assert (account["ended"], account["held"], account["admitted"]) == (True, 0, accounts[key].admitted)
    assert bench.refusals() == []
    assert bench.offset == len(records)


BAD = {
    "unknown-magic": lambda v: b"\x01" + v[1:],
    "unknown-schema": lambda v: v[:1] + b"\x00\x00\x00\x63" + v[5:],
    "truncated": lambda v: v[:4],
    "malformed": lambda v: v[:-9],
    "trailing-bytes": lambda v: v + b"x",
    "oversized": lambda v: v + bytes(300_000),
    "bad-signature": lambda v: v[:-1] + bytes([v[-1] ^ 1]),
    "tombstone": lambda _: None,
}


@pytest.mark.parametrize("reason", BAD)
def test_bad_bytes_are_refused_by_reason_and_place_and_cost_nobody_else_anything(bench: Bench, site: Site, reason: str) -> None:
    good, other = Endpoint(site, "ep-a", b"s" * 16), Endpoint(site, "ep-b", b"t" * 16)
    bad = received("ep-a", BAD[reason](good.seal(HELLO)), 0, NOW_MS)
    good.seq, good.batch = 0, 0
    bench.offer(bad, received("ep-a", good.seal(HELLO), 1, NOW_MS), received("ep-b", other.seal(HELLO), 2, NOW_MS))
    bench.commit()
    [refusal] = bench.refusals()
    assert refusal == {
        "reason": reason, "stage": "REDACTOR", "topic": "raw.events.v1", "partition": 0, "offset": 0, "append_ms": NOW_MS,
        "endpoint": "ep-a", "seq0": -1, "count": 0,
    }  # fmt: skip
    assert [account["admitted"] for account in bench.accounts().values()] == [2, 2]
    assert bench.offset == 3


def with_unknown_key(endpoint: Endpoint) -> bytes:
    endpoint.header = replace(endpoint.header, key_id="k0")
    return endpoint.seal(HELLO)


def with_anothers_ciphertext(endpoint: Endpoint) -> bytes:
    other = Endpoint(endpoint.site, "ep-a", b"x" * 16)
    header = replace(endpoint.header, count=2, hi_min=HELLO[0].at_ms, hi_max=HELLO[1].at_ms, wrap=endpoint.key.wrap)
    return seal_raw(header, HELLO, SCREEN, other.key, seed_key("ep-a"))


SIGNED = {
    "unknown-endpoint": lambda e: Endpoint(e.site, "nobody", b"s" * 16).seal(HELLO),
    "wrong-key": lambda e: e.seal(HELLO),
    "unknown-key": with_unknown_key,
    "moved-ciphertext": with_anothers_ciphertext,
    "count-mismatch": lambda e: e.seal(HELLO, count=3),
    "outside-manifest": lambda e: e.seal([FocusEvent(0, BASE_MS + 1000, Window(7, "payroll"))]),
    "wrong-manifest": lambda e: e.seal(HELLO, manifest=bytes(32)),
    "future": lambda e: e.seal(HELLO, hi_max=NOW_MS + 2_001),
    "out-of-order": lambda e: e.seal(HELLO, seq0=5),
}
KEYS = {"unknown-endpoint": "nobody", "wrong-key": "ep-b"}


@pytest.mark.parametrize("case", SIGNED)
def test_signed_but_wrong_batches_are_refused_by_reason(bench: Bench, site: Site, case: str) -> None:
    value = SIGNED[case](Endpoint(site, "ep-a", b"s" * 16))
    append_ms = NOW_MS - 10_000 if case == "unknown-endpoint" else NOW_MS  # else its enrolment is still waited for
    bench.offer(received(KEYS.get(case, "ep-a"), value, 0, append_ms))
    bench.commit()
    [refusal] = bench.refusals()
    assert (refusal["reason"], refusal["offset"], bench.offset) == (case, 0, 1)
    assert not [t for t in bench.topics if t.startswith(("sanitized", "review"))]
    assert sum(account["admitted"] for account in bench.accounts().values()) == 0


def test_a_copy_in_another_partition_is_refused_though_it_is_signed(site: Site) -> None:
    bench = Bench(site, site.knowledge(NOW_MS))
    bench.partition._partitions = 8
    home = partition_of(b"ep-a", 8)
    copy = replace(received("ep-a", Endpoint(site, "ep-a", b"s" * 16).seal(HELLO), 0, NOW_MS), partition=(home + 1) % 8)
    bench.offer(copy)
    bench.commit()
    assert [r["reason"] for r in bench.refusals()] == ["wrong-partition"]


@pytest.mark.parametrize(
    "events",
    [
        [PointerEvent(0, BASE_MS + 1000, Kind.MOVE, 1, 1)],
        [KeyEvent(0, BASE_MS + 1000, Kind.PRESS, "a")],
        [FocusEvent(0, BASE_MS + 1000, Window(7, "code"))],
        [FocusEvent(0, BASE_MS + 1000, Window(7, "code", title="a title"))],
        [PointerEvent(0, BASE_MS + 1000, Kind.BUTTON_DOWN, 1, 1, 1, target=Target("button"))],
        [KeyEvent(0, BASE_MS + 1000, Kind.TASK, "a task")],
    ],
    ids=["pointer", "key", "window", "title", "target", "task"],
)
def test_a_kind_that_the_manifest_does_not_name_refuses_the_batch(events: list, request: pytest.FixtureRequest) -> None:
    missing = request.node.callspec.id
    site = Site("t.", BASE_MS, kinds=tuple({"pointer", "key", "window"} - {missing}))
    bench = Bench(site, site.knowledge(NOW_MS))
    bench.offer(received("ep-a", Endpoint(site, "ep-a", b"s" * 16).seal(events), 0, NOW_MS))
    bench.commit()
    assert [r["reason"] for r in bench.refusals()] == ["outside-manifest"]


def test_a_session_goes_on_behind_a_refused_batch_and_each_event_is_counted_once(bench: Bench, site: Site) -> None:
    endpoint = Endpoint(site, "ep-a", b"s" * 16)
    lost, lost_too = endpoint.seal(HELLO, key_id="k0"), {"key_id": "k0"}
    values = [lost, endpoint.seal(HELLO), endpoint.seal(HELLO, **lost_too), endpoint.seal(HELLO)]
    copy = values[1]
    bench.offer(*(received("ep-a", value, n, NOW_MS) for n, value in enumerate([*values, copy])))
    bench.offer(received("ep-a", endpoint.seal([], Boundary.END, hi_max=BASE_MS + 9000), 5, NOW_MS))
    bench.commit()
    reasons = [(r["reason"], r["seq0"], r["count"]) for r in bench.refusals()]
    assert reasons == [("unknown-key", 0, 2), ("unknown-key", 4, 2), ("duplicate-sequence", 2, 2)]
    [account] = bench.accounts().values()
    assert (account["admitted"], account["refused"], account["gaps"], account["next_seq"]) == (4, 4, 0, 8)
    assert balanced(account)


FOREIGN = {
    "title": [FocusEvent(0, BASE_MS + 2000, Window(8, "code", title="Anna's diagnosis"))],
    "application": [FocusEvent(0, BASE_MS + 2000, Window(8, "payroll")), KeyEvent(0, BASE_MS + 2100, Kind.PRESS, "x")],
    "site": [FocusEvent(0, BASE_MS + 2000, Window(8, "code", site="elsewhere.example"))],
}


@pytest.mark.parametrize("what", FOREIGN)
@pytest.mark.parametrize("crash", [False, True], ids=["", "after-kill"])
def test_a_session_that_holds_more_than_was_promised_is_over_for_the_redactor(
    bench: Bench, site: Site, what: str, crash: bool
) -> None:
    """A good key signs it: a changed agent. What was admitted before is decided; then only another session."""
    endpoint, other = Endpoint(site, "ep-a", b"s" * 16), Endpoint(site, "ep-a", b"t" * 16)
    values = [endpoint.seal(HELLO), endpoint.seal(FOREIGN[what])]
    bench.offer(*(received("ep-a", value, n, NOW_MS) for n, value in enumerate(values)))
    bench.commit()
    if crash:
        bench.restore()
    before = len(bench.sanitized())
    bench.offer(received("ep-a", endpoint.seal(HELLO), 2, NOW_MS))
    bench.offer(received("ep-a", endpoint.seal([], Boundary.END, hi_max=BASE_MS + 9000), 3, NOW_MS))
    bench.commit()
    count = len(FOREIGN[what])
    reasons = [(r["reason"], r["seq0"], r["count"]) for r in bench.refusals()]
    assert reasons == [("outside-manifest", 2, count), ("drift", 2 + count, 2), ("drift", 4 + count, 0)]
    assert len(bench.sanitized()) == before
    [account] = bench.accounts().values()
    assert (account["admitted"], account["refused"], account["held"], account["ended"]) == (2, count + 2, 0, True)
    assert balanced(account)
    assert not [o for found in bench.topics.values() for o in found if b"diagnosis" in (o.value or b"")]
    assert bench.partition.tally.counts["drift", "redactor"] == (0 if crash else 1)
    bench.offer(received("ep-a", other.seal(HELLO), 4, NOW_MS))
    bench.commit()
    assert [r["reason"] for r in bench.refusals()][3:] == []


def test_a_session_that_begins_with_more_than_was_promised_never_begins(bench: Bench, site: Site) -> None:
    endpoint = Endpoint(site, "ep-a", b"s" * 16)
    values = [endpoint.seal(FOREIGN["title"], seq0=4), endpoint.seal(HELLO, seq0=0), endpoint.seal(HELLO)]
    bench.offer(*(received("ep-a", value, n, NOW_MS) for n, value in enumerate(values)))
    bench.commit()
    assert [r["reason"] for r in bench.refusals()] == ["outside-manifest", "drift", "drift"]
    assert sum(account["admitted"] for account in bench.accounts().values()) == 0
    assert bench.sanitized() == []


def test_what_comes_after_the_end_or_of_a_session_before_is_refused(bench: Bench, site: Site) -> None:
    first, second = Endpoint(site, "ep-a", b"1" * 16), Endpoint(site, "ep-a", b"2" * 16)
    opening = first.seal(HELLO)
    values = [opening, first.seal([], Boundary.END, hi_max=NOW_MS), first.seal(HELLO), second.seal(HELLO), opening]
    bench.offer(*(received("ep-a", value, n, NOW_MS) for n, value in enumerate(values)))
    bench.commit()
    assert [(r["offset"], r["reason"]) for r in bench.refusals()] == [(2, "session-ended"), (4, "session-ended")]
    assert {key: a["admitted"] for key, a in bench.accounts().items()} == {
        b"ep-a/" + b"1".hex().encode() * 16: 2, b"ep-a/" + b"2".hex().encode() * 16: 2,
    }  # fmt: skip


def test_a_waiting_batch_holds_its_endpoint_and_the_offset_and_nobody_else(site: Site) -> None:
    bench = Bench(site, site.knowledge(BASE_MS + 2000))
    slow, quick = Endpoint(site, "ep-a", b"s" * 16), Endpoint(site, "ep-b", b"t" * 16)
    late = [replace(event, at_ms=event.at_ms + 3000) for event in HELLO]
    bench.offer(
        received("ep-a", slow.seal(late), 0, BASE_MS + 2500),
        received("ep-a", slow.seal(HELLO, hi_max=BASE_MS + 4200), 1, BASE_MS + 2500),
    )
    bench.offer(received("ep-b", quick.seal(HELLO), 2, BASE_MS + 2500), received("ep-a", b"garbage", 3, BASE_MS + 2500))
    bench.commit()
    assert ([*bench.accounts()], bench.refusals(), bench.offset) == ([b"ep-b/" + b"74" * 16], [], 0)
    bench.restore()  # a crash: the waiting ones are read again, the decided one is skipped
    bench.offer(received("ep-a", slow_value(slow, late), 0, BASE_MS + 2500))
    assert len(bench.partition.fence) == 1


def slow_value(endpoint: Endpoint, events: list) -> bytes:
    endpoint.seq = endpoint.batch = 0
    return endpoint.seal(events)


def test_nothing_captured_at_or_after_a_halt_comes_through_and_what_waited_is_decided(site: Site) -> None:
    bench = Bench(site, site.knowledge(BASE_MS + 900))
    endpoint, at_ms = Endpoint(site, "ep-a", b"s" * 16), BASE_MS + 1100
    before = endpoint.seal([HELLO[0]])
    after = endpoint.seal([replace(HELLO[1], at_ms=at_ms)])
    bench.offer(received("ep-a", before, 0, BASE_MS + 1000), received("ep-a", after, 1, BASE_MS + 1100))
    assert len(bench.partition.fence) == 2
    halt_id, value = site.halt(d.Scope("global"), BASE_MS + 1050)
    bench.learn("control.halt.v1", value)
    assert len(bench.partition.fence) == 2  # an order without its time: neither dropped nor let through
    bench.learn("control.beacon.v1", site.beacon(BASE_MS + 1500, [(halt_id, at_ms)]))
    bench.commit()
    assert [(r["offset"], r["reason"]) for r in bench.refusals()] == [(1, "halted")]
    [account] = bench.accounts().values()
    assert (account["admitted"], account["refused"], bench.offset) == (1, 1, 2)


def test_an_enrolment_that_is_still_on_its_way_is_waited_for(site: Site) -> None:
    site.endpoints = ("ep-a",)
    bench = Bench(site, site.knowledge(NOW_MS))
    late = Endpoint(site, "ep-new", b"s" * 16)
    bench.offer(received("ep-new", late.seal(HELLO), 0, NOW_MS), received("ep-new", late.seal(HELLO), 1, NOW_MS))
    assert len(bench.partition.fence) == 2
    bench.learn("control.enrolment.v1", site.enrolment("ep-new"))
    bench.offer(received("ep-new", late.seal(HELLO), 2, NOW_MS))
    bench.learn("control.consent.v1", site.consent("ep-new"))
    bench.commit()
    assert ([a["admitted"] for a in bench.accounts().values()], bench.refusals(), bench.offset) == ([6], [], 3)


def test_strangers_are_refused_once_even_if_they_are_read_again(site: Site) -> None:
    bench = Bench(site, site.knowledge(NOW_MS))
    slow = Endpoint(site, "ep-a", b"s" * 16)
    waiting = received("ep-a", slow.seal([replace(e, at_ms=NOW_MS + 1000) for e in HELLO]), 0, NOW_MS)
    strangers = [received("x", b"one", 1, NOW_MS), received("y", b"two", 2, NOW_MS, key=b"\xff"), received("z", b"", 3, NOW_MS)]
    bench.offer(waiting, *strangers)
    bench.commit()
    assert (len(bench.refusals()), bench.offset) == (3, 0)
    assert {r["endpoint"] for r in bench.refusals()} == {""}
    bench.restore()
    bench.offer(waiting, *strangers)
    bench.commit()
    assert (len(bench.refusals()), bench.offset) == (3, 0)


def test_a_keyring_that_does_not_answer_delays_and_changes_nothing(site: Site) -> None:
    down = [True]

    def data_key(name: str) -> bytes:
        if down[0]:
            raise Transient("no answer", reason="keyring")
        return key_for(name)

    bench = Bench(site, site.knowledge(NOW_MS), data_key)
    records = records_of(Endpoint(site, "ep-a", b"s" * 16), 1, 5)
    with pytest.raises(Transient):
        bench.offer(*records)
    bench.commit()
    assert (bench.topics, bench.offset) == ({}, 0)
    down[0] = False
    bench.step()
    bench.commit()
    assert rows_of(bench.sanitized()) == oracle(site, records)[0]


def test_a_destroyed_key_refuses_the_day_and_another_denial_stops_the_redactor(site: Site) -> None:
    reason = ["key-destroyed"]

    def data_key(_: str) -> bytes:
        raise Refused("no", reason=reason[0])

    bench = Bench(site, site.knowledge(NOW_MS), data_key)
    endpoint = Endpoint(site, "ep-a", b"s" * 16)
    bench.offer(received("ep-a", endpoint.seal(HELLO), 0, NOW_MS))
    bench.commit()
    assert [r["reason"] for r in bench.refusals()] == ["key-destroyed"]
    reason[0] = "not-entitled"
    with pytest.raises(Broken):
        bench.offer(received("ep-a", endpoint.seal(HELLO), 1, NOW_MS))


def test_what_others_write_in_an_endpoints_name_does_not_keep_its_session_open(bench: Bench, site: Site) -> None:
    """An endpoint may write under any key. What it has typed before it vanished is held no longer for that."""
    gone, other = Endpoint(site, "ep-a", b"s" * 16), Endpoint(site, "ep-b", b"t" * 16)
    bench.offer(received("ep-a", gone.seal(HELLO), 0, NOW_MS))
    for n, value in enumerate((b"junk", other.seal(HELLO), b""), 1):
        bench.offer(received("ep-a", value, n, NOW_MS + n * LATE_MS // 2))
    sweep(bench, NOW_MS + LATE_MS + 1)
    assert not bench.partition.endpoints["ep-a"].open
    assert [refusal["reason"] for refusal in bench.refusals()] == ["truncated", "wrong-key", "truncated"]


def test_an_endpoint_that_vanished_is_closed_by_the_partitions_time_and_later_forgotten(bench: Bench, site: Site) -> None:
    gone, there = Endpoint(site, "ep-a", b"s" * 16), Endpoint(site, "ep-b", b"t" * 16)
    typed = [HELLO[0], *(KeyEvent(0, BASE_MS + 1100 + n * 100, Kind.PRESS, c) for n, c in enumerate("the report zq"))]
    bench.offer(received("ep-a", gone.seal(typed), 0, NOW_MS))
    sweep(bench, 0)
    assert bench.accounts()[b"ep-a/" + b"73" * 16]["held"] > 0
    bench.offer(received("ep-b", there.seal(HELLO), 1, NOW_MS + LATE_MS + 1))
    sweep(bench, 0)
    account = bench.accounts()[b"ep-a/" + b"73" * 16]
    assert (account["ended"], account["held"], account["dropped"] > 0, balanced(account)) == (True, 0, True, True)
    bench.restore()
    bench.learn("control.beacon.v1", site.beacon(NOW_MS + LATE_MS + 2))
    bench.offer(received("ep-a", gone.seal(HELLO), 2, NOW_MS + LATE_MS + 2))
    bench.commit()
    assert [r["reason"] for r in bench.refusals()] == ["session-ended"]
    sweep(bench, NOW_MS + 2 * LATE_MS + KEPT_MS)
    sweep(bench, NOW_MS + 2 * LATE_MS + 2 * KEPT_MS)
    assert bench.states == {}


def test_an_order_ends_the_session_that_it_stopped_once_nothing_of_it_can_come_any_more(site: Site) -> None:
    bench = Bench(site, site.knowledge(BASE_MS + 900))
    stopped, other = Endpoint(site, "ep-a", b"s" * 16), Endpoint(site, "ep-b", b"t" * 16)
    typed = [HELLO[0], *(KeyEvent(0, BASE_MS + 1100 + n * 10, Kind.PRESS, c) for n, c in enumerate("the report"))]
    bench.offer(
        received("ep-a", stopped.seal(typed), 0, BASE_MS + 1300), received("ep-b", other.seal(typed), 1, BASE_MS + 1300)
    )
    halt_id, value = site.halt(d.Scope("endpoint", "ep-a"), BASE_MS + 1400)
    bench.learn("control.halt.v1", value)
    bench.learn("control.beacon.v1", site.beacon(BASE_MS + 2000, [(halt_id, BASE_MS + 1500)]))
    account, untouched = b"ep-a/" + b"73" * 16, b"ep-b/" + b"74" * 16
    sweep(bench, BASE_MS + 1500 + 2 * SKEW_MS)  # a batch from before the halt could still be stamped until now
    assert (bench.accounts()[account]["held"] > 0, bench.accounts()[account]["ended"]) == (True, False)
    sweep(bench, BASE_MS + 1500 + 2 * SKEW_MS + 1)
    found = bench.accounts()[account]
    assert (found["ended"], found["held"], found["dropped"], balanced(found)) == (True, 0, 0, True)
    assert b"the" in b"".join(body for header, body in bench.sanitized() if header.endpoint == "ep-a")
    assert bench.accounts()[untouched]["held"] > 0
    bench.offer(received("ep-a", stopped.seal(HELLO), 2, BASE_MS + 9000))
    bench.commit()
    assert [r["reason"] for r in bench.refusals()] == ["halted"]


def test_a_session_that_ends_with_nothing_held_is_yet_to_be_written_though_no_row_comes_of_it(site: Site) -> None:
    bench = Bench(site, site.knowledge(BASE_MS + 900))
    enter = KeyEvent(0, BASE_MS + 1150, Kind.PRESS, "enter")
    typed = [HELLO[0], KeyEvent(0, BASE_MS + 1100, Kind.PRESS, "a"), enter]
    bench.offer(received("ep-a", Endpoint(site, "ep-a", b"s" * 16).seal(typed), 0, BASE_MS + 1300))
    halt_id, value = site.halt(d.Scope("endpoint", "ep-a"), BASE_MS + 1400)
    bench.learn("control.halt.v1", value)
    bench.learn("control.beacon.v1", site.beacon(BASE_MS + 2000, [(halt_id, BASE_MS + 1500)]))
    bench.commit()
    account = b"ep-a/" + b"73" * 16
    assert (bench.accounts()[account]["held"], bench.accounts()[account]["ended"]) == (0, False)
    assert not bench.partition.unsettled
    bench.partition.sweep(BASE_MS + 1500 + 2 * SKEW_MS + 1, bench.knowledge, bench.pending.append)
    assert (bench.pending, bench.partition.unsettled) == ([], True)
    bench.commit()
    assert (bench.accounts()[account]["ended"], bench.partition.unsettled) == (True, False)


def sweep(bench: Bench, now_ms: int) -> None:
    bench.partition.sweep(now_ms, bench.knowledge, bench.pending.append)
    bench.commit()


def test_no_output_but_sealed_ones_holds_what_was_typed(bench: Bench, site: Site) -> None:
    bench.offer(*records_of(Endpoint(site, "ep-a", b"s" * 16), 5, 30))
    bench.commit()
    everything = b"".join(o.value or b"" for found in bench.topics.values() for o in found) + b"".join(bench.states.values())
    for secret in (*SECRETS, "report", "lunch"):
        assert secret.encode() not in everything
    plain = b"".join(body for _, body in bench.sanitized())
    assert b"report" in plain  # the sweep can find what is there
    for secret in SECRETS:
        assert secret.encode() not in plain


@settings(deadline=None)  # the first example pays for what is loaded once
@given(st.binary(max_size=400), st.integers(0, 3))
@pytest.mark.slow
def test_hostile_bytes_are_only_ever_refused(noise: bytes, how: int) -> None:
    site = Site("t.", BASE_MS)
    bench = Bench(site, site.knowledge(NOW_MS))
    value = Endpoint(site, "ep-a", b"s" * 16).seal(HELLO)
    rng = random.Random(noise)
    at = rng.randrange(len(value))
    hostile = (noise, value[:at] + noise, value[:at] + noise + value[at + len(noise) :], value + noise + b"x")[how]
    if hostile != value:
        bench.offer(received("ep-a", hostile, 0, NOW_MS))
        bench.commit()
        assert len(bench.refusals()) == 1
        assert bench.offset == 1
