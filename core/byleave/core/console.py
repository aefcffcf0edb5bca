"""Edge: what commands say, on every room's terms: text for people, or one JSON object with --json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def say(report: Mapping[str, object], text: str, as_json: bool, *, err: bool = False) -> None:
    """Prints one of the two; `err` where stdout belongs to the rows."""
    typer.echo(json.dumps(report, sort_keys=True) if as_json else text, err=err)
