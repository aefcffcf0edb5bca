"""Signatures over exact bytes: types separate purposes, parts cannot change sides, and keys are counted, not names."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from byleave.core import dsse
from byleave.core.errors import Forged

KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(1, 4)]
PUBLIC = [key.public_key() for key in KEYS]


def test_the_pre_authentication_encoding_is_that_of_the_specification() -> None:
    """The example of protocol.md."""
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_a_type_of_letters_beyond_ascii_counts_in_bytes() -> None:
    assert dsse.pae("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


@given(st.lists(st.binary(max_size=20), min_size=2, max_size=4), st.lists(st.binary(max_size=20), min_size=2, max_size=4))
def test_no_byte_can_change_from_one_part_to_another(one: list[bytes], two: list[bytes]) -> None:
    assert (dsse.pae("t", *one) == dsse.pae("t", *two)) == (one == two)


@given(st.binary(max_size=60), st.integers(0, 64 * 8 - 1))
def test_a_flipped_bit_in_a_signature_is_refused(body: bytes, bit: int) -> None:
    signature = bytearray(dsse.sign(KEYS[0], "t", body))
    dsse.verify([PUBLIC[0]], bytes(signature), "t", body)
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Forged):
        dsse.verify([PUBLIC[0]], bytes(signature), "t", body)


def test_a_signature_for_another_type_or_key_or_of_another_length_is_refused() -> None:
    signature = dsse.sign(KEYS[0], "t", b"body")
    for key, sig, kind in (
        (PUBLIC[0], signature, "u"),
        (PUBLIC[1], signature, "t"),
        (PUBLIC[0], b"", "t"),
        (PUBLIC[0], b"x", "t"),
    ):
        with pytest.raises(Forged) as caught:
            dsse.verify([key], sig, kind, b"body")
        assert caught.value.reason == "bad-signature"


def test_an_envelope_reads_back_as_written() -> None:
    envelope = dsse.seal_envelope("t", b"\x00body", KEYS)
    assert dsse.load_envelope(envelope.dump()) == envelope


def test_signers_are_distinct_keys_whatever_the_names_say() -> None:
    envelope = dsse.seal_envelope("t", b"body", [KEYS[0], KEYS[0]])
    renamed = replace(envelope, signatures=tuple((f"name-{n}", sig) for n, (_, sig) in enumerate(envelope.signatures)))
    for found in (envelope, renamed):
        assert dsse.signers(found, "t", PUBLIC) == {PUBLIC[0].public_bytes_raw()}
    assert dsse.signers(envelope, "t", PUBLIC[1:]) == frozenset()
    with pytest.raises(Forged) as caught:
        dsse.signers(envelope, "u", PUBLIC)
    assert caught.value.reason == "wrong-type"


@pytest.mark.parametrize(
    ("unverified", "reason"),
    [
        (None, "tombstone"),
        (b"x" * (dsse.ENVELOPE_BYTES_MAX + 1), "oversized"),
        (b"", "malformed"),
        (b"[1]", "malformed"),
        (b"\xff", "malformed"),
        (b'{"payloadType":"t","payload":"!","signatures":[]}', "malformed"),
        (b'{"payloadType":"t","payload":"","payload":"","signatures":[]}', "malformed"),
        (b'{"payloadType":"t","payload":"","signatures":[],"more":1}', "malformed"),
        (b'{"payloadType":"t","payload":"","signatures":"abc"}', "malformed"),
        (b'{"payloadType":"t","payload":"","signatures":[' + b",".join([b'{"keyid":"","sig":""}'] * 17) + b"]}", "malformed"),
        (b"[" * 60_000, "malformed"),
    ],
)
def test_bytes_that_are_no_envelope_raise_only_our_error(unverified: bytes | None, reason: str) -> None:
    with pytest.raises(Forged) as caught:
        dsse.load_envelope(unverified)
    assert caught.value.reason == reason


@given(st.binary(max_size=200))
def test_no_bytes_whatever_raise_another_error(unverified: bytes) -> None:
    with pytest.raises(Forged):
        dsse.load_envelope(unverified)
