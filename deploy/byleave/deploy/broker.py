"""The embedded broker: real Apache Kafka, one KRaft node, on this machine only (promises P3 and P4).

There is no plaintext listener: clients and the controller alike speak TLS 1.3 with a client certificate, and whoever has no
ACL is denied. All state lies under `<home>/broker`. Anything else that speaks Kafka can take its place (BYLEAVE_BOOTSTRAP).
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import socket
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from xml.sax.saxutils import escape

from byleave.core.errors import Broken, Misconfigured, Transient
from byleave.deploy import process
from byleave.deploy.jvm import archive_path, find_jvm, kafka_jars
from byleave.deploy.templates import fill

HOST = "127.0.0.1"
PORT_DEFAULT = 19093
READY_S_MAX = 90.0
STOP_S_MAX = 30.0
_READY = "Kafka Server started"


@dataclass(frozen=True, slots=True)
class Ports:
    """The two listeners: for clients, and for the KRaft controller (also mutual TLS)."""

    client: int = PORT_DEFAULT
    controller: int = PORT_DEFAULT + 1

    @classmethod
    def from_environment(cls) -> Ports:
        """BYLEAVE_PORT and the port after it, else the defaults. Raises Misconfigured if it is not a port."""
        text = os.environ.get("BYLEAVE_PORT", str(PORT_DEFAULT))
        if not text.isdecimal() or not 1024 <= int(text) <= 65534:
            raise Misconfigured(f"BYLEAVE_PORT is {text!r}; it must be a number from 1024 to 65534")
        return cls(int(text), int(text) + 1)


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that is up. `ready_s` is how long it took, 0.0 where it was up already."""

    home: Path
    ports: Ports
    pid: int
    ready_s: float

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.ports.client}"


def start(home: Path, ports: Ports | None = None) -> Broker:
    """Starts the broker of this state folder and waits until it serves; the one that runs already is returned as it is.

    Needs `home/pki` (pki.ensure_pki). Raises Misconfigured if a port is taken, a certificate is missing or there is no Java;
    Broken if Kafka ends at once (the last lines of its log are named by place); Transient if it is not ready in 90 s.
    """
    folder = home / "broker"
    recorded = folder / "bootstrap.txt"  # there while the broker serves; core.settings looks here too
    up = status(home)
    if up is not None and recorded.exists():
        return up
    began = time.monotonic()
    if up is None:
        ports = ports or Ports.from_environment()
        up = Broker(home, ports, _launch(home, folder, ports), 0.0)
    _await_ready(folder, up.pid)
    recorded.write_text(f"{up.bootstrap}\n", encoding="ascii")
    return replace(up, ready_s=time.monotonic() - began)


def stop(home: Path) -> bool:
    """Stops the broker of this state folder and no other process; True if it was up. Killed if it needs more than 30 s."""
    folder = home / "broker"
    ending = process.end(folder / "pid", patience_s=STOP_S_MAX)
    (folder / "bootstrap.txt").unlink(missing_ok=True)
    if ending == "stopped":
        _keep_archive(folder)
    return ending != "none"


def status(home: Path) -> Broker | None:
    """The broker of this state folder if its process is alive; a stale pid file counts as none."""
    folder = home / "broker"
    pid = process.running(folder / "pid")
    if pid is None:
        return None
    found = re.search(r"^listeners=SSL://[^:]+:(\d+),CONTROLLER://[^:]+:(\d+)$", _read(folder / "server.properties"), re.M)
    if found is None:
        raise Broken(f"a broker runs as process {pid}, but {folder}/server.properties does not say on which ports")
    return Broker(home, Ports(int(found.group(1)), int(found.group(2))), pid, 0.0)


def server_properties(home: Path, ports: Ports) -> str:
    """Kafka's whole configuration."""
    client, controller = f"{HOST}:{ports.client}", f"{HOST}:{ports.controller}"
    return fill("server.properties", home=home, client=client, controller=controller)


