"""Edge: the one local socket on which the running agent is asked by its own person's programs (P7).

    <folder>/agent.sock    one question a connection: JSON, end of stream; one answer: JSON, end of stream

In: a question, `{"ask": "<name>", ...}`, of at most QUESTION_BYTES_MAX. Out: an answer of at most ANSWER_BYTES_MAX, or
`{"error": ..., "reason": ...}`. A thread takes the questions in, one connection at a time and for at most TALK_S each; they are
answered on the agent's own thread, between two turns.

Refuses   whoever is not the account that the agent runs under, by what the kernel says of the peer; the folder is its own, too.
          Bytes that are no question are answered with an error; nothing of a question or an answer is logged.

`at_once` are those that must not wait for a turn: they are answered on the thread itself, and may touch nothing of the agent's.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from byleave.core.errors import ByleaveError, Forged, Misconfigured, Refused, Transient

NAME = "agent.sock"
QUESTION_BYTES_MAX = 64 << 10
ANSWER_BYTES_MAX = 1 << 20
WAITING_MAX = 4
"""Connections that the kernel holds while one is served; those after them are refused."""
TALK_S = 2.0
"""Longest talk with one client, from the first byte to the last."""
_PATH_BYTES_MAX = 100
"""Longest path of a socket (108 bytes on Linux, 104 on macOS); a longer one goes through the folder's descriptor."""

Handler = Callable[[dict[str, Any]], dict[str, Any]]
"""Of one question, by what it holds. May raise our errors; KeyError, TypeError and ValueError say that it is malformed."""
Answers = Mapping[str, Handler]


@dataclass(slots=True)
class _Asked:
    question: dict[str, Any] = field(repr=False)
    answer: dict[str, Any] = field(default_factory=dict, repr=False)
    done: threading.Event = field(default_factory=threading.Event)


class Inquiries:
    """The agent's end. Raises Misconfigured if another agent answers there already, OSError if the folder takes no socket."""

    def __init__(self, folder: Path, at_once: Answers | None = None) -> None:
        self._path, self._at_once = folder / NAME, at_once or {}
        self._waiting: queue.Queue[_Asked] = queue.Queue(1)
        self._closed = False
        folder.chmod(0o700)
        if _answers(folder):
            raise Misconfigured(f"another agent runs in {folder}: stop it first")
        self._path.unlink(missing_ok=True)  # of an agent that was killed
        self._socket = _socket(TALK_S)
        with _short(folder) as path:
            self._socket.bind(path)
        self._path.chmod(0o600)
        self._socket.listen(WAITING_MAX)
        self._socket.settimeout(None)
        threading.Thread(target=self._serve, name="inquiries", daemon=True).start()

    @property
    def waiting(self) -> bool:
        """Whether `answer` has something to do."""
        return not self._waiting.empty()

    def answer(self, answers: Answers, wait_s: float = 0.0) -> None:
        """Answers one question on this thread, if one comes within so long."""
        with suppress(queue.Empty):
            asked = self._waiting.get(timeout=wait_s) if wait_s else self._waiting.get_nowait()
            asked.answer = _answer(answers, asked.question)
            asked.done.set()

    def close(self) -> None:
        """Nobody is answered any more."""
        self._closed = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while not self._closed:
            try:
                client, _ = self._socket.accept()
            except OSError:  # closed, or no descriptor is left
                time.sleep(0 if self._closed else 0.1)
                continue
            with client, suppress(OSError):
                if peer_uid(client) == os.geteuid():
                    _send(client, self._ask(client, time.monotonic() + TALK_S), time.monotonic() + TALK_S)

    def _ask(self, client: socket.socket, until_s: float) -> dict[str, Any]:
        try:
            asked = _Asked(_parse(_receive(client, QUESTION_BYTES_MAX, until_s)))
            if str(asked.question.get("ask")) in self._at_once:
                return _answer(self._at_once, asked.question)
            self._waiting.put(asked, timeout=TALK_S)
        except ByleaveError as error:
            return _told(error)
        except queue.Full:
            return _told(Transient("the agent is busy"))
        if not asked.done.wait(max(0.0, until_s - time.monotonic())):
            return _told(Transient("the agent is busy"))
        return asked.answer


