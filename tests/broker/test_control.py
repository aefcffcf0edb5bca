"""The control room on a real broker: the beacon service in its own process, and the commands as people type them."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from byleave.control import brake, desk, trust
from byleave.control.documents import Ack, Beacon, Grant, Request, digest, dump
from byleave.core.errors import Refused
from byleave.core.keys import read_signing_key
from byleave.core.settings import Installation, load_installation

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]
WAIT_S = 30.0


@dataclass
class Room:
    """An installation of its own on the shared broker."""

    at: Installation
    env: dict[str, str]
    service: subprocess.Popen[str] | None = None

    def byleave(self, *words: str, code: int = 0) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "byleave.deploy.cli", *words], env={**os.environ, **self.env}, text=True,
            capture_output=True, timeout=90, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr[-2_000:]
        return dict(json.loads(done.stdout.splitlines()[-1])) if code != 2 and "--json" in words else {"said": done.stderr}

    def start(self) -> None:
        self.service = subprocess.Popen(
            [sys.executable, "-c", "import sys; from byleave.control.beacon_main import main; sys.exit(main([]))"],
            env={**os.environ, **self.env}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.service.stdout is not None
        line = json.loads(self.service.stdout.readline())
        assert (line["ready"], line["role"], line["pid"]) == (True, "beacon", self.service.pid)

    def kill(self, number: signal.Signals) -> int:
        assert self.service is not None
        assert self.service.stdout is not None
        self.service.send_signal(number)
        code = self.service.wait(20)
        self.service.stdout.close()
        self.service = None
        return code

    def until(self, found: Callable[[Any], Any]) -> Any:
        """Follows all control topics from the beginning until `found` says so of the watch and a document."""
        watch = desk.open_watch(self.at, "security")
        limit_s = time.monotonic() + WAIT_S
        try:
            while time.monotonic() < limit_s:
                for document in watch.pump(0.1):
                    if found(document):
                        return document
        finally:
            watch.close()
        pytest.fail("it did not come")

    def ask(self, endpoint: str, nonce: str) -> str:
        """Sends the endpoint's request and gives its digest."""
        request = Request(self.at.site, endpoint, nonce, 5, "00" * 32, 1)
        key = read_signing_key(self.at.home / "endpoints" / endpoint / "device.key")
        desk.publish(self.at, endpoint, [("control.request.v1", endpoint.encode(), trust.sign(request, [key]))])
        return digest(dump(request))


@pytest.fixture
def room(kafka: Any, site: str, tmp_path: Path) -> Iterator[Room]:
    env = {**kafka.env(site), "BYLEAVE_HOME": str(tmp_path)}
    made = Room(load_installation(env), env)
    made.byleave("enrol", *("--endpoint=ep-a=person-a@team-1", "--endpoint=ep-b=person-b@team-2"))
    yield made
    if made.service is not None:
        made.kill(signal.SIGKILL)


def test_consent_halt_board_and_resume_as_people_do_it(room: Room) -> None:
    room.start()
    room.byleave("me", "consent", "--endpoint", "ep-a", "--yes", "--json")
    room.byleave("me", "consent", "--endpoint", "ep-b", "--yes", "--json")

    asked = room.ask("ep-a", "aa" * 16)
    grant = room.until(lambda d: isinstance(d, Grant) and d.nonce == "aa" * 16)
    assert (grant.request, grant.epoch) == (asked, 1)

    order = room.byleave("halt", "--reason", "a test", "--scope", "team:team-1", "--json")
    named = room.until(lambda d: isinstance(d, Beacon) and d.halts)
    assert [one.halt_id for one in named.halts] == [order["halt_id"]]
    until_s = time.monotonic() + 10.0  # told first, braked then: endpoints wait for the word
    while brake.engaged(room.at.kafka("brake"), room.at.site) != {"ep-a"}:
        assert time.monotonic() < until_s

    report = room.byleave("board", "--json", code=1)
    assert [(row["endpoint"], row["standing"]) for row in report["orders"][0]["rows"]] == [("ep-a", "UNKNOWN")]
    ack = Ack(room.at.site, "ep-a", "ab" * 16, order["halt_id"], 1, 1, named.service_ms + 3, True, 9, 0, "empty", "")
    key = read_signing_key(room.at.home / "endpoints" / "ep-a" / "device.key")
    desk.publish(room.at, "ep-a", [("control.ack.v1", b"ep-a", trust.sign(ack, [key]))])
    assert room.byleave("board", "--json")["orders"][0]["sentence"] == "1 of 1 signed that they stopped"

    assert room.byleave("resume", "--json")["epoch"] == 2
    room.until(lambda d: isinstance(d, Beacon) and d.epoch == 2 and not d.halts)
    assert brake.engaged(room.at.kafka("brake"), room.at.site) == frozenset()
    assert room.kill(signal.SIGTERM) == 0


