"""Fuzzes with atheris (extra "fuzz"): `run.py --seconds 60` each target so long, `run.py spans -max_total_time=60` one."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

ASSETS = Path(__file__).parents[1] / "assets"
sys.path += [str(ASSETS), str(ASSETS.parents[1])]
with atheris.instrument_imports(include=["byleave.processors"]):
    from targets import TARGETS

    for target in TARGETS.values():
        target(b"\x00warm up 219-09-9999")


def _seeds(folder: Path) -> None:
    """The labelled text, to start from."""
    for file in sorted((ASSETS / "text").glob("*_dev*.jsonl")):
        for number, line in enumerate(file.read_text("utf-8").splitlines()):
            (folder / f"{file.stem}-{number}").write_bytes(b"\x00" + json.loads(line)["text"].encode())


def main() -> None:
    """The name of a target, then libFuzzer's own options; or --seconds N, for all targets one after the other."""
    name, *options = sys.argv[1:]
    if name == "--seconds":
        runs = [subprocess.call([sys.executable, __file__, each, f"-max_total_time={options[0]}"]) for each in TARGETS]
        sys.exit(any(runs))
    with tempfile.TemporaryDirectory() as folder:
        _seeds(Path(folder))
        atheris.Setup(
            [sys.argv[0], folder, "-timeout=20", "-max_len=4096", f"-artifact_prefix={folder}-", *options], TARGETS[name]
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
