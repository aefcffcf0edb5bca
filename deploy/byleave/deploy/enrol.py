"""Edge: how a device becomes an endpoint, stays one, and stops being one: the device's side (P1, P3, P4).

    enrol     makes its keys, pins the root by its hash, writes an application that both keys signed
    install   takes certificate and enrolment, once the pin, the signatures and its own keys agree
    status    says whether it captures, and if not why
    leave     withdraws, asks to be let go, removes keys and spool

No private key travels. The other side is `enroller`.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byleave.control import certificates, consenting, desk, trust
from byleave.control.bootstrap import pin_root, pinned_root
from byleave.control.documents import Asked, Enrolment, Issued
from byleave.core.clock import wall_ms
from byleave.core.errors import ByleaveError, Forged, Misconfigured, Refused
from byleave.core.keys import KEY_BYTES, public_hex, read_hpke_key, read_secret, read_signing_key, replace_file, write_secret
from byleave.core.settings import Installation
from byleave.core.topics import PSEUDONYM
from byleave.deploy import fleet, pki

FILE_BYTES_MAX = 200_000
RUNNING_S = 10.0
"""A report that is no older comes from an agent that runs."""
CAPTURING, NOT_CAPTURING, NOT_RUNNING, NOT_ENROLLED = 0, 3, 4, 5
"""Exit codes of `status`."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Application:
    """A device asks to be enrolled: its public keys, and a certificate request (PEM). Signed by device key and person's key."""

    TYPE = "application/vnd.byleave.application.v1+json"
    site: str
    endpoint: str
    key: str
    person_key: str
    receipt_key: str
    request: str
    root: str
    """Digest of the root that was pinned when it was made."""


def enrol(at: Installation, name: str, root: str, person: Path | None) -> bytes:
    """Makes what is missing of this device's keys and pins the root; gives the application, to be carried to the enroller.

    `person`: the key that this person has from another device. Raises Misconfigured; then no other root than before is pinned.
    """
    pin = at.home / "trust" / "root.pin"
    if not PSEUDONYM.fullmatch(name) or name in pki.reserved() or not _DIGEST.fullmatch(root):
        raise Misconfigured("an endpoint's name is of [a-z0-9._-] and no service's; --root-hash is 64 hex digits")
    if pin.exists() and pin.read_text(encoding="ascii").strip() != root:
        raise Misconfigured(f"{pin} names another root already: this device belongs to another site")
    folder = at.home / "endpoints" / name
    kept = list((at.home / "people").glob("*/person.key"))
    person = person or (kept[0] if len(kept) == 1 else None)  # of an enrolment before this one
    for key in ("device", "receipt", "person"):
        if not (folder / f"{key}.key").exists():
            known = read_secret(person) if person and key == "person" else None
            write_secret(folder / f"{key}.key", known or secrets.token_bytes(KEY_BYTES))
    device, own = (read_signing_key(folder / f"{key}.key") for key in ("device", "person"))
    keys = (public_hex(device), public_hex(own), public_hex(read_hpke_key(folder / "receipt.key")))
    request = certificates.new_request(certificates.next_key(at.pki, name), name)
    replace_file(pin, root.encode() + b"\n", mode=0o644)
    return trust.sign(Application(at.site, name, *keys, request, root), [device, own])


def install(at: Installation, name: str, unverified: bytes) -> Enrolment:
    """Takes what the enroller made for this device. Raises Forged, Misconfigured; then nothing was written."""
    pin, folder = (at.home / "trust" / "root.pin").read_text(encoding="ascii").strip(), at.home / "endpoints" / name
    bundle = _bundle(unverified)
    roots = _chain([text.encode() for text in bundle["roots"]], pin, at.site)
    root = trust.load_root(roots[-1], at.site)
    if (at.home / "trust" / "root.dsse").is_file():  # whom a later root dismissed signs nothing here any more
        root = max(root, pinned_root(at.home, at.site), key=lambda one: one.version)
    enrolment = trust.verify(root, "enrol", Enrolment, bundle["enrolment"].encode(), site=at.site)[0]
    issued = trust.verify(root, "enrol", Issued, bundle["issued"].encode(), site=at.site)[0]
    if not PSEUDONYM.fullmatch(enrolment.subject):
        raise Forged("an enrolment of a person whose pseudonym is not of [a-z0-9._-]", reason="malformed")
    receipts, kept = read_hpke_key(folder / "receipt.key"), at.home / "people" / enrolment.subject / "person.key"
    persons = kept if kept.exists() else folder / "person.key"
    mine = (name, public_hex(read_signing_key(folder / "device.key")), public_hex(receipts))
    if (enrolment.endpoint, enrolment.key, enrolment.receipt_key) != mine:
        raise Forged("an enrolment of another device or name than this one", reason="wrong-key")
    if enrolment.person_key != public_hex(read_signing_key(persons)):
        raise Forged(f"an enrolment with another person's key than the one in {persons}", reason="wrong-key")
    own, authority = certificates.unseal(issued.sealed, receipts, issued.asked)
    waiting = certificates.next_key(at.pki, name)
    certificates.check(own, authority, name, waiting)
    for signed in roots:
        pin_root(at.home, signed)
    if persons != kept:
        write_secret(kept, read_secret(persons))
    (folder / "person.key").unlink(missing_ok=True)
    certificates.install(at.pki, name, own, authority, waiting)
    replace_file(folder / "enrolment.dsse", bundle["enrolment"].encode(), mode=0o644)
    return enrolment


