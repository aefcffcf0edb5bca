"""What several officers sign: documents on their way from hand to hand, and the signatures so far (P2).

Pure. A proposal travels as a file, by mail or stick, and is believed by nobody: each signer's machine works out what the next
state would be and refuses another; `trust.verify` has the last word before anything is published, and again at every reader.

Promises  what a signer reads is what is signed; a signature is added only by a key that the document's role names, once.
Refuses   `stale-proposal` (the state in force is another one by now), `not-the-next-state` (it says more than it shows),
          `not-named`, `signed-twice`, `below-threshold`, `too-many-orders` (more than a file holds);
          Forged: malformed, wrong type or site, bad signatures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import promised, trust, wording
from byleave.control.documents import Halt, LevelPolicy, Manifest, Role, Root, State, digest, dump, load
from byleave.control.knowledge import Knowledge
from byleave.control.resume import next_state
from byleave.core import dsse
from byleave.core.errors import Forged, Misconfigured, Refused
from byleave.core.keys import public_hex, verify_key

PROPOSAL_BYTES_MAX = 1_000_000
DOCUMENTS_MAX = 256
CLOCKS_MS_MAX = 300_000
"""How far two officers' wall clocks may stand apart."""
MANIFEST_MS = 90 * 86_400_000
_KINDS: dict[str, type[Any]] = {kind.TYPE: kind for kind in (Root, Manifest, Halt, LevelPolicy, State)}


@dataclass(frozen=True, slots=True)
class Basis:
    """What a proposal is judged against: what is in force, and the root that is trusted here, None before the first.

    `knowledge` is under that root; under the one before it while no state has followed; and empty before the first.
    """

    root: Root | None
    knowledge: Knowledge


@dataclass(frozen=True, slots=True)
class Proposal:
    """Documents and their signatures so far, in the order in which they would be published."""

    envelopes: tuple[dsse.Envelope, ...]

    @property
    def documents(self) -> tuple[Any, ...]:
        return tuple(load(_KINDS[envelope.payload_type], envelope.body) for envelope in self.envelopes)

    def one(self, kind: type[Any]) -> Any:
        """The document of that kind, or None."""
        return next((document for document in self.documents if isinstance(document, kind)), None)

    def rows(self, basis: Basis) -> list[tuple[dsse.Envelope, Any, tuple[Role, ...]]]:
        """Each envelope, its document, and the roles whose thresholds it needs."""
        roles = [_roles(document, basis.root, self.one(Root)) for document in self.documents]
        return list(zip(self.envelopes, self.documents, roles, strict=True))

    def governing(self, basis: Basis) -> Root:
        """The root under which all but a root is signed: the next one if it rides along. Raises Refused (`no-root`)."""
        return _either(basis.root, self.one(Root))

    def dump(self) -> bytes:
        return json.dumps([json.loads(envelope.dump()) for envelope in self.envelopes], indent=1).encode() + b"\n"


def propose(documents: Sequence[Any]) -> Proposal:
    """These documents, signed by nobody yet. Raises Refused (`too-many-orders`) if no file could hold them, signed."""
    made = Proposal(tuple(dsse.Envelope(type(document).TYPE, dump(document), ()) for document in documents))
    if len(documents) > DOCUMENTS_MAX or len(made.dump()) > PROPOSAL_BYTES_MAX // 2:
        said = f"{len(documents)} documents are more than a proposal holds: lift some of the orders first"
        raise Refused(said, reason="too-many-orders")
    return made


def load_proposal(unverified: bytes, site: str) -> Proposal:
    """Reads the form of a file. Raises Forged: malformed, oversized, wrong type, another site, or not in our written form."""
    if len(unverified) > PROPOSAL_BYTES_MAX:
        raise Forged(f"a proposal of {len(unverified)} bytes, at most {PROPOSAL_BYTES_MAX}", reason="oversized")
    try:
        rows = json.loads(unverified)
        if not isinstance(rows, list) or not 1 <= len(rows) <= DOCUMENTS_MAX:
            raise ValueError
    except (ValueError, RecursionError):
        raise Forged("the file is not a proposal", reason="malformed") from None
    found = Proposal(tuple(dsse.load_envelope(json.dumps(row).encode()) for row in rows))
    if any(envelope.payload_type not in _KINDS for envelope in found.envelopes):
        raise Forged("a proposal holds roots, manifests, orders, states or a level policy, nothing else", reason="wrong-type")
    for envelope, document in zip(found.envelopes, found.documents, strict=True):
        if document.site != site:
            raise Forged(f"a proposal of another site than {site}", reason="wrong-site")
        if dump(document) != envelope.body:  # what is shown is what is signed
            raise Forged("a document that was not written in our form: it could say more than it shows", reason="malformed")
    if found.one(LevelPolicy) is not None and len(found.envelopes) > 1:
        raise Forged("a level policy goes by itself: it is published nowhere", reason="malformed")
    for kind in (Root, State):
        if sum(isinstance(document, kind) for document in found.documents) > 1:
            raise Forged(f"two documents of type {kind.__name__} in one proposal", reason="malformed")
    return found


