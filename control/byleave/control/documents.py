"""The control documents: what each says, and its strict JSON form (docs/formats/control.md).

A document's body is UTF-8 JSON without duplicate keys, floats or unknown fields, at most 16 KiB, signed as DSSE over exactly
those bytes. Its class below is its grammar: fields, types and nesting are read from it, so nothing that is not declared here
can be said. `LATER` names the fields that came after the first release: who leaves one out means its default. Times
are milliseconds of the beacon service's clock unless a field says otherwise; digests are hex SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

from byleave.core.errors import Forged

BODY_BYTES_MAX = 16_384
STATE_BYTES_MAX = 40_960
"""A state names every order that it lifts, and whoever may halt can issue many. A level policy names what a house runs."""
LENGTHS_MAX = {"what": 16, "kind": 16, "name": 63, "nonce": 64, "buffer": 16}
"""Of texts that are repeated in other documents: whoever signs a long one must not fill those."""
ITEMS_MAX = 1_000
INTEGER_MAX = 2**63 - 1
CANARY = "canary"
"""The one endpoint that the drill key may halt (ruling 8)."""

Document = TypeVar("Document")


@dataclass(frozen=True, slots=True)
class Role:
    """Who may sign what: `threshold` distinct keys of `keys`, from at least `groups` different groups."""

    name: str
    keys: tuple[str, ...]
    groups: tuple[str, ...]
    threshold: int
    groups_min: int


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who can open what people raise: a name, the group that it stands for, its X25519 public key (hex)."""

    name: str
    group: str
    key: str


@dataclass(frozen=True, slots=True)
class Root:
    """The pinned beginning of all trust: roles, their Ed25519 public keys (hex) and thresholds. `groups[i]` owns `keys[i]`."""

    TYPE = "application/vnd.byleave.root.v1+json"
    LATER = frozenset({"recipients"})
    site: str
    version: int
    expires_ms: int
    roles: tuple[Role, ...]
    recipients: tuple[Recipient, ...] = ()


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom something is about: `kind` is global, team, endpoint, subject or site; `name` is empty for global."""

    kind: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who may read which level for which purpose code."""

    principal: str
    level: int
    purpose: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What may be collected, why, kept how long, read by whom: what the person signs for (P1)."""

    TYPE = "application/vnd.byleave.manifest.v1+json"
    LATER = frozenset({"fields", "dpia_sha256"})
    site: str
    title: str
    kinds: tuple[str, ...]
    """Manifest kinds as the schemas name them: pointer, key, window, title."""
    applications: tuple[str, ...]
    """Application ids, lower case; an allow-list. Anything else is not captured."""
    sites: tuple[str, ...]
    purposes: tuple[str, ...]
    readers: tuple[Reader, ...]
    retention_days: int
    dpia: str
    less_intrusive: str
    """Which less intrusive means were weighed, and why they do not do. Empty: nobody believes the manifest."""
    issued_ms: int
    expires_ms: int
    fields: tuple[str, ...] = ()
    """What of each kind, by the names of `promised.FIELDS`. Empty, as in the first version: all of its kinds."""
    dpia_sha256: str = ""
    """Of the text of the assessment that `dpia` names, hex."""


@dataclass(frozen=True, slots=True)
class LevelPolicy:
    """How sensitive the house's applications, sites and texts are: the redactor's policy, and words that are harmless here.

    It is on no topic: a file of the redactor (`policies`). `text` is TOML, as `policy.toml` of the processors.
    """

    TYPE = "application/vnd.byleave.level-policy.v1+json"
    site: str
    version: int
    text: str
    house: tuple[str, ...]
    issued_ms: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Run:
    """Leave to capture: for whom, under which manifest, sealed to which key of the redactor (X25519, hex)."""

    scope: Scope
    manifest: str
    key_id: str
    recipient: str


@dataclass(frozen=True, slots=True)
class Lifted:
    """A halt order that k of n took back, and where it had begun: events at or after that in older epochs stay refused."""

    halt_id: str
    scope: Scope
    what: str
    effective_ms: int
    epoch: int
    """Of the state that first lifted it: from there on it does not count, whoever reads only a later state."""


@dataclass(frozen=True, slots=True)
class Window:
    """An earlier epoch from which batches may still arrive: what was allowed then, so that a restarted fence knows it too."""

    epoch: int
    expires_ms: int
    run: tuple[Run, ...]
    start_ms: int = 0
    """Nothing of this epoch can have been captured before."""


@dataclass(frozen=True, slots=True)
class State:
    """The state in force. `epoch` is one more than that of the state whose body hashes to `prev`."""

    TYPE = "application/vnd.byleave.state.v1+json"
    LATER = frozenset({"minimum"})
    site: str
    epoch: int
    prev: str
    root_version: int
    issued_ms: int
    expires_ms: int
    run: tuple[Run, ...]
    lifted: tuple[Lifted, ...]
    earlier: tuple[Window, ...] = ()
    minimum: str = ""
    """The oldest version of the agent that may capture; empty for any."""


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop. In force until a state names it in `lifted`; `valid_for_ms` bounds only its acceptance (ruling 1)."""

    TYPE = "application/vnd.byleave.halt.v1+json"
    site: str
    scope: Scope
    what: str
    """capture, processing or reads."""
    reason: str
    buffer: str
    """What becomes of the spool: drop or seal."""
    issued_ms: int
    valid_for_ms: int
    nonce: str
    discard_since_ms: int = 0
    """Erase what was admitted since then; 0 for nothing."""


