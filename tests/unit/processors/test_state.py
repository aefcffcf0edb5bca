"""What the redactor remembers: whole, sealed, and tied to its place."""

from __future__ import annotations

import secrets

import pytest
from redactor_site import Endpoint, Site, admitted, received, work

from byleave.core.errors import Broken
from byleave.processors import snapshot
from byleave.processors.session import EndpointState, feed, load_rules
from byleave.processors.state import StateSeal, Stream, dump, load

BASE_MS = 1_760_000_000_000
KEY = bytes(range(32))


@pytest.fixture(scope="module")
def rules():
    return load_rules()


@pytest.fixture
def stream(rules) -> Stream:
    site = Site("t.", BASE_MS)
    endpoint, stream = Endpoint(site, "ep-a", b"s" * 16), Stream(EndpointState())
    for offset, (events, boundary) in enumerate(work(3, BASE_MS + 1000, 4)):
        if boundary == "NONE":
            batch = admitted(site, received("ep-a", endpoint.seal(events), offset, BASE_MS + 9000))
            feed(stream.state, batch, rules)
            stream.offset, stream.append_ms = offset, batch.origin.append_ms
            stream.remember(batch)
    return stream


def test_a_record_brings_everything_back(stream: Stream) -> None:
    again = load(dump(stream))
    assert (again.offset, again.append_ms, again.last) == (stream.offset, stream.append_ms, stream.last)
    assert again.last is not None
    assert again.last.header.wrap == b""
    assert snapshot.dump(again.state) == snapshot.dump(stream.state)
    assert dump(again) == dump(stream)


def test_a_stream_that_never_admitted_anything_comes_back_too() -> None:
    again = load(dump(Stream(EndpointState(), 7, 8)))
    assert (again.offset, again.append_ms, again.last, again.open) == (7, 8, None, False)


def test_the_sealed_record_shows_nothing_and_opens_where_it_was_sealed_only(stream: Stream) -> None:
    seal = StateSeal(KEY, "t.", secrets.token_bytes)
    sealed = seal.seal("ep-a", 3, stream)
    assert b"ep-a" not in sealed
    assert seal.open("ep-a", 3, sealed).offset == stream.offset
    for endpoint, partition, other in (
        ("ep-b", 3, seal),
        ("ep-a", 4, seal),
        ("ep-a", 3, StateSeal(KEY, "u.", secrets.token_bytes)),
    ):
        with pytest.raises(Broken):
            other.open(endpoint, partition, sealed)
    with pytest.raises(Broken):
        StateSeal(bytes(32), "t.", secrets.token_bytes).open("ep-a", 3, sealed)


def test_a_changed_cut_or_foreign_record_is_broken_and_its_error_shows_no_byte_of_it(stream: Stream) -> None:
    seal = StateSeal(KEY, "t.", secrets.token_bytes)
    sealed = seal.seal("ep-a", 0, stream)
    for bad in (b"", sealed[:11], sealed[:-1], sealed + b"x", bytes([sealed[0] ^ 1]) + sealed[1:]):
        with pytest.raises(Broken) as caught:
            seal.open("ep-a", 0, bad)
        assert caught.value.__cause__ is None
    plain = dump(stream)
    for bad in (b"", plain[:20], plain[:-1], plain + b"x", b"\x09" + plain[1:]):
        with pytest.raises(Broken):
            load(bad)


def test_the_same_state_never_gives_the_same_bytes_twice(stream: Stream) -> None:
    seal = StateSeal(KEY, "t.", secrets.token_bytes)
    assert seal.seal("ep-a", 0, stream) != seal.seal("ep-a", 0, stream)


def test_no_repr_holds_what_was_typed(stream: Stream) -> None:
    assert "state" not in repr(stream).split("last")[0]
