"""The peers that ours is compared with, each a program of its own on the same texts in the same run.

They are installed once into `.cache/peers` of the clone, at stated versions. A peer that cannot be had is reported with the
reason, never left out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".cache" / "peers"
GITLEAKS = "github.com/zricethezav/gitleaks/v8@v8.30.1"
INSTALL_S, RUN_S = 900, 1_800
Ranges = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Answers:
    """What one peer takes out of each text, and seconds: of each text, or only of all. `absent` says why there is none."""

    name: str
    ranges: Mapping[str, Ranges] = field(default_factory=dict, repr=False)
    seconds: Mapping[str, float] = field(default_factory=dict, repr=False)
    seconds_all: float = 0.0
    absent: str = ""


class Absent(Exception):
    """A peer cannot be had here; the message says why."""


def ask(texts: Sequence[str]) -> list[Answers]:
    """All peers' answers to `texts`."""
    found = [
        _asked(name, label, texts)
        for name, label in (
            ("presidio-patterns", "Presidio 2.2.366, patterns"),
            ("presidio", "Presidio 2.2.366, small model"),
            ("detect-secrets", "detect-secrets 1.5.0"),
        )
    ]
    try:
        return [*found, _gitleaks(texts)]
    except Absent as why:
        return [*found, Answers("gitleaks 8.30.1", absent=str(why))]


def _asked(name: str, label: str, texts: Sequence[str]) -> Answers:
    try:
        python = _environment(model=name == "presidio")
        lines = "".join(json.dumps(text) + "\n" for text in texts)
        out = _run([str(python), str(Path(__file__).with_name("peer_child.py")), name], lines, RUN_S)
    except Absent as why:
        return Answers(label, absent=str(why))
    answers = [json.loads(line) for line in out.splitlines()]
    if len(answers) != len(texts):
        return Answers(label, absent=f"it answered {len(answers)} of {len(texts)} texts")
    ranges = {text: [(start, end) for start, end in found] for text, (found, _) in zip(texts, answers, strict=True)}
    return Answers(label, ranges, {text: took for text, (_, took) in zip(texts, answers, strict=True)})


def _environment(*, model: bool) -> Path:
    """The Python of the peers' environment. Raises Absent."""
    lists = ["peers.txt", *(["peers_model.txt"] if model else [])]
    python = HOME / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        HOME.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", str(HOME / "venv")], "", INSTALL_S)
    for name in lists:
        wanted, stamp = Path(__file__).with_name(name), HOME / f"installed-{name}"
        if stamp.exists() and stamp.read_text() == wanted.read_text():
            continue
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-input", "-r", str(wanted)]
        _run([*pip, *(["--no-deps", "--require-hashes"] if name == "peers_model.txt" else [])], "", INSTALL_S)
        stamp.write_text(wanted.read_text())
    return python


def _gitleaks(texts: Sequence[str]) -> Answers:
    """One file a text in one folder, as it scans a folder. Raises Absent."""
    program = HOME / "bin" / f"gitleaks{'.exe' if os.name == 'nt' else ''}"
    stamp = HOME / "installed-gitleaks"
    if not (program.exists() and stamp.exists() and stamp.read_text() == GITLEAKS):
        if shutil.which("go") is None:
            raise Absent("there is no Go here to build it with")
        HOME.mkdir(parents=True, exist_ok=True)
        _run(["go", "install", GITLEAKS], "", INSTALL_S, {"GOBIN": str(HOME / "bin"), "GOFLAGS": "-mod=mod"})
        stamp.write_text(GITLEAKS)
    with tempfile.TemporaryDirectory(prefix="byleave-peer-") as folder:
        texts_in, report = Path(folder) / "texts", Path(folder) / "report.json"
        texts_in.mkdir()
        for number, text in enumerate(texts):
            (texts_in / f"{number}.txt").write_text(text, encoding="utf-8", newline="")
        begin = time.perf_counter()
        options = ["--no-banner", "--exit-code", "0", "--ignore-gitleaks-allow", "--log-level", "error"]
        _run([str(program), "dir", str(texts_in), *options, "-f", "json", "-r", str(report)], "", RUN_S)
        took = time.perf_counter() - begin
        ranges: dict[str, Ranges] = {text: [] for text in texts}
        for found in json.loads(report.read_text(encoding="utf-8")):
            text = texts[int(Path(found["File"]).stem)]
            ranges[text] += _places(found["Secret"], text)
    return Answers("gitleaks 8.30.1", ranges, seconds_all=took)


def _places(secret: str, text: str) -> Ranges:
    places, at = Ranges(), text.find(secret) if secret else -1
    while at >= 0:
        places.append((at, at + len(secret)))
        at = text.find(secret, at + len(secret))
    return places


def _run(command: Sequence[str], lines: str, seconds: float, environment: Mapping[str, str] | None = None) -> str:
    """The program's standard output. Raises Absent with the last line that it said."""
    try:
        done = subprocess.run(
            command, input=lines, capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=seconds,
            env={**os.environ, **(environment or {})}, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Absent(f"{Path(command[0]).name}: {type(error).__name__}") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise Absent(f"{Path(command[0]).name} ended with {done.returncode}: {said[-1][:160]}")
    return done.stdout
