"""The forgery corpus: every way we know to forge, replay or confuse a control document, in one table (T1, T4, T12, T19).

Each case is refused for the reason in its row, with our errors only, and the view answers afterwards exactly as it did before:
a digest of everything it says, to the gate, the fence, the beacon service and the board, is compared. One view takes the whole
corpus, so what one forgery might have left behind would show in every later case.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import beacon as service
from byleave.control import bootstrap, resume, rollcall, trust
from byleave.control.admission import Claim, decide
from byleave.control.documents import (
    CANARY,
    Ack,
    Beacon,
    Consent,
    Effective,
    Enrolment,
    Grant,
    Halt,
    Lifted,
    Manifest,
    Rehearsal,
    Request,
    Role,
    Root,
    Scope,
    State,
    digest,
    dump,
    load,
)  # fmt: skip
from byleave.control.halts import DRILL_MS
from byleave.control.knowledge import EARLY_MAX, Knowledge
from byleave.control.lease import Permit
from byleave.core import dsse
from byleave.core.dsse import load_envelope
from byleave.core.errors import Broken, ByleaveError, Forged, Refused
from byleave.producers import gate

SITE, NOW_MS, DAY_MS = "test.", 1_800_000_000_000, 86_400_000
ENDPOINTS = (("ep-a", "person-a", "team-1"), ("ep-b", "person-b", "team-2"))
TOPICS: dict[type[Any], str] = {
    kind: f"control.{kind.__name__.lower()}.v1"
    for kind in (State, Halt, Beacon, Manifest, Enrolment, Consent, Request, Ack, Grant)
}
OFFICERS = ("officers/security-1", "officers/privacy-1", "officers/council-1")
SIGNERS: dict[type[Any], tuple[str, ...]] = {
    State: OFFICERS[:2], Halt: OFFICERS[:1], Beacon: ("beacon/beacon",), Manifest: OFFICERS[:2], Grant: ("beacon/beacon",),
    Enrolment: ("officers/enrol-1",), Consent: ("people/person-a/person",), Request: ("endpoints/ep-a/device",),
    Ack: ("endpoints/ep-a/device",),
}  # fmt: skip
"""Who may sign the newest document of each kind, in `Stage.newest`."""
EVERYBODY = (
    *OFFICERS, "officers/root-1", "officers/enrol-1", "beacon/beacon", "redactor/sign", "endpoints/ep-a/device",
    "endpoints/ep-b/device", "people/person-a/person", "people/person-b/person",
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """A site with a past, the view of it, one genuine and still unread document of each kind, and two sites of strangers."""

    site: Any
    view: Knowledge
    history: dict[str, bytes]
    newest: dict[type[Any], Any]
    other: Any
    """Another site with the same names of roles and people."""
    old: Any
    """This site under the keys that an earlier root named."""

    def keys(self, *places: str) -> list[Ed25519PrivateKey]:
        return [self.site.key(place) for place in places]

    def signed(self, document: Any, *places: str) -> bytes:
        return trust.sign(document, self.keys(*(places or SIGNERS[type(document)])))

    def over(self, kind: type[Any], body: bytes) -> bytes:
        """Any body at all, under good signatures: what a careless or bribed signer could be made to sign."""
        return dsse.seal_envelope(kind.TYPE, body, self.keys(*SIGNERS[kind])).dump()


@pytest.fixture(scope="module")
def stage(site: Any, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    strangers = []
    for name, seed in (("other.", 8), (SITE, 9)):
        home = tmp_path_factory.mktemp("strangers")
        root = bootstrap.dev_site(home, name, ENDPOINTS, NOW_MS, random.Random(seed).randbytes, consent=True)
        strangers.append(type(site)(home, root))
    view, history = lived(site)
    state = resume.next_state(view, [view.in_force()[0]], NOW_MS + 9_000)
    manifest = replace(next(iter(view.manifests.values())), title="another", expires_ms=NOW_MS + 50 * DAY_MS)
    newest: dict[type[Any], Any] = {
        State: state,
        Halt: Halt(SITE, Scope("global"), "capture", "more", "drop", NOW_MS + 8_000, 600_000, "03"),
        Beacon: Beacon(SITE, 2, view.state_digest, NOW_MS + 9_000, 9, 10_000, (Effective(view.in_force()[0], NOW_MS + 5_000),)),
        Manifest: manifest,
        Enrolment: replace(view.enrolments["ep-a"], until_ms=NOW_MS + 99 * DAY_MS),
        Consent: replace(view.consents["person-a"], given=False, at_ms=NOW_MS + 9_000),
        Request: Request(SITE, "ep-a", "ee" * 16, 77, "ff" * 32, 1),
        Ack: site.ack("ep-a", view.in_force()[0]),
        Grant: Grant(SITE, "ee" * 16, "dd" * 32, "ab" * 16, NOW_MS + 9_000, 2, NOW_MS + 3_600_000),
    }
    return Stage(site, view, history, newest, *strangers)


def lived(site: Any) -> tuple[Knowledge, dict[str, bytes]]:
    """A view that has seen a halt and its end, a halt that stands, a new enrolment, a consent taken back and given again."""
    view, first = site.knowledge(), site.bytes("trust/state.dsse")
    lifted, stands = site.halt(nonce="01"), site.halt(Scope("team", "team-2"), nonce="02")
    history = {
        "state 1": first,
        "halt lifted": lifted,
        "halt": stands,
        "beacon before the halt": site.beacon(view, NOW_MS + 900),
    }
    history["enrolment 1"], history["consent 1"] = (
        site.bytes("endpoints/ep-a/enrolment.dsse"),
        site.bytes("endpoints/ep-a/consent.dsse"),
    )
    manifest = site.first.run[0].manifest
    history["withdrawal"] = site.consent("person-a", manifest, given=False, at_ms=NOW_MS + 3_000)
    history["beacon"] = site.beacon(view, NOW_MS + 2_000, **{digest(load_envelope(lifted).body): NOW_MS + 1_500})
    view.learn("control.halt.v1", lifted)
    for name, topic in (("beacon before the halt", Beacon), ("beacon", Beacon), ("withdrawal", Consent)):
        view.learn(TOPICS[topic], history[name])
    view.learn(TOPICS[Consent], site.consent("person-a", manifest, given=True, at_ms=NOW_MS + 4_000))
    newer = replace(view.enrolments["ep-a"], until_ms=NOW_MS + 95 * DAY_MS)
    view.learn(TOPICS[Enrolment], trust.sign(newer, site.officers("enrol-1")))
    view.learn(
        TOPICS[State],
        trust.sign(resume.next_state(view, view.in_force(), NOW_MS + 4_500), site.officers("security-1", "privacy-1")),
    )
    view.learn(TOPICS[Halt], stands)
    history["newest beacon"] = site.beacon(view, NOW_MS + 6_000, **{digest(load_envelope(stands).body): NOW_MS + 5_000})
    view.learn(TOPICS[Beacon], history["newest beacon"])
    return view, history


def says(view: Knowledge) -> str:
    """A digest of every answer that others build on: the view's own, the gate's, the fence's, the service's, the board's."""
    names, epochs = ("ep-a", "ep-b", "ep-x"), (1, 2, 3)
    times = (NOW_MS + 1_499, NOW_MS + 5_500, NOW_MS + 31 * DAY_MS)
    run = view.run_of("ep-a", 1)
    manifest = bytes.fromhex(run.manifest) if run else b""
    kept: list[Any] = [
        sorted(view.rehearsals.items()), view.discards(), [view.begun_ms(epoch) for epoch in epochs],
        view.state, view.state_digest, view.conflict, view.beacon, view.epoch_floor, view.in_force(), view.root,
        [(name, view.effective_ms(name), view.read(name)) for name in view.in_force()],
        *(sorted(table.items()) for table in (view.halts, view.manifests, view.enrolments, view.consents)),
        [view.window(epoch) for epoch in epochs],
        [view.orders(name, what, epoch) for name in names for what in ("capture", "processing", "reads") for epoch in epochs],
        [view.run_of(name, epoch) for name in names for epoch in epochs],
        [view.leave(name, at) for name in names for at in times],
        [view.consented(name, manifest.hex()) for name in names],
        [decide(Claim(n, b"", e, hi, hi + 50, manifest), view) for n in names for e in epochs for hi in times],
        service.denied(view), service.vouch(service.Memory(NOW_MS), view, NOW_MS + 10_000),
        [answered(view, name) for name in names],
        [rollcall.call(view, halt_id, (), at) for halt_id in view.halts for at in times],
    ]  # fmt: skip
    return hashlib.sha256(repr(kept).encode()).hexdigest()


