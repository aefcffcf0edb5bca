"""The next root: which keys come and go, and what must still hold under it (P2).

Pure. Version N + 1 is signed by the thresholds of N and of N + 1 (TUF 5.3); `trust.load_next` verifies that, here is what may
be proposed at all. Under a next root every reader forgets all it believed and reads it again: whatever the new root does not
verify is gone. An order to stop must not go that way.

Refuses   `unable` (a role that could not act), `too-long` (over a year), `mixed-roles` (an officer's key that a service holds),
          `orphaned-order` (an order in force that nobody whom the new root names has signed).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from byleave.control import resume, trust
from byleave.control.documents import Halt, Manifest, Recipient, Role, Root, digest, dump
from byleave.control.knowledge import Knowledge
from byleave.core.errors import Forged, Misconfigured, Refused
from byleave.core.keys import public_hex, recipient, verify_key

DAY_MS = 86_400_000
ROOT_MS_MAX = 365 * DAY_MS
OFFICERS = ("root", "halt", "resume", "manifest", "enrol")
SERVICES = ("beacon", "redactor")
OPTIONAL = ("drill", "release")


def described(told: Mapping[str, Any], site: str, now_ms: int) -> Root:
    """The first root from a description: `expires_days`, `roles.NAME` with `threshold`, `groups` and `keys` (HEX@GROUP), and
    `recipients` of what people raise (NAME=HEX@GROUP).

    Raises Misconfigured for what is no description, Refused as `check`.
    """
    try:
        roles = []
        for name, role in told["roles"].items():
            keys, groups = zip(*(_owner(text) for text in role["keys"]), strict=True)
            roles.append(Role(name, keys, groups, int(role["threshold"]), int(role["groups"])))
        expires_ms = now_ms + int(told.get("expires_days", 365)) * DAY_MS
        recipients = _recipients((), told.get("recipients", ()), ())
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Misconfigured("a root is described by roles.NAME with threshold, groups and keys = ['HEX@GROUP']") from None
    return check(Root(site, 1, expires_ms, tuple(roles), recipients), now_ms)


def rotated(
    root: Root, now_ms: int, *, add: Sequence[str], remove: Collection[str], thresholds: Sequence[str], expires_days: int,
    recipients: Sequence[str] = (),
) -> Root:  # fmt: skip
    """The next version: `add` as ROLE=HEX@GROUP, `remove` as HEX, `thresholds` as ROLE=K/G, `recipients` as NAME=HEX@GROUP.

    Raises Misconfigured, Refused.
    """
    roles = {role.name: role for role in root.roles}
    unknown = set(remove) - {key for role in root.roles for key in role.keys} - {one.key for one in root.recipients}
    if unknown:
        raise Misconfigured(f"--remove {min(unknown)[:12]}: the root names no such key; see 'byleave root show'")
    for name, role in roles.items():
        kept = [(key, group) for key, group in zip(role.keys, role.groups, strict=True) if key not in remove]
        roles[name] = replace(role, keys=tuple(key for key, _ in kept), groups=tuple(group for _, group in kept))
    for text in add:
        name, _, owner = text.partition("=")
        key, group = _owner(owner)
        role = roles.get(name) or Role(name, (), (), 1, 1)
        roles[name] = replace(role, keys=(*role.keys, key), groups=(*role.groups, group))
    for text in thresholds:
        name, _, numbers = text.partition("=")
        try:
            threshold, groups_min = (int(number) for number in numbers.split("/"))
            roles[name] = replace(roles[name], threshold=threshold, groups_min=groups_min)
        except (ValueError, KeyError):
            raise Misconfigured(f"--threshold {text!r}: it must be ROLE=KEYS/GROUPS of a role that there is") from None
    open_to = _recipients(root.recipients, recipients, remove)
    return check(Root(root.site, root.version + 1, now_ms + expires_days * DAY_MS, tuple(roles.values()), open_to), now_ms)


def check(root: Root, now_ms: int) -> Root:
    """The root itself, if it could do its work. Raises Refused: `unable`, `too-long`, `mixed-roles`; Misconfigured."""
    names = [role.name for role in root.roles]
    if len(set(names)) != len(names) or set(names) - {*OFFICERS, *SERVICES, *OPTIONAL}:
        raise Misconfigured(f"the roles are {', '.join((*OFFICERS, *SERVICES, *OPTIONAL))}, each once")
    for name in (*OFFICERS, *SERVICES):
        if name not in names:
            raise Refused(f"nobody would have the role {name}", reason="unable")
    for role in root.roles:
        distinct, groups = len(set(role.keys)), len(set(role.groups))
        if distinct != len(role.keys):
            raise Refused(f"role {role.name}: a key stands twice in it", reason="unable")
        if not trust.attainable(role):
            needs = f"{role.threshold} keys of {role.groups_min} groups"
            raise Refused(
                f"role {role.name} needs {needs} and would have {distinct} of {groups}: it could not act", reason="unable"
            )
    if not 0 < root.expires_ms - now_ms <= ROOT_MS_MAX:
        raise Refused("a root lives for at most a year, and at least until tomorrow", reason="too-long")
    online = {key for role in root.roles if role.name not in OFFICERS for key in role.keys}
    if any(online & set(role.keys) for role in root.roles if role.name in OFFICERS):
        raise Refused("a key that a service holds stands in an officers' role", reason="mixed-roles")
    return root


def lost(
    root: Root, knowledge: Knowledge, signed: Mapping[str, bytes], lifted: Collection[str], now_ms: int
) -> dict[str, Manifest | Halt]:
    """What is in force now and would not be believed under `root`: to be signed again, the same bytes, in the same proposal.

    By digest: manifests of the state, and orders to stop that the next state does not lift. `signed` holds documents as they
    stand on the topics. An order that never got an effective time, and is too old to get one, is left out: no fence ever
    counted it. So is one that only a beacon names: whoever stole that key must not stop the root that takes it from him, and
    what the service did accept it goes on naming.
    """
    found: dict[str, Manifest | Halt] = {}
    for name in {run.manifest for run in knowledge.state.run} if knowledge.state else ():
        if name in knowledge.manifests and not _holds(root, "manifest", Manifest, signed.get(name)):
            found[name] = knowledge.manifests[name]
    for halt_id in set(knowledge.in_force()) & knowledge.halts.keys() - set(lifted):
        halt = knowledge.halts[halt_id]
        void = knowledge.effective_ms(halt_id) is None and now_ms > resume.stale_ms(knowledge, halt_id)
        if not void and not knowledge.is_drill(halt_id) and not _holds(root, "halt", Halt, signed.get(halt_id)):
            found[halt_id] = halt
    for name, document in found.items():
        if digest(dump(document)) != name:
            raise Refused(
                f"{name[:12]} was not written in our form and cannot be signed again: lift it", reason="orphaned-order"
            )
    return found


def _holds(root: Root, role: str, kind: type[Any], signed: bytes | None) -> bool:
    try:
        trust.verify(root, role, kind, signed, site=root.site)
    except Forged:
        return False
    return True


def _recipients(known: Iterable[Recipient], add: Iterable[str], remove: Collection[str]) -> tuple[Recipient, ...]:
    found = {one.name: one for one in known if one.key not in remove}
    for text in add:
        name, _, owner = text.partition("=")
        key, group = _owner(owner)
        found[name] = Recipient(name, group, public_hex(recipient(key)))
    return tuple(found.values())


def _owner(text: str) -> tuple[str, str]:
    key, _, group = text.partition("@")
    try:
        verify_key(key)
    except Forged:
        raise Misconfigured(f"{text[:80]!r}: a key is named as HEX@GROUP, 64 lower-case hex digits") from None
    if not group.replace("-", "").isalnum():
        raise Misconfigured(f"{text[:80]!r}: a key needs the name of the group that owns it, as HEX@security")
    return key, group
