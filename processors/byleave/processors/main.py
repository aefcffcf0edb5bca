"""Edge: the redactor's process. Reads settings and keys, builds clients, runs the worker (`byleave run redactor`)."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from byleave.control.bootstrap import pin_root, pinned_root
from byleave.control.knowledge import Knowledge
from byleave.control.watch import ControlWatch
from byleave.core import log, metrics
from byleave.core.clock import wall_ms
from byleave.core.envelope import Opener
from byleave.core.errors import ByleaveError, Misconfigured, Transient
from byleave.core.kafka import KafkaTail
from byleave.core.keyring import KeyringClient
from byleave.core.keys import read_hpke_key, read_secret, read_signing_key
from byleave.core.settings import Installation, load_installation
from byleave.processors.membership import GROUP, Membership, Plan
from byleave.processors.partition import Tools
from byleave.processors.session import load_rules
from byleave.processors.state import StateSeal
from byleave.processors.worker import Clocks, Worker

ROLE = "redactor"
OWN_KEYS = ("sign", "state")
CONTROL_TOPICS = tuple(f"control.{name}.v1" for name in ("root", "state", "halt", "manifest", "enrolment", "consent", "beacon"))
CATCH_UP_S_MAX = 60.0
TURN_S_MAX = 30.0
"""A loop that did not come round for so long is not alive: every call in it is bounded well below."""


def main(argv: list[str]) -> int:
    """Runs until SIGTERM or SIGINT. Returns 0; 2 if misconfigured, 1 after any other error, with one sentence on stderr."""
    try:
        options = _options(argv)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        _run(load_installation(), options, stop)
    except ByleaveError as error:
        print(f"redactor: {error}", file=sys.stderr)  # noqa: T201 - the process contract
        return 2 if isinstance(error, Misconfigured) else 1
    return 0


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="byleave run redactor", description="Opens, redacts and seals again what was captured."
    )
    parser.add_argument("--slot", default="0", help="which of several redactors this is; no two may share one (default 0)")
    parser.add_argument("--commit-ms", type=int, default=200, choices=range(20, 1001), metavar="20..1000", help="default 200")
    parser.add_argument(
        "--protocol", default="consumer", choices=("consumer", "classic"), help="classic for brokers before 4.0"
    )
    return parser.parse_args(argv)


def _run(installation: Installation, options: argparse.Namespace, stop: threading.Event) -> None:
    log.configure(ROLE)
    connection = installation.kafka(ROLE)
    knowledge = Knowledge(pinned_root(installation.home, installation.site), installation.site)
    home = installation.home / ROLE
    keyring = KeyringClient(installation.keyring, installation.certificate(ROLE))
    tools = _tools_of(installation, home, keyring)
    tools()  # missing keys are said before anything is joined
    topics = [installation.topic(name) for name in CONTROL_TOPICS]
    tail = KafkaTail(connection, f"{installation.site}{GROUP}-control", topics)
    watch = ControlWatch(tail, knowledge, installation.site, pin=lambda signed: pin_root(installation.home, signed))
    _catch_up(watch, stop)
    plan = Plan(connection, installation.site, options.slot, options.commit_ms / 1000, options.protocol)
    clocks = Clocks(time.monotonic, wall_ms)
    worker = Worker(lambda: Membership(plan, tools(), knowledge), watch, clocks, stop.wait, plan.commit_s)
    server = metrics.serve(
        installation.metrics_port,
        ready=lambda: worker.partitions > 0 and watch.fresh,
        alive=lambda: time.monotonic() - worker.turned_s < TURN_S_MAX,
    )
    try:
        worker.run(_once(lambda: _ready(server.server_address[1])))
    finally:
        watch.close()
        keyring.close()
        server.shutdown()


def _tools_of(installation: Installation, home: Path, keyring: KeyringClient) -> Callable[[], Tools]:
    rules = load_rules()
    signer = read_signing_key(home / "sign.key")
    seal = StateSeal(read_secret(home / "state.key"), installation.site, secrets.token_bytes)

    def tools() -> Tools:
        """Keys are read anew for each membership, so that a new day's key is found."""
        return Tools(rules, Opener(_openers(home)), signer, seal, keyring.data_key, secrets.token_bytes)

    return tools


def _openers(home: Path) -> dict[str, X25519PrivateKey]:
    found = {path.stem: read_hpke_key(path) for path in sorted(home.glob("*.key")) if path.stem not in OWN_KEYS}
    if not found:
        raise Misconfigured(f"no key to open batches with in {home}: run 'byleave up' or restore the folder")
    return found


def _catch_up(watch: ControlWatch, stop: threading.Event) -> None:
    """Before the control topics are read to their end, no answer of the fence would mean anything."""
    until_s = time.monotonic() + CATCH_UP_S_MAX
    while not watch.caught_up and not stop.is_set():
        if time.monotonic() > until_s:
            raise Transient(f"the control topics could not be read to their end in {CATCH_UP_S_MAX:.0f} s")
        watch.pump(0.2)


def _once(call: Callable[[], None]) -> Callable[[], None]:
    left = [call]
    return lambda: left.pop()() if left else None


def _ready(port: int) -> None:
    line = {"ready": True, "role": ROLE, "pid": os.getpid(), "metrics_port": port}
    print(json.dumps(line), flush=True)  # noqa: T201 - the process contract


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
