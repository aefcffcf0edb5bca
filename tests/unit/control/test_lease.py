"""The lease: what silence, sleep, delay and replay do to the permission to capture."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from byleave.control.documents import Beacon
from byleave.control.lease import LEAD_MS_MAX, LEASE_MS_MAX, Permit, Verdict, permit_time_ms, verdict

STATE = "ab" * 32
PERMIT = Permit(service_ms=1_000_000, request_boot_ms=500, not_after_ms=10**9)


def beacon(age_ms: int = 0, *, lease_ms: int = LEASE_MS_MAX, state: str = STATE) -> Beacon:
    return Beacon("test.", 1, state, PERMIT.service_ms - age_ms, 1, lease_ms, ())


def ask(heard: Beacon | None, *, permit: Permit | None = PERMIT, halted: bool = False, boot_ms: int = 600) -> Verdict:
    return verdict(permit, heard, STATE, halted=halted, boot_ms=boot_ms)


def test_a_fresh_beacon_for_the_same_state_allows_capture() -> None:
    assert ask(beacon()) is Verdict.CAPTURE


def test_a_halt_outranks_a_perfect_permit() -> None:
    assert ask(beacon(), halted=True) is Verdict.HALTED


def test_without_a_grant_there_is_no_capture() -> None:
    assert ask(beacon(), permit=None) is Verdict.NO_GRANT


def test_withholding_beacons_ends_capture() -> None:
    assert ask(beacon(), boot_ms=500 + LEASE_MS_MAX) is Verdict.STALE
    assert ask(None) is Verdict.STALE


def test_a_night_asleep_ends_the_lease_because_the_clock_counts_while_asleep() -> None:
    assert ask(beacon(), boot_ms=600 + 8 * 3_600_000) is Verdict.STALE


def test_a_replayed_old_beacon_gives_nothing() -> None:
    assert ask(beacon(age_ms=LEASE_MS_MAX)) is Verdict.STALE


def test_a_stolen_beacon_key_cannot_stretch_the_lease() -> None:
    assert ask(beacon(lease_ms=2**62), boot_ms=500 + LEASE_MS_MAX) is Verdict.STALE


def test_a_beacon_later_than_the_services_clock_can_read_ends_the_session_instead_of_stretching_its_lease() -> None:
    """The service's clock was set ahead, so that the grant ties nothing any more, or its key was stolen."""
    latest = permit_time_ms(PERMIT, 600)
    assert ask(beacon(PERMIT.service_ms - latest - LEAD_MS_MAX)) is Verdict.CAPTURE
    assert ask(beacon(PERMIT.service_ms - latest - LEAD_MS_MAX - 1)) is Verdict.OVER
    assert ask(beacon(-3_600_000)) is Verdict.OVER


def test_a_beacon_for_another_state_gives_nothing() -> None:
    assert ask(beacon(state="cd" * 32)) is Verdict.DISAGREES


def test_a_grant_from_before_a_reboot_gives_nothing() -> None:
    assert ask(beacon(), boot_ms=PERMIT.request_boot_ms - 1) is Verdict.NO_GRANT


def test_a_session_ends_when_its_grant_says() -> None:
    over = Permit(PERMIT.service_ms, PERMIT.request_boot_ms, PERMIT.service_ms + 50)
    assert ask(beacon(), permit=over) is Verdict.OVER


@given(delay_ms=st.integers(0, 10**7), boot_ms=st.integers(500, 10**9))
def test_delaying_the_grant_never_stretches_the_lease(delay_ms: int, boot_ms: int) -> None:
    """An attacker holds the request back: the service stamped it `delay_ms` after it left."""
    delayed = Permit(PERMIT.service_ms + delay_ms, PERMIT.request_boot_ms, PERMIT.not_after_ms)
    assert permit_time_ms(delayed, boot_ms) >= permit_time_ms(PERMIT, boot_ms)


@given(fast_ppm=st.integers(-500, 500), true_ms=st.integers(0, 10**9))
def test_permit_time_is_never_behind_the_service_within_the_drift_allowed(fast_ppm: int, true_ms: int) -> None:
    boot_ms = PERMIT.request_boot_ms + true_ms * (1_000_000 + fast_ppm) // 1_000_000
    assert permit_time_ms(PERMIT, boot_ms) >= PERMIT.service_ms + true_ms


@given(
    age_ms=st.integers(-5_000, 30_000),
    lease_ms=st.integers(0, 30_000),
    fast_ppm=st.integers(-500, 500),
    true_ms=st.integers(0, 60_000),
)
def test_capture_implies_that_somebody_vouched_less_than_a_lease_ago(
    age_ms: int, lease_ms: int, fast_ppm: int, true_ms: int
) -> None:
    boot_ms = PERMIT.request_boot_ms + true_ms * (1_000_000 + fast_ppm) // 1_000_000
    heard = beacon(age_ms, lease_ms=lease_ms)
    if ask(heard, boot_ms=boot_ms) is Verdict.CAPTURE:
        assert PERMIT.service_ms + true_ms < heard.service_ms + min(lease_ms, LEASE_MS_MAX)
