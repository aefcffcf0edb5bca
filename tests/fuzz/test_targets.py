"""The fuzzing targets hold on seeded bytes, also where atheris is not installed (`make fuzz` searches on)."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from targets import TARGETS

PIECES = (
    b"219-09-9999",
    b"password: ",
    b"\xff\xfe",
    b"\xe2\x80\x8b",
    b"a@b.co",
    b"-----BEGIN A-----",
    b"\n",
    b" ",
    b"\x00",
    b"DE89",
)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_target_holds_on_seeded_bytes(name: str) -> None:
    rng = random.Random(7)
    for _ in range(60):
        data = b"".join(rng.choice((rng.choice(PIECES), rng.randbytes(rng.randrange(6)))) for _ in range(rng.randrange(30)))
        TARGETS[name](data)