@dataclass(frozen=True, slots=True)
class Effective:
    """From when an accepted order counts; always after the last beacon signed before it."""

    halt_id: str
    effective_ms: int


@dataclass(frozen=True, slots=True)
class Beacon:
    """'At `service_ms` the state with this digest was in force, and these halts were.' One signature for the fleet."""

    TYPE = "application/vnd.byleave.beacon.v1+json"
    LATER = frozenset({"revoked"})
    site: str
    epoch: int
    state: str
    service_ms: int
    n: int
    lease_ms: int
    halts: tuple[Effective, ...]
    revoked: str = ""
    """`halts.names_digest` of every endpoint whose revocation was read: a fence that knows others waits."""


@dataclass(frozen=True, slots=True)
class Request:
    """An endpoint asks for a session. `boot_ms` is the endpoint's own clock, echoed to nobody."""

    TYPE = "application/vnd.byleave.request.v1+json"
    LATER = frozenset({"version"})
    site: str
    endpoint: str
    nonce: str
    boot_ms: int
    agent: str
    """SHA-256 of the agent's own files."""
    root_version: int
    version: str = ""
    """What the agent says its version is; its word alone."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer. It names the nonce and a digest only, so that nobody reads from it who is at work (ruling 9)."""

    TYPE = "application/vnd.byleave.grant.v1+json"
    site: str
    nonce: str
    request: str
    session: str
    service_ms: int
    epoch: int
    not_after_ms: int


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Which endpoint has which key, and whose it is: pseudonyms only."""

    TYPE = "application/vnd.byleave.enrolment.v1+json"
    LATER = frozenset({"receipt_key"})
    site: str
    endpoint: str
    key: str
    subject: str
    person_key: str
    team: str
    until_ms: int
    receipt_key: str = ""
    """To what the endpoint's receipts are sealed (X25519, hex). Without it there are none."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An enrolled endpoint asks for its next certificate, or, with an empty `request`, to be an endpoint no more."""

    TYPE = "application/vnd.byleave.asked.v1+json"
    site: str
    endpoint: str
    request: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its authority, sealed to who asked; `asked` is the digest of what it answers. It names nobody."""

    TYPE = "application/vnd.byleave.issued.v1+json"
    site: str
    asked: str
    sealed: str


@dataclass(frozen=True, slots=True)
class Revocation:
    """An endpoint's name and key are worth nothing from `at_ms` on, for ever, whatever enrolment is read before or after it."""

    TYPE = "application/vnd.byleave.revocation.v1+json"
    site: str
    endpoint: str
    at_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Consent:
    """Signed by the person: yes to exactly this manifest, or its withdrawal."""

    TYPE = "application/vnd.byleave.consent.v1+json"
    site: str
    subject: str
    manifest: str
    given: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """An officer's key was opened and signed at `at_ms`: it would be there on the day (ruling 8). Signed by itself."""

    TYPE = "application/vnd.byleave.rehearsal.v1+json"
    site: str
    key: str
    at_ms: int
    nonce: str


