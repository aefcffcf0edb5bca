"""The drill on a real site: broker, beacon service, keyring, redactor and a canary agent, each the product's own process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from narrowed import narrowed

from byleave.control import bootstrap, desk
from byleave.control.documents import CANARY, Halt
from byleave.control.drill import PARTS, obstacle
from byleave.control.halts import DRILL_MS
from byleave.control.knowledge import Knowledge
from byleave.core import clock
from byleave.core.settings import Installation, load_installation
from byleave.core.topics import ENDPOINT, load_catalogue
from byleave.deploy import broker, pki, process, provision
from demo.fleet import Fleet

pytestmark = [pytest.mark.broker, pytest.mark.timeout(400)]
DRILL_S_MAX = 40.0
SETTLE_S_MAX = 30.0


@dataclass
class Stage:
    """A site of its own with a canary in it."""

    at: Installation
    env: dict[str, str]
    fleet: Fleet

    def drill(self, code: int = 0) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "byleave.deploy.cli", "drill", "--json"], env={**os.environ, **self.env}, text=True,
            capture_output=True, timeout=180, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{done.stdout}{done.stderr[-2_000:]}\n{self.report()}\n{self.logs()}"
        return dict(json.loads(done.stdout.splitlines()[-1])) | {"stderr": done.stderr}

    def report(self) -> dict[str, Any]:
        path = self.at.home / "endpoints" / CANARY / "report.json"
        return dict(json.loads(path.read_bytes())) if path.exists() else {}

    def until(self, found: Callable[[], Any], what: str, seconds: float = SETTLE_S_MAX) -> None:
        limit_s = time.monotonic() + seconds
        while not found():
            assert time.monotonic() < limit_s, f"{what}: {self.logs()}"
            time.sleep(0.1)

    def logs(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text()[-800:]}" for path in (self.at.home / "logs").glob("*.log"))

    def await_turn(self) -> None:
        """Until the last drill is over by itself and the canary may capture again."""
        watch = desk.open_watch(self.at, "drill")
        try:
            self.until(lambda: (watch.pump(0.2), watch.caught_up and obstacle(watch.knowledge) is None)[1], "its turn",
                       DRILL_MS / 1000 + SETTLE_S_MAX)  # fmt: skip
        finally:
            watch.close()

    def orders(self) -> tuple[list[Halt], Knowledge]:
        """Every order on the topic."""
        watch = desk.read_all(desk.open_watch(self.at, "security"))
        watch.close()
        return list(watch.knowledge.halts.values()), watch.knowledge

    def stop(self, name: str) -> None:
        assert process.end(self.at.home / "run" / f"{name}.pid", patience_s=10.0) != "none"


@pytest.fixture(scope="module")
def stage(kafka: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    home, prefix, catalogue = tmp_path_factory.mktemp("drill"), "tdrill.", load_catalogue()
    shutil.copytree(kafka.pki, home / "pki")  # the shared folder is of three endpoints, and stays so
    pki.ensure_pki(home, (CANARY,))
    env = {**kafka.env(prefix), "BYLEAVE_HOME": str(home), "BYLEAVE_PKI": str(home / "pki"),
           "BYLEAVE_KEYRING": f"127.0.0.1:{broker.free_ports(1)[0]}"}  # fmt: skip
    at = load_installation(env)
    provision.apply(kafka.conf("admin"), prefix, narrowed(catalogue, 2), (CANARY,))
    bootstrap.dev_site(home, prefix, [(CANARY, "person-canary", "team-c")], clock.wall_ms(), os.urandom, consent=True)
    for topic, key, value in bootstrap.documents_to_publish(home):
        desk.publish(at, next(w for w in catalogue.topic(topic).writers if w != ENDPOINT), [(topic, key, value)])
    fleet = Fleet(home, env)
    try:
        for role in ("keyring", "beacon"):
            fleet.launch(role, role)
        fleet.await_ready("keyring", "beacon")
        fleet.launch("redactor", "redactor")
        fleet.launch(CANARY, "agent", ["--endpoint", CANARY, "--source", "canary"])
        fleet.await_ready("redactor", CANARY)
        made = Stage(at, env, fleet)
        made.until(lambda: made.report().get("capturing"), "the canary captures")
        yield made
    finally:
        fleet.stop_all()


def test_a_drill_passes_end_to_end(stage: Stage) -> None:
    began_s = time.monotonic()
    first = stage.drill()
    assert time.monotonic() - began_s < DRILL_S_MAX
    assert (first["drill"], set(first["parts"])) == ("passed", set(PARTS))
    assert all(part["passed"] for part in first["parts"].values())
    assert 8_500 < first["parts"]["lease"]["ms"] <= 10_250  # in real time
    orders, knowledge = stage.orders()
    assert [(o.scope.kind, o.scope.name, o.what) for o in orders] == [("endpoint", CANARY, "capture")]
    assert all(knowledge.is_drill(name) for name in knowledge.halts)


@pytest.mark.prove
def test_the_next_drill_waits_its_turn_and_passes_too(stage: Stage) -> None:
    """It is the role's own: it waits until the one before is over, drills, goes on, and shows when one last passed."""
    session, (before, _), port = stage.report()["session"], stage.orders(), broker.free_ports(1)[0]
    stage.fleet.launch("drill", "drill", ["--every-s", "3600"], {"BYLEAVE_METRICS_PORT": str(port)})
    stage.fleet.await_ready("drill")
    # nobody lifted anything: the first order is over by itself, and so is the broker's brake
    turn_s = DRILL_MS / 1000 + SETTLE_S_MAX
    stage.until(lambda: 'byleave_drills_total{outcome="passed"} 1.0' in metrics_of(port), "it passed", turn_s + DRILL_S_MAX)
    shown = next(line for line in metrics_of(port).splitlines() if line.startswith("byleave_drill_last_passed_seconds "))
    assert abs(float(shown.split()[1]) - time.time()) < 60
    assert stage.report()["session"] != session  # the canary had resumed by itself
    stage.stop("drill")
    assert len(stage.orders()[0]) == len(before) + 1


@pytest.mark.prove
def test_with_the_redactor_killed_the_drill_fails_at_the_late_batch_and_says_so(stage: Stage) -> None:
    stage.await_turn()
    stage.stop("redactor")
    failed = stage.drill(code=1)
    assert failed["drill"] == "failed"
    assert {name for name, part in failed["parts"].items() if not part["passed"]} == {"late"}
    assert failed["parts"]["late"]["why"] == "not-refused"
    assert failed["stderr"].splitlines()[-1] == "byleave drill: the drill did not pass: late (not-refused)"


def metrics_of(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())
