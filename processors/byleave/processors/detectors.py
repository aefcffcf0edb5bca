"""What finds personal data in a text besides the vocabulary gate, behind one interface.

Promises  where detectors and gate overlap, the more sensitive label wins (redact.py): one more detector only ever takes more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from byleave.core.errors import Misconfigured
from byleave.processors.patterns import load_patterns


class Detector(Protocol):
    """Finds personal data in text. `digest` changes with whatever could change an answer."""

    @property
    def digest(self) -> str: ...

    def find(self, text: str) -> Iterable[tuple[int, int, str]]:
        """(start, end, label of labels.toml) of what must go from `text`, in any order; they may overlap. Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Detectors:
    """Several detectors as one."""

    members: tuple[Detector, ...]

    @property
    def digest(self) -> str:
        """SHA-256 hex over the members' digests."""
        return hashlib.sha256("\0".join(member.digest for member in self.members).encode()).hexdigest()

    def find(self, text: str) -> Iterator[tuple[int, int, str]]:
        """What any of them finds."""
        for member in self.members:
            yield from member.find(text)


def load_detectors(names: Collection[str] = ()) -> Detectors:
    """The patterns of English and the detectors of these names; "presidio" is the only one. Raises Misconfigured."""
    if strange := sorted(set(names) - {"presidio"}):
        raise Misconfigured(f"there is no detector {strange[0]!r}; known is 'presidio'")
    if not names:
        return Detectors((load_patterns(),))
    from byleave.processors.presidio import load_presidio

    return Detectors((load_patterns(), load_presidio()))
