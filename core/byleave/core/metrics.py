"""Edge: what operations can see. One definition a metric, with its sentence; the published list is made from this file.

Labels are constants (reason, stage, label of a detector, partition): never a key, a title, an application or a person (P4).
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY = CollectorRegistry()

_LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def _counter(name: str, doc: str, *labels: str) -> Counter:
    return Counter(f"byleave_{name}", doc, labels, registry=REGISTRY)


def _gauge(name: str, doc: str, *labels: str) -> Gauge:
    return Gauge(f"byleave_{name}", doc, labels, registry=REGISTRY)


def _histogram(name: str, doc: str, *labels: str) -> Histogram:
    return Histogram(f"byleave_{name}", doc, labels, registry=REGISTRY, buckets=_LATENCY_S)


CAPTURED = _counter("captured_events", "Events that the gate let through on this endpoint.")
GATE_CLOSED = _counter("gate_closed_events", "Events that a hook reported while capture was not allowed; they are forgotten.")
OUT_OF_SCOPE = _counter("out_of_scope_events", "Events in applications that the manifest does not name; they are forgotten.")
SPOOLED_BYTES = _gauge("spool_bytes", "Sealed bytes that wait in the endpoint's spool.")
SPOOL_GAPS = _counter("spool_gap_events", "Events declared lost because the spool was full.")
LEASE_LEFT = _gauge("lease_left_seconds", "How long capture would still be allowed if nothing more were heard.")
CAPTURING = _gauge("capturing", "1 while a capture worker is alive and allowed, else 0.")
BATCHES = _counter("batches", "Batches published by this endpoint and acknowledged by the broker.")
HALT_SECONDS = _histogram("halt_seconds", "Order heard to capture worker reaped, on this endpoint.")

ADMITTED = _counter("admitted_events", "Events that the fence let through.")
REFUSED = _counter("refused_batches", "Batches refused, by stage and reason; none of their content is kept.", "stage", "reason")
DRIFT = _counter("drift_findings", "Records that held what their manifest does not promise; each ends what found it.", "stage")
WAITING = _gauge("waiting_batches", "Batches parked at the fence until a beacon covers them.")
FENCE_WAIT = _histogram("fence_wait_seconds", "Broker stamp to admission.")
DISPOSITION = _counter("disposed_events", "What became of admitted events.", "disposition")
REDACTIONS = _counter("redactions", "Spans removed, by label.", "label")
ROWS = _counter("rows", "Rows written by the redactor, by content and level.", "content", "level")
TRANSACTIONS = _counter("transactions", "Transactions, by outcome.", "outcome")
REBUILDS = _counter("rebuilds", "How often all state was forgotten and restored from the topics, by cause.", "reason")
PARTITIONS = _gauge("partitions", "Partitions that this redactor owns.")

LAKE_ROWS = _counter("lake_rows", "Rows committed to the lake, by content and level.", "content", "level")
LAKE_COMMIT = _histogram("lake_commit_seconds", "Duration of one lake commit.")
LAKE_DUPLICATES = _counter("lake_duplicate_records", "Records that were in the lake already and were not written again.")
KEY_RELEASES = _counter("key_releases", "Keys released by the keyring, by kind of principal and outcome.", "kind", "outcome")
BEACONS = _counter("beacons", "Beacons that the broker took.")
HALT_TO_ACK = _histogram("halt_to_ack_seconds", "Effective time of an order to capture worker reaped, as endpoints signed it.")
HALT_UNKNOWN = _gauge(
    "halt_unknown_endpoints", "Endpoints that an order is about, and of whom it is not known that they stopped."
)
EXPIRES_IN = _gauge("expires_in_seconds", "How long the first of its kind is still valid; negative once it is over.", "what")
DRILL_PASSED = _gauge("drill_last_passed_seconds", "Unix time at which a drill of the halt last passed whole.")
DRILLS = _counter("drills", "Drills of the halt, by outcome: passed, failed, not-tried.", "outcome")
DRILL_HALT = _histogram("drill_halt_seconds", "Effective time of a drill's order to the canary's worker reaped.")
GRANTS = _counter("grants", "Session requests answered, by outcome.", "outcome")
PROGRESS = _gauge("last_progress_seconds", "Unix time at which this process last did useful work: a watchdog compares it.")


Admits = Callable[[Any, Any], bool]
"""Whether a connection, by its socket and the address at its other end, is answered."""


def anybody(_: Any, __: Any) -> bool:
    return True


def serve(port: int, ready: Callable[[], bool], alive: Callable[[], bool], admits: Admits = anybody) -> ThreadingHTTPServer:
    """`/metrics`, `/livez` and `/readyz` on loopback; port 0 takes any free one. The caller shuts it down.

    Refuses whom it does not admit, and another name than loopback's: a web page could have been led here by its own.
    """

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name is the library's
            checks = {"/livez": alive, "/readyz": ready}
            if self.headers.get("Host", "localhost").split(":")[0] not in ("127.0.0.1", "localhost"):
                self._answer(403, b"not here\n")
            elif self.path == "/metrics":
                self._answer(200, generate_latest(REGISTRY))
            elif self.path in checks:
                fine = checks[self.path]()
                self._answer(200 if fine else 503, b"ok\n" if fine else b"no\n")
            else:
                self._answer(404, b"not here\n")

        def _answer(self, code: int, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's parameter name
            """Silent: a request line is nobody's business."""

    server = _Server(("127.0.0.1", port), Health)
    server.admits = admits
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    """As the library's, which wakes up twice a second to see whether it is to end; this one sleeps until somebody asks."""

    _over = False
    admits: Admits = staticmethod(anybody)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return self.admits(request, client_address)

    def serve_forever(self, poll_interval: float = 0.5) -> None:  # noqa: ARG002 - the library's parameter
        while not self._over:
            self.handle_request()

    def shutdown(self) -> None:
        self._over = True
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.server_port), 1.0).close()
