"""The redactor's loop: memberships, one after another, until it is told to stop or cannot get on (P8).

Promises  it stops with everything decided committed; an error of a transaction costs one membership and nothing else; a
          redactor that does not get on while records wait ends loudly rather than stay.
Bounds    STALLED_S_MAX without progress, FAILURES_MAX memberships in a row that did not live, FENCED_MAX of them fenced.

Clocks and waiting come in as arguments. They time commits, metrics and the watchdog; they decide nothing about a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from byleave.core import metrics
from byleave.core.errors import Broken, Transient
from byleave.processors.partition import Tally

if TYPE_CHECKING:
    from byleave.control.watch import ControlWatch
    from byleave.processors.membership import Membership

SWEEP_S = 5.0
WATCH_S = 1.0
STALLED_S_MAX = 60.0
FAILURES_MAX = 30
FENCED_MAX = 3
BACKOFF_S_MAX = 5.0
HEALTHY_S = 30.0
CLIENT_FATAL, KEYRING = "client-fatal", "keyring"
ASK_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True)
class Clocks:
    """`steady_s` never runs back; `wall_ms` is compared with the broker's stamps, for the metrics only."""

    steady_s: Callable[[], float]
    wall_ms: Callable[[], int]


class Worker:
    """`join()` makes a membership; `stopped(seconds)` waits for at most so long and says whether to stop."""

    def __init__(
        self,
        join: Callable[[], Membership],
        watch: ControlWatch,
        clocks: Clocks,
        stopped: Callable[[float], bool],
        commit_s: float,
    ) -> None:
        self._join, self._watch, self._clocks, self._stopped = join, watch, clocks, stopped
        self._commit_s = commit_s
        self._ask_again_s = 0.0
        self._log = structlog.get_logger()
        self._moved_s = clocks.steady_s()
        self.turned_s = clocks.steady_s()
        """When the loop last came round, for the health check."""
        self.partitions = 0

    def run(self, joined: Callable[[], None]) -> None:
        """Works until told to stop. `joined` is called for each membership that was made.

        Raises Broken (stalled, fenced again and again, state or input lost) and Refused (the broker denies what it needs).
        """
        failures = fenced = 0
        while not self._stopped(0.0):
            began_s = self._clocks.steady_s()
            try:
                self._live(joined)
            except (Transient, Broken) as error:
                if isinstance(error, Broken) and error.reason != CLIENT_FATAL:
                    raise
                if self._clocks.steady_s() - began_s > HEALTHY_S:
                    failures = fenced = 0
                failures, fenced = failures + 1, fenced + (error.reason == CLIENT_FATAL)
                self._failed(error, failures, fenced)
                self._stopped(min(BACKOFF_S_MAX, 0.05 * 2 ** min(failures, 7)))

    def _failed(self, error: Transient | Broken, failures: int, fenced: int) -> None:
        metrics.TRANSACTIONS.labels("lost").inc()
        metrics.REBUILDS.labels(error.reason).inc()
        self._log.warning("rebuilding", reason=error.reason, attempt=failures)
        if fenced >= FENCED_MAX:
            raise Broken(
                f"thrown out {fenced} times in a row: does another redactor run with the same --slot?", reason="fenced"
            )
        if failures >= FAILURES_MAX:
            raise Broken(f"{failures} memberships failed in a row, the last with: {error}", reason="no-membership")

    def _live(self, joined: Callable[[], None]) -> None:
        membership = self._join()
        try:
            joined()
            self._serve(membership)
        finally:
            membership.close()
            self._own(0)

    def _serve(self, membership: Membership) -> None:
        committed_s = swept_s = watched_s = self._clocks.steady_s()
        stopping = False
        while not stopping:
            stopping = self._stopped(0.0)
            if self._watch.pump(0.0):
                membership.wake()
            if self._watch.caught_up:  # under a next root all is read again; until then, who is not known may only be unread
                membership.read()
                self._decide(membership)
            now_s = self.turned_s = self._clocks.steady_s()
            if now_s - swept_s >= SWEEP_S and self._watch.caught_up:
                membership.sweep()
                swept_s = now_s
            if stopping or now_s - committed_s >= self._commit_s:
                self._commit(membership)
                committed_s = now_s
            if now_s - watched_s >= WATCH_S:
                self._watch_over(membership)
                watched_s = now_s

    def _decide(self, membership: Membership) -> None:
        """A keyring that does not answer changed nothing yet: what it was asked for is asked again a little later."""
        if self._clocks.steady_s() < self._ask_again_s:
            return
        try:
            membership.decide()
        except Transient as error:
            if error.reason != KEYRING:
                raise
            self._ask_again_s = self._clocks.steady_s() + ASK_AGAIN_S
            self._log.warning("waiting", reason=error.reason)

    def _commit(self, membership: Membership) -> None:
        moved = membership.commit()
        for tally in membership.tallies():
            report(tally, self._clocks.wall_ms())
        if moved:
            metrics.TRANSACTIONS.labels("committed").inc()
            self._moved()

    def _watch_over(self, membership: Membership) -> None:
        partitions = membership.partitions
        self._own(len(partitions))
        metrics.WAITING.set(sum(len(partition.fence) for partition in partitions))
        if not membership.lagging:
            self._moved()
        elif self._clocks.steady_s() - self._moved_s > STALLED_S_MAX:
            raise Broken(f"nothing was committed for {STALLED_S_MAX:.0f} s while records wait to be read", reason="stalled")

    def _moved(self) -> None:
        self._moved_s = self._clocks.steady_s()
        metrics.PROGRESS.set(self._clocks.wall_ms() / 1000)

    def _own(self, count: int) -> None:
        self.partitions = count
        metrics.PARTITIONS.set(count)


_COUNTERS = {
    "admitted": metrics.ADMITTED, "refused": metrics.REFUSED, "rows": metrics.ROWS, "disposed": metrics.DISPOSITION,
    "labels": metrics.REDACTIONS, "drift": metrics.DRIFT,
}  # fmt: skip


def report(tally: Tally, now_ms: int) -> None:
    """Adds what was committed to the metrics."""
    for (name, *labels), count in tally.counts.items():
        counter = _COUNTERS[name]
        (counter.labels(*labels) if labels else counter).inc(count)
    for append_ms in tally.admitted_append_ms:
        metrics.FENCE_WAIT.observe(max(0, now_ms - append_ms) / 1000)
