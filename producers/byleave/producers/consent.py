"""Edge: the enroller's and the person's signed word in this endpoint's folder: whether anything may be captured here (P1).

enrolment.dsse names the device's key and the person; consent.dsse is what the person signed. Doubt is a no.
"""

from __future__ import annotations

import os
from pathlib import Path

from byleave.control.documents import Enrolment, Root
from byleave.control.knowledge import Knowledge
from byleave.core import metrics
from byleave.core.errors import Forged, Misconfigured, Refused


class ConsentFile:
    """Teaches `knowledge` both, again whenever the file changes or all was forgotten.

    `device`: this device's public key (hex). Raises Misconfigured without an enrolment of this endpoint with that key.
    """

    def __init__(self, folder: Path, knowledge: Knowledge, endpoint: str, device: str) -> None:
        self._path, self._enrolment, self._knowledge = folder / "consent.dsse", folder / "enrolment.dsse", knowledge
        self._root: Root | None = knowledge.root
        self._consent, self._agreed = b"", False
        self._version: tuple[int, int, int] | None = None
        try:
            enrolment = knowledge.learn("control.enrolment.v1", self._enrolment.read_bytes())
        except OSError as error:
            said = f"cannot be read ({type(error).__name__}): enrol this endpoint first"
            raise Misconfigured(f"{self._enrolment} {said}") from None
        if not isinstance(enrolment, Enrolment) or (enrolment.endpoint, enrolment.key) != (endpoint, device):
            said = f"is not the enrolment of {endpoint} with the key in device.key: enrol it again"
            raise Misconfigured(f"{self._enrolment} {said}")

    @property
    def stale(self) -> bool:
        """Whether another root is in force than when it was read: then all was forgotten, this endpoint's enrolment, too."""
        return self._knowledge.root is not self._root

    def forget(self) -> None:
        """Both are read again."""
        self._root = None

    def agreed(self) -> bool:
        """Whether a word of the person lies there, which `knowledge` took: it says whether that is a yes."""
        try:
            self._read()
        except OSError:
            self._agreed, self._consent, self._version = False, b"", None
        except (Forged, Refused) as error:
            self._agreed = False
            metrics.REFUSED.labels("consent", error.reason).inc()
        return self._agreed

    def _read(self) -> None:
        stat = os.stat(self._path)
        version = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if version == self._version and not self.stale:
            return
        unverified = self._path.read_bytes()
        if self.stale:
            self._root, self._consent = self._knowledge.root, b""
            self._knowledge.learn("control.enrolment.v1", self._enrolment.read_bytes())
        if unverified != self._consent:
            self._consent, self._agreed = unverified, False
            self._agreed = self._knowledge.learn("control.consent.v1", unverified) is not None
        self._version = version
