"""`byleave policy`: read, check, try and change the policy that decides levels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from byleave.control.officers_cli import Officer, PassphraseFile, Propose, Sign, Submit, Yes
from byleave.core.console import Json, say
from byleave.core.errors import Misconfigured

if TYPE_CHECKING:
    from byleave.control.proposal import Basis, Proposal
    from byleave.processors.rules import Rules

policy = typer.Typer(help="The policy that decides levels: check it, try it, change it.", no_args_is_help=True)
DAY_MS = 86_400_000


@policy.command()
def check(file: Annotated[Path, typer.Argument(help="A level policy in TOML.")], as_json: Json = False) -> None:
    """Say everything that is wrong with a policy, one sentence each. Exit 1 if anything is.

    Example: byleave policy check house.toml
    """
    from byleave.processors.policy import policy_errors

    errors = policy_errors(_read(file))
    if not errors:
        try:
            _rules(file, None)
        except Misconfigured as error:
            errors = [str(error)]
    say({"errors": errors}, "\n".join(errors) or f"{file}: nothing is wrong with it.", as_json)
    raise typer.Exit(1 if errors else 0)


@policy.command()
def explain(
    app: Annotated[str, typer.Option(help="An application: window class or process name.")] = "",
    site: Annotated[str, typer.Option(help="A host or URL in it.")] = "",
    title: Annotated[str, typer.Option(help="The window's title.")] = "",
    text: Annotated[str, typer.Option(help="What is typed there.")] = "",
    file: Annotated[Path | None, typer.Option("--policy", help="Try this file instead of the policy in force.")] = None,
    as_json: Json = False,
) -> None:
    """Say which rule gives which level, and by which words. Without options: what the policy in force says. Nothing is stored.

    Example: byleave policy explain --app slack --text "she is not ready for promo"
    """
    from byleave.processors.explain import explained, overview

    rules = _rules(file, None) if file else rules_here()
    report = explained(app, site, title, text, rules) if app or site or title or text else overview(rules)
    say(report, "\n".join(report["words"]), as_json)


@policy.command("propose")
def propose_policy(
    file: Annotated[Path | None, typer.Argument(help="The next policy in TOML; it may extend the shipped one.")] = None,
    house: Annotated[Path | None, typer.Option(help="Words of the house that are let out, apart by blanks.")] = None,
    days: Annotated[int, typer.Option(help="For how long it is valid.", min=1, max=366)] = 365,
    propose: Propose = None, sign: Sign = None, submit: Submit = None,
    officer: Officer = "", passphrase_file: PassphraseFile = None, yes: Yes = False, as_json: Json = False,
) -> None:  # fmt: skip
    """The next policy, from hand to hand: propose, have it signed by those who sign manifests, submit where the redactor runs.

    Example: byleave policy propose house.toml --house words.txt --propose next.json
    """
    from byleave.control import deciding, officers_cli, policies, proposal
    from byleave.control.documents import LevelPolicy
    from byleave.core.clock import wall_ms
    from byleave.core.settings import load_installation

    at = load_installation()

    def make() -> tuple[Proposal, Basis]:
        if file is None:
            raise Misconfigured("name the file of the next policy")
        _rules(file, house)
        words, now_ms = tuple(sorted(_words(house))), wall_ms()
        version = policies.next_version(at.home / policies.FOLDER)
        made = LevelPolicy(at.site, version, _read(file), words, now_ms, now_ms + days * DAY_MS)
        return proposal.propose([made]), deciding.root_basis(at)

    key = officers_cli.open_key(at, officer, passphrase_file)
    officers_cli.handle(at, (propose, sign, submit), make, key, yes=yes, as_json=as_json)


def _rules(file: Path, house: Path | None) -> Rules:
    from byleave.processors.rules import load_rules

    return load_rules(_read(file), house=_words(house))


def rules_here() -> Rules:
    """The rules that the redactor of this installation decides by; where none is installed, those that are shipped."""
    from byleave.core.settings import load_installation

    at = load_installation()
    if (at.home / "trust" / "root.dsse").is_file():
        from byleave.processors.main import rules_in_force

        return rules_in_force(at)
    from byleave.processors.rules import load_rules

    return load_rules()


def _words(house: Path | None) -> frozenset[str]:
    return frozenset(_read(house).lower().split()) if house else frozenset()


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise Misconfigured(f"{file} cannot be read as text") from None
