"""The `byleave` command: set-up commands of its own, and those of every room, merged into one.

Exit codes: 0 done; 1 something is refused, forged, unreachable or broken; 2 wrong usage or configuration. Errors are one
sentence on stderr. An error that nobody foresaw is told by its type and place only: its message could hold captured
content (P4).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn, cast

import typer

from byleave.core.console import Json, say
from byleave.core.errors import ByleaveError, Misconfigured
from byleave.core.settings import load_installation
from byleave.core.topics import Catalogue, load_catalogue
from byleave.deploy import broker, fleet_cli, process

ROOMS = ("byleave.control.cli", "byleave.producers.cli", "byleave.processors.cli", "byleave.sinks.cli")
"""Modules with a Typer `app`; those that this installation lacks are left out."""

ENDPOINTS_DEFAULT = ("ep-a", "ep-b", "ep-c")

EndpointNames = Annotated[
    list[str] | None,
    typer.Option("--endpoint", help="An endpoint's name; may be repeated. Default: those with a certificate."),
]
Principal = Annotated[str, typer.Option(help="Whose certificate of BYLEAVE_PKI to use.")]

app = typer.Typer(
    help="Input capture by leave: consented, sealed, redacted, halted in a blink, and provable.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables
)
topics = typer.Typer(help="Topics and ACLs, as the catalogue says.", no_args_is_help=True)
app.add_typer(topics, name="topics")
app.add_typer(fleet_cli.fleet, name="fleet")
app.add_typer(fleet_cli.endpoint, name="endpoint")
run = typer.Typer(help="Run one role of the site in this process.", no_args_is_help=True)
app.add_typer(run, name="run")
_AS_IT_STANDS = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": list[str]()}
_ROLES = {
    "agent": ("producers.main", "Capture on this endpoint, while its permit is fresh."),
    "browser-host": ("producers.browser_host", "Tell the agent which site has the keyboard; a browser starts it."),
    "beacon": ("control.beacon_main", "Vouch once a second for the state in force."),
    "drill": ("control.drill_main", "Halt the canary once an hour, and see whether each brake holds."),
    "keyring": ("sinks.keyring_main", "Hold the keys and put every look on record."),
    "redactor": ("processors.main", "Open, redact and seal again what was captured."),
    "sink": ("sinks.main", "Write sanitized records to the encrypted lake."),
}
"""Each with its module, whose `main` reads the options and answers --help, and what it does."""
_BESIDE = {
    "bench": ("bench", "Measure speed, or what is named: `bench halt|redact|capture|endpoint|observer` (in a clone)."),
    "demo": (
        "demo",
        "Carry real input from three endpoints through Kafka into the lake, halt everything, and prove it (in a clone).",
    ),
    "generate": (
        "generator",
        "Write the manifests and documents that follow from the catalogue and the role table (in a clone).",
    ),
}
"""Each with a folder beside the product, whose `main` reads the options and answers --help, and what it does."""


def _runs(target: typer.Typer, name: str, doc: str, main: Callable[[list[str]], int]) -> None:
    """Adds a command that hands its options on as they stand."""

    def handed_on(context: typer.Context) -> None:
        raise typer.Exit(main(context.args))

    target.command(name, context_settings=_AS_IT_STANDS, help=doc)(handed_on)


def _role(module: str, arguments: list[str]) -> int:
    return int(importlib.import_module(f"byleave.{module}").main(arguments))


def _of_the_source_tree(folder: str, arguments: list[str]) -> int:
    """Runs a folder of the checkout that this was installed from or that one stands in. Raises Misconfigured: there is none."""
    for root in (Path(__file__).resolve().parents[3], Path.cwd()):
        if (root / "deploy" / "byleave").is_dir() and (root / folder / "__main__.py").is_file():
            sys.path.insert(0, str(root))
            return int(importlib.import_module(f"{folder}.__main__").main(arguments))
    raise Misconfigured(f"the {folder} belongs to the source tree: run it in a clone")


for _name, (_module, _doc) in _ROLES.items():
    _runs(run, _name, _doc, partial(_role, _module))
for _name, (_folder, _doc) in _BESIDE.items():
    _runs(app, _name, _doc, partial(_of_the_source_tree, _folder))


@app.command()
def up(endpoint: EndpointNames = None, as_json: Json = False) -> None:
    """Start the embedded Kafka, with certificates, topics and ACLs. Harmless if it runs already.

    Example: byleave up --endpoint ep-a --endpoint ep-b
    """
    from byleave.deploy import fleet, pki, provision

    home = load_installation().home
    pki.ensure_pki(home, endpoint or pki.endpoints_in(home / "pki") or ENDPOINTS_DEFAULT)
    running = broker.start(home)
    installation = load_installation()
    if installation.bootstrap != running.bootstrap:
        raise Misconfigured("BYLEAVE_BOOTSTRAP names another cluster; unset it, or use `byleave topics apply` for that one")
    names = fleet.names_here(installation)
    changed = provision.apply(installation.kafka("admin"), installation.site, load_catalogue(), names)
    report = {"bootstrap": running.bootstrap, "pid": running.pid, "ready_s": round(running.ready_s, 1)}
    text = f"Kafka is up at {running.bootstrap} (process {running.pid}); {len(changed)} topics, settings and ACLs put in place."
    say({**report, "home": str(home), "endpoints": list(names), "changed": len(changed)}, text, as_json)


@app.command()
def down(as_json: Json = False) -> None:
    """Stop the embedded Kafka of this installation, and first the roles that a demo left running; their data stay.

    Example: byleave down
    """
    home = load_installation().home
    roles = process.end_all(home / "run")
    was_up = broker.stop(home)
    text = f"Stopped: {', '.join([*roles, *(['Kafka'] if was_up else [])]) or 'nothing, for nothing ran'}."
    say({"was_up": was_up, "roles": roles}, text, as_json)


@app.command()
def status(as_json: Json = False) -> None:
    """Say whether the embedded Kafka runs, and where. Exit code 1 if it does not.

    Example: byleave status --json
    """
    installation = load_installation()
    running = broker.status(installation.home)
    found = {"up": running is not None, "home": str(installation.home), "site": installation.site}
    if running is None:
        say(found, f"Kafka is not running; its state is in {installation.home}. `byleave up` starts it.", as_json)
        raise typer.Exit(1)
    found |= {"bootstrap": running.bootstrap, "pid": running.pid}
    say(found, f"Kafka runs at {running.bootstrap} (process {running.pid}), site {installation.site}", as_json)


@topics.command("apply")
def topics_apply(endpoint: EndpointNames = None, principal: Principal = "admin", as_json: Json = False) -> None:
    """Create and correct topics and ACLs below the site prefix; nothing outside it is touched.

    Example: BYLEAVE_BOOTSTRAP=kafka.internal:9093 byleave topics apply --principal admin
    """
    from byleave.deploy import provision

    conf, site, catalogue, fleet = _cluster(principal, endpoint)
    changed = provision.apply(conf, site, catalogue, fleet)
    text = "\n".join([*(f"was {drift}" for drift in changed), f"{len(changed)} differences put right under {site}"])
    say({"site": site, "changed": [str(d) for d in changed]}, text, as_json)


@topics.command("check")
def topics_check(endpoint: EndpointNames = None, principal: Principal = "ops", as_json: Json = False) -> None:
    """Compare topics, settings and ACLs with the catalogue. Exit code 1 if anything differs.

    Example: byleave topics check --json
    """
    from byleave.deploy import provision

    conf, site, catalogue, fleet = _cluster(principal, endpoint)
    drifts = provision.check(conf, site, catalogue, fleet)
    text = "\n".join(str(drift) for drift in drifts) or f"Everything under {site} is as the catalogue says."
    say({"site": site, "drift": [str(d) for d in drifts]}, text, as_json)
    if drifts:
        raise typer.Exit(1)


def merge(target: typer.Typer, room: typer.Typer) -> None:
    """Adds a room's commands, and its groups by name: several rooms have something to say under `run`."""
    target.registered_commands.extend(room.registered_commands)
    for group in room.registered_groups:
        theirs = cast(typer.Typer, group.typer_instance)
        ours = next((g.typer_instance for g in target.registered_groups if g.name == group.name), None)
        if ours is None:
            ours = typer.Typer(no_args_is_help=True, help=theirs.info.help)
            target.add_typer(ours, name=group.name)
        merge(ours, theirs)


