"""The keyring's process: HTTP on TLS 1.3, a client certificate required, its common name is the principal (P3).

Bodies, connections and waiting are bounded; an answer is a JSON object, an error one sentence with its family and reason.
Nothing of a request or an answer is ever logged.

It hears the signed orders itself, from nobody in between. Without a broker, or without a beacon for `FRESH_MS`, it knows of
none and lets nobody read; redactor and sink get their keys all the same.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import os
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from byleave.control.bootstrap import pinned_root
from byleave.control.desk import open_watch
from byleave.control.documents import Beacon, Root
from byleave.control.watch import FRESH_MS, ControlWatch
from byleave.core import metrics
from byleave.core.clock import boot_ms, wall_ms
from byleave.core.errors import Broken, ByleaveError, Misconfigured, Refused, Transient
from byleave.core.keyring import FAMILIES, REQUEST_BYTES_MAX, REQUEST_S_MAX, ReadRequest
from byleave.core.role import Role, run
from byleave.core.settings import Installation
from byleave.core.topics import ENDPOINT
from byleave.sinks.keyring import Keyring
from byleave.sinks.keystore import KeyStore, ensure_secret
from byleave.sinks.ledger import Ledger
from byleave.sinks.orders import Discard, Standing, standing_of

LISTEN_S = 0.2
PAUSE_S = 1.0
"""Before a broker that did not answer is asked again."""
APART_PPM_MAX = 100
"""How much faster than the beacon service's clock this one may run: without it, a good clock would end all looks in a week."""
CONNECTIONS_MAX = 64
_STATUS = {"Refused": 403, "Forged": 400, "Transient": 503, "Broken": 500}

Record = dict[str, Any]


