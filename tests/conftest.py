"""What broker tests share: one embedded Kafka for the whole run, and a fresh site on it for each test that asks for one.

Where the broker cannot be started, the tests that need it fail: none passes or is skipped because Kafka is absent.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from narrowed import narrowed

from byleave.core.settings import Installation, load_installation
from byleave.core.topics import grants, load_catalogue
from byleave.deploy import broker, pki, provision

ENDPOINTS = ("ep-a", "ep-b", "ep-c")
PARTITIONS = 2


@dataclass(frozen=True)
class Kafka:
    """The running broker of this test run."""

    broker: broker.Broker

    @property
    def home(self) -> Path:
        return self.broker.home

    @property
    def pki(self) -> Path:
        return self.broker.home / "pki"

    @property
    def bootstrap(self) -> str:
        return self.broker.bootstrap

    def conf(self, principal: str) -> dict[str, str | int | bool]:
        return self.installation("byleave.").kafka(principal)

    def installation(self, site: str) -> Installation:
        return load_installation(self.env(site))

    def env(self, site: str) -> dict[str, str]:
        """What a role in a process of its own needs to find this broker and this site."""
        return {
            "BYLEAVE_HOME": str(self.home),
            "BYLEAVE_BOOTSTRAP": self.bootstrap,
            "BYLEAVE_PKI": str(self.pki),
            "BYLEAVE_SITE": site,
        }


def _free_ports() -> broker.Ports:
    return broker.Ports(*broker.free_ports(2))


@contextmanager
def _stopped_whatever_happens(home: Path) -> Iterator[None]:
    """A process that outlives a killed test run waits for its end of a pipe to close, and then stops the broker."""
    code = "import pathlib, sys; from byleave.deploy import broker; sys.stdin.read(); broker.stop(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as guard:
        yield
        guard.communicate(timeout=60)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    home = tmp_path_factory.mktemp("byleave")
    pki.ensure_pki(home, ENDPOINTS)
    with _stopped_whatever_happens(home):
        yield Kafka(broker.start(home, _free_ports()))


@pytest.fixture
def free_ports() -> broker.Ports:
    return _free_ports()


@pytest.fixture
def site(kafka: Kafka) -> Iterator[str]:
    """A prefix of its own with the whole catalogue applied, two partitions where the catalogue has more; removed afterwards."""
    prefix, catalogue, admin_conf = f"t{secrets.token_hex(4)}.", load_catalogue(), kafka.conf("admin")
    provision.apply(admin_conf, prefix, narrowed(catalogue, PARTITIONS), ENDPOINTS)
    yield prefix
    admin = AdminClient(admin_conf)
    topics = [name for name in admin.list_topics(timeout=20).topics if name.startswith(prefix)]
    removed = admin.delete_topics(topics, operation_timeout=20).values() if topics else ()
    for future in removed:
        future.result(timeout=25)
    ours = grants(catalogue, prefix, ENDPOINTS)
    provision.change_acls(admin, set(), {grant for grant in ours if grant.resource.startswith(prefix)})
