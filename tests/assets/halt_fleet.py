"""A site for halts on a real broker: real agents that type marks, a real beacon service, and a fence that tells late marks.

A mark is the boot-clock time at which it was typed, as the text of a paste. So what was typed after a halt is recognised by
what it says and not by the stamp it travels under: neither agent, fence nor broker has a say in it.

Run as a program it is one process of such a site (`run <role>`, `agent`, `listen`, `forward`), which dies with its parent.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import ctypes
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from narrowed import narrowed

from byleave.control import bootstrap, desk, ordering
from byleave.control.admission import Admitted, Claim, Refuses, decide
from byleave.control.documents import Scope
from byleave.control.rollcall import Board
from byleave.control.watch import ControlWatch
from byleave.core.batches import RawBatch, open_raw, parse_raw, verify_raw
from byleave.core.clock import boot_ms, wall_ms
from byleave.core.envelope import Opener
from byleave.core.errors import Broken, Forged, Transient
from byleave.core.events import KeyEvent, Kind
from byleave.core.kafka import KafkaTail, producer_options
from byleave.core.keys import read_hpke_key, read_signing_key, verify_key
from byleave.core.settings import Installation, load_installation
from byleave.core.topics import load_catalogue
from byleave.deploy import broker, pki, process, provision
from byleave.producers.hooks.live import LiveSource

MARK_EVERY_MS = 50
LEASE_MS = 10_000
VALID_FOR_MS = 600_000
DRIFT_MS = 5
"""Between the beacon service's clock and ours, as far as hearing its beacons can tell."""
READY_S_MAX = 90.0
PARTITIONS = 2
FOREIGN = "orders.of-somebody-else"
_RUNNER = str(Path(__file__).resolve())
_PR_SET_PDEATHSIG = 1

TYPIST = """
import json, os, struct, sys, time
parent, every, out = int(sys.argv[1]), int(sys.argv[2]), sys.stdout.fileno()
now = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
def say(*parts):
    body = json.dumps(parts, separators=(",", ":")).encode()
    try:
        os.write(out, struct.pack(">H", len(body)) + body)
    except OSError:
        os._exit(3)
say("r", 1280, 800)
say("f", now(), 1, "editor", "", "us", False)
due = now()
while os.getppid() == parent:
    while due <= now():
        say("e", now(), 12, 0, 0, 0, 0, 0, str(due), 0)
        due += every
    time.sleep(max(0.001, (due - now()) / 1000))
"""
"""Types a mark at each multiple of its step, whether it is read or not; one that was stopped catches up, as an X server's queue
does, with the stamps of the delivery."""
assert f" {int(Kind.PASTE)}, " in TYPIST


class Typist(LiveSource):
    """The product's source with its pipe, its kill and its reaping; only the program in the capture process is another."""

    def start(self, now_ms: int, *, titles: bool, targets: bool = False) -> None:
        del titles, targets
        command = [sys.executable, "-I", "-S", "-c", TYPIST, str(os.getpid()), str(MARK_EVERY_MS)]
        self._worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._worker.stdout is not None
        self._pipe, self._open = self._worker.stdout.fileno(), True
        self._heard_ms = self._now_ms = now_ms


@dataclass(frozen=True, slots=True)
class Mark:
    """One mark on the raw topic. `typed_ms` is boot time, `hi` the stamp it travelled under."""

    endpoint: str
    typed_ms: int
    epoch: int
    hi: int


@dataclass(slots=True)
class Halted:
    """One halt as the officer saw it. Boot times of this machine; None while it is not so far."""

    halt_id: str
    ordered_ms: int
    sent_ms: int
    brake: str
    effective_ms: int | None = None
    resumed_ms: int | None = None


