"""One background process per state folder, told from strangers by its start time: a pid alone is reused."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Literal

Ending = Literal["none", "stopped", "killed"]
STOP_S_MAX = 10.0


def start_mark(pid: int) -> str | None:
    """When the process with this id was started, as the system says it; None if there is none, or it is a zombie."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            return None
        return None if fields[0] in {"Z", "X"} else fields[19]
    asked = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=10)
    return asked.stdout.strip() or None


def remember(path: Path, pid: int) -> None:
    """Writes `pid start-mark`, so that `running` can tell this process from a later one with the same id."""
    path.write_text(f"{pid} {start_mark(pid) or 'gone'}\n", encoding="utf-8")


def running(path: Path) -> int | None:
    """The id of the remembered process if that very process is alive; a stale or unreadable file counts as none."""
    try:
        pid_text, mark = path.read_text(encoding="utf-8").strip().split(" ", 1)
        pid = int(pid_text)
    except (OSError, ValueError):
        return None
    return pid if start_mark(pid) == mark else None


def end(path: Path, *, patience_s: float) -> Ending:
    """Asks the remembered process to stop, and kills it if it has not within `patience_s`. Signals no other process."""
    pid = running(path)
    if pid is None:
        path.unlink(missing_ok=True)
        return "none"
    os.kill(pid, signal.SIGTERM)
    ending: Ending = "stopped"
    if not _gone(path, pid, patience_s):
        os.kill(pid, signal.SIGKILL)
        _gone(path, pid, 10.0)
        ending = "killed"
    path.unlink(missing_ok=True)
    return ending


def end_all(folder: Path) -> list[str]:
    """Ends every process that the folder remembers in `<name>.pid`, newest first; gives the names of those that were alive."""
    files = sorted(folder.glob("*.pid"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.stem for path in files if end(path, patience_s=STOP_S_MAX) != "none"]


def _gone(path: Path, pid: int, patience_s: float) -> bool:
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # where it is a child of ours, it stays a zombie until it is waited for
        if running(path) is None:
            return True
        time.sleep(0.05)
    return False