def test_a_restarted_service_takes_no_promise_back(room: Room) -> None:
    """SIGKILL between beacons, three times, with an order in force: time, counter and effective time only go on."""
    room.start()
    order = room.byleave("halt", "--reason", "a test", "--json")
    seen: list[Beacon] = [room.until(lambda d: isinstance(d, Beacon) and d.halts)]
    for _ in range(3):
        room.kill(signal.SIGKILL)
        room.start()
        last = seen[-1]
        seen.append(room.until(lambda d, n=last.n: isinstance(d, Beacon) and d.n > n))
    assert all(one.service_ms < two.service_ms for one, two in itertools.pairwise(seen))
    assert {one.halts for one in seen} == {seen[0].halts}
    assert seen[0].halts[0].halt_id == order["halt_id"]


def test_requests_that_deserve_no_answer_get_none(room: Room) -> None:
    """No consent, a halted endpoint, another's key; then one that does deserve it, so that silence is no accident."""
    room.start()
    room.ask("ep-a", "01" * 16)
    room.byleave("me", "consent", "--endpoint", "ep-b", "--yes", "--json")
    request = Request(room.at.site, "ep-b", "02" * 16, 5, "00" * 32, 1)
    forged = trust.sign(request, [read_signing_key(room.at.home / "endpoints" / "ep-a" / "device.key")])
    desk.publish(room.at, "ep-b", [("control.request.v1", b"ep-b", forged)])
    room.ask("ep-b", "03" * 16)
    grants: list[str] = []
    room.until(lambda d: isinstance(d, Grant) and (grants.append(d.nonce), d.nonce == "03" * 16)[1])
    room.byleave("halt", "--reason", "a test", "--json")
    room.until(lambda d: isinstance(d, Beacon) and d.halts)
    room.ask("ep-b", "04" * 16)
    room.byleave("resume", "--json")
    room.until(lambda d: isinstance(d, Beacon) and d.epoch == 2)
    room.ask("ep-b", "05" * 16)
    room.until(lambda d: isinstance(d, Grant) and (grants.append(d.nonce), d.nonce == "05" * 16)[1])
    assert set(grants) == {"03" * 16, "05" * 16}


def test_what_the_commands_refuse_they_say_in_one_sentence_and_nothing_is_published(room: Room) -> None:
    for words, code in (
        (("halt", "--reason", "x", "--scope", "planet"), 2),
        (("halt", "--reason", " "), 2),
        (("halt", "--reason", "x", "--what", "everything"), 2),
        (("halt", "--reason", "x", "--officer", "nobody"), 2),
        (("halt", "--reason", "x", "--officer", "enrol-1"), 1),
        (("resume", "--lift", "ff"), 1),
        (("me", "consent"), 2),
        (("me", "consent", "--endpoint", "ep-a", "--withdraw"), 1),
        (("enrol", "--endpoint", "ep-a"), 2),
    ):
        said = room.byleave(*words, code=code)["said"]
        assert len(said.strip().splitlines()) == 1, said
    watch = desk.read_all(desk.open_watch(room.at, "beacon"))
    watch.close()
    assert (dict(watch.knowledge.halts), dict(watch.knowledge.consents)) == ({}, {})
    assert watch.knowledge.state is not None
    assert watch.knowledge.state.epoch == 1


def test_withdrawal_holds_on_this_machine_even_if_the_service_cannot_be_told(room: Room) -> None:
    room.byleave("me", "consent", "--endpoint", "ep-a", "--yes", "--json")
    folder = room.at.home / "endpoints" / "ep-a"
    before = (folder / "consent.dsse").read_bytes()
    reachable, room.env["BYLEAVE_BOOTSTRAP"] = room.env["BYLEAVE_BOOTSTRAP"], "127.0.0.1:1"
    assert "withdrawn on this machine" in room.byleave("me", "consent", "--endpoint", "ep-a", "--withdraw", code=1)["said"]
    assert (folder / "consent.dsse").read_bytes() != before
    room.env["BYLEAVE_BOOTSTRAP"] = reachable
    room.byleave("me", "consent", "--endpoint", "ep-a", "--withdraw", "--json")
    watch = desk.read_all(desk.open_watch(room.at, "beacon"))
    watch.close()
    assert not watch.knowledge.consents["person-a"].given


def test_an_old_state_in_a_folder_never_becomes_the_newest_record(room: Room, tmp_path: Path) -> None:
    old = tmp_path / "old-state"
    shutil.copy(room.at.home / "trust" / "state.dsse", old)
    room.byleave("resume", "--json")
    shutil.copy(old, room.at.home / "trust" / "state.dsse")
    assert room.byleave("enrol", "--endpoint=ep-a=person-a@team-1", "--json") == {"published": []}


def test_an_endpoints_certificate_cannot_publish_an_order(room: Room) -> None:
    with pytest.raises(Refused):
        desk.publish(room.at, "ep-a", [("control.halt.v1", b"x", b"y")])
    watch = desk.read_all(desk.open_watch(room.at, "security"))
    watch.close()
    assert not watch.refused
