"""The keyring's process: HTTP on TLS 1.3, a client certificate required, its common name is the principal (P3).

Bodies, connections and waiting are bounded; an answer is a JSON object, an error one sentence with its family and reason.
Nothing of a request or an answer is ever logged.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from byleave.control.bootstrap import pinned_root
from byleave.core import metrics
from byleave.core.clock import wall_ms
from byleave.core.errors import Broken, ByleaveError, Forged, Misconfigured, Refused, Transient
from byleave.core.keyring import REQUEST_BYTES_MAX, REQUEST_S_MAX, ReadRequest
from byleave.core.log import configure
from byleave.core.settings import Installation, load_installation
from byleave.core.topics import ENDPOINT
from byleave.sinks.keyring import Keyring
from byleave.sinks.keystore import KeyStore, ensure_secret
from byleave.sinks.ledger import Ledger

CONNECTIONS_MAX = 64
_STATUS = {Refused: 403, Forged: 400, Transient: 503, Broken: 500}

Record = dict[str, Any]


def open_keyring(home: Path, site: str, secret_file: Path | None = None, now_ms: Callable[[], int] = wall_ms) -> Keyring:
    """The keyring of an installation. Without `secret_file`, a development secret of its own, in the keyring's folder.

    Raises Misconfigured: no root, wrong secret, a second keyring. Raises Forged: the ledger was changed.
    """
    root = pinned_root(home, site)
    folder = home / "keyring"
    first_time = not (folder / "master.sealed").exists()  # a lost secret must not be replaced by a new one
    secret = ensure_secret(secret_file or folder / "dev.secret", may_make=secret_file is None and first_time)
    store, ledger = KeyStore(folder, secret, os.urandom), Ledger(home / "ledger")
    return Keyring(store, ledger, root, now_ms=now_ms, random_bytes=os.urandom, halt_file=folder / "halt")


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
        files, data = ({name: _text(key) for name, key in part.items()} for part in (given.files, given.data))
        return {"entry": given.entry, "files": files, "data": data, "gone": list(given.gone)}

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
        "/v1/release": release,
        "/v1/open": open_record,
        "/v1/destroy": lambda principal, ask: {"destroyed": keyring.destroy(principal, **ask)},
    }


class _Server(ThreadingHTTPServer):
    """One thread a connection, at most `CONNECTIONS_MAX`; the handshake happens in the thread, so that none stalls others."""

    daemon_threads = True
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
            status = next(code for kind, code in _STATUS.items() if isinstance(error, kind))
            family = next(kind.__name__ for kind in _STATUS if isinstance(error, kind))
            answer = {"family": family, "reason": error.reason, "error": str(error)}
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
    parser = argparse.ArgumentParser(prog="byleave run keyring", description="Holds the keys; puts every look on record.")
    parser.add_argument("--secret-file", type=Path, help="what the master keys are sealed under; default: made for development")
    options = parser.parse_args([*argv])
    try:
        return _run(options.secret_file)
    except ByleaveError as error:
        sys.stderr.write(f"byleave keyring: {error}\n")
        return 2 if isinstance(error, Misconfigured) else 1


def _run(secret_file: Path | None) -> int:
    installation, log = load_installation(), configure("keyring")
    keyring = open_keyring(installation.home, installation.site, secret_file)
    server = serve(installation, keyring)
    health = metrics.serve(installation.metrics_port, lambda: True, lambda: True)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    threading.Thread(target=server.serve_forever, name="keyring", daemon=True).start()
    ready = {"ready": True, "role": "keyring", "pid": os.getpid(), "metrics_port": health.server_address[1]}
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    log.info("ready", port=int(server.server_address[1]))
    while not ended.wait(5.0):
        metrics.PROGRESS.set(time.time())
    server.shutdown()
    keyring.close()
    log.info("stopped")
    return 0


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _plain(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
