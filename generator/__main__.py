"""`byleave generate`, or `python -m generator`: writes what follows from catalogue and roles, or says what is out of date."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from byleave.core.errors import Misconfigured
from byleave.core.topics import load_catalogue
from byleave.deploy import cli
from generator import outputs, roles

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def generate(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 1 if a file is out of date.")] = False,
    root: Annotated[Path | None, typer.Option(help="The project's folder. Default: the one that this is in.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Write the manifests and documents that follow from the catalogue and the role table.

    Example: byleave generate --check
    """
    folder = root or Path(__file__).resolve().parents[1]
    if not (folder / "pyproject.toml").is_file():
        raise Misconfigured(f"{folder} is not the project's folder; say which is with --root")
    stale = outputs.stale(folder, outputs.outputs(load_catalogue(), roles.load_roles()))
    if not check:
        outputs.write(folder, stale)
    said = "is out of date; run `byleave generate`" if check else "written"
    text = "\n".join(f"{path} {said}" for path in sorted(stale)) or "Every generated file is up to date."
    typer.echo(json.dumps({"check": check, "stale": sorted(stale)}, sort_keys=True) if as_json else text)
    if check and stale:
        raise typer.Exit(1)


def main(arguments: list[str]) -> int:
    """What `byleave generate` runs, within the command's own handling of errors. Gives the exit code."""
    return int(app(args=arguments, prog_name="byleave generate", standalone_mode=False) or 0)


if __name__ == "__main__":
    sys.argv.insert(1, "generate")
    cli.main()
