"""What tests of a whole endpoint share: a screen, a development site of one endpoint on the broker, and its roles as
processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from roles import Roles

from byleave.control import desk
from byleave.control.bootstrap import dev_site, documents_to_publish
from byleave.core.clock import wall_ms
from byleave.core.settings import Installation, load_installation
from demo.desktop import Desktop, open_desktop


@pytest.fixture
def desktop() -> Iterator[Desktop]:
    opened = open_desktop()
    yield opened
    opened.close()


@pytest.fixture
def installation(kafka, site: str, tmp_path: Path) -> Installation:
    made = load_installation({**kafka.env(site), "BYLEAVE_HOME": str(tmp_path)})
    dev_site(tmp_path, site, [("ep-a", "subject-a", "team-1")], wall_ms(), os.urandom, consent=True)
    for principal, of in (("enrol", lambda t: t != "control.state.v1"), ("security", lambda t: t == "control.state.v1")):
        desk.publish(made, principal, [record for record in documents_to_publish(tmp_path) if of(record[0])])
    return made


@pytest.fixture
def roles(installation: Installation) -> Iterator[Roles]:
    made = Roles(installation)
    yield made
    made.end()
