"""`byleave demo`, or `python -m demo`: the whole way in under a minute, told in a terminal, and an exit code that means it."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from byleave.core.errors import ByleaveError, Misconfigured
from byleave.deploy import cli

if TYPE_CHECKING:
    from rich.console import Console

    from demo.facts import Facts, Sample
    from demo.rehearsal import Rehearsal

STREAM_S_MAX = 60.0
LIVE_S = 25.0
"""How long a person's own screen is captured."""
ADMITTED_MIN = 300
"""Streaming goes on until this many events were admitted and the typist has finished."""
SHOWN_ACTIONS = 6

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running, and say what to try next.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object of everything that was measured.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Capture this computer's own screen, after asking for consent.")] = False,
    home: Annotated[
        Path | None, typer.Option(help="State folder of the demo; emptied first. Default: demo, beside your own.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Also draw the terminal's story into this SVG file.")] = None,
) -> None:
    """Carry real input from three endpoints through Kafka into the lake, halt everything, and prove it.

    Exit code 1 if a promise broke. Example: byleave demo --json
    """
    from rich.console import Console

    from byleave.core.settings import load_installation
    from demo.rehearsal import Rehearsal

    console = Console(stderr=as_json, record=picture is not None, width=110 if picture else None, highlight=False)
    if live:
        _ask_for_the_screen(console)
    folder = home or load_installation().home / "demo"
    try:
        with Rehearsal(folder, keep=keep, live_screen=live) as run:
            _tell(console, run, live)
    except ByleaveError as error:
        raise type(error)(f"{error} (logs are in {folder / 'logs'})", reason=error.reason) from None
    if picture is not None:
        _draw(console, picture)
    if keep:
        _say_what_next(console, folder)
    if as_json:
        typer.echo(json.dumps(run.facts.record(), sort_keys=True))
    if run.facts.broken:
        raise typer.Exit(1)


def _draw(console: Console, picture: Path) -> None:
    """The terminal as SVG, without the web fonts that would be fetched by whoever looks at it."""
    drawn = console.export_svg(title="byleave demo", unique_id="byleave-demo")
    picture.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL), encoding="utf-8")


def _ask_for_the_screen(console: Console) -> None:
    """Consent in the terminal, before anything is started. No terminal, no display, Wayland: said in one sentence."""
    from Xlib import error as xerror

    from byleave.producers.hooks import x11
    from byleave.producers.hooks.live import check_display

    check_display(os.environ)
    try:
        x11.Desktop(titles=False)
    except (xerror.DisplayError, OSError):
        raise Misconfigured(f"no X server answers on {os.environ['DISPLAY']}: set DISPLAY to this computer's screen") from None
    if not sys.stdin.isatty():
        raise Misconfigured("--live asks for consent at a terminal, and there is none")
    console.print(
        "Your keys and pointer will be captured, on this machine only, until the demo halts itself in about half a minute."
    )
    if not typer.confirm("Do you consent?", default=False):
        raise Misconfigured("no consent, no capture: nothing was started")


def _tell(console: Console, run: Rehearsal, live: bool) -> None:
    from demo.rehearsal import recordings

    console.rule("[bold]byleave: by your leave")
    with console.status("starting a real Kafka: mutual TLS, ACLs, no other listener"):
        ready_s = run.open_site()
    console.print(f"[green]✓[/] Apache Kafka ready in {ready_s:.1f} s; every client has a certificate and rights of its own")
    _consent(console, run)
    with console.status("starting keyring, beacon, redactor, sink and three endpoints"):
        run.start_roles()
        said = run.start_endpoints()
    console.print(f"[green]✓[/] three endpoints capture: {said}; {len(recordings().split(','))} recordings; a canary")
    _stream(console, run, LIVE_S if live else 0.0)
    with console.status("one officer orders a halt"):
        board = run.halt()
    facts = run.facts
    if facts.halt_ms:
        slowest = max(facts.halt_ms)
        console.print(
            f"[green]✓[/] halt: [bold]{facts.stopped} of {facts.endpoints} stopped[/], signed by each; workers reaped within "
            f"{slowest:.0f} ms of the order, {board['order_to_last_reaped_ms']} ms after the command"
        )
    with console.status("counting every sequence number"):
        run.settle()
    with console.status("offering a batch that was captured after the halt"):
        run.offer_late()
    console.print(
        f"[green]✓[/] late batch: {facts.late_offered} offers; the broker denied {facts.late_denied}, the fence refused the "
        f"{facts.late_refused} that the super user wrote past it; admitted: {facts.late_admitted}"
    )
    with console.status("reading the lake back, with a purpose"):
        samples = run.read_back()
    _before_after(console, samples)
    with console.status("searching every file for every secret"):
        run.search(samples)
    _sum_up(console, facts)


