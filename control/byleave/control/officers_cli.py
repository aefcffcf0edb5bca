"""Commands of the officers: their keys, the root, what runs out; and the way of a proposal from hand to hand."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from byleave.core.clock import wall_ms
from byleave.core.console import Json, say
from byleave.core.errors import Misconfigured
from byleave.core.settings import load_installation

if TYPE_CHECKING:
    from byleave.control.officers import Ask
    from byleave.control.proposal import Basis, Proposal
    from byleave.core.settings import Installation

app = typer.Typer(no_args_is_help=True)
root = typer.Typer(help="The root of all trust: roles, keys, thresholds.", no_args_is_help=True)
keys = typer.Typer(help="Officers' keys: one file each, sealed under a passphrase.", no_args_is_help=True)

Propose = Annotated[Path | None, typer.Option(help="Write a proposal to this new file; nothing is signed yet.")]
Sign = Annotated[Path | None, typer.Option(help="Read this proposal in plain words, and add one officer's signature.")]
Submit = Annotated[Path | None, typer.Option(help="Publish this proposal, if enough officers have signed it.")]
Officer = Annotated[str, typer.Option(help="Whose key signs: a file in officers/.")]
PassphraseFile = Annotated[Path | None, typer.Option(help="Read the passphrase from this file instead of asking.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask: you have read it.")]
Files = tuple[Path | None, Path | None, Path | None]
Lift = Annotated[list[str] | None, typer.Option(help="Id of an order to lift, or its beginning; repeatable.")]


@keys.command("new")
def keys_new(
    name: Annotated[str, typer.Option(help="The officer's name in this installation, as security-2.")],
    out: Annotated[Path | None, typer.Option(help="Another place for the file, as a stick.")] = None,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Make an officer's key where that officer is. The file can be looked after with ssh-keygen; the public key is printed.

    Example: byleave keys new --name security-2
    """
    from byleave.control import officers
    from byleave.core.keys import KEY_BYTES

    path = officers.officer_path(load_installation().home, name)
    if (out or path).exists():
        raise Misconfigured(f"{out or path} exists: a key file is never overwritten; move it away first")
    passphrase = _ask(name, passphrase_file, new=True)()
    public = officers.seal_officer(out or path, secrets.token_bytes(KEY_BYTES), passphrase)
    report = {"name": name, "file": str(out or path), "key": public, "fingerprint": officers.fingerprint(public)}
    text = f"{name}: {report['file']}\n  public key  {public}\n  fingerprint {report['fingerprint']}"
    say(report, text + "\nIt may sign once a root names it: byleave root rotate --add ROLE=HEX@GROUP", as_json)


@keys.command("list")
def keys_list(as_json: Json = False) -> None:
    """Every key that the pinned root names: what it may sign, whether its file lies here, when it last worked.

    Example: byleave keys list --json
    """
    from byleave.control import deciding, officers, rollcall

    at = load_installation()
    knowledge = deciding.read_basis(at)[0].knowledge
    rows = rollcall.keys(knowledge, officers.keys_here(at.home), wall_ms())
    lines = [f"Root {knowledge.root.version}:"]
    for row in rows:
        worked = "never tried" if row["worked_days_ago"] is None else f"{row['worked_days_ago']} d ago"
        lines.append(f"  {row['key'][:16]} {row['group']:<10} {row['here'] or '-':<14} {worked:<12} {', '.join(row['roles'])}")
    say({"root": knowledge.root.version, "keys": rows}, "\n".join(lines), as_json)


@keys.command("rehearse")
def keys_rehearse(officer: Officer, passphrase_file: PassphraseFile = None, as_json: Json = False) -> None:
    """Prove that a key would be there on the day: open it, sign with it, and tell the board.

    Example: byleave keys rehearse --officer security-2
    """
    from byleave.control import deciding

    at = load_installation()
    report = {"officer": officer, **deciding.rehearse(at, open_key(at, officer, passphrase_file)())}
    say(report, f"The key of {officer} works; the board knows.", as_json)


