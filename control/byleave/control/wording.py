"""What a control document says, in plain words: what a person or an officer reads before signing (P1, P2). Pure.

Promises  nothing that matters is left out: what is signed for stands in these lines, and what it changes against what is in
          force is marked + and -. Words that others wrote are shown without control characters, so that no title can repaint
          a terminal.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from byleave.control.documents import Halt, LevelPolicy, Manifest, Role, Root, Run, Scope, State
from byleave.control.knowledge import Knowledge

KINDS = {
    "pointer": "where the pointer moves, what it clicks, drags and scrolls",
    "key": "which keys are pressed",
    "window": "which application is in front",
    "title": "the titles of windows",
    "target": "what a click was on",
    "task": "what you say that you are about to do",
}
FIELDS = {
    "pointer.x": "how far right", "pointer.y": "how far down", "pointer.button": "which button",
    "pointer.wheel": "how far the wheel turns", "key.key": "which key", "key.modifiers": "what is held with it",
    "key.layout": "the keyboard's layout", "window.app": "its name", "window.site": "which site a browser shows",
    "window.number": "a number for each window", "title.title": "the whole title",
    "target.role": "button, link or the like", "target.box": "where it is in its window", "target.label": "what it is called",
    "task.text": "your words",
}  # fmt: skip
NEVER = (
    "password fields and prompts, password managers, private windows, locked screens, and pages and windows of tax, health, "
    "banks, pay, staff matters and unions"
)
"""What `never.toml` of the endpoint keeps out of every capture."""


def plain_words(manifest: Manifest, owners: str = "") -> Iterator[str]:
    """The manifest for the person who is asked: all of it, whose signatures it bears, and what it cannot reach."""
    yield shown(manifest.title)
    yield from ("  What:     " + _taken(kind, manifest.fields) for kind in manifest.kinds)
    yield "  Where:    only in " + shown(", ".join((*manifest.applications, *manifest.sites))) + "; nowhere else"
    yield f"  Never:    {NEVER}, whatever anybody signs"
    yield "  Why:      " + shown(", ".join(manifest.purposes))
    yield "  Who:      " + shown("; ".join(f"{r.principal} reads level {r.level} for {r.purpose}" for r in manifest.readers))
    yield f"  How long: kept {manifest.retention_days} days; taken until {_day(manifest.expires_ms)} at most"
    hashed = f" (SHA-256 of its text: {shown(manifest.dpia_sha256)})" if manifest.dpia_sha256 else ""
    yield f"  Assessed: {shown(manifest.dpia)}{hashed}"
    yield f"  Instead:  {shown(manifest.less_intrusive)}"
    if owners:
        yield f"  Signed:   {shown(owners)}, on {_day(manifest.issued_ms)}"
    yield "  You can pause at any time, and take this back at any time, without giving a reason. To say nothing is to say no:"
    yield "  no report tells silence, a no and a withdrawal apart, and none of them costs you anything."


def _taken(kind: str, fields: Collection[str]) -> str:
    """A kind and what of it is taken; from a manifest that names no fields, all of it."""
    mine = [name for name in FIELDS if name.startswith(f"{kind}.") and (not fields or name in fields)]
    return f"{KINDS.get(kind, shown(kind))} ({', '.join(FIELDS[name] for name in mine) or 'nothing of it'})"


def state_words(state: State, knowledge: Knowledge, manifests: Mapping[str, Manifest]) -> Iterator[str]:
    """Who may capture from then on, and which orders end, against the state in force; `manifests` by digest."""
    before = knowledge.state

    def leave(run: Run) -> str:
        title = manifests[run.manifest].title if run.manifest in manifests else "a manifest that nobody here has read"
        return (
            f"{_scope(run.scope)} may be captured under {shown(title)!r} ({run.manifest[:12]}), sealed to {shown(run.key_id)}"
        )

    yield f"Next state, epoch {state.epoch} under root {state.root_version}, until {_day(state.expires_ms)}:"
    yield from _changes(before.run if before else (), state.run, leave)
    floors = [[one.minimum] if one and one.minimum else [] for one in (before, state)]
    yield from _changes(floors[0], floors[1], lambda minimum: f"no agent older than {shown(minimum)} may capture")
    fresh = [row for row in state.lifted if row.epoch == state.epoch]
    for row in fresh:
        reason = knowledge.halts[row.halt_id].reason if row.halt_id in knowledge.halts else "not read here"
        yield f"  ends the order {row.halt_id[:12]} to stop {row.what} ({_scope(row.scope)}): {shown(reason)!r}"
    stays = set(knowledge.in_force()) - {row.halt_id for row in fresh}
    yield f"  {len(stays)} orders to stop stay in force"


def manifest_words(manifest: Manifest, before: Iterable[Manifest]) -> Iterator[str]:
    """The whole manifest, and line by line what is new against those in force."""
    known = {line for other in before for line in plain_words(other)}
    yield f"Manifest, until {_day(manifest.expires_ms)}; + is new against what is in force:"
    yield from (("  " if line in known else "+ ") + line for line in plain_words(manifest))


def root_words(root: Root, before: Root | None) -> Iterator[str]:
    """Which keys come and go, role by role."""
    yield f"Root {root.version}, until {_day(root.expires_ms)}:"
    old = {role.name: role for role in before.roles} if before else {}
    for role in root.roles:
        was = _was(old.get(role.name))
        yield f"  {role.name}: {role.threshold} of {len(role.keys)} keys, of {role.groups_min} groups{was}"
        yield from _changes(_owners(old.get(role.name)), _owners(role), lambda owner: f"{owner[1]}: {owner[0]}")
    for name in sorted(old.keys() - {role.name for role in root.roles}):
        yield f"- {name}: this role is no more"
    reads = (before.recipients if before else (), root.recipients)
    yield from _changes(*reads, lambda one: f"{shown(one.name)} of {shown(one.group)} reads what people raise: {one.key}")


def halt_words(halt: Halt) -> Iterator[str]:
    """An order, and what it erases."""
    yield f"Stop {halt.what} ({_scope(halt.scope)}): {shown(halt.reason)!r}"
    if halt.discard_since_ms:
        yield f"  and ERASE what was collected there since {_minute(halt.discard_since_ms)}"


def policy_words(policy: LevelPolicy) -> Iterator[str]:
    """The whole level policy: who signs it must see every name in it."""
    yield f"Level policy {policy.version} of the redactor, until {_day(policy.expires_ms)}:"
    yield from (f"  | {shown(line)}" for line in policy.text.splitlines())
    yield f"  words that are let out here: {shown(' '.join(policy.house)) or 'none'}"


def shown(text: str) -> str:
    """Without anything that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _changes(before: Iterable[object], after: Iterable[object], say: Callable[..., str]) -> Iterator[str]:
    old, new = list(before), list(after)
    yield from (("  " if one in old else "+ ") + "  " + say(one) for one in new)
    yield from ("-   " + say(one) for one in old if one not in new)


def _owners(role: Role | None) -> list[tuple[str, str]]:
    return list(zip(role.keys, role.groups, strict=True)) if role else []


def _was(role: Role | None) -> str:
    return f" (was {role.threshold} of {len(role.keys)}, {role.groups_min} groups)" if role else " (new)"


def _scope(scope: Scope) -> str:
    return "everybody" if scope.kind == "global" else shown(f"{scope.kind} {scope.name}")


def _day(ms: int) -> str:
    return _minute(ms)[:10]


def _minute(ms: int) -> str:
    try:
        return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).isoformat(" ", "minutes")
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"
