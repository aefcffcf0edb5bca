"""Edge: the native messaging host, a program that a browser starts for its managed extension; it ends with it.

    byleave run browser-host --endpoint ep-a --extension ID    (the browser adds who calls)

In, on standard input: frames of the browser, four bytes of length in the machine's order and JSON of at most FRAME_BYTES_MAX,
`{"seq", "at", "site"}`: the host name of the page that has the keyboard, or "", and when that was so. Out: the same, with the
time as the boot clock has it, to the running agent of this account (`inquiries`). Nothing is kept, logged or answered.

Refuses   a caller that is not the extension which the command line names, and any other bytes: it ends, and the agent is in
          doubt from the last word on. What an agent that does not run was not told is a lost word to the next.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from byleave.core.clock import boot_ms, wall_ms
from byleave.core.errors import ByleaveError, Forged, Refused, Transient
from byleave.core.settings import load_installation
from byleave.producers.inquiries import ask

FRAME_BYTES_MAX = 4_096
"""Also the most that is read at once: the words of one question."""
AGE_MS_MAX = 200
"""The hold around a change of focus. A word that took longer says that the browser stood still, and one of the future was said
on another clock: it is left out, which the agent takes for a lost one."""
ASK_S = 2.0
_LENGTH = struct.Struct("=I")

Word = tuple[int, int, str]
"""Its number, when that was so, and the site."""
Clock = Callable[[], int]


class Frames:
    """Cuts standard input into words. Holds at most one incomplete frame."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[Word]:
        """Raises Forged on what our extension does not send; nothing of it is quoted."""
        stream, at = self._rest + chunk, 0
        while len(stream) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(stream, at)
            if size > FRAME_BYTES_MAX:
                raise Forged(f"a frame of the browser is longer than {FRAME_BYTES_MAX} bytes", reason="too-large")
            if len(stream) - at - _LENGTH.size < size:
                break
            at += _LENGTH.size + size
            yield _word(stream[at - size : at])
        self._rest = stream[at:]


def _word(unverified: bytes) -> Word:
    with suppress(ValueError, RecursionError):
        match json.loads(unverified):
            case {"seq": int(seq), "at": int(at_ms), "site": str(site), **rest} if not rest:
                return seq, at_ms, site
    raise Forged("the browser sent something that is not a word of the extension", reason="malformed")


def check_caller(extension: str, caller: list[str]) -> None:
    """Chromium names the origin of the extension, Firefox its id. Raises Refused."""
    if not {f"chrome-extension://{extension}/", extension} & set(caller):
        raise Refused("the browser's caller is not the extension that --extension names", reason="foreign-extension")


def relay(read: Callable[[], bytes], tell: Callable[[list[Word]], object], boot: Clock, wall: Clock) -> None:
    """Tells on what is read until there is no more; then, that from now on nobody speaks. Raises Forged."""
    frames, seq = Frames(), 0
    try:
        while chunk := read():
            now, late_ms, words = boot(), wall(), []
            for seq, at_ms, site in frames.feed(chunk):
                if 0 <= late_ms - at_ms <= AGE_MS_MAX:
                    words.append((seq, now - (late_ms - at_ms), site))
            if words:
                tell(words)
    finally:
        tell([(seq + 2, boot(), "")])


def main(argv: list[str]) -> int:
    """Runs until the browser closes standard input. Exit codes: 0 it did, 1 refused or forged, 2 misconfigured."""
    parser = argparse.ArgumentParser("byleave run browser-host", description="The native messaging host of the extension.")
    parser.add_argument("--endpoint", required=True, help="name of this endpoint, as on its certificate")
    parser.add_argument("--extension", required=True, help="id of the extension that may call")
    parser.add_argument("caller", nargs="*", help="added by the browser")
    given = parser.parse_args(argv)
    try:
        check_caller(given.extension, given.caller)
        folder = load_installation().home / "endpoints" / given.endpoint

        def tell(words: list[Word]) -> None:
            with suppress(Transient, Refused):
                ask(folder, {"ask": "site", "of": os.getpid(), "news": words}, ASK_S)

        relay(partial(os.read, 0, FRAME_BYTES_MAX), tell, boot_ms, wall_ms)
    except ByleaveError as error:
        print(f"byleave browser-host: {error}", file=sys.stderr)  # noqa: T201 - the process contract
        return 2 if error.reason == "misconfigured" else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
