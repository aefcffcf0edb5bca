"""What the signed control documents add up to: the one view that agent, beacon, fence, sink and board share (P1, P2).

Pure: bytes in, answers out. Nothing is believed before `trust.verify`; what is refused leaves the view as it was.

Promises  the highest epoch wins, not the last record; an epoch never goes back below the floor; each state follows the one
          before it by digest; orders to stop only ever add up, until a state names them as lifted; the newest consent counts.
Refuses   rollback, replay, gaps, tombstones, foreign sites. Two different states of one epoch: nobody may capture until the
          next epoch settles it.

What the view does not know counts against capture: an order named by a beacon but not read yet stops everybody.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from byleave.control import promised, trust
from byleave.control.concerns import CONCERNS_MAX, Answer, Concern, in_form
from byleave.control.documents import (
    CANARY,
    Ack,
    Asked,
    Beacon,
    Consent,
    Document,
    Enrolment,
    Grant,
    Halt,
    Issued,
    Manifest,
    Rehearsal,
    Request,
    Revocation,
    Root,
    Run,
    Scope,
    State,
    Window,
    load,
)
from byleave.control.halts import DRILL_MS, Orders, covers
from byleave.core import dsse
from byleave.core.errors import Broken, Forged, Refused
from byleave.core.keys import recipient, verify_key
from byleave.core.topics import PSEUDONYM

STATE_MS_MAX = 30 * 86_400_000
"""A state lives at most 30 days and never longer than its manifest (ruling 4)."""
WINDOWS_MAX = 64
YEAR_MS = 366 * 86_400_000
EARLY_MAX = 1_000
"""Consents that arrived before the enrolment they belong to; topics are not read in step."""


class Knowledge(Orders):
    """The fold of all verified control documents of one site. Grows with `learn`; never reads a clock."""

    def __init__(self, root: Root, site: str, epoch_floor: int = 0) -> None:
        if root.site != site:
            raise Forged(f"a root of another site than {site}", reason="wrong-site")
        self._begin(root, site, epoch_floor)

    def restart(self, root: Root | None = None) -> None:
        """Forgets everything but the epoch floor: under a next root, or where a control topic is not the one it was.

        What was permitted is permitted again only if it is read again.
        """
        self._begin(root or self.root, self.site, self.epoch_floor)

    def _begin(self, root: Root, site: str, epoch_floor: int) -> None:
        super().__init__(site)
        self.root = root
        self.state: State | None = None
        self.state_digest = ""
        self.conflict = False
        self._floor = epoch_floor
        self._heads: set[str] = set()
        self._digests: dict[str, int] = {}
        self._windows: dict[int, Window] = {}
        self._begun: dict[int, int] = {}
        self._rehearsals: dict[str, int] = {}
        self.rehearsals: Mapping[str, int] = MappingProxyType(self._rehearsals)
        """When each officer's key, by its hex, last proved that it works: by rehearsal."""
        self._manifests: dict[str, Manifest] = {}
        self.manifests: Mapping[str, Manifest] = MappingProxyType(self._manifests)
        """By digest."""
        self._consents: dict[str, Consent] = {}
        self.consents: Mapping[str, Consent] = MappingProxyType(self._consents)
        """The newest word of each subject: a yes to one manifest, or its withdrawal."""
        self.concerns: dict[str, int] = {}
        """Each concern by its name, with its hour, in the order in which they came."""
        self.answers: dict[str, Answer] = {}
        """By the name of the concern."""
        self._early: dict[str, list[bytes]] = {}
        self._folds: dict[str, Callable[[bytes | None], Any]] = {
            "control.state.v1": self._learn_state, "control.halt.v1": self._learn_halt, "control.beacon.v1": self._learn_beacon,
            "control.manifest.v1": self._learn_manifest, "control.enrolment.v1": self._learn_enrolment,
            "control.consent.v1": self._learn_consent, "control.root.v1": self._learn_root,
            "control.grant.v1": lambda signed: self._verify("beacon", Grant, signed)[0],
            "control.certificate.v1": lambda signed: self._verify("enrol", Issued, signed)[0],
            "control.request.v1": partial(self._by_endpoint, Request), "control.ack.v1": partial(self._by_endpoint, Ack),
            "control.ask.v1": self._learn_asked,
            "control.rehearsal.v1": self._learn_rehearsal,
            "control.concern.v1": self._learn_concern, "control.answer.v1": self._learn_answer,
        }  # fmt: skip

    def learn(self, topic: str, unverified: bytes | None) -> Any:
        """Verifies a record of `topic` (named without site) and folds it in.

        Returns the document; None for a consent that is kept until its enrolment is read. Raises Forged, Refused
        (`rolled-back`, `replayed`, `unknown-endpoint`), and Broken (`conflict`) for a second state of one epoch.
        """
        if topic not in self._folds:
            raise Refused(f"{topic} holds no control documents", reason="wrong-topic")
        return self._folds[topic](unverified)

    @property
    def epoch_floor(self) -> int:
        """No state below this is believed. An agent writes it to disk before it uses a state: a floor, never a permission."""
        return max(self._floor, self.state.epoch if self.state else 0)

    def vouched(self, beacon: Beacon) -> bool:
        """Whether the state that a beacon vouches for has been read: until then the orders it lifted are not known."""
        return self._digests.get(beacon.state) == beacon.epoch

    def window(self, epoch: int) -> Window | None:
        """What was allowed in an epoch; None if it is not known or not kept any more."""
        return self._windows.get(epoch)

    def run_of(self, endpoint: str, epoch: int) -> Run | None:
        """The leave that covers an endpoint in an epoch, if any."""
        window, enrolment = self._windows.get(epoch), self._enrolments.get(endpoint)
        return next((r for r in (window.run if window else ()) if covers(r.scope, self.site, endpoint, enrolment)), None)

    def leave(self, endpoint: str, service_ms: int) -> Run | None:
        """The leave in force for an endpoint at a time of the beacon service: state, manifest and root valid then, no conflict.

        Halts, consent and lease are further conditions, not this one.
        """
        state = self.state
        if state is None or self.conflict or service_ms >= min(state.expires_ms, self.root.expires_ms):
            return None
        run = self.run_of(endpoint, state.epoch)
        manifest = self._manifests.get(run.manifest) if run else None
        return run if manifest is not None and service_ms < manifest.expires_ms else None

    def consented(self, endpoint: str, manifest: str) -> bool:
        """Whether the newest word of the endpoint's person is yes to exactly this manifest (P1)."""
        enrolment = self._enrolments.get(endpoint)
        consent = self._consents.get(enrolment.subject) if enrolment else None
        return consent is not None and consent.given and consent.manifest == manifest

    def begun_ms(self, epoch: int) -> int:
        """Before this, nothing of an epoch can have been captured: its first beacon if that was heard, else what states say."""
        window = self._windows.get(epoch)
        return self._begun.get(epoch, window.start_ms if window else 0)

    def _verify(self, role: str, kind: type[Document], unverified: bytes | None) -> tuple[Document, str]:
        return trust.verify(self.root, role, kind, unverified, site=self.site)

    def _learn_state(self, unverified: bytes | None) -> State:
        state, found = self._verify("resume", State, unverified)
        if self._digests.get(found) == state.epoch:
            return state
        if state.epoch < self.epoch_floor:
            raise Refused(f"state of epoch {state.epoch}, {self.epoch_floor} is known already", reason="rolled-back")
        if self.state is not None and state.epoch == self.state.epoch:
            self._heads.add(found)
            self.conflict, self.state_digest = True, found  # compaction keeps the one that came last: the next must name that
            raise Broken(f"two different states of epoch {state.epoch}: nobody may capture", reason="conflict")
        if self.state is not None and (state.epoch != self.state.epoch + 1 or state.prev not in self._heads):
            raise Forged(f"state of epoch {state.epoch} does not follow that of {self.state.epoch}", reason="broken-chain")
        self._check_state(state)
        self.state, self.state_digest, self.conflict = state, found, False
        self._heads = {found}
        self._digests[found] = state.epoch
        self._fold_state(state)
        return state

    def _check_state(self, state: State) -> None:
        if state.expires_ms - state.issued_ms > STATE_MS_MAX:
            raise Refused("a state that lives for more than 30 days", reason="too-long")
        if state.root_version != self.root.version:
            raise Forged(f"a state under root {state.root_version}, this is {self.root.version}", reason="wrong-root")
        if any(w.epoch >= state.epoch for w in state.earlier) or any(lift.epoch > state.epoch for lift in state.lifted):
            raise Forged("a state that speaks of epochs after its own", reason="malformed")

    def _fold_state(self, state: State) -> None:
        for window in (*state.earlier, Window(state.epoch, state.expires_ms, state.run, state.issued_ms)):
            self._windows.setdefault(window.epoch, window)
        for epoch in sorted(self._windows)[:-WINDOWS_MAX]:
            del self._windows[epoch]
            self._begun.pop(epoch, None)
        self._digests = {name: epoch for name, epoch in self._digests.items() if epoch in self._windows}
        self._fold_lifts(state.lifted)

    def _learn_halt(self, unverified: bytes | None) -> Halt:
        drill = joint = False
        try:
            halt, found = self._verify("halt", Halt, unverified)
        except Forged as error:
            if error.reason != "bad-signature" or all(role.name != "drill" for role in self.root.roles):
                raise
            halt, found = self._verify_drill(unverified)
            drill = True
        if halt.discard_since_ms:
            with contextlib.suppress(Forged):
                self._verify("resume", Halt, unverified)
                joint = True
        self._fold_halt(found, halt, drill=drill, joint=joint)
        return halt

    def _verify_drill(self, unverified: bytes | None) -> tuple[Halt, str]:
        """An order of the drill key: about the canary's capture, or nothing (ruling 8)."""
        halt, found = self._verify("drill", Halt, unverified)
        if (halt.scope, halt.what, halt.discard_since_ms) != (Scope("endpoint", CANARY), "capture", 0):
            raise Refused("the drill key may halt the canary's capture, and nothing else", reason="drill-scope")
        if halt.valid_for_ms > DRILL_MS:
            raise Refused("a drill is accepted at once or not at all", reason="drill-scope")
        return halt, found

    def _learn_root(self, unverified: bytes | None) -> Root | None:
        """The next root; None for those that lie behind. It is the caller's to keep it and to `restart` under it."""
        claimed = trust.load_root(unverified, self.site)
        if claimed.version > self.root.version:
            return trust.load_next(self.root, unverified, self.site)
        if claimed.version == self.root.version and claimed != self.root:
            raise Forged(f"two different roots of version {claimed.version}", reason="conflict")
        return None

    def _learn_rehearsal(self, unverified: bytes | None) -> Rehearsal:
        named = load(Rehearsal, dsse.load_envelope(unverified).body).key  # only to find who must have signed it
        if not any(named in role.keys for role in self.root.roles):
            raise Refused("a rehearsal of a key that the root does not name", reason="unknown-key")
        rehearsal, _ = trust.verify_by(verify_key(named), Rehearsal, unverified, site=self.site)
        self._rehearsals[named] = max(rehearsal.at_ms, self._rehearsals.get(named, 0))
        return rehearsal

    def _learn_beacon(self, unverified: bytes | None) -> Beacon:
        beacon, _ = self._verify("beacon", Beacon, unverified)
        last = self.beacon
        if last is not None and beacon.service_ms <= last.service_ms:
            raise Refused("a beacon that is not newer than the last", reason="replayed")
        if beacon.epoch < max(self._floor, last.epoch if last else 0):
            raise Refused(f"a beacon of epoch {beacon.epoch}, which is over", reason="rolled-back")
        if last is not None and beacon.epoch > last.epoch:
            self._begun[beacon.epoch] = beacon.service_ms
        self._fold_times(beacon, vouched=self.vouched(beacon))
        return beacon

    def _learn_manifest(self, unverified: bytes | None) -> Manifest:
        manifest, found = self._verify("manifest", Manifest, unverified)
        if not promised.complete(manifest):
            raise Refused("a manifest without its assessment or the less intrusive means", reason="incomplete")
        self._manifests[found] = manifest
        return manifest

    def _learn_enrolment(self, unverified: bytes | None) -> Enrolment | Revocation:
        if dsse.load_envelope(unverified).payload_type == Revocation.TYPE:
            revocation, _ = self._verify("enrol", Revocation, unverified)
            known_ms = self._revoked.get(revocation.endpoint, revocation.at_ms)
            self._revoked[revocation.endpoint] = min(known_ms, revocation.at_ms)
            return revocation
        enrolment, _ = self._verify("enrol", Enrolment, unverified)
        for key in (enrolment.key, enrolment.person_key):
            verify_key(key)
        if enrolment.receipt_key:
            recipient(enrolment.receipt_key)
        known = self._enrolments.get(enrolment.endpoint)
        if known is not None and known != enrolment and enrolment.until_ms <= known.until_ms:
            raise Refused(f"an enrolment of {enrolment.endpoint} that was replaced already", reason="rolled-back")
        if enrolment.until_ms > self.root.expires_ms + YEAR_MS or not PSEUDONYM.fullmatch(enrolment.endpoint):
            raise Forged("an enrolment without end, or of what is no endpoint's name", reason="malformed")
        self._fold_enrolment(enrolment, self.epoch_floor)
        if known is not None and known.person_key != enrolment.person_key:
            self._consents.pop(known.subject, None)  # signed by a key that is the person's no more
        for early in self._early.pop(enrolment.subject, ()):
            with contextlib.suppress(Forged, Refused):  # what is forged or replaced counts for nothing, as in any other order
                self._learn_consent(early)
        return enrolment

    def _learn_consent(self, unverified: bytes | None) -> Consent | None:
        subject = load(Consent, dsse.load_envelope(unverified).body).subject  # only to find the key that must have signed it
        key = next((e.person_key for e in self._enrolments.values() if e.subject == subject), None)
        if key is None:
            if unverified is None or sum(map(len, self._early.values())) >= EARLY_MAX:
                self._early.pop(subject, None)  # half of what a person said may end in a yes that was taken back
                raise Refused("too many consents of people who are not enrolled", reason="unknown-subject")
            self._early.setdefault(subject, []).append(unverified)
            return None
        consent, _ = trust.verify_by(verify_key(key), Consent, unverified, site=self.site)
        known = self._consents.get(subject)
        if known is not None and known != consent and (consent.at_ms, not consent.given) <= (known.at_ms, not known.given):
            raise Refused("a consent that its person replaced already", reason="rolled-back")
        self._consents[subject] = consent
        return consent

    def _learn_concern(self, unverified: bytes | None) -> Concern:
        claimed = load(Concern, dsse.load_envelope(unverified).body)  # only to find the key that it says was made for it
        concern, found = trust.verify_by(verify_key(claimed.key), Concern, unverified, site=self.site)
        if found in self.concerns or len(self.concerns) >= CONCERNS_MAX:
            raise Refused("a concern that was read already, or one too many", reason="replayed")
        if not in_form(concern):
            raise Forged("a concern of another form than ours", reason="malformed")
        self.concerns[found] = concern.at_ms
        return concern

    def _learn_answer(self, unverified: bytes | None) -> Answer:
        answer, _ = self._verify("halt", Answer, unverified)
        self.answers[answer.concern] = answer
        return answer

    def _learn_asked(self, unverified: bytes | None) -> Asked | Consent | None:
        """Where a device has no other way to the enroller, its person's word goes this one, too. It counts here at once."""
        if dsse.load_envelope(unverified).payload_type == Consent.TYPE:
            return self._learn_consent(unverified)
        return self._by_endpoint(Asked, unverified)

    def _by_endpoint(self, kind: type[Document], unverified: bytes | None) -> Document:
        claimed = getattr(load(kind, dsse.load_envelope(unverified).body), "endpoint", "")
        enrolment = self._enrolments.get(claimed)
        if enrolment is None:
            raise Refused(f"a {kind.__name__} of an endpoint that is not enrolled", reason="unknown-endpoint")
        return trust.verify_by(verify_key(enrolment.key), kind, unverified, site=self.site)[0]
