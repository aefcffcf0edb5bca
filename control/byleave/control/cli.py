"""Commands of the control room: halt, resume, board, enrolment. Each says what it did and what it does not know."""

from __future__ import annotations

import datetime as dt
import json
import re
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from byleave.control import concern_cli, officers_cli
from byleave.control.documents import Halt, Scope
from byleave.control.officers_cli import Lift, Officer, PassphraseFile, Propose, Sign, Submit, Yes
from byleave.core.clock import wall_ms
from byleave.core.console import Json, say
from byleave.core.errors import Misconfigured, Refused
from byleave.core.settings import load_installation
from byleave.core.topics import PSEUDONYM

if TYPE_CHECKING:
    from byleave.control.proposal import Basis, Proposal

app = typer.Typer(no_args_is_help=True)
app.add_typer(officers_cli.root, name="root")
app.add_typer(concern_cli.app, name="concern")
app.add_typer(officers_cli.keys, name="keys")
app.registered_commands.extend(officers_cli.app.registered_commands)

SCOPES = ("team", "endpoint", "subject", "site")
VALID_FOR_MS = 600_000
DISCARD_ALONE_MS_MAX = 3_600_000
"""How far back one officer may erase (ruling 7)."""
PROPOSAL_VALID_FOR_MS = 7 * 86_400_000
"""So long an order that several must sign may be on its way between them."""


