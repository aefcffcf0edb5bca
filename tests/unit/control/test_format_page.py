"""The example in docs/formats/control.md is a real document, byte for byte."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import trust
from byleave.control.documents import Halt, digest, dump
from byleave.core.keys import verify_key

PAGE = Path(__file__).resolve().parents[3] / "docs" / "formats" / "control.md"


@pytest.fixture
def examples() -> list[str]:
    return re.findall(r"```json\n(.+?)\n```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_example_verifies_and_says_what_the_page_says(examples: list[str]) -> None:
    envelope, body = (text.encode() for text in examples)
    seed = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    halt, named = trust.verify_by(seed.public_key(), Halt, envelope, site="byleave.")
    assert dump(halt) == body
    assert named == digest(body)
    assert f"`{named}`" in PAGE.read_text(encoding="utf-8")
    assert trust.sign(halt, [seed]) == envelope
    assert verify_key(envelope.decode().split('"keyid": "')[1][:64])


def test_every_reason_that_the_fence_can_give_is_in_the_table() -> None:
    source = (PAGE.parents[2] / "control" / "byleave" / "control" / "admission.py").read_text(encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    reasons = set(re.findall(r'(?:Refuses|_unless_late)\("([a-z-]+)"', source))
    assert len(reasons) > 8
    assert [reason for reason in sorted(reasons) if f"`{reason}`" not in page] == []
