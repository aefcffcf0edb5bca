"""The role table as values: what runs, how, and what to be told of. One source for every manifest (roles.toml)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources

from byleave.core.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Role:
    """One row of roles.toml."""

    name: str
    doc: str
    command: str
    principal: str
    metrics_port: int
    memory_mib: int
    where: str  # server | person
    after: tuple[str, ...]
    besides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of roles.toml; `duration` is its `for`."""

    name: str
    expr: str
    duration: str
    severity: str
    summary: str


@dataclass(frozen=True, slots=True)
class Table:
    """roles.toml as values."""

    roles: tuple[Role, ...]
    alerts: tuple[Alert, ...]


def load_roles() -> Table:
    """The role table of this version. Raises Misconfigured if a field is missing or unknown."""
    try:
        rows = tomllib.loads(resources.files(__package__).joinpath("roles.toml").read_text(encoding="utf-8"))
        roles = tuple(
            Role(**{**row, "after": tuple(row["after"]), "besides": tuple(row.get("besides", ()))}) for row in rows["role"]
        )
        alerts = tuple(Alert(duration=row.pop("for"), **row) for row in rows["alert"])
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise Misconfigured(f"roles.toml cannot be read: {error}") from None
    return Table(roles, alerts)