@app.command()
def halt(
    reason: Annotated[str, typer.Option(help="Why; everybody reads it.")] = "",
    scope: Annotated[str, typer.Option(help="global, team:NAME, endpoint:NAME, subject:NAME or site:NAME")] = "global",
    what: Annotated[str, typer.Option(help="capture, processing or reads")] = "capture",
    buffer: Annotated[str, typer.Option(help="What becomes of what endpoints hold: drop or seal.")] = "drop",
    discard_since: Annotated[
        str, typer.Option(help="Erase what was collected since: 45m, 2h, 3d or an ISO time. Over an hour: with --propose.")
    ] = "",
    officer: Officer = "security-1", passphrase_file: PassphraseFile = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Count the acks; exit 1 if anybody is UNKNOWN when all leases are over.")
    ] = False,
    propose: Propose = None, sign: Sign = None, submit: Submit = None, yes: Yes = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Stop capture now, for everybody or a part. Any one officer may; to erase more than the last hour takes k of n.

    Example: byleave halt --reason "looking into a complaint" --scope team:billing --wait
    """
    from byleave.control import ordering

    at, now_ms = load_installation(), wall_ms()
    key = officers_cli.open_key(at, officer, passphrase_file)
    jointly = propose or sign or submit

    def order() -> Halt:
        since_ms = _since(discard_since, now_ms) if discard_since else 0
        valid_ms = PROPOSAL_VALID_FOR_MS if jointly else VALID_FOR_MS
        return ordering.order(at.site, _scope(scope), what, reason, buffer, now_ms, valid_ms, secrets.token_hex(16), since_ms)

    if jointly:
        from byleave.control import deciding, proposal

        officers_cli.handle(
            at, (propose, sign, submit), lambda: (proposal.propose([order()]), deciding.read_basis(at)[0]), key,
            yes=yes, as_json=as_json,
        )  # fmt: skip
        return
    made = order()
    if made.discard_since_ms and now_ms - made.discard_since_ms > DISCARD_ALONE_MS_MAX:
        raise Refused("to erase more than the last hour takes k of n: add --propose FILE", reason="below-threshold")
    opened, started_s = key(), time.monotonic()
    sent = ordering.send(at, made, opened)
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
    lift: Lift = None,
    manifest: Annotated[Path | None, typer.Option(help="A new manifest in JSON or TOML, signed in the same proposal.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="Who may capture from then on, all of it; repeatable. Default: as it is.")
    ] = None,
    recipient: Annotated[str, typer.Option(help="KEY_ID=HEX of the redactor's key that events are sealed to.")] = "",
    minimum: Annotated[
        str | None, typer.Option(help="The oldest version of the agent that may capture; '' for any. Default: as it is.")
    ] = None,
    propose: Propose = None, sign: Sign = None, submit: Submit = None,
    officer: Officer = "", passphrase_file: PassphraseFile = None, yes: Yes = False, as_json: Json = False,
) -> None:  # fmt: skip
    """The next state: lift orders (default: all), widen or narrow who may capture, change the manifest. k of n, two groups.

    With --propose, --sign and --submit from hand to hand; alone with the development keys in this installation.

    Example: byleave resume --propose next.json --lift 3f9c1d --manifest new.json
    """
    from byleave.control import deciding
    from byleave.control.proposal import described_manifest
    from byleave.core.keys import public_hex
    from byleave.core.keys import recipient as redactor_key

    at = load_installation()

    def make() -> tuple[Proposal, Basis]:
        basis, _ = deciding.read_basis(at)
        new = described_manifest(deciding.told(manifest), at.site, wall_ms()) if manifest else None
        key_id, _, key = recipient.partition("=")
        sealed_to = (key_id, public_hex(redactor_key(key))) if recipient else None
        return deciding.next_documents(basis, lift, new, [_scope(text) for text in scope or []], sealed_to, minimum), basis

    if propose or sign or submit:
        key = officers_cli.open_key(at, officer, passphrase_file)
        officers_cli.handle(at, (propose, sign, submit), make, key, yes=yes, as_json=as_json)
        return
    if manifest or scope or recipient or minimum is not None:
        raise Misconfigured("to change who may capture, or under what, say --propose FILE: others must read it first")
    report = deciding.resume_here(at, lift)
    text = f"Epoch {report['epoch']} is out; {len(report['lifted'])} orders lifted, {report['standing']} still stand."
    say(report, text, as_json)


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

    settled = True
    for report in ordering.boards(load_installation(), order, endless=watch):
        settled = all(found["settled"] for found in report["orders"])
        say(report, "\n".join(_board_lines(report)), as_json)
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

    at = load_installation()
    bootstrap.dev_site(at.home, at.site, [_endpoint(text) for text in endpoint], wall_ms(), secrets.token_bytes)
    published = ordering.publish_missing(at)
    say({"published": published}, f"{len(published)} documents published; `byleave me consent` is next.", as_json)


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
    if kind not in SCOPES or not PSEUDONYM.fullmatch(name):
        raise Misconfigured(f"--scope {text!r}: it must be global, or one of {', '.join(SCOPES)} with a name, as team:billing")
    return Scope(kind, name)


def _since(text: str, now_ms: int) -> int:
    """A time in ms: so long ago, as 45m, or an ISO time, UTC unless it says otherwise."""
    ago = re.fullmatch(r"(\d{1,4})([mhd])", text)
    if ago is not None:
        return now_ms - int(ago[1]) * {"m": 60_000, "h": 3_600_000, "d": 86_400_000}[ago[2]]
    try:
        told = dt.datetime.fromisoformat(text)
        since_ms = int((told if told.tzinfo else told.replace(tzinfo=dt.UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        since_ms = 0
    if not 0 < since_ms < now_ms:
        raise Misconfigured(
            f"--discard-since {text[:40]!r}: it must be a time that has passed, as 45m, 2h, 3d or 2026-11-24T09:30"
        )
    return since_ms


def _endpoint(text: str) -> tuple[str, str, str]:
    found = re.fullmatch(r"([^=@]+)=([^=@]+)@([^=@]+)", text)
    if found is None or not all(PSEUDONYM.fullmatch(part) for part in found.groups()):
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
            stopped_ms = row["stopped_after_ms"]
            after = "" if stopped_ms is None else f"  after {stopped_ms} ms, buffer {row['disposition']}"
            yield f"  {row['endpoint']:<24} {row['standing'].replace('_', ' ')}{after}"
    never = sum(row["worked_days_ago"] is None for row in report["keys"])
    if never:
        yield f"{never} of {len(report['keys'])} keys were never tried; see byleave keys list."
    for row in report["concerns"]:
        yield f"Concern {row['number']} ({row['concern'][:12]}): no answer for {row['age_days']} d; see byleave concern."
    if not report["orders"]:
        yield "No order to stop is in force."