def answered(view: Knowledge, endpoint: str) -> Any:
    try:
        return service.answer(service.Memory(NOW_MS), view, Request(SITE, endpoint, "ee", 1, "ff", 1), "dd", NOW_MS, bytes(16))
    except Refused as refusal:
        return refusal.reason


@dataclass(frozen=True)
class Case:
    """One forgery: how it is made, where it is put, and the reason for which it is refused."""

    name: str
    topic: str
    forge: Callable[[Stage], bytes | None]
    reason: str
    family: type[ByleaveError] = Forged


def named(case: Case) -> str:
    return case.name


# -- whose signature ----------------------------------------------------------------------------------------------------


def wrong_signers() -> Iterator[Case]:
    """Each kind of document, signed by each role that has no say in it, by strangers, and with padded thresholds."""
    for kind, place in product(TOPICS, EVERYBODY):
        officer = kind in (State, Manifest) and place in OFFICERS
        if (place in SIGNERS[kind] and not officer) or (kind is Halt and place in OFFICERS):
            continue
        reason = "below-threshold" if officer else "bad-signature"
        yield Case(f"{kind.__name__} by {place}", TOPICS[kind], lambda s, k=kind, p=place: s.signed(s.newest[k], p), reason)
    for kind, who in product(TOPICS, ("other", "old")):
        yield Case(
            f"{kind.__name__} by the same roles of the {who} root",
            TOPICS[kind],
            lambda s, k=kind, w=who: trust.sign(s.newest[k], [getattr(s, w).key(place) for place in SIGNERS[k]]),
            "bad-signature",
        )
    for kind in (State, Manifest):
        for name, pad, reason in PADDINGS:
            yield Case(f"{kind.__name__} padded with {name}", TOPICS[kind], lambda s, k=kind, p=pad: padded(s, k, p), reason)


