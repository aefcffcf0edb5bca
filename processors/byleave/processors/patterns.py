"""Shapes of personal data."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patterns:
    email: re.Pattern[str]
    digest: str


def load_patterns() -> Patterns:
    email = re.compile(r"[A-Za-z0-9._%+\-]+@[A-Za-z0-9.\-]+\.[A-Za-z]{2,24}")
    return Patterns(email, email.pattern)
