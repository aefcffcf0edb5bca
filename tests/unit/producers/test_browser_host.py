"""The native host takes its own extension's words, of any cut and no other bytes, and leaves doubt when it ends."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byleave.core.errors import Forged, Refused
from byleave.producers.browser_host import AGE_MS_MAX, FRAME_BYTES_MAX, Frames, Word, check_caller, relay
from byleave.producers.inquiries import Inquiries

WORD = st.tuples(st.integers(0, 2**53), st.integers(0, 2**53), st.text(max_size=60))


def frame(message: object) -> bytes:
    body = json.dumps(message).encode()
    return struct.pack("=I", len(body)) + body


def framed(word: Sequence[object]) -> bytes:
    return frame(dict(zip(("seq", "at", "site"), word, strict=True)))


@given(st.lists(WORD, max_size=5), st.lists(st.integers(0, 400), max_size=8))
def test_words_arrive_whole_however_the_stream_is_cut(words: list[Word], cuts: list[int]) -> None:
    stream, frames, found = b"".join(map(framed, words)), Frames(), []
    places = sorted({0, *(cut for cut in cuts if cut < len(stream)), len(stream)})
    for first, end in pairwise(places):
        found += frames.feed(stream[first:end])
    assert found == words


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_any_bytes_give_words_or_our_error_and_nothing_is_piled_up(stream: bytes, cuts: list[int]) -> None:
    frames, places = Frames(), sorted({0, *cuts, len(stream)})
    with suppress(Forged):
        for first, end in pairwise(places):
            for word in frames.feed(stream[first:end]):
                assert [type(part) for part in word] == [int, int, str]
    assert len(frames._rest) <= 4 + FRAME_BYTES_MAX


HOSTILE = (
    frame([]), frame({}), frame({"seq": 1, "at": 2}), frame({"seq": "1", "at": 2, "site": ""}), frame("x" * 5_000),
    frame({"seq": 1, "at": 2, "site": "a", "path": "/x"}), struct.pack("=I", 2**31), struct.pack("=I", 3) + b"{]}",
    struct.pack("=I", 2) + b"\xff\xfe",
)  # fmt: skip


@pytest.mark.parametrize("unverified", HOSTILE)
def test_what_the_extension_does_not_send_ends_it_and_leaves_doubt(unverified: bytes) -> None:
    chunks, told = [framed((1, 900, "crm.example")), unverified], []
    with pytest.raises(Forged):
        relay(lambda: chunks.pop(0) if chunks else b"", told.append, lambda: 5_000, lambda: 1_000)
    assert told == [[(1, 4_900, "crm.example")], [(3, 5_000, "")]]


def test_the_browsers_clock_becomes_this_machines_and_what_is_not_of_it_is_left_out() -> None:
    told: list[list[Word]] = []
    chunks = [framed((1, 1_400, "a")) + framed((2, 1_500, "b")), framed((3, 1_501, "c")) + framed((4, 1_499 - AGE_MS_MAX, "d"))]
    relay(lambda: chunks.pop(0) if chunks else b"", told.append, lambda: 70, lambda: 1_500)
    assert told == [[(1, -30, "a"), (2, 70, "b")], [(6, 70, "")]]


@pytest.mark.parametrize(
    "caller", [["chrome-extension://abc/"], ["/usr/lib/hosts/x.json", "abc"], ["chrome-extension://abc/", "--x"]]
)
def test_the_extension_that_is_named_may_call(caller: list[str]) -> None:
    check_caller("abc", caller)


@pytest.mark.parametrize("caller", [[], ["chrome-extension://abcd/"], ["abc/"], ["https://abc"]])
def test_nobody_else_may(caller: list[str]) -> None:
    with pytest.raises(Refused):
        check_caller("abc", caller)


def test_the_program_tells_the_running_agent_and_lives_without_one(tmp_path: Path) -> None:
    folder = tmp_path / "endpoints" / "ep-a"
    folder.mkdir(parents=True)
    heard: list[dict[str, object]] = []

    def run(caller: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "byleave.producers.browser_host", "--endpoint", "ep-a", "--extension", "abc", caller]
        environment = {**os.environ, "BYLEAVE_HOME": str(tmp_path)}
        return subprocess.run(command, input=framed((1, 0, "x")), env=environment, capture_output=True, timeout=60, check=False)

    assert run("chrome-extension://abc/").returncode == 0
    agent = Inquiries(folder, {"site": lambda question: heard.append(question) or {}})
    assert run("chrome-extension://abc/").stdout == b""
    refused = run("chrome-extension://evil/")
    agent.close()
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert [[(word[0], word[2]) for word in question["news"]] for question in heard] == [[(3, "")]]
