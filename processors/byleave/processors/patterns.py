"""Shapes and cues of personal data: they find it and, above all, say what it is (the gate alone only says "unknown").

Promises  every repetition in `patterns.toml` is bounded, so that time is linear in the text; a value whose kind has a checksum
          counts as that kind only if it holds. Where nothing in a text can start a pattern, the pattern is not tried.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

from byleave.core.errors import Misconfigured
from byleave.processors.lexicon import load_words


@dataclass(frozen=True, slots=True)
class Pattern:
    """One row of the file. `whole`: the whole match goes, not only its group "v"."""

    label: str
    expression: re.Pattern[str]
    needs: str
    check: Callable[[str], bool] | None
    whole: bool


@dataclass(frozen=True, slots=True)
class Patterns:
    """All patterns; `digest` names them."""

    rows: tuple[Pattern, ...]
    features: Mapping[str, re.Pattern[str]]
    digest: str

    def find(self, text: str) -> Iterator[tuple[int, int, str]]:
        """(start, end, label) of what the patterns take from `text`; they may overlap."""
        has = {name for name, feature in self.features.items() if feature.search(text)}
        for row in self.rows:
            if row.needs not in has:
                continue
            for match in row.expression.finditer(text):
                start, end = match.span() if row.whole else match.span("v")
                if end > start and (row.check is None or row.check(text[start:end])):
                    yield start, end, row.label


def load_patterns() -> Patterns:
    """The shipped patterns, compiled. Raises Misconfigured, naming the row that is wrong."""
    text = resources.files(__package__).joinpath("languages", "en", "patterns.toml").read_text(encoding="utf-8")
    raw = tomllib.loads(text)
    rows = tuple(_pattern(row, raw["parts"]) for row in raw["pattern"])
    lists = " ".join(sorted(load_words("remarks") | load_words("commands")))
    features = {name: re.compile(feature) for name, feature in raw["features"].items()}
    return Patterns(rows, features, hashlib.sha256(f"{text}\n{lists}".encode()).hexdigest())


def _pattern(row: Mapping[str, str], parts: Mapping[str, str]) -> Pattern:
    expression = row["expression"]
    for name, part in parts.items():
        expression = expression.replace("{" + name + "}", part)
    check = row.get("check")
    if check is not None and check not in _CHECKS:
        raise Misconfigured(f"patterns.toml: a row of {row['label']} asks for the check {check!r}, which does not exist")
    try:
        compiled = re.compile(expression)
    except re.error as error:
        raise Misconfigured(f"patterns.toml: a row of {row['label']} is no expression: {error}") from None
    return Pattern(row["label"], compiled, row["needs"], _CHECKS[check] if check else None, "v" not in compiled.groupindex)


def luhn(text: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812-1)."""
    digits = [int(char) for char in text if char.isdigit()]
    total = sum(digit if place % 2 == 0 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(reversed(digits)))
    return 12 <= len(digits) <= 19 and total % 10 == 0


def iban(text: str) -> bool:
    """The check digits of an IBAN: the number modulo 97 is 1 (ISO 13616)."""
    plain = re.sub(r"[ -]", "", text).upper()
    if not 15 <= len(plain) <= 34 or not plain.isalnum() or not plain.isascii():
        return False
    return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1


def ipv4(text: str) -> bool:
    """A network address that could be somebody's: not the loopback, not a mask."""
    harmless = text.startswith(("127.", "0.", "255.")) or text.endswith(".0.0")
    return all(int(part) < 256 for part in text.split(".")) and not harmless


def ssn(text: str) -> bool:
    """Numbers that were never given out are none (SSA, "Invalid SSNs")."""
    digits = re.sub(r"\D", "", text)
    return digits[:3] not in ("000", "666") and digits[3:5] != "00" and digits[5:] != "0000"


def amount(value: str) -> bool:
    """Whether a number beside a word of pay is an amount: three digits, or a unit."""
    return sum(char.isdigit() for char in value) >= 3 or any(char in "kKmM%$£€" for char in value)


def secret(value: str) -> bool:
    """Whether what follows a password cue is a value, and not a remark about passwords or a line of code."""
    words = value.strip().split()
    first = words[0].strip("\"'.,:;!?)").lower() if words else ""
    if first == "" or first.startswith(("getpass", "os.", "self.", "settings.", "config.")):
        return False
    remarks = load_words("remarks")
    # "is correct" is a remark, "is correct horse battery" is a pass-phrase: a remark goes on with the glue of English.
    phrase = len(words) > 2 and (remarks | load_words("grammar")).isdisjoint(words[1:])
    return first not in remarks or phrase


def prompted(line: str) -> bool:
    """Whether a line after a command that asks for a password may be one: it is not the next command."""
    words = line.split()
    return bool(words) and words[0].lower() not in load_words("commands")


def credentials(value: str) -> bool:
    """Whether the value of a -u or -p option is more than a plain word, a port or a pair of ports."""
    return not value.isalpha() and not value.replace(":", "").isdigit()


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    check.__name__: check for check in (luhn, iban, ipv4, ssn, amount, secret, prompted, credentials)
}