def described_manifest(told: Mapping[str, Any], site: str, now_ms: int) -> Manifest:
    """A manifest from what its owners wrote. Left out may be site, issue, end (90 days), and the fields: all of its kinds.

    Raises Misconfigured: one sentence for the first thing that is wrong.
    """
    defaults = {"site": site, "issued_ms": now_ms, "expires_ms": now_ms + MANIFEST_MS, "sites": []}
    try:
        defaults["fields"] = promised.fields_of(told.get("kinds", ()))
        manifest = load(Manifest, json.dumps({**defaults, **told}).encode())
    except (Forged, TypeError):
        raise Misconfigured("a manifest needs exactly the fields of docs/formats/control.md, each of its type") from None
    for wrong, said in _faults(manifest, site, now_ms):
        if wrong:
            raise Misconfigured(said)
    return manifest


def _faults(manifest: Manifest, site: str, now_ms: int) -> Iterator[tuple[bool, str]]:
    kinds, fields = set(manifest.kinds), set(manifest.fields)
    known = promised.fields_of(kinds)
    yield not kinds or bool(kinds - wording.KINDS.keys()), f"its kinds are one or more of {', '.join(wording.KINDS)}"
    empty = kinds - {name.partition(".")[0] for name in fields}
    yield bool(fields - set(known) or empty), f"its fields are of {', '.join(known)}, and of each kind at least one"
    foreign = not manifest.readers or any(reader.purpose not in manifest.purposes for reader in manifest.readers)
    yield foreign, "it names its readers, and each reader's purpose is one of its purposes"
    hashed = re.fullmatch("[0-9a-f]{64}", manifest.dpia_sha256)
    yield (
        not hashed,
        "dpia_sha256 must be the SHA-256 of the assessment that dpia names: 64 hex digits, as sha256sum prints them",
    )
    said = "it must name its assessment (dpia) and say which less intrusive means were weighed, and why they do not do"
    yield not promised.complete(manifest), said
    over = manifest.site != site or manifest.expires_ms <= now_ms
    yield over, "the manifest is of another site, or has run out already"


def _roles(document: Any, root: Root | None, following: Root | None) -> tuple[Role, ...]:
    if isinstance(document, Root):
        return tuple(trust.role_of(one, "root") for one in (root, document) if one)
    names: tuple[str, ...] = {State: ("resume",), Manifest: ("manifest",), LevelPolicy: ("manifest",)}.get(
        type(document), ("halt",)
    )
    if isinstance(document, Halt) and document.discard_since_ms:  # several sign it, so it may reach back as far as they say
        names = ("halt", "resume")
    return tuple(trust.role_of(_either(root, following), name) for name in names)


def _either(root: Root | None, following: Root | None) -> Root:
    found = following or root
    if found is None:
        raise Refused("no root is trusted here yet: 'byleave root init' comes first", reason="no-root")
    return found


def check(proposal: Proposal, basis: Basis, now_ms: int) -> None:
    """That the proposal fits what is in force, and every signature in it its key. Raises Refused, Forged."""
    following, state = proposal.one(Root), proposal.one(State)
    if following is not None and following.version != (basis.root.version if basis.root else 0) + 1:
        raise Refused(f"root {following.version} does not follow the one that is trusted here", reason="stale-proposal")
    for envelope, _, roles in proposal.rows(basis):
        _check_signatures(envelope, {key for role in roles for key in role.keys})
    if state is None:
        return
    if state.prev != basis.knowledge.state_digest:
        raise Refused("the state in force is not the one that this follows: propose again", reason="stale-proposal")
    fresh = [row.halt_id for row in state.lifted if row.epoch == state.epoch]
    issued_ms, root = min(state.issued_ms, now_ms + CLOCKS_MS_MAX), proposal.governing(basis)
    expected = next_state(
        basis.knowledge, fresh, issued_ms, root=root, run=state.run, manifests=manifests_of(proposal), minimum=state.minimum
    )
    if _without_starts(state) != _without_starts(expected):
        raise Refused("it is not the state that follows the one in force: propose again", reason="not-the-next-state")


