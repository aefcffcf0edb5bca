"""The two halves together: what the real redactor writes, the real sink takes, all of it and nothing else."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from redactor_process import Fleet, Stage

from byleave.core.batches import verify_sanitized
from byleave.core.levels import Level
from byleave.sinks.lake import LocalLake
from byleave.sinks.sink import SOURCES

pytestmark = pytest.mark.broker


def test_the_lake_holds_every_row_that_the_redactor_wrote(kafka: Any, site: str, tmp_path: Path) -> None:
    with Stage(kafka, site, tmp_path) as stage:
        fleet = Fleet(stage, seed=11, batches=30, seconds=1.5)
        stage.redactor()
        sink = stage.start("sink", "--commit-s", "0.2")
        fleet.start()
        stage.all_ended(3)
        fleet.join()
        signer = stage.site.sign.public_key()
        records = [record for record in stage.read(*SOURCES) if record.value is not None]
        headers = [verify_sanitized(record.value, signer).header for record in records]
        wanted = Counter[tuple[str, Level]]()
        for header in headers:
            wanted[header.content.value.lower(), header.level] += header.rows
        lake, until = LocalLake(tmp_path / "lake"), time.monotonic() + 30
        while _rows(lake) != wanted and time.monotonic() < until:
            stage.beacon()
            threading.Event().wait(0.2)
        sink.send_signal(signal.SIGTERM)
        assert sink.wait(20) == 0
        assert wanted
        assert _rows(lake) == wanted
        assert stage.refusals() == []


def _rows(lake: LocalLake) -> Counter[tuple[str, Level]]:
    found = Counter[tuple[str, Level]]()
    for snapshot in lake.history():
        for file in snapshot.added:
            found[file.table, Level(file.level)] += file.rows
    return found
