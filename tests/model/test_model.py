"""`make model` as a test: the protocol holds, exhaustively, and each weakened variant of it breaks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).with_name("check.py")


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_the_protocol_holds_and_each_weakened_variant_breaks() -> None:
    done = subprocess.run([sys.executable, str(CHECK)], capture_output=True, text=True, timeout=880, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "surprise" not in done.stdout
    assert done.stdout.count(" holds ") >= 2
