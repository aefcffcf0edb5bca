"""Real capture: an X server, a terminal, keys that xdotool presses, a hook, Kafka. Nothing here is made up (P1, P2).

Opened here with the redactor's key; that nothing secret leaves the redactor is proven where the redactor is.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import time
from pathlib import Path

import pytest
from awaiting import until
from roles import Roles
from Xlib import X, display

from byleave.control import desk, trust
from byleave.control.documents import Ack, Halt, Scope, digest, dump
from byleave.core.batches import Boundary, open_raw, parse_raw, verify_raw
from byleave.core.clock import wall_ms
from byleave.core.envelope import Opener
from byleave.core.events import FocusEvent, KeyEvent, Kind, PointerEvent
from byleave.core.kafka import KafkaTail
from byleave.core.keys import read_hpke_key, read_signing_key
from byleave.core.settings import Installation
from byleave.producers.hooks.reporter import PULSE_S
from demo.desktop import Desktop

pytestmark = pytest.mark.display

TEXT = "The quick brown fox; 42 lazy dogs! Mail dana@example.com, card 4111-1111 (ok?)"
SECRET = "Zanquavel-77"
AFTER = "a person types on, "


def xdotool(desktop: Desktop, *words: str) -> None:
    subprocess.run(["xdotool", *words], env={**os.environ, **desktop.environment()}, check=True, timeout=30)


def text_of(events) -> str:
    keys = [e.key for e in events if e.kind is Kind.PRESS]
    return "".join({"space": " "}.get(key, key if len(key) == 1 else "") for key in keys)


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


def child_of(pid: int, module: str) -> int:
    """The child process that runs this module of that parent, also after it; 0 if there is none."""
    found = subprocess.run(["pgrep", "-f", f"producers.*{module} {pid} "], capture_output=True, text=True, check=False)
    return int(found.stdout.split()[0]) if found.stdout else 0


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
@pytest.mark.parametrize("hook", ["x11", "pynput"])
def test_what_is_typed_arrives_sealed_and_after_a_halt_nothing_does(
    desktop: Desktop, installation: Installation, roles: Roles, hook: str
) -> None:
    roles.start("beacon")
    agent = roles.start("agent", "--endpoint", "ep-a", "--source", hook, **desktop.environment())
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

    typist = subprocess.Popen(["xdotool", "type", "--delay", "10", AFTER * 40], env={**os.environ, **desktop.environment()})
    until(lambda: len(typed()) > len(TEXT * 3) + 40)
    halt_id = halt(installation)
    until(acks.read)
    assert typist.poll() is None, "the halt came too late to be in mid-typing"
    at_ack = typed()
    device = read_signing_key(installation.home / "endpoints" / "ep-a" / "device.key").public_key()
    ack, _ = trust.verify_by(device, Ack, acks.values[0], site=installation.site)
    assert (ack.halt_id, ack.worker_reaped) == (halt_id, True)
    until(lambda: report_of(installation).get("halt"))
    report = report_of(installation)
    assert report["halted"] is True
    assert report["halt"]["seconds"] < 1.0
    agent.terminate()
    assert agent.wait(20) == 0
    assert typist.wait(60) == 0
    batches = opened(installation, raw.read())
    assert typed() == at_ack
    assert (TEXT * 3 + AFTER * 40).startswith(at_ack)
    assert all(not isinstance(e, KeyEvent) or e.seq <= ack.last_seq for _, events in batches for e in events)
    assert not list((installation.home / "endpoints" / "ep-a" / "spool").rglob("*.raw"))
    raw.close()
    acks.close()


@pytest.mark.broker
def test_neither_a_passphrase_for_a_program_that_holds_the_keyboard_nor_anything_without_the_sign_is_captured(
    desktop: Desktop, installation: Installation, roles: Roles
) -> None:
    roles.start("beacon")
    agent = roles.start("agent", "--endpoint", "ep-a", **desktop.environment())
    until(lambda: report_of(installation).get("capturing"))
    raw = Topic(installation, "redactor", "raw.events.v1")
    until(raw.read, 15.0)
    prompt = display.Display(desktop.display)
    window = prompt.screen().root.create_window(10, 10, 100, 50, 1, X.CopyFromParent, event_mask=X.ExposureMask)
    window.set_wm_class("xterm", "XTerm")  # an application that may be captured: only the grab tells
    window.map()
    prompt.next_event()
    assert window.grab_keyboard(True, X.GrabModeAsync, X.GrabModeAsync, X.CurrentTime) == X.GrabSuccess
    prompt.sync()
    time.sleep(PULSE_S + 0.3)  # a person reads what is asked for; the focus is held around the change
    xdotool(desktop, "type", "--delay", "3", SECRET)
    prompt.ungrab_keyboard(X.CurrentTime)
    window.unmap()
    prompt.close()
    time.sleep(PULSE_S + 0.3)
    xdotool(desktop, "type", "--delay", "3", TEXT)
    until(lambda: len(text_of(e for _, events in opened(installation, raw.read()) for e in events)) >= len(TEXT))
    events = [e for _, batch in opened(installation, raw.values) for e in batch]
    assert text_of(events) == TEXT
    assert sum(isinstance(e, KeyEvent) and e.kind is Kind.PRESS and len(e.key) == 1 for e in events) == len(
        TEXT.replace(" ", "")
    )
    sign, worker = child_of(agent.pid, "person.sign"), child_of(agent.pid, "record_worker")
    os.kill(sign, signal.SIGKILL)
    killed = time.monotonic()
    until(lambda: not Path(f"/proc/{worker}").exists())
    assert time.monotonic() - killed < 1.2
    until(lambda: report_of(installation)["answer"] == "not capturing: the sign that shows capture is gone", 2.0)
    until(lambda: report_of(installation)["capturing"])  # it is shown again, in a run window of its own
    agent.kill()
    agent.wait(20)
    until(lambda: not child_of(agent.pid, "person.sign"))
    raw.close()


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