@root.command("show")
def root_show(as_json: Json = False) -> None:
    """The root that this installation trusts: digest, roles, thresholds, whose keys. Exit 1 if it does not follow the pin.

    Example: byleave root show --json
    """
    from byleave.control import deciding, wording
    from byleave.control.bootstrap import pinned_root

    at = load_installation()
    found, digests = pinned_root(at.home, at.site), deciding.kept_roots(at.home)
    pin = at.home / "trust" / "root.pin"
    pinned = pin.read_text(encoding="ascii").strip() in digests.values() if pin.is_file() else None
    said = {None: "no trust/root.pin to compare with", True: "follows trust/root.pin", False: "NOT what trust/root.pin says"}
    lines = [*wording.root_words(found, None), f"  digest {digests[found.version]}", f"  {said[pinned]}"]
    say({**asdict(found), "digest": digests[found.version], "pinned": pinned}, "\n".join(lines), as_json)
    raise typer.Exit(1 if pinned is False else 0)


@root.command("init")
def root_init(
    description: Annotated[Path | None, typer.Argument(help="TOML or JSON: roles.NAME with threshold, groups, keys.")] = None,
    propose: Propose = None, sign: Sign = None, submit: Submit = None,
    officer: Officer = "", passphrase_file: PassphraseFile = None, yes: Yes = False, as_json: Json = False,
) -> None:  # fmt: skip
    """The first root of a site, from a description; signed by as many root keys as it says itself, and pinned here.

    Example: byleave root init roles.toml --propose root-1.json
    """
    from byleave.control import deciding, proposal, roots
    from byleave.control.knowledge import Knowledge

    at = load_installation()

    def make() -> tuple[Proposal, Basis]:
        if description is None or (at.home / "trust" / "root.dsse").exists():
            raise Misconfigured("name the description; and where a root is trusted already, 'byleave root rotate' is the way")
        first = roots.described(deciding.told(description), at.site, wall_ms())
        return proposal.propose([first]), proposal.Basis(None, Knowledge(first, at.site))

    handle(at, (propose, sign, submit), make, open_key(at, officer, passphrase_file), yes=yes, as_json=as_json)


