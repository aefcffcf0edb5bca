"""Real capture: an X server, a terminal, keys that xdotool presses, pynput's hooks, Kafka. Nothing here is made up (P1, P2).

Opened here with the redactor's key; that nothing secret leaves the redactor is proven where the redactor is.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from byleave.control import desk, trust
from byleave.control.bootstrap import dev_site, documents_to_publish
from byleave.control.documents import Ack, Halt, Scope, digest, dump
from byleave.core.batches import Boundary, open_raw, parse_raw, verify_raw
from byleave.core.clock import boot_ms, wall_ms
from byleave.core.envelope import Opener
from byleave.core.events import FocusEvent, KeyEvent, Kind, PointerEvent
from byleave.core.kafka import KafkaTail
from byleave.core.keys import read_hpke_key, read_signing_key
from byleave.core.settings import Installation, load_installation
from byleave.producers.hooks.pynput_source import PynputSource
from byleave.producers.hooks.source import Observed
from demo.desktop import Desktop, open_desktop

pytestmark = pytest.mark.display

TEXT = "The quick brown fox; 42 lazy dogs! Mail dana@example.com, card 4111-1111 (ok?)"
AFTER = "typed after the halt"


@pytest.fixture
def desktop() -> Iterator[Desktop]:
    opened = open_desktop()
    yield opened
    opened.close()


@pytest.fixture
def source(desktop: Desktop) -> Iterator[PynputSource]:
    made = PynputSource({**os.environ, **desktop.environment()})
    yield made
    assert made.stop()


def xdotool(desktop: Desktop, *words: str) -> None:
    subprocess.run(["xdotool", *words], env={**os.environ, **desktop.environment()}, check=True, timeout=30)


def until(condition: Callable[[], object], within_s: float = 20.0) -> None:
    """Asks every 20 ms; fails loudly when the bound is over."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.02)


def text_of(events) -> str:
    keys = [e.key for e in events if e.kind is Kind.PRESS]
    return "".join({"space": " "}.get(key, key if len(key) == 1 else "") for key in keys)


def started(source: PynputSource, found: list[Observed]) -> None:
    source.start(boot_ms(), titles=False)

    def ready() -> bool:
        found.extend(source.poll(boot_ms(), 0.02))
        return source.screen.width > 0

    until(ready)


def running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_the_text_typed_is_the_text_observed_and_clicks_are_exact(desktop: Desktop, source: PynputSource) -> None:
    found: list[Observed] = []
    started(source, found)
    xdotool(desktop, "type", "--delay", "3", TEXT * 4)
    for n in range(10):
        xdotool(desktop, "mousemove", str(100 + n), str(200 + n), "click", "1")

    def arrived() -> bool:
        found.extend(source.poll(boot_ms(), 0.02))
        return sum(e.kind is Kind.BUTTON_UP for e in found) == 10

    until(arrived)
    assert text_of(found) == TEXT * 4
    assert [(e.x, e.y) for e in found if e.kind is Kind.BUTTON_DOWN] == [(100 + n, 200 + n) for n in range(10)]
    windows = [e.window for e in found if e.kind is Kind.FOCUS]
    assert windows[-1] is not None
    assert (windows[-1].app, windows[-1].layout, windows[-1].title) == ("xterm", "us", "")
    assert source.take_lost() == 0
    assert all(a.at_ms <= b.at_ms for a, b in itertools.pairwise(found) if a.kind is b.kind)


def test_stop_kills_and_reaps_at_once_also_a_worker_that_is_stopped(desktop: Desktop, source: PynputSource) -> None:
    found: list[Observed] = []
    for signalled in (None, signal.SIGSTOP):
        started(source, found)
        pid = source.pid
        assert pid is not None
        if signalled is not None:
            os.kill(pid, signalled)
            xdotool(desktop, "type", "--delay", "1", "typed while it was stopped")
        began = time.monotonic()
        assert source.stop()
        assert time.monotonic() - began < 1.0
        assert not Path(f"/proc/{pid}").exists()
        assert not source.alive
        assert source.poll(boot_ms(), 0) == []


