"""The halt protocol, seeded, and its mutants: what holds in every run must be seen to break when one rule is taken away.

The world is `tests/assets/halt_world.py`; the long run is `make simulate`. A failing seed is its own replay.
"""

from __future__ import annotations

from collections import Counter

import pytest
from halt_world import MUTANTS, World, killed_by, main, one, verified_once

SEEDS, SIZE = range(24), 80


@pytest.fixture(scope="module")
def runs() -> dict[int, tuple[list[str], Counter[str]]]:
    return {seed: (faults, counts) for seed, faults, counts in (one(seed, SIZE) for seed in SEEDS)}


@pytest.mark.parametrize("seed", SEEDS)
def test_no_leak_no_capture_past_its_lease_no_board_or_ack_that_lies_no_stall_and_no_loss(runs: dict, seed: int) -> None:
    assert runs[seed][0] == [], f"again: make simulate SEEDS=1 FIRST={seed} ENDPOINTS={SIZE}"


def test_the_runs_were_about_something(runs: dict) -> None:
    total = sum((counts for _, counts in runs.values()), Counter())
    assert total["admitted"] > 10_000
    assert total["resumed"] > 10_000
    assert total["refused"] > 500
    assert total["late"] > 200  # captured although halted, because nothing was heard
    assert total["late_sent"] > 100  # and offered to the fence
    assert total["acks"] > 500
    assert total["thefts"] > 5
    assert total["set_back"] > 2


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_mutant_is_killed(mutant: str) -> None:
    assert killed_by(mutant, SEEDS, SIZE) is not None


@pytest.mark.parametrize("seed", SEEDS[:6])
def test_a_service_whose_clock_is_set_far_ahead_does_not_stretch_a_lease(seed: int) -> None:
    with verified_once():
        faults = World(seed, SIZE, thief="", ahead_ms=60_000).run().faults()
    assert [fault for fault in faults if not fault.startswith("lost")] == []  # stamps beyond the broker's clock are refused


def test_the_same_seed_is_the_same_run() -> None:
    with verified_once():
        first, again = World(5, 20).run(), World(5, 20).run()
    assert (first.captured, first.decided, first.boards) == (again.captured, again.decided, again.boards)


def test_a_failing_seed_is_printed_with_the_way_to_run_it_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halt_world.SKEW_MS", 10**9)  # of the oracle: now it calls refusals by the broker's stamp a loss
    monkeypatch.setattr("halt_world.ProcessPoolExecutor", InThisProcess)
    assert main(["--seeds", "3", "--endpoints", "80", "--first", "1"]) == 1
    assert "again: make simulate SEEDS=1 FIRST=2 ENDPOINTS=80" in capsys.readouterr().out


class InThisProcess:
    """Where a patch is to be seen."""

    def __init__(self, max_workers: int) -> None:
        assert max_workers > 0
        self.map = map

    def __enter__(self) -> InThisProcess:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.mark.prove
@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", range(1_000, 1_100, 10))
def test_a_thousand_endpoints(first: int) -> None:
    assert [found for seed in range(first, first + 10) if (found := one(seed, 1_000)[1])] == []


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_mutant_is_killed_among_a_thousand_endpoints_at_once(mutant: str) -> None:
    assert killed_by(mutant, range(2_000, 2_010), 1_000) is not None
