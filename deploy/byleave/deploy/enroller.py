"""Edge: how a device becomes an endpoint, stays one, and stops being one: the enroller's desk (P1, P3, P4).

    approve   issues the certificate, signs and publishes the enrolment, gives it its rights
    answer    by a timer: renews, passes on what a person said, lets go who asks to leave

No officer's key lies on a server that is always on: `answer` runs where the enroller's key is. The other side is `enrol`.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from contextlib import closing

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import certificates, desk, trust
from byleave.control.deciding import signed_roots
from byleave.control.documents import Asked, Consent, Enrolment, Issued, load
from byleave.control.knowledge import Knowledge
from byleave.core.clock import wall_ms
from byleave.core.dsse import load_envelope
from byleave.core.errors import Forged, Misconfigured, Refused
from byleave.core.keys import recipient, replace_file, verify_key
from byleave.core.settings import Installation
from byleave.core.topics import PSEUDONYM, load_catalogue
from byleave.deploy import fleet, pki, provision
from byleave.deploy.enrol import Application

ENROLLED_DAYS = 90
LEFT = "an endpoint no more"
"""Why a device is let go, as it stands on a topic for ever: that its person asked for it is between them and the enroller."""
_ASKS = ("control.ask.v1", "control.certificate.v1")


def approve(
    at: Installation, unverified: bytes, subject: str, team: str, key: Ed25519PrivateKey, days: int = ENROLLED_DAYS
) -> bytes:
    """Makes an applicant an endpoint; gives the bundle for its device. Nothing is published before everything was checked.

    Raises Forged, Misconfigured, Transient; Refused: `wrong-root`, `revoked`, `taken`, `not-given` (the broker's rights).
    """
    asks, roots = _application(unverified, at.site), signed_roots(at.home)
    if not all(PSEUDONYM.fullmatch(one) for one in (asks.endpoint, subject, team)):
        raise Misconfigured("endpoint, --subject and --team are pseudonyms of [a-z0-9._-], never names")
    if asks.root not in map(trust.name_of, roots.values()):
        raise Refused("the device pinned a root that is not this site's", reason="wrong-root")
    knowledge = desk.read_now(at, fleet.ENROLLER)
    _check_free(knowledge, asks, subject)
    now, until_ms = dt.datetime.now(dt.UTC), wall_ms() + days * fleet.DAY_MS
    until = dt.datetime.fromtimestamp(until_ms / 1000, dt.UTC)
    own, authority = pki.issue(at.pki, asks.endpoint, asks.request, now, until)
    keys = (asks.key, subject, asks.person_key)
    enrolment = trust.sign(Enrolment(at.site, asks.endpoint, *keys, team, until_ms, asks.receipt_key), [key])
    trust.verify(knowledge.root, "enrol", Enrolment, enrolment, site=at.site)
    asked = trust.name_of(unverified)
    issued = trust.sign(Issued(at.site, asked, certificates.seal(own, authority, recipient(asks.receipt_key), asked)), [key])
    provision.admit(at.kafka("admin"), at.site, load_catalogue(), asks.endpoint)
    replace_file(fleet.issued(at.home) / f"{asks.endpoint}.crt.pem", own, mode=0o644)
    desk.publish(at, fleet.ENROLLER, [("control.enrolment.v1", asks.endpoint.encode(), enrolment)])
    chain = [signed.decode() for signed in roots.values()]
    return json.dumps({"roots": chain, "enrolment": enrolment.decode(), "issued": issued.decode()}, indent=1).encode()


def answer(at: Installation, key: Ed25519PrivateKey) -> dict[str, list[str]]:
    """Answers what endpoints asked since yesterday, each thing once: for a timer at the enroller's desk.

    Gives who was renewed, let go, refused, and whose word was passed on. Raises Transient, Refused, Misconfigured.
    """
    published = set(desk.readable(fleet.ENROLLER)) - {*_ASKS}
    knowledge = desk.read_now(at, fleet.ENROLLER, topics=published)
    done: dict[str, list[str]] = {"renewed": [], "left": [], "passed on": [], "refused": []}
    before = dict(knowledge.consents)
    asked, words, answered = _asked(at, knowledge)
    fresh = [
        word for word in words.values() if before.get(word[0].subject) != knowledge.consents.get(word[0].subject) == word[0]
    ]
    desk.publish(at, fleet.ENROLLER, [("control.consent.v1", one.subject.encode(), value) for one, value in fresh])
    done["passed on"] = sorted(one.subject for one, _ in fresh)
    for name, (one, named) in sorted(asked.items()):
        if name in knowledge.revoked or named in answered:
            continue
        if not one.request:
            fleet.revoke(at, name, LEFT, key)
            done["left"].append(name)
            continue
        try:
            _renew(at, knowledge.enrolments[name], one, named, key)
            done["renewed"].append(name)
        except (Forged, Misconfigured):
            done["refused"].append(name)
    return done


def _renew(at: Installation, enrolment: Enrolment, asked: Asked, named: str, key: Ed25519PrivateKey) -> None:
    until = dt.datetime.fromtimestamp(enrolment.until_ms / 1000, dt.UTC)
    own, authority = pki.issue(at.pki, enrolment.endpoint, asked.request, dt.datetime.now(dt.UTC), until)
    replace_file(fleet.issued(at.home) / f"{enrolment.endpoint}.crt.pem", own, mode=0o644)
    sealed = certificates.seal(own, authority, recipient(enrolment.receipt_key), named)
    desk.publish(
        at, fleet.ENROLLER, [("control.certificate.v1", named.encode(), trust.sign(Issued(at.site, named, sealed), [key]))]
    )


def _asked(
    at: Installation, knowledge: Knowledge
) -> tuple[Mapping[str, tuple[Asked, str]], Mapping[str, tuple[Consent, bytes]], frozenset[str]]:
    """The newest wish of each endpoint with its digest, the newest word of each person, and what was answered already."""
    asked: dict[str, tuple[Asked, str]] = {}
    words: dict[str, tuple[Consent, bytes]] = {}
    answered = set()
    with closing(desk.open_watch(at, fleet.ENROLLER, topics=_ASKS)) as watch:
        watch.knowledge = knowledge  # enrolments are known by now
        for record, document in desk.records(watch):
            match document:
                case Asked():
                    asked[document.endpoint] = document, trust.name_of(record.value)
                case Consent() if record.value is not None:
                    words[document.subject] = document, record.value
                case Issued():
                    answered.add(document.asked)
    return asked, words, frozenset(answered)


def _application(unverified: bytes, site: str) -> Application:
    claimed = load(Application, load_envelope(unverified).body)  # only to find the keys that must have signed it
    for key in (claimed.key, claimed.person_key):
        found, _ = trust.verify_by(verify_key(key), Application, unverified, site=site)
    recipient(claimed.receipt_key)
    return found


def _check_free(knowledge: Knowledge, asks: Application, subject: str) -> None:
    known = knowledge.enrolments.get(asks.endpoint)
    if asks.endpoint in knowledge.revoked:
        raise Refused(f"{asks.endpoint} was revoked: a device comes back under another name", reason="revoked")
    if known is not None and (known.key, known.subject) != (asks.key, subject):
        raise Refused(f"{asks.endpoint} is another device's or person's name", reason="taken")
    if any(one.subject == subject and one.person_key != asks.person_key for one in knowledge.enrolments.values()):
        said = "has another key already: enrol this device with --person-key, the key from their other device"
        raise Refused(f"{subject} {said}", reason="taken")
    if any(one.person_key == asks.person_key and one.subject != subject for one in knowledge.enrolments.values()):
        said = "the application has another person's key: on a shared computer each enrols in an account of their own"
        raise Refused(said, reason="taken")