def test_a_silent_worker_is_not_alive(source: PynputSource) -> None:
    started(source, [])
    assert source.pid is not None
    os.kill(source.pid, signal.SIGSTOP)

    def noticed() -> bool:
        source.poll(boot_ms(), 0.02)
        return not source.alive

    until(noticed, 2.0)


@pytest.mark.parametrize("change", ["the X server dies", "the layout changes"])
def test_capture_ends_within_a_second_when(desktop: Desktop, source: PynputSource, change: str) -> None:
    started(source, [])
    if change == "the X server dies":
        desktop.close()
    else:
        subprocess.run(["setxkbmap", "fr"], env={**os.environ, **desktop.environment()}, check=True, timeout=10)

    def noticed() -> bool:
        source.poll(boot_ms(), 0.02)
        return not source.alive

    until(noticed, 1.0)


def test_two_layouts_are_an_unknown_one(desktop: Desktop, source: PynputSource) -> None:
    subprocess.run(["setxkbmap", "us,fr"], env={**os.environ, **desktop.environment()}, check=True, timeout=10)
    found: list[Observed] = []
    started(source, found)
    assert [e.window.layout for e in found if e.window] == [""]


def test_the_worker_dies_with_its_parent(desktop: Desktop) -> None:
    code = (
        "import os, sys, time; from byleave.core.clock import boot_ms\n"
        "from byleave.producers.hooks.pynput_source import PynputSource\n"
        "s = PynputSource(os.environ); s.start(boot_ms(), titles=False)\n"
        "while not s.screen.width: s.poll(boot_ms(), 0.05)\n"
        "print(s.pid, flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, **desktop.environment()}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert running(worker)
        parent.kill()
    until(lambda: not running(worker), 2.0)


@pytest.fixture
def installation(kafka, site: str, tmp_path: Path) -> Installation:
    made = load_installation({**kafka.env(site), "BYLEAVE_HOME": str(tmp_path)})
    dev_site(tmp_path, site, [("ep-a", "subject-a", "team-1")], wall_ms(), os.urandom, consent=True)
    for principal, of in (("enrol", lambda t: t != "control.state.v1"), ("security", lambda t: t == "control.state.v1")):
        desk.publish(made, principal, [record for record in documents_to_publish(tmp_path) if of(record[0])])
    return made


class Roles:
    """Roles as processes of this installation; all are ended by pid."""

    def __init__(self, at: Installation) -> None:
        self._environment = {**os.environ, "BYLEAVE_HOME": str(at.home), "BYLEAVE_PKI": str(at.pki),
                             "BYLEAVE_BOOTSTRAP": at.bootstrap, "BYLEAVE_SITE": at.site}  # fmt: skip
        self._children: list[subprocess.Popen[str]] = []

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        """`byleave run ...`, until it says that it is ready."""
        command = [sys.executable, "-m", "byleave.deploy.cli", "run", *words]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, env={**self._environment, **more}, text=True)
        self._children.append(child)
        assert child.stdout is not None
        assert json.loads(child.stdout.readline())["ready"] is True
        return child

    def end(self) -> None:
        for child in self._children:
            child.terminate()
        for child in self._children:
            child.communicate(timeout=20)


@pytest.fixture
def roles(installation: Installation) -> Iterator[Roles]:
    made = Roles(installation)
    yield made
    made.end()


class Topic:
    """Reads one topic from its beginning, as a principal."""

    def __init__(self, at: Installation, principal: str, name: str) -> None:
        self._tail = KafkaTail(at.kafka(principal), at.topic(principal), [at.topic(name)])
        self.values: list[bytes | None] = []

    def read(self) -> list[bytes | None]:
        self.values += [record.value for record in self._tail.read(0.1)]
        return self.values

    def close(self) -> None:
        self._tail.close()


def report_of(at: Installation) -> dict[str, object]:
    path = at.home / "endpoints" / "ep-a" / "report.json"
    return json.loads(path.read_bytes()) if path.exists() else {}


