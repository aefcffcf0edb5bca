"""The envelope: only the redactor opens it, only where it was sealed, and only whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from byleave.core import codec
from byleave.core.batches import (
    Boundary,
    Content,
    RawHeader,
    SanitizedBatch,
    SanitizedHeader,
    open_raw,
    open_sanitized,
    parse_raw,
    seal_raw,
    seal_sanitized,
    verify_raw,
    verify_sanitized,
)
from byleave.core.envelope import PLAIN_BYTES_MAX, Binding, Opener, _decompress, fresh_key
from byleave.core.errors import ByleaveError, Forged
from byleave.core.events import Event, KeyEvent, Kind, PointerEvent, Screen
from byleave.core.levels import Level

REDACTOR = X25519PrivateKey.from_private_bytes(b"\1" * 32)
SIGNER = Ed25519PrivateKey.from_private_bytes(b"\2" * 32)
MANIFEST = b"m" * 32
SECRET = "correct horse battery"


def random_bytes(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def header(**changes: object) -> RawHeader:
    base = RawHeader("ep-a", b"s" * 16, 4, 0, 100, 3, 0, 1_000, 1_500, MANIFEST, "r1", b"")
    return replace(base, **changes)  # type: ignore[arg-type]


def events() -> list[Event]:
    return [
        KeyEvent(100, 1_000, Kind.PASTE, SECRET),
        PointerEvent(101, 1_200, Kind.MOVE, 5, 6),
        KeyEvent(102, 1_500, Kind.PRESS, "enter"),
    ]


def sealed(batch: int = 0, **changes: object) -> bytes:
    head = header(batch=batch, **changes)
    key = fresh_key(head.binding, REDACTOR.public_key(), 0, random_bytes(7))
    return seal_raw(replace(head, wrap=key.wrap), events(), Screen(1280, 800), key, SIGNER)


def opener() -> Opener:
    return Opener({"r1": REDACTOR})


def test_the_redactor_reads_what_the_endpoint_wrote() -> None:
    batch = parse_raw(sealed())
    verify_raw(batch, SIGNER.public_key())
    assert open_raw(batch, opener()) == (tuple(events()), Screen(1280, 800))


def test_a_redactor_that_starts_in_mid_session_opens_what_it_finds() -> None:
    assert open_raw(parse_raw(sealed(batch=977)), opener())[0] == tuple(events())


def test_the_bytes_on_the_topic_hold_no_text() -> None:
    assert SECRET.encode() not in sealed()
    assert b"battery" not in sealed()


def test_another_redactors_key_does_not_open_it() -> None:
    with pytest.raises(Forged) as caught:
        open_raw(parse_raw(sealed()), Opener({"r1": X25519PrivateKey.generate()}))
    assert caught.value.reason == "moved-ciphertext"


def test_a_key_id_that_the_redactor_does_not_hold_is_named_as_such() -> None:
    with pytest.raises(Forged) as caught:
        open_raw(parse_raw(sealed(key_id="r9")), opener())
    assert caught.value.reason == "unknown-key"


@pytest.mark.parametrize(
    "change", [{"endpoint": "ep-b"}, {"session": b"t" * 16}, {"epoch": 5}, {"seq0": 101}, {"hi_max": 1_501}, {"batch": 1}]
)
def test_a_ciphertext_moved_under_another_header_does_not_open(change: dict[str, object]) -> None:
    batch = parse_raw(sealed())
    moved = replace(batch.header, **change)  # type: ignore[arg-type]
    forged = replace(batch, header=moved, header_bytes=codec.encode_body("raw_header", moved.record()))
    with pytest.raises(Forged) as caught:
        open_raw(forged, opener())
    assert caught.value.reason == "moved-ciphertext"


def test_the_groups_cannot_change_places() -> None:
    batch = parse_raw(sealed())
    with pytest.raises(Forged):
        open_raw(replace(batch, pointer=batch.text, text=batch.pointer), opener())


def test_every_flipped_bit_of_a_batch_is_refused() -> None:
    value = sealed()
    for bit in range(len(value) * 8):
        changed = bytearray(value)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Forged):
            batch = parse_raw(bytes(changed))
            verify_raw(batch, SIGNER.public_key())


def test_a_decompression_bomb_ends_at_its_bound() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(PLAIN_BYTES_MAX + 1))
    assert len(bomb) < 1_000
    with pytest.raises(Forged):
        _decompress(bomb, "text")


def test_a_header_with_backward_times_or_counts_is_refused() -> None:
    for change in ({"hi_max": 999}, {"seq0": -1}, {"count": 251}, {"gap": -2}):
        with pytest.raises(Forged):
            parse_raw(sealed(**change))


@given(st.binary(max_size=600))
def test_any_bytes_raise_only_our_error(junk: bytes) -> None:
    try:
        parse_raw(b"\0\0\0\0\1" + junk)
    except ByleaveError as error:
        assert isinstance(error, Forged)


def test_no_repr_shows_content_or_keys() -> None:
    batch = parse_raw(sealed())
    key = fresh_key(header().binding, REDACTOR.public_key(), 0, random_bytes(7))
    assert "bytes" not in repr(batch).replace("header_bytes", "")
    assert "AESGCM" not in repr(key)


def test_a_content_key_is_spent_after_a_minute_or_a_thousand_events() -> None:
    key = fresh_key(Binding("e", b"s" * 16, 1, MANIFEST, "r1"), REDACTOR.public_key(), 1_000, random_bytes(1))
    assert not key.spent(60_999)
    assert key.spent(61_000)
    key.events = 1_000
    assert key.spent(1_001)


def sanitized() -> SanitizedBatch:
    head = SanitizedHeader("ep-a", b"s" * 16, "subj", 4, Content.ACTIONS, Level.INTERNAL, "subj/2026-11-24/2", 0, 0, 100, 3,
                           1_000, 1_500, "raw.events.v1", 3, 41, 1_600, MANIFEST, "p" * 64, 2_000)  # fmt: skip
    return SanitizedBatch(head, codec.encode_body("sanitized_actions", {"rows": [], "targets": []}))


def test_a_sanitized_batch_opens_under_its_data_key_only() -> None:
    value = seal_sanitized(sanitized(), b"k" * 32, SIGNER, random_bytes(3))
    found = verify_sanitized(value, SIGNER.public_key())
    assert open_sanitized(found, b"k" * 32) == sanitized()
    with pytest.raises(Forged):
        open_sanitized(found, b"x" * 32)


def test_a_sanitized_batch_that_the_redactor_did_not_sign_is_refused() -> None:
    value = seal_sanitized(sanitized(), b"k" * 32, Ed25519PrivateKey.generate(), random_bytes(3))
    with pytest.raises(Forged) as caught:
        verify_sanitized(value, SIGNER.public_key())
    assert caught.value.reason == "bad-signature"


def test_level_4_is_never_written_and_never_read() -> None:
    head = replace(sanitized().header, level=Level.SECRET)
    value = seal_sanitized(SanitizedBatch(head, b""), b"k" * 32, SIGNER, random_bytes(3))
    with pytest.raises(Forged, match="level 4 is never written"):
        verify_sanitized(value, SIGNER.public_key())


def test_boundaries_travel_in_the_header() -> None:
    assert parse_raw(sealed(boundary=Boundary.END)).header.boundary is Boundary.END
