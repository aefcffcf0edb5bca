"""The whole way, once, on this machine: what `byleave demo` runs and the end-to-end test checks.

Every step goes through the product's own commands and processes: an embedded Apache Kafka with mutual TLS and ACLs, the
roles as processes of their own, the halt as an officer would give it, the read as a reader would ask for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from byleave.control import bootstrap, desk
from byleave.control.late import late_batch
from byleave.core import clock, codec
from byleave.core.broker import Received
from byleave.core.errors import Broken, Misconfigured, Refused, Transient
from byleave.core.kafka import KafkaTail
from byleave.core.keys import read_signing_key, replace_file
from byleave.core.settings import Installation, load_installation
from byleave.core.topics import load_catalogue
from byleave.deploy import broker, pki, process, provision
from byleave.producers.hooks import canary
from byleave.sinks.lake import LocalLake
from demo import desktop
from demo.facts import Facts, Sample
from demo.fleet import Fleet
from demo.sweep import Sweep, sweep

MARKER = ".byleave-demo"
WRITERS = {"security": ("control.state.v1",), "enrol": ("control.manifest.v1", "control.enrolment.v1")}
SETTLE_S_MAX = 30.0
COMMAND_S_MAX = 60.0
PURPOSE = "train-assistant"
MANIFEST_APPLICATIONS = ("xterm", "editor", "terminal", "explorer", "shellexperiencehost", "applicationframehost",
                         "recording:ducktrack-macos")  # fmt: skip
NAMES = DESK, REPLAY, CANARY = "ep-desk", "ep-replay", "ep-canary"
DISPOSITIONS = ("kept", "reviewed", "level4", "dropped", "withheld", "held")
LIVE_TEXT = (
    "please send the notes to maria.keller@example.com\n"
    "call me at 415-555-0132 if the build fails\n"
    "password is Kestrel-hunter2\n"
    "thanks for the quick review\n"
    "git status\n"  # what the hold around a focus still has when the halt comes is lost with it
)
LIVE_SEED = 9
"""Of the typist: slips and corrections, none of them across an enter, so that the table reads well."""
CANARY_SEED = 7
LIVE_SECRETS = ("maria.keller@example.com", "415-555-0132", "Kestrel-hunter2")
AFTER_TEXT = "nobody may ever read this line typed after the halt\n"
AFTER_SECRETS = ("typed after the halt",)


class Rehearsal:
    """One run in a state folder of its own. Use as a context manager: what was started is stopped, unless `keep`."""

    def __init__(self, home: Path, *, keep: bool = False, live_screen: bool = False) -> None:
        self.home, self.keep, self.facts = home, keep, Facts()
        self._live_screen = live_screen
        self._began = time.monotonic()
        prepare_home(home)
        self._environment = {"BYLEAVE_HOME": str(home)}
        self.installation: Installation
        self.fleet = Fleet(home, self._environment)
        self._desktop: desktop.Desktop | None = None
        self._typists: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Rehearsal:
        return self

    def __exit__(self, *_: object) -> None:
        for typist in self._typists:
            typist.kill()
            typist.wait(timeout=5)
        if self._desktop is not None and not self.keep:
            self._desktop.close()
        if not self.keep:
            self.fleet.stop_all()
            broker.stop(self.home)

    # -- the steps, in order ----------------------------------------------------------------------------------------------

    def open_site(self) -> float:
        """Broker, certificates, topics, ACLs, keys and control documents. Gives the seconds until Kafka was ready."""
        pki.ensure_pki(self.home, NAMES)
        client, controller, keyring = broker.free_ports(3)
        running = broker.start(self.home, broker.Ports(client, controller))
        replace_file(self.home / "keyring" / "address.txt", f"127.0.0.1:{keyring}\n".encode())
        self.installation = at = load_installation(self._environment)
        people = [(DESK, "subject-1", "team-a"), (REPLAY, "subject-2", "team-a"), (CANARY, "subject-3", "team-b")]
        bootstrap.dev_site(self.home, at.site, people, clock.wall_ms(), os.urandom, applications=MANIFEST_APPLICATIONS)
        provision.apply(at.kafka("admin"), at.site, load_catalogue(), NAMES)
        documents = bootstrap.documents_to_publish(self.home)
        for principal, topics in WRITERS.items():
            desk.publish(at, principal, [document for document in documents if document[0] in topics])
        return running.ready_s

    def consent(self) -> list[str]:
        """Each person is shown the manifest and signs. Gives the manifest in plain words, as the first of them saw it."""
        shown = [self.command("me", "consent", "--endpoint", name, "--yes") for name in NAMES]
        return shown[0].stdout.splitlines()

    def start_roles(self) -> None:
        """Keyring, beacon, redactor and sink, each a process."""
        for role in ("keyring", "beacon"):
            self.fleet.launch(role, role)
        self.fleet.await_ready("keyring", "beacon")
        self.fleet.launch("redactor", "redactor")
        self.fleet.launch("sink", "sink", ["--commit-s", "2"])
        self.fleet.await_ready("redactor", "sink")

    def start_endpoints(self) -> str:
        """Three agents; the first captures a real screen where there can be one. Gives a sentence on what it captures."""
        environment, source, said = self._screen()
        self.facts.live = said
        self.fleet.launch(DESK, "agent", ["--endpoint", DESK, "--source", source], environment)
        self.fleet.launch(REPLAY, "agent", ["--endpoint", REPLAY, "--source", recordings(), "--speed", "2"])
        self.fleet.launch(CANARY, "agent", ["--endpoint", CANARY, "--source", f"canary:{CANARY_SEED}", "--speed", "2"])
        self.fleet.await_ready(*NAMES)
        await_true(lambda: all(r.get("capturing") and r["captured"] for r in self.reports()), 20.0, "all endpoints capture")
        return said

    def type_work(self) -> None:
        """The typist begins on the demo's own screen; on a person's own screen nothing is typed for them."""
        if self._desktop is not None:
            self._typists.append(self._desktop.start_typing(desktop.script_of(LIVE_TEXT, seed=LIVE_SEED, speed=0.5)))

    def typing(self) -> bool:
        return any(typist.poll() is None for typist in self._typists)

    def halt(self) -> dict[str, Any]:
        """An officer halts everything while all three still have something to capture; waits for the proofs."""
        if self._desktop is not None:  # a person does not stop typing because of a halt
            self._typists.append(self._desktop.start_typing(desktop.script_of(AFTER_TEXT * 3, seed=4, speed=0.5)))
            await_true(self.typing, 5.0, "the typist types")
        ordered_ms = clock.boot_ms()
        answer = self.command("halt", "--reason", "demonstration", "--wait", "--json")
        said: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
        board: dict[str, Any] = said["board"]
        await_true(lambda: all(report.get("halt") for report in self.reports()), 5.0, "the endpoints' reports")
        reports, facts = self.reports(), self.facts
        reaped = [r["halt"] for r in reports if (r.get("halt") or {}).get("reaped_boot_ms")]
        facts.halt_ms = [float(halt["reaped_boot_ms"] - halt["order_seen_boot_ms"]) for halt in reaped]
        facts.stopped, facts.unknown, facts.brake = int(board["acked"]), int(board["unknown"]), str(said["brake"])
        board["order_to_last_reaped_ms"] = max((int(halt["reaped_boot_ms"]) - ordered_ms for halt in reaped), default=None)
        facts.require(facts.stopped == facts.endpoints, "P2: not every endpoint proved that it stopped")
        facts.require(not any(r.get("capturing") for r in reports), "P2: an endpoint says that it still captures")
        return board

    def offer_late(self) -> None:
        """A batch captured after the halt: once to the broker, which denies it, and once past the broker by the super user."""
        facts, before = self.facts, len(self._refusals())
        record = ("raw.events.v1", DESK.encode(), self._late_batch())
        for principal in (DESK, "admin"):
            facts.late_offered += 1
            try:
                desk.publish(self.installation, principal, [record])
            except Refused:
                facts.late_denied += principal == DESK
        await_true(lambda: len(self._refusals()) > before, SETTLE_S_MAX, "the fence decides on the late batch")
        facts.late_refused = sum(row["reason"] == "halted" for row in self._refusals()[before:])
        facts.late_admitted = facts.late_offered - facts.late_denied - facts.late_refused
        facts.require(facts.late_denied == 1, "P2: the broker took a late batch from an endpoint")
        facts.refused = len(self._refusals())
        facts.require(facts.late_admitted == 0, "P2: a batch captured after the halt was admitted")
        facts.require(self.redacted_so_far() == facts.admitted, "P2: something was admitted after the halt")

    def settle(self) -> None:
        """Waits until every delivered event is accounted for and the lake has caught up, then takes stock."""
        await_true(self._accounted, SETTLE_S_MAX, "every delivered event is accounted for")
        await_true(self._in_the_lake, SETTLE_S_MAX, "the lake has every row that was written for it")
        facts, accounts, reports = self.facts, self._accounts(), self.reports()

        def total(rows: Iterable[Mapping[str, Any]], name: str) -> int:
            return sum(int(row.get(name, 0)) for row in rows)

        facts.captured, facts.gaps = total(reports, "captured"), total(reports, "gaps")
        facts.discarded, facts.uncertain = total(reports, "discarded"), total(reports, "uncertain")
        facts.dispositions = {name: total(accounts, name) for name in DISPOSITIONS}
        facts.admitted, facts.refused_events = total(accounts, "admitted"), total(accounts, "refused")
        facts.sanitized_events, facts.actions = total(accounts, "event_rows"), total(accounts, "action_rows")
        facts.review_rows = total(accounts, "review_rows")
        facts.redactions = dict(sum((Counter(row["labels"]) for row in accounts), Counter[str]()))
        unaccounted = facts.captured - facts.gaps - facts.discarded - facts.admitted - facts.refused_events
        balanced = facts.admitted == sum(facts.dispositions.values())
        facts.lost += abs(unaccounted)
        facts.require(unaccounted == 0, f"P8: {unaccounted} captured events are not accounted for")
        facts.require(balanced, "P8: the dispositions do not add up to what was admitted")
        held_back = facts.dispositions["dropped"] + facts.dispositions["held"]
        facts.require(held_back <= max(1, facts.admitted // 100), "P8: more than one per cent was dropped at the hold")

    def read_back(self) -> list[Sample]:
        """A reader of the ML team reads both tables for the agreed purpose, and is refused for another."""
        facts, samples = self.facts, list[Sample]()
        keys: set[tuple[str, ...]] = set()
        for table in ("events", "actions"):
            answer = self.command("lake", "read", "--table", table, "--purpose", PURPOSE, "--format", "jsonl")
            for line in answer.stdout.splitlines():
                row = json.loads(line)
                facts.lake_rows += 1
                keys.add((table, row["endpoint"], row["session"], str(row["level"]), str(row["row"])))
                if table == "actions" and row["text"]:
                    samples.append(Sample(row["endpoint"], row["app"], row["kind"], row["text"]))
        written = facts.sanitized_events + facts.actions
        facts.duplicated += facts.lake_rows - len(keys)
        facts.lost += max(0, written - len(keys))
        facts.require(len(keys) == written, f"P8: {written} rows were written for the lake, {len(keys)} are in it")
        facts.require(facts.duplicated == 0, "P8: a row is in the lake twice")
        refused = self.command("lake", "read", "--purpose", "curiosity", check=False)
        facts.read_refused = int(refused.returncode == 1 and not refused.stdout)
        facts.require(facts.read_refused == 1, "P6: a read for a purpose that the manifest does not name was not refused")
        looks = json.loads(self.command("who-read", "--json").stdout)
        facts.ledger_entries = int(looks["count"])
        facts.require(facts.ledger_entries >= 3, "P6: a look is not on record")
        self.command("ledger", "verify")
        return samples

    def search(self, samples: Sequence[Sample]) -> Sweep:
        """Searches broker segments, spools, state, lake, keyring, ledger and logs, and what was read, for every secret."""
        typed = LIVE_SECRETS + AFTER_SECRETS if self._desktop is not None else ()
        planted = [*(canary.planted(CANARY_SEED) if self.canary_done() else ()), *typed]
        found = sweep([self.home], planted)
        texts = "\n".join(sample.text for sample in samples).lower()
        facts = self.facts
        facts.screen_events = int(self.report(DESK).get("captured", 0))
        facts.canaries_planted = len(planted)
        facts.canaries_found = sum(secret.lower() in texts for secret in planted)
        facts.swept_files, facts.swept_bytes, facts.plaintext_hits = found.files, found.bytes, len(found.hits)
        files = list((self.home / "lake").rglob("*.parquet"))
        facts.lake_files, facts.lake_files_encrypted = len(files), sum(_encrypted(file) for file in files)
        sealed = facts.lake_files == facts.lake_files_encrypted > 0
        facts.require(sealed, "P4: a file of the lake does not say that it is encrypted")
        facts.require(self.canary_done(), "the canary did not come to its end: its secrets were not all typed")
        facts.require(facts.canaries_found == 0, "P5: a planted secret came out of the lake")
        facts.require(facts.plaintext_hits == 0, "P4: a planted secret lies in the clear in " + _places(found, self.home))
        facts.seconds = round(time.monotonic() - self._began, 1)
        return found

    # -- what the steps stand on ------------------------------------------------------------------------------------------

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command of the product, as a person would give it. Raises Broken with its sentence if it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "byleave.deploy.cli", *arguments],
            capture_output=True, text=True, check=False, timeout=COMMAND_S_MAX, env={**os.environ, **self._environment},
        )  # fmt: skip
        if check and done.returncode != 0:
            raise Broken(f"byleave {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def report(self, endpoint: str) -> dict[str, Any]:
        """The endpoint's own counts, as it last wrote them."""
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((self.home / "endpoints" / endpoint / "report.json").read_bytes())
            return found
        return {}

    def reports(self) -> list[dict[str, Any]]:
        return [self.report(name) for name in NAMES]

    def delivered(self, endpoint: str) -> bool:
        """Whether the broker has all that the endpoint captured so far."""
        report = self.report(endpoint)
        return bool(report) and report["captured"] == report["delivered_events"] + report["gaps"]

    def canary_done(self) -> bool:
        """Whether the canary has typed all its secrets."""
        return bool(self.report(CANARY).get("exhausted"))

    def redacted_so_far(self) -> int:
        """Events that the redactor has admitted by now."""
        return sum(int(row["admitted"]) for row in self._accounts())

    def _screen(self) -> tuple[dict[str, str], str, str]:
        if self._live_screen:
            return {}, "x11", "this computer's own screen"
        try:
            self._desktop = desktop.open_desktop()
        except (Misconfigured, Transient) as error:
            return {}, "replay:office", f"a recording, for there is no X server ({error})"
        for name, pid in self._desktop.pids():
            process.remember(self.home / "run" / f"{name}.pid", pid)
        said = f"a real X server on {self._desktop.display}: xterm, typed into by xdotool"
        return self._desktop.environment(), "x11", said

    def _late_batch(self) -> bytes:
        """What the halted endpoint would send if it had gone on: its keys are here."""
        knowledge, report = desk.read_all(desk.open_watch(self.installation, "security")).knowledge, self.report(DESK)
        orders = knowledge.orders(DESK, "capture", knowledge.state.epoch) if knowledge.state else []
        times = [order.effective_ms for order in orders if order.effective_ms is not None]
        if not times:
            raise Broken(f"no halt of {DESK} is in force: there is nothing to be late for")
        device, session = read_signing_key(self.home / "endpoints" / DESK / "device.key"), bytes.fromhex(report["session"])
        seq0 = int(report["seq_next"])
        return late_batch(knowledge, DESK, device, min(times), os.urandom, session=session, seq0=seq0, batch=1_000_000)

    def _accounts(self) -> list[Mapping[str, Any]]:
        """The newest account of every session."""
        newest = {record.key: record.value for record in self._records("account.v1")}
        return [codec.decode("account", value) for value in newest.values()]

    def _refusals(self) -> list[Mapping[str, Any]]:
        return [codec.decode("refusal", record.value) for record in self._records("refused.v1")]

    def _records(self, name: str) -> list[Received]:
        """Everything that stands on a topic now, as the security officers may read it."""
        at, found = self.installation, list[Received]()
        with contextlib.closing(KafkaTail(at.kafka("security"), at.topic("security-demo"), [at.topic(name)])) as tail:

            def read() -> bool:
                found.extend(tail.read(0.2))
                return tail.caught_up

            await_true(read, SETTLE_S_MAX, f"the end of {name}", every_s=0.0)
        return found

    def _accounted(self) -> bool:
        delivered = sum(int(report.get("delivered_events", 0)) for report in self.reports())
        accounts = self._accounts()
        decided = all(row["held"] == 0 and row["ended"] for row in accounts)
        return decided and sum(int(row["admitted"]) + int(row["refused"]) for row in accounts) >= delivered

    def _in_the_lake(self) -> bool:
        written = sum(int(row["event_rows"]) + int(row["action_rows"]) for row in self._accounts())
        snapshots = LocalLake(self.home / "lake").history()
        return sum(file.rows for snapshot in snapshots for file in snapshot.added) >= written


