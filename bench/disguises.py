"""Made-up personal values in every disguise: how many get out. Seeded, so that the figure is the same everywhere.

A value is out if at least half of its letters and digits stand in the text that is left.
"""

from __future__ import annotations

import base64
import random
import string
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from byleave.processors.redact import find_spans
from byleave.processors.rules import Rules

FRAMES = ("{}", "see {} today", "the team said {} and we moved on")
_NAMES = ("Kowalski", "Nguyen", "Okafor", "Priya", "Wojciech", "Mbeki", "Garcia", "Smith", "Fatima", "Mark", "Rose", "Hope")
_STREETS, _KINDS = ("Baker", "Elm", "Wojska", "Kastanien", "Rosewood"), ("Street", "Ave", "Road", "Lane")
_HEX = "0123456789abcdef"
_LEET = str.maketrans("aeiostAEIOST", "431057431057")
_CYRILLIC = str.maketrans("aeopcxAEOPCX", "\u0430\u0435\u043e\u0440\u0441\u0445\u0410\u0415\u041e\u0420\u0421\u0425")
Draw = random.Random


def _digits(draw: Draw, count: int) -> str:
    return "".join(draw.choices(string.digits, k=count))


VALUES: dict[str, Callable[[Draw], str]] = {
    "name": lambda r: r.choice(_NAMES),
    "full name": lambda r: f"{r.choice(_NAMES)} {r.choice(_NAMES)}",
    "e-mail": lambda r: f"{r.choice(_NAMES).lower()}.{_digits(r, 2)}@example.com",
    "phone": lambda r: r.choice(("415-555-0{}", "+44 20 7946 0{}", "(212) 555-0{}", "06 12 34 5{}")).format(_digits(r, 3)),
    "social security": lambda r: f"{r.randint(100, 665)}-{r.randint(10, 99)}-{r.randint(1000, 9999)}",
    "account": lambda r: _digits(r, 10),
    "key": lambda r: (
        r.choice(("sk_live_", "ghp_", "AKIA", "")) + "".join(r.choices(string.ascii_letters + string.digits, k=28))
    ),
    "hexadecimal": lambda r: "".join(r.choices(_HEX, k=32)),
    "password": lambda r: r.choice(("Tr0ub4dor&3", "P@ssw0rd!", "qwerty123", "S3cret#9", "aB3$kd9!", "letmein99")),
    "uuid": lambda r: "-".join("".join(r.choices(_HEX, k=size)) for size in (8, 4, 4, 4, 12)),
    "iban": lambda _: "DE89 3704 0044 0532 0130 00",
    "card": lambda _: "4111 1111 1111 1111",
    "birth": lambda r: f"{r.randint(1, 28):02}/{r.randint(1, 12):02}/{r.randint(1950, 2004)}",
    "address": lambda r: f"{r.randint(2, 99)} {r.choice(_STREETS)} {r.choice(_KINDS)}",
    "network": lambda r: f"{r.randint(60, 190)}.{r.randint(10, 99)}.{r.randint(1, 254)}.{r.randint(1, 254)}",
}
_AROUND = r"""
"{}" | '{}' | `{}` | [{}] | <{}> | **{}** | {"v":"{}"} | <v>{}</v> | f({}) | f("{}", 1) | x = "{}" | X={} | #{} | +{} | @{}
https://example.com/u/{}/edit | https://example.com/?q={} | C:\data\{}\notes | /srv/data/{}/notes.txt | {}.txt | --user={}
get_{}_now | get{}Now | 1,{},2 | a;{};b | commit {} | v{} | order #{} | port {} | sha256:{} | line {} of the file | INFO {} done
WHERE id = '{}' | import {} | class {}: | def {}(): | @{}() | List<{}>
"""


def _joined(sep: str) -> Callable[[str], str]:
    return sep.join


def _cut(by: str) -> Callable[[str], str]:
    return lambda value: value[: len(value) // 2] + by + value[len(value) // 2 :]


def _inside(around: str) -> Callable[[str], str]:
    return lambda value: around.replace("{}", value)


SHAPES: dict[str, Callable[[str], str]] = {
    "plain": str,
    "lower": str.lower,
    "upper": str.upper,
    "leet": lambda s: s.translate(_LEET),
    "other alphabet": lambda s: s.translate(_CYRILLIC),
    "right to left": lambda s: f"\u202e{s[::-1]}\u202c",
    "backwards": lambda s: s[::-1],
    "wide": lambda s: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in s),
    "per cent": lambda s: "".join(f"%{byte:02x}" for byte in s.encode()),
    "escapes": lambda s: "".join(f"\\x{byte:02x}" for byte in s.encode()),
    "entities": lambda s: "".join(f"&#{ord(c)};" for c in s),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    **{f"joined by {sep!r}": _joined(sep) for sep in (" ", ".", "-", "_", "\u200b")},
    **{f"cut by {by!r}": _cut(by) for by in (" ", "\n", "\t")},
    **{around: _inside(around) for line in _AROUND.strip().splitlines() for around in line.split(" | ")},
}


@dataclass(slots=True)
class Disguised:
    """How many were tried and how many got out, by kind of value and by disguise."""

    tried: int = 0
    out: int = 0
    values: Counter[str] = field(default_factory=Counter)
    shapes: Counter[str] = field(default_factory=Counter)

    @property
    def share(self) -> float:
        """What gets out of what was tried."""
        return self.out / max(1, self.tried)


def disguised(rules: Rules, seed: int = 1) -> Disguised:
    """Every kind of value in every disguise and frame, once."""
    found = Disguised()
    for kind, shape, text, mind in _texts(random.Random(seed)):
        gone = {place for span in find_spans("", text, rules) for place in range(span.start, span.end)}
        out = sum(place not in gone for place in mind) * 2 >= len(mind)
        found.tried += 1
        found.out += out
        if out:
            found.values[kind] += 1
            found.shapes[shape] += 1
    return found


def _texts(draw: Draw) -> Iterator[tuple[str, str, str, list[int]]]:
    """Each with the places of the letters and digits that are the value's."""
    for kind, make in VALUES.items():
        for name, shape in SHAPES.items():
            for frame in FRAMES:
                value = make(draw)
                shown = shape(value)
                text, start = frame.format(shown), frame.index("{}")
                first = shown.find(value)
                places = range(start + first, start + first + len(value)) if first >= 0 else range(start, start + len(shown))
                yield kind, name, text, [place for place in places if text[place].isalnum()]
