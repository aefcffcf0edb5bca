"""`byleave preview`: see what would leave before anything ever does."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from byleave.processors.policy_cli import policy

if TYPE_CHECKING:
    from rich.console import RenderableType

    from byleave.processors.preview import Preview

ROWS_SHOWN = 12
WAIT_S = 0.5

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
preview = typer.Typer(
    help="See what would leave, at which level, by which rule. Nothing is stored or sent.", no_args_is_help=True
)
app.add_typer(preview, name="preview")
app.add_typer(policy, name="policy")


@app.callback()
def processors() -> None:
    """The redactor's commands."""


@preview.command("live")
def live(
    text: Annotated[str | None, typer.Option(help="Type this text instead of reading keys, print the result, and end.")] = None,
    application: Annotated[str, typer.Option("--app", help="Application to type in: a name of the level policy.")] = "code",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; with --text only.")] = False,
) -> None:
    """Type, and see beside it what would leave this machine. Ctrl-C or Ctrl-D ends it.

    Example: byleave preview live --text "my mail is ann@example.com" --app xterm
    """
    from byleave.core.errors import Misconfigured
    from byleave.processors.preview import Preview, preview_text
    from byleave.processors.session import load_rules

    if text is None and as_json:
        raise Misconfigured("--json prints what a given text becomes; give it with --text")
    if text is None and not sys.stdin.isatty():
        raise Misconfigured("`preview live` reads keys from a terminal, and this is none; give the text with --text")
    if text is None:
        _run(Preview(load_rules(), application))
        return
    done = preview_text(text, application, load_rules())
    if as_json:
        typer.echo(json.dumps(done.report(), ensure_ascii=False))
    else:
        from rich.console import Console

        Console().print(_table(done, live=False))


def _run(session: Preview) -> None:
    """Keys to screen until the person ends it."""
    import time

    from rich.live import Live

    from byleave.processors.preview import START_MS
    from byleave.processors.terminal import QUIT, keys

    session.begin()
    began_s = time.monotonic()
    with keys(WAIT_S) as reader, Live(_table(session, live=True), auto_refresh=False, transient=False) as screen:
        for typed in reader:
            now_ms = START_MS + int((time.monotonic() - began_s) * 1000)
            for key in typed:
                if key in QUIT:
                    session.end()
                    screen.update(_table(session, live=False), refresh=True)
                    return
                session.press(key, now_ms)
            if not typed:
                session.wait(now_ms)
            screen.update(_table(session, live=True), refresh=True)


def _table(session: Preview, *, live: bool) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from byleave.processors.preview import level_words

    account, context = session.state.account, session.state.hold.context
    title = f"{session.app}: {context.app}, text is {level_words(context.text_level)}"
    table = Table(title=title, title_justify="left", expand=True)
    for name, ratio in (("level", 1), ("what would leave", 4), ("why", 3)):
        table.add_column(name, ratio=ratio, overflow="fold")
    for row in session.left[-ROWS_SHOWN:]:
        shown = row.text if row.kind == "TYPE" else f"{row.kind.lower()} {'+'.join(row.keys)}".strip()
        table.add_row(level_words(row.level), Text(shown), Text("\n".join(row.why)))
    if live:
        table.add_row("held", Text(session.held(), style="dim"), Text("would read like this if it ended here", style="dim"))
    counts = (
        f"{account.admitted} events: {account.kept} kept, {account.reviewed} to review, {account.level4} of level 4, "
        f"{account.withheld} withheld (deleted text), {account.held} held. Nothing is stored or sent."
    )
    lines = [Text(counts)]
    if live:
        lines.append(Text("Ctrl-C ends it.", style="dim"))
    return Group(table, *lines)
