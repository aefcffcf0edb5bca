"""Edge: `byleave me verify`: what of the promises a person can check at their own machine, one line each (P1, P7).

Each line is `ok`, `NOT OK` or `not yet`: what could not be looked at now is never called ok. Nothing is changed, but that a
next root which the pinned one vouches for is kept, as the agent would.

It checks what stands on this disk, by programs that stand there, too: whoever could change all of it could change this. Against
that stands the root's digest, read out by somebody else, or the same command from another machine's copy.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata, resources
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import desk, trust
from byleave.control.bootstrap import pinned_root
from byleave.control.consenting import enrolment_of, read_offer
from byleave.control.deciding import kept_roots
from byleave.control.documents import Release, digest
from byleave.control.knowledge import Knowledge
from byleave.control.versions import own_version
from byleave.core.clock import wall_ms
from byleave.core.errors import ByleaveError, Refused, Transient
from byleave.core.keys import public_hex, read_hpke_key, read_signing_key, replace_file
from byleave.core.settings import Installation
from byleave.core.topics import ENDPOINT
from byleave.producers.inquiries import ask
from byleave.producers.own_files import own_digest

ROOT_TOPICS = ("control.root.v1", "control.state.v1")


class Found(StrEnum):
    """What was found of one promise."""

    OK = "ok"
    BAD = "NOT OK"
    UNKNOWN = "not yet"


class Line(NamedTuple):
    """One promise."""

    what: str
    found: Found
    said: str


Answer = tuple[Found, str]


@dataclass(frozen=True, slots=True)
class Own:
    """What is looked at. `agent`: digest of the files that would run now; `release`: the installed distribution."""

    at: Installation
    endpoint: str
    agent: str
    release: metadata.Distribution | None

    @property
    def folder(self) -> Path:
        return self.at.home / "endpoints" / self.endpoint


def verify(own: Own) -> list[Line]:
    """All of it. Raises nothing: what fails is a line."""
    checks: dict[str, Callable[[Own], Answer]] = {
        "files": files, "release": release, "running agent": running, "never-list": never_list, "root": root,
        "enrolment": enrolment, "consent": consent, "receipts": receipts,
    }  # fmt: skip
    lines = [Line(what, *_told(check, own)) for what, check in checks.items()]
    reads = "whether each read is in the witnessed log cannot be checked from here yet"
    return [*lines, Line("who read you", Found.UNKNOWN, reads)]


def installed() -> metadata.Distribution | None:
    """The distribution that is installed, or None."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.distribution("byleave")
    return None


def sign_release(at: Installation, key: Ed25519PrivateKey) -> dict[str, str]:
    """Writes trust/release.dsse for the files that lie here. Raises Forged if the root's role `release` lacks that key."""
    signed = Release(at.site, own_version(), own_digest())
    value, path = trust.sign(signed, [key]), at.home / "trust" / "release.dsse"
    trust.verify(pinned_root(at.home, at.site), "release", Release, value, site=at.site)
    replace_file(path, value, mode=0o644)
    return {"file": str(path), "version": signed.version, "agent": signed.agent}


def files(own: Own) -> Answer:
    """The files that run are those that were installed, and there are no others (RECORD of the wheel)."""
    if own.release is None or _editable(own.release):
        return Found.BAD, "it runs from a source tree: that is no release"
    place, known = Path(str(own.release.locate_file(""))), dict(_record(own.release))
    wrong = [name for name, hashed in known.items() if hashed and _hashed(place / name) != hashed]
    there = {path.relative_to(place).as_posix() for path in (place / "byleave").rglob("*") if path.is_file()}
    wrong += sorted(name for name in there - known.keys() if "__pycache__" not in name)
    if wrong:
        return Found.BAD, f"{len(wrong)} files are not as they were installed, the first: {wrong[0]}"
    return Found.OK, f"{len(known)} files are as version {own.release.version} brought them"


def release(own: Own) -> Answer:
    """The files are those of a release that role `release` of the root signed."""
    trusted, path = pinned_root(own.at.home, own.at.site), own.at.home / "trust" / "release.dsse"
    if all(role.name != "release" for role in trusted.roles):
        return Found.UNKNOWN, f"the root names nobody who signs releases; the agent's digest is {own.agent}"
    if not path.is_file():
        return Found.UNKNOWN, f"no trust/release.dsse to compare with; the agent's digest is {own.agent}"
    signed, _ = trust.verify(trusted, "release", Release, path.read_bytes(), site=own.at.site)
    if signed.agent != own.agent:
        return Found.BAD, f"the files are not those of the signed release {signed.version}: {own.agent}"
    return Found.OK, f"the files are the signed release {signed.version}"


def running(own: Own) -> Answer:
    """The agent was started from the same files."""
    found = ask(own.folder, {"ask": "digest"})["digest"]
    return (Found.OK, "it runs from these files") if found == own.agent else (Found.BAD, f"it was started from others: {found}")


