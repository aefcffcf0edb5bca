"""Edge: the frame of a role's process: what it is told, what it says, how it ends. Every role's `main` is this and its work.

stdout   one line of JSON once it is ready: {"ready": true, "role", "pid", "metrics_port"}; what a role `say`s besides
stderr   logs, and for an error one sentence: `byleave <role>: ...`
signals  SIGTERM and SIGINT ask it to end: the work sees it at its next `stopped`
code     0 done or told to end, 1 an error, 2 misconfigured
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from byleave.core import log, metrics
from byleave.core.errors import ByleaveError, Misconfigured, Transient
from byleave.core.settings import Installation, load_installation

PAUSE_S_MAX = 1.0
Options = Mapping[str, Mapping[str, Any]]
"""Command line flags, each with its keywords for `argparse`."""


def say(**line: Any) -> None:
    """One line of JSON on stdout."""
    print(json.dumps(line, sort_keys=True), flush=True)  # noqa: T201 - the process contract


class Role:
    """A running role. It is asked whether to end from one thread; anybody may tell it to."""

    def __init__(self, name: str, installation: Installation) -> None:
        self.name, self.installation, self.log = name, installation, log.configure(name)
        self._told: queue.SimpleQueue[None] = queue.SimpleQueue()  # a signal handler may put; an Event's lock it may not take
        self._stopped = self._said = False

    def stop(self) -> None:
        """Asks it to end. Safe in a signal handler."""
        self._told.put(None)

    def stopped(self, seconds: float = 0.0) -> bool:
        """Whether it is to end; waits for at most so long to be told."""
        if not self._stopped:
            with suppress(queue.Empty):
                self._told.get(timeout=seconds)
                self._stopped = True
        return self._stopped

    @contextmanager
    def served(
        self, ready: Callable[[], bool], alive: Callable[[], bool], admits: metrics.Admits = metrics.anybody
    ) -> Iterator[Callable[[], None]]:
        """Answers /metrics, /readyz and /livez meanwhile. What it yields says the ready line, the first time it is called."""
        server = metrics.serve(self.installation.metrics_port, ready, alive, admits)
        self._port = server.server_address[1]
        try:
            yield self._say_ready
        finally:
            server.shutdown()
            server.server_close()

    def _say_ready(self) -> None:
        if not self._said:
            self._said = True
            say(ready=True, role=self.name, pid=os.getpid(), metrics_port=self._port)

    def keep_on(self, step: Callable[[], bool], failures_max: int) -> None:
        """Takes steps until told to end, and says the ready line after the first that says yes.

        A Transient is tried again, each time later; the one after so many in a row is raised, as is every other error.
        """
        failures = 0
        while not self.stopped():
            try:
                if step():
                    self._say_ready()
                failures = 0
            except Transient as error:
                failures += 1
                self.log.warning("again", reason=error.reason, attempt=failures)
                if failures > failures_max:
                    raise
                self.stopped(min(PAUSE_S_MAX, 0.05 * 2.0**failures))


Work = Callable[[Role, argparse.Namespace], None]


def run(name: str, doc: str, argv: list[str] | None, work: Work, options: Options | None = None) -> int:
    """Runs `work` as the role `name`; returns the exit code. `argv` None: what the process was started with.

    A Transient after it was told to end is no error: the broker had not answered yet, and need not any more.
    """
    parser = argparse.ArgumentParser(f"byleave run {name}", description=doc)
    for flag, keywords in (options or {}).items():
        parser.add_argument(flag, **keywords)
    given = parser.parse_args(argv)
    role: Role | None = None
    try:
        role = Role(name, load_installation())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: role.stop())
        work(role, given)
    except (ByleaveError, OSError) as error:
        if isinstance(error, Transient) and role and role.stopped():
            return 0
        said = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else error
        print(f"byleave {name}: {said}", file=sys.stderr)  # noqa: T201 - the process contract
        return 2 if isinstance(error, Misconfigured) else 1
    return 0
