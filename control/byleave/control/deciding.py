"""Edge: what officers decide together: a proposal goes from file to file, and at last to the topics. The rules are `proposal`,
`resume` and `roots`.
"""

from __future__ import annotations

import json
import secrets
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import bootstrap, desk, policies, proposal, resume, roots, trust
from byleave.control.beacon import MORE
from byleave.control.documents import Halt, LevelPolicy, Manifest, Rehearsal, Root, Scope, State, digest, dump, load
from byleave.control.knowledge import Knowledge
from byleave.control.ordering import ACCEPTED_S_MAX, PRINCIPAL, named
from byleave.control.proposal import Basis, Proposal
from byleave.control.versions import is_version
from byleave.core.clock import wall_ms
from byleave.core.dsse import load_envelope
from byleave.core.errors import Misconfigured, Refused
from byleave.core.keys import public_hex, replace_file
from byleave.core.settings import Installation

FILE_BYTES_MAX = 1_000_000
Signed = dict[str, bytes]
_TOPICS = {Manifest: "control.manifest.v1", Halt: "control.halt.v1", Root: "control.root.v1", State: "control.state.v1"}


def read_basis(at: Installation, first: Root | None = None) -> tuple[Basis, Signed]:
    """What is in force, and the signed documents behind it by digest. Raises Transient, Misconfigured, Refused.

    Where no state has followed the newest root yet, what is in force is told by the root before it. `first` is a root that is
    proposed where none is trusted.
    """
    trusted = at.home / "trust" / "root.dsse"
    if first is not None and not trusted.is_file():
        return Basis(None, Knowledge(first, at.site)), {}
    knowledge, signed = _read(at, None)
    newest = knowledge.root
    for version in range(newest.version - 1, 0, -1):
        kept = trusted.with_name(f"root.{version}.dsse")
        if knowledge.state is None and kept.is_file():
            knowledge, signed = _read(at, trust.load_root(kept.read_bytes(), at.site))
    return Basis(newest, knowledge), signed


def _read(at: Installation, root: Root | None) -> tuple[Knowledge, Signed]:
    """Reads everything, and waits a moment for the effective time of a fresh order: a state must say from when it counted."""
    signed: Signed = {}
    watch = desk.open_watch(at, PRINCIPAL, root=root)
    try:
        knowledge = desk.read_all(watch, signed).knowledge
        until_s = time.monotonic() + ACCEPTED_S_MAX
        while any(knowledge.effective_ms(name) is None for name in knowledge.in_force()) and time.monotonic() < until_s:
            watch.pump(0.1)
    finally:
        watch.close()
    return knowledge, signed


def next_documents(
    basis: Basis, lift: list[str] | None, manifest: Manifest | None, scopes: list[Scope], recipient: tuple[str, str] | None,
    minimum: str | None = None,
) -> Proposal:  # fmt: skip
    """The next state, with the manifest that it brings. `lift`: ids or beginnings, None for all. Raises Refused."""
    riding = {digest(dump(manifest)): manifest} if manifest else {}
    run = resume.next_run(basis.knowledge.state, next(iter(riding), None), scopes, recipient)
    chosen = _chosen(basis.knowledge, lift)
    if minimum and not is_version(minimum):
        raise Misconfigured(f"--minimum {minimum[:20]!r}: a version is up to four numbers with dots between")
    state = resume.next_state(basis.knowledge, chosen, wall_ms(), root=basis.root, run=run, manifests=riding, minimum=minimum)
    return proposal.propose([*riding.values(), state])


def rotation(basis: Basis, signed: Signed, root: Root, lift: list[str]) -> Proposal:
    """A next root, the state that must follow it, and what both must have signed again. Raises Refused."""
    knowledge, now_ms, chosen = basis.knowledge, wall_ms(), _chosen(basis.knowledge, lift)
    again = roots.lost(root, knowledge, signed, chosen, now_ms)
    state = [resume.next_state(knowledge, chosen, now_ms, root=root)] if knowledge.state else []
    return proposal.propose([root, *(again[name] for name in sorted(again)), *state])


