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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from byleave.control import bootstrap
from byleave.control.knowledge import Knowledge
from byleave.core import clock, codec
from byleave.core.broker import Received
from byleave.core.errors import Broken, Misconfigured, Refused, Transient
from byleave.core.kafka import KafkaPublisher, KafkaTail
from byleave.core.settings import Installation, load_installation
from byleave.core.topics import load_catalogue
from byleave.deploy import broker, desktop, pki, process, provision
from byleave.deploy.facts import Facts, Sample
from byleave.deploy.fleet import Fleet, stop_remembered
from byleave.deploy.late import late_batch
from byleave.deploy.sweep import Sweep, sweep
from byleave.producers.hooks import canary
from byleave.sinks.lake import LocalLake

MARKER = ".byleave-demo"
SETTLE_S_MAX = 30.0
COMMAND_S_MAX = 60.0
PURPOSE = "train-assistant"
MANIFEST_APPLICATIONS = ("xterm", "editor", "terminal", "explorer", "shellexperiencehost", "applicationframehost",
                         "recording:ducktrack-macos")  # fmt: skip
DESK, REPLAY, CANARY = "ep-desk", "ep-replay", "ep-canary"
LIVE_TEXT = (
    "please send the notes to maria.keller@example.com\n"
    "call me at 415-555-0132 if the build fails\n"
    "password is Kestrel-hunter2\n"
    "thanks for the quick review\n"
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
        pki.ensure_pki(self.home, (DESK, REPLAY, CANARY))
        client, controller, keyring = broker.free_ports(3)
        running = broker.start(self.home, broker.Ports(client, controller))
        (self.home / "keyring").mkdir(mode=0o700, exist_ok=True)
        (self.home / "keyring" / "address.txt").write_text(f"127.0.0.1:{keyring}\n", encoding="ascii")
        self.installation = load_installation(self._environment)
        people = [(DESK, "subject-1", "team-a"), (REPLAY, "subject-2", "team-a"), (CANARY, "subject-3", "team-b")]
        bootstrap.dev_site(
            self.home, self.installation.site, people, clock.wall_ms(), os.urandom, applications=MANIFEST_APPLICATIONS
        )
        provision.apply(self.installation.kafka("admin"), self.installation.site, load_catalogue(), (DESK, REPLAY, CANARY))
        self._publish_documents()
        return running.ready_s

    def consent(self) -> list[str]:
        """Each person is shown the manifest and signs. Gives the manifest in plain words, as the first of them saw it."""
        shown = [self.command("me", "consent", "--endpoint", name, "--yes") for name in (DESK, REPLAY, CANARY)]
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
        self.fleet.await_ready(DESK, REPLAY, CANARY)
        await_true(
            lambda: all(self.report(name).get("capturing") for name in (DESK, REPLAY, CANARY)), 20.0, "all endpoints capture"
        )
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
        await_true(lambda: all(self.report(name).get("halt") for name in (DESK, REPLAY, CANARY)), 5.0, "the endpoints' reports")
        reports = [self.report(name) for name in (DESK, REPLAY, CANARY)]
        facts = self.facts
        for report in reports:
            halted = report.get("halt") or {}
            if halted.get("reaped_boot_ms"):
                facts.halt_ms.append(float(halted["reaped_boot_ms"] - halted["order_seen_boot_ms"]))
        facts.stopped = int(board["acked"])
        facts.unknown = int(board["unknown"])
        facts.brake = str(said["brake"])
        board["order_to_last_reaped_ms"] = max(
            (int(r["halt"]["reaped_boot_ms"]) - ordered_ms for r in reports if r.get("halt")), default=None
        )
        facts.require(facts.stopped == facts.endpoints, "P2: not every endpoint proved that it stopped")
        facts.require(not any(r.get("capturing") for r in reports), "P2: an endpoint says that it still captures")
        return board

    def offer_late(self) -> None:
        """A batch captured after the halt: once to the broker, which denies it, and once past the broker by the super user."""
        report, topic, facts = self.report(DESK), self.installation.topic("raw.events.v1"), self.facts
        key, session = DESK.encode(), bytes.fromhex(report["session"])
        value = late_batch(self.home, DESK, self._knowledge(), session, int(report["seq_next"]), batch=1_000_000)
        before = len(self._refusals())
        for principal in (DESK, "admin"):
            facts.late_offered += 1
            accepted = self._offer(principal, topic, key, value)
            if principal == DESK and not accepted:
                facts.late_denied += 1
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
        facts, accounts = self.facts, self._accounts()
        reports = [self.report(name) for name in (DESK, REPLAY, CANARY)]
        for name in ("captured", "gaps", "discarded", "uncertain"):
            setattr(facts, name, sum(int(report.get(name, 0)) for report in reports))
        for name in ("kept", "reviewed", "level4", "dropped", "withheld", "held"):
            facts.dispositions[name] = sum(int(row[name]) for row in accounts)
        facts.admitted = sum(int(row["admitted"]) for row in accounts)
        facts.sanitized_events = sum(int(row["event_rows"]) for row in accounts)
        facts.actions = sum(int(row["action_rows"]) for row in accounts)
        facts.review_rows = sum(int(row["review_rows"]) for row in accounts)
        for row in accounts:
            for label, count in row["labels"].items():
                facts.redactions[label] = facts.redactions.get(label, 0) + int(count)
        facts.refused_events = sum(int(row["refused"]) for row in accounts)
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
            return {}, "pynput", "this computer's own screen"
        try:
            self._desktop = desktop.open_desktop()
        except (Misconfigured, Transient) as error:
            return {}, "replay:office", f"a recording, for there is no X server ({error})"
        for name, pid in self._desktop.pids():
            process.remember(self.home / "run" / f"{name}.pid", pid)
        return (
            self._desktop.environment(),
            "pynput",
            f"a real X server on {self._desktop.display}: xterm, typed into by xdotool",
        )

    def _publish_documents(self) -> None:
        for principal, topics in (
            ("security", ("control.state.v1",)),
            ("enrol", ("control.manifest.v1", "control.enrolment.v1")),
        ):
            publisher = KafkaPublisher(self.installation.kafka(principal))
            for topic, key, value in bootstrap.documents_to_publish(self.home):
                if topic in topics:
                    publisher.publish(self.installation.topic(topic), key, value)
            if not publisher.flush(10.0):
                raise Transient("the control documents were not taken by the broker in 10 s")
            publisher.close()

    def _offer(self, principal: str, topic: str, key: bytes, value: bytes) -> bool:
        """Whether the broker took the record from this principal."""
        answers: list[bool] = []
        publisher = KafkaPublisher(self.installation.kafka(principal))
        try:
            publisher.publish(topic, key, value, answers.append)
            publisher.flush(10.0)
        except Refused:
            return False
        finally:
            publisher.close()
        return answers == [True]

    def _knowledge(self) -> Knowledge:
        """All control documents, read anew."""
        root = bootstrap.pinned_root(self.home, self.installation.site)
        knowledge = Knowledge(root, self.installation.site)
        names = ("control.state.v1", "control.halt.v1", "control.manifest.v1", "control.enrolment.v1", "control.beacon.v1")
        for record in self._records("security", *names):
            with contextlib.suppress(Refused):  # beacons that are no longer the newest
                knowledge.learn(record.topic.removeprefix(self.installation.site), record.value)
        return knowledge

    def _accounts(self) -> list[Mapping[str, Any]]:
        """The newest account of every session."""
        newest = {record.key: record.value for record in self._records("security", "account.v1")}
        return [codec.decode("account", value) for value in newest.values()]

    def _refusals(self) -> list[Mapping[str, Any]]:
        return [codec.decode("refusal", record.value) for record in self._records("security", "refused.v1")]

    def _records(self, principal: str, *names: str) -> list[Received]:
        """Everything that stands on these topics now."""
        topics = [self.installation.topic(name) for name in names]
        tail = KafkaTail(self.installation.kafka(principal), f"{self.installation.site}{principal}-demo", topics)
        found: list[Received] = []
        try:
            deadline = time.monotonic() + SETTLE_S_MAX
            while not tail.caught_up:
                if time.monotonic() > deadline:
                    raise Transient(f"{names[0]} could not be read to its end in {SETTLE_S_MAX:.0f} s")
                found += tail.read(0.2)
        finally:
            tail.close()
        return found

    def _accounted(self) -> bool:
        delivered = sum(int(self.report(name).get("delivered_events", 0)) for name in (DESK, REPLAY, CANARY))
        accounts = self._accounts()
        decided = all(row["held"] == 0 and row["ended"] for row in accounts)
        return decided and sum(int(row["admitted"]) + int(row["refused"]) for row in accounts) >= delivered

    def _in_the_lake(self) -> bool:
        written = sum(int(row["event_rows"]) + int(row["action_rows"]) for row in self._accounts())
        snapshots = LocalLake(self.home / "lake").history()
        return sum(file.rows for snapshot in snapshots for file in snapshot.added) >= written


def recordings() -> str:
    """What the second endpoint replays: the shipped recording, and real ones where the data folder beside the project is."""
    beside = Path(__file__).resolve().parents[4] / "shared" / "data" / "recordings"
    real = [str(folder) for folder in (beside / "opencua-windows", beside / "ducktrack-macos") if folder.is_dir()]
    return ",".join(["replay:office", *real])


def prepare_home(home: Path) -> None:
    """An empty state folder. Raises Misconfigured if something else than an earlier demo lies there."""
    if home.exists() and any(home.iterdir()):
        if not (home / MARKER).exists():
            raise Misconfigured(f"{home} is not empty and not from a demo: name another folder with --home")
        stop_remembered(home)
        broker.stop(home)
        shutil.rmtree(home)
    home.mkdir(parents=True, mode=0o700, exist_ok=True)
    (home / MARKER).touch()


def _encrypted(file: Path) -> bool:
    """By its magic bytes: Parquet with an encrypted footer begins and ends with PARE (Parquet Modular Encryption, 5)."""
    content = file.read_bytes()
    return content[:4] == content[-4:] == b"PARE"


def await_true(question: Callable[[], bool], seconds: float, what: str) -> None:
    """Asks ten times a second. Raises Transient after `seconds`."""
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            raise Transient(f"waited {seconds:.0f} s in vain for this: {what}")
        time.sleep(0.1)


def _places(found: Sweep, home: Path) -> str:
    return ", ".join(sorted({str(hit.file.relative_to(home)) for hit in found.hits})[:5])
