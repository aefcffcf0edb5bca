"""Edge: the person's own page, served by the agent on loopback to one browser, begun when it is asked for (P7).

    link    http://127.0.0.1:<port>/<128 random bits>, good once; then a cookie (HttpOnly, SameSite=Strict), good until IDLE_S
            after the last use. The link also stands in open.html in the endpoint's folder, so that a browser can be started
            without it in its command line, which other accounts can read.

Promises  nothing is served but to this account, where the kernel tells whose a connection is (Linux); to nobody without the
          cookie; no change without POST, this page's own Origin and its token. No script, nothing from elsewhere, no caching.
Refuses   another Host (DNS rebinding) or Origin, a second use of the link, more than BODY_BYTES_MAX, more than THREADS_MAX
          connections, and a client slower than TALK_S.

A cookie does not know of ports: another program of this machine to which the same browser is led by hand sees it, but it is of
no use to another account.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs

from byleave.control import consenting
from byleave.control.knowledge import Knowledge
from byleave.control.wording import plain_words
from byleave.core.errors import ByleaveError
from byleave.core.keys import replace_file
from byleave.core.settings import Installation
from byleave.producers.inquiries import Handler, ask
from byleave.producers.person import pause
from byleave.producers.person.view import View, asset, page

IDLE_S = 600.0
TALK_S, CHANGE_S = 5.0, 60.0
"""From the connection to the end of the answer; and of a change, which may have to be said to a broker."""
THREADS_MAX = 8
BODY_BYTES_MAX = 1_024
LOOP_S = 0.5
FILE = "open.html"
_CONNECTIONS = Path("/proc/net/tcp")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # no-referrer would make the Origin of our own forms null
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_GO = '<!doctype html><html lang="en"><title>byleave</title><meta http-equiv="refresh" content="0; url={}">'
"""A page that goes on by itself. A redirect would not do: the cookie is not sent along a way that began elsewhere."""
_ANCHOR = re.compile("[a-z]{1,20}")


@dataclass(frozen=True, slots=True)
class Desk:
    """What the page stands on. `ask`: the agent's answer to a question; `changes`: what a button does, by its name."""

    folder: Path
    ask: Handler
    changes: Mapping[str, Callable[[], object]]


def serve(questions: dict[str, Handler], knowledge: Knowledge, installation: Installation, name: str) -> Page:
    """The page of this endpoint's agent, which answers `open` and, for the page itself, `page`, from then on."""
    folder, known = installation.home / "endpoints" / name, list[str]()

    def told(_: dict[str, Any]) -> dict[str, Any]:
        known[:] = in_force(knowledge, name) or known  # while paused nothing is heard: what was in force last
        answers: dict[str, Any] = {
            named: questions[named]({"ask": named}) for named in ("status", "today") if named in questions
        }
        return {**answers, "words": known, "paused": pause.stands(folder)}

    changes = {"pause": partial(pause.pause, folder), "resume": partial(pause.lift, folder)}
    made = Page(Desk(folder, partial(ask, folder), {**changes, "withdraw": partial(consenting.withdraw, installation, name)}))
    questions.update(page=told, open=made.open)
    return made


def in_force(knowledge: Knowledge, endpoint: str) -> list[str]:
    """The manifest in force for an endpoint, in plain words; nothing where none is known."""
    run = knowledge.leave(endpoint, knowledge.beacon.service_ms) if knowledge.beacon else None
    return list(plain_words(knowledge.manifests[run.manifest])) if run else []