def _chosen(knowledge: Knowledge, lift: list[str] | None) -> set[str]:
    if lift is not None:
        return {named(knowledge, start) for start in lift}
    standing = {name for name in knowledge.in_force() if not knowledge.is_drill(name)}
    if MORE in standing:  # so many that no beacon names them all: those that it names go first
        standing = {name for name in standing - {MORE} if knowledge.effective_ms(name) is not None}
    return standing


def sign_file(
    at: Installation, path: Path, agree: Callable[[list[str]], bool], key: Callable[[], Ed25519PrivateKey]
) -> list[str]:
    """Adds one signature to a proposal's file, after `agree` was shown what it says. Gives who is still missing.

    Raises Refused, Forged, Misconfigured, Transient: then the file is as it was.
    """
    found, basis, signed = _open(at, path)
    _check(found, basis, signed)
    if not agree(list(proposal.words(found, basis))):
        raise Refused("not agreed: nothing was signed", reason="not-agreed")
    made = proposal.sign(found, basis, key())
    replace_file(path, made.dump())
    return proposal.missing(made, basis)


def _open(at: Installation, path: Path) -> tuple[Proposal, Basis, Signed]:
    found = proposal.load_proposal(_bytes(path), at.site)
    if found.one(LevelPolicy) is not None:
        return found, root_basis(at), {}
    return found, *read_basis(at, found.one(Root))


def root_basis(at: Installation) -> Basis:
    """What a level policy is judged against: the pinned root alone, so that it needs no broker. Raises Misconfigured."""
    root = bootstrap.pinned_root(at.home, at.site)
    return Basis(root, Knowledge(root, at.site))


def submit(at: Installation, found: Proposal, basis: Basis, signed: Signed, *, alone: bool = False) -> dict[str, Any]:
    """Verifies the thresholds and publishes everything in it. `alone`: a root without the state that must follow it.

    Raises Refused (`below-threshold`, as `proposal.check`), Forged, Transient: then nothing is kept here.
    """
    if alone and found.one(Root) is not None:
        found = Proposal(tuple(envelope for envelope in found.envelopes if envelope.payload_type != State.TYPE))
    _check(found, basis, signed)  # after that: what the state was to lift is in force as long as it does not come
    lacking = proposal.missing(found, basis)
    if lacking:
        raise Refused("; ".join(lacking), reason="below-threshold")
    proposal.verify(found, basis)
    if basis.root is None:
        bootstrap.pin_root(at.home, found.envelopes[0].dump())
        return {"root": 1, "digest": digest(found.envelopes[0].body)}
    if (policy := found.one(LevelPolicy)) is not None:
        policies.install(at.home / policies.FOLDER, found.envelopes[0].dump(), basis.root, at.site, wall_ms())
        return {"policy": policy.version, "digest": digest(found.envelopes[0].body)}
    rows = [
        (_TOPICS[type(one)], _key(one), envelope.dump()) for envelope, one in zip(found.envelopes, found.documents, strict=True)
    ]
    manifests = [row for row in rows if row[0] == _TOPICS[Manifest]]
    desk.publish(at, "enrol", manifests)
    state, root = found.one(State), found.one(Root)
    desk.publish(at, PRINCIPAL, [*_spent(state), *(row for row in rows if row not in manifests)])
    for topic, _, value in rows:
        if topic == _TOPICS[Root]:
            bootstrap.pin_root(at.home, value)
        elif topic != _TOPICS[Halt]:
            replace_file(at.home / "trust" / ("state.dsse" if topic == _TOPICS[State] else "manifest.dsse"), value, mode=0o644)
    report: dict[str, Any] = {"root": root.version} if root else {}
    halts = [key.decode() for topic, key, _ in rows if topic == _TOPICS[Halt]]
    report |= {"halts": halts} if halts else {}
    if state is not None:
        lifted = sorted(row.halt_id for row in state.lifted if row.epoch == state.epoch)
        standing = len(set(basis.knowledge.in_force()) - set(lifted))
        report |= {"epoch": state.epoch, "lifted": lifted, "standing": standing}
    return report


