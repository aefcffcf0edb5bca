"""The gate's answers, each by its reason; a halt outranks everything (P1, P2)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from byleave.control.documents import Effective, Grant
from byleave.control.lease import Permit
from byleave.producers.gate import PERMIT_MS_MAX, ROUND_TRIP_MS_MAX, Answer, Switches, accept, decide


def permit_of(world, age_ms: int = 100) -> Permit:
    return Permit(world.service_ms - age_ms, world.now - age_ms, world.service_ms + 3_600_000)


def answer(world, switches: Switches = Switches(), *, caught_up: bool = True, permit: Permit | None = None) -> Answer:  # noqa: B008
    permit = permit or permit_of(world)
    return decide(world.knowledge, "ep-a", permit, switches, caught_up=caught_up, boot_ms=world.now).answer


def test_with_everything_in_order_it_captures(world) -> None:
    world.beacon()
    assert answer(world) is Answer.CAPTURE


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        (Switches(paused=True), Answer.PAUSED),
        (Switches(halted=True), Answer.HALTED_HERE),
        (Switches(paused=True, halted=True), Answer.HALTED_HERE),
        (Switches(agreed=False), Answer.NO_CONSENT),
        (Switches(shown=False), Answer.NO_SIGN),
        (Switches(shown=False, paused=True), Answer.PAUSED),
    ],
)
def test_the_persons_own_switches(world, switches: Switches, expected: Answer) -> None:
    world.beacon()
    assert answer(world, switches) is expected


def test_no_permit_no_beacon_an_old_beacon_another_state_or_an_unread_topic_is_a_no(world) -> None:
    assert answer(world) is Answer.STALE
    world.beacon()
    assert decide(world.knowledge, "ep-a", None, Switches(), caught_up=True, boot_ms=world.now).answer is Answer.NO_GRANT
    assert answer(world, caught_up=False) is Answer.UNREAD
    permit = permit_of(world)
    world.now += 10_001
    assert answer(world, permit=permit) is Answer.STALE
    world.beacon(state="00" * 32)
    assert answer(world) is Answer.DISAGREES


def test_a_grant_of_a_former_boot_is_none(world) -> None:
    world.beacon()
    assert answer(world, permit=replace(permit_of(world), request_boot_ms=world.now + 1)) is Answer.NO_GRANT


def test_a_grant_that_is_over_or_could_not_be_renewed_is_over(world) -> None:
    world.beacon()
    assert answer(world, permit=replace(permit_of(world), not_after_ms=world.service_ms)) is Answer.OVER
    assert answer(world, permit=permit_of(world, PERMIT_MS_MAX)) is not Answer.OVER
    assert answer(world, permit=permit_of(world, PERMIT_MS_MAX + 1)) is Answer.OVER


def test_an_endpoint_outside_every_run_scope_may_not(world) -> None:
    world.allow(run=False)
    world.beacon()
    assert answer(world) is Answer.NO_LEAVE


def test_an_expired_manifest_ends_it(world) -> None:
    world.now += 86_400_000
    world.beacon()
    assert answer(world) is Answer.NO_LEAVE


def test_an_order_outranks_all_else_even_one_that_only_a_beacon_names(world) -> None:
    world.effective = (Effective("ab" * 32, world.service_ms),)
    world.beacon()
    assert answer(world) is Answer.HALTED
    assert answer(world, Switches(paused=True, agreed=False), caught_up=False) is Answer.HALTED


def test_an_answer_says_in_words_why(world) -> None:
    assert all(a is Answer.CAPTURE or a.value.startswith("not capturing: ") for a in Answer)


GRANT = Grant("byleave.", "nonce", "request", "00" * 16, 1_000, 4, 9_000)


@pytest.mark.parametrize(
    ("nonce", "digest", "epoch", "after_ms", "good"),
    [
        ("nonce", "request", 4, 0, True),
        ("nonce", "request", 4, ROUND_TRIP_MS_MAX, True),
        ("nonce", "request", 4, ROUND_TRIP_MS_MAX + 1, False),
        ("nonce", "request", 4, -1, False),
        ("other", "request", 4, 0, False),
        ("nonce", "other", 4, 0, False),
        ("nonce", "request", 5, 0, False),
    ],
)
def test_a_grant_is_bound_to_its_nonce_request_epoch_and_moment(nonce, digest, epoch, after_ms: int, good: bool) -> None:
    found = accept(GRANT, nonce=nonce, request_digest=digest, request_boot_ms=500, epoch=epoch, boot_ms=500 + after_ms)
    assert (found == Permit(1_000, 500, 9_000)) if good else (found is None)


def test_a_version_below_the_minimum_of_the_state_captures_nothing_and_is_told_why(world) -> None:
    world.allow(minimum="0.2")
    world.beacon()
    said = {version: decide(world.knowledge, "ep-a", permit_of(world), Switches(), caught_up=True, boot_ms=world.now,
                            version=version).answer for version in ("0.1.9", "", "0.2.0")}  # fmt: skip
    assert said == {"0.1.9": Answer.OUT_OF_DATE, "": Answer.OUT_OF_DATE, "0.2.0": Answer.CAPTURE}
