"""The codec reads exactly what was written, and hostile bytes raise only Forged."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byleave.core import codec
from byleave.core.errors import Broken, ByleaveError, Forged

REFUSAL: dict[str, Any] = {
    "reason": "halted", "stage": "REDACTOR", "topic": "raw.events.v1", "partition": 3, "offset": 41, "append_ms": 5,
    "endpoint": "ep-a", "seq0": -1, "count": 0,
}  # fmt: skip


def test_what_is_written_is_read() -> None:
    assert codec.decode("refusal", codec.encode("refusal", REFUSAL)) == REFUSAL


def test_the_frame_is_confluents() -> None:
    magic, schema_id = struct.unpack_from(">bI", codec.encode("refusal", REFUSAL))
    assert (magic, schema_id) == (0, codec.load_schemas()["refusal"].id)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "tombstone"),
        (b"", "truncated"),
        (b"\0\0\0", "truncated"),
        (b"\1" + codec.encode("refusal", REFUSAL)[1:], "unknown-magic"),
        (b"\0\0\0\0\x63" + codec.encode("refusal", REFUSAL)[5:], "unknown-schema"),
        (codec.encode("refusal", REFUSAL)[:-3], "malformed"),
        (codec.encode("refusal", REFUSAL) + b"\0", "trailing-bytes"),
        (b"\0\0\0\0" + bytes([codec.load_schemas()["refusal"].id]) + bytes(codec.RECORD_BYTES_MAX + 1), "oversized"),
    ],
)
def test_each_kind_of_bad_bytes_is_refused_by_its_reason(value: bytes | None, reason: str) -> None:
    with pytest.raises(Forged) as caught:
        codec.decode("refusal", value)
    assert caught.value.reason == reason


def test_an_array_that_claims_billions_is_refused() -> None:
    claim = struct.pack(">bI", 0, codec.load_schemas()["text_columns"].id) + b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"
    with pytest.raises(Forged):
        codec.decode("text_columns", claim)


@given(st.sampled_from(sorted(codec.load_schemas())), st.binary(max_size=400))
def test_any_bytes_raise_only_our_error(name: str, junk: bytes) -> None:
    try:
        codec.decode_body(name, junk)
    except ByleaveError as error:
        assert isinstance(error, Forged)


@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=8))
def test_changed_bytes_are_read_as_another_valid_record_or_refused(place: int, noise: bytes) -> None:
    value = bytearray(codec.encode("refusal", REFUSAL))
    for n, byte in enumerate(noise):
        value[(place + n) % len(value)] ^= byte
    try:
        codec.decode("refusal", bytes(value))
    except ByleaveError as error:
        assert isinstance(error, Forged)


def test_no_error_quotes_the_record() -> None:
    with pytest.raises(Broken) as caught:
        codec.encode("refusal", {**REFUSAL, "count": "my secret"})
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
