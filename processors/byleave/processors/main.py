"""Edge: the redactor's process. Reads settings and keys, builds clients, runs the worker (`byleave run redactor`)."""

from __future__ import annotations

import argparse
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from byleave.control import desk, policies
from byleave.control.bootstrap import pinned_root
from byleave.control.watch import ControlWatch
from byleave.core.clock import wall_ms
from byleave.core.envelope import Opener
from byleave.core.errors import Misconfigured, Transient
from byleave.core.keyring import KeyringClient
from byleave.core.keys import read_hpke_key, read_secret, read_signing_key
from byleave.core.role import Options, Role, run
from byleave.core.settings import Installation
from byleave.processors.membership import Membership, Plan
from byleave.processors.partition import Tools
from byleave.processors.rules import Rules, load_rules
from byleave.processors.state import StateSeal
from byleave.processors.worker import Clocks, Worker

ROLE = "redactor"
OWN_KEYS = ("sign", "state")
CONTROL_TOPICS = tuple(f"control.{name}.v1" for name in ("root", "state", "halt", "manifest", "enrolment", "consent", "beacon"))
CATCH_UP_S_MAX = 60.0
TURN_S_MAX = 30.0
"""A loop that did not come round for so long is not alive: every call in it is bounded well below."""
OPTIONS: Options = {
    "--slot": {"default": "0", "help": "which of several redactors this is; no two may share one (default 0)"},
    "--commit-ms": {
        "type": int, "default": 200, "choices": range(20, 1001), "metavar": "20..1000", "help": "default 200",
    },
    "--protocol": {"default": "consumer", "choices": ("consumer", "classic"), "help": "classic for brokers before 4.0"},
}  # fmt: skip


def main(argv: list[str]) -> int:
    """Runs until SIGTERM or SIGINT; the exit code is `core.role`'s."""
    return run(ROLE, "Opens, redacts and seals again what was captured.", argv, work, OPTIONS)


def work(role: Role, options: argparse.Namespace) -> None:
    """The redactor's life. Raises as the worker does; Misconfigured if a key is missing, before anything is joined."""
    at = role.installation
    keyring = KeyringClient(at.keyring, at.certificate(ROLE))
    tools = _tools_of(role, keyring)
    tools()
    watch = desk.open_watch(at, ROLE, topics=CONTROL_TOPICS, tries=desk.TRIES_MAX, pause=role.stopped)
    _catch_up(watch, role)
    plan = Plan(at.kafka(ROLE), at.site, options.slot, options.commit_ms / 1000, options.protocol)
    clocks = Clocks(time.monotonic, wall_ms)
    worker = Worker(lambda: Membership(plan, tools(), watch.knowledge), watch, clocks, role.stopped, plan.commit_s)
    ready, alive = lambda: worker.partitions > 0 and watch.fresh, lambda: time.monotonic() - worker.turned_s < TURN_S_MAX
    with role.served(ready, alive) as say_ready:
        try:
            worker.run(say_ready)
        finally:
            watch.close()
            keyring.close()


def _tools_of(role: Role, keyring: KeyringClient) -> Callable[[], Tools]:
    home = role.installation.home / ROLE
    rules = rules_in_force(role.installation, pin=True)
    signer = read_signing_key(home / "sign.key")
    seal = StateSeal(read_secret(home / "state.key"), role.installation.site, secrets.token_bytes)

    def tools() -> Tools:
        """Keys are read anew for each membership, so that a new day's key is found."""
        return Tools(rules, Opener(_openers(home)), signer, seal, keyring.data_key, secrets.token_bytes)

    return tools


def rules_in_force(at: Installation, *, pin: bool = False) -> Rules:
    """The rules under the policy that the officers signed, else as shipped. Raises as `policies.read`."""
    folder = at.home / policies.FOLDER
    signed = policies.read(folder, pinned_root(at.home, at.site), at.site, wall_ms(), pin=pin)
    return load_rules(signed.text, house=frozenset(signed.house)) if signed else load_rules()


def _openers(home: Path) -> dict[str, X25519PrivateKey]:
    found = {path.stem: read_hpke_key(path) for path in sorted(home.glob("*.key")) if path.stem not in OWN_KEYS}
    if not found:
        raise Misconfigured(f"no key to open batches with in {home}: run 'byleave up' or restore the folder")
    return found


def _catch_up(watch: ControlWatch, role: Role) -> None:
    """Before the control topics are read to their end, no answer of the fence would mean anything."""
    until_s = time.monotonic() + CATCH_UP_S_MAX
    while not watch.caught_up and not role.stopped():
        if time.monotonic() > until_s:
            raise Transient(f"the control topics could not be read to their end in {CATCH_UP_S_MAX:.0f} s")
        watch.pump(0.2)