def _launch(home: Path, folder: Path, ports: Ports) -> int:
    """Checks what the start hangs on, writes the configuration and starts the process, whose id it returns."""
    _refuse_missing_certificates(home / "pki")
    for port in (ports.client, ports.controller):
        _refuse_taken_port(port)
    jars, jvm = kafka_jars(), find_jvm()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / "server.properties").write_text(server_properties(home, ports), encoding="utf-8")
    (folder / "log4j2.xml").write_text(fill("log4j2.xml", folder=escape(str(folder))), encoding="utf-8")
    # of a broker that was killed: readiness is read from the log, an archive may be half written
    for old in (folder / "bootstrap.txt", folder / "kafka.log", *folder.glob("*.jsa")):
        old.unlink(missing_ok=True)
    (folder / "jvm.options").write_text(fill("jvm.options", folder=folder, jars=jars), encoding="utf-8")
    archive = archive_path(jvm, jars)
    kept = [f"-XX:SharedArchiveFile={archive}"] if archive.is_file() else []
    java = [str(jvm.java), f"@{folder}/jvm.options"]
    if not (folder / "data" / "meta.properties").exists():
        _format(folder, [*java, *kept])
    # An archive is written when this broker ends, and kept by `stop`; a JVM that cannot use one goes on without.
    sharing = kept or [f"-XX:ArchiveClassesAtExit={folder}/{archive.name}"]
    pid = _spawn(folder, [*java, *sharing, "kafka.Kafka", str(folder / "server.properties")])
    process.remember(folder / "pid", pid)
    return pid


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below the range from which outgoing connections get theirs."""
    found: list[int] = []
    while len(found) < count:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            if port not in found and probe.connect_ex((HOST, port)) != 0:
                found.append(port)
    return found


def _format(folder: Path, java: list[str]) -> None:
    """Gives the empty data folder its cluster id (16 random bytes, made here: a JVM start less)."""
    cluster_id = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=").replace("-", "_")
    command = [*java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", "server.properties"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=READY_S_MAX, check=False)
    except subprocess.TimeoutExpired:
        raise Transient(f"Kafka did not format {folder}/data in {READY_S_MAX:.0f} s; try again") from None
    if done.returncode != 0:
        (folder / "console.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        raise Broken(f"Kafka could not format its data folder; the reason is in {folder}/console.log")


def _spawn(folder: Path, command: list[str]) -> int:
    """A process group of its own, so that Ctrl-C at the terminal that started it does not end it."""
    if not hasattr(os, "posix_spawn"):
        raise Misconfigured("the embedded broker needs Linux or macOS; set BYLEAVE_BOOTSTRAP to a Kafka elsewhere")
    wanted = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    streams = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(folder / "console.log"), wanted, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawn(command[0], command, dict(os.environ), file_actions=streams, setpgroup=0)


def _await_ready(folder: Path, pid: int) -> None:
    until = time.monotonic() + READY_S_MAX
    while time.monotonic() < until:
        if _READY in _read(folder / "kafka.log"):
            return
        if process.running(folder / "pid") is None:
            raise Broken(f"Kafka ended while it started; the reason is in {folder}/kafka.log and {folder}/console.log")
        time.sleep(0.05)
    process.end(folder / "pid", patience_s=5.0)
    raise Transient(f"Kafka (process {pid}) was not ready in {READY_S_MAX:.0f} s and was stopped; see {folder}/kafka.log")


def _keep_archive(folder: Path) -> None:
    """Moves a fresh class-data archive into the cache for the next start; losing it costs a second, never a broker."""
    for fresh in folder.glob("*.jsa"):
        target = kafka_jars().parent.parent / fresh.name
        try:
            fresh.replace(target)
        except OSError:  # the cache may lie on another file system
            fresh.unlink(missing_ok=True)


def _refuse_missing_certificates(pki: Path) -> None:
    for name in ("broker.bundle.pem", "ca.crt.pem"):
        if not (pki / name).is_file():
            raise Misconfigured(f"{pki / name} is missing; `byleave up` makes the development certificates")


def _refuse_taken_port(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise Misconfigured(f"port {port} is in use by another program; set BYLEAVE_PORT to a free one") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
