"""Edge: the endpoint's certificate is renewed before it ends, by itself (P3).

At two thirds of its life a new key is made here and its request, signed by the device key, put on a control topic; what the
enroller answers is taken if it is for exactly that key, after a restart, too. The old certificate stays until then: nothing is
ever without one. Nobody is told more often than once an hour, nor while this endpoint says nothing else.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import certificates, trust
from byleave.control.documents import Asked, Issued, digest, dump
from byleave.core import metrics
from byleave.core.errors import Forged, Misconfigured
from byleave.core.keys import read_hpke_key, replace_file

LOOK_MS, ASK_MS = 60_000, 3_600_000
FILE, ASKED_MAX = "asked.json", 24
"""The digests of what was asked last, in the endpoint's folder; an answer to one stands on its topic for a day."""
OLD_MS = 3_600_000
"""So long before the old certificate ends, even what hears the orders has to go on by the new one."""


class Renewal:
    """One endpoint's certificate in `pki`. `say(topic, value)` publishes under this endpoint's key; it does not block."""

    def __init__(
        self, pki: Path, folder: Path, site: str, name: str, key: Ed25519PrivateKey, say: Callable[[str, bytes], None]
    ) -> None:
        self._pki, self._folder, self._site, self._name, self._key, self._say = pki, folder, site, name, key, say
        self._look_ms = self._ask_ms = 0
        self._asked = _asked_before(folder / FILE)
        self.ends_ms = 0
        """When the certificate ends, as of the last look; wall clock."""
        certificates.finish(pki, name)

    def look(self, boot_ms: int, now_ms: int) -> None:
        """Once a minute: asks if it is time. Without a certificate that can be read here, it is somebody else's to renew."""
        if boot_ms < self._look_ms:
            return
        self._look_ms = boot_ms + LOOK_MS
        with contextlib.suppress(OSError, Forged, Misconfigured):
            begins_ms, self.ends_ms = certificates.life((self._pki / f"{self._name}.crt.pem").read_bytes())
            due = now_ms >= begins_ms + (self.ends_ms - begins_ms) * 2 // 3 and (self._folder / "receipt.key").exists()
            if due and boot_ms >= self._ask_ms:
                request = certificates.new_request(certificates.next_key(self._pki, self._name), self._name)
                asked = Asked(self._site, self._name, request, now_ms)
                self._asked, self._ask_ms = [*self._asked[1 - ASKED_MAX :], digest(dump(asked))], boot_ms + ASK_MS
                self._say("control.ask.v1", trust.sign(asked, [self._key]))
                replace_file(self._folder / FILE, json.dumps(self._asked).encode())

    def hear(self, documents: Iterable[Any]) -> bool:
        """Whether a new certificate was put in place: clients that are made from now on use it."""
        return any(self._take(one) for one in documents if isinstance(one, Issued) and one.asked in self._asked)

    def _take(self, issued: Issued) -> bool:
        waiting = certificates.next_key(self._pki, self._name)
        try:
            own, authority = certificates.unseal(issued.sealed, read_hpke_key(self._folder / "receipt.key"), issued.asked)
            certificates.check(own, authority, self._name, waiting)
            certificates.install(self._pki, self._name, own, authority, waiting)
        except (OSError, Forged, Misconfigured) as error:
            metrics.REFUSED.labels("certificate", getattr(error, "reason", "no-room")).inc()
            return False
        self._asked, self._look_ms = [], 0
        (self._folder / FILE).unlink(missing_ok=True)
        return True


def _asked_before(path: Path) -> list[str]:
    """What was asked for and not answered while this agent ran: the answer may have come while it was off."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_bytes())
        return [str(one) for one in found[-ASKED_MAX:]] if isinstance(found, list) else []
    return []
