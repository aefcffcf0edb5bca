"""`byleave bench observer`: what somebody learns who sees only the offsets, sizes and times of raw batches, as a broker does.

Simulated people type, read (scrolls and a few moves) and are away, in turns of 20 to 60 s; their events go through the
product's own thinning, cutting and sealing. An observer who has watched the others, with their truth, guesses of a person, by
windows of 10 s: typing, reading or away (Gaussian naive Bayes), and how many keys were pressed (a straight line through bytes).
Each person is left out once. Four views:

    sizes      what a batch is today: sizes and times
    header     the same, and `count` and `boundary` of the header, which are in the clear for the fence
    padded     today's times, sizes padded to three
    fixed      a batch each second, be it empty, padded to three sizes; `count` would have to go under the seal
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from rich.console import Console
from rich.table import Table

from bench import machine
from bench.capture import cpu_s
from byleave.core.batches import Boundary
from byleave.core.envelope import Binding
from byleave.core.events import Kind, Screen, Window
from byleave.core.kafka import producer_options
from byleave.core.settings import load_installation
from byleave.deploy import broker, pki
from byleave.producers.batch import Batcher, Cut, Sealer
from byleave.producers.hooks.source import Observed
from byleave.producers.thin import Thinner
from demo.strokes import strokes
from demo.typist import Profile, type_out

PEOPLE, MINUTES, WINDOW_S = 8, 20, 10
SIZES = (512, 1_536, 12_288)
"""Padded sizes of a whole record: a quiet second, a busy one, the largest that 250 events make."""
DOING = ("typing", "reading", "away")
START_MS = 1_790_000_000_000
REQUESTS = 4_000
_TEXT = "the report is ready and we can send it to the team after lunch please check all numbers in the table once more"


@dataclass(frozen=True, slots=True)
class Seen:
    """One record, as the broker has it."""

    at_s: float
    size: int
    count: int
    boundary: bool


@dataclass(frozen=True, slots=True)
class Person:
    """What was done in each window, how many keys, and the cuts with their sealed sizes."""

    doing: list[str]
    keys: list[int]
    records: list[Seen]
    each_second: list[Seen]


def live(seed: int) -> Person:
    """Twenty minutes of one person."""
    rng = random.Random(seed)
    observed: list[Observed] = [Observed(0, Kind.FOCUS, window=Window(1, "editor", layout="us"))]
    doing, at_ms = list[str](), 0
    pace, reads_s = rng.uniform(0.7, 1.6), rng.uniform(1.0, 4.0)
    while at_ms < MINUTES * 60_000:
        what, length_ms = rng.choice(DOING), rng.randrange(2, 7) * WINDOW_S * 1000
        events = (
            _typed(rng, pace, length_ms) if what == "typing" else _read(rng, reads_s, length_ms) if what == "reading" else []
        )
        observed += [replace(event, at_ms=event.at_ms + at_ms) for event in events]
        doing += [what] * (length_ms // 1000 // WINDOW_S)
        at_ms += length_ms
    keys = [0] * len(doing)
    for event in observed:
        if event.kind is Kind.PRESS:
            keys[min(len(keys) - 1, event.at_ms // 1000 // WINDOW_S)] += 1
    return Person(doing, keys, sealed(as_cut(observed, at_ms), seed), sealed(by_second(observed, at_ms), seed))


def _typed(rng: random.Random, pace: float, length_ms: int) -> list[Observed]:
    text = " ".join(rng.choice(_TEXT.split()) for _ in range(length_ms // 400))
    typed = type_out(text, rng.random().hex(), Profile(speed=pace))
    return [event for event in strokes(typed, {}, rng, 0) if event.at_ms < length_ms]


def _read(rng: random.Random, every_s: float, length_ms: int) -> list[Observed]:
    found, at = list[Observed](), 0.0
    while (at := at + rng.expovariate(1 / every_s) * 1000) < length_ms:
        if rng.random() < 0.6:
            found += [Observed(int(at) + n * 40, Kind.SCROLL, 400, 300, dy=-1) for n in range(rng.randrange(1, 7))]
        else:
            found += [Observed(int(at) + n * 8, Kind.MOVE, 400 + n, 300 + n) for n in range(rng.randrange(10, 120))]
    return [event for event in sorted(found, key=lambda event: event.at_ms) if event.at_ms < length_ms]


def as_cut(observed: Sequence[Observed], end_ms: int) -> Iterator[tuple[Cut, int]]:
    """As the agent does: thinned, cut at a second or 250 events, a sign of life each ten seconds."""
    thinner, batcher, place = Thinner(), Batcher(START_MS), 0
    for now in range(50, end_ms, 50):
        while place < len(observed) and observed[place].at_ms < now:
            for event in thinner.feed(observed[place]):
                yield from ((cut, now) for cut in batcher.add(event, START_MS + event.at_ms))
            place += 1
        for event in thinner.rest(now):
            yield from ((cut, now) for cut in batcher.add(event, START_MS + now))
        yield from ((cut, now) for cut in batcher.tick(START_MS + now))


def by_second(observed: Sequence[Observed], end_ms: int) -> Iterator[tuple[Cut, int]]:
    """A batch each second, whatever was done."""
    thinner, batcher, place = Thinner(), Batcher(START_MS), 0
    for now in range(1_000, end_ms, 1_000):
        kept = list[Observed]()
        while place < len(observed) and observed[place].at_ms < now:
            kept += thinner.feed(observed[place])
            place += 1
        for event in [*kept, *thinner.rest(now)]:
            assert not list(batcher.add(replace(event, at_ms=now), START_MS + now)), "a second held more than a batch"
        yield batcher.end(Boundary.NONE, START_MS + now), now


def sealed(cuts: Iterator[tuple[Cut, int]], seed: int) -> list[Seen]:
    """As the broker sees them."""
    rng = random.Random(seed)
    binding = Binding("ep-observed", rng.randbytes(16), 1, rng.randbytes(32), "raw-2026-11-24")
    sealer = Sealer(binding, X25519PrivateKey.generate().public_key(), Ed25519PrivateKey.generate(), rng.randbytes)
    return [
        Seen(at / 1000, len(sealer.seal(cut, Screen(1920, 1080), at)), len(cut.events), cut.boundary is Boundary.FOCUS)
        for cut, at in cuts
    ]


def padded(size: int) -> int:
    return next((one for one in SIZES if size <= one), size)


Features = Callable[[Sequence[Seen]], list[float]]


def by_size(records: Sequence[Seen]) -> list[float]:
    sizes = [record.size for record in records] or [0]
    return [len(records), math.log1p(sum(sizes)), math.log1p(max(sizes)), math.log1p(statistics.pstdev(sizes))]


def by_padded(records: Sequence[Seen]) -> list[float]:
    return by_size([Seen(r.at_s, padded(r.size), 0, False) for r in records])


def by_header(records: Sequence[Seen]) -> list[float]:
    return [*by_size(records), math.log1p(sum(r.count for r in records)), float(sum(r.boundary for r in records))]


VIEWS: dict[str, tuple[Features, bool]] = {
    "sizes": (by_size, False), "header": (by_header, False), "padded": (by_padded, False), "fixed": (by_padded, True),
}  # fmt: skip


def windows(person: Person, fixed: bool) -> list[list[Seen]]:
    found: list[list[Seen]] = [[] for _ in person.doing]
    for record in person.each_second if fixed else person.records:
        found[min(len(found) - 1, int(record.at_s - 0.5) // WINDOW_S)].append(record)
    return found


def guess(people: Sequence[Person], view: str) -> dict[str, float]:
    """Each person guessed from the others: share of windows told rightly, of each kind too, and keys."""
    features, fixed = VIEWS[view]
    known = [[features(records) for records in windows(person, fixed)] for person in people]
    right, of = dict.fromkeys(DOING, 0), dict.fromkeys(DOING, 0)
    wrong_keys = mean_keys = 0.0
    pairs = list[tuple[float, float]]()
    for out, person in enumerate(people):
        rest = [n for n in range(len(people)) if n != out]
        rows = [(x, d) for n in rest for x, d in zip(known[n], people[n].doing, strict=True)]
        model = {d: _normal([x for x, what in rows if what == d]) for d in DOING}
        line, mean = _line([(_volume(x, view), k) for n in rest for x, k in zip(known[n], people[n].keys, strict=True)])
        for x, what, keys in zip(known[out], person.doing, person.keys, strict=True):
            told = max(DOING, key=lambda d: _likely(x, model[d]))
            right[what] += told == what
            of[what] += 1
            wrong_keys += abs(max(0.0, line[0] + line[1] * _volume(x, view)) - keys)
            mean_keys += abs(mean - keys)
            pairs.append((_volume(x, view), keys))
    try:
        correlation = statistics.correlation(*zip(*pairs, strict=True))
    except statistics.StatisticsError:  # everything looks the same
        correlation = 0.0
    total = sum(of.values())
    return {
        "told": 100 * sum(right.values()) / total, "most": 100 * max(of.values()) / total, "correlation": correlation,
        "keys off": wrong_keys / total, "keys off by the mean alone": mean_keys / total,
    } | {what: 100 * right[what] / of[what] for what in DOING}  # fmt: skip


def _volume(x: Sequence[float], view: str) -> float:
    return math.expm1(x[4] if view == "header" else x[1])


def _normal(rows: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    return [(statistics.fmean(column), max(0.05, statistics.pstdev(column))) for column in zip(*rows, strict=True)]


def _likely(x: Sequence[float], model: Sequence[tuple[float, float]]) -> float:
    return sum(-(((value - mean) / width) ** 2) / 2 - math.log(width) for value, (mean, width) in zip(x, model, strict=True))


def _line(pairs: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], float]:
    mean = statistics.fmean(keys for _, keys in pairs)
    try:
        slope, start = statistics.linear_regression(*zip(*pairs, strict=True))
    except statistics.StatisticsError:
        return (mean, 0.0), mean
    return (start, slope), mean


def broker_us(sizes: Sequence[int]) -> list[float]:
    """Broker CPU of one record of each size, a request each, over mutual TLS, in microseconds."""
    with tempfile.TemporaryDirectory(prefix="byleave-observer-") as folder:
        home = Path(folder)
        pki.ensure_pki(home, ["ep-bench"])
        try:
            broker.start(home, broker.Ports(*broker.free_ports(2)))
            running = broker.status(home)
            assert running is not None
            connection = load_installation({"BYLEAVE_HOME": folder}).kafka("admin")
            admin = AdminClient(dict(connection))
            admin.create_topics([NewTopic("bench.observer", 1, 1)])["bench.observer"].result(timeout=30)
            producer, found = Producer(producer_options(connection, **{"linger.ms": 0})), []
            for size in (sizes[0], *sizes):  # the first warms it up
                before = cpu_s(running.pid)
                for _ in range(REQUESTS):
                    producer.produce("bench.observer", bytes(size), b"ep")
                    producer.flush(10)
                found.append((cpu_s(running.pid) - before) / REQUESTS * 1e6)
            return found[1:]
        finally:
            broker.stop(home)


def main(argv: list[str]) -> int:
    """0: these are no goals, they are what the threat model says."""
    parser = argparse.ArgumentParser("byleave bench observer", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(argv)
    people = [live(seed) for seed in range(asked.people)]
    told = {view: guess(people, view) for view in VIEWS}
    costs = cost_of(people)
    if asked.json:
        print(json.dumps({"machine": machine.describe(), "told": told, "costs": costs}))
        return 0
    table = Table(title=", ".join(f"{name} {value}" for name, value in machine.describe().items()), title_justify="left")
    for column in ("view", "told rightly", *DOING, "keys: correlation", "keys off"):
        table.add_column(column, justify="left" if column == "view" else "right")
    for view, found in told.items():
        shares = (f"{found[name]:.0f} %" for name in ("told", *DOING))
        table.add_row(view, *shares, f"{found['correlation']:.2f}", f"{found['keys off']:.1f}")
    Console().print(table)
    first = next(iter(told.values()))
    alone = first["keys off by the mean alone"]
    print(f"the commonest of the three: {first['most']:.0f} %; keys off by their mean alone: {alone:.1f}")
    for name, cost in costs.items():
        print(f"{name}: " + ", ".join(f"{value:,.2f} {unit}" for unit, value in cost.items()))
    return 0


def cost_of(people: Sequence[Person]) -> dict[str, dict[str, float]]:
    """Bytes and broker CPU, as it is and with a padded batch each second."""
    seconds = sum(len(person.doing) for person in people) * WINDOW_S
    today = [record.size for person in people for record in person.records]
    each = [record.size for person in people for record in person.each_second]
    fixed = [padded(size) for size in each]
    middle = int(statistics.fmean(today))
    us = dict(zip((middle, *SIZES), broker_us([middle, *SIZES]), strict=True))
    per_core = 1_000 * 100 / 1e6 / seconds
    return {
        "as it is": {
            "bytes/s an endpoint": sum(today) / seconds, "records/s": len(today) / seconds, "bytes a record": float(middle),
            "bytes the largest": float(max(today)), "% of a broker's core for 1,000": len(today) * us[middle] * per_core,
        },
        "fixed": {
            "bytes/s an endpoint": sum(fixed) / seconds, "records/s": len(fixed) / seconds,
            "% above the least size": 100 * sum(size > SIZES[0] for size in fixed) / len(fixed),
            "bytes the largest before padding": float(max(each)),
            "% of a broker's core for 1,000": sum(us[size] for size in fixed) * per_core,
        },
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
