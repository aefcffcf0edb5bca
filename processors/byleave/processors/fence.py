"""Where batches wait (docs/adr/0002: the rule itself is `control.admission`). First in, first out per key; other keys go on.

Promises  what waits is neither dropped nor let through; nothing overtakes its own endpoint; whoever waits holds the committed
          offset back, so a crash loses no waiting batch (rules 5 and 6 of docs/adr/0004).
Bounds    WAITING_KEY_MAX of one key, WAITING_MAX in all; beyond that `full` says so and the partition is paused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

WAITING_KEY_MAX = 256
WAITING_MAX = 4_096

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


class Fence(Generic[Key, Item]):
    """The queues of one partition. Items carry their offset here, so that the oldest is known."""

    def __init__(self) -> None:
        self._queues: dict[Key, deque[tuple[int, Item]]] = {}
        self._due: dict[Key, None] = {}  # an ordered set: who arrives first is tried first
        self._count = 0

    def offer(self, key: Key, offset: int, item: Item) -> None:
        """Puts an item at the end of its key's queue."""
        queue = self._queues.setdefault(key, deque())
        if not queue:
            self._due[key] = None
        queue.append((offset, item))
        self._count += 1

    def wake(self) -> None:
        """Something was learned: every head is to be tried again."""
        self._due = dict.fromkeys(self._queues)

    def due(self) -> Iterator[tuple[Key, Item]]:
        """Heads that should be tried now. The caller answers each with `passed` or `waits` before it asks for the next."""
        while self._due:
            key = next(iter(self._due))
            yield key, self._queues[key][0][1]

    def waits(self, key: Key) -> None:
        """The head stays; it is not tried again until `wake`."""
        self._due.pop(key, None)

    def passed(self, key: Key) -> None:
        """The head is decided and leaves; what stands behind it is tried next."""
        queue = self._queues[key]
        queue.popleft()
        self._count -= 1
        if not queue:
            del self._queues[key]
            self._due.pop(key, None)

    def holds(self, key: Key) -> bool:
        return key in self._queues

    @property
    def oldest(self) -> int | None:
        """Lowest offset that waits."""
        return min((queue[0][0] for queue in self._queues.values()), default=None)

    @property
    def full(self) -> bool:
        return self._count >= WAITING_MAX or self._longest() >= WAITING_KEY_MAX

    @property
    def roomy(self) -> bool:
        """Half empty again: reading may go on."""
        return self._count <= WAITING_MAX // 2 and self._longest() <= WAITING_KEY_MAX // 2

    def __len__(self) -> int:
        return self._count

    def _longest(self) -> int:
        return max((len(queue) for queue in self._queues.values()), default=0)
