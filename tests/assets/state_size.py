"""How much memory a state of the redactor takes: all that it refers to, without types."""

from __future__ import annotations

import sys
from typing import Any


def deep_bytes(value: Any, seen: set[int] | None = None) -> int:
    """Bytes of `value` and of all that its containers and dataclasses hold, each object once."""
    seen = set() if seen is None else seen
    if id(value) in seen or isinstance(value, type):
        return 0
    seen.add(id(value))
    parts: list[Any] = []
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = [*value]
    elif hasattr(type(value), "__dataclass_fields__"):
        parts = [getattr(value, name) for name in type(value).__dataclass_fields__]
    return sys.getsizeof(value) + sum(deep_bytes(part, seen) for part in parts)
