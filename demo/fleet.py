"""The roles as processes of their own on this machine: started, awaited, and stopped by pid.

Each prints one JSON line when it is ready (see `byleave run --help`) and logs to `<home>/logs/<name>.log`. Their pids are kept
in `<home>/run`, so that `byleave down` finds what `byleave demo --keep` left.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from byleave.core.errors import Broken, Transient
from byleave.deploy import process

READY_S_MAX = 60.0
_LINE_BYTES_MAX = 65_536


class Fleet:
    """Starts roles, remembers them on disk, stops them in reverse."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self._home = home
        self._environment = {**os.environ, **environment}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        for folder in (home / "logs", home / "run"):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)

    def launch(self, name: str, role: str, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        """Starts a role without waiting; `await_ready` collects it. It outlives this process."""
        command = [sys.executable, "-m", "byleave.deploy.cli", "run", role, *arguments]
        log = self._home / "logs" / f"{name}.log"
        with log.open("ab") as stderr:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**self._environment, **(environment or {})},
                start_new_session=True,
            )
        process.remember(self._pidfile(name), child.pid)
        self._children[name] = child

    def await_ready(self, *names: str) -> None:
        """Waits for these roles' ready lines. Raises Broken naming the log if one ends first, Transient after 60 s."""
        deadline = time.monotonic() + READY_S_MAX
        for name in names:
            child, log = self._children[name], self._home / "logs" / f"{name}.log"
            line = _first_line(child, deadline)
            if not line and child.poll() is None:
                raise Transient(f"{name} was not ready in {READY_S_MAX:.0f} s; see {log}")
            if not line:
                raise Broken(f"{name} ended at once with exit code {child.returncode}; see {log}")
            if b'"ready": true' not in line:
                raise Broken(f"{name} said something else than that it is ready; see {log}")

    def stop_all(self) -> None:
        """Ends whatever `<home>/run` remembers, newest first, and leaves no zombie and no open pipe behind."""
        process.end_all(self._home / "run")
        for child in self._children.values():
            with contextlib.suppress(subprocess.TimeoutExpired):  # its threads may outlive the first, whose end ends the wait
                child.wait(process.STOP_S_MAX)
            if child.stdout is not None:
                child.stdout.close()

    def _pidfile(self, name: str) -> Path:
        return self._home / "run" / f"{name}.pid"


def _first_line(child: subprocess.Popen[bytes], deadline: float) -> bytes:
    """The first line of a child's output, or nothing when it ends or the deadline passes."""
    assert child.stdout is not None  # noqa: S101 - it was opened as a pipe just now
    found = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while not found.endswith(b"\n") and len(found) < _LINE_BYTES_MAX:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return b""
            chunk = os.read(child.stdout.fileno(), 4096)
            if not chunk:
                child.wait(timeout=5)
                return b""
            found += chunk
    return found.split(b"\n", 1)[0]