class Orders:
    """The signed orders as this process hears them. Stepped by one thread; any thread may ask for the `standing`.

    A beacon's age is told by the one that came soonest: whoever hands them out slowly holds nobody in the past.
    """

    def __init__(self, root: Root, listen: Callable[[], ControlWatch], clock: Callable[[], int] = boot_ms) -> None:
        self._listen, self._clock = listen, clock
        self._watch: ControlWatch | None = None
        self._standing = Standing(root)
        self._signed_ms: float = clock() - FRESH_MS
        self._apart_ms, self._compared_ms = float("inf"), clock()

    def standing(self) -> Standing:
        watch, standing = self._watch, self._standing
        current = watch is not None and watch.caught_up and self._clock() - self._signed_ms < FRESH_MS
        return standing if current else replace(standing, known=False)

    def step(self) -> None:
        """Listens for a moment. Raises Transient, Refused, Broken: nothing is known until a later step succeeds."""
        if self._watch is None:
            self._watch = self._listen()
        live = self._watch.caught_up  # a beacon that stood there before may be of any age
        try:
            learned = self._watch.pump(LISTEN_S)
        except (Refused, Broken):
            self.close()
            raise
        for document in learned:
            if live and isinstance(document, Beacon):
                self._hear(document.service_ms, self._clock())
        if learned or not self._standing.known:
            self._standing = standing_of(self._watch.knowledge, caught_up=self._watch.caught_up)

    def _hear(self, service_ms: int, now_ms: int) -> None:
        drifted_ms = (now_ms - self._compared_ms) * APART_PPM_MAX / 1_000_000
        self._apart_ms, self._compared_ms = min(now_ms - service_ms, self._apart_ms + drifted_ms), now_ms
        self._signed_ms = service_ms + self._apart_ms

    def close(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()


def open_keyring(
    home: Path, standing: Callable[[], Standing], secret_file: Path | None = None, now_ms: Callable[[], int] = wall_ms
) -> Keyring:
    """The keyring of an installation. Without `secret_file`, a development secret of its own, in the keyring's folder.

    Raises Misconfigured: wrong secret, a second keyring. Raises Forged: the ledger was changed.
    """
    folder = home / "keyring"
    first_time = not (folder / "master.sealed").exists()  # a lost secret must not be replaced by a new one
    secret = ensure_secret(secret_file or folder / "dev.secret", may_make=secret_file is None and first_time)
    store, ledger = KeyStore(folder, secret, os.urandom), Ledger(home / "ledger")
    return Keyring(store, ledger, standing, now_ms=now_ms, random_bytes=os.urandom, halt_file=folder / "halt")


def serve(installation: Installation, keyring: Keyring) -> ThreadingHTTPServer:
    """The server, listening but not yet serving. Raises Misconfigured if its address cannot be had."""
    ca, certificate, key = installation.certificate("keyring")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(ca)
    tls.load_cert_chain(certificate, key)
    host, _, port = installation.keyring.rpartition(":")
    handler = type("Connection", (_Connection,), {"routes": _routes(keyring)})
    try:
        server = _Server((host.strip("[]"), int(port)), handler)
    except OSError:
        raise Misconfigured(f"{installation.keyring} cannot be listened on; set BYLEAVE_KEYRING to a free address") from None
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server


def _routes(keyring: Keyring) -> dict[str, Callable[[str, Record], Record]]:
    def release(principal: str, ask: Record) -> Record:
        lists = {"columns": tuple(ask["columns"]), "tickets": tuple(ask["tickets"])}
        request = ReadRequest(**{**ask, **lists, "manifests": tuple(_plain(m) for m in ask["manifests"])})
        given = keyring.release(principal, request)
        return {"entry": given.entry, "files": _texts(given.files), "data": _texts(given.data), "gone": list(given.gone)}

    def file_key(principal: str, ask: Record) -> Record:
        key, ticket = keyring.file_key(principal, **ask)
        return {"key": _text(key), "ticket": ticket}

    def open_record(principal: str, ask: Record) -> Record:
        ask |= {"record": _plain(ask["record"]), "manifest": _plain(ask["manifest"])}
        return {"body": _text(keyring.open_record(principal, **ask))}

    return {
        "/v1/data-key": lambda principal, ask: {"key": _text(keyring.data_key(principal, **ask))},
        "/v1/file-key": file_key,
        "/v1/commit": lambda principal, ask: {"entry": keyring.record_commit(principal, **ask)},
        "/v1/erase": lambda principal, ask: {"files": _texts(keyring.erase_keys(principal, **ask))},
        "/v1/release": release,
        "/v1/open": open_record,
        "/v1/destroy": lambda principal, ask: {"destroyed": keyring.destroy(principal, **ask)},
    }


class _Server(ThreadingHTTPServer):
    """One thread a connection, at most `CONNECTIONS_MAX`; the handshake happens in the thread, so that none stalls others."""

    _places = threading.BoundedSemaphore(CONNECTIONS_MAX)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Failed handshakes and broken connections are counted, not told: a traceback would hold what was sent."""
        metrics.KEY_RELEASES.labels("any", "no-connection").inc()


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60.0  # of a connection kept open; a single read of a stalled request ends with it too
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(REQUEST_S_MAX)
        self.connection.do_handshake()
        self.connection.settimeout(self.timeout)

    routes: Mapping[str, Callable[[str, Record], Record]] = {}

    def do_POST(self) -> None:
        try:
            question = self._question()  # read whatever the answer: what stays unread would be taken for the next question
            answer, status = self._answer(self._principal(), question), 200
        except ByleaveError as error:
            family = next(name for name, kind in FAMILIES.items() if isinstance(error, kind))
            answer, status = {"family": family, "reason": error.reason, "error": str(error)}, _STATUS[family]
        except (TypeError, KeyError, ValueError, AttributeError, binascii.Error):  # a question of the wrong shape
            answer, status = {"family": "Refused", "reason": "malformed", "error": "the question is not of its form"}, 403
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self, principal: str, question: Record) -> Record:
        if self.path not in self.routes:
            raise Refused("no such question", reason="malformed")
        return self.routes[self.path](principal, question)

    def _principal(self) -> str:
        """The one common name of the verified certificate. An endpoint's certificate asks the keyring for nothing."""
        subject = [pair for part in self.connection.getpeercert().get("subject", ()) for pair in part]
        names = [value for name, value in subject if name == "commonName"]
        if len(names) != 1 or ("organizationalUnitName", ENDPOINT) in subject:
            raise Refused("this certificate names no principal of the keyring", reason="not-entitled")
        return str(names[0])

    def _question(self) -> Record:
        length = int(self.headers.get("Content-Length") or -1)
        if not 0 <= length <= REQUEST_BYTES_MAX:
            self.close_connection = True
            raise Refused(f"a question of at most {REQUEST_BYTES_MAX} bytes, with its length", reason="oversized")
        question = json.loads(self.rfile.read(length))
        if not isinstance(question, dict):
            raise Refused("a question is a JSON object", reason="malformed")
        return question

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's parameter name
        """Silent: a request line is nobody's business."""


def main(argv: Sequence[str]) -> int:
    """Runs the keyring until SIGTERM or SIGINT. Exit code 0, 2 when misconfigured, 1 on other errors."""
    secret = {"type": Path, "help": "what the master keys are sealed under; default: made for development"}
    return run("keyring", "Holds the keys; puts every look on record.", [*argv], _work, {"--secret-file": secret})


def _work(role: Role, given: argparse.Namespace) -> None:
    at = role.installation
    orders = Orders(pinned_root(at.home, at.site), partial(open_watch, at, "keyring", tries=1))
    keyring = open_keyring(at.home, orders.standing, given.secret_file)
    server = serve(at, keyring)
    threading.Thread(target=server.serve_forever, name="keyring", daemon=True).start()
    try:
        with role.served(lambda: orders.standing().known, lambda: True) as say_ready:
            say_ready()  # to redactor and sink; readers wait until the orders are known
            role.log.info("ready", port=int(server.server_address[1]))
            _listen(role, orders, keyring)
    finally:
        server.shutdown()
        keyring.close()
        orders.close()
    role.log.info("stopped")


def _listen(role: Role, orders: Orders, keyring: Keyring) -> None:
    """Until told to end. A silent broker is no reason to end: the lake goes on without orders to read, only looks stop."""
    carried_out: tuple[Discard, ...] = ()
    pause_s = 0.0
    while not role.stopped(pause_s):
        try:
            orders.step()
            pause_s = 0.0
        except (Transient, Refused, Broken) as error:
            role.log.warning("again", reason=error.reason)
            pause_s = PAUSE_S
        if (discards := orders.standing().discards) != carried_out:
            keyring.discard()
            carried_out = discards
        metrics.PROGRESS.set(time.time())


def _texts(keys: Mapping[str, bytes]) -> dict[str, str]:
    return {name: _text(key) for name, key in keys.items()}


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _plain(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