class Fence:
    """Reads the raw topic as principal `redactor`, opens every batch with its key and asks the product's own fence rule.

    A thread of its own. `deaf` set: control documents are not read, as by a redactor that is behind. `blind`: batches are not.
    """

    def __init__(self, at: Installation) -> None:
        self._at = at
        self._opener = Opener({path.stem: read_hpke_key(path) for path in (at.home / "redactor").glob("raw-*.key")})
        self._waiting: list[tuple[Claim, list[Mark]]] = []
        self.admitted: list[Mark] = []
        self.captured: list[Mark] = []
        """Every mark that reached the broker, whatever the fence said of it."""
        self.newest: dict[str, int] = {}
        """By endpoint, when the last mark that was admitted was typed."""
        self.refused: Counter[str] = Counter()
        self.deaf, self.blind, self._end = threading.Event(), threading.Event(), threading.Event()
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fence", daemon=True)
        self._thread.start()

    @property
    def decided_ms(self) -> int:
        """Everything that arrived and was typed before this boot time has the fence's answer."""
        return min((marks[0].typed_ms for _, marks in self._waiting if marks), default=boot_ms())

    def close(self) -> None:
        self._end.set()
        self._thread.join(30)
        if self.failure is not None:
            raise AssertionError("the fence's reader ended") from self.failure

    def _run(self) -> None:
        try:
            watch = self._open_watch()
            tail = KafkaTail(self._at.kafka("redactor"), self._at.topic("redactor-fence"), [self._at.topic("raw.events.v1")])
            while not self._end.is_set():
                try:
                    self._turn(watch, tail)
                except Broken:  # its topics were made anew
                    watch.close()
                    watch = self._open_watch()
            watch.close()
            tail.close()
        except BaseException as failure:  # noqa: BLE001 - told to whoever closes
            self.failure = failure

    def _open_watch(self) -> ControlWatch:
        return desk.open_watch(self._at, "redactor", tries=desk.TRIES_MAX)

    def _turn(self, watch: ControlWatch, tail: KafkaTail) -> None:
        if not self.deaf.is_set():
            with contextlib.suppress(Transient):
                watch.pump(0.0)
        records: Sequence[Any] = ()
        if self.blind.is_set():
            time.sleep(0.05)
        else:
            with contextlib.suppress(Transient):
                records = tail.read(0.05)
        for record in records:
            try:
                batch = parse_raw(record.value)
                verify_raw(batch, verify_key(watch.knowledge.enrolments[batch.header.endpoint].key))
            except Forged as forged:
                self.refused[forged.reason] += 1
                continue
            header, marks = batch.header, marks_of(batch, self._opener)
            self.captured += marks
            claim = Claim(header.endpoint, header.session, header.epoch, header.hi_max, record.append_ms, header.manifest)
            self._waiting.append((claim, marks))
        waiting = []
        for claim, marks in self._waiting:
            answer = decide(claim, watch.knowledge)
            if isinstance(answer, Admitted):
                self.admitted += marks
                self.newest |= {mark.endpoint: mark.typed_ms for mark in marks}
            elif isinstance(answer, Refuses):
                self.refused[answer.reason] += max(1, len(marks))
            else:
                waiting.append((claim, marks))
        self._waiting = waiting


def marks_of(batch: RawBatch, opener: Opener) -> list[Mark]:
    events, _ = open_raw(batch, opener)
    header = batch.header
    return [Mark(header.endpoint, int(e.key), header.epoch, e.at_ms) for e in events if isinstance(e, KeyEvent)]


class Officer:
    """The officer's view, followed in a thread of its own; also ties the beacon service's clock to the boot clock."""

    def __init__(self, at: Installation) -> None:
        self._at = at
        self._lock, self._end = threading.Lock(), threading.Event()
        self._follower = ordering.Follower(at)
        self._ahead_ms: int | None = None
        self._thread = threading.Thread(target=self._run, name="board", daemon=True)
        self._thread.start()

    def of(self, halt_id: str) -> Board | None:
        with self._lock:
            return self._follower.board(halt_id)

    def boot_of(self, service_ms: int) -> int:
        """The boot time at which the service's clock read so; late by what a beacon takes to arrive, a few ms, never early."""
        with self._lock:
            assert self._ahead_ms is not None, "no beacon was heard"
            return service_ms - self._ahead_ms

    def effective_ms(self, halt_id: str) -> int | None:
        """From when the order counts by the service's clock, once a beacon or a state has said so."""
        with self._lock:
            return self._follower.watch.knowledge.effective_ms(halt_id)

    def close(self) -> None:
        self._end.set()
        self._thread.join(30)
        self._follower.close()

    def _run(self) -> None:
        while not self._end.is_set():
            with self._lock:
                try:
                    self._follower.pump()
                except Transient:
                    pass
                except Broken:  # its topics were made anew
                    self._follower.close()
                    self._follower = ordering.Follower(self._at)
                if self._follower.watch.knowledge.beacon is not None:
                    ahead_ms = self._follower.service_ms - boot_ms()
                    self._ahead_ms = ahead_ms if self._ahead_ms is None else max(self._ahead_ms, ahead_ms)
            time.sleep(0.005)