@root.command("rotate")
def root_rotate(
    propose: Propose = None, sign: Sign = None, submit: Submit = None,
    add: Annotated[list[str] | None, typer.Option(help="ROLE=HEX@GROUP; repeatable.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="HEX of a key that loses all its roles; repeatable.")] = None,
    threshold: Annotated[list[str] | None, typer.Option(help="ROLE=KEYS/GROUPS; repeatable.")] = None,
    recipient: Annotated[list[str] | None, typer.Option(help="NAME=HEX@GROUP who reads what people raise; repeatable.")] = None,
    expires_days: Annotated[int, typer.Option(help="For how long; a year at most.")] = 365,
    lift: Lift = None,
    alone: Annotated[bool, typer.Option("--alone", help="Submit the root though its state is not signed yet.")] = False,
    officer: Officer = "", passphrase_file: PassphraseFile = None, yes: Yes = False, as_json: Json = False,
) -> None:  # fmt: skip
    """The next root, signed by the thresholds of the old one and of the new one, with the state that must follow it.

    From the new root until that state EVERYBODY STOPS: nothing is captured, forwarded or read (fail closed). The proposal holds
    both, so that one submit publishes both; with --alone the root goes out first, and a resume must follow.

    Example: byleave root rotate --remove 3b6a27bc... --add halt=8f40c5ad...@security --propose next.json
    """
    from byleave.control import deciding, roots
    from byleave.control.bootstrap import pinned_root

    at = load_installation()

    def make() -> tuple[Proposal, Basis]:
        basis, signed = deciding.read_basis(at)
        following = roots.rotated(
            pinned_root(at.home, at.site), wall_ms(), add=add or [], remove=remove or [], thresholds=threshold or [],
            expires_days=expires_days, recipients=recipient or [],
        )  # fmt: skip
        return deciding.rotation(basis, signed, following, lift or []), basis

    handle(at, (propose, sign, submit), make, open_key(at, officer, passphrase_file), yes=yes, as_json=as_json, alone=alone)


@app.command()
def calendar(as_json: Json = False) -> None:
    """What runs out, when, and who must sign before. Exit 1 if anything is urgent (3 days) or over.

    Example: byleave calendar
    """
    from byleave.control import calendar as rules
    from byleave.control import deciding, officers, policies
    from byleave.control.bootstrap import pinned_root

    at = load_installation()
    basis, _ = deciding.read_basis(at)
    ends, names = deciding.certificate_ends(at.pki), officers.keys_here(at.home)
    policy = policies.installed(at.home / policies.FOLDER)
    rows = rules.calendar(pinned_root(at.home, at.site), basis.knowledge, ends, names, wall_ms(), policy)
    lines, seen = [], set()
    for row in rows:
        if row.level != rules.Level.OK or row.what not in seen:  # of what is far off, the nearest of each kind
            when = "never yet" if row.days is None else f"{row.days} d"
            lines.append(f"  {row.level.upper():<7} {when:>9}  {row.what} {row.name}: {row.who}")
        seen.add(row.what)
    levels = {row.level for row in rows}
    say({"rows": [asdict(row) for row in rows]}, "\n".join(lines), as_json)
    raise typer.Exit(1 if levels & {rules.Level.URGENT, rules.Level.OVER} else 0)


def handle(
    at: Installation, files: Files, make: Callable[[], tuple[Proposal, Basis]], key: Callable[[], Any],
    *, yes: bool, as_json: bool, alone: bool = False,
) -> None:  # fmt: skip
    """Proposes, signs or submits, whichever of the three files is named. Raises Misconfigured unless it is exactly one."""
    from byleave.control import deciding

    if sum(one is not None for one in files) != 1:
        raise Misconfigured("name exactly one of --propose FILE, --sign FILE, --submit FILE")
    propose, sign, submit = files

    def agree(words: list[str]) -> bool:
        typer.echo("\n".join(words), err=as_json)
        return yes or typer.confirm("Do you sign this?", default=False, err=True)

    if propose is not None:
        words = deciding.write_proposal(propose, *make())
        text = "\n".join([*words, f"Written to {propose}; nobody has signed it."])
        say({"file": str(propose), "words": words}, text, as_json)
    elif sign is not None:
        lacking = deciding.sign_file(at, sign, agree, key)
        say({"file": str(sign), "missing": lacking}, "Signed. " + ("; ".join(lacking) or f"Enough: --submit {sign}"), as_json)
    elif submit is not None:
        report = deciding.submit_file(at, submit, alone=alone)
        stopped = "root" in report and "epoch" not in report
        text = "Published: " + ", ".join(f"{name} {value}" for name, value in report.items() if value != [])
        say(report, text + (". EVERYBODY STOPS until a state follows: byleave resume --propose" if stopped else ""), as_json)


def open_key(at: Installation, name: str, passphrase_file: Path | None) -> Callable[[], Any]:
    """How to come by an officer's key when it is needed, and not before."""
    from byleave.control import officers

    def opened() -> Any:
        if not name:
            raise Misconfigured("say who signs: --officer NAME")
        return officers.read_officer(officers.officer_path(at.home, name), _ask(name, passphrase_file, new=False))

    return opened


def _ask(name: str, passphrase_file: Path | None, *, new: bool) -> Ask:
    from byleave.core.keys import read_private

    if passphrase_file is not None:
        return lambda: read_private(passphrase_file).decode(errors="replace").rstrip("\r\n")
    return lambda: str(typer.prompt(f"Passphrase of {name}", hide_input=True, confirmation_prompt=new, err=True))