def _without_starts(state: State) -> State:
    """Each desk knows of a window's beginning what it has heard: the one part of a state that two may tell in two ways."""
    return replace(state, earlier=tuple(replace(window, start_ms=0) for window in state.earlier))


def manifests_of(proposal: Proposal) -> Mapping[str, Manifest]:
    """The manifests that ride in it, by digest."""
    return {digest(dump(document)): document for document in proposal.documents if isinstance(document, Manifest)}


def verify(proposal: Proposal, basis: Basis) -> None:
    """Whether every reader will believe it: the last word before it is published. Raises Forged."""
    site = basis.knowledge.site
    for envelope, document, roles in proposal.rows(basis):
        signed = envelope.dump()
        if isinstance(document, Root):
            trust.load_next(basis.root, signed, site) if basis.root else trust.load_root(signed, site)
        else:
            for role in roles:
                trust.verify(proposal.governing(basis), role.name, type(document), signed, site=site)


def sign(proposal: Proposal, basis: Basis, key: Ed25519PrivateKey) -> Proposal:
    """Adds one officer's signature to each document that this key may sign and has not yet.

    Raises Refused: `not-named`, `signed-twice`. `check` comes first.
    """
    mine, signed, named = public_hex(key), [], False
    for envelope, _, roles in proposal.rows(basis):
        may = any(mine in role.keys for role in roles)
        named = named or may
        row = (mine, dsse.sign(key, envelope.payload_type, envelope.body))
        fresh = may and mine not in _signers(envelope)
        signed.append(replace(envelope, signatures=(*envelope.signatures, row)) if fresh else envelope)
    if not named:
        raise Refused("no role that may sign this names your key; see 'byleave keys list'", reason="not-named")
    if tuple(signed) == proposal.envelopes:
        raise Refused("your key has signed this already: the others are missing", reason="signed-twice")
    return Proposal(tuple(signed))


def missing(proposal: Proposal, basis: Basis) -> list[str]:
    """Who must still sign, a sentence for each role and document; empty when the thresholds are met."""
    said = []
    for envelope, document, roles in proposal.rows(basis):
        signed = _signers(envelope)
        for role in roles:
            groups, left = _groups(role, signed), _groups(role, set(role.keys) - signed)
            count = len(signed & set(role.keys))
            if count < role.threshold or len(groups) < role.groups_min:
                needs = f"{role.threshold} keys of {role.groups_min} groups of role {role.name}"
                has = f"has {count} ({', '.join(sorted(groups)) or 'none'}); left are {', '.join(sorted(left)) or 'none'}"
                said.append(f"the {type(document).__name__} needs {needs}, {has}")
    return said


def words(proposal: Proposal, basis: Basis) -> Iterator[str]:
    """The whole proposal in plain words, against what is in force."""
    known, state = {**basis.knowledge.manifests, **manifests_of(proposal)}, basis.knowledge.state
    for document in proposal.documents:
        if isinstance(document, Root):
            yield from wording.root_words(document, basis.root)
        elif isinstance(document, Manifest):
            before = {run.manifest for run in state.run} if state else set()
            yield from wording.manifest_words(document, [known[name] for name in before & known.keys()])
        elif isinstance(document, LevelPolicy):
            yield from wording.policy_words(document)
        elif isinstance(document, Halt):
            yield from wording.halt_words(document)
        else:
            yield from wording.state_words(document, basis.knowledge, known)


def _groups(role: Role, keys: set[str]) -> set[str]:
    return {group for key, group in zip(role.keys, role.groups, strict=True) if key in keys}


def _signers(envelope: dsse.Envelope) -> set[str]:
    return {key_id for key_id, _ in envelope.signatures}


def _check_signatures(envelope: dsse.Envelope, allowed: set[str]) -> None:
    """Every signature stands under the name of a key that may sign, matches, and stands there once."""
    found = {key.hex() for key in dsse.signers(envelope, envelope.payload_type, [verify_key(key) for key in sorted(allowed)])}
    if sorted(key_id for key_id, _ in envelope.signatures) != sorted(found):
        said = f"{envelope.payload_type}: a signature that does not match, or twice, or of a stranger"
        raise Forged(said, reason="bad-signature")