@dataclass(frozen=True, slots=True)
class Release:
    """The agent's files of a version, by their digest, for `byleave me verify`. On no topic: trust/release.dsse."""

    TYPE = "application/vnd.byleave.release.v1+json"
    site: str
    version: str
    agent: str


@dataclass(frozen=True, slots=True)
class Ack:
    """An endpoint's proof that it stopped. `prev` chains its acks."""

    TYPE = "application/vnd.byleave.ack.v1+json"
    LATER = frozenset({"version"})
    site: str
    endpoint: str
    session: str
    halt_id: str
    epoch: int
    seen_ms: int
    stopped_ms: int
    """Permit time at which the capture worker was reaped."""
    worker_reaped: bool
    last_seq: int
    buffered: int
    disposition: str
    """dropped, sealed or empty."""
    prev: str
    version: str = ""


def dump(document: Any) -> bytes:
    """The JSON body of a document: sorted keys, no spaces. Only the bytes count; this form is for people to diff.

    A later field that says nothing but its default is left out, so that an old document keeps its bytes and its digest.
    """
    return json.dumps(_plain(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(body: bytes) -> str:
    """The name of a document: SHA-256 of its exact body, hex."""
    return hashlib.sha256(body).hexdigest()


def load(kind: type[Document], body: bytes) -> Document:
    """Reads a body strictly as `kind`.

    Raises Forged: too large, not UTF-8 JSON, duplicate keys, floats, unknown or missing fields, wrong types, out of range.
    """
    bytes_max = STATE_BYTES_MAX if kind in (State, LevelPolicy) else BODY_BYTES_MAX
    if len(body) > bytes_max:
        raise Forged(f"{kind.__name__} of {len(body)} bytes, at most {bytes_max}", reason="oversized")
    try:
        outer = json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_float=_refuse, parse_constant=_refuse, parse_int=_integer
        )
        built: Document = _build(kind, outer)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Forged(f"the body is not a {kind.__name__} document", reason="malformed") from None
    return built


def _build(kind: Any, value: Any) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        if not isinstance(value, dict) or not set(hints) - _later(kind) <= set(value) <= set(hints):
            raise ValueError
        if any(len(value[name]) > longest for name, longest in LENGTHS_MAX.items() if name in hints and name in value):
            raise ValueError
        return kind(**{name: _build(hint, value[name]) for name, hint in hints.items() if name in value})
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list) or len(value) > ITEMS_MAX:
            raise ValueError
        return tuple(_build(typing.get_args(kind)[0], item) for item in value)
    if type(value) is not kind:  # exactly: True is not an integer here
        raise ValueError
    if kind is str:
        value.encode()  # JSON can spell half a character, which cannot be written down again
    return value


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        later = _later(type(value))
        said = {field.name: (getattr(value, field.name), field.default) for field in fields(value)}
        return {name: _plain(one) for name, (one, default) in said.items() if name not in later or one != default}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _later(kind: type) -> frozenset[str]:
    return getattr(kind, "LATER", frozenset())


@cache
def _hints(kind: type) -> types.MappingProxyType[str, Any]:
    hints = typing.get_type_hints(kind)
    return types.MappingProxyType({field.name: hints[field.name] for field in fields(kind)})


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _refuse(_: str) -> Any:
    raise ValueError


def _integer(digits: str) -> int:
    if len(digits) > 20 or not 0 <= int(digits) <= INTEGER_MAX:
        raise ValueError
    return int(digits)
