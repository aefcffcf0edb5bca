"""Commands of the enroller (`byleave fleet`) and of a device (`byleave endpoint`)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from byleave.control.officers_cli import PassphraseFile, open_key
from byleave.core.console import Json, say
from byleave.core.errors import Misconfigured
from byleave.core.settings import load_installation

fleet = typer.Typer(help="The enroller's desk: who is enrolled, revoked, and next to be updated.", no_args_is_help=True)
endpoint = typer.Typer(help="This device: enrol it, ask how it is, leave.", no_args_is_help=True)
Enroller = Annotated[str, typer.Option("--officer", help="Whose key signs: a file in officers/.")]
Name = Annotated[str, typer.Option("--endpoint", help="This endpoint. Default: the only one of this installation.")]


@fleet.command("list")
def list_(as_json: Json = False) -> None:
    """Every endpoint by its pseudonym: is it allowed to capture, what is known of its version, what runs out.

    Not whether anybody works, nor whether anybody agreed.

    Example: byleave fleet list --json
    """
    from byleave.deploy import fleet as desk

    found = desk.rows(load_installation())
    lines = [
        f"{row.endpoint:<24} {row.team:<12} {row.state:<14} version {row.version or '-':<8} enrolled {row.enrolled_days} d"
        + ("" if row.certificate_days is None else f", certificate {row.certificate_days} d")
        + ("" if row.acked_days_ago is None else f", proved that it stopped {row.acked_days_ago} d ago")
        for row in found
    ]
    say({"endpoints": [asdict(row) for row in found]}, "\n".join(lines) or "Nobody is enrolled.", as_json)


@fleet.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The endpoint's pseudonym; it is never used again.")] = "",
    reason: Annotated[str, typer.Option(help="Why; the control services read it.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Sign and publish all that were revoked from here anew.")] = False,
    officer: Enroller = "enrol-1", passphrase_file: PassphraseFile = None, as_json: Json = False,
) -> None:  # fmt: skip
    """End an endpoint now and for good: no grant, nothing of its key passes, no rights on the broker.

    Example: byleave fleet revoke ep-a --reason "lost on a train"
    """
    from byleave.deploy import fleet as desk

    at = load_installation()
    if again == bool(name):
        raise Misconfigured("say which endpoint, or --again alone")
    key = open_key(at, officer, passphrase_file)()
    if again:
        names = desk.say_again(at, key)
        say({"endpoints": names}, f"{len(names)} revocations are out again.", as_json)
        return
    report = desk.revoke(at, name, reason, key)
    say(report, f"{name} is revoked. Its rights on the broker: {report['rights']}.", as_json)


@fleet.command()
def answer(officer: Enroller = "enrol-1", passphrase_file: PassphraseFile = None, as_json: Json = False) -> None:
    """Renew certificates, pass on consents and withdrawals, let go who asked to leave. For a timer at the enroller's desk.

    Example: byleave fleet answer --json
    """
    from byleave.deploy import enroller as desk

    at = load_installation()
    done = desk.answer(at, open_key(at, officer, passphrase_file)())
    say(done, "; ".join(f"{what}: {', '.join(names) or 'nobody'}" for what, names in done.items()), as_json)


@fleet.command()
def rollout(
    version: Annotated[str, typer.Option(help="The version that goes out, as 0.2.0.")],
    ring: Annotated[int, typer.Option(help="Percent of the endpoints, this ring and those before it together.")],
    refused_max: Annotated[int, typer.Option(min=0, help="So many refused batches of the last ring are borne.")] = 0,
    hold_h: Annotated[int, typer.Option(min=0, help="Hours that the last ring must have stood.")] = 24,
    as_json: Json = False,
) -> None:
    """Open the next ring of a new version, and name its endpoints for whoever installs. Exit code 1 if refusals stop it.

    Example: byleave fleet rollout --version 0.2.0 --ring 10
    """
    from byleave.deploy import rollout as desk

    found = desk.open_ring(load_installation(), version, ring, refused_max=refused_max, hold_h=hold_h)
    last = " Once it has stood: byleave resume --propose FILE --minimum " + version if ring == 100 else ""
    text = (
        f"Version {version} is for {len(found['endpoints'])} of {found['of']} endpoints, {len(found['new'])} of them new.{last}"
    )
    say(found, "\n".join([*found["new"], text]), as_json)


@endpoint.command()
def enrol(
    name: Annotated[str, typer.Option(help="Its pseudonym, in [a-z0-9._-].")],
    root_hash: Annotated[str, typer.Option(help="SHA-256 of the site's root, as you were told by another way than this file.")],
    out: Annotated[Path, typer.Option(help="Where the application is written, to be carried to the enroller.")],
    person_key: Annotated[Path | None, typer.Option(help="Your key from another device of yours.")] = None,
    as_json: Json = False,
) -> None:
    """Make this device's keys here and an application for it. Nothing is sent; nothing can be captured yet.

    Example: byleave endpoint enrol --name ep-7 --root-hash 3f9c... --out ep-7.application
    """
    from byleave.core.keys import replace_file
    from byleave.deploy import enrol as device

    replace_file(out, device.enrol(load_installation(), name, root_hash, person_key), mode=0o644)
    say({"endpoint": name, "application": str(out)}, f"Carry {out} to the enroller; keys stay here.", as_json)


@endpoint.command()
def approve(
    application: Annotated[Path, typer.Argument(help="What the device wrote.")],
    subject: Annotated[str, typer.Option(help="The person's pseudonym.")],
    team: Annotated[str, typer.Option(help="The team's pseudonym.")],
    out: Annotated[Path, typer.Option(help="Where the bundle for the device is written.")],
    days: Annotated[int, typer.Option(min=1, max=365, help="How long the enrolment lasts.")] = 90,
    officer: Enroller = "enrol-1", passphrase_file: PassphraseFile = None, as_json: Json = False,
) -> None:  # fmt: skip
    """At the enroller's desk: make an applicant an endpoint, and write the bundle for its device.

    Example: byleave endpoint approve ep-7.application --subject person-7 --team team-1 --out ep-7.bundle
    """
    from byleave.core.keys import replace_file
    from byleave.deploy import enroller as desk
    from byleave.deploy.enrol import read_file

    at = load_installation()
    key = open_key(at, officer, passphrase_file)()
    replace_file(out, desk.approve(at, read_file(application), subject, team, key, days), mode=0o644)
    say({"bundle": str(out)}, f"Carry {out} back to the device: byleave endpoint install {out.name}", as_json)


@endpoint.command()
def install(
    bundle: Annotated[Path, typer.Argument(help="What the enroller wrote.")], name: Name = "", as_json: Json = False
) -> None:
    """On the device: take certificate and enrolment, if the pinned root vouches for them and they are for its own keys.

    Example: byleave endpoint install ep-7.bundle
    """
    from byleave.deploy import enrol as device

    at = load_installation()
    found = device.install(at, device.applicant_here(at, name), device.read_file(bundle))
    text = f"{found.endpoint} is enrolled; `byleave me consent` is next: without it nothing is captured."
    say({"endpoint": found.endpoint, "subject": found.subject, "team": found.team}, text, as_json)


@endpoint.command()
def status(name: Name = "", as_json: Json = False) -> None:
    """Say in one line whether this endpoint captures, and if not why.

    Exit code 0 it captures; 3 it does not, for the reason given; 4 the agent does not run; 5 it is not enrolled, or no more.

    Example: byleave endpoint status --json
    """
    from byleave.deploy import enrol as device

    at = load_installation()
    report, code = device.status(at, device.applicant_here(at, name))
    say(report, str(report["said"]), as_json)
    raise typer.Exit(code)


@endpoint.command()
def leave(
    name: Name = "",
    anyway: Annotated[bool, typer.Option("--anyway", help="Also if the service cannot be told now.")] = False,
    as_json: Json = False,
) -> None:
    """Withdraw, ask the enroller to forget this device, remove its keys and whatever waits to be sent.

    Example: byleave endpoint leave
    """
    from byleave.deploy import enrol as device

    at = load_installation()
    report = device.leave(at, device.applicant_here(at, name), anyway=anyway)
    told = "the enroller was asked to forget it" if report["told"] else "the enroller does NOT know yet: tell them"
    text = f"{report['endpoint']} is an endpoint no more; {told}. Left here: {', '.join(report['left']) or 'nothing'}."
    say(report, text, as_json)