@dataclass
class Child:
    """A process that was started here, in a process group of its own."""

    name: str
    popen: subprocess.Popen[bytes]

    def ready(self) -> dict[str, Any]:
        """Its ready line. A process that ends first fails the test."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, f"{self.name} ended with code {self.popen.wait(10)}; see its log"
        return dict(json.loads(line))

    def signal(self, number: int, *, group: bool = False) -> None:
        (os.killpg if group else os.kill)(self.popen.pid, number)

    def end(self) -> int:
        """SIGTERM, and after some seconds SIGKILL; a stopped process is woken up for it."""
        if self.popen.poll() is None:
            self.signal(signal.SIGCONT, group=True)
            self.signal(signal.SIGTERM)
            try:
                self.popen.wait(8)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        return self._reaped()

    def kill(self) -> int:
        self.popen.kill()
        return self._reaped()

    def _reaped(self) -> int:
        code = self.popen.wait(10)
        if self.popen.stdout is not None:
            self.popen.stdout.close()
        return code


def start(name: str, log: Path, words: Sequence[str], environment: Mapping[str, str], before: Sequence[str] = ()) -> Child:
    """One of this file's programs. `before`: a command that starts it, for another network namespace."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BYLEAVE_")}
    with log.open("ab") as stderr:
        popen = subprocess.Popen(
            [*before, sys.executable, _RUNNER, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
            env={**clean, **environment}, start_new_session=True,
        )  # fmt: skip
    return Child(name, popen)


class Wire:
    """A network namespace of its own and a cable to it. Inside, 127.0.0.1:<broker> leads to the broker over the cable.

    `cut` takes the cable down: nothing is refused, everything is silent. `mend` puts it up again and closes what hangs.
    """

    def __init__(self, number: int, port: int, log: Path) -> None:
        self._ns = f"blv{os.getpid() % 100_000}-{number}"
        self._near, far = f"bh{os.getpid() % 100_000}n{number}", f"bh{os.getpid() % 100_000}f{number}"
        net = f"10.{200 + number // 64}.{os.getpid() % 250}.{number % 64 * 4}"
        head = net.rpartition(".")[0]
        near, there = (f"{head}.{number % 64 * 4 + n}" for n in (1, 2))
        self._log, self._port, self._near_at = log, port, near
        for words in (
            f"netns add {self._ns}", f"link add {self._near} type veth peer name {far}", f"link set {far} netns {self._ns}",
            f"addr add {near}/30 dev {self._near}", f"link set {self._near} up",
            f"-n {self._ns} addr add {there}/30 dev {far}", f"-n {self._ns} link set {far} up", f"-n {self._ns} link set lo up",
        ):  # fmt: skip
            _ip(words)
        self._here = start("wire", log, ["forward", f"{near}:{port}", f"127.0.0.1:{port}"], {})
        self._here.ready()
        self._there = self._far_end()

    @property
    def inside(self) -> list[str]:
        """The command that starts another in the namespace."""
        return ["ip", "netns", "exec", self._ns]

    def cut(self) -> None:
        _ip(f"link set {self._near} down")

    def mend(self) -> None:
        self._there.kill()
        _ip(f"link set {self._near} up")
        self._there = self._far_end()

    def close(self) -> None:
        for child in (self._there, self._here):
            child.kill()
        _ip(f"link del {self._near}")
        _ip(f"netns del {self._ns}")

    def _far_end(self) -> Child:
        words = ["forward", f"127.0.0.1:{self._port}", f"{self._near_at}:{self._port}"]
        child = start("wire", self._log, words, {}, self.inside)
        child.ready()
        return child


def why_no_wire() -> str:
    """Why no network namespace can be made here; empty if one can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "only root may make network namespaces"
    try:
        _ip(f"netns add blvtry{os.getpid()}")
        _ip(f"netns del blvtry{os.getpid()}")
    except (OSError, subprocess.SubprocessError):
        return "this machine makes no network namespaces"
    return ""


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True, capture_output=True, timeout=20)


class Foreign:
    """Writes to a topic outside the site, without pause, as one of the site's own endpoints; `failed` must stay empty."""

    def __init__(self, connection: Mapping[str, Any]) -> None:
        self.written, self.failed = 0, Counter[str]()
        self._producer = Producer(producer_options(connection, **{"message.timeout.ms": 60_000}))
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="foreign", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._thread.join(30)
        self._producer.flush(30)

    def _run(self) -> None:
        while not self._end.is_set():
            with contextlib.suppress(BufferError):
                try:
                    self._producer.produce(FOREIGN, b"an order of shoes", b"k", on_delivery=self._answered)
                except KafkaException as error:
                    self.failed[error.args[0].name()] += 1
            self._producer.poll(0.02)

    def _answered(self, error: Any, _: Any) -> None:
        if error is None:
            self.written += 1
        else:
            self.failed[error.name()] += 1


class Listeners:
    """Clients of control.halt.v1 over mutual TLS, in a few processes; each says when it heard an order."""

    def __init__(
        self, at: Installation, environment: Mapping[str, str], names: Sequence[str], clients: int, processes: int = 4
    ) -> None:
        self.clients = clients
        share = [clients // processes + (n < clients % processes) for n in range(processes)]
        log = at.home / "logs" / "listeners.log"
        self._children = [
            start(f"listen-{n}", log, ["listen", str(count), *names], environment) for n, count in enumerate(share) if count
        ]
        self._heard: dict[str, list[int]] = {}
        self._lock = threading.Condition()
        for child in self._children:
            child.ready()
        self._threads = [threading.Thread(target=self._read, args=(child,), daemon=True) for child in self._children]
        for thread in self._threads:
            thread.start()

    def heard(self, halt_id: str, seconds: float = 20.0) -> list[int]:
        """Boot times at which the clients heard the order: all of them, or as many as did in time."""
        with self._lock:
            self._lock.wait_for(lambda: len(self._heard.get(halt_id, ())) >= self.clients, seconds)
            return sorted(self._heard.get(halt_id, ()))

    def close(self) -> None:
        for child in self._children:
            child.popen.kill()
        for thread in self._threads:
            thread.join(10)
        for child in self._children:
            child.kill()

    def _read(self, child: Child) -> None:
        assert child.popen.stdout is not None
        for line in child.popen.stdout:
            said = json.loads(line)
            with self._lock:
                self._heard.setdefault(said["halt_id"], []).append(said["boot_ms"])
                self._lock.notify_all()


class HaltFleet:
    """The site. Use as a context manager: everything that was started is ended, by pid."""

    def __init__(self, home: Path, endpoints: int, far: int = 0) -> None:
        self.home = home
        self.names = tuple(f"ep-{n:02d}" for n in range(endpoints))
        self.far = self.names[:far]
        self.wires: dict[str, Wire] = {}
        self.agents: dict[str, Child] = {}
        self.halts: list[Halted] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> HaltFleet:
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "logs").mkdir(exist_ok=True)
        pki.ensure_pki(self.home, self.names)
        self._stack.enter_context(_stopped_whatever_happens(self.home))
        self._ports = broker.Ports(*broker.free_ports(2))
        self._stack.callback(broker.stop, self.home)
        broker.start(self.home, self._ports)
        self.environment = {"BYLEAVE_HOME": str(self.home), "BYLEAVE_BOOTSTRAP": f"127.0.0.1:{self._ports.client}"}
        self.at = load_installation(self.environment)
        people = [(name, f"person-{name}", "team-1") for name in self.names]
        bootstrap.dev_site(self.home, self.at.site, people, wall_ms(), os.urandom, consent=True)
        provision.apply(self.at.kafka("admin"), self.at.site, narrowed(load_catalogue(), PARTITIONS), self.names)
        ordering.publish_missing(self.at)
        self._open_foreign()
        self.beacon = self.role("beacon")
        self.beacon.ready()
        self._stack.callback(lambda: self.beacon.end())  # noqa: PLW0108 - whichever runs by then
        self.board = Officer(self.at)
        self._stack.callback(self.board.close)
        self.fence = Fence(self.at)
        self._stack.callback(self.fence.close)
        for number, name in enumerate(self.far):
            self.wires[name] = Wire(number, self._ports.client, self.home / "logs" / "wires.log")
            self._stack.callback(self.wires[name].close)
        self._stack.callback(self._end_agents)
        for name in self.names:
            self.launch(name)
        for child in self.agents.values():
            child.ready()
        self.await_capturing()

    # -- processes ----------------------------------------------------------------------------------------------------------

    def role(self, name: str, *words: str) -> Child:
        return start(name, self.home / "logs" / f"{name}.log", ["run", name, *words], self.environment)

    def launch(self, name: str) -> None:
        """An agent, without waiting for its ready line."""
        before = self.wires[name].inside if name in self.wires else ()
        self.agents[name] = start(
            name, self.home / "logs" / f"{name}.log", ["agent", "--endpoint", name], self.environment, before
        )

    def restart_beacon(self) -> None:
        self.beacon = self.role("beacon")
        self.beacon.ready()

    def kill_broker(self) -> None:
        running = broker.status(self.home)
        assert running is not None
        os.kill(running.pid, signal.SIGKILL)
        os.waitpid(running.pid, 0)  # a zombie whose threads still end still holds its ports
        process.end(self.home / "broker" / "pid", patience_s=10)

    def restart_broker(self) -> None:
        broker.start(self.home, self._ports)

    def _end_agents(self) -> None:
        for child in self.agents.values():
            if child.popen.poll() is None:
                child.signal(signal.SIGCONT, group=True)
                child.signal(signal.SIGTERM)
        for child in self.agents.values():
            child.end()

    # -- halt and resume ----------------------------------------------------------------------------------------------------

    def halt(self, scope: Scope | None = None, seconds: float = 60.0) -> Halted:
        """An order, as `byleave halt` gives it; the same one again while no broker takes it."""
        key = read_signing_key(self.home / "officers" / "security-1.key")
        order = ordering.order(
            self.at.site, scope or Scope("global"), "capture", "a test of the halt", "drop", wall_ms(), VALID_FOR_MS,
            secrets.token_hex(16),
        )  # fmt: skip
        until_s = time.monotonic() + seconds
        while True:
            ordered_ms = boot_ms()
            try:
                sent = ordering.send(self.at, order, key)
            except Transient:
                if time.monotonic() > until_s:
                    raise
                continue
            halted = Halted(sent["halt_id"], ordered_ms, boot_ms(), sent["brake"])
            self.halts.append(halted)
            return halted

    def effective(self, halted: Halted, seconds: float = 20.0) -> int:
        """The boot time from which the order counts; waits for the beacon that says so."""
        await_true(lambda: self.board.effective_ms(halted.halt_id) is not None, seconds, "the order has its time")
        service_ms = self.board.effective_ms(halted.halt_id)
        assert service_ms is not None
        halted.effective_ms = self.board.boot_of(service_ms)
        return halted.effective_ms

    def resume(self, seconds: float = 30.0) -> None:
        """Lifts everything; returns when the state is out."""
        for halted in self.halts:
            if halted.effective_ms is None:
                self.effective(halted)
        until_s, now_ms = time.monotonic() + seconds, boot_ms()
        while (done := self.byleave("resume", "--json")).returncode != 0:
            assert time.monotonic() < until_s, done.stderr
            time.sleep(0.5)
        for halted in self.halts:
            halted.resumed_ms = now_ms if halted.resumed_ms is None else halted.resumed_ms

    def byleave(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of the product, as a person would give it."""
        return subprocess.run(
            [sys.executable, "-m", "byleave.deploy.cli", *words], env={**os.environ, **self.environment}, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip

    def acked(self, halted: Halted, names: Sequence[str] | None = None, seconds: float = 20.0) -> None:
        """Waits until these endpoints (default all) have proved that they stopped."""
        wanted = set(names if names is not None else self.names)
        await_true(lambda: wanted <= set(self.standing(halted, "ACKED", "OFF")), seconds, f"{wanted} sign that they stopped",
                   lambda: f"{self.board.of(halted.halt_id)}")  # fmt: skip

    def standing(self, halted: Halted, *standings: str) -> list[str]:
        board = self.board.of(halted.halt_id)
        return [row.endpoint for row in (board.rows if board else ()) if row.standing.value in standings]

    def await_capturing(self, names: Sequence[str] | None = None, seconds: float = 90.0) -> None:
        """Waits until something that each of them captured since the last resume has been admitted."""
        wanted = tuple(names if names is not None else self.names)
        since_ms = (self.halts[-1].resumed_ms or boot_ms()) if self.halts else 0

        def idle() -> list[str]:
            return [name for name in wanted if self.fence.newest.get(name, -1) <= since_ms]

        await_true(
            lambda: not idle(), seconds, "all capture", lambda: str({name: self.report(name).get("answer") for name in idle()})
        )

    # -- what is to be seen ---------------------------------------------------------------------------------------------------

    def report(self, endpoint: str) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads((self.home / "endpoints" / endpoint / "report.json").read_bytes()))
        return {}

    def spooled(self, endpoint: str) -> list[Mark]:
        """The marks that lie in an endpoint's spool now, opened with the redactor's key."""
        opener = Opener({path.stem: read_hpke_key(path) for path in (self.home / "redactor").glob("raw-*.key")})
        found: list[Mark] = []
        for path in sorted((self.home / "endpoints" / endpoint / "spool").rglob("*.raw")):
            with contextlib.suppress(FileNotFoundError, Forged):
                found += marks_of(parse_raw(path.read_bytes()[32:]), opener)
        return found

    def late(self, marks: Sequence[Mark]) -> list[Mark]:
        """Of these, the ones that were typed while a halt of the site stood."""
        known = [halted for halted in self.halts if halted.effective_ms is not None]
        begins = [
            int(halted.effective_ms or 0) + DRIFT_MS for halted in known
        ]  # one after the other, each begins after the last
        found = []
        for mark in marks:
            place = bisect.bisect_right(begins, mark.typed_ms) - 1
            if place >= 0 and mark.typed_ms < (known[place].resumed_ms or boot_ms()):
                found.append(mark)
        return found

    def admin(self) -> AdminClient:
        """The super user of the cluster."""
        return AdminClient(dict(self.at.kafka("admin")))

    def _open_foreign(self) -> None:
        admin = self.admin()
        admin.create_topics([NewTopic(FOREIGN, 1, 1)])[FOREIGN].result(timeout=20)
        writer = self.names[-1]
        rule = AclBinding(
            ResourceType.TOPIC,
            FOREIGN,
            ResourcePatternType.LITERAL,
            f"User:{writer}",
            "*",
            AclOperation.WRITE,
            AclPermissionType.ALLOW,
        )
        admin.create_acls([rule])[rule].result(timeout=20)
        self.foreign = Foreign(self.at.kafka(writer))
        self._stack.callback(self.foreign.close)


def await_true(question: Callable[[], bool], seconds: float, what: str, detail: Callable[[], str] = lambda: "") -> None:
    """Asks fifty times a second."""
    until_s = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < until_s, f"waited {seconds:.0f} s in vain for this: {what} {detail()}"
        time.sleep(0.02)


@contextlib.contextmanager
def _stopped_whatever_happens(home: Path) -> Iterator[None]:
    """A process that outlives a killed run waits for its end of a pipe to close, and then stops the broker."""
    code = "import pathlib, sys; from byleave.deploy import broker; sys.stdin.read(); broker.stop(pathlib.Path(sys.argv[1]))"
    with subprocess.Popen([sys.executable, "-c", code, str(home)], stdin=subprocess.PIPE, start_new_session=True) as guard:
        yield
        guard.communicate(timeout=60)


# -- the programs -------------------------------------------------------------------------------------------------------


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == 1:
        os._exit(3)


def run_agent(words: list[str]) -> int:
    """The product's agent, all of it, with a typist for a source."""
    from byleave.producers import main
    from byleave.producers.person import attendant

    main.build_source = lambda _text, _speed: Typist({})
    attendant.Indicator = lambda *_: None  # type: ignore[assignment,misc]  # there is no screen that it could stand on
    return main.main([*words, "--source", "typist"])


def run_role(words: list[str]) -> int:
    from byleave.deploy import cli

    sys.argv = ["byleave", "run", *words]
    cli.main()
    return 0


def run_listen(words: list[str]) -> int:
    """`<count> <principal>...`: so many clients, each its own connection and its own reader."""
    at, count, names = load_installation(), int(words[0]), words[1:]
    lock, ready = threading.Lock(), threading.Barrier(count + 1)

    def listen(name: str) -> None:
        tail = KafkaTail(at.kafka(name), at.topic(f"endpoint-{name}"), [at.topic("control.halt.v1")])
        while not tail.caught_up:
            tail.read(0.2)
        ready.wait()
        while True:
            with contextlib.suppress(Transient):
                for record in tail.read(1.0):
                    now_ms = boot_ms()
                    with lock:
                        _say({"halt_id": (record.key or b"").decode(), "boot_ms": now_ms})

    for n in range(count):
        threading.Thread(target=listen, args=(names[n % len(names)],), daemon=True).start()
    ready.wait(READY_S_MAX)
    _say({"ready": True})
    signal.pause()
    return 0


def run_forward(words: list[str]) -> int:
    """`<listen> <target>`: carries bytes both ways, and looks at none of them."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65_536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = words[1].rpartition(":")
        try:
            there = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.close()
            return
        await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))

    async def serve() -> None:
        host, _, port = words[0].rpartition(":")
        async with await asyncio.start_server(carry, host, int(port)) as server:
            _say({"ready": True})
            await server.serve_forever()

    asyncio.run(serve())
    return 0


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _die_with_parent()
    sys.exit({"run": run_role, "agent": run_agent, "listen": run_listen, "forward": run_forward}[sys.argv[1]](sys.argv[2:]))
