"""Clocks: what counts on when the wall clock is set."""

from __future__ import annotations

from byleave.core.clock import anchored, boot_ms


def test_an_anchored_clock_does_not_move_when_the_wall_clock_is_set() -> None:
    wall, boot = [1_000_000], [50]
    now_ms = anchored(lambda: wall[0], lambda: boot[0])
    assert now_ms() == 1_000_000
    wall[0] += 3_600_000
    boot[0] += 250
    assert now_ms() == 1_000_250
    wall[0] -= 7_200_000
    assert now_ms() == 1_000_250


def test_the_boot_clock_does_not_run_back() -> None:
    seen = [boot_ms() for _ in range(100)]
    assert seen == sorted(seen)