def _consent(console: Console, run: Rehearsal) -> None:
    shown = run.consent()
    for line in shown[:6]:
        console.print(f"  [dim]{line}[/]")
    console.print("[green]✓[/] three people were shown this manifest and signed it with their own keys")


def _stream(console: Console, run: Rehearsal, live_s: float) -> None:
    from demo.rehearsal import DESK

    run.type_work()
    began = time.monotonic()
    with console.status("") as status:
        while time.monotonic() - began < STREAM_S_MAX:
            admitted = run.redacted_so_far()
            status.update(f"events through the redactor: {admitted}")
            enough = admitted >= ADMITTED_MIN and run.canary_done() and time.monotonic() - began >= live_s
            if enough and not run.typing() and run.delivered(DESK):
                break
            time.sleep(0.5)
    console.print(f"[green]✓[/] {admitted} events captured, sealed, streamed, admitted and redacted so far")


def _before_after(console: Console, samples: list[Sample]) -> None:
    """What was typed is known here because the demo typed it: from the product it could not be had."""
    from rich.table import Table

    from demo.rehearsal import DESK, LIVE_TEXT

    table = Table(title="what was typed, and what the lake holds", title_justify="left", show_edge=False, pad_edge=False)
    table.add_column("typed on the real screen", ratio=1)
    table.add_column("read back from the lake", ratio=1)
    desk = [sample.text.strip() for sample in samples if sample.endpoint == DESK and sample.text.strip()]
    lines = LIVE_TEXT.strip().splitlines() if desk else []
    for typed in lines:
        kept = max(desk, key=lambda text: _alike(typed, text), default="")
        table.add_row(typed, kept if _alike(typed, kept) >= 2 else "[dim](not in the lake)[/]")
    for sample in [s for s in samples if s.endpoint != DESK and s.text.strip()][: max(2, SHOWN_ACTIONS - len(lines))]:
        table.add_row(f"[dim]({sample.endpoint}, {sample.app})[/]", sample.text.strip())
    console.print(table)


def _alike(typed: str, kept: str) -> int:
    return len(set(typed.split()) & set(kept.split()))


def _sum_up(console: Console, facts: Facts) -> None:
    from rich.table import Table

    table = Table(show_header=False, show_edge=False, pad_edge=False)
    ways = ", ".join(f"{count} {name}" for name, count in facts.dispositions.items() if count)
    labels = ", ".join(f"{label} {count}" for label, count in sorted(facts.redactions.items(), key=lambda item: -item[1])[:8])
    dropped = f"{facts.gaps + facts.discarded} dropped as ordered + {facts.refused_events} refused"
    table.add_row("counted", f"{facts.captured} captured = {dropped} + {facts.admitted} admitted; {ways}")
    files = f"{facts.lake_files_encrypted} of {facts.lake_files} files encrypted"
    table.add_row("screen", f"{facts.screen_events} events captured on {facts.live.partition(',')[0]}")
    table.add_row("lake", f"{facts.lake_rows} rows, {facts.lost} lost, {facts.duplicated} twice; {files}")
    table.add_row("removed", labels or "nothing")
    table.add_row("looks", f"{facts.ledger_entries} on record; {facts.read_refused} for another purpose, refused")
    table.add_row("sweep", f"{facts.canaries_planted} secrets sought in {facts.swept_files} files: {facts.plaintext_hits} hits")
    console.print(table)
    for promise in facts.broken:
        console.print(f"[bold red]✗ {promise}[/]")
    verdict = "[bold red]a promise broke" if facts.broken else "[bold green]every promise held"
    console.rule(f"{verdict}[/] · {facts.seconds:.0f} s")


def _say_what_next(console: Console, folder: Path) -> None:
    console.print(
        f"\nEverything still runs, halted. In another terminal: [bold]export BYLEAVE_HOME={folder}[/]", soft_wrap=True
    )
    command_path = os.path.relpath(sys.argv[0]) if os.sep in sys.argv[0] else "byleave"
    for who, command in (
        ("ops", "byleave topics check && byleave status"),
        ("ML", "byleave lake read --table actions --level 2 --purpose train-assistant"),
        ("security", "byleave board"),
        ("the person", "byleave me consent --endpoint ep-desk --withdraw"),
    ):
        console.print(f"  {who:<11}{command.replace('byleave ', command_path + ' ')}", soft_wrap=True)
    console.print(f"  to end it  {command_path} down", soft_wrap=True)


def main(arguments: list[str]) -> int:
    """What `byleave demo` runs, within the command's own handling of errors. Gives the exit code."""
    return int(app(args=arguments, prog_name="byleave demo", standalone_mode=False) or 0)


if __name__ == "__main__":
    sys.argv.insert(1, "demo")
    cli.main()