def ask(folder: Path, question: dict[str, Any], timeout_s: float = TALK_S) -> dict[str, Any]:
    """What the agent of this endpoint's folder answers.

    Raises Transient if none runs or it does not answer in time, Refused with its reason if it does not want to, Forged if what
    listens there is another account's or talks otherwise.
    """
    until_s = time.monotonic() + timeout_s
    try:
        with _socket(timeout_s) as server, _short(folder) as path:
            server.connect(path)
            if peer_uid(server) != os.geteuid():
                raise Forged("what listens in the agent's place is another account's", reason="not-yours")
            _send(server, question, until_s)
            unverified = _receive(server, ANSWER_BYTES_MAX, until_s)
    except TimeoutError:
        raise Transient(f"the agent of {folder.name} does not answer", reason="no-answer") from None
    except OSError:
        raise Transient(f"the agent of {folder.name} is not running", reason="no-agent") from None
    if not unverified:  # it ended meanwhile
        raise Transient(f"the agent of {folder.name} is not running", reason="no-agent")
    answer = _parse(unverified)
    if "error" not in answer:
        return answer
    kind = Transient if answer.get("reason") == "transient" else Refused
    raise kind(str(answer["error"])[:300], reason=str(answer.get("reason"))[:60])


def peer_uid(peer: socket.socket) -> int:
    """The account at the other end, as the kernel tells it. Raises OSError where it does not."""
    if hasattr(socket, "SO_PEERCRED"):
        return int(struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])
    credentials = peer.getsockopt(0, 1, 76)  # macOS: SOL_LOCAL, LOCAL_PEERCRED, struct xucred: version, uid, groups
    return int(struct.unpack_from("2I", credentials)[1])


def _answer(answers: Answers, question: dict[str, Any]) -> dict[str, Any]:
    try:
        found = answers.get(str(question.get("ask")))
        if found is None:
            raise Refused("the agent knows no such question", reason="unknown-question")
        return found(question)
    except ByleaveError as error:
        return _told(error)
    except (KeyError, TypeError, ValueError, OverflowError):  # of what the question holds
        return _told(Refused("the agent does not understand that question", reason="malformed"))


def _told(error: ByleaveError) -> dict[str, Any]:
    return {"error": str(error), "reason": error.reason}


def _parse(unverified: bytes) -> dict[str, Any]:
    try:
        found = json.loads(unverified)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Forged(f"{len(unverified)} bytes that are no JSON object", reason="malformed")
    return found


def _receive(peer: socket.socket, bytes_max: int, until_s: float) -> bytes:
    """All to the end of the stream. Raises Forged if that is more than so much, TimeoutError."""
    found = bytearray()
    while True:
        peer.settimeout(max(0.001, until_s - time.monotonic()))
        part = peer.recv(64 << 10)
        found += part
        if len(found) > bytes_max:
            raise Forged(f"more than {bytes_max} bytes", reason="too-large")
        if not part:
            return bytes(found)


def _send(peer: socket.socket, message: dict[str, Any], until_s: float) -> None:
    value = json.dumps(message).encode()
    if len(value) > ANSWER_BYTES_MAX:
        value = json.dumps(_told(Refused("the answer is too long", reason="too-large"))).encode()
    peer.settimeout(max(0.001, until_s - time.monotonic()))
    peer.sendall(value)
    peer.shutdown(socket.SHUT_WR)


def _socket(timeout_s: float) -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise Misconfigured("this system has no local sockets: the running agent cannot be asked here")
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.settimeout(timeout_s)
    return found


def _answers(folder: Path) -> bool:
    with suppress(OSError), _socket(TALK_S) as probe, _short(folder) as path:
        probe.connect(path)
        return True
    return False


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A path of the socket that is short enough; through the open folder where its own is not."""
    if len(os.fsencode(path := str(folder / NAME))) <= _PATH_BYTES_MAX:
        yield path
        return
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{held}/{NAME}"
    finally:
        os.close(held)