def recordings() -> str:
    """What the second endpoint replays: the shipped recording, and real ones where the data folder beside the project is."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "recordings"
    real = [str(folder) for folder in (beside / "opencua-windows", beside / "ducktrack-macos") if folder.is_dir()]
    return ",".join(["replay:office", *real])


def prepare_home(home: Path) -> None:
    """An empty state folder. Raises Misconfigured if something else than an earlier demo lies there."""
    if home.exists() and any(home.iterdir()):
        if not (home / MARKER).exists():
            raise Misconfigured(f"{home} is not empty and not from a demo: name another folder with --home")
        process.end_all(home / "run")
        broker.stop(home)
        shutil.rmtree(home)
    home.mkdir(parents=True, mode=0o700, exist_ok=True)
    (home / MARKER).touch()


def _encrypted(file: Path) -> bool:
    """By its magic bytes: Parquet with an encrypted footer begins and ends with PARE (Parquet Modular Encryption, 5)."""
    content = file.read_bytes()
    return content[:4] == content[-4:] == b"PARE"


def await_true(question: Callable[[], bool], seconds: float, what: str, *, every_s: float = 0.1) -> None:
    """Asks ten times a second. Raises Transient after `seconds`."""
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            raise Transient(f"waited {seconds:.0f} s in vain for this: {what}")
        time.sleep(every_s)


def _places(found: Sweep, home: Path) -> str:
    return ", ".join(sorted({str(hit.file.relative_to(home)) for hit in found.hits})[:5])
