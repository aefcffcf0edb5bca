"""Commands of the person at this machine, all below `byleave me`: what was agreed, what is taken, and how to stop it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from byleave.control.officers_cli import Officer, PassphraseFile, open_key
from byleave.core.console import Json, say
from byleave.core.errors import Misconfigured, Refused
from byleave.core.settings import load_installation

app = typer.Typer(no_args_is_help=True)
me = typer.Typer(help="What concerns you: your consent, your pause, and what was taken of you.", no_args_is_help=True)
app.add_typer(me, name="me")

_WATCH_S = 0.2
Endpoint = Annotated[str, typer.Option(help="Your endpoint. Default: the only one of this installation.")]


@me.command()
def consent(
    endpoint: Endpoint = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: you have read it.")] = False,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take your consent back. Capture stops; it needs no reason.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read what would be collected and agree to it, or take your consent back. Without your signature nothing is captured.

    Example: byleave me consent --endpoint ep-a
    """
    from byleave.control import consenting
    from byleave.control.wording import plain_words

    at = load_installation()
    name = consenting.endpoint_here(at.home, endpoint)
    if withdraw:
        report = consenting.withdraw(at, name)
        say(report, f"Your consent is withdrawn. {name} captures nothing from now on.", as_json)
        return
    offer = consenting.read_offer(at, name)
    if not as_json:
        typer.echo("\n".join(plain_words(offer.manifest, offer.owners)))
    if not yes and not typer.confirm("Do you agree to this?", default=False, err=True):
        say({"endpoint": name, "given": False}, "Nothing was signed, and nothing is captured. Nobody is told.", as_json)
        return
    report = consenting.agree(at, name, offer)
    say(report, "Agreed and signed. Take it back at any time: byleave me withdraw", as_json)


@me.command("withdraw")
def withdraw_consent(endpoint: Endpoint = "", as_json: Json = False) -> None:
    """Take your consent back. Capture stops at once; it needs no reason, and nobody can say yes again in your place.

    Example: byleave me withdraw
    """
    consent(endpoint=endpoint, withdraw=True, as_json=as_json)


@me.command()
def pause(endpoint: Endpoint = "", as_json: Json = False) -> None:
    """Stop capture here, for as long as you like. Nobody is told: to all others you are away. Only you can lift it.

    The same from anywhere, while something is captured: ctrl+alt+shift+esc. Example: byleave me pause
    """
    from byleave.producers.person import pause as pausing

    report = pausing.pause(_folder(endpoint))
    say(report, f"{report['endpoint']} captures nothing and says nothing until you say: byleave me resume", as_json)


@me.command()
def resume(endpoint: Endpoint = "", as_json: Json = False) -> None:
    """Lift your pause. Capture goes on if all else allows it: your consent, a permit, no order to stop.

    Example: byleave me resume
    """
    from byleave.producers.person import pause as pausing

    report = pausing.lift(_folder(endpoint))
    then = "it captures again once it has a permit" if report["running"] else "no agent runs there now"
    say(report, f"Your pause of {report['endpoint']} is lifted; {then}.", as_json)


@me.command("raise")
def raise_concern(
    text: Annotated[str, typer.Argument(help="What is wrong, in up to 2,000 characters. Left out: it is asked for.")] = "",
    show: Annotated[bool, typer.Option("--list", help="What you raised here, and what was answered.")] = False,
    endpoint: Endpoint = "",
    as_json: Json = False,
) -> None:
    """Pause, and tell security and the representatives what is wrong. It stands on their board until it is answered.

    Only they can read it, and who wrote it. Your pause is yours to lift: byleave me resume.
    Example: byleave me raise "it took down what I typed to my doctor"
    """
    from byleave.control import concerning
    from byleave.control.wording import shown
    from byleave.producers.person import pause as pausing

    at, folder = load_installation(), _folder(endpoint)
    if show:
        rows = concerning.raised_here(at, folder.name)
        lines = [f"{row['day']}  {row['concern'][:12]}  {shown(row['answer'] or 'not answered yet')}" for row in rows]
        say({"concerns": rows}, "\n".join(lines) or "You raised nothing here.", as_json)
        return
    pausing.pause(folder)
    report = concerning.raise_concern(at, folder.name, text or str(typer.prompt("What is wrong", err=True)))
    say(report, f"Raised, as {report['concern'][:12]}; nothing is captured until you say: byleave me resume", as_json)


@me.command()
def verify(endpoint: Endpoint = "", as_json: Json = False) -> None:
    """Check at your own machine what you were promised: files, root, enrolment, what you signed. Exit 1 if one is not so.

    Example: byleave me verify
    """
    from byleave.producers.own_files import own_digest
    from byleave.producers.person import verify as checks

    at, folder = load_installation(), _folder(endpoint)
    lines = checks.verify(checks.Own(at, folder.name, own_digest(), checks.installed()))
    report = {"endpoint": folder.name, "lines": [line._asdict() for line in lines]}
    say(report, "\n".join(f"{line.found:<7} {line.what}: {line.said}" for line in lines), as_json)
    raise typer.Exit(1 if any(line.found is checks.Found.BAD for line in lines) else 0)


@app.command()
def release(officer: Officer = "", passphrase_file: PassphraseFile = None, as_json: Json = False) -> None:
    """Sign that the agent's files here are a release: trust/release.dsse, for `byleave me verify` on every endpoint.

    The root must name the key: byleave root rotate --add release=HEX@GROUP. Example: byleave release --officer release-1
    """
    from byleave.producers.person.verify import sign_release

    report = sign_release(load_installation(), open_key(load_installation(), officer, passphrase_file)())
    say(report, f"{report['file']}: version {report['version']}, {report['agent']}", as_json)


