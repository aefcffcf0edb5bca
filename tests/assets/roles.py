"""The product's roles as processes, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from byleave.core.settings import Installation


class Roles:
    """Roles as processes of this installation; all are ended by pid."""

    def __init__(self, at: Installation) -> None:
        self._environment = {**os.environ, "BYLEAVE_HOME": str(at.home), "BYLEAVE_PKI": str(at.pki),
                             "BYLEAVE_BOOTSTRAP": at.bootstrap, "BYLEAVE_SITE": at.site}  # fmt: skip
        self._children: list[subprocess.Popen[str]] = []

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        """`byleave run ...`, until it says that it is ready."""
        command = [sys.executable, "-m", "byleave.deploy.cli", "run", *words]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, env={**self._environment, **more}, text=True)
        self._children.append(child)
        assert child.stdout is not None
        assert json.loads(child.stdout.readline())["ready"] is True
        return child

    def end(self) -> None:
        for child in self._children:
            child.terminate()
        for child in self._children:
            child.communicate(timeout=20)
