"""Edge: what a person does: read the manifest in plain words, agree to exactly it, take it back (P1, P7).

The local file comes first when something is taken back and last when it is given, so that a broken network errs towards no.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byleave.control import desk, trust
from byleave.control.bootstrap import pinned_root
from byleave.control.documents import Consent, Enrolment, Manifest, digest, dump, load
from byleave.core.clock import wall_ms
from byleave.core.dsse import load_envelope
from byleave.core.errors import ByleaveError, Misconfigured, Refused, Transient
from byleave.core.keys import read_signing_key, replace_file
from byleave.core.settings import Installation
from byleave.core.topics import ENDPOINT


@dataclass(frozen=True, slots=True)
class Offer:
    """The manifest in force for an endpoint, verified, its digest, and whose signatures it bears."""

    manifest: Manifest
    named: str
    owners: str


def endpoint_here(home: Path, name: str) -> str:
    """The endpoint named, or the only one. Raises Misconfigured."""
    found = sorted(path.parent.name for path in (home / "endpoints").glob("*/enrolment.dsse"))
    if name in found:
        return name
    if not name and len(found) == 1:
        return found[0]
    raise Misconfigured(f"say which endpoint with --endpoint; here are: {', '.join(found) or 'none'}")


def read_offer(at: Installation, endpoint: str) -> Offer:
    """What the state in force would collect at this endpoint. Raises Refused if nothing may run there; Transient."""
    wanted = ("control.state.v1", "control.manifest.v1", "control.beacon.v1")
    knowledge = desk.read_now(at, endpoint, ENDPOINT, wanted)
    knowledge.learn("control.enrolment.v1", _enrolment_file(at.home, endpoint).read_bytes())
    run = knowledge.leave(endpoint, wall_ms())
    if run is None:
        raise Refused(f"no state in force lets {endpoint} capture: there is nothing to agree to", reason="no-run")
    role = trust.role_of(knowledge.root, "manifest")
    owners = f"by {role.threshold} keys or more, of {role.groups_min} or more of {', '.join(sorted(set(role.groups)))}"
    return Offer(knowledge.manifests[run.manifest], run.manifest, owners)


def agree(at: Installation, endpoint: str, offer: Offer) -> dict[str, Any]:
    """Signs and publishes the person's yes to this manifest. Raises Misconfigured, Transient, Refused."""
    if digest(dump(offer.manifest)) != offer.named:  # what was shown is what is signed for
        raise Refused(
            "the manifest was not written in our form: what you read could differ from what you sign", reason="malformed"
        )
    return _speak(at, endpoint, offer.named, given=True)


def withdraw(at: Installation, endpoint: str) -> dict[str, Any]:
    """Signs and publishes the person's no. The endpoint's own file changes first: capture ends there without any network."""
    return _speak(at, endpoint, _last(at.home, endpoint).manifest, given=False)


def _speak(at: Installation, endpoint: str, manifest: str, *, given: bool) -> dict[str, Any]:
    enrolment = enrolment_of(at, endpoint)
    try:
        after_ms = _last(at.home, endpoint).at_ms + 1
    except Refused:
        after_ms = 0
    said = Consent(at.site, enrolment.subject, manifest, given=given, at_ms=max(wall_ms(), after_ms))
    signed = trust.sign(said, [read_signing_key(at.home / "people" / enrolment.subject / "person.key")])
    path = at.home / "endpoints" / endpoint / "consent.dsse"
    if not given:
        replace_file(path, signed, mode=0o644)
    try:
        if (at.pki / "enrol.crt.pem").exists():
            desk.publish(at, "enrol", [("control.consent.v1", enrolment.subject.encode(), signed)])
        else:  # a person's own device: the enroller passes it on
            desk.publish(at, endpoint, [("control.ask.v1", endpoint.encode(), signed)])
    except ByleaveError as error:
        if given:
            raise
        raise Transient(f"withdrawn on this machine; the service was not told, so say it again later ({error})") from None
    if given:
        replace_file(path, signed, mode=0o644)
    return {"endpoint": endpoint, "manifest": manifest, "given": given, "at_ms": said.at_ms}


def _enrolment_file(home: Path, endpoint: str) -> Path:
    return home / "endpoints" / endpoint / "enrolment.dsse"


def enrolment_of(at: Installation, endpoint: str) -> Enrolment:
    """The enrolment that lies here, by the root that is trusted here. Raises Forged, Refused, Misconfigured, OSError."""
    root = pinned_root(at.home, at.site)
    return trust.verify(root, "enrol", Enrolment, _enrolment_file(at.home, endpoint).read_bytes(), site=at.site)[0]


def _last(home: Path, endpoint: str) -> Consent:
    """What this endpoint's person said last, by its own file. Raises Refused (`no-consent`) if that is nothing."""
    path = home / "endpoints" / endpoint / "consent.dsse"
    if not path.is_file():
        raise Refused(f"{endpoint} has no consent that could be taken back: nothing is captured there", reason="no-consent")
    return load(Consent, load_envelope(path.read_bytes()).body)
