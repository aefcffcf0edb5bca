"""What several officers sign: documents on their way from hand to hand, and the signatures so far (P2).

Pure. A proposal travels as a file, by mail or stick, and is believed by nobody: each signer's machine works out what the next
state would be and refuses another; `trust.verify` has the last word before anything is published, and again at every reader.

Promises  what a signer reads is what is signed; a signature is added only by a key that the document's role names, once.
Refuses   `stale-proposal` (the state in force is another one by now), `not-the-next-state` (it says more than it shows),
          `not-named`, `signed-twice`, `below-threshold`; Forged: malformed, wrong type or site, bad signatures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import trust, wording
from byleave.control.documents import Halt, Manifest, Role, Root, State, digest, dump, load
from byleave.control.knowledge import DISCARD_MS_MAX, Knowledge
from byleave.control.resume import next_state
from byleave.core import dsse
from byleave.core.errors import Forged, Misconfigured, Refused
from byleave.core.keys import public_hex, verify_key

PROPOSAL_BYTES_MAX = 1_000_000
DOCUMENTS_MAX = 64
CLOCKS_MS_MAX = 300_000
"""How far two officers' wall clocks may stand apart."""
MANIFEST_MS = 90 * 86_400_000
_KINDS: dict[str, type[Any]] = {kind.TYPE: kind for kind in (Root, Manifest, Halt, State)}


@dataclass(frozen=True, slots=True)
class Basis:
    """What a proposal is judged against: the root that is trusted here, None before the first, and what is in force."""

    site: str
    root: Root | None
    knowledge: Knowledge | None
    """Under that root; under the one before it while no state has followed."""


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

    def dump(self) -> bytes:
        return json.dumps([json.loads(envelope.dump()) for envelope in self.envelopes], indent=1).encode() + b"\n"


def propose(documents: Sequence[Any]) -> Proposal:
    """These documents, signed by nobody yet."""
    return Proposal(tuple(dsse.Envelope(type(document).TYPE, dump(document), ()) for document in documents))


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
        raise Forged("a proposal holds roots, manifests, orders and states, nothing else", reason="wrong-type")
    for envelope, document in zip(found.envelopes, found.documents, strict=True):
        if document.site != site:
            raise Forged(f"a proposal of another site than {site}", reason="wrong-site")
        if dump(document) != envelope.body:  # what is shown is what is signed
            raise Forged("a document that was not written in our form: it could say more than it shows", reason="malformed")
    for kind in (Root, State):
        if sum(isinstance(document, kind) for document in found.documents) > 1:
            raise Forged(f"two documents of type {kind.__name__} in one proposal", reason="malformed")
    return found


def described_manifest(told: Mapping[str, Any], site: str, now_ms: int) -> Manifest:
    """A manifest from what its owners wrote; site, issue and end may be left out (90 days). Raises Misconfigured."""
    defaults = {"site": site, "issued_ms": now_ms, "expires_ms": now_ms + MANIFEST_MS, "sites": []}
    try:
        manifest = load(Manifest, json.dumps({**defaults, **told}).encode())
    except (Forged, TypeError):
        raise Misconfigured("a manifest needs exactly the fields of docs/formats/control.md, each of its type") from None
    if set(manifest.kinds) - wording.KINDS.keys() or any(r.purpose not in manifest.purposes for r in manifest.readers):
        raise Misconfigured(f"its kinds are of {', '.join(wording.KINDS)}, and each reader's purpose is one of its purposes")
    if manifest.site != site or manifest.expires_ms <= now_ms:
        raise Misconfigured("the manifest is of another site, or has run out already")
    return manifest


def roles_of(document: Any, root: Root | None, following: Root | None) -> tuple[Role, ...]:
    """Whose thresholds a document needs; with a next root in the proposal, everything but it is signed under that one."""
    if isinstance(document, Root):
        return (*((trust.role_of(root, "root"),) if root else ()), trust.role_of(document, "root"))
    governing = _governing(root, following)
    names = {State: ("resume",), Manifest: ("manifest",)}.get(type(document), ("halt",))
    far = (
        isinstance(document, Halt) and document.discard_since_ms and reaches_far(document.issued_ms, document.discard_since_ms)
    )
    return tuple(trust.role_of(governing, name) for name in ((*names, "resume") if far else names))


def _governing(root: Root | None, following: Root | None) -> Root:
    governing = following or root
    if governing is None:
        raise Refused("no root is trusted here yet", reason="no-root")
    return governing


def reaches_far(issued_ms: int, since_ms: int) -> bool:
    """Whether erasing that needs as many signatures as resuming (ruling 7)."""
    return issued_ms - since_ms > DISCARD_MS_MAX