def never_list(own: Own) -> Answer:
    """What nothing can allow. Whether it is the release's is what `files` and `release` say; its digest can be compared."""
    text = resources.files("byleave.producers").joinpath("never.toml").read_bytes()
    return _told(release, own)[0], f"{digest(text)}, part of the agent's digest"


def root(own: Own) -> Answer:
    """The root that is trusted here is the one that was pinned, and that the site's topics follow."""
    trusted, kept, pin = pinned_root(own.at.home, own.at.site), kept_roots(own.at.home), own.at.home / "trust" / "root.pin"
    if pin.is_file() and pin.read_text(encoding="ascii").strip() not in kept.values():
        return Found.BAD, "it does not follow trust/root.pin"
    with closing(desk.open_watch(own.at, own.endpoint, ENDPOINT, ROOT_TOPICS)) as watch:
        state = desk.read_all(watch).knowledge.state
        wrong = sum(watch.refused[reason] for reason in ("conflict", "wrong-root"))
    if state is None and not watch.refused:
        return Found.UNKNOWN, "no state stands on the site's topics that could be compared"
    if wrong or state is None:
        return Found.BAD, f"the site's topics do not follow root {trusted.version} ({kept[trusted.version]})"
    now = watch.knowledge.root.version
    return Found.OK, f"root {now}, {kept_roots(own.at.home)[now]}: read it out to somebody who has it, too"


def enrolment(own: Own) -> Answer:
    """This endpoint is enrolled by the root's own role, with the keys that lie here, and for the person whose key lies here."""
    given = enrolment_of(own.at, own.endpoint)
    person = read_signing_key(own.at.home / "people" / given.subject / "person.key")
    keys = (public_hex(read_signing_key(own.folder / "device.key")), public_hex(person))
    if (given.endpoint, given.key, given.person_key) != (own.endpoint, *keys):
        return Found.BAD, "it is not of this endpoint, or not of the keys that lie here"
    if given.receipt_key and given.receipt_key != public_hex(read_hpke_key(own.folder / "receipt.key")):
        return Found.BAD, "its receipts are sealed to a key that is not yours"
    if wall_ms() >= given.until_ms:
        return Found.BAD, "it is over"
    return Found.OK, f"{given.endpoint} is {given.subject} of {given.team}, device key {given.key[:16]}"


def consent(own: Own) -> Answer:
    """What may be collected here now is what the person signed for."""
    knowledge, path = Knowledge(pinned_root(own.at.home, own.at.site), own.at.site), own.folder / "consent.dsse"
    knowledge.learn("control.enrolment.v1", (own.folder / "enrolment.dsse").read_bytes())
    if not path.is_file():
        return Found.OK, "you agreed to nothing, so nothing is captured"
    knowledge.learn("control.consent.v1", path.read_bytes())
    [word] = knowledge.consents.values()
    if not word.given:
        return Found.OK, "you took your consent back, so nothing is captured"
    try:
        offer = read_offer(own.at, own.endpoint)
    except Refused as refusal:
        if refusal.reason != "no-run":
            raise
        return Found.OK, "no state in force lets this endpoint capture"
    if word.manifest != offer.named:
        return Found.BAD, f"in force is {offer.named[:16]}, you agreed to {word.manifest[:16]}: nothing is captured"
    return Found.OK, f"in force is what you signed: {offer.manifest.title!r} ({offer.named[:16]})"


def receipts(own: Own) -> Answer:
    """What the redactor told of each hour adds up; the agent keeps only what it signed and sealed to this endpoint."""
    found = ask(own.folder, {"ask": "receipts"})
    if found["why"] or found["summary"] is None:
        return Found.UNKNOWN, found["why"] or "the redactor has told of no hour yet"
    if found["summary"]["difference"]:
        return Found.BAD, f"they do not add up: {found['summary']['difference']} events are missing in them"
    return Found.OK, f"{found['summary']['hours']} hours were told, each signed by the redactor, and they add up"


def _told(check: Callable[[Own], Answer], own: Own) -> Answer:
    try:
        return check(own)
    except Transient as error:
        return Found.UNKNOWN, str(error)
    except (ByleaveError, OSError) as error:
        said = str(error) if isinstance(error, ByleaveError) else f"{error.filename} cannot be read ({type(error).__name__})"
        return Found.BAD, said


def _editable(found: metadata.Distribution) -> bool:
    told = json.loads(found.read_text("direct_url.json") or "{}")
    return bool(told.get("dir_info", {}).get("editable"))


def _record(found: metadata.Distribution) -> Iterator[tuple[str, str]]:
    """Each file of the release and its SHA-256 (base64url, as in RECORD; empty for RECORD itself)."""
    for name, hashed, _ in csv.reader((found.read_text("RECORD") or "").splitlines()):
        if "__pycache__" not in name:
            yield name, hashed.removeprefix("sha256=")


def _hashed(path: Path) -> str:
    with suppress(OSError):
        return base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).decode().rstrip("=")
    return "missing"
