"""Edge: a development site out of nothing: keys and first documents, as files (P1, P2).

For one machine or a trial. All officers' keys lie in one folder, so it shows the forms and proves nothing about the people; an
organisation makes each officer's key where that officer is. Consent is not part of it: the person signs for herself.

Idempotent: what is there stays, what is missing is made. Nothing is published here; `documents_to_publish` says what would be.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import trust
from byleave.control.documents import (
    Consent,
    Enrolment,
    Manifest,
    Reader,
    Role,
    Root,
    Run,
    Scope,
    State,
    digest,
    load,
)
from byleave.core.dsse import load_envelope
from byleave.core.envelope import Randomness
from byleave.core.errors import Misconfigured
from byleave.core.keys import (
    KEY_BYTES,
    public_hex,
    read_hpke_key,
    read_signing_key,
    replace_file,
    write_secret,
)

DAY_MS = 86_400_000
ROOTS = ("root-1", "root-2", "root-3")
OFFICERS = {"security-1": "security", "privacy-1": "privacy", "council-1": "council"}
"""Who halts, resumes and signs manifests, and the group each belongs to."""
ENROLLER = "enrol-1"
APPLICATIONS = (
    "xterm", "terminal", "code", "editor", "libreoffice", "calc", "explorer", "finder",
    "recording:ducktrack-macos", "recording:opencua-windows", "recording:office",
)  # fmt: skip
"""The allow-list of a trial: work tools and the recordings by name. Nothing private stands in it."""
PURPOSE = "train-assistant"


def dev_site(
    home: Path,
    site: str,
    endpoints: Sequence[tuple[str, str, str]],
    now_ms: int,
    random: Randomness,
    *,
    applications: Sequence[str] = APPLICATIONS,
    consent: bool = False,
) -> Root:
    """Makes what is missing of a site with these (endpoint, subject, team), and returns its root.

    `consent` signs for the persons too: for tests and the demo, which say so. Raises Misconfigured and Forged if what is
    there cannot be used.
    """
    for place, name in _key_places(endpoints):
        _ensure_key(home / place / f"{name}.key", random)
    _ensure_redactor(home, now_ms, random)
    root = _ensure_root(home, site, now_ms)
    manifest = _ensure(home / "trust" / "manifest.dsse", lambda: _manifest(site, applications, now_ms), _officers(home))
    state = _ensure(home / "trust" / "state.dsse", lambda: _state(home, site, manifest, now_ms), _officers(home))
    for endpoint, subject, team in endpoints:
        folder = home / "endpoints" / endpoint
        enrolment = _enrolment(home, site, endpoint, subject, team, now_ms)
        _ensure(
            folder / "enrolment.dsse", lambda made=enrolment: made, [read_signing_key(home / "officers" / f"{ENROLLER}.key")]
        )
        if consent:
            agreed = load(State, load_envelope(state).body).run[0].manifest
            given = Consent(site, subject, agreed, given=True, at_ms=now_ms)
            key = read_signing_key(home / "people" / subject / "person.key")
            _ensure(folder / "consent.dsse", lambda made=given: made, [key])
    return root


def documents_to_publish(home: Path) -> list[tuple[str, bytes, bytes]]:
    """(topic, key, value) of every document of the site that stands in files: what grants leave comes last."""
    manifest, state = ((home / "trust" / f"{name}.dsse").read_bytes() for name in ("manifest", "state"))
    found = [("control.manifest.v1", digest(load_envelope(manifest).body).encode(), manifest)]
    for folder in sorted((home / "endpoints").iterdir()):
        for name, topic in (("enrolment", "control.enrolment.v1"), ("consent", "control.consent.v1")):
            path = folder / f"{name}.dsse"
            if path.is_file():
                value = path.read_bytes()
                found.append((topic, key_of(topic, load_envelope(value).body), value))
    return [*found, ("control.state.v1", load(State, load_envelope(state).body).site.encode(), state)]


def key_of(topic: str, body: bytes) -> bytes:
    """The record key of an enrolment or a consent: by it the topic is compacted."""
    if topic == "control.enrolment.v1":
        return load(Enrolment, body).endpoint.encode()
    return load(Consent, body).subject.encode()


def _key_places(endpoints: Sequence[tuple[str, str, str]]) -> list[tuple[str, str]]:
    places = [("officers", name) for name in (*ROOTS, *OFFICERS, ENROLLER)]
    places += [("beacon", "beacon"), ("redactor", "sign"), ("redactor", "state"), ("drill", "drill")]
    for endpoint, subject, _ in endpoints:
        places += [(f"endpoints/{endpoint}", "device"), (f"people/{subject}", "person")]
    return list(dict.fromkeys(places))


def _ensure_key(path: Path, random: Randomness) -> None:
    if not path.exists():
        write_secret(path, random(KEY_BYTES))


def _ensure_redactor(home: Path, now_ms: int, random: Randomness) -> None:
    if not _redactor_keys(home):
        day = dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC).date().isoformat()
        write_secret(home / "redactor" / f"raw-{day}.key", random(KEY_BYTES))


def _redactor_keys(home: Path) -> list[Path]:
    return sorted((home / "redactor").glob("raw-*.key"))


def _officers(home: Path) -> list[Ed25519PrivateKey]:
    return [read_signing_key(home / "officers" / f"{name}.key") for name in OFFICERS]


def _ensure(path: Path, make: Any, keys: Sequence[Ed25519PrivateKey]) -> bytes:
    """The document in `path`, made and signed if there is none."""
    if not path.exists():
        replace_file(path, trust.sign(make(), keys), mode=0o644)
    return path.read_bytes()


def _ensure_root(home: Path, site: str, now_ms: int) -> Root:
    path = home / "trust" / "root.dsse"
    keys = [read_signing_key(home / "officers" / f"{name}.key") for name in ROOTS]
    return trust.load_root(_ensure(path, lambda: _root(home, site, now_ms), keys), site)


def _root(home: Path, site: str, now_ms: int) -> Root:
    def publics(paths: Mapping[Path, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return tuple(public_hex(read_signing_key(path)) for path in paths), tuple(paths.values())

    officers = publics({home / "officers" / f"{name}.key": group for name, group in OFFICERS.items()})
    roots = publics({home / "officers" / f"{name}.key": name for name in ROOTS})
    beacon = publics({home / "beacon" / "beacon.key": "service"})
    redactor = publics({home / "redactor" / "sign.key": "service"})
    drill = publics({home / "drill" / "drill.key": "service"})
    enrol = publics({home / "officers" / f"{ENROLLER}.key": "people"})
    roles = (
        Role("root", *roots, threshold=2, groups_min=2),
        Role("halt", *officers, threshold=1, groups_min=1),
        Role("resume", *officers, threshold=2, groups_min=2),
        Role("manifest", *officers, threshold=2, groups_min=2),
        Role("enrol", *enrol, threshold=1, groups_min=1),
        Role("beacon", *beacon, threshold=1, groups_min=1),
        Role("redactor", *redactor, threshold=1, groups_min=1),
        Role("drill", *drill, threshold=1, groups_min=1),
    )
    return Root(site, 1, now_ms + 365 * DAY_MS, roles)


def _manifest(site: str, applications: Sequence[str], now_ms: int) -> Manifest:
    return Manifest(
        site=site,
        title="Pointer and keyboard input in work applications",
        kinds=("pointer", "key", "window"),
        applications=tuple(applications),
        sites=(),
        purposes=(PURPOSE,),
        readers=(Reader("ml", 1, PURPOSE), Reader("ml", 2, PURPOSE), Reader("review", 3, PURPOSE)),
        retention_days=90,
        dpia="DPIA-1 (development)",
        less_intrusive="Synthetic input was weighed: it lacks the slips and corrections that the assistant must cope with.",
        issued_ms=now_ms,
        expires_ms=now_ms + 90 * DAY_MS,
    )


def _state(home: Path, site: str, manifest: bytes, now_ms: int) -> State:
    body = load_envelope(manifest).body
    newest = _redactor_keys(home)[-1]
    run = Run(Scope("global"), digest(body), newest.stem, public_hex(read_hpke_key(newest)))
    expires_ms = min(now_ms + 30 * DAY_MS, load(Manifest, body).expires_ms)
    return State(site, 1, "", 1, now_ms, expires_ms, (run,), ())


def _enrolment(home: Path, site: str, endpoint: str, subject: str, team: str, now_ms: int) -> Enrolment:
    device = public_hex(read_signing_key(home / "endpoints" / endpoint / "device.key"))
    person = public_hex(read_signing_key(home / "people" / subject / "person.key"))
    return Enrolment(site, endpoint, device, subject, person, team, now_ms + 90 * DAY_MS)


def pin_root(home: Path, signed: bytes) -> None:
    """Keeps a verified next root beside the others. The newest is the one that is trusted, whoever comes late with an older.

    The caller has verified it: `trust.load_next`.
    """
    newest = home / "trust" / "root.dsse"
    contents = [newest.read_bytes(), signed] if newest.is_file() else [signed]
    versions = {load(Root, load_envelope(content).body).version: content for content in contents}
    for version, content in versions.items():
        replace_file(newest.with_name(f"root.{version}.dsse"), content, mode=0o644)
    replace_file(newest, versions[max(versions)], mode=0o644)


def pinned_root(home: Path, site: str) -> Root:
    """The root that this installation trusts. Raises Misconfigured if there is none; Forged if it is not whole."""
    path = home / "trust" / "root.dsse"
    try:
        return trust.load_root(path.read_bytes(), site)
    except OSError:
        raise Misconfigured(f"{path} cannot be read: run 'byleave enrol', or put the pinned root there") from None
