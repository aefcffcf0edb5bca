"""The embedded broker: nothing in the clear, nobody without a certificate, and no quarrel with what else runs here."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from byleave.core.errors import Misconfigured
from byleave.core.settings import load_installation
from byleave.deploy import broker, pki

pytestmark = pytest.mark.broker

API_VERSIONS_V0 = struct.pack(">hhih", 18, 0, 7, 4) + b"test"


def answer_of(port: int, context: ssl.SSLContext | None) -> bytes:
    """What a listener answers to a well-formed request, in TLS or (None) in the clear; nothing where it refuses to talk."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
            link = context.wrap_socket(plain, server_hostname="127.0.0.1") if context else plain
            with link:
                link.sendall(struct.pack(">i", len(API_VERSIONS_V0)) + API_VERSIONS_V0)
                return link.recv(4096)  # in TLS 1.3 a client hears of its refusal only when it reads
    except (TimeoutError, ConnectionError, ssl.SSLError):
        return b""


def context_of(pki_folder: Path, trusted: Path, principal: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(trusted / "ca.crt.pem"))
    if principal:
        context.load_cert_chain(pki_folder / f"{principal}.crt.pem", pki_folder / f"{principal}.key.pem")
    return context


def test_it_is_ready_soon(kafka) -> None:
    print(f"\nbroker ready in {kafka.broker.ready_s:.1f} s")  # noqa: T201 - a figure that a person looks for
    assert 0 < kafka.broker.ready_s < broker.READY_S_MAX
    assert broker.status(kafka.home).pid == kafka.broker.pid


@pytest.mark.parametrize("listener", ["client", "controller"])
def test_no_listener_speaks_kafka_in_the_clear(kafka, listener: str) -> None:
    answer = answer_of(getattr(kafka.broker.ports, listener), None)
    assert answer == b"" or answer[0] == 0x15  # closed, or a TLS alert: no Kafka answer begins so


def test_every_open_port_of_the_process_is_one_of_the_two(kafka) -> None:
    inodes = {os.readlink(fd) for fd in Path(f"/proc/{kafka.broker.pid}/fd").iterdir() if fd.is_symlink()}
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    listening = {int(r[1].rsplit(":", 1)[1], 16) for r in rows if r[3] == "0A" and f"socket:[{r[9]}]" in inodes}
    assert listening == {kafka.broker.ports.client, kafka.broker.ports.controller}


def test_with_a_certificate_of_the_site_the_listener_answers(kafka) -> None:
    answer = answer_of(kafka.broker.ports.client, context_of(kafka.pki, kafka.pki, "ep-a"))
    assert answer[4:8] == struct.pack(">i", 7)  # our correlation id: so the refusals below are refusals


@pytest.mark.parametrize("listener", ["client", "controller"])
def test_without_a_client_certificate_there_is_no_answer(kafka, listener: str) -> None:
    assert answer_of(getattr(kafka.broker.ports, listener), context_of(kafka.pki, kafka.pki, None)) == b""


def test_a_certificate_of_another_ca_gets_no_answer(kafka, tmp_path: Path) -> None:
    foreign = pki.ensure_pki(tmp_path, [])
    assert answer_of(kafka.broker.ports.client, context_of(foreign, kafka.pki, "admin")) == b""


def test_starting_again_returns_the_running_broker(kafka) -> None:
    again = broker.start(kafka.home, broker.Ports(1024, 1025))
    assert (again.pid, again.ports) == (kafka.broker.pid, kafka.broker.ports)


def test_a_port_in_use_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    pki.ensure_pki(tmp_path, [])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"port {port} is in use"):
            broker.start(tmp_path, broker.Ports(port, port + 1))
    assert not (tmp_path / "broker").exists()


def test_a_stale_pid_file_is_no_broker_and_its_process_is_left_alone(tmp_path: Path) -> None:
    pid_file = tmp_path / "broker" / "pid"
    pid_file.parent.mkdir()
    pid_file.write_text(f"{os.getpid()} 12345\n")  # this very process, with another start time
    assert broker.status(tmp_path) is None
    assert broker.stop(tmp_path) is False  # were it to signal the process, this test would not go on
    assert not pid_file.exists()


