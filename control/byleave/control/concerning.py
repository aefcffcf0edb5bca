"""Edge: raising a concern at an endpoint; reading and answering it at the desk (P7). The rules are `concerns`."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import concerns, desk, rollcall, trust
from byleave.control.bootstrap import pinned_root
from byleave.control.concerns import Answer, Concern, Raised
from byleave.control.documents import load
from byleave.control.knowledge import Knowledge
from byleave.core.clock import wall_ms
from byleave.core.dsse import load_envelope
from byleave.core.errors import Forged, Misconfigured, Refused
from byleave.core.keys import KEY_BYTES, public_hex, read_hpke_key, read_signing_key, write_secret
from byleave.core.settings import Installation
from byleave.core.topics import ENDPOINT

PRINCIPAL = "security"


def raise_concern(at: Installation, endpoint: str, text: str) -> dict[str, Any]:
    """Seals and publishes it; keeps here the key of the answer, and nothing of the text.

    Raises Refused (`no-recipient`, `too-many`), Misconfigured, Transient: then it may or may not have arrived.
    """
    folder = at.home / "endpoints" / endpoint
    today = datetime.fromtimestamp(wall_ms() / 1000, UTC).date().isoformat()
    if len(list((folder / "concerns").glob(f"{today}.*.key"))) >= concerns.DAILY_MAX:
        raise Refused(f"{concerns.DAILY_MAX} concerns were raised here today; no more are read", reason="too-many")
    device = read_signing_key(folder / "device.key")
    sealed = concerns.seal(pinned_root(at.home, at.site), endpoint, device, text, wall_ms(), os.urandom)
    write_secret(folder / "concerns" / f"{today}.{sealed.named}.key", sealed.reply)
    desk.publish(at, endpoint, [("control.concern.v1", sealed.key.encode(), sealed.document)])
    return {"endpoint": endpoint, "concern": sealed.named, "day": today}


def raised_here(at: Installation, endpoint: str) -> list[dict[str, Any]]:
    """The concerns of this endpoint, and what was answered. Raises Transient, Refused."""
    answers = desk.read_now(at, endpoint, ENDPOINT, ("control.answer.v1",)).answers
    rows = []
    for path in sorted((at.home / "endpoints" / endpoint / "concerns").glob("*.key")):
        day, named = path.stem.split(".")
        row: dict[str, Any] = {"concern": named, "day": day, "answer": None}
        if named in answers:
            try:
                row["answer"] = concerns.open_answer(answers[named], read_hpke_key(path))
            except Forged as error:
                row["answer"] = f"({error})"
        rows.append(row)
    return rows


class Desk:
    """All concerns of a site as they stand now, in the order in which they came. Raises Transient, Refused."""

    def __init__(self, at: Installation) -> None:
        self._at, self._found = at, dict[str, bytes]()
        with closing(desk.open_watch(at, PRINCIPAL)) as watch:
            self.knowledge: Knowledge = desk.read_all(watch, self._found).knowledge

    def rows(self) -> list[dict[str, Any]]:
        """Number, reference and age of each, and whether it was answered."""
        return rollcall.concerns(self.knowledge, wall_ms(), answered=True)

    def read(self, number: int, name: str) -> Raised:
        """Opens one by a recipient's key that lies here.

        Raises Refused (`unknown-concern`, `too-many`), Forged, Misconfigured.
        """
        key, earlier = read_hpke_key(recipient_path(self._at.home, name)), list[Raised]()
        for named in list(self.knowledge.concerns)[: self._place(number)]:
            with suppress(Forged, Refused):  # of what was forged, nothing counts
                earlier.append(concerns.unseal(self.knowledge.enrolments, self._concern(named), key))
        raised = concerns.unseal(self.knowledge.enrolments, self._concern(self._named(number)), key)
        concerns.within_bound(earlier, raised)
        return raised

    def answer(self, number: int, name: str, text: str, officer: Ed25519PrivateKey) -> dict[str, Any]:
        """Publishes an answer, signed by an officer who may halt. Raises as `read`."""
        raised, named = self.read(number, name), self._named(number)
        signed = trust.sign(concerns.answer(self._at.site, named, raised, text, wall_ms()), [officer])
        trust.verify(self.knowledge.root, "halt", Answer, signed, site=self._at.site)  # a key without the right is told so here
        desk.publish(self._at, PRINCIPAL, [("control.answer.v1", named.encode(), signed)])
        return {"number": number, "concern": named}

    def _place(self, number: int) -> int:
        if not 1 <= number <= len(self.knowledge.concerns):
            raise Refused(f"there is no concern {number}; see 'byleave concern list'", reason="unknown-concern")
        return number - 1

    def _named(self, number: int) -> str:
        return list(self.knowledge.concerns)[self._place(number)]

    def _concern(self, named: str) -> Concern:
        return load(Concern, load_envelope(self._found[named]).body)


def recipient_path(home: Path, name: str) -> Path:
    """Where a recipient's key lies. Raises Misconfigured for what is no name."""
    if not name.replace("-", "").isalnum():
        raise Misconfigured(f"{name[:63]!r} is no recipient's name: letters, digits and '-'")
    return home / "recipients" / f"{name}.key"


def new_recipient(home: Path, name: str) -> str:
    """Makes a recipient's key file here; its public key in hex. Raises Misconfigured if there is one."""
    path = recipient_path(home, name)
    write_secret(path, os.urandom(KEY_BYTES))
    return public_hex(read_hpke_key(path))
