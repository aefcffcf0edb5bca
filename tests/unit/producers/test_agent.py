"""The agent: when it captures, when it stops, and what is left behind after it stopped (P1, P2, P8)."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from byleave.control.documents import Lifted, Scope
from byleave.core.batches import Boundary
from byleave.core.events import FocusEvent, KeyEvent, Kind, Screen, Window
from byleave.producers.gate import Answer, Switches
from byleave.producers.hooks.replay import Timeline
from byleave.producers.hooks.source import Observed

EDITOR = Window(7, "editor", layout="us")
BANK = Window(8, "banking", layout="us")
SECRET = "zanquavel"
HOLD_MS = 200


def typing(text: str, *, window: Window = EDITOR, every_ms: int = 100, start_ms: int = 0) -> list[Observed]:
    found = [Observed(start_ms, Kind.FOCUS, window=window)]
    for n, char in enumerate(text):
        at = start_ms + HOLD_MS + (n + 1) * every_ms
        found += [Observed(at, Kind.PRESS, key=char), Observed(at + 40, Kind.RELEASE, key=char)]
    return found


def timeline(events: list[Observed]) -> Timeline:
    return Timeline(events, Screen(800, 600))


def long_typing() -> Timeline:
    return timeline(typing("abcdefghij" * 60))


def text_of(published) -> str:
    return "".join(e.key for _, events in published for e in events if isinstance(e, KeyEvent) and e.kind is Kind.PRESS)


def check_sequence(published) -> None:
    """Contiguous with declared gaps, in order, stamps never back, one nonce a batch."""
    by_session: dict[bytes, tuple[int, int, int]] = {}
    for header, events in published:
        seq, batch, hi = by_session.get(header.session, (0, -1, 0))
        assert header.seq0 == seq + header.gap
        assert header.batch > batch
        assert header.hi_min >= hi
        assert [e.seq for e in events] == list(range(header.seq0, header.seq_end))
        by_session[header.session] = (header.seq_end, header.batch, header.hi_max)


def test_with_leave_everything_typed_arrives_once_and_in_order(world, bench) -> None:
    b = bench(timeline(typing("hello world, this is the text " * 10)))
    b.run(33_000)
    b.agent.finish()
    b.run(200)
    published = world.published()
    assert text_of(published) == "hello world, this is the text " * 10
    check_sequence(published)
    assert published[-1][0].boundary is Boundary.END
    assert isinstance(published[0][1][0], FocusEvent)
    report = b.agent.report()
    assert (report["captured"], report["gaps"], report["waiting"]) == (601, 0, 0)
    assert report["delivered_events"] == 601


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("another nonce", {"nonce": "00" * 16}),
        ("another request", {"request": "00" * 32}),
        ("another epoch", {"epoch": 7}),
        ("no session", {"session": "not hex"}),
        ("a short session", {"session": "00"}),
        ("over already", {"not_after_ms": 1}),
    ],
)
def test_a_grant_that_is_not_the_answer_opens_nothing(world, bench, name: str, change) -> None:
    world.grant_changes = change
    b = bench(long_typing())
    b.run(10_000)
    assert b.agent.report()["captured"] == 0
    assert not b.source.alive
    assert world.broker.records == []
    assert len(world.requests()) > 1  # it asks again, with fresh nonces
    assert len({request.nonce for request in world.requests()}) == len(world.requests())


def test_a_replayed_grant_opens_no_second_session(world, bench) -> None:
    b = bench(long_typing())
    b.run(2_000)
    first = world.learn("control.grant.v1", world.grant(world.requests()[0]))
    b.answers = False
    b.switches = Switches(paused=True)
    b.run(200)
    b.switches = Switches()
    b.tell(first)
    b.run(3_000)
    b.tell(first)
    b.run(3_000)
    assert not b.agent.capturing
    assert b.agent.report()["sessions"] == 1


def test_a_late_grant_is_asked_for_again(world, bench) -> None:
    world.answer_after_ms = 1_600
    b = bench(long_typing())
    b.run(6_000)
    assert not b.agent.capturing
    world.answer_after_ms = 5
    b.run(6_000)
    assert b.agent.capturing


def test_silence_ends_capture_within_the_lease_and_what_was_captured_is_sent(world, bench) -> None:
    b = bench(long_typing())
    b.run(3_000)
    assert b.agent.capturing
    b.beacons = False
    silent_from = world.now
    b.run(13_000)
    assert not b.agent.capturing
    assert not b.source.alive
    published = world.published()
    assert published[-1][0].boundary is Boundary.END
    assert published[-1][0].hi_max <= silent_from + 1_000_000_000_000 + 10_050
    captured = b.agent.report()["captured"]
    b.run(5_000)
    assert b.agent.report()["captured"] == captured
    b.beacons = True
    b.run(3_000)
    assert b.agent.capturing
    assert b.agent.report()["sessions"] == 2
    assert len({header.session for header, _ in world.published()}) == 2


def test_a_night_asleep_ends_the_lease(world, bench) -> None:
    b = bench(long_typing())
    b.run(2_000)
    world.now += 8 * 3_600_000  # the boot clock counts sleep
    b.beacons = False
    before = b.agent.report()["captured"]
    b.turn()
    assert not b.agent.capturing
    assert b.agent.report()["captured"] == before


def test_a_beacon_for_another_state_stops_capture(world, bench) -> None:
    b = bench(long_typing())
    b.run(2_000)
    b.beacons = False
    b.tell(world.beacon(state="00" * 32))
    b.turn()
    assert not b.agent.capturing


@pytest.mark.parametrize("buffer", ["drop", "seal"])
def test_a_halt_kills_first_sends_nothing_and_signs_what_became_of_the_spool(world, bench, buffer: str) -> None:
    b = bench(long_typing())
    b.run(2_000)
    world.broker.down = True  # so that something waits
    b.run(1_500)
    waiting, sent = b.spool.waiting_events, len(world.broker.records)
    assert waiting
    world.broker.down = False
    order, halt_id = world.halt(buffer)
    b.tell(order)
    b.turn()
    assert not b.source.alive
    b.run(5_000)
    assert len(world.broker.records) == sent
    (ack,) = world.acks()
    assert (ack.halt_id, ack.worker_reaped, ack.endpoint) == (halt_id, True, "ep-a")
    assert ack.disposition == ("dropped" if buffer == "drop" else "sealed")
    assert ack.buffered >= waiting
    assert ack.last_seq + 1 == b.agent.report()["captured"]
    left = list((world.folder / "spool").rglob("*.raw"))
    assert bool(left) is (buffer == "seal")
    assert b.spool.waiting == 0
    report = b.agent.report()
    assert report["halt"]["halt_id"] == halt_id
    assert report["captured"] == report["delivered_events"] + report["discarded"] + report["sealed"]
    assert 0 < report["uncertain"] <= report["discarded"] + report["sealed"]  # the broker was down: nobody knows


def test_on_a_halt_the_kafka_client_is_purged_and_never_flushed_and_its_successor_is_another(world, bench) -> None:
    called: list[tuple[int, str]] = []

    def client() -> object:
        made = connect()
        for name in ("publish", "flush", "purge", "close"):
            setattr(made, name, noted(world.broker.clients, name, getattr(made, name)))
        return made

    def noted(number: int, name: str, call):
        def told(*given):
            called.append((number, name))
            return call(*given)

        return told

    connect, world.broker.client = world.broker.client, client
    b = bench(long_typing())
    b.run(3_000)
    number = world.broker.clients
    called.clear()
    order, halt_id = world.halt()
    b.tell(order)
    b.run(3_000)
    assert [name for n, name in called if n == number][:1] == ["purge"]
    assert {name for n, name in called if n == number} == {"purge", "close"}
    assert world.broker.clients == number, "while it is halted there is no client at all"
    b.tell(world.allow(lifted=(Lifted(halt_id, Scope("global"), "capture", world.service_ms, 2),)))
    b.run(4_000)
    assert world.broker.clients == number + 1


def test_each_run_window_has_a_worker_a_session_and_a_content_key_of_its_own(world, bench) -> None:
    class Counted(Timeline):
        started = stopped = 0

        def start(self, now_ms: int, *, titles: bool, targets: bool = False) -> None:
            assert self.started == self.stopped, "the last one is gone"
            self.started += 1
            super().start(now_ms, titles=titles, targets=targets)

        def stop(self) -> bool:
            self.stopped = self.started
            return super().stop()

    source = Counted(typing("abcdefghij" * 60), Screen(800, 600))
    b = bench(source)
    for _ in range(3):
        b.switches = Switches()
        b.run(4_000)
        assert b.agent.capturing
        b.switches = Switches(paused=True)
        b.run(500)
    keys = {(header.session, header.wrap) for header, _ in world.published()}
    assert source.started == len({session for session, _ in keys}) == len({wrap for _, wrap in keys}) == 3


def test_a_halt_for_somebody_else_stops_nothing(world, bench) -> None:
    b = bench(long_typing())
    b.run(2_000)
    order, _ = world.halt(scope=Scope("endpoint", "ep-z"))
    b.tell(order)
    b.run(1_000)
    assert b.agent.capturing
    assert world.acks() == []


@pytest.mark.parametrize("scope", [Scope("team", "team-1"), Scope("subject", "subject-a"), Scope("unheard-of", "x")])
def test_a_halt_of_my_team_my_person_or_a_scope_nobody_knows_stops_me(world, bench, scope: Scope) -> None:
    b = bench(long_typing())
    b.run(2_000)
    order, _ = world.halt(scope=scope)
    b.tell(order)
    b.turn()
    assert not b.agent.capturing


def test_after_a_halt_only_a_new_state_a_new_grant_and_a_new_session_capture_again(world, bench) -> None:
    b = bench(long_typing())
    b.run(2_000)
    order, halt_id = world.halt()
    b.tell(order)
    b.run(3_000)
    assert not b.agent.capturing
    requests = len(world.requests())
    state = world.allow(lifted=(Lifted(halt_id, Scope("global"), "capture", world.service_ms, 2),))
    b.tell(state)
    b.run(4_000)
    assert b.agent.capturing
    assert len(world.requests()) > requests
    assert {h.epoch for h, _ in world.published()} == {1, 2}
    assert len({h.session for h, _ in world.published()}) == 2
    check_sequence(world.published())


def test_an_order_that_only_a_beacon_names_stops_but_decides_nothing_about_the_spool(world, bench) -> None:
    from byleave.control.documents import Effective

    b = bench(long_typing())
    b.run(2_000)
    world.broker.down = True
    b.run(1_500)
    world.effective = (Effective("ab" * 32, world.service_ms),)
    b.tell(world.beacon())
    b.turn()
    assert not b.source.alive
    b.run(3_000)
    assert b.spool.waiting_events
    assert world.acks() == []


def test_a_pause_ends_the_session_and_sends_nothing_until_it_is_lifted(world, bench) -> None:
    b = bench(long_typing())
    b.run(2_000)
    sent = len(world.published())
    b.switches = Switches(paused=True)
    b.run(500)
    assert not b.source.alive
    assert len(world.published()) == sent
    assert b.spool.waiting > 0
    assert "paused by you" in b.agent.report()["answer"]
    b.switches = Switches()
    b.caught_up = False  # the orders are read anew: one may have come meanwhile that says what becomes of what waits
    b.run(500)
    assert len(world.published()) == sent
    b.caught_up = True
    b.run(20)
    assert world.published()[-1][0].boundary is Boundary.END
    b.run(3_000)
    assert b.agent.capturing
    assert b.spool.waiting == 0
    check_sequence(world.published())


def test_paused_off_and_asleep_are_the_same_to_everybody_else(another, bench) -> None:
    """What is sent before, meanwhile and afterwards: the same records of the same sizes and times, whichever it was."""
    told = {}
    for absence in ("paused", "off", "asleep"):
        world = another(absence)
        b = bench(long_typing(), world)
        b.run(3_050)
        left = len(world.broker.records), len(world.said), world.now
        if absence == "paused":
            b.switches, b.beacons = Switches(paused=True), False
            b.run(60_000, 1_000)
            b.switches, b.beacons = Switches(), True
        elif absence == "off":
            b.agent.finish()
            b.outbox.throw_away()
            world.now += 60_000
            b = bench(long_typing(), world)
        else:
            world.now += 60_000
            b.switches = Switches(paused=True)  # so the loop takes a turn that came so late: see test_main
            b.turn()
            b.switches = Switches()
        assert (len(world.broker.records), len(world.said)) == left[:2]
        world.now = left[2] + 60_000
        b._answered = len(world.requests())
        b.run(1_500)
        headers = [h for h, _ in world.published()]
        ended = next(h for h in headers if h.boundary is Boundary.END)
        session = [h for h in headers if h.session == ended.session]
        started = session[0].hi_min
        told[absence] = (
            [(h.batch, h.seq0, h.count, h.gap, h.boundary, h.hi_min - started, h.hi_max - started) for h in session],
            [len(value) for _, _, value in world.broker.records[: len(session)]],
            [topic for topic, _ in world.said],
        )
    assert told["paused"] == told["off"] == told["asleep"]


def test_a_local_halt_file_drops_what_waits(world, bench) -> None:
    b = bench(long_typing())
    b.run(2_000)
    world.broker.down = True
    b.run(1_500)
    b.switches = Switches(halted=True)
    b.turn()
    assert not b.source.alive
    assert list((world.folder / "spool").rglob("*.raw")) == []
    assert b.agent.report()["discarded"] > 0


def test_withdrawal_stops_capture(world, bench) -> None:
    b = bench(long_typing())
    b.run(2_000)
    world.now += 10
    world.consent(given=False)
    b.turn()
    assert not b.agent.capturing
    captured = b.agent.report()["captured"]
    b.run(5_000)
    assert b.agent.report()["captured"] == captured


def test_consent_for_another_manifest_is_none(world, bench) -> None:
    world.now += 10
    world.consent(manifest="00" * 32)
    b = bench(long_typing())
    b.run(5_000)
    assert b.agent.report()["captured"] == 0
    assert world.requests() == []
    assert "agreed" in b.agent.report()["answer"]


def test_a_new_manifest_ends_capture_until_it_is_signed_for(world, bench) -> None:
    b = bench(long_typing())
    b.run(2_000)
    world.manifest = replace(world.manifest, title="more work")
    b.tell(world.allow())
    b.run(5_000)
    assert not b.agent.capturing
    world.consent()
    b.run(4_000)
    assert b.agent.capturing
    assert {h.manifest.hex() for h, _ in world.published()} >= {world.manifest_digest}


def test_before_the_control_topics_are_read_nothing_is_captured_or_sent(world, bench) -> None:
    b = bench(long_typing())
    b.caught_up = False
    b.run(5_000)
    assert not b.source.alive
    assert world.said == []
    assert world.broker.records == []


def test_an_order_known_at_start_is_obeyed_before_a_leftover_spool_is_sent(world, bench) -> None:
    b = bench(long_typing())
    world.broker.down = True
    b.run(3_000)
    assert b.spool.waiting
    world.broker.down = False
    world.halt()
    again = bench(long_typing())  # the process was killed and starts again
    again.run(3_000)
    assert world.broker.records == []
    assert again.spool.waiting == 0
    assert [ack.disposition for ack in world.acks()] == ["dropped"]


def test_a_dead_worker_ends_the_session_and_a_new_one_needs_a_new_grant(world, bench) -> None:
    class Mortal(Timeline):
        dead = False

        @property
        def alive(self) -> bool:
            return super().alive and not self.dead

        def start(self, now_ms: int, *, titles: bool, targets: bool = False) -> None:
            self.dead = False
            super().start(now_ms, titles=titles, targets=targets)

    source = Mortal(typing("abcdefghij" * 60), Screen(1, 1))
    b = bench(source)
    b.run(2_000)
    source.dead = True
    b.turn()
    assert not b.agent.capturing
    b.run(6_000)
    assert b.agent.capturing
    assert (b.agent.report()["workers_lost"], b.agent.report()["sessions"]) == (1, 2)
    check_sequence(world.published())


def test_what_is_outside_the_manifest_is_only_counted(world, bench) -> None:
    b = bench(timeline(typing("ok") + typing(SECRET, window=BANK, start_ms=1_000) + typing("fine", start_ms=3_000)))
    b.run(6_000)
    b.agent.finish()
    b.run(200)
    assert text_of(world.published()) == "okfine"
    assert b.agent.report()["out_of_scope"] == 2 * len(SECRET)
    assert "banking" not in repr(world.published())


@pytest.mark.parametrize("end", ["halt", "finish"])
def test_what_is_held_around_the_focus_dies_with_the_session_and_took_no_number(world, bench, end: str) -> None:
    b = bench(long_typing())
    b.run(3_000)
    if end == "halt":
        b.tell(world.halt()[0])
        b.turn()
    else:
        b.agent.finish()
    stopped_ms = world.service_ms
    b.run(500)
    published = world.published()
    check_sequence(published)
    report = b.agent.report()
    assert report["captured"] == report["delivered_events"] + report["discarded"] + report["gaps"]
    assert published
    assert all(e.at_ms <= stopped_ms - HOLD_MS + 20 for _, events in published for e in events)
    assert report["near_focus"] == 1  # not one for each key


def test_keys_beside_a_window_that_came_in_between_are_nobodys(world, bench) -> None:
    dialog = [Observed(1_050, Kind.FOCUS, window=replace(EDITOR, handle=9))]
    events = sorted(typing("abcdefghijklmnopqrst") + dialog, key=lambda event: event.at_ms)
    b = bench(timeline(events))
    b.run(6_000)
    b.agent.finish()
    b.run(200)
    check_sequence(world.published())
    assert text_of(world.published()) == "abcdef" + "klmnopqrst"
    report = b.agent.report()
    assert (report["captured"], report["gaps"], report["near_focus"]) == (report["delivered_events"], 0, 1)


def test_a_full_spool_declares_gaps_and_loses_no_number(world, bench) -> None:
    b = bench(long_typing(), spool_bytes=3_000)
    b.run(2_000)
    world.broker.down = True
    b.run(8_000)
    full = b.agent.report()
    assert (full["answer"], full["capturing"]) == (Answer.FULL.value, False)
    assert not b.source.alive
    b.run(2_000)
    assert b.agent.report()["captured"] == full["captured"]  # nothing is taken that could not be kept
    world.broker.down = False
    b.run(15_000)
    assert b.agent.report()["capturing"]  # by itself
    b.agent.finish()
    b.run(500)
    published = world.published()
    check_sequence(published)
    assert len({h.session for h, _ in published}) == 2
    report = b.agent.report()
    assert report["gaps"] > 0
    assert report["gaps"] == sum(h.gap for h, _ in published)
    assert report["captured"] == report["gaps"] + sum(h.count for h, _ in published)


def test_a_failed_delivery_throws_the_client_away_and_resumes_in_order(world, bench) -> None:
    b = bench(long_typing())
    b.run(2_000)
    world.broker.deny = True
    b.run(3_000)
    world.broker.deny = False
    b.run(12_000)
    b.agent.finish()
    b.run(500)
    assert world.broker.clients > 2
    published = world.published()
    check_sequence(published)
    assert sum(h.count for h, _ in published) == b.agent.report()["captured"]


def test_an_idle_session_gives_a_sign_of_life_every_ten_seconds(world, bench) -> None:
    b = bench(timeline(typing("a")))
    b.run(45_000)
    stamps = [h.hi_max for h, _ in world.published()]
    assert all(later - earlier <= 11_000 for earlier, later in itertools.pairwise(stamps))
    assert len([h for h, _ in world.published() if h.count == 0]) >= 3


def test_a_permit_is_renewed_within_its_session(world, bench) -> None:
    b = bench(timeline(typing("abc", every_ms=500_000)))
    b.run(1_500_000, step_ms=500)
    assert b.agent.report()["sessions"] == 1
    assert len(world.requests()) >= 3
    check_sequence(world.published())


def test_a_permit_that_nobody_renews_ends(world, bench) -> None:
    b = bench(timeline(typing("abc", every_ms=500_000)))
    b.run(3_000)
    b.answers = False
    b.run(1_900_000, step_ms=500)
    assert not b.agent.capturing


def test_nothing_typed_is_in_report_repr_or_documents(world, bench) -> None:
    b = bench(timeline(typing(SECRET)))
    b.run(3_000)
    order, _ = world.halt()
    b.tell(order)
    b.run(500)
    seen = json.dumps(b.agent.report()) + repr(vars(b.agent)) + repr(world.said) + repr(b.source.__dict__)
    assert SECRET not in seen
    assert not any(f"key='{char}'" in seen for char in SECRET)
    assert all(SECRET.encode() not in value for _, _, value in world.broker.records)
