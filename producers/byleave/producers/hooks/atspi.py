"""Edge: AT-SPI, by which applications on Linux tell what is where in their windows (at-spi2-core, xml/*.xml).

One connection to the session's accessibility bus, one user at a time. Asked for are roles, boxes, states and names, never text
or values; names not even where they may be what was written in a field (`roles.toml`).

Every question has a moment until which its answer is waited for. Raises TimeoutError: no answer by then; LookupError: an answer
that tells nothing; OSError: there is no bus, or not any more.
"""

from __future__ import annotations

import time
import tomllib
from collections import deque
from importlib import resources
from typing import Any, NamedTuple

from jeepney import DBusAddress, MatchRule, Message, MessageType, new_method_call
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from byleave.core.targets import LABEL_CHARS_MAX, PASSWORD, UNKNOWN, Target

CONNECT_S = 1.0
APPLICATIONS_MAX = 256
WINDOWS_MAX, CHILDREN_MAX = 32, 64
"""Windows of an application, and children of one accessible, that are looked at."""
DEPTH_MAX = 48
NODES_MAX = 400
"""Accessibles looked at for the one that has the focus."""
FOCUS_EVENTS_MAX = 64
SECRETS_MAX = 256
"""Fields remembered as ones for passwords."""
_EDITABLE, _ACTIVE, _FOCUSED, _SHOWING, _MANAGES = 7, 1, 12, 25, 31
_ACCESSIBLE, _COMPONENT = "org.a11y.atspi.Accessible", "org.a11y.atspi.Component"
_ON_SCREEN, _IN_WINDOW = 0, 1


class Ref(NamedTuple):
    """An accessible: the bus name of its application, and its path there."""

    name: str
    path: str


_ROOT = Ref("org.a11y.atspi.Registry", "/org/a11y/atspi/accessible/root")
_BUS = Ref("org.freedesktop.DBus", "/org/freedesktop/DBus")
_TABLE = tomllib.loads(resources.files("byleave.producers").joinpath("hooks", "roles.toml").read_text("utf-8"))
_BARE, _ACTING, _NAMELESS = (frozenset(_TABLE.pop(name)) for name in ("bare", "acting", "nameless"))
_WORDS: dict[int, str] = {number: word for word, numbers in _TABLE.items() for number in numbers}


