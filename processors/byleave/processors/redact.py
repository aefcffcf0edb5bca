"""Text to the spans that must go."""

from __future__ import annotations

import re
from dataclasses import dataclass

from byleave.processors.rules import Rules


@dataclass(frozen=True, slots=True)
class Span:
    start: int
    end: int
    label: str


_TOKEN = re.compile(r"\S+")


def find_spans(context: str, text: str, rules: Rules, *, open_left: bool = False, open_right: bool = False) -> list[Span]:
    whole, base = context + text, len(context)
    out = []
    for match in _TOKEN.finditer(whole):
        word = match.group().strip(".,;:!?()\"'").lower()
        if match.end() <= base or word in rules.vocabulary.words or not word:
            continue
        label = "EMAIL" if rules.patterns.email.search(match.group()) else "NUMBER" if word[0].isdigit() else "WORD"
        out.append(Span(max(match.start() - base, 0), match.end() - base, label))
    return out


def safe_cut(text: str, spans: list[Span], limit: int) -> int:
    """The longest prefix within `limit` that ends behind a blank and has no span beside its end; 0 if there is none."""
    for cut in range(min(limit, len(text)), 0, -1):
        if text[cut - 1].isspace() and not any(span.start <= cut <= span.end + 1 for span in spans):
            return cut
    return 0
