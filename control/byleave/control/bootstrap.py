"""Edge: a development site out of nothing: keys and first documents, as files (P1, P2).

For one machine or a trial. All officers' keys lie in one folder, so it shows the forms and proves nothing about the people; an
organisation makes each officer's key where that officer is. Consent is not part of it: the person signs for herself.

Idempotent: what is there stays, what is missing is made. Nothing is published here; `documents_to_publish` says what would be.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import roots, trust
from byleave.control.documents import Consent, Enrolment, Manifest, Root, Run, Scope, State, digest, load
from byleave.control.proposal import described_manifest
from byleave.core.dsse import load_envelope
from byleave.core.envelope import Randomness
from byleave.core.errors import Misconfigured
from byleave.core.keys import KEY_BYTES, public_hex, read_hpke_key, read_signing_key, replace_file, write_secret

DAY_MS = 86_400_000
ENROLLER = "officers/enrol-1"
OFFICERS = {"officers/security-1": "security", "officers/privacy-1": "privacy", "officers/council-1": "council"}
"""Who halts, resumes and signs manifests, and the group each belongs to."""
ROLES: Mapping[str, tuple[int, Mapping[str, str]]] = {
    "root": (2, {f"officers/root-{n}": f"root-{n}" for n in (1, 2, 3)}),
    "halt": (1, OFFICERS),
    "resume": (2, OFFICERS),
    "manifest": (2, OFFICERS),
    "enrol": (1, {ENROLLER: "people"}),
    "beacon": (1, {"beacon/beacon": "service"}),
    "redactor": (1, {"redactor/sign": "service"}),
    "drill": (1, {"drill/drill": "service"}),
}
"""How many keys of as many groups each role needs, and the place of each key with the group that owns it."""
RECIPIENTS = {"recipients/security": "security", "recipients/council": "council"}
"""Who reads what people raise."""


def dev_site(
    home: Path, site: str, endpoints: Sequence[tuple[str, str, str]], now_ms: int, random: Randomness,
    *, applications: Sequence[str] = (), consent: bool = False,
) -> Root:  # fmt: skip
    """Makes what is missing of a site with these (endpoint, subject, team), and returns its root.

    `applications` in the place of those of `manifest.toml`. `consent` signs for the persons too: for tests and the demo, which
    say so. Raises Misconfigured and Forged if what is there cannot be used.
    """
    for place in _places(endpoints):
        if not (home / f"{place}.key").exists():
            write_secret(home / f"{place}.key", random(KEY_BYTES))
    if not _redactor_keys(home):
        day = dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC).date().isoformat()
        write_secret(home / "redactor" / f"raw-{day}.key", random(KEY_BYTES))
    root = trust.load_root(_ensure(home, "trust/root", _root(home, site, now_ms), ROLES["root"][1]), site)
    manifest = _ensure(home, "trust/manifest", _manifest(site, applications, now_ms), OFFICERS)
    state = _ensure(home, "trust/state", _state(home, site, manifest, now_ms), OFFICERS)
    agreed = load(State, load_envelope(state).body).run[0].manifest
    for endpoint, subject, team in endpoints:
        folder, person = f"endpoints/{endpoint}", f"people/{subject}/person"
        keys = (public_hex(_key(home, f"{folder}/device")), subject, public_hex(_key(home, person)))
        receipts = public_hex(read_hpke_key(home / f"{folder}/receipt.key"))
        enrolment = Enrolment(site, endpoint, *keys, team, now_ms + 90 * DAY_MS, receipts)
        _ensure(home, f"{folder}/enrolment", enrolment, [ENROLLER])
        if consent:
            given = Consent(site, subject, agreed, given=True, at_ms=now_ms)
            _ensure(home, f"{folder}/consent", given, [person])
    return root


def documents_to_publish(home: Path) -> list[tuple[str, bytes, bytes]]:
    """(topic, key, value) of every document of the site that stands in files: what grants leave comes last."""
    manifest, state = ((home / "trust" / f"{name}.dsse").read_bytes() for name in ("manifest", "state"))
    found = [("control.manifest.v1", trust.name_of(manifest).encode(), manifest)]
    for folder in sorted((home / "endpoints").iterdir()):
        for name, kind, key in (("enrolment", Enrolment, "endpoint"), ("consent", Consent, "subject")):
            path = folder / f"{name}.dsse"
            if path.is_file():
                value = path.read_bytes()
                whose = getattr(load(kind, load_envelope(value).body), key)
                found.append((f"control.{name}.v1", whose.encode(), value))
    return [*found, ("control.state.v1", load(State, load_envelope(state).body).site.encode(), state)]


def _places(endpoints: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """Of the keys, below the state folder and without `.key`."""
    for _, owners in ROLES.values():
        yield from owners
    yield from ("redactor/state", *RECIPIENTS)
    for endpoint, subject, _ in endpoints:
        yield from (f"endpoints/{endpoint}/device", f"endpoints/{endpoint}/receipt", f"people/{subject}/person")


def _key(home: Path, place: str) -> Ed25519PrivateKey:
    return read_signing_key(home / f"{place}.key")


def _redactor_keys(home: Path) -> list[Path]:
    return sorted((home / "redactor").glob("raw-*.key"))


def _ensure(home: Path, name: str, document: Any, places: Iterable[str]) -> bytes:
    """The document of that name as it stands there; this one, signed with the keys of these places, if there is none."""
    path = home / f"{name}.dsse"
    if not path.exists():
        replace_file(path, trust.sign(document, [_key(home, place) for place in places]), mode=0o644)
    return path.read_bytes()


def _root(home: Path, site: str, now_ms: int) -> Root:
    roles = {
        name: {
            "threshold": needed,
            "groups": needed,
            "keys": [f"{public_hex(_key(home, at))}@{group}" for at, group in of.items()],
        }
        for name, (needed, of) in ROLES.items()
    }
    readers = [f"{Path(at).name}={public_hex(read_hpke_key(home / f'{at}.key'))}@{group}" for at, group in RECIPIENTS.items()]
    return roots.described({"roles": roles, "recipients": readers}, site, now_ms)


def _manifest(site: str, applications: Sequence[str], now_ms: int) -> Manifest:
    told = tomllib.loads(resources.files("byleave.control").joinpath("manifest.toml").read_text(encoding="utf-8"))
    return described_manifest(told | ({"applications": [*applications]} if applications else {}), site, now_ms)


def _state(home: Path, site: str, manifest: bytes, now_ms: int) -> State:
    body = load_envelope(manifest).body
    newest = _redactor_keys(home)[-1]
    run = Run(Scope("global"), digest(body), newest.stem, public_hex(read_hpke_key(newest)))
    expires_ms = min(now_ms + 30 * DAY_MS, load(Manifest, body).expires_ms)
    return State(site, 1, "", 1, now_ms, expires_ms, (run,), ())


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
