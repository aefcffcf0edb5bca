"""P8. Nothing lost, nothing twice: the redactor is killed at any moment, and what stands on the topics is what it should be.

Killed with SIGKILL at seeded moments while three endpoints publish. Afterwards every row of every level is compared with what
an uninterrupted run of the same rules gives: a row too few is a loss, one too many a duplicate, another text a wrong redaction.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest
from redactor_process import Fleet, Stage, accounts_of, now_ms
from redactor_site import balanced, oracle

from byleave.core.broker import Received

pytestmark = pytest.mark.broker


def killed_while_endpoints_publish(stage: Stage, *, kills: int, batches: int, seconds: float, protocol: str, seed: int) -> None:
    rng, moments = random.Random(seed), []
    fleet, commits = Fleet(stage, seed, batches, seconds), Commits(stage)
    fleet.start(), commits.start()
    for n in range(kills):
        process = stage.redactor(protocol=protocol)
        if n % 4:  # three of four are at work when they are struck, the fourth joins, restores or waits
            commits.next(after_ms=now_ms())
        threading.Event().wait(rng.uniform(0.0, 0.4))
        moments.append(now_ms())
        process.kill()
        process.wait(10)
    fleet.hurry.set()
    stage.redactor(protocol=protocol)
    records = stage.all_ended(3, patience_s=90)
    fleet.join(), commits.join()
    compare(stage, [record.append_ms for record in records], moments, accounts_of(records))


class Commits(threading.Thread):
    """Watches the account topic: says when something new was committed."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(name="commits", daemon=True)
        self.stage, self.newest_ms, self.told = stage, 0, threading.Condition()

    def run(self) -> None:
        def saw(records: list[Received]) -> bool:
            with self.told:
                self.newest_ms = max((record.append_ms for record in records[-1:]), default=0)
                self.told.notify_all()
            return sum(account["ended"] for account in accounts_of(records).values()) >= 3

        self.stage.until("account.v1", saw, 600)

    def next(self, after_ms: int) -> None:
        with self.told:
            assert self.told.wait_for(lambda: self.newest_ms > after_ms, 30), self.stage.log.read_text()[-2000:]


def compare(stage: Stage, committed: list[int], moments: list[int], accounts: dict) -> None:
    raw = stage.raw()
    wanted, truth = oracle(stage.site, raw)
    found = stage.rows()
    lost, twice = Counter(wanted) - Counter(found), Counter(found) - Counter(wanted)
    gaps = [min((at - kill for at in committed if at > kill + 20), default=-1) for kill in moments]
    busy = sum(any(a < at <= b for at in committed) for a, b in zip([0, *moments], moments, strict=False))
    quick = sorted(gaps)
    print(  # noqa: T201 - the figures that a person looks for
        f"\n{len(moments)} kills ({busy} of lives that had committed), {len(raw)} batches, {len(wanted)} records: "
        f"{sum(lost.values())} lost, {sum(twice.values())} twice or other; "
        f"kill to first commit p50 {quick[len(quick) // 2]} ms, max {quick[-1]} ms"
    )
    assert not lost
    assert not twice
    assert stage.refusals() == []
    assert {key: a["admitted"] for key, a in accounts.items()} == {key: a.admitted for key, a in truth.items()}
    assert all(balanced(account) and account["held"] == 0 for account in accounts.values())
    assert busy >= len(moments) // 2  # else the kills met nobody at work


@pytest.mark.timeout(150)
def test_a_redactor_killed_ten_times_loses_nothing_and_repeats_nothing(kafka, site: str, tmp_path: Path) -> None:
    with Stage(kafka, site, tmp_path) as stage:
        killed_while_endpoints_publish(stage, kills=10, batches=250, seconds=30, protocol="classic", seed=1)


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("protocol", "kills", "seconds"), [("classic", 100, 400), ("consumer", 20, 300)])
def test_the_same_in_full(kafka, site: str, tmp_path: Path, protocol: str, kills: int, seconds: float) -> None:
    with Stage(kafka, site, tmp_path) as stage:
        killed_while_endpoints_publish(stage, kills=kills, batches=1_500, seconds=seconds, protocol=protocol, seed=2)


@pytest.mark.prove
@pytest.mark.timeout(200)
def test_a_broker_that_freezes_for_longer_than_a_transaction_may_last_costs_nothing(kafka, site: str, tmp_path: Path) -> None:
    with Stage(kafka, site, tmp_path) as stage:
        fleet = Fleet(stage, seed=3, batches=200, seconds=15)
        stage.redactor()
        fleet.start()
        stage.until("account.v1", lambda records: len(records) > 10)
        os.kill(kafka.broker.pid, signal.SIGSTOP)
        threading.Event().wait(16)
        os.kill(kafka.broker.pid, signal.SIGCONT)
        accounts = accounts_of(stage.all_ended(3, patience_s=90))
        fleet.join()
        wanted, _ = oracle(stage.site, stage.raw())
        assert Counter(stage.rows()) == Counter(wanted)
        assert all(balanced(account) and account["held"] == 0 for account in accounts.values())