def test_a_damaged_archive_or_half_written_one_does_not_stop_a_broker(kafka, tmp_path: Path, monkeypatch, free_ports) -> None:
    cache, installed = tmp_path / "cache", broker.kafka_jars().parent
    cache.mkdir()
    (cache / installed.name).symlink_to(installed)
    monkeypatch.setenv("BYLEAVE_CACHE", str(cache))
    broker.archive_path(broker.find_jvm(), broker.kafka_jars()).write_bytes(b"not an archive" * 1000)
    pki.ensure_pki(tmp_path, ["ep-a"])
    try:
        broker.start(tmp_path, free_ports)
        assert AdminClient(load_installation({"BYLEAVE_HOME": str(tmp_path)}).kafka("admin")).list_topics(timeout=20).brokers
    finally:
        assert broker.stop(tmp_path) is True
    assert broker.status(tmp_path) is None


def test_a_killed_broker_starts_again_with_what_it_held(tmp_path: Path, free_ports) -> None:
    home = tmp_path / "home"
    pki.ensure_pki(home, ["ep-a"])
    try:
        first = broker.start(home, free_ports)
        admin_conf = load_installation({"BYLEAVE_HOME": str(home)}).kafka("admin")
        admin = AdminClient(admin_conf)  # named, since a client that is let go of takes its answers with it
        admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(20)
        os.kill(first.pid, signal.SIGKILL)
        os.waitpid(first.pid, 0)
        assert broker.status(home) is None
        second = broker.start(home, free_ports)
        assert second.pid != first.pid
        assert "kept" in AdminClient(admin_conf).list_topics(timeout=20).topics
    finally:
        broker.stop(home)


def test_a_start_that_was_interrupted_is_taken_up_by_the_next(tmp_path: Path, free_ports, monkeypatch) -> None:
    pki.ensure_pki(tmp_path, ["ep-a"])

    def interrupted(folder: Path, pid: int) -> None:
        raise KeyboardInterrupt

    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(broker, "_await_ready", interrupted)
            broker.start(tmp_path, free_ports)
        left = broker.status(tmp_path)
        taken_up = broker.start(tmp_path, free_ports)
        assert taken_up.pid == left.pid
        assert AdminClient(load_installation({"BYLEAVE_HOME": str(tmp_path)}).kafka("admin")).list_topics(timeout=20).brokers
    finally:
        assert broker.stop(tmp_path) is True


def test_up_check_status_and_down_from_the_command_line(tmp_path: Path, free_ports) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BYLEAVE_") or k == "BYLEAVE_CACHE"}
    environment |= {"BYLEAVE_HOME": str(tmp_path), "BYLEAVE_PORT": str(free_ports.client), "BYLEAVE_SITE": "trial."}

    def byleave(*words: str) -> tuple[int, dict[str, Any]]:
        command = [sys.executable, "-m", "byleave.deploy.cli", *words, "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
        return done.returncode, json.loads(done.stdout)

    try:
        code, up = byleave("up", "--endpoint", "ep-x")
        assert (code, up["endpoints"], up["changed"] > 0) == (0, ["ep-x"], True)
        assert byleave("up")[1]["changed"] == 0
        assert byleave("status")[1]["pid"] == up["pid"]
        assert byleave("topics", "check") == (0, {"site": "trial.", "drift": []})
        admin = AdminClient(load_installation(environment).kafka("admin"))
        admin.delete_topics(["trial.refused.v1"])["trial.refused.v1"].result(20)
        assert byleave("topics", "check") == (1, {"site": "trial.", "drift": ["missing topic trial.refused.v1"]})
        assert byleave("topics", "apply")[0] == 0
        assert byleave("topics", "check")[0] == 0
    finally:
        assert byleave("down") == (0, {"was_up": True, "roles": []})
    assert byleave("status")[0] == 1
