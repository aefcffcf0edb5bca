"""Edge: opens a reader of topics on a thread of its own: without a broker that takes long, and the person asks meanwhile."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from byleave.core.broker import Tail
from byleave.core.errors import ByleaveError


class Opening:
    """One reader at a time. `make` opens it, or raises our error."""

    def __init__(self, make: Callable[[], Tail]) -> None:
        self._make, self._under_way = make, False
        self._opened: queue.Queue[Tail | ByleaveError] = queue.Queue(1)

    def take(self, wait_s: float) -> Tail | None:
        """The reader, if it is there within so long; begins to open one where none is under way. Raises what `make` raised."""
        if not self._under_way:
            self._under_way = True
            threading.Thread(target=self._open, name="opening", daemon=True).start()
        found = None
        with suppress(queue.Empty):
            found = self._opened.get(timeout=wait_s)
            self._under_way = False
        if isinstance(found, ByleaveError):
            raise found
        return found

    def drop(self) -> None:
        """Closes what was opened and not taken."""
        with suppress(queue.Empty, ByleaveError):
            found = self._opened.get_nowait()
            self._under_way = False
            if not isinstance(found, ByleaveError):
                found.close()

    def _open(self) -> None:
        try:
            self._opened.put(self._make())
        except ByleaveError as error:
            self._opened.put(error)