def check(proposal: Proposal, basis: Basis, now_ms: int) -> None:
    """That the proposal fits what is in force, and every signature in it its key. Raises Refused, Forged."""
    following = proposal.one(Root)
    if following is not None and following.version != (basis.root.version if basis.root else 0) + 1:
        raise Refused(f"root {following.version} does not follow the one that is trusted here", reason="stale-proposal")
    for envelope, document in zip(proposal.envelopes, proposal.documents, strict=True):
        _signed_by(envelope, roles_of(document, basis.root, following))
    state = proposal.one(State)
    if state is not None and basis.knowledge is not None:
        _check_state(state, proposal, basis.knowledge, following or basis.root, now_ms)


def _check_state(state: State, proposal: Proposal, knowledge: Knowledge, root: Root | None, now_ms: int) -> None:
    if state.prev != knowledge.state_digest:
        raise Refused("the state in force is not the one that this follows: propose again", reason="stale-proposal")
    fresh = [row.halt_id for row in state.lifted if row.epoch == state.epoch]
    issued_ms = min(state.issued_ms, now_ms + CLOCKS_MS_MAX)
    expected = next_state(knowledge, fresh, issued_ms, root=root, run=state.run, manifests=manifests_of(proposal))
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
    following = proposal.one(Root)
    for envelope, document in zip(proposal.envelopes, proposal.documents, strict=True):
        signed = envelope.dump()
        if isinstance(document, Root):
            trust.load_next(basis.root, signed, basis.site) if basis.root else trust.load_root(signed, basis.site)
            continue
        governing = _governing(basis.root, following)
        for role in roles_of(document, basis.root, following):
            trust.verify(governing, role.name, type(document), signed, site=basis.site)


def sign(proposal: Proposal, basis: Basis, key: Ed25519PrivateKey) -> Proposal:
    """Adds one officer's signature to each document that this key may sign and has not yet.

    Raises Refused: `not-named`, `signed-twice`. `check` comes first.
    """
    mine, following, signed, named = public_hex(key), proposal.one(Root), [], False
    for envelope, document in zip(proposal.envelopes, proposal.documents, strict=True):
        may = any(mine in role.keys for role in roles_of(document, basis.root, following))
        named = named or may
        fresh = may and mine not in {key_id for key_id, _ in envelope.signatures}
        row = (mine, dsse.sign(key, envelope.payload_type, envelope.body))
        signed.append(replace(envelope, signatures=(*envelope.signatures, row)) if fresh else envelope)
    if not named:
        raise Refused("no role that may sign this names your key; see 'byleave keys list'", reason="not-named")
    if tuple(signed) == proposal.envelopes:
        raise Refused("your key has signed this already: the others are missing", reason="signed-twice")
    return Proposal(tuple(signed))


def missing(proposal: Proposal, basis: Basis) -> list[str]:
    """Who must still sign, a sentence for each role and document; empty when the thresholds are met."""
    following, said = proposal.one(Root), []
    for envelope, document in zip(proposal.envelopes, proposal.documents, strict=True):
        signed = {key_id for key_id, _ in envelope.signatures}
        for role in roles_of(document, basis.root, following):
            rows = list(zip(role.keys, role.groups, strict=True))
            groups = sorted({group for key, group in rows if key in signed})
            count = len(signed & set(role.keys))
            if count < role.threshold or len(groups) < role.groups_min:
                open_groups = sorted({group for key, group in rows if key not in signed})
                needs = f"{role.threshold} keys of {role.groups_min} groups of role {role.name}"
                has = f"has {count} ({', '.join(groups) or 'none'})"
                said.append(f"the {type(document).__name__} needs {needs}, {has}; left are {', '.join(open_groups) or 'none'}")
    return said


def words(proposal: Proposal, basis: Basis) -> Iterator[str]:
    """The whole proposal in plain words, against what is in force."""
    knowledge = basis.knowledge
    known = {**(knowledge.manifests if knowledge else {}), **manifests_of(proposal)}
    for document in proposal.documents:
        if isinstance(document, Root):
            yield from wording.root_words(document, basis.root)
        elif isinstance(document, Manifest):
            now = {run.manifest for run in knowledge.state.run} if knowledge and knowledge.state else set()
            yield from wording.manifest_words(document, [known[name] for name in sorted(now & known.keys())])
        elif isinstance(document, Halt):
            yield from wording.halt_words(document)
        elif knowledge is not None:
            yield from wording.state_words(document, knowledge, known)


def _signed_by(envelope: dsse.Envelope, roles: Sequence[Role]) -> None:
    """Every signature stands under the name of a key that may sign, matches, and stands there once."""
    allowed = {key for role in roles for key in role.keys}
    names = [key_id for key_id, _ in envelope.signatures]
    found = {key.hex() for key in dsse.signers(envelope, envelope.payload_type, [verify_key(key) for key in sorted(allowed)])}
    if len(set(names)) != len(names) or set(names) != found:
        raise Forged(
            f"{envelope.payload_type}: a signature that does not match, or twice, or of a stranger", reason="bad-signature"
        )