def status(at: Installation, name: str) -> tuple[dict[str, Any], int]:
    """Whether it captures, and if not why, in one sentence; and the exit code. Reads this device's own files only."""
    folder = at.home / "endpoints" / name
    try:
        enrolment = consenting.enrolment_of(at, name)
        ends_ms = certificates.life((at.pki / f"{name}.crt.pem").read_bytes())[1]
        days = (min(ends_ms, enrolment.until_ms) - wall_ms()) // fleet.DAY_MS
        if days < 0:
            raise Refused("its certificate or its enrolment is over: enrol it again", reason="enrolment-over")
    except (OSError, ByleaveError) as error:
        said = f"{name} is not enrolled here ({error if isinstance(error, ByleaveError) else type(error).__name__})"
        return {"endpoint": name, "said": said, "capturing": False}, NOT_ENROLLED
    about = {"endpoint": name, "days": days, "until_ms": enrolment.until_ms}
    report, age_s = _report(folder)
    if age_s > RUNNING_S:
        return about | {"said": "not capturing: the agent does not run", "capturing": False}, NOT_RUNNING
    told = {
        "said": str(report.get("answer", "not capturing: the agent says nothing")),
        "capturing": bool(report.get("capturing")),
    }
    return about | told, CAPTURING if told["capturing"] else NOT_CAPTURING


def leave(at: Installation, name: str, *, anyway: bool = False) -> dict[str, Any]:
    """Withdraws, asks the enroller to forget this device, and removes its keys and what was captured. Says what is left.

    Raises Refused (`running`); what withdrawing and asking raise, unless `anyway`: then the consent is withdrawn here, and the
    keys are still there, so that it can be said again.
    """
    folder, told = at.home / "endpoints" / name, True
    if _report(folder)[1] <= RUNNING_S:
        raise Refused("the agent runs: stop it first", reason="running")
    try:
        if (folder / "consent.dsse").is_file():
            consenting.withdraw(at, name)
        said = trust.sign(Asked(at.site, name, "", wall_ms()), [read_signing_key(folder / "device.key")])
        desk.publish(at, name, [("control.ask.v1", name.encode(), said)])
    except ByleaveError:
        if not anyway:
            raise
        told = False
    for path in (
        *(at.pki / f"{name}.{kind}.pem" for kind in ("key", "crt", "next")),
        folder / "device.key",
        folder / "receipt.key",
    ):
        path.unlink(missing_ok=True)
    shutil.rmtree(folder / "spool", ignore_errors=True)
    (folder / "enrolment.dsse").unlink(missing_ok=True)
    left = [str(path.relative_to(at.home)) for path in (at.home / "people", folder, folder / "spool") if path.exists()]
    return {"endpoint": name, "told": told, "left": left}


def _chain(roots: list[bytes], pin: str, site: str) -> list[bytes]:
    """From the pinned root to the newest, each vouched for by the one before. Raises Forged (`wrong-root`)."""
    start = next((n for n, signed in enumerate(roots) if trust.name_of(signed) == pin), None)
    if start is None:
        raise Forged("the bundle does not hold the root that this device pinned", reason="wrong-root")
    root = trust.load_root(roots[start], site)
    for signed in roots[start + 1 :]:
        root = trust.load_next(root, signed, site)
    return roots[start:]


def _bundle(unverified: bytes) -> dict[str, Any]:
    try:
        found = json.loads(unverified[:FILE_BYTES_MAX])
        texts = [found["enrolment"], found["issued"], *found["roots"]]
        if set(found) != {"roots", "enrolment", "issued"} or not all(isinstance(text, str) for text in texts):
            raise ValueError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Forged("the file is not a bundle", reason="malformed") from None
    return dict(found)


def _report(folder: Path) -> tuple[dict[str, Any], float]:
    """What the agent last said of itself, and how many seconds ago."""
    path = folder / "report.json"
    try:
        found, age_s = json.loads(path.read_bytes()), time.time() - path.stat().st_mtime
    except (OSError, ValueError):
        return {}, RUNNING_S + 1
    return (found if isinstance(found, dict) else {}), abs(age_s)  # of before the clock was set back, it is as old as any


def read_file(path: Path) -> bytes:
    """What was carried here. Raises Misconfigured."""
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read ({type(error).__name__})") from None


def applicant_here(at: Installation, name: str) -> str:
    """The endpoint named, or the only one whose keys were made here. Raises Misconfigured."""
    found = sorted(path.parent.name for path in (at.home / "endpoints").glob("*/device.key"))
    if name in found or (not name and len(found) == 1):
        return name or found[0]
    raise Misconfigured(f"say which endpoint with --endpoint; here are: {', '.join(found) or 'none'}")