def opened(at: Installation, values: list[bytes | None]) -> list[tuple[object, tuple[object, ...]]]:
    key = next((at.home / "redactor").glob("raw-*.key"))
    opener = Opener({key.stem: read_hpke_key(key)})
    device = read_signing_key(at.home / "endpoints" / "ep-a" / "device.key").public_key()
    found = []
    for value in values:
        batch = parse_raw(value)
        verify_raw(batch, device)
        found.append((batch.header, open_raw(batch, opener)[0]))
    return found


def halt(at: Installation) -> str:
    order = Halt(at.site, Scope("global"), "capture", "drill", "drop", wall_ms(), 60_000, secrets.token_hex(8))
    halt_id = digest(dump(order))
    key = read_signing_key(at.home / "officers" / "security-1.key")
    desk.publish(at, "security", [("control.halt.v1", halt_id.encode(), trust.sign(order, [key]))])
    return halt_id


@pytest.mark.broker
def test_what_is_typed_arrives_sealed_and_after_a_halt_nothing_does(
    desktop: Desktop, installation: Installation, roles: Roles
) -> None:
    roles.start("beacon")
    agent = roles.start("agent", "--endpoint", "ep-a", "--source", "pynput", **desktop.environment())
    until(lambda: report_of(installation).get("capturing"))
    raw, acks = Topic(installation, "redactor", "raw.events.v1"), Topic(installation, "security", "control.ack.v1")

    def typed() -> str:
        return text_of(event for _, events in opened(installation, raw.read()) for event in events)

    until(raw.read, 15.0)  # the first focus is there: the hooks are live
    xdotool(desktop, "type", "--delay", "3", TEXT * 3)
    xdotool(desktop, "mousemove", "300", "310", "click", "1")
    until(lambda: typed() == TEXT * 3)
    until(lambda: any(isinstance(e, PointerEvent) for _, events in opened(installation, raw.read()) for e in events))
    assert TEXT.encode() not in b"".join(value or b"" for value in raw.values)
    first = next(events for _, events in opened(installation, raw.values) if events)
    assert isinstance(first[0], FocusEvent)
    assert first[0].window.app == "xterm"

    halt_id = halt(installation)
    until(acks.read)
    xdotool(desktop, "type", "--delay", "3", AFTER)
    device = read_signing_key(installation.home / "endpoints" / "ep-a" / "device.key").public_key()
    ack, _ = trust.verify_by(device, Ack, acks.values[0], site=installation.site)
    assert (ack.halt_id, ack.worker_reaped) == (halt_id, True)
    until(lambda: report_of(installation).get("halt"))
    report = report_of(installation)
    assert report["halted"] is True
    assert report["halt"]["seconds"] < 1.0
    agent.terminate()
    assert agent.wait(20) == 0
    batches = opened(installation, raw.read())
    assert typed() == TEXT * 3
    assert all(not isinstance(e, KeyEvent) or e.seq <= ack.last_seq for _, events in batches for e in events)
    assert not list((installation.home / "endpoints" / "ep-a" / "spool").rglob("*.raw"))
    raw.close()
    acks.close()


@pytest.mark.broker
def test_a_recording_goes_out_once_and_whole(installation: Installation, roles: Roles) -> None:
    roles.start("beacon")
    agent = roles.start("agent", "--endpoint", "ep-a", "--source", "replay:office", "--speed", "20", "--once")
    assert agent.stdout is not None
    report = json.loads(agent.stdout.readline())
    assert agent.wait(20) == 0
    raw = Topic(installation, "redactor", "raw.events.v1")
    until(lambda: any(h.boundary is Boundary.END for h, _ in opened(installation, raw.read())))
    headers = [header for header, _ in opened(installation, raw.values)]
    raw.close()
    assert sum(h.count for h in headers) == report["captured"] == report["delivered_events"] > 600
    seq = 0
    for header in headers:
        assert (header.seq0, header.gap) == (seq, 0)
        seq = header.seq_end
    assert report["out_of_scope"] > 0
    assert report["waiting"] == 0
