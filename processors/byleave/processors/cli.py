"""`byleave preview`: see what would leave before anything ever does."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

import typer

from byleave.processors.policy_cli import policy, rules_here

if TYPE_CHECKING:
    from rich.console import RenderableType

    from byleave.processors.preview import Preview

ROWS_SHOWN = 12
BAR_AFTER_S = 1.0
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

    if text is None and as_json:
        raise Misconfigured("--json prints what a given text becomes; give it with --text")
    if text is None and not sys.stdin.isatty():
        raise Misconfigured("`preview live` reads keys from a terminal, and this is none; give the text with --text")
    if text is None:
        _run(Preview(rules_here(), application))
        return
    done = preview_text(text, application, rules_here())
    if as_json:
        typer.echo(json.dumps(done.report(), ensure_ascii=False))
    else:
        from rich.console import Console

        Console().print(_table(done, live=False))


@preview.command("text")
def text(file: Annotated[str, typer.Argument(help="JSON Lines, a text each; - is standard input.")] = "-") -> None:
    """Redact and judge texts: JSON Lines {id, text, context?: {app, title, url, channel}} in, the same with ranges out.

    Each line gives {id, text, ranges: [[start, end, label]], level, why}. The text comes redacted at every level; of level 4
    nothing would be written. Without a context a text counts as typed in an approved work application.

    Example: byleave preview text notes.jsonl
    """
    from byleave.core.recordings import read_objects
    from byleave.processors.preview_text import judged

    rules = rules_here()
    with _source(file) as (stream, size):
        for number, row, _ in _shown(read_objects(stream), size):
            _line(judged(number, row, rules))


@preview.command("recording")
def recording(
    file: Annotated[
        str, typer.Argument(help="A recording in JSON Lines, or its folder with events.jsonl; - is standard input.")
    ],
    form: Annotated[
        Literal["keys", "pynput"], typer.Option(help="keys: a keystroke a line. pynput: events.jsonl of DuckTrack and OpenCUA.")
    ],
    context: Annotated[
        str, typer.Option(help="The window of all of it: app=..., title=..., url=... with commas between.")
    ] = "",
    screen: Annotated[str, typer.Option(help="Width x height in pixels; default: metadata.json beside the file.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines instead of a table.")] = False,
) -> None:
    """Show what would leave of a recording, one line for each record. No broker, no key.

    Fields: level, kind, text, clear (places of the source events whose letters or digits stand in the output), events (first,
    last), redactions, keys, code (pyautogui). Kind NOTHING, level 4: what is written nowhere. A place is the event's index or
    event_idx, else its line, from 0. A window counts as what the policy knows by its name, else as an approved application.

    Example: byleave preview recording events.jsonl --form pynput --json
    """
    from byleave.core.recordings import read_objects
    from byleave.processors.preview import preview_recording
    from byleave.processors.preview_text import given_context, named_window
    from byleave.processors.recording import Reader, screen_of

    rules, given = rules_here(), given_context(context)
    file = str(Path(file, "events.jsonl")) if Path(file).is_dir() else file
    size_px = screen_of(screen, None if file == "-" else Path(file))
    reader = Reader(lambda name, handle: named_window(name, handle, given, rules))
    with _source(file) as (stream, size):
        lines = _shown(read_objects(stream), size)
        read = reader.keys if form == "keys" else reader.pynput
        numbered = (pair for number, row, _ in lines for pair in read(number, row))
        for left in preview_recording(numbered, rules, size_px):
            if as_json:
                _line(left.record())
            else:
                labels = ", ".join(left.redactions)
                shown = json.dumps(left.text, ensure_ascii=False) if left.text else "+".join(left.keys)
                _say(
                    f"{left.first:>7}-{left.last:<7} {left.level}  {left.kind:<12} {shown}"
                    + (f"  ({labels})" if labels else "")
                )


def _run(session: Preview) -> None:
    """Keys to screen until the person ends it."""
    import time

    from rich.live import Live

    from byleave.processors.recording import START_MS
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

    from byleave.processors.classify import LEVEL_WORDS

    account, context = session.state.account, session.state.hold.context
    title = f"{session.app}: {context.app}, text is {LEVEL_WORDS[context.text_level]}"
    table = Table(title=title, title_justify="left", expand=True)
    for name, ratio in (("level", 1), ("what would leave", 4), ("why", 3)):
        table.add_column(name, ratio=ratio, overflow="fold")
    for row in session.left[-ROWS_SHOWN:]:
        shown = row.text if row.kind == "TYPE" else f"{row.kind.lower()} {row.text or '+'.join(row.keys)}".strip()
        table.add_row(LEVEL_WORDS[row.level], Text(shown), Text("\n".join(row.why)))
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


@contextmanager
def _source(file: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The bytes of a file, or of standard input, and how many they are, if that is known."""
    if file == "-":
        yield sys.stdin.buffer, None
        return
    with Path(file).open("rb") as stream:
        yield stream, Path(file).stat().st_size


def _shown(lines: Iterator[tuple[int, dict[str, Any], int]], size: int | None) -> Iterator[tuple[int, dict[str, Any], int]]:
    """`lines`, with a bar on standard error if it takes long and a terminal is there to show it."""
    import time

    from rich.console import Console
    from rich.progress import Progress

    bar, began_s = Progress(console=Console(stderr=True), transient=True), time.monotonic()
    task, started = bar.add_task("previewed", total=size), False
    try:
        for line in lines:
            if not started and sys.stderr.isatty() and time.monotonic() - began_s > BAR_AFTER_S:
                bar.start()
                started = True
            yield line
            bar.advance(task, line[2])
    finally:
        if started:
            bar.stop()


def _line(row: dict[str, Any]) -> None:
    _say(json.dumps(row, ensure_ascii=False, separators=(",", ":")))


def _say(line: str) -> None:
    """A line on standard output; half a surrogate pair as its JSON escape, since UTF-8 has none."""
    typer.echo(line.encode("utf-8", "backslashreplace"))
