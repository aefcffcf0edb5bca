"""Who said it: the one place where a control document becomes trusted (P2; docs/formats/control.md, section 2).

Promises  what `verify` returns was signed, over exactly its bytes, by enough distinct keys of enough groups of its role.
Refuses   all else as Forged, one reason an attack: tombstone, malformed, wrong-type, bad-signature, below-threshold,
          wrong-site.

The rules are those of TUF (theupdateframework.github.io/specification, 5.3) on DSSE envelopes. Keys are counted, not key ids,
and a root in which one key stands twice in a role is refused, so that no threshold can be padded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from byleave.control.documents import Document, Role, Root, digest, dump, load
from byleave.core import dsse
from byleave.core.errors import Forged
from byleave.core.keys import verify_key


def sign(document: Any, keys: Iterable[Ed25519PrivateKey]) -> bytes:
    """The DSSE form of a control document, as it stands in topics and files."""
    return dsse.seal_envelope(type(document).TYPE, dump(document), keys).dump()


def name_of(unverified: bytes | None) -> str:
    """What others call a document: the digest of its body, whoever signed it. Raises Forged."""
    return digest(dsse.load_envelope(unverified).body)


def load_root(unverified: bytes | None, site: str) -> Root:
    """The root of this site, signed by its own threshold. Whether this is *the* root is for whoever pinned the file to say.

    Raises Forged. Its expiry is checked where there is a time to check it against.
    """
    envelope = _strict(unverified)
    root, _ = _of_site(Root, envelope, site)
    if len({role.name for role in root.roles}) != len(root.roles):
        raise Forged("a role stands twice in the root", reason="malformed")
    for role in root.roles:
        _check_role(role)
    _signed(root, "root", Root, envelope)
    return root


def load_next(root: Root, unverified: bytes | None, site: str) -> Root:
    """The root that follows: one version more, signed by the threshold of `root` and by its own (TUF 5.3). Raises Forged."""
    fresh = load_root(unverified, site)
    if fresh.version != root.version + 1:
        raise Forged(f"root {fresh.version} does not follow root {root.version}", reason="broken-chain")
    _signed(root, "root", Root, _strict(unverified))
    return fresh


def verify(root: Root, role: str, kind: type[Document], unverified: bytes | None, *, site: str) -> tuple[Document, str]:
    """A document that `role` of `root` signed, and the digest of its body. Raises Forged."""
    envelope = _strict(unverified)
    _signed(root, role, kind, envelope)
    return _of_site(kind, envelope, site)


def verify_by(key: Ed25519PublicKey, kind: type[Document], unverified: bytes | None, *, site: str) -> tuple[Document, str]:
    """A document that one enrolled key signed (requests, acks, consents), and the digest of its body. Raises Forged."""
    envelope = _strict(unverified)
    if not _counted(envelope, kind, (key,)):
        raise Forged(f"{kind.__name__}: not signed by the enrolled key", reason="bad-signature")
    return _of_site(kind, envelope, site)


def attainable(role: Role) -> bool:
    """Whether the threshold of a role can be met: by distinct keys, of so many groups."""
    distinct, groups = len(set(role.keys)), len(set(role.groups))
    return 1 <= role.threshold <= distinct and 1 <= role.groups_min <= min(groups, role.threshold)


def role_of(root: Root, name: str) -> Role:
    """A role of the root. Raises Forged (`below-threshold`): a role that the root does not name can sign nothing."""
    for role in root.roles:
        if role.name == name:
            return role
    raise Forged(f"the root names no role {name}", reason="below-threshold")


def _strict(unverified: bytes | None) -> dsse.Envelope:
    """Only the one form that we write: base64 and JSON have several spellings of the same bytes, and we want no second one."""
    envelope = dsse.load_envelope(unverified)
    if envelope.dump() != unverified:
        raise Forged("the envelope is not in its one written form", reason="malformed")
    return envelope


def _signed(root: Root, role_name: str, kind: type[Any], envelope: dsse.Envelope) -> None:
    role = role_of(root, role_name)
    keys = tuple(verify_key(key) for key in role.keys)
    found = _counted(envelope, kind, keys)
    groups = {group for key, group in zip(role.keys, role.groups, strict=True) if bytes.fromhex(key) in found}
    if not found:
        raise Forged(f"{kind.TYPE}: no key of role {role_name} signed it", reason="bad-signature")
    if len(found) < role.threshold or len(groups) < role.groups_min:
        needed = f"{role.threshold} keys of {role.groups_min} groups"
        raise Forged(f"{kind.TYPE}: {len(found)} keys of {len(groups)} groups, needs {needed}", reason="below-threshold")


def _counted(envelope: dsse.Envelope, kind: type[Any], allowed: tuple[Ed25519PublicKey, ...]) -> frozenset[bytes]:
    """The distinct allowed keys that signed under their own name; one false signature in such a name spoils all."""
    found = dsse.signers(envelope, kind.TYPE, allowed)
    known = {dsse.key_id(key) for key in allowed}
    named = [key_id for key_id, _ in envelope.signatures if key_id in known]
    if len(set(named)) != len(named) or not set(named) <= {key.hex() for key in found}:
        raise Forged(f"{kind.TYPE}: a signature does not match, or a key signed twice", reason="bad-signature")
    return frozenset(key for key in found if key.hex() in named)


def _of_site(kind: type[Document], envelope: dsse.Envelope, site: str) -> tuple[Document, str]:
    document = load(kind, envelope.body)
    if getattr(document, "site", None) != site:
        raise Forged(f"{kind.__name__} of another site than {site}", reason="wrong-site")
    return document, digest(envelope.body)


def _check_role(role: Role) -> None:
    """A role must be able to do what it says, and no key may count twice."""
    if len(set(role.keys)) != len(role.keys) or len(role.groups) != len(role.keys):
        raise Forged(f"role {role.name}: a key stands twice, or a key has no group", reason="malformed")
    if not attainable(role):
        raise Forged(f"role {role.name}: its threshold cannot be met", reason="malformed")
    for key in role.keys:
        verify_key(key)