def padded(s: Stage, kind: type[Any], pad: Callable[[Stage, dsse.Envelope], tuple[tuple[str, bytes], ...]]) -> bytes:
    """One officer's signature, and whatever `pad` adds to look like two."""
    alone = load_envelope(s.signed(s.newest[kind], OFFICERS[0]))
    return replace(alone, signatures=(*alone.signatures, *pad(s, alone))).dump()


def own_name(s: Stage, place: str) -> str:
    return dsse.key_id(s.site.key(place).public_key())


PADDINGS: tuple[tuple[str, Any, str], ...] = (
    ("one key twice", lambda _, e: e.signatures, "bad-signature"),
    ("one key under a second officer's name", lambda s, e: row(own_name(s, OFFICERS[1]), e), "bad-signature"),
    ("one key under an unknown name", lambda _, e: row("00" * 32, e), "below-threshold"),
    ("one key under its name in capitals", lambda _, e: row(e.signatures[0][0].upper(), e), "below-threshold"),
    ("one key under sixteen names", lambda _, e: tuple(row(f"{n:064x}", e)[0] for n in range(15)), "below-threshold"),
    ("zeros in a stranger's name", lambda s, _: ((own_name(s, "beacon/beacon"), bytes(64)),), "below-threshold"),
    ("zeros in a second officer's name", lambda s, _: ((own_name(s, OFFICERS[1]), bytes(64)),), "bad-signature"),
    ("no bytes in a second officer's name", lambda s, _: ((own_name(s, OFFICERS[1]), b""),), "bad-signature"),
    ("another officer's signature on another document", lambda s, _: also(s, s.newest[Halt], OFFICERS[1]), "bad-signature"),
    ("another officer's signature on the body as another type", lambda s, e: also(s, e.body, OFFICERS[1]), "bad-signature"),
    ("two root keys", lambda s, e: also(s, e, "officers/root-1", "officers/root-2"), "below-threshold"),
    ("the beacon's key", lambda s, e: also(s, e, "beacon/beacon"), "below-threshold"),
)


def row(name: str, envelope: dsse.Envelope) -> tuple[tuple[str, bytes], ...]:
    """The first signature again, under `name`."""
    return ((name, envelope.signatures[0][1]),)


def also(s: Stage, what: Any, *places: str) -> tuple[tuple[str, bytes], ...]:
    """Good signatures on an envelope's content, on a body taken for a halt, or on another document."""
    if isinstance(what, dsse.Envelope):
        return dsse.seal_envelope(what.payload_type, what.body, s.keys(*places)).signatures
    body = what if isinstance(what, bytes) else dump(what)
    return dsse.seal_envelope(Halt.TYPE, body, s.keys(*places)).signatures


# -- what is in the body, under good signatures -------------------------------------------------------------------------


def _first(body: bytes, wanted: Callable[[Any], bool]) -> tuple[str, Any]:
    return next((name, value) for name, value in json.loads(body).items() if wanted(value))


def _number(to: str) -> Callable[[bytes], bytes]:
    """The first integer of the body, written as `to`."""

    def spoil(body: bytes) -> bytes:
        name, value = _first(body, lambda v: type(v) is int)
        return body.replace(f'"{name}":{value}'.encode(), f'"{name}":{to}'.encode(), 1)

    return spoil


def _text(to: str) -> Callable[[bytes], bytes]:
    def spoil(body: bytes) -> bytes:
        return body.replace(b'"site":"test."', f'"site":{to}'.encode())

    return spoil


def _without_a_number(body: bytes) -> bytes:
    outer = json.loads(body)
    del outer[_first(body, lambda v: type(v) is int)[0]]
    return json.dumps(outer, separators=(",", ":")).encode()


BODIES: tuple[tuple[str, Callable[[bytes], bytes], str], ...] = (
    ("a key twice", lambda b: b.replace(b'"site":', b'"site":"other.","site":'), "malformed"),
    ("a key twice, the good one last", lambda b: b[:-1] + b',"site":"test."}', "malformed"),
    ("a key twice, once escaped", lambda b: b[:-1] + b',"s\\u0069te":"test."}', "malformed"),
    ("an unknown field", lambda b: b[:-1] + b',"extra":1}', "malformed"),
    ("a missing number", _without_a_number, "malformed"),
    ("a missing site", lambda b: b.replace(b'"site":"test."', b'"seit":"test."'), "malformed"),
    ("a float", _number("1.0"), "malformed"),
    ("an exponent", _number("1e3"), "malformed"),
    ("a negative number", _number("-1"), "malformed"),
    ("a number of 2^63", _number(str(2**63)), "malformed"),
    ("a number of 30 digits", _number("9" * 30), "malformed"),
    ("a number of 9,000 digits", _number("9" * 9_000), "malformed"),
    ("a number as text", _number('"1"'), "malformed"),
    ("true for a number", _number("true"), "malformed"),
    ("null for a number", _number("null"), "malformed"),
    ("NaN", _number("NaN"), "malformed"),
    ("infinity", _number("-Infinity"), "malformed"),
    ("a number with a leading zero", _number("01"), "malformed"),
    ("a list for text", _text('["test."]'), "malformed"),
    ("a number for text", _text("1"), "malformed"),
    ("null for text", _text("null"), "malformed"),
    ("another site", _text('"other."'), "wrong-site"),
    ("a site with a space", _text('"test. "'), "wrong-site"),
    ("no site", _text('""'), "wrong-site"),
    ("a word behind the end", lambda b: b + b" x", "malformed"),
    ("a second document behind the end", lambda b: b + b, "malformed"),
    ("a byte order mark", lambda b: b"\xef\xbb\xbf" + b, "malformed"),
    ("UTF-16", lambda b: b.decode().encode("utf-16"), "malformed"),
    ("half a UTF-8 sequence", lambda b: b.replace(b"test.", b"test\xc3"), "malformed"),
    ("a list around it", lambda b: b"[" + b + b"]", "malformed"),
    ("a deep list", lambda _: b"[" * 8_000, "malformed"),
    ("a deep object", lambda _: b'{"a":' * 3_000, "malformed"),
    ("nothing", lambda _: b"", "malformed"),
    ("null", lambda _: b"null", "malformed"),
    ("more than 40 KiB", lambda b: b + b" " * 40_960, "oversized"),
    ("half a character", lambda b: b.replace(b'"site":"test."', b'"site":"test.\\ud800"'), "malformed"),
)


