"""Edge: the agent's own program files, by one digest: a grant, a signed release and the person can compare it (P1)."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path


def own_digest() -> str:
    """SHA-256 over the agent's own files, so that a grant can say which agent it was given to."""
    found = hashlib.sha256()
    for room in ("byleave.core", "byleave.control", "byleave.producers", "byleave.schemas"):
        root = Path(str(resources.files(room)))
        for path in sorted(path for path in root.rglob("*") if path.suffix in (".py", ".toml", ".html", ".css")):
            found.update(f"{room}/{path.relative_to(root).as_posix()}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()