class Page:
    """At most one server, one unused link and one browser at a time."""

    def __init__(self, desk: Desk, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._desk, self._clock_s = desk, clock_s
        self._server: _Server | None = None

    def open(self, question: dict[str, Any]) -> dict[str, Any]:
        """Answers with a new `link`, and the `file` that leads to it; `at` names a part of the page. A link before is void.

        Raises OSError if there is no port or no room.
        """
        if self._server is None or self._server.over:
            self._server = _Server(self._desk, self._clock_s)
            threading.Thread(target=self._server.run, name="page", daemon=True).start()
        at = str(question.get("at", ""))
        link = self._server.link(at if _ANCHOR.fullmatch(at) else "")
        replace_file(self._desk.folder / FILE, _GO.format(link).encode())
        return {"link": link, "file": str(self._desk.folder / FILE)}

    def close(self) -> None:
        """Ends it; waits for nobody."""
        if self._server is not None:
            self._server.over = True


class _Server(ThreadingMixIn, TCPServer):  # an HTTPServer asks DNS for its own name
    daemon_threads = True
    request_queue_size = 8
    timeout = LOOP_S

    def __init__(self, desk: Desk, clock_s: Callable[[], float]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.desk, self.over = desk, False
        self._clock_s, self._used_s = clock_s, clock_s()
        self.port = int(self.socket.getsockname()[1])
        self.host = f"127.0.0.1:{self.port}"
        self._lock = threading.Lock()
        self._token, self._cookie, self._at = "", "", ""
        self.csrf = ""
        self.talks: dict[socket.socket, float] = {}
        """Until when each may last."""

    def run(self) -> None:
        """Serves until nobody has used it for IDLE_S."""
        try:
            while not self.over and self._clock_s() - self._used_s < IDLE_S:
                self.handle_request()
                self._hurry()
        finally:
            self.over = True
            self.server_close()
            (self.desk.folder / FILE).unlink(missing_ok=True)

    def link(self, at: str) -> str:
        with self._lock:
            self._token, self._at, self._used_s = secrets.token_hex(16), at, self._clock_s()
            return f"http://{self.host}/{self._token}"

    def redeem(self, token: str) -> tuple[str, str] | None:
        """The cookie for an unused link and where to go with it. The browser before is out."""
        with self._lock:
            if not self._token or not _same(token, self._token):
                return None
            self._token, self._cookie, self.csrf = "", secrets.token_hex(16), secrets.token_hex(16)
            self._used_s = self._clock_s()
            return self._cookie, "/#" + self._at if self._at else "/"

    def admits(self, cookie: str) -> bool:
        with self._lock:
            if not self._cookie or not _same(cookie, self._cookie):
                return False
            self._used_s = self._clock_s()
            return True

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Fewer than THREADS_MAX others, and this account's, where the kernel tells."""
        return len(self.talks) < THREADS_MAX and ours(request, client_address)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.talks[request] = time.monotonic() + TALK_S
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.talks.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or was slow; a traceback could quote what was shown."""

    def _hurry(self) -> None:
        for talk, until_s in list(self.talks.items()):
            if time.monotonic() > until_s:
                with contextlib.suppress(OSError):
                    talk.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "byleave", ""
    timeout = TALK_S

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if not self._rightly():
            return
        if re.fullmatch("/[0-9a-f]{32}", path):
            self._begin(path[1:])
        elif path == "/page.css":
            self._say(HTTPStatus.OK, asset("page.css"), "text/css")
        elif path != "/":
            self.send_error(HTTPStatus.NOT_FOUND)
        elif self._known():
            self._page(show=query == "show=5m")

    def do_POST(self) -> None:
        change = self.server.desk.changes.get(self.path[1:])
        if not self._rightly() or not self._known():
            return
        form = self._form()
        if form is None:
            return
        if self.headers.get("Origin") != f"http://{self.server.host}" or not _same(form.get("csrf", ""), self.server.csrf):
            self.send_error(HTTPStatus.FORBIDDEN)
        elif change is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        elif self.path == "/withdraw" and form.get("sure") != "yes":
            self._page(note="Nothing was changed: the box was not ticked.")
        else:
            self._change(change)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """One sentence, with nothing of what was asked for."""
        told = {403: "Not for you, or not any more: byleave me open gives a new link."}.get(code, HTTPStatus(code).phrase)
        self._say(HTTPStatus(code), f"{told}\n".encode(), "text/plain")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Says nothing: a line would hold the link."""

    def _rightly(self) -> bool:
        """Whether it was addressed as what it is, and not from a page of another site."""
        origin, own = self.headers.get("Origin"), f"http://{self.server.host}"
        if self.headers.get_all("Host") == [self.server.host] and origin in (None, own):
            return True
        self.send_error(HTTPStatus.FORBIDDEN)
        return False

    def _known(self) -> bool:
        name = f"byleave-{self.server.port}="
        held = [part.strip() for part in str(self.headers.get("Cookie", "")).split(";")]
        if any(self.server.admits(part.removeprefix(name)) for part in held if part.startswith(name)):
            return True
        self.send_error(HTTPStatus.FORBIDDEN)
        return False

    def _begin(self, token: str) -> None:
        redeemed = self.server.redeem(token)
        if redeemed is None:
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        cookie, to = redeemed
        (self.server.desk.folder / FILE).unlink(missing_ok=True)
        kept = {"Set-Cookie": f"byleave-{self.server.port}={cookie}; HttpOnly; SameSite=Strict; Path=/"}
        self._say(HTTPStatus.OK, _GO.format(to).encode(), "text/html", kept)

    def _form(self) -> dict[str, str] | None:
        length = str(self.headers.get("Content-Length", ""))
        if not re.fullmatch("[0-9]{1,9}", length) or "Transfer-Encoding" in self.headers:
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
        elif int(length) > BODY_BYTES_MAX:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            with contextlib.suppress(ValueError):
                body = self.rfile.read(int(length)).decode("ascii")
                return {name: values[0] for name, values in parse_qs(body, max_num_fields=4).items()}
            self.send_error(HTTPStatus.BAD_REQUEST)
        return None

    def _change(self, change: Callable[[], object]) -> None:
        self.server.talks[self.connection] = time.monotonic() + CHANGE_S
        try:
            change()
        except (ByleaveError, OSError) as error:
            told = str(error) if isinstance(error, ByleaveError) else f"it could not be done ({type(error).__name__})"
            self._page(note=told)
            return
        self._say(HTTPStatus.SEE_OTHER, b"", "text/plain", {"Location": "/"})

    def _page(self, *, show: bool = False, note: str = "") -> None:
        desk = self.server.desk
        answers, recent = dict[str, Any](), None
        try:
            answers = desk.ask({"ask": "page"})
            recent = [str(line) for line in desk.ask({"ask": "show", "last_s": 300}).get("lines", ())] if show else None
        except ByleaveError as error:
            note = note or str(error)
        view = View(desk.folder.name, time.strftime("%H:%M:%S"), self.server.csrf, answers, recent, note)
        self._say(HTTPStatus.OK, page(view).encode(), "text/html")

    def _say(self, status: HTTPStatus, body: bytes, kind: str, more: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        told = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body)), **_HEADERS, **(more or {})}
        for name, value in told.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def ours(connection: Any, client_address: Any) -> bool:
    """Whether a connection to 127.0.0.1 is of this account; True where no kernel tells (not Linux)."""
    (address, there), here = client_address, connection.getsockname()[1]
    if address != "127.0.0.1":  # each address of loopback has ports of its own
        return False
    if not _CONNECTIONS.exists():
        return True
    ends = f"0100007F:{there:04X}", f"0100007F:{here:04X}"
    for line in _CONNECTIONS.read_text().splitlines()[1:]:
        fields = line.split()
        if (fields[1], fields[2]) == ends:
            return int(fields[7]) == os.geteuid()
    return False


def _same(unverified: str, expected: str) -> bool:
    return hmac.compare_digest(unverified.encode("latin-1", "replace"), expected.encode())
