"""Commands of the control room: halt, resume, board, consent, enrolment. Each says what it did and what it does not know."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from byleave.control.documents import Scope
from byleave.core.errors import Misconfigured, Refused

app = typer.Typer(no_args_is_help=True)
run = typer.Typer(help="Run one role of the site in this process.", no_args_is_help=True)
me = typer.Typer(help="What concerns you: your consent.", no_args_is_help=True)
app.add_typer(run, name="run")
app.add_typer(me, name="me")

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
SCOPES = ("team", "endpoint", "subject", "site")
VALID_FOR_MS = 600_000
HALT_RECORD_MS = 2 * 86_400_000
"""How long a lifted order's record stays: longer than any batch that it refuses can wait."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@app.command()
def halt(
    reason: Annotated[str, typer.Option(help="Why; everybody reads it.")],
    scope: Annotated[str, typer.Option(help="global, team:NAME, endpoint:NAME, subject:NAME or site:NAME")] = "global",
    what: Annotated[str, typer.Option(help="capture, processing or reads")] = "capture",
    buffer: Annotated[str, typer.Option(help="What becomes of what endpoints hold: drop or seal.")] = "drop",
    officer: Annotated[str, typer.Option(help="Whose key signs: a file in officers/.")] = "security-1",
    wait: Annotated[
        bool, typer.Option("--wait", help="Count the acks; exit 1 if anybody is UNKNOWN when all leases are over.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Stop capture now, for everybody or a part. Any one officer may.

    Example: byleave halt --reason "looking into a complaint" --scope team:billing --wait
    """
    from byleave.control import desk, ordering
    from byleave.core.clock import wall_ms
    from byleave.core.settings import load_installation

    at = load_installation()
    key = desk.officer(at.home, officer)
    order = ordering.order(at.site, _scope(scope), what, reason, buffer, wall_ms(), VALID_FOR_MS, secrets.token_hex(16))
    started_s = time.monotonic()
    sent = ordering.send(at, order, key)
    report = {**sent, "scope": scope, "what": what, "published_ms": round((time.monotonic() - started_s) * 1000)}
    if not as_json:
        typer.echo(f"Order {sent['halt_id'][:12]} is out ({report['published_ms']} ms). Broker brake: {sent['brake']}.")
    settled = True
    if wait:
        board = ordering.await_board(at, sent["halt_id"], lambda found: None if as_json else typer.echo(found.sentence))
        report["board"], settled = board, bool(board["settled"])
    if as_json:
        typer.echo(json.dumps(report, sort_keys=True))
    raise typer.Exit(0 if settled else 1)


@app.command()
def resume(
    lift: Annotated[
        list[str] | None, typer.Option(help="Id of an order to lift, or its beginning; repeatable. Default: all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Sign the next state and lift orders, with the officers' keys in this installation: k of n, from two groups.

    Example: byleave resume --lift 3f9c1d
    """
    from byleave.control import ordering
    from byleave.core.settings import load_installation

    report = ordering.resume(load_installation(), lift, HALT_RECORD_MS)
    _say(
        report,
        f"Epoch {report['epoch']} is out; {len(report['lifted'])} orders lifted, {report['standing']} still stand.",
        as_json,
    )


@app.command()
def board(
    watch: Annotated[bool, typer.Option("--watch", help="Again each second, until interrupted.")] = False,
    order: Annotated[str, typer.Option(help="Id of an order, or its beginning. Default: all in force.")] = "",
    as_json: Json = False,
) -> None:
    """Who stopped, who must have, and of whom it is not known. Exit code 1 while anybody is UNKNOWN.

    Example: byleave board --watch
    """
    from byleave.control import ordering
    from byleave.core.settings import load_installation

    settled = True
    for report in ordering.boards(load_installation(), order, endless=watch):
        settled = all(found["settled"] for found in report["orders"])
        _say(report, "\n".join(_board_lines(report)), as_json)
    raise typer.Exit(0 if settled else 1)


@app.command()
def enrol(
    endpoint: Annotated[list[str], typer.Option(help="NAME=SUBJECT@TEAM; repeatable.")],
    as_json: Json = False,
) -> None:
    """Make and publish what a development site needs for these endpoints: keys, manifest, enrolments, first state. No consent.

    Example: byleave enrol --endpoint ep-a=person-a@team-1
    """
    from byleave.control import bootstrap, ordering
    from byleave.core.clock import wall_ms
    from byleave.core.settings import load_installation

    at = load_installation()
    bootstrap.dev_site(at.home, at.site, [_endpoint(text) for text in endpoint], wall_ms(), secrets.token_bytes)
    published = ordering.publish_missing(at)
    _say({"published": published}, f"{len(published)} documents published; `byleave me consent` is next.", as_json)


@me.command()
def consent(
    endpoint: Annotated[str, typer.Option(help="Your endpoint. Default: the only one of this installation.")] = "",
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
    from byleave.core.settings import load_installation

    at = load_installation()
    name = consenting.endpoint_here(at.home, endpoint)
    if withdraw:
        report = consenting.withdraw(at, name)
        _say(report, f"Your consent is withdrawn. {name} captures nothing from now on.", as_json)
        return
    offer = consenting.read_offer(at, name)
    if not as_json:
        typer.echo("\n".join(consenting.plain_words(offer.manifest)))
    if not yes and not typer.confirm("Do you agree to this?", default=False, err=True):
        raise Refused("not agreed: nothing was signed, nothing is captured", reason="no-consent")
    _say(
        consenting.agree(at, name, offer),
        "Agreed and signed. Take it back at any time: byleave me consent --withdraw",
        as_json,
    )


@run.command("beacon", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run_beacon(context: typer.Context) -> None:
    """Vouch once a second for the state in force, until SIGTERM.

    Example: byleave run beacon
    """
    from byleave.control import beacon_main

    raise typer.Exit(beacon_main.main(list(context.args)))


@run.command(
    "drill", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": list[str]()}
)
def run_drill(context: typer.Context) -> None:
    """Halt the canary once an hour, and see whether each brake holds. `byleave run drill --help` tells the options.

    Example: byleave run drill --every-s 3600
    """
    from byleave.control import drill_main

    raise typer.Exit(drill_main.main(context.args))


@app.command()
def drill(
    no_brake: Annotated[bool, typer.Option("--no-brake", help="This cluster gives nobody the right to set it.")] = False,
    as_json: Json = False,
) -> None:
    """Halt the canary now and say of each brake whether it held, and how long it took. Exit code 1 if one did not.

    Example: byleave drill
    """
    from byleave.control import drill_main

    raise typer.Exit(drill_main.main(["--once", *["--no-brake"] * no_brake, *["--json"] * as_json]))


def _scope(text: str) -> Scope:
    kind, _, name = text.partition(":")
    if kind == "global" and not name:
        return Scope("global")
    if kind not in SCOPES or not _NAME.fullmatch(name):
        raise Misconfigured(f"--scope {text!r}: it must be global, or one of {', '.join(SCOPES)} with a name, as team:billing")
    return Scope(kind, name)


def _endpoint(text: str) -> tuple[str, str, str]:
    found = re.fullmatch(r"([^=@]+)=([^=@]+)@([^=@]+)", text)
    if found is None or not all(_NAME.fullmatch(part) for part in found.groups()):
        raise Misconfigured(
            f"--endpoint {text!r}: it must be NAME=SUBJECT@TEAM in lower-case letters, digits, '.', '_' and '-'"
        )
    name, subject, team = found.groups()
    return name, subject, team


def _board_lines(report: dict[str, Any]) -> Iterable[str]:
    age_ms = report["beacon_age_ms"]
    yield f"Epoch {report['epoch']}; " + ("no beacon was heard." if age_ms is None else f"last beacon {age_ms} ms ago.")
    for found in report["orders"]:
        yield f"Order {found['halt_id'][:12]} ({found['what']}, {found['scope']}): {found['sentence']}."
        for row in found["rows"]:
            after = (
                "" if row["stopped_after_ms"] is None else f"  after {row['stopped_after_ms']} ms, buffer {row['disposition']}"
            )
            yield f"  {row['endpoint']:<24} {row['standing'].replace('_', ' ')}{after}"
    if not report["orders"]:
        yield "No order to stop is in force."
        for row in report["endpoints"]:
            yield f"  {row['endpoint']:<24} consent: {row['consent']}"


def _say(report: dict[str, Any], text: str, as_json: bool) -> None:
    typer.echo(json.dumps(report, sort_keys=True) if as_json else text)