def spoiled_bodies() -> Iterator[Case]:
    for kind, (name, spoil, reason) in product(TOPICS, BODIES):
        yield Case(
            f"{kind.__name__} with {name}",
            TOPICS[kind],
            lambda s, k=kind, f=spoil: s.over(k, changed(f, dump(s.newest[k]))),
            reason,
        )


def changed(spoil: Callable[[bytes], bytes], body: bytes) -> bytes:
    found = spoil(body)
    assert found != body
    return found


# -- what is around the body --------------------------------------------------------------------------------------------


def _rows(change: Callable[[list[dict[str, str]]], Any]) -> Callable[[bytes], bytes]:
    def spoil(signed: bytes) -> bytes:
        outer = json.loads(signed)
        outer["signatures"] = change(outer["signatures"])
        return json.dumps(outer).encode()

    return spoil


def _field(name: str, change: Callable[[str], Any]) -> Callable[[bytes], bytes]:
    def spoil(signed: bytes) -> bytes:
        outer = json.loads(signed)
        outer[name] = change(outer[name])
        return json.dumps(outer).encode()

    return spoil


ENVELOPES: tuple[tuple[str, Callable[[bytes], bytes | None], str], ...] = (
    ("no value: a tombstone", lambda _: None, "tombstone"),
    ("no bytes", lambda _: b"", "malformed"),
    ("half its bytes", lambda v: v[: len(v) // 2], "malformed"),
    ("its last byte gone", lambda v: v[:-1], "malformed"),
    ("base64 cut by one", _field("payload", lambda p: p[:-1]), "malformed"),
    ("base64 with a space", _field("payload", lambda p: p[:8] + " " + p[8:]), "malformed"),
    ("base64 with URL letters", _field("payload", lambda p: p[:4] + "_-_-" + p[4:]), "malformed"),
    ("a number for its payload", _field("payload", lambda _: 7), "malformed"),
    ("white space in its envelope", lambda v: json.dumps(json.loads(v), indent=1).encode(), "malformed"),
    ("sorted keys in its envelope", lambda v: json.dumps(dict(sorted(json.loads(v).items()))).encode(), "malformed"),
    ("escapes in its envelope", lambda v: v.replace(b"payloadType", b"payload\\u0054ype"), "malformed"),
    ("a second payload", lambda v: v.replace(b'"payload": ', b'"payload": "e30=", "payload": '), "malformed"),
    ("an unknown field around it", lambda v: v[:-1] + b', "alg": "none"}', "malformed"),
    ("no signatures field", lambda v: v[: v.index(b', "signatures"')] + b"}", "malformed"),
    ("17 signatures", _rows(lambda rows: (rows * 17)[:17]), "malformed"),
    ("a signature that is no base64", _rows(lambda rows: [{**rows[0], "sig": "***"}]), "malformed"),
    ("a signature without a name", _rows(lambda rows: [{"sig": rows[0]["sig"]}]), "malformed"),
    ("more than 64 KiB", lambda v: v + b" " * 65_536, "oversized"),
    ("random bytes", lambda v: random.Random(3).randbytes(len(v)), "malformed"),
)
UNSIGNED: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    ("no signature", _rows(lambda _: [])),
    ("an empty signature", _rows(lambda rows: [{**row, "sig": ""} for row in rows])),
    ("a signature of zeros", _rows(lambda rows: [{**row, "sig": base64.b64encode(bytes(64)).decode()} for row in rows])),
    ("a signature cut short", _rows(lambda rows: [{**row, "sig": base64.b64encode(bytes(63)).decode()} for row in rows])),
    ("its signature under another name", _rows(lambda rows: [{**row, "keyid": "00" * 32} for row in rows])),
    ("its signature under no name", _rows(lambda rows: [{**row, "keyid": ""} for row in rows])),
    ("its signature twice", _rows(lambda rows: [*rows, rows[0]])),
    (
        "a false signature in the name of its signer besides",
        _rows(lambda rows: [*rows, {**rows[0], "sig": rows[0]["sig"][::-1]}]),
    ),
)
"""Where what is left does not count: all are a bad signature or not base64."""


def spoiled_envelopes() -> Iterator[Case]:
    for kind, (name, spoil, reason) in product(TOPICS, ENVELOPES):
        yield Case(f"{kind.__name__} with {name}", TOPICS[kind], lambda s, k=kind, f=spoil: f(s.signed(s.newest[k])), reason)
    for kind, (name, spoil) in product(TOPICS, UNSIGNED):
        reason = "malformed" if "false" in name else "bad-signature"  # reversed base64 begins with its padding
        yield Case(f"{kind.__name__} with {name}", TOPICS[kind], lambda s, k=kind, f=spoil: f(s.signed(s.newest[k])), reason)
    personal = (Consent, Request, Ack)
    for kind, place in product(TOPICS, TOPICS):
        if kind is not place:
            reason = "malformed" if place in personal else "wrong-type"  # whose key to ask is read from the body first
            yield Case(
                f"{kind.__name__} in the place of a {place.__name__}",
                TOPICS[place],
                lambda s, k=kind: s.signed(s.newest[k]),
                reason,
            )
            yield Case(
                f"{kind.__name__} relabelled as a {place.__name__}",
                TOPICS[place],
                lambda s, k=kind, p=place: replace(load_envelope(s.signed(s.newest[k])), payload_type=p.TYPE).dump(),
                "malformed" if place in personal else "bad-signature",
            )


# -- what was true once, or would be some day ---------------------------------------------------------------------------


def forged_states() -> Iterator[Case]:
    def after(**changes: Any) -> Callable[[Stage], bytes]:
        return lambda s: s.signed(replace(s.newest[State], **changes))

    def rolled_back(s: Stage) -> bytes:
        return s.signed(replace(s.site.first, issued_ms=NOW_MS + 1))

    yield Case("another state of an epoch that is over", TOPICS[State], rolled_back, "rolled-back", Refused)
    yield Case("a state of epoch 0", TOPICS[State], after(epoch=0), "rolled-back", Refused)
    for epoch in (4, 5, 2**31, 2**32, 2**53, 2**62, 2**63 - 1):
        yield Case(f"a state fast-forwarded to epoch {epoch}", TOPICS[State], after(epoch=epoch), "broken-chain")
    yield Case("a state that names no past", TOPICS[State], after(prev=""), "broken-chain")
    yield Case("a state that names itself", TOPICS[State], after(prev="ab" * 32), "broken-chain")
    yield Case("a state that names its past in capitals", TOPICS[State], lambda s: s.signed(
        replace(s.newest[State], prev=s.view.state_digest.upper())), "broken-chain")  # fmt: skip
    yield Case("a state that names the state before last", TOPICS[State], lambda s: s.signed(
        replace(s.newest[State], prev=digest(load_envelope(s.history["state 1"]).body))), "broken-chain")  # fmt: skip
    for version in (0, 2, 2**63 - 1):
        yield Case(f"a state under root {version}", TOPICS[State], after(root_version=version), "wrong-root")
    for expires_ms in (NOW_MS + 31 * DAY_MS, 2**63 - 1):
        yield Case(f"a state that lives until {expires_ms}", TOPICS[State], after(expires_ms=expires_ms), "too-long", Refused)
    ahead = Lifted("aa", Scope("global"), "capture", 1, epoch=4)
    yield Case("a state that lifts in an epoch to come", TOPICS[State], after(lifted=(ahead,)), "malformed")
    yield Case("a state with a window of its own epoch", TOPICS[State], lambda s: s.signed(replace(
        s.newest[State], earlier=(replace(s.newest[State].earlier[0], epoch=3),))), "malformed")  # fmt: skip


def replays() -> Iterator[Case]:
    def beacon(**changes: Any) -> Callable[[Stage], bytes]:
        return lambda s: s.signed(replace(s.newest[Beacon], **changes))

    for name in ("beacon before the halt", "beacon", "newest beacon"):
        yield Case(f"the {name} again", TOPICS[Beacon], lambda s, n=name: s.history[n], "replayed", Refused)
    for ms in (0, NOW_MS, NOW_MS + 5_999, NOW_MS + 6_000):
        yield Case(f"a fresh beacon of time {ms - NOW_MS:+d}", TOPICS[Beacon], beacon(service_ms=ms), "replayed", Refused)
    for epoch in (0, 1):
        yield Case(f"a fresh beacon of epoch {epoch}", TOPICS[Beacon], beacon(epoch=epoch), "rolled-back", Refused)
    for name in ("consent 1", "withdrawal"):
        yield Case(f"the {name} again", TOPICS[Consent], lambda s, n=name: s.history[n], "rolled-back", Refused)
    for given, at in ((True, 3_999), (False, 3_999), (True, 0)):
        yield Case(f"a consent ({given}) of before the newest, {at}", TOPICS[Consent], lambda s, g=given, t=at: s.signed(
            replace(s.newest[Consent], given=g, at_ms=NOW_MS + t)), "rolled-back", Refused)  # fmt: skip
    yield Case("a yes to another manifest at the very same moment", TOPICS[Consent], lambda s: s.signed(
        replace(s.view.consents["person-a"], manifest="cc" * 32)), "rolled-back", Refused)  # fmt: skip
    yield Case("the enrolment that was replaced", TOPICS[Enrolment], lambda s: s.history["enrolment 1"], "rolled-back", Refused)
    for place in ("endpoints/ep-b/device", "people/person-b/person"):
        yield Case(f"an enrolment of ep-a with the key of {place}", TOPICS[Enrolment], lambda s, p=place: s.signed(
            replace(s.view.enrolments["ep-a"], key=own_name(s, p))), "rolled-back", Refused)  # fmt: skip
    for field, bad in product(("key", "person_key"), ("", "zz" * 32, "ab" * 31, "AB" * 32)):
        yield Case(f"an enrolment, {field} {bad[:4]!r} x {len(bad)}", TOPICS[Enrolment], lambda s, f=field, b=bad: s.signed(
            replace(s.newest[Enrolment], **{f: b})), "malformed")  # fmt: skip
    for kind, name in product((Request, Ack), ("ep-x", "", "EP-A", "ep-a\x00")):
        yield Case(f"{kind.__name__} in the name of {name!r}", TOPICS[kind], lambda s, k=kind, n=name: s.signed(
            replace(s.newest[k], endpoint=n)), "unknown-endpoint", Refused)  # fmt: skip
    for kind in (Request, Ack):
        yield Case(f"{kind.__name__} in the name of the other endpoint", TOPICS[kind], lambda s, k=kind: s.signed(
            replace(s.newest[k], endpoint="ep-b")), "bad-signature")  # fmt: skip
    yield Case("a consent in the name of the other person", TOPICS[Consent], lambda s: s.signed(
        replace(s.newest[Consent], subject="person-b")), "bad-signature")  # fmt: skip
    for topic in ("raw.events.v1", "control.state.v2", "test.control.state.v1", "", "control.halt.v1 "):
        yield Case(f"a state on the topic {topic!r}", topic, lambda s: s.signed(s.newest[State]), "wrong-topic", Refused)


ROOT_TOPIC, ROOTS = "control.root.v1", ("officers/root-1", "officers/root-2", "officers/root-3")


def next_root(s: Stage, **changes: Any) -> Root:
    return replace(s.view.root, **{"version": 2, **changes})


def under(s: Stage, role: str, keys: tuple[str, ...], threshold: int = 1) -> tuple[Role, ...]:
    """The roles of the root, one of them with other keys."""
    made = Role(role, keys, tuple(f"group-{n}" for n in range(len(keys))), threshold, threshold)
    return tuple(made if found.name == role else found for found in s.view.root.roles)


def forged_roots() -> Iterator[Case]:
    def by(*places: str, **changes: Any) -> Callable[[Stage], bytes]:
        return lambda s: trust.sign(next_root(s, **changes), s.keys(*places))

    def strangers(s: Stage) -> list[Ed25519PrivateKey]:
        return [s.old.key(place) for place in ROOTS[:2]]

    def taken_over(s: Stage) -> Root:
        return next_root(s, roles=under(s, "root", tuple(dsse.key_id(k.public_key()) for k in strangers(s)), 2))

    for place in (*OFFICERS, *EVERYBODY[4:]):
        yield Case(f"root 2 by {place}", ROOT_TOPIC, by(place), "bad-signature")
    for place in ROOTS:
        yield Case(f"root 2 by {place} alone", ROOT_TOPIC, by(place), "below-threshold")
        yield Case(f"root 2 by {place} twice", ROOT_TOPIC, by(place, place), "bad-signature")
    for version in (3, 4, 2**31, 2**63 - 1):
        yield Case(f"root {version} after root 1", ROOT_TOPIC, by(*ROOTS, version=version), "broken-chain")
    yield Case("another root 1", ROOT_TOPIC, by(*ROOTS, version=1, expires_ms=NOW_MS), "conflict")
    yield Case("root 2 of another site", ROOT_TOPIC, by(*ROOTS, site="other."), "wrong-site")
    yield Case("root 2 by its own keys alone", ROOT_TOPIC, lambda s: trust.sign(taken_over(s), strangers(s)), "bad-signature")
    yield Case("root 2 by the old keys alone", ROOT_TOPIC, lambda s: trust.sign(taken_over(s), s.keys(*ROOTS[:2])),
               "bad-signature")  # fmt: skip
    yield Case("root 2 by its own keys and one old one", ROOT_TOPIC, lambda s: trust.sign(
        taken_over(s), [*strangers(s), *s.keys(ROOTS[0])]), "below-threshold")  # fmt: skip
    for role in ("root", "halt", "resume"):
        yield Case(f"root 2 in which one key stands twice as {role}", ROOT_TOPIC, lambda s, r=role: trust.sign(next_root(
            s, roles=under(s, r, (own_name(s, ROOTS[0]),) * 2, 2)), s.keys(*ROOTS)), "malformed")  # fmt: skip
        yield Case(f"root 2 whose {role} nobody can be", ROOT_TOPIC, lambda s, r=role: trust.sign(next_root(
            s, roles=under(s, r, (own_name(s, ROOTS[0]),), 2)), s.keys(*ROOTS)), "malformed")  # fmt: skip
    yield Case("root 2 with a role twice", ROOT_TOPIC, lambda s: trust.sign(next_root(
        s, roles=(*s.view.root.roles, s.view.root.roles[0])), s.keys(*ROOTS)), "malformed")  # fmt: skip
    yield Case("a state on the topic of roots", ROOT_TOPIC, lambda s: s.signed(s.newest[State]), "malformed")
    yield Case("no root", ROOT_TOPIC, lambda _: None, "tombstone")


def drills_and_rehearsals() -> Iterator[Case]:
    """The drill key halts the canary's capture for a minute; whoever steals it can do that, and nothing more."""
    fine = Halt(SITE, Scope("endpoint", CANARY), "capture", "a drill", "drop", NOW_MS, DRILL_MS, "04")
    wider = [Scope("global"), Scope("site", SITE), Scope("team", CANARY), Scope("subject", CANARY), Scope("endpoint", "ep-a"),
             Scope("endpoint", ""), Scope("endpoint", "CANARY"), Scope("endpoint", f"{CANARY} ")]  # fmt: skip
    spoiled = [*({"scope": scope} for scope in wider), {"what": "processing"}, {"what": "reads"}, {"what": "everything"},
               {"discard_since_ms": 1}, {"valid_for_ms": DRILL_MS + 1}]  # fmt: skip
    for changes in spoiled:
        order = replace(fine, **changes)
        yield Case(f"a drill with {changes}", TOPICS[Halt], lambda s, o=order: trust.sign(o, s.keys("drill/drill")),
                   "drill-scope", Refused)  # fmt: skip
    for kind in (k for k in TOPICS if k is not Halt):
        yield Case(f"{kind.__name__} by the drill key", TOPICS[kind], lambda s, k=kind: s.signed(s.newest[k], "drill/drill"),
                   "bad-signature")  # fmt: skip

    def rehearsal(named: str, signer: str) -> Callable[[Stage], bytes]:
        return lambda s: trust.sign(Rehearsal(SITE, own_name(s, named), NOW_MS, "05"), s.keys(signer))

    topic = "control.rehearsal.v1"
    yield Case("a rehearsal of a key that signs for nobody", topic, rehearsal("endpoints/ep-a/device", "endpoints/ep-a/device"),
               "unknown-key", Refused)  # fmt: skip
    yield Case("a rehearsal by another officer", topic, rehearsal(OFFICERS[0], OFFICERS[1]), "bad-signature")
    yield Case("no rehearsal", topic, lambda _: None, "tombstone")


CASES = [
    *wrong_signers(), *spoiled_bodies(), *spoiled_envelopes(), *forged_states(), *replays(), *forged_roots(),
    *drills_and_rehearsals(),
]  # fmt: skip


@pytest.fixture(scope="module")
def before(stage: Stage) -> str:
    return says(stage.view)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_forgery_is_refused_by_its_own_name_and_changes_nothing(stage: Stage, before: str, case: Case) -> None:
    forged = case.forge(stage)
    with pytest.raises(ByleaveError) as caught:
        stage.view.learn(case.topic, forged)
    assert (type(caught.value), caught.value.reason) == (case.family, case.reason)
    assert says(stage.view) == before


def test_the_corpus_is_large_and_each_case_is_another_forgery(stage: Stage) -> None:
    made = {(case.topic, case.forge(stage)) for case in CASES}
    assert len({case.name for case in CASES}) == len(CASES) >= 200
    assert len(made) >= len(CASES) - 3 * len(TOPICS)  # null, nothing and a deep list look alike but for their type


@pytest.mark.parametrize("kind", TOPICS, ids=lambda kind: kind.__name__)
def test_what_the_corpus_spoils_would_be_taken_if_it_were_whole(stage: Stage, kind: type[Any]) -> None:
    """Else the refusals above would be about something else."""
    view, _ = lived(stage.site)
    unlike = says(view)
    document = view.learn(TOPICS[kind], stage.signed(stage.newest[kind]))
    assert document == stage.newest[kind]
    assert (says(view) == unlike) is (kind in (Request, Ack, Grant))


@pytest.mark.parametrize("kind", TOPICS, ids=lambda kind: kind.__name__)
def test_a_strangers_signature_beside_a_good_one_adds_nothing(stage: Stage, kind: type[Any]) -> None:
    view, twin = lived(stage.site)[0], lived(stage.site)[0]
    signed = stage.signed(stage.newest[kind])
    envelope = load_envelope(signed)
    stranger = dsse.seal_envelope(kind.TYPE, envelope.body, [stage.other.key("beacon/beacon")]).signatures
    assert (
        view.learn(TOPICS[kind], replace(envelope, signatures=(*envelope.signatures, *stranger)).dump()) == stage.newest[kind]
    )
    twin.learn(TOPICS[kind], signed)
    assert says(view) == says(twin)


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        *((kind, 11 if kind in (State, Manifest) else 1) for kind in TOPICS),
        *(pytest.param(kind, 1, marks=pytest.mark.prove) for kind in (State, Manifest)),  # six verifications a flip
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_no_single_bit_of_any_document_can_be_flipped(stage: Stage, before: str, kind: type[Any], step: int) -> None:
    """A consent whose flipped subject nobody knows is kept unread until there is such a person; it is believed by nobody."""
    signed = stage.signed(stage.newest[kind])
    taken = []
    for place in range(0, len(signed) * 8, step):
        flipped = bytearray(signed)
        flipped[place // 8] ^= 1 << place % 8
        try:
            answer = stage.view.learn(TOPICS[kind], bytes(flipped))
        except (Forged, Refused):
            continue
        taken += [place] if answer is not None or kind is not Consent else []
    assert taken == []
    assert says(stage.view) == before


def test_two_states_of_one_epoch_are_the_one_forgery_that_shows_and_it_stops_everybody(stage: Stage) -> None:
    view, _ = lived(stage.site)
    assert view.state is not None
    with pytest.raises(Broken) as caught:
        view.learn(TOPICS[State], stage.signed(replace(view.state, issued_ms=NOW_MS + 4_501)))
    assert caught.value.reason == "conflict"
    assert view.leave("ep-a", NOW_MS + 6_000) is None
    with pytest.raises(Refused):
        service.vouch(service.Memory(), view, NOW_MS)


# -- roots and grants, which no topic folds into the view ---------------------------------------------------------------

ROOTS = ("officers/root-1", "officers/root-2", "officers/root-3")
ROOT_CASES: tuple[tuple[str, Callable[[Stage], bytes | None], str], ...] = (
    ("one root key", lambda s: trust.sign(s.site.root, s.keys(ROOTS[0])), "below-threshold"),
    ("one root key twice", lambda s: trust.sign(s.site.root, s.keys(ROOTS[0], ROOTS[0])), "bad-signature"),
    ("the officers", lambda s: trust.sign(s.site.root, s.keys(*OFFICERS)), "bad-signature"),
    ("the root keys of before", lambda s: trust.sign(s.site.root, [s.old.key(p) for p in ROOTS]), "bad-signature"),
    ("the root of another site", lambda s: s.other.bytes("trust/root.dsse"), "wrong-site"),
    ("a root renamed to this site", lambda s: _renamed(s), "bad-signature"),  # noqa: PLW0108 - defined below
    ("a tombstone", lambda _: None, "tombstone"),
    ("a role twice", lambda s: _with_roles(s, (*s.site.root.roles, s.site.root.roles[1])), "malformed"),
    ("no root role", lambda s: _with_roles(s, s.site.root.roles[1:]), "below-threshold"),
    ("a halt role of nobody", lambda s: _with_roles(s, (s.site.root.roles[0], Role("halt", (), (), 0, 0))), "malformed"),
)


def _with_roles(s: Stage, roles: tuple[Role, ...]) -> bytes:
    return trust.sign(replace(s.site.root, roles=roles), s.keys(*ROOTS))


def _renamed(s: Stage) -> bytes:
    envelope = load_envelope(s.other.bytes("trust/root.dsse"))
    return replace(envelope, body=dump(replace(load(Root, envelope.body), site=SITE))).dump()


@pytest.mark.parametrize(("name", "forge", "reason"), ROOT_CASES, ids=[case[0] for case in ROOT_CASES])
def test_a_forged_root_is_refused(stage: Stage, name: str, forge: Any, reason: str) -> None:
    with pytest.raises(Forged) as caught:
        trust.load_root(forge(stage), SITE)
    assert caught.value.reason == reason


ASKED = {"nonce": "ee" * 16, "request_digest": "dd" * 32, "request_boot_ms": 1_000, "epoch": 2, "boot_ms": 1_400}


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "ef" * 16}, {"nonce": ""}, {"nonce": "EE" * 16}, {"request_digest": "de" * 32}, {"request_digest": ""},
        {"epoch": 1}, {"epoch": 3}, {"boot_ms": 999}, {"boot_ms": 0}, {"boot_ms": 1_001 + gate.ROUND_TRIP_MS_MAX},
        {"boot_ms": 2**62},
    ],
    ids=str,
)  # fmt: skip
def test_a_grant_for_another_moment_is_no_permit(stage: Stage, changes: dict[str, Any]) -> None:
    """A replayed grant is genuine; what it is worth is for the asker's nonce, request and clock to say."""
    grant = stage.newest[Grant]
    assert gate.accept(grant, **ASKED) == Permit(grant.service_ms, 1_000, grant.not_after_ms)
    assert gate.accept(grant, **{**ASKED, **changes}) is None


def test_an_old_yes_that_arrives_between_a_withdrawal_and_the_enrolment_is_not_believed(stage: Stage) -> None:
    """Topics are not read in step, so consents may come first: the newest still counts, not the last."""
    view = Knowledge(stage.site.root, SITE)
    for name in ("consent 1", "withdrawal", "consent 1"):
        assert view.learn(TOPICS[Consent], stage.history[name]) is None
    view.learn(TOPICS[Enrolment], stage.history["enrolment 1"])
    assert view.consents["person-a"].given is False


def test_of_a_person_whose_words_do_not_all_fit_none_is_believed(stage: Stage) -> None:
    view = Knowledge(stage.site.root, SITE)
    view.learn(TOPICS[Consent], stage.history["consent 1"])
    for n in range(EARLY_MAX - 1):
        view.learn(TOPICS[Consent], stage.signed(replace(stage.newest[Consent], subject=f"nobody-{n}")))
    with pytest.raises(Refused) as caught:
        view.learn(TOPICS[Consent], stage.history["withdrawal"])
    assert caught.value.reason == "unknown-subject"
    view.learn(TOPICS[Enrolment], stage.history["enrolment 1"])
    assert not view.consents
