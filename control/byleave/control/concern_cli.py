"""Commands of those whom people may turn to: what was raised, read it, answer it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from byleave.control.officers_cli import Officer, PassphraseFile, open_key
from byleave.core.console import Json, say
from byleave.core.settings import load_installation

app = typer.Typer(help="What people raised: it stands on the board until it is answered.", no_args_is_help=True)
Number = Annotated[int, typer.Argument(help="Its number, as in the list.")]
Name = Annotated[str, typer.Option("--as", help="Whose key opens it: a file in recipients/.")]


@app.command("list")
def list_concerns(as_json: Json = False) -> None:
    """Number, age and reference of every concern, and whether it was answered. Whose they are stands nowhere.

    Example: byleave concern list
    """
    from byleave.control.concerning import Desk

    rows = Desk(load_installation()).rows()
    words = {True: "answered", False: "OPEN"}
    lines = [f"  {r['number']:>4}  {r['age_days']:>3} d  {r['concern'][:12]}  {words[r['answered']]}" for r in rows]
    say({"concerns": rows}, "\n".join(lines) or "Nothing was raised.", as_json)


@app.command()
def read(number: Number, name: Name = "security", as_json: Json = False) -> None:
    """Open a concern with a recipient's key. What it says is shown here and kept nowhere.

    Example: byleave concern read 3 --as council
    """
    from byleave.control.concerning import Desk
    from byleave.control.wording import shown

    raised = Desk(load_installation()).read(number, name)
    lines = [raised.endpoint, *(shown(line) for line in raised.text.splitlines())]
    say(asdict(raised), "\n".join(lines), as_json)


@app.command()
def answer(
    number: Number, text: Annotated[str, typer.Argument(help="What the person reads.")], name: Name = "security",
    officer: Officer = "security-1", passphrase_file: PassphraseFile = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Answer a concern: sealed to who raised it, signed by an officer. Then it leaves the board.

    Example: byleave concern answer 3 "we have stopped collecting that" --as council
    """
    from byleave.control.concerning import Desk

    at = load_installation()
    report = Desk(at).answer(number, name, text, open_key(at, officer, passphrase_file)())
    say(report, f"Concern {number} is answered; byleave me raise --list shows it to who raised it.", as_json)


@app.command()
def key(name: Annotated[str, typer.Argument(help="A recipient's name, as council.")], as_json: Json = False) -> None:
    """Make a recipient's key where that recipient is. A root must name it: byleave root rotate --recipient NAME=HEX@GROUP.

    Example: byleave concern key council
    """
    from byleave.control.concerning import new_recipient

    public = new_recipient(load_installation().home, name)
    say({"name": name, "key": public}, f"{name}={public}@GROUP", as_json)
