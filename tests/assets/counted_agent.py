"""The product's agent, all of it; only that how many events its source handed over is written down, where no kill reaches it.

`counted_agent.py <file> <the agent's own words>`: after each poll the file holds two numbers, all events so far and the last
poll's. What the agent says of itself can so be compared with what it was given.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from byleave.producers import main
from byleave.producers.hooks.source import Observed, Source


class Counted:
    """A source whose polls are counted."""

    def __init__(self, source: Source, path: str) -> None:
        self._source, self._all = source, 0
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.pwrite(self._file, b"%09d %09d" % (0, 0), 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def poll(self, now_ms: int, timeout_s: float) -> Sequence[Observed]:
        found = self._source.poll(now_ms, timeout_s)
        if found:
            self._all += len(found)
            os.pwrite(self._file, b"%09d %09d" % (self._all, len(found)), 0)
        return found


if __name__ == "__main__":
    build = main.build_source
    main.build_source = lambda text, speed: Counted(build(text, speed), sys.argv[1])  # type: ignore[assignment,return-value]
    sys.exit(main.main(sys.argv[2:]))
