"""Edge: the level policy that officers signed, as a file of the redactor, and a pin beside it that only rises (P2, P5).

Promises  what `read` returns was signed by the threshold of role `manifest` of the pinned root, for this site and time, and is
          not older than any that was in force here.
Refuses   `policy-missing` (one was in force, and its file is gone), `rolled-back`, `policy-over`; Forged as `trust.verify`.
          Then nothing starts: no other policy takes its place.
"""

from __future__ import annotations

from pathlib import Path

from byleave.control import trust
from byleave.control.documents import LevelPolicy, Root, load
from byleave.core.dsse import ENVELOPE_BYTES_MAX, load_envelope
from byleave.core.errors import Forged, Refused
from byleave.core.keys import replace_file

FOLDER = "redactor"
CLOCK_MS_MAX = 300_000
"""How far the clock of whoever proposed it may be ahead of this one."""


def read(folder: Path, root: Root, site: str, now_ms: int, *, pin: bool = False) -> LevelPolicy | None:
    """The policy in force, None if none was ever signed here. `pin`: no older one counts any more. Raises Refused, Forged."""
    if not (folder / "policy.dsse").exists():
        if (folder / "policy.pin").exists():
            raise Refused(
                "a signed level policy was in force here and its file is gone: submit it again", reason="policy-missing"
            )
        return None
    found, name = _judged(folder, _signed(folder), root, site, now_ms)
    if pin:
        replace_file(folder / "policy.pin", f"{found.version} {name}\n".encode())
    return found


def install(folder: Path, signed: bytes, root: Root | None, site: str, now_ms: int) -> None:
    """Puts a policy in force from the redactor's next start on. Raises as `read`: then the file is as it was."""
    if root is None:
        raise Refused("no root is trusted here yet", reason="no-root")
    _judged(folder, signed, root, site, now_ms)
    replace_file(folder / "policy.dsse", signed, mode=0o644)


def installed(folder: Path) -> LevelPolicy | None:
    """What the file says, believed by nobody: for the calendar, which must name a policy that is over. Raises Forged."""
    return load(LevelPolicy, load_envelope(_signed(folder)).body) if (folder / "policy.dsse").is_file() else None


def next_version(folder: Path) -> int:
    """One more than that of the newest policy that was in force here. Raises Forged."""
    return _pinned(folder)[0] + 1


def _signed(folder: Path) -> bytes:
    with (folder / "policy.dsse").open("rb") as file:
        return file.read(ENVELOPE_BYTES_MAX + 1)


def _judged(folder: Path, signed: bytes, root: Root, site: str, now_ms: int) -> tuple[LevelPolicy, str]:
    found, name = trust.verify(root, "manifest", LevelPolicy, signed, site=site)
    version, pinned = _pinned(folder)
    if found.version < version or (found.version == version and name != pinned):
        raise Refused(f"level policy {found.version} is not the one that was in force here, {version}", reason="rolled-back")
    if not found.issued_ms - CLOCK_MS_MAX <= now_ms < min(found.expires_ms, root.expires_ms):
        raise Refused(f"level policy {found.version} or its root is not valid now: sign the next", reason="policy-over")
    return found, name


def _pinned(folder: Path) -> tuple[int, str]:
    try:
        version, name = (folder / "policy.pin").read_text(encoding="ascii").split()
        return int(version), name
    except FileNotFoundError:
        return 0, ""
    except ValueError:
        raise Forged(f"{folder / 'policy.pin'} is not whole: ask which policy was in force", reason="malformed") from None
