"""The canary: types made-up tax, medical, bank and password text, some of it where capture is agreed and some where it is not.

Everything secret that it types is on the list `planted()`, so that a sweep can search for it; nothing of it is anybody's.
Part of it arrives as pastes: whole strings in one event, which a sweep would find at once if a layer kept them in the clear.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from byleave.core.events import Kind, Modifiers, Screen, Window
from byleave.producers.hooks.replay import Timeline
from byleave.producers.hooks.source import Observed

SCREEN = Screen(1920, 1080)
APPLICATIONS = ("editor", "terminal", "taxfiler", "clinic-portal")
"""Windows that the canary types into. The last two belong in no manifest: whatever is typed there must not even be captured."""
KEY_MS, DOWN_MS, REST_MS = 45, 30, 250
"""From key to key, how long each is down, and how long the hands rest around a focus change, where nothing is taken."""
_NAMED = {"\n": "enter", " ": "space"}
_SCRIPT = (
    ("editor", "Please file the return of {name}, SSN {ssn}, by Friday.\n", ("name", "ssn")),
    ("terminal", "mysql -u report -p\n{password}\n", ("password",)),
    ("taxfiler", "Refund account {iban}, tax number {tax}\n", ("iban", "tax")),
    (
        "editor",
        "The lab result for {patient} came back, record {record}, dx {diagnosis}.\n",
        ("patient", "record", "diagnosis"),
    ),
    ("clinic-portal", "Patient {patient2}: {diagnosis2} confirmed, start {drug}\n", ("patient2", "diagnosis2", "drug")),
    ("editor", "Charge it to card {card} and mail {email}\n", ("card", "email")),
    ("terminal", "export API_TOKEN={token}\n", ("token",)),
)
_SYLLABLES = ("bor", "vel", "qua", "dri", "mok", "zan", "tul", "rex", "pin", "gos")


def canary(seed: int = 0, speed: float = 1.0, rounds: int = 1) -> Timeline:
    """The canary's typing, `rounds` times with fresh values each."""
    return Timeline(_events(seed, rounds), SCREEN, speed)


def planted(seed: int = 0, rounds: int = 1) -> list[str]:
    """Every secret that `canary(seed, rounds=rounds)` types."""
    return [value for n in range(rounds) for value in _values(seed, n).values()]


def _events(seed: int, rounds: int) -> list[Observed]:
    windows = {name: Window(n + 1, name, layout="us") for n, name in enumerate(APPLICATIONS)}
    found: list[Observed] = []
    clock = 0
    for n in range(rounds):
        values = _values(seed, n)
        for place, (app, template, names) in enumerate(_SCRIPT):
            found.append(Observed(clock, Kind.FOCUS, window=windows[app]))
            pasted = values[names[-1]] if place % 2 == 0 else ""
            found += _typed(template.format(**values), pasted, clock + REST_MS)
            clock = found[-1].at_ms + REST_MS
    return found


def _typed(text: str, pasted: str, at_ms: int) -> Iterator[Observed]:
    """The keys of `text`, the part `pasted` as one paste."""
    before, _, after = text.partition(pasted) if pasted else (text, "", "")
    for char in (*before, pasted, *after):
        at_ms += KEY_MS
        if len(char) > 1:
            yield Observed(at_ms, Kind.PASTE, key=char)
        elif char:
            held = Modifiers.SHIFT if char.isupper() or char in '!:"_' else Modifiers.NONE
            for kind, when in ((Kind.PRESS, at_ms), (Kind.RELEASE, at_ms + DOWN_MS)):
                yield Observed(when, kind, key=_NAMED.get(char, char), modifiers=held)


def _values(seed: int, n: int) -> dict[str, str]:
    rng = random.Random(f"canary-values-1:{seed}:{n}")  # noqa: S311 - made-up values, the same for a seed

    def digits(count: int) -> str:
        return "".join(rng.choices("0123456789", k=count))

    def word(count: int = 3) -> str:
        return "".join(rng.choices(_SYLLABLES, k=count))

    made: dict[str, Callable[[], str]] = {
        "name": lambda: f"{word().capitalize()} {word().capitalize()}",
        "ssn": lambda: f"{rng.randint(101, 665)}-{rng.randint(11, 98)}-{rng.randint(1001, 9998)}",
        "password": lambda: word() + digits(3) + "!" + word().upper(),
        "iban": lambda: _iban("DE", digits(18)),
        "tax": lambda: f"{digits(2)}-{digits(7)}",
        "patient": lambda: f"{word().capitalize()} {word().capitalize()}",
        "record": lambda: f"MRN{digits(8)}",
        "diagnosis": lambda: f"{word(4)}itis",
        "patient2": lambda: f"{word().capitalize()} {word().capitalize()}",
        "diagnosis2": lambda: f"{word(4)}osis",
        "drug": lambda: f"{word(3)}amide {rng.randint(2, 9)}50mg",
        "card": lambda: _luhn("4" + digits(14)),
        "email": lambda: f"{word()}.{word()}@example.com",
        "token": lambda: "ghp_" + "".join(rng.choices("abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=36)),
    }
    return {name: make() for name, make in made.items()}


def _luhn(partial: str) -> str:
    total = sum(sum(divmod(int(d) * (2 if n % 2 == 0 else 1), 10)) for n, d in enumerate(reversed(partial)))
    return partial + str(-total % 10)


def _iban(country: str, account: str) -> str:
    number = "".join(str(int(char, 36)) for char in account + country + "00")
    return f"{country}{98 - int(number) % 97:02d}{account}"