@me.command("open")
def open_page(
    endpoint: Endpoint = "",
    browser: Annotated[bool, typer.Option(help="Open it in your browser; otherwise only print the link.")] = True,
    as_json: Json = False,
) -> None:
    """Open your own page: what is captured, what was taken, pause, take it back. Served on this machine, to you alone.

    The link works once and only here. Example: byleave me open
    """
    import webbrowser

    from byleave.producers.inquiries import ask

    served = ask(_folder(endpoint), {"ask": "open"})
    opened = browser and os.geteuid() != 0 and webbrowser.open(Path(served["file"]).as_uri())  # a browser is not for root
    say({**served, "opened": opened}, f"{served['link']}\nIt works once, and on this machine only.", as_json)


@me.command()
def status(
    endpoint: Endpoint = "",
    watch: Annotated[bool, typer.Option("--watch", help="Go on, until ctrl+c; counts as the sign that shows capture.")] = False,
    as_json: Json = False,
) -> None:
    """Say whether something is captured here now, and why or why not.

    Where the sign on the screen cannot be shown, a terminal with --watch takes its place: when it ends, capture stops.
    Example: byleave me status --watch
    """
    from byleave.producers.inquiries import ask

    folder, told = _folder(endpoint), ""
    while True:
        report = ask(folder, {"ask": "status", "watch": watch})
        if report["answer"] != told:
            told = str(report["answer"])
            say(report, f"{'●' if report['capturing'] else '○'} {told}", as_json)
        if not watch:
            return
        time.sleep(_WATCH_S)


@me.command()
def today(endpoint: Endpoint = "", as_json: Json = False) -> None:
    """What was taken of you today, as numbers: minutes per application, counts per kind, what was never recorded or removed.

    Example: byleave me today
    """
    from byleave.producers.person import own

    report = own.day(_folder(endpoint))
    say(report, "\n".join(own.day_words(report)), as_json)


@me.command()
def show(
    last: Annotated[str, typer.Option(help="At most 5m, as 30s or 2m.")] = "5m", endpoint: Endpoint = "", as_json: Json = False,
) -> None:  # fmt: skip
    """Show what was taken in the last minutes, as you typed it. It stands in the agent's memory only, and goes with it.

    Example: byleave me show --last 2m
    """
    import re

    from byleave.producers.inquiries import ask

    found = re.fullmatch(r"(\d{1,3})([sm])", last)
    last_s = int(found[1]) * (60 if found[2] == "m" else 1) if found else 0
    if not 0 < last_s <= 300:
        raise Misconfigured(f"--last {last[:20]!r}: it must be a time up to 5m, as 30s or 2m")
    report = ask(_folder(endpoint), {"ask": "show", "last_s": last_s})
    say(report, "\n".join(report["lines"]) or "Nothing was taken in that time.", as_json)


@me.command()
def export(
    out: Annotated[Path | None, typer.Option(help="Also write it to this new file, as JSON, for you alone.")] = None,
    recent: Annotated[bool, typer.Option("--recent", help="With what was typed in the last five minutes.")] = False,
    endpoint: Endpoint = "", as_json: Json = False,
) -> None:  # fmt: skip
    """All that this endpoint knows of you, and what it cannot know.

    Example: byleave me export --out me.json
    """
    from byleave.core.keys import create_private
    from byleave.producers.person import own

    at = load_installation()
    report = own.export(at, _folder(endpoint).name, recent=recent)
    if out is not None:
        create_private(out, own.written(report).encode())
    say(report, "\n".join(own.export_words(report)), as_json)


@me.command()
def erase(
    endpoint: Endpoint = "", yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Erase what was collected of you, as far as that reaches, and say how far. Your consent stands: see withdraw.

    Exit code 1 if a part could not be done. Not to be undone. Example: byleave me erase
    """
    from byleave.producers.person import own

    if not yes and not typer.confirm("Erase what was collected of you?", default=False, err=True):
        raise Refused("nothing was erased", reason="not-confirmed")
    report = own.erase(load_installation(), _folder(endpoint).name)
    words = {"Erased": report["done"], "NOT erased": report["not_done"], "Not reached": report["not_reached"]}
    say(report, "\n".join(f"{name}: {line}" for name, lines in words.items() for line in lines), as_json)
    raise typer.Exit(1 if report["not_done"] else 0)


@me.command()
def task(
    text: Annotated[str, typer.Argument(help="What you are about to do, in your own words.")] = "",
    done: Annotated[bool, typer.Option("--done", help="It is done, or you do something else now.")] = False,
    endpoint: Endpoint = "",
    as_json: Json = False,
) -> None:
    """Say what the next minutes are for, if you like. Your words are redacted like all text; pause and halt end the task.

    Example: byleave me task "file an expense"
    """
    from byleave.producers.inquiries import ask

    if bool(text.strip()) is done:
        raise Misconfigured("say what you are about to do, or --done")
    report = ask(_folder(endpoint), {"ask": "task", "text": text})
    say(report, "Noted. When you are through: byleave me task --done" if report["stated"] else "Noted: it is done.", as_json)


def _folder(endpoint: str) -> Path:
    from byleave.control.consenting import endpoint_here

    home = load_installation().home
    return home / "endpoints" / endpoint_here(home, endpoint)
