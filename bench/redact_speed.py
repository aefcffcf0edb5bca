"""How fast the redactor decides, and what it holds: of the machine that it runs on, so these have goals and no floors.

Key events are presses and releases of simulated normal typing; the time is that of the CPU, on one core.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from byleave.core.events import Event, FocusEvent, KeyEvent, Kind, Window
from byleave.processors.preview import batch_of
from byleave.processors.redact import find_spans
from byleave.processors.session import EndpointState, Rules, feed

BATCH_EVENTS = 250
IDLE = 1_000
HOSTILE_CHARS = 30_000
START_MS = 1_790_000_000_000
_START = """
import json, time, tracemalloc
begin = time.process_time()
from byleave.processors.session import load_rules
imported = time.process_time()
{before}
load_rules()
print(json.dumps([imported - begin, time.process_time() - imported, {after}]))
"""
HOSTILE: dict[str, Callable[[int], str]] = {
    "one letter": lambda n: "a" * n,
    "digits": lambda n: "1" * n,
    "digits and dashes": lambda n: "1-" * (n // 2),
    "grouped digits": lambda n: "1234 " * (n // 5),
    "half addresses": lambda n: "a@" * (n // 2),
    "addresses": lambda n: "a@b.co " * (n // 7),
    "dots": lambda n: "a." * (n // 2),
    "quotes": lambda n: "'\"" * (n // 2),
    "assignments": lambda n: "password=" * (n // 9),
    "keys": lambda n: "key: " * (n // 5),
    "blanks": lambda n: " " * n,
    "lines": lambda n: "\n" * n,
    "capitals": lambda n: "Ann " * (n // 4),
    "letters": lambda n: "a b " * (n // 4),
    "hexadecimal": lambda n: "0123456789abcdef" * (n // 16),
    "addresses of the net": lambda n: "1.1.1.1." * (n // 8),
    "links": lambda n: "https://a.b/" * (n // 12),
    "headers": lambda n: "-----BEGIN " * (n // 11),
    "unknown characters": lambda n: "\ufffd\u200b" * (n // 2),
    "spelled out": lambda n: "one two nine at dot " * (n // 20),
    "commas": lambda n: "1,234," * (n // 6),
    "camels": lambda n: "aBcDeF" * (n // 6),
    "underscores": lambda n: "_a" * (n // 2),
    "brackets": lambda n: "<{[(" * (n // 4),
}


@dataclass(frozen=True, slots=True)
class Speed:
    """Per core: key events a second, a decision's CPU milliseconds, and the slowest hostile text in MB a second."""

    events_a_second: float
    decision_p50_ms: float
    decision_p99_ms: float
    decisions: int
    hostile_mb_a_second: float
    hostile_worst: str


def typing(texts: Sequence[str], rules: Rules, rounds: int = 3) -> tuple[float, list[float]]:
    """Key events a second in an agent's batches, best of `rounds`; CPU milliseconds of each key that decided something.

    `texts` are of work: of what is of level 4 a key costs nothing, and this is to tell what keys cost.
    """
    keystrokes, sessions = importlib.import_module("keystrokes"), importlib.import_module("typed_sessions")
    made = [sessions.typed(keystrokes.simulate(text, (), n, keystrokes.NORMAL)) for n, text in enumerate(texts)]
    keys = sum(isinstance(event, KeyEvent) for events in made for event in events)
    took, kept = [], 0
    for _ in range(rounds):
        spent = [_session(events, rules) for events in made]
        took.append(sum(seconds for seconds, _ in spent))
        kept = sum(count for _, count in spent)
    assert kept > keys / 2, "most keys did not go on: this is not the path that costs"
    return keys / min(took), [took for events in made for took in _decisions(events, rules)]


def stretches(records: Iterable[Mapping[str, Any]], chars: int = 1_000) -> list[str]:
    """The texts of `records`, several in a stretch as somebody types them one after the other."""
    found = [""]
    for record in records:
        found[-1] += f"{record['text']}\n"
        if len(found[-1]) >= chars:
            found.append("")
    return [text for text in found if text]


def _session(events: Sequence[Event], rules: Rules) -> tuple[float, int]:
    """CPU seconds of one session in batches as an endpoint cuts full ones, and how many events went on."""
    batches = [
        batch_of(events[n : n + BATCH_EVENTS], n, events[min(n + BATCH_EVENTS, len(events)) - 1].at_ms)
        for n in range(0, len(events), BATCH_EVENTS)
    ]
    state, begin = EndpointState(), time.process_time()
    for batch in batches:
        feed(state, batch, rules)
    return time.process_time() - begin, state.account.kept


def _decisions(events: Sequence[Event], rules: Rules) -> list[float]:
    """One event a batch; milliseconds of those after which something had left or was known to be of level 4."""
    state, took = EndpointState(), list[float]()
    for n, event in enumerate(events):
        secret, batch = state.account.level4, batch_of((event,), n, event.at_ms)
        begin = time.process_time()
        out = feed(state, batch, rules)
        spent = time.process_time() - begin
        if out or state.account.level4 > secret:
            took.append(1e3 * spent)
    return sorted(took)


def hostile(rules: Rules) -> tuple[float, str]:
    """The least MB a second over all hostile texts (best of two tries each), and which it was."""
    module, speeds = importlib.import_module("hostile"), {}
    texts = {name: make(HOSTILE_CHARS) for name, make in HOSTILE.items()}
    texts |= {repr(unit): module.hostile(unit, HOSTILE_CHARS) for unit in module.UNITS}
    for name, text in texts.items():
        tries = list[float]()
        for _ in range(2):
            begin = time.process_time()
            find_spans("", text, rules)
            tries.append(time.process_time() - begin)
        speeds[name] = len(text.encode()) / 1e6 / max(1e-6, min(tries))
    worst = min(speeds, key=speeds.__getitem__)
    return speeds[worst], worst


def speed(texts: Sequence[str], rules: Rules) -> Speed:
    """All of the above."""
    events_a_second, took = typing(texts, rules)
    mb, worst = hostile(rules)
    at = min(len(took) - 1, int(len(took) * 0.99))
    return Speed(events_a_second, took[len(took) // 2], took[at], len(took), mb, worst)


def idle_bytes(rules: Rules) -> float:
    """Bytes that an endpoint costs which typed a sentence in each of three windows and then nothing for a minute."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    states = [_idle(number, rules) for number in range(IDLE)]
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used / len(states)


def _idle(number: int, rules: Rules) -> EndpointState:
    state, at, events = EndpointState(), START_MS + number, list[Event]()
    for handle, app in enumerate(("code", "xterm", "slack")):
        events.append(FocusEvent(len(events), at, Window(handle, app, title=f"window {handle} of {number}", layout="us")))
        for char in f"please look at the points {number} again":
            at += 80
            key = "space" if char == " " else char
            events += [KeyEvent(len(events), at, Kind.PRESS, key), KeyEvent(len(events) + 1, at + 40, Kind.RELEASE, key)]
    feed(state, batch_of(events, 0, at), rules)
    feed(state, batch_of((), len(events), at + 60_000), rules)
    return state


def start() -> dict[str, Any]:
    """CPU seconds to import and to build the rules in a fresh process, and bytes that the rules hold."""
    timed = _child(_START.format(before="", after="0"))
    traced = _child(_START.format(before="tracemalloc.start()", after="tracemalloc.get_traced_memory()[0]"))
    return {"import_s": timed[0], "rules_s": timed[1], "rules_bytes": traced[2]}


def _child(program: str) -> list[float]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    return [float(value) for value in json.loads(done.stdout)]
