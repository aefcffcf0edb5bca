"""Sensitivity levels (promise P5): the highest of all that speaks for one wins, and doubt is 4."""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """What a record may hold, and so where it may go."""

    SHAPE = 1
    """Public shape: pointer paths, key classes, application category; no text."""
    INTERNAL = 2
    """Work text after redaction."""
    PEOPLE = 3
    """Private conversation, people and performance data: only to the review queue."""
    SECRET = 4
    """Secrets, health, tax, government and bank numbers, and whatever is undecided: counted, written nowhere."""
