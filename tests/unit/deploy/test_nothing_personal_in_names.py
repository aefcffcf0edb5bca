"""P1. Nothing personal stands where names stand: files, topics, groups, client ids, certificates, log lines, metrics.

A whole development site is made and its agent begun, without a broker, for a person with a name, on an account and in a home
folder that bear it. What is looked at is what others see; what is sealed is the other tests' part.
"""

from __future__ import annotations

import io
import json
import os
import re
import socket
import time
from contextlib import redirect_stderr
from pathlib import Path

import pytest
import structlog
from cryptography import x509
from prometheus_client import generate_latest

from byleave.control.bootstrap import dev_site
from byleave.core import log, metrics
from byleave.core.settings import load_installation
from byleave.core.topics import ENDPOINT, load_catalogue
from byleave.deploy import pki
from byleave.producers.hooks.canary import canary
from byleave.producers.main import Process

PERSONAL = ("anna", "kowalczyk", "a.kowalczyk", socket.gethostname().lower())
NAMES = {"ep-a", "person-a", "team-1"}
SITE_WORDS = re.compile(r"[a-z0-9][a-z0-9._-]*|\.[a-z0-9._-]+")


def personal(text: str) -> list[str]:
    return [word for word in PERSONAL if len(word) > 3 and word in text.lower()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The site's folder, what its agent logged, and its metrics."""
    account = tmp_path_factory.mktemp("home") / "anna.kowalczyk"
    home = account / "site"
    home.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patched, redirect_stderr(io.StringIO()) as said:
        for name, value in (("USER", "anna.kowalczyk"), ("LOGNAME", "anna.kowalczyk"), ("HOME", str(account))):
            patched.setenv(name, value)
        pki.ensure_pki(home, ["ep-a"])
        dev_site(home, "byleave.", [("ep-a", "person-a", "team-1")], time.time_ns() // 1_000_000, os.urandom, consent=True)
        log.configure("agent")
        structlog.configure(cache_logger_on_first_use=False)
        agent = Process(load_installation({"BYLEAVE_HOME": str(home)}), "ep-a", canary(), lambda _: False)
        agent.report()
        agent.close()
        structlog.reset_defaults()
    return home, said.getvalue(), generate_latest(metrics.REGISTRY).decode()


def test_files_bear_pseudonyms_and_the_words_of_the_product(run: tuple[Path, str, str]) -> None:
    home, _, _ = run
    paths = [path.relative_to(home) for path in home.rglob("*")]
    assert len(paths) > 30
    assert Path("endpoints/ep-a/report.json") in paths
    for path in paths:
        assert all(SITE_WORDS.fullmatch(part) for part in path.parts), path
        assert not personal(str(path))
    whose = [path for path in paths if {"person-a", "team-1"} & set(path.parts)]
    assert {path.parts[0] for path in whose} == {"people"}, "the person's own key, which stays with the person"


def test_certificates_show_a_pseudonym_and_nothing_else(run: tuple[Path, str, str]) -> None:
    home, _, _ = run
    folder = load_installation({"BYLEAVE_HOME": str(home)}).pki
    found = [x509.load_pem_x509_certificate(path.read_bytes()) for path in folder.glob("*.crt.pem")]
    assert len(found) > 5
    for certificate in found:
        for name in (certificate.subject, certificate.issuer):
            assert {part.rfc4514_attribute_name for part in name} <= {"CN", "OU", "O"}
        shown = certificate.subject.rfc4514_string() + certificate.issuer.rfc4514_string()
        shown += " ".join(str(extension.value) for extension in certificate.extensions)
        assert not personal(shown)
        assert "person-a" not in shown


def test_topics_groups_and_client_ids_are_made_of_role_and_pseudonym(run: tuple[Path, str, str]) -> None:
    home, _, _ = run
    at, catalogue = load_installation({"BYLEAVE_HOME": str(home)}), load_catalogue()
    names = [topic.name for topic in catalogue.topics] + [one.group + one.transactional for one in catalogue.principals]
    assert not [name for name in names if "person" in name or "subject" in name or "{" in name]
    for principal in ("ep-a", *(one.name for one in catalogue.principals if one.name != ENDPOINT)):
        options = at.kafka(principal)
        assert options["client.id"] == principal
        assert not personal(str(options["client.id"]))
        assert not {"client.rack", "group.instance.id", "sasl.username"} & options.keys()


def test_log_lines_and_metrics_name_nobody(run: tuple[Path, str, str]) -> None:
    _, said, shown = run
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert lines, said
    assert "byleave_capturing" in shown
    for text in (said, shown):
        assert not personal(text)
        assert not [name for name in NAMES - {"ep-a"} if name in text]
    assert "ep-a" not in shown, "no label is an endpoint or a person"
