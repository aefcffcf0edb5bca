"""Java and Kafka's jars: found by trying, verified by digest, and named in one sentence where they are missing."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

from byleave.core.errors import Forged, Misconfigured
from byleave.deploy import jvm

needs_shell = pytest.mark.skipif(os.name == "nt", reason="the pretended Java is a shell script")
ROOT = Path(__file__).resolve().parents[3]


def fake_java(folder: Path, version: str) -> Path:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n")
    java.chmod(0o755)
    return java


@pytest.fixture
def nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr(jvm.importlib.util, "find_spec", lambda _: None)


@needs_shell
@pytest.mark.usefixtures("nothing_else")
@pytest.mark.parametrize(("version", "major"), [("17.0.15", 17), ("21", 21), ("25-ea", 25)])
def test_java_home_is_taken_if_it_is_new_enough(monkeypatch, tmp_path: Path, version: str, major: int) -> None:
    java = fake_java(tmp_path / "jdk", version)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    found = jvm.find_jvm()
    assert (found.java, found.major) == (java, major)


@needs_shell
@pytest.mark.usefixtures("nothing_else")
@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.2", "nonsense"])
def test_an_old_java_is_not_taken_and_the_sentence_says_what_to_do(monkeypatch, tmp_path: Path, version: str) -> None:
    fake_java(tmp_path / "jdk", version)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    with pytest.raises(Misconfigured, match="make setup"):
        jvm.find_jvm()


def test_missing_jars_are_named_with_what_to_do(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BYLEAVE_CACHE", str(tmp_path))
    with pytest.raises(Misconfigured, match="make setup"):
        jvm.kafka_jars()


@pytest.mark.parametrize("damage", ["changed", "missing", "extra"])
def test_jars_that_are_not_the_known_ones_are_refused(tmp_path: Path, damage: str) -> None:
    listing = ""
    for name in ("a.jar", "b.jar"):
        (tmp_path / name).write_bytes(name.encode())
        listing += f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n"
    jvm.verify_jars(tmp_path, listing)
    if damage == "missing":
        (tmp_path / "b.jar").unlink()
    else:
        (tmp_path / ("b.jar" if damage == "changed" else "c.jar")).write_bytes(b"other")
    with pytest.raises(Forged, match="1 of Kafka's jars"):
        jvm.verify_jars(tmp_path, listing)


def test_the_version_is_the_same_in_the_code_the_pom_and_the_list_of_digests() -> None:
    pom = (ROOT / "deploy/kafka/pom.xml").read_text()
    assert re.search(r"<kafka.version>(.*)</kafka.version>", pom).group(1) == jvm.KAFKA_VERSION
    assert f"kafka_2.13-{jvm.KAFKA_VERSION}.jar" in (ROOT / "deploy/kafka/jars.sha256").read_text()


def test_another_runtime_or_other_jars_have_another_archive(tmp_path: Path) -> None:
    (tmp_path / "a.jar").write_bytes(b"x")
    first = jvm.archive_path(jvm.Jvm(Path("java"), 17, "17.0.1"), tmp_path)
    assert first == jvm.archive_path(jvm.Jvm(Path("elsewhere"), 17, "17.0.1"), tmp_path)
    assert first != jvm.archive_path(jvm.Jvm(Path("java"), 17, "17.0.2"), tmp_path)
    (tmp_path / "b.jar").write_bytes(b"x")
    assert first != jvm.archive_path(jvm.Jvm(Path("java"), 17, "17.0.1"), tmp_path)