def resume_here(at: Installation, lift: list[str] | None) -> dict[str, Any]:
    """Proposes, signs and submits the next state with the development keys in this installation. Raises as `submit`."""
    basis, signed = read_basis(at)
    made = next_documents(basis, lift, None, [], None)
    for key in desk.officers(made.governing(basis), "resume", at.home / "officers"):
        made = proposal.sign(made, basis, key)
    return submit(at, made, basis, signed)


def rehearse(at: Installation, key: Ed25519PrivateKey) -> dict[str, Any]:
    """Proves that an officer's key works: signs and publishes that it does. Raises Refused (`not-named`), Transient."""
    mine, now_ms = public_hex(key), wall_ms()
    if not any(mine in role.keys for role in bootstrap.pinned_root(at.home, at.site).roles):
        raise Refused("the root names no such key: it cannot sign anything", reason="not-named")
    signed = trust.sign(Rehearsal(at.site, mine, now_ms, secrets.token_hex(16)), [key])
    desk.publish(at, PRINCIPAL, [("control.rehearsal.v1", mine.encode(), signed)])
    return {"key": mine, "at_ms": now_ms}


def told(path: Path) -> Mapping[str, Any]:
    """A description in TOML or JSON. Raises Misconfigured."""
    try:
        text = _bytes(path).decode()
        found = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except ValueError:
        raise Misconfigured(f"{path} is neither TOML nor a JSON object") from None
    return dict(found)


def write_proposal(path: Path, made: Proposal, basis: Basis) -> list[str]:
    """Writes it, and gives what it says. Raises Misconfigured if the file is there: signatures may be in it."""
    if path.exists():
        raise Misconfigured(f"{path} exists: name another file, or move it away first")
    replace_file(path, made.dump())
    return list(proposal.words(made, basis))


def submit_file(at: Installation, path: Path, *, alone: bool) -> dict[str, Any]:
    """As `submit`, from a file."""
    return submit(at, *_open(at, path), alone=alone)


def signed_roots(home: Path) -> dict[int, bytes]:
    """Each root that this installation has trusted, as it was signed, by version; the oldest first."""
    found = [path.read_bytes() for path in (home / "trust").glob("root*.dsse")]
    return dict(sorted((load(Root, load_envelope(signed).body).version, signed) for signed in found))


def kept_roots(home: Path) -> dict[int, str]:
    """The digest of each, by version."""
    return {version: trust.name_of(signed) for version, signed in signed_roots(home).items()}


def certificate_ends(folder: Path) -> dict[str, int]:
    """When each certificate of the folder ends, in ms, by name. Raises Misconfigured."""
    found = {}
    for path in sorted(folder.glob("*.crt.pem")):
        try:
            ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
        except (OSError, ValueError):
            raise Misconfigured(f"{path} is not a certificate that can be read") from None
        found[path.name.removesuffix(".crt.pem")] = int(ends.timestamp() * 1000)
    return found


def _check(found: Proposal, basis: Basis, signed: Signed) -> None:
    now_ms, root, state = wall_ms(), found.one(Root), found.one(State)
    proposal.check(found, basis, now_ms)
    if root is not None:
        roots.check(root, now_ms)
        lifted = [row.halt_id for row in state.lifted] if state else []
        missing = roots.lost(root, basis.knowledge, signed, lifted, now_ms).keys() - {digest(e.body) for e in found.envelopes}
        if missing:
            said = "would not be believed under the next root: lift it, or propose again so that it is signed again"
            raise Refused(f"{min(missing)[:12]} is in force and {said}", reason="orphaned-order")


def _spent(state: State | None) -> list[tuple[str, bytes, bytes | None]]:
    """Records of orders that were lifted long ago: they go, since states repeat what counts of them."""
    rows = state.lifted if state else ()
    before_ms = wall_ms() - resume.HALT_RECORD_MS
    past = [row for row in rows if state and row.epoch < state.epoch and row.effective_ms % resume.NEVER_MS < before_ms]
    return [(_TOPICS[Halt], row.halt_id.encode(), None) for row in past]


def _key(document: Any) -> bytes:
    if isinstance(document, Root):
        return str(document.version).encode()
    return document.site.encode() if isinstance(document, State) else digest(dump(document)).encode()


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read ({type(error).__name__})") from None
