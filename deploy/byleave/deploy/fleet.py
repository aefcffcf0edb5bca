"""Edge: the enroller's desk: who is enrolled, who is revoked at once, and who gets the next version next (P2, P3).

Revoking needs no list that others must fetch: the enroller's signed word reaches the beacon service (no more grants) and every
fence (nothing of that key passes) by topics that they read all the time, and the broker takes the rights away. Its file stays
here: a broker that loses the record stops the whole site until `say_again`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import desk, ordering, trust
from byleave.control.deciding import certificate_ends
from byleave.control.documents import Ack, Enrolment, Revocation, load
from byleave.control.knowledge import Knowledge
from byleave.control.versions import older
from byleave.core.clock import wall_ms
from byleave.core.dsse import load_envelope
from byleave.core.errors import ByleaveError, Misconfigured, Refused
from byleave.core.keys import replace_file
from byleave.core.settings import Installation
from byleave.deploy import pki, provision

DAY_MS = 86_400_000
ENROLLER = "enrol"
"""The principal that writes what the enroller signed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One endpoint, by pseudonyms. Nothing here says whether it is on, paused or asleep. None: not known here."""

    endpoint: str
    team: str
    state: str
    """allowed, not allowed (by the state in force), out of date, enrolment over, revoked: never what its person said"""
    acked_days_ago: int | None
    version: str
    enrolled_days: int
    certificate_days: int | None


def rows(at: Installation) -> list[Row]:
    """Every endpoint that was ever enrolled, by name. Raises Transient, Refused, Misconfigured."""
    with closing(ordering.Follower(at)) as follower:
        follower.catch_up()
        acks = {ack.endpoint: ack for ack in sorted(follower.acks, key=lambda ack: ack.stopped_ms)}
    ends, now_ms = {**certificate_ends(at.pki), **certificate_ends(issued(at.home))}, wall_ms()
    known = follower.watch.knowledge
    return [_row(known, one, acks.get(name), ends.get(name), now_ms) for name, one in sorted(known.enrolments.items())]


def _row(knowledge: Knowledge, enrolment: Enrolment, ack: Ack | None, ends_ms: int | None, now_ms: int) -> Row:
    version = ack.version if ack else ""
    days = None if ends_ms is None else (ends_ms - now_ms) // DAY_MS
    acked = None if ack is None else max(0, now_ms - ack.stopped_ms) // DAY_MS
    state = _state(knowledge, enrolment, version, now_ms)
    return Row(enrolment.endpoint, enrolment.team, state, acked, version, (enrolment.until_ms - now_ms) // DAY_MS, days)


def _state(knowledge: Knowledge, enrolment: Enrolment, version: str, now_ms: int) -> str:
    name, state = enrolment.endpoint, knowledge.state
    run = knowledge.leave(name, now_ms)
    if name in knowledge.revoked:
        return "revoked"
    if now_ms >= enrolment.until_ms:
        return "enrolment over"
    if state is not None and version and older(version, state.minimum):
        return "out of date"
    halted = state is None or bool(knowledge.standing(name, "capture", state.epoch))
    return "allowed" if run and not halted else "not allowed"


def revoke(at: Installation, endpoint: str, reason: str, key: Ed25519PrivateKey) -> dict[str, Any]:
    """Ends an endpoint for ever: signed, published, and its rights on the broker taken away at the same time.

    The one last word on a name; a device comes back under another. Raises Misconfigured (`--reason`), Refused
    (`unknown-endpoint`), Forged (a key that may not), Transient; the rights are taken although the record cannot be published.
    """
    if not reason.strip() or len(reason) > 500:
        raise Misconfigured("--reason must say why, in at most 500 characters")
    knowledge = desk.read_now(at, ENROLLER)
    if endpoint not in knowledge.enrolments or endpoint in pki.service_names():
        raise Refused(f"no endpoint {endpoint[:63]} was ever enrolled", reason="unknown-endpoint")
    since_ms = min(now_ms := wall_ms(), knowledge.revoked.get(endpoint, now_ms))  # said again, it begins no later
    signed = trust.sign(Revocation(at.site, endpoint, since_ms, reason), [key])
    trust.verify(knowledge.root, "enrol", Revocation, signed, site=at.site)
    replace_file(folder(at.home) / f"{endpoint}.dsse", signed, mode=0o644)
    with ThreadPoolExecutor(1) as pool:  # at once, whichever of the two is slow
        expelled = pool.submit(_expel, at, endpoint)
        desk.publish(at, ENROLLER, [record(endpoint, signed)])
    return {"endpoint": endpoint, "rights": expelled.result()}


def record(endpoint: str, signed: bytes) -> tuple[str, bytes, bytes]:
    """Beside the enrolment, never in its place: compaction keeps both."""
    return "control.enrolment.v1", f"revoked:{endpoint}".encode(), signed


def folder(home: Path) -> Path:
    """Where each revocation that was signed here is kept, by name."""
    return home / "trust" / "revoked"


def names_here(at: Installation) -> tuple[str, ...]:
    """Who is to have an endpoint's rights on the broker, as far as this desk knows: those with a certificate of this
    installation or issued from here, without those that were revoked from here. Raises Misconfigured."""
    found = {*pki.endpoints_in(at.pki), *pki.endpoints_in(issued(at.home))}
    return tuple(sorted(found - revoked_here(at.home)))


def issued(home: Path) -> Path:
    """Where a copy of each device's newest certificate is kept: nothing secret."""
    return home / "fleet" / "issued"


def revoked_here(home: Path) -> frozenset[str]:
    """The names that were revoked from here: whoever sets ACLs from certificates must leave them out."""
    return frozenset(path.stem for path in folder(home).glob("*.dsse"))


def say_again(at: Installation, key: Ed25519PrivateKey) -> list[str]:
    """Signs and publishes every revocation that is kept here anew: after a record was lost, or the enroller's key changed."""
    found = sorted(revoked_here(at.home))
    known = {name: _kept(folder(at.home) / f"{name}.dsse") for name in found}
    desk.publish(at, ENROLLER, [record(name, trust.sign(one, [key])) for name, one in known.items()])
    return found


def _kept(path: Path) -> Revocation:
    return load(Revocation, load_envelope(path.read_bytes()).body)


def _expel(at: Installation, endpoint: str) -> str:
    try:
        return f"{provision.expel(at.kafka('brake'), at.site, endpoint)} taken away"
    except ByleaveError:
        return "not taken away: this desk or cluster does not let 'brake' do it"
