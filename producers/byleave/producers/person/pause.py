"""Edge: the person's own pause: a file in the endpoint's folder, which only their account may write. No time limit (P7).

It stands whatever arrives: no order, state, manifest or new version lifts it, and no process but the person's own commands
deletes it. Who administers the machine can, as they can do everything there; the sign that shows capture then says so.

Nothing tells anybody of it. While it stands the endpoint neither hears nor says anything, and at its end it comes back as if it
had been switched off.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from byleave.core.errors import Transient
from byleave.producers.inquiries import ask

NAME = "pause"


def pause(folder: Path) -> dict[str, Any]:
    """The file first, so that it stands where no agent runs; then the running agent's capture process is killed and reaped.

    Raises OSError where there is no room for an empty file: the pause then is not in force.
    """
    begin(folder)
    return {"endpoint": folder.name, "paused": True, "running": _told(folder, {"ask": "pause"})}


def begin(folder: Path) -> None:
    """Makes the file. Raises OSError."""
    (folder / NAME).touch(mode=0o600)


def stands(folder: Path) -> bool:
    """Whether it is in force."""
    return (folder / NAME).exists()


def lift(folder: Path) -> dict[str, Any]:
    """Deletes the file. Capture goes on with the next permit, if all else allows it."""
    (folder / NAME).unlink(missing_ok=True)
    return {"endpoint": folder.name, "paused": False, "running": _told(folder, {"ask": "status"})}


def _told(folder: Path, question: dict[str, Any]) -> bool:
    with suppress(Transient):  # none runs, or it is busy: the file says it at its next turn
        ask(folder, question)
        return True
    return False
