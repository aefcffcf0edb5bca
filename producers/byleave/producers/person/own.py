"""Edge: what this endpoint knows of its person: told in words, given out whole, and erased on their word (P7).

Each says what it does not know or reach, in the same breath. Nothing here asks anybody for permission.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from byleave.control import consenting
from byleave.control.bootstrap import pinned_root
from byleave.control.documents import Consent, Enrolment
from byleave.control.knowledge import Knowledge
from byleave.control.wording import plain_words
from byleave.core.errors import ByleaveError, Transient
from byleave.core.keyring import KeyringClient
from byleave.core.keys import read_signing_key
from byleave.core.settings import Installation
from byleave.producers.inquiries import ask
from byleave.producers.person import pause
from byleave.producers.person.account import account_of, kept_days
from byleave.producers.person.today import DAY, FILE
from byleave.producers.receipts import added
from byleave.producers.spool import Spool

ERASE_S_MAX = 5.0
UNKNOWN = (
    "who read you: each look is in the keyring's ledger (byleave who-read), not on this machine",
    "what stands in the lake: this endpoint can seal, but not open, what it sent",
    "what readers, exports and models that were made of it hold",
)
UNREACHED = (
    "rows without text (times, kinds, applications, places): they stay in the lake until its retention ends",
    "what is on the raw topic: it is sealed to the redactor and ends by itself; of a day that is erased it is refused",
    "what a reader was shown before, and exports and models that were made of it",
    "the redactor's receipts for you, which are numbers, on this machine and sealed on their topic",
    "copies of the keyring's own folder, which must age out within 7 days",
)


def day(folder: Path, which: str = "") -> dict[str, Any]:
    """The account of a day (YYYY-MM-DD; default: today), from the agent or, where none runs, from its file."""
    which = which or time.strftime(DAY)
    with suppress(Transient):
        return ask(folder, {"ask": "today", "day": which})
    return account_of(folder, kept_days(folder), which)


def day_words(report: Mapping[str, Any]) -> Iterator[str]:
    """A day for people. `receipt`: what the redactor's receipts for it come to (`receipts.summary`); None without any."""
    yield f"{report['day']}: {report['captured']:,} events were taken ({_listed(report['counts'])})."
    yield "  Where:          " + ", ".join(f"{app} {minutes:g} min" for app, minutes in report["minutes"].items())
    yield f"  Never recorded: {_listed(report['never'])} (how often you went there; nothing of it was taken)"
    yield f"  Dropped:        around {report['near_focus']} changes of focus; {report['gaps']:,} events were lost, and declared"
    receipt = report.get("receipt")
    if receipt is None:
        yield "  Removed:        no receipt of the redactor has come in for this day yet"
        return
    yield f"  Removed:        {_listed(receipt['removals'])}, before anybody could read it"
    yield f"  Receipts:       {receipt['captured']:,} = {added(receipt)}"
    if receipt["difference"]:
        yield f"  Wrong:          the receipts do not add up, by {receipt['difference']:,} events"
    if report["captured"] != receipt["captured"]:
        yield f"  Difference:     {report['captured'] - receipt['captured']:,} events stand in no receipt (yet)"


def export(at: Installation, endpoint: str, *, recent: bool) -> dict[str, Any]:
    """All that this endpoint knows of its person. `recent`: with the last five minutes as they were typed."""
    folder = at.home / "endpoints" / endpoint
    knowledge = Knowledge(pinned_root(at.home, at.site), at.site)
    enrolment = knowledge.learn("control.enrolment.v1", (folder / "enrolment.dsse").read_bytes())
    consent = None
    with suppress(ByleaveError, OSError):
        consent = knowledge.learn("control.consent.v1", (folder / "consent.dsse").read_bytes())
    found: dict[str, Any] = {
        "endpoint": endpoint, "enrolment": asdict(enrolment) if isinstance(enrolment, Enrolment) else None,
        "consent": asdict(consent) if isinstance(consent, Consent) else None, "paused": pause.stands(folder),
        "days": [day(folder, which) for which in kept_days(folder).known()], "not_known_here": [*UNKNOWN],
    }  # fmt: skip
    with suppress(Transient):
        found["agent"] = ask(folder, {"ask": "status"})
        found["recent"] = ask(folder, {"ask": "show", "last_s": 300})["lines"] if recent else None
    try:
        found["manifest"] = list(plain_words(consenting.read_offer(at, endpoint).manifest))
    except ByleaveError as error:
        found["manifest"], found["manifest_missing"] = [], str(error)
    return found


def export_words(found: Mapping[str, Any]) -> Iterator[str]:
    """An export for people."""
    yield f"Endpoint {found['endpoint']} of {found['enrolment']['subject']}, team {found['enrolment']['team']}."
    consent = found["consent"]
    given = "none" if consent is None else f"{'given to' if consent['given'] else 'withdrawn from'} {consent['manifest'][:12]}"
    yield f"Your consent: {given}. Your pause: {'on' if found['paused'] else 'off'}."
    yield from found["manifest"] or [f"The manifest in force could not be read: {found['manifest_missing']}"]
    for report in found["days"]:
        yield from day_words(report)
    yield from (f"Not known here: {line}" for line in found["not_known_here"])
    yield from found.get("recent") or ()


def erase(at: Installation, endpoint: str) -> dict[str, Any]:
    """Erases what waits here, the last minutes, the account of days, and the keys of all that was ever written of this person.

    `done` and `not_done` say what came of it. A part that cannot be done keeps no other from being done; it does not withdraw.
    """
    folder, done, missed = at.home / "endpoints" / endpoint, list[str](), list[str]()
    was_paused = pause.stands(folder)
    pause.pause(folder)
    try:
        done.append(f"here: {_erase_here(folder):,} events that waited to be sent, the last minutes, the account of days")
    except (ByleaveError, OSError) as error:
        missed.append(f"here: {error if isinstance(error, ByleaveError) else type(error).__name__}")
    if not was_paused:
        pause.lift(folder)
    subject = consenting.enrolment_of(at, endpoint).subject
    try:
        with closing(KeyringClient(at.keyring, at.certificate("enrol"))) as keyring:
            gone = keyring.destroy(subject, None)
        done.append(f"everywhere: {len(gone)} keys; text of yours under them is readable nowhere any more, copies included")
    except ByleaveError as error:
        missed.append(f"the keys of your text ({error}); whoever enrols does it: byleave keys destroy --subject {subject}")
    return {"endpoint": endpoint, "done": done, "not_done": missed, "not_reached": [*UNREACHED]}


def _erase_here(folder: Path) -> int:
    until_s = time.monotonic() + ERASE_S_MAX
    while True:
        try:
            return int(ask(folder, {"ask": "erase"})["events"])
        except Transient as error:
            if error.reason == "no-agent":
                break
            if time.monotonic() > until_s:
                raise
        time.sleep(0.1)
    spool = Spool(folder / "spool", read_signing_key(folder / "device.key"))
    waiting = spool.waiting_events
    spool.drop()
    (folder / FILE).unlink(missing_ok=True)
    return waiting


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())) or "nothing"


def written(found: Mapping[str, Any]) -> str:
    """An export as it is kept: JSON for machines, with line breaks for people."""
    return json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
