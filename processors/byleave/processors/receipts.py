"""What became of one endpoint's events in one hour, counted from its accounts (issue 4a; docs/formats/receipts.md).

    held_before + captured = written + removed + refused + gaps + held

Promises  an hour's numbers are differences of the accounts at its two ends, so that over all hours they are the accounts'. The
          hour is that of the partition's time, the broker's stamps: never of a clock here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from byleave.core.codec import Record
from byleave.core.receipts import HOUR_MS
from byleave.processors.account import REPLACED, Account

NUMBERS = ("admitted", "refused", "gaps", "kept", "reviewed", "level4", "dropped", "withheld")


@dataclass(slots=True)
class Hour:
    """The hour that is counted. `base` is what NUMBERS of the open session stood at when it began; `past`, `shares` and `rules`
    are sums over the sessions that ended in it.
    """

    hour_ms: int
    base: list[int]
    held_before: int
    late: int = 0
    sessions: int = 0
    past: list[int] = field(default_factory=lambda: [0] * len(NUMBERS))
    shares: dict[str, int] = field(default_factory=dict)
    rules: dict[str, int] = field(default_factory=dict)

    def counted(self, account: Account) -> bool:
        """Whether there is anything to tell."""
        return bool(self.late or self.sessions) or _numbers(account) != self.base

    def end_session(self, account: Account) -> None:
        """A session is over; the next one begins at nothing."""
        self.sessions += _numbers(account) != self.base
        self.past, self.base = self._sums(account), [0] * len(NUMBERS)
        self.shares, self.rules = _sum(self.shares, account.shares), _sum(self.rules, account.rules)

    def counts(self, endpoint: str, account: Account, policy: str) -> Record:
        """The `receipt_counts` of the hour, if it ended now."""
        sums = dict(zip(NUMBERS, self._sums(account), strict=True))
        shares, rules = _sum(self.shares, account.shares), _sum(self.rules, account.rules)
        replaced = sum(count for share, count in shares.items() if share.endswith(f"\t{REPLACED}"))
        return {
            "endpoint": endpoint, "hour_ms": self.hour_ms, "sessions": self.sessions + (_numbers(account) != self.base),
            "captured": sums["admitted"] + sums["refused"] + sums["gaps"],
            "written": sums["kept"] + sums["reviewed"] - replaced,
            "removed": replaced + sums["level4"] + sums["dropped"] + sums["withheld"], "refused": sums["refused"],
            "gaps": sums["gaps"], "held_before": self.held_before, "held": account.held, "late": self.late,
            "shares": [_named(("app", "kind", "level", "fate"), *item) for item in shares.items()],
            "removals": [_named(("label", "rule"), *item) for item in rules.items()], "policy": policy,
        }  # fmt: skip

    def _sums(self, account: Account) -> list[int]:
        return [past + now - base for past, now, base in zip(self.past, _numbers(account), self.base, strict=True)]


def begin(at_ms: int, account: Account) -> Hour:
    """The hour that a time falls in. What the account keeps for receipts begins anew."""
    account.shares.clear()
    account.rules.clear()
    return Hour(at_ms // HOUR_MS * HOUR_MS, _numbers(account), account.held)


def _numbers(account: Account) -> list[int]:
    return [getattr(account, name) for name in NUMBERS]


def _sum(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return dict(Counter(one) + Counter(other))


def _named(names: tuple[str, ...], parts: str, count: int) -> Record:
    named: Record = {name: int(part) if name == "level" else part for name, part in zip(names, parts.split("\t"), strict=True)}
    return named | {"count": count}