class Atspi:
    """A connection; `focused` holds the accessibles that have told that they got the focus, oldest first."""

    def __init__(self, session: str) -> None:
        """`session`: the address of the session bus."""
        with open_dbus_connection(session, auth_timeout=CONNECT_S) as first:
            at = Ref("org.a11y.Bus", "/org/a11y/bus")
            (address,) = _answer(first, at, "org.a11y.Bus", "GetAddress", time.monotonic() + CONNECT_S)
        self._bus: DBusConnection = open_dbus_connection(address, auth_timeout=CONNECT_S)
        self._pids: dict[str, int] = {}
        self._secrets: deque[Ref] = deque(maxlen=SECRETS_MAX)
        self._signals: deque[Message] = deque(maxlen=FOCUS_EVENTS_MAX)
        rule = MatchRule(type="signal", interface="org.a11y.atspi.Event.Object", member="StateChanged")
        rule.add_arg_condition(0, "focused")
        self._bus.filter(rule, queue=self._signals)
        until_s = time.monotonic() + CONNECT_S
        self._ask(_BUS, _BUS.name, "AddMatch", until_s, "s", rule.serialise())
        events = Ref(_ROOT.name, "/org/a11y/atspi/registry")
        self._ask(events, "org.a11y.atspi.Registry", "RegisterEvent", until_s, "s", "object:state-changed:focused")

    def fileno(self) -> int:
        return int(self._bus.sock.fileno())

    def close(self) -> None:
        self._bus.close()

    def focused(self) -> list[Ref]:
        """Who told since the last call that it got the focus, oldest first. Does not wait."""
        try:
            while True:
                self._bus.recv_messages(timeout=0)
        except TimeoutError:
            pass
        told = [(signal.header.fields, signal.body) for signal in self._signals]
        self._signals.clear()
        return [Ref(fields[7], fields[1]) for fields, body in told if body[1] == 1]

    def application(self, pid: int, until_s: float) -> Ref | None:
        """The application of a process, if it speaks AT-SPI."""
        (children,) = self._ask(_ROOT, _ACCESSIBLE, "GetChildren", until_s)
        found = [Ref(*child) for child in children[:APPLICATIONS_MAX]]
        self._pids = {name: known for name, known in self._pids.items() if any(name == ref.name for ref in found)}
        return next((ref for ref in found if self.pid(ref.name, until_s) == pid), None)

    def pid(self, name: str, until_s: float) -> int:
        """The process behind a bus name, as the bus knows it."""
        if name not in self._pids:
            (self._pids[name],) = self._ask(_BUS, _BUS.name, "GetConnectionUnixProcessID", until_s, "s", name)
        return self._pids[name]

    def target(self, application: Ref, x: int, y: int, until_s: float) -> Target:
        """What is at a place of the screen, in the application's active window."""
        node = self._active(application, until_s)
        for _ in range(DEPTH_MAX):
            (child,) = self._ask(node, _COMPONENT, "GetAccessibleAtPoint", until_s, "iiu", x, y, _ON_SCREEN)
            if Ref(*child) == node or child[1].endswith("/null"):
                break
            node = Ref(*child)
        if self.is_password(node, until_s):
            return Target(PASSWORD)
        role = self._role(node, until_s)
        if role in _BARE:
            parent = Ref(*self._property(node, "Parent", until_s))
            under = self._role(parent, until_s) if parent.name else UNKNOWN
            node, role = (parent, under) if under in _ACTING else (node, role)
        editable = self._has(node, _EDITABLE, until_s)
        role = "entry" if role == "text" and editable else role
        ((left, top, width, height),) = self._ask(node, _COMPONENT, "GetExtents", until_s, "u", _IN_WINDOW)
        name = "" if editable or role in _NAMELESS else str(self._property(node, "Name", until_s))
        label = " ".join("".join(char if char.isprintable() else " " for char in name[:4096]).split())
        return Target(role, left, top, width, height, label[:LABEL_CHARS_MAX])

    def is_password(self, node: Ref, until_s: float) -> bool:
        """Whether a password is written in it, or was: one that is shown meanwhile is told as any other field."""
        if self._role(node, until_s) == PASSWORD and node not in self._secrets:
            self._secrets.append(node)
        return node in self._secrets

    def focus_is_password(self, application: Ref, until_s: float) -> bool | None:
        """Whether a password is written where the focus of the active window is; None if that is not found in NODES_MAX."""
        waiting = [self._active(application, until_s)]
        for _ in range(NODES_MAX):
            if not waiting:
                return False
            node = waiting.pop()
            states = self._states(node, until_s)
            if states >> _FOCUSED & 1:
                return self.is_password(node, until_s)
            if states >> _SHOWING & 1 and not states >> _MANAGES & 1:
                (children,) = self._ask(node, _ACCESSIBLE, "GetChildren", until_s)
                waiting += [Ref(*child) for child in children[:CHILDREN_MAX]]
        return None

    def _active(self, application: Ref, until_s: float) -> Ref:
        (children,) = self._ask(application, _ACCESSIBLE, "GetChildren", until_s)
        for child in children[:WINDOWS_MAX]:
            if self._has(Ref(*child), _ACTIVE, until_s):
                return Ref(*child)
        raise LookupError

    def _role(self, node: Ref, until_s: float) -> str:
        return _WORDS.get(self._ask(node, _ACCESSIBLE, "GetRole", until_s)[0], UNKNOWN)

    def _has(self, node: Ref, state: int, until_s: float) -> bool:
        return bool(self._states(node, until_s) >> state & 1)

    def _states(self, node: Ref, until_s: float) -> int:
        (words,) = self._ask(node, _ACCESSIBLE, "GetState", until_s)
        return int(words[0]) | int(words[1]) << 32

    def _property(self, node: Ref, name: str, until_s: float) -> Any:
        ((_, value),) = self._ask(node, "org.freedesktop.DBus.Properties", "Get", until_s, "ss", _ACCESSIBLE, name)
        return value

    def _ask(self, at: Ref, interface: str, member: str, until_s: float, signature: str | None = None, *body: Any) -> Any:
        return _answer(self._bus, at, interface, member, until_s, signature, *body)


def _answer(
    bus: DBusConnection, at: Ref, interface: str, member: str, until_s: float, signature: str | None = None, *body: Any
) -> Any:
    question = new_method_call(DBusAddress(at.path, at.name, interface), member, signature, body)
    left_s = until_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    reply = bus.send_and_get_reply(question, timeout=left_s)
    if reply.header.message_type is not MessageType.method_return:
        raise LookupError
    return reply.body