def main() -> None:
    """Entry point of the `byleave` command."""
    for room in ROOMS:
        if importlib.util.find_spec(room) is not None:
            merge(app, importlib.import_module(room).app)
    try:
        app()
    except Misconfigured as error:
        _fail(str(error), 2)
    except ByleaveError as error:
        _fail(str(error), 1)
    except OSError as error:
        if error.filename is None:
            _fail_unforeseen(error)
        what = f"{error.filename} cannot be used ({type(error).__name__})"
        _fail(f"{what}: see to its rights and its disk, or name another folder with BYLEAVE_HOME", 2)
    except Exception as error:  # noqa: BLE001 - the last resort: told by type and place, never by content
        _fail_unforeseen(error)


def _cluster(principal: str, endpoint: list[str] | None) -> tuple[dict[str, str | int | bool], str, Catalogue, tuple[str, ...]]:
    """How to reach the cluster as this principal, the site, and what should be there."""
    from byleave.deploy.fleet import names_here

    installation = load_installation()
    fleet = tuple(endpoint) if endpoint else names_here(installation)
    return installation.kafka(principal), installation.site, load_catalogue(), fleet


def _fail_unforeseen(error: Exception) -> NoReturn:
    place = traceback.extract_tb(error.__traceback__)[-1]
    _fail(f"internal error {type(error).__name__} at {Path(place.filename).name}:{place.lineno}; please report it", 1)


def _fail(sentence: str, code: int) -> NoReturn:
    typer.echo(f"byleave: {sentence}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
