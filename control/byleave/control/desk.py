"""Edge: one principal's desk: reads a site's control topics, publishes documents, finds the keys that lie here."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import trust
from byleave.control.bootstrap import pin_root, pinned_root
from byleave.control.concerns import Concern
from byleave.control.documents import Halt, Manifest, Root
from byleave.control.knowledge import Knowledge
from byleave.control.officers import is_sealed
from byleave.control.watch import ControlWatch
from byleave.core.broker import Received
from byleave.core.errors import Refused, Transient
from byleave.core.kafka import KafkaPublisher, KafkaTail, Options
from byleave.core.keys import public_hex, read_signing_key
from byleave.core.settings import Installation
from byleave.core.topics import ENDPOINT, load_catalogue

READ_S_MAX = 20.0
PUBLISH_S_MAX = 10.0
TRIES_MAX = 8
COMMAND_TRIES_MAX = 2
"""Of a command: a person waits for it."""
CONTROL = "control."
PLAIN: Options = {"enable.idempotence": False, "max.in.flight": 1, "linger.ms": 0}
"""A document is the same document twice, and asking for a producer id costs half a second of a halt; behind the brake the
canary could not get one."""
Made = TypeVar("Made")
Pause = Callable[[float], object]


def readable(role: str) -> tuple[str, ...]:
    """The control topics that a role of the catalogue may read."""
    return tuple(t.name for t in load_catalogue().topics if t.name.startswith(CONTROL) and role in t.readers)


def open_watch(
    installation: Installation, principal: str, role: str = "", topics: Collection[str] = (),
    *, tries: int = COMMAND_TRIES_MAX, pause: Pause = time.sleep, root: Root | None = None,
) -> ControlWatch:  # fmt: skip
    """A watch on what the principal may read, or on `topics` only. Raises Transient after so many tries; Refused.

    Under `root` alone if one is given; else under the pinned one, and whatever follows it.
    """
    role = role or principal
    knowledge = Knowledge(root or pinned_root(installation.home, installation.site), installation.site)
    names = [installation.topic(name) for name in (topics or readable(role))]
    own = principal if role == ENDPOINT else next(p.group for p in load_catalogue().principals if p.name == role)
    tail = persistent(lambda: KafkaTail(installation.kafka(principal), f"{installation.site}{own}", names), tries, pause)
    pin = None if root else lambda signed: pin_root(installation.home, signed)
    return ControlWatch(tail, knowledge, installation.site, pin=pin)


def records(watch: ControlWatch) -> Iterator[tuple[Received, Any]]:
    """Each record up to the end of what stands there, with its document. Raises Transient after READ_S_MAX."""
    until_s = time.monotonic() + READ_S_MAX
    while not watch.caught_up:
        if time.monotonic() > until_s:
            raise Transient(f"the control topics could not be read to their end in {READ_S_MAX:.0f} s: is the broker up?")
        yield from watch.read(0.1)


def read_all(watch: ControlWatch, signed: dict[str, bytes] | None = None) -> ControlWatch:
    """Reads until everything that stood on the topics has been learned. Raises as `records`.

    `signed` takes manifests, orders and concerns as they stand there, by digest.
    """
    for record, document in records(watch):
        if signed is not None and record.value is not None and isinstance(document, Halt | Manifest | Concern):
            signed[trust.name_of(record.value)] = record.value
    return watch


def read_now(at: Installation, principal: str, role: str = "", topics: Collection[str] = ()) -> Knowledge:
    """What all that stands there now comes to. Raises as `open_watch` and `read_all`."""
    with closing(open_watch(at, principal, role, topics)) as watch:
        return read_all(watch).knowledge


def publish(installation: Installation, principal: str, records: Iterable[tuple[str, bytes, bytes | None]]) -> None:
    """Writes (topic, key, value) as a principal; returns when the broker has them. Raises Transient, Refused, Broken."""
    answers: list[bool] = []
    sent = 0
    with closing(KafkaPublisher(installation.kafka(principal), **PLAIN)) as publisher:
        for topic, key, value in records:
            publisher.publish(installation.topic(topic), key, value, answers.append)
            sent += 1
        if not publisher.flush(PUBLISH_S_MAX):
            raise Transient(f"{installation.bootstrap} did not confirm within {PUBLISH_S_MAX:.0f} s: is the broker up?")
    if answers.count(True) != sent:
        raise Refused(f"the broker did not take what {principal} wrote; see 'byleave topics check'", reason="denied")


def officers(root: Root, role: str, folder: Path) -> list[Ed25519PrivateKey]:
    """The development keys in `folder` that `role` names, at most as many as it needs, of as many groups as it needs.

    Raises Refused (`below-threshold`) if they are too few: the others must sign where their keys are.
    """
    wanted = trust.role_of(root, role)
    groups = dict(zip(wanted.keys, wanted.groups, strict=True))
    paths = [path for path in sorted(folder.glob("*.key")) if not is_sealed(path)]
    usable = {public_hex(key): key for key in map(read_signing_key, paths)}
    mine = [name for name in usable if name in groups]
    for chosen in combinations(mine, wanted.threshold):
        if len({groups[name] for name in chosen}) >= wanted.groups_min:
            return [usable[name] for name in chosen]
    needed = f"{wanted.threshold} keys of {wanted.groups_min} groups"
    said = f"role {role} needs {needed}; {len(mine)} without a passphrase in {folder}: use --propose, --sign and --submit"
    raise Refused(said, reason="below-threshold")


def persistent(make: Callable[[], Made], tries: int = TRIES_MAX, pause: Pause = time.sleep) -> Made:
    """Tries so many times, pausing up to 3 s: a broker that restarts is no failure yet. Raises the last Transient.

    `pause` may say True: then there is no use in waiting, since this process is to end.
    """
    for attempt in range(tries):
        try:
            return make()
        except Transient:
            if attempt == tries - 1 or pause(min(3.0, 0.25 * 2**attempt)):
                raise
    raise AssertionError("the loop returns or raises")
