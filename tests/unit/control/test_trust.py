"""Who said it: every way to forge a control document that we know of is refused by its own name, and changes nothing."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from byleave.control import trust
from byleave.control.documents import Beacon, Halt, Role, Root, Scope, State, dump, load
from byleave.core import dsse
from byleave.core.errors import Forged
from byleave.core.keys import verify_key

SITE = "test."
ORDER = Halt(SITE, Scope("global"), "capture", "why", "drop", 1, 600_000, "00")


def refused(root: Root, role: str, kind: Any, unverified: bytes | None, site: str = SITE) -> str:
    with pytest.raises(Forged) as caught:
        trust.verify(root, role, kind, unverified, site=site)
    return caught.value.reason


def test_one_officer_may_stop_everything(site: Any) -> None:
    signed = trust.sign(ORDER, site.officers("council-1"))
    assert trust.verify(site.root, "halt", Halt, signed, site=SITE)[0] == ORDER


def test_a_stranger_signs_an_order(site: Any) -> None:
    assert refused(site.root, "halt", Halt, trust.sign(ORDER, site.officers("enrol-1"))) == "bad-signature"


def test_one_officer_alone_cannot_resume(site: Any) -> None:
    signed = trust.sign(site.first, site.officers("security-1"))
    assert refused(site.root, "resume", State, signed) == "below-threshold"


def test_a_threshold_padded_with_the_same_key_twice(site: Any) -> None:
    signed = trust.sign(site.first, site.officers("security-1", "security-1"))
    assert refused(site.root, "resume", State, signed) == "bad-signature"


def test_a_threshold_padded_with_the_same_key_under_two_names(site: Any) -> None:
    envelope = dsse.load_envelope(trust.sign(site.first, site.officers("security-1")))
    other = dsse.key_id(site.officers("privacy-1")[0].public_key())
    padded = replace(envelope, signatures=(*envelope.signatures, (other, envelope.signatures[0][1])))
    assert refused(site.root, "resume", State, padded.dump()) == "bad-signature"


def test_two_keys_of_one_group_do_not_make_two_groups(site: Any) -> None:
    grouped = tuple(replace(r, groups=("one", "one", "two")) if r.name == "resume" else r for r in site.root.roles)
    signed = trust.sign(site.first, site.officers("security-1", "privacy-1"))
    assert refused(replace(site.root, roles=grouped), "resume", State, signed) == "below-threshold"


def test_a_signature_for_one_purpose_is_worth_nothing_for_another(site: Any) -> None:
    envelope = dsse.load_envelope(trust.sign(ORDER, site.officers("security-1")))
    moved = dsse.Envelope(Beacon.TYPE, envelope.body, envelope.signatures)
    assert refused(site.root, "halt", Halt, moved.dump()) == "wrong-type"
    assert refused(site.root, "halt", Beacon, moved.dump()) == "bad-signature"


def test_a_document_of_another_site(site: Any) -> None:
    signed = trust.sign(replace(ORDER, site="other."), site.officers("security-1"))
    assert refused(site.root, "halt", Halt, signed) == "wrong-site"


def test_a_tombstone_is_no_document(site: Any) -> None:
    assert refused(site.root, "halt", Halt, None) == "tombstone"


def test_a_role_that_the_root_does_not_name(site: Any) -> None:
    assert refused(site.root, "undertaker", Halt, trust.sign(ORDER, site.officers("security-1"))) == "below-threshold"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body.replace(b'"what":', b'"what":"reads","what":'),
        lambda body: body.replace(b'"issued_ms":1', b'"issued_ms":1.0'),
        lambda body: body.replace(b'"issued_ms":1', b'"issued_ms":-1'),
        lambda body: body.replace(b'"issued_ms":1', b'"issued_ms":true'),
        lambda body: body.replace(b'"issued_ms":1', b'"issued_ms":' + b"9" * 30),
        lambda body: body.replace(b',"what":"capture"', b""),
        lambda body: body.replace(b'"what":', b'"extra":1,"what":'),
        lambda body: body.replace(b'"scope":{"kind":"global","name":""}', b'"scope":[]'),
        lambda body: body + b" x",
        lambda body: b"\xff" + body,
        lambda _: b"[" * 5_000,
        lambda _: b'{"a":' * 2_000,
        lambda _: b"NaN",
        lambda _: b"",
    ],
    ids=["duplicate key", "float", "negative", "boolean", "huge", "missing", "unknown", "wrong type", "trailing", "not utf-8",
         "deep list", "deep object", "NaN", "empty"],
)  # fmt: skip
def test_a_body_outside_the_strict_form_is_refused_even_if_signed(site: Any, spoil: Any) -> None:
    body = spoil(dump(ORDER))
    assert body != dump(ORDER)
    signed = dsse.seal_envelope(Halt.TYPE, body, site.officers("security-1")).dump()
    assert refused(site.root, "halt", Halt, signed) == "malformed"


def test_an_oversized_body_is_not_even_parsed(site: Any) -> None:
    body = dump(ORDER) + b" " * 17_000
    assert (
        refused(site.root, "halt", Halt, dsse.seal_envelope(Halt.TYPE, body, site.officers("security-1")).dump()) == "oversized"
    )


@pytest.mark.parametrize("kind", ["halt", "beacon"])
def test_no_single_bit_of_a_document_can_be_flipped(site: Any, kind: str) -> None:
    """Signature, body, type, key hint, base64 padding, JSON form: all of it, 8 forgeries a byte."""
    signed = site.halt() if kind == "halt" else site.beacon(site.knowledge(), 5)
    document = Halt if kind == "halt" else Beacon
    trust.verify(site.root, kind, document, signed, site=SITE)
    accepted = []
    for place in range(len(signed) * 8):
        flipped = bytearray(signed)
        flipped[place // 8] ^= 1 << place % 8
        try:
            trust.verify(site.root, kind, document, bytes(flipped), site=SITE)
        except Forged:
            continue
        accepted.append(place)
    assert not accepted


def test_a_second_spelling_of_the_same_document_is_refused(site: Any) -> None:
    signed = site.halt()
    assert refused(site.root, "halt", Halt, json.dumps(json.loads(signed), indent=1).encode()) == "malformed"


def test_truncated_and_random_bytes_raise_only_our_error(site: Any) -> None:
    signed = site.halt()
    for end in range(0, len(signed), 7):
        assert refused(site.root, "halt", Halt, signed[:end]) == "malformed"
    for junk in (b"null", b"[]", b"{}", b'{"payloadType":1,"payload":2,"signatures":[3]}', base64.b64encode(signed)):
        assert refused(site.root, "halt", Halt, junk) == "malformed"


def test_a_root_is_what_its_own_threshold_signed(site: Any) -> None:
    roots = site.officers("root-1", "root-2", "root-3")
    assert trust.load_root(trust.sign(site.root, roots[:2]), SITE) == site.root
    for signers, reason in ((roots[:1], "below-threshold"), (site.officers("security-1", "privacy-1"), "bad-signature")):
        with pytest.raises(Forged) as caught:
            trust.load_root(trust.sign(site.root, signers), SITE)
        assert caught.value.reason == reason
    with pytest.raises(Forged) as caught:
        trust.load_root(trust.sign(site.root, roots), "other.")
    assert caught.value.reason == "wrong-site"


def test_a_root_that_could_be_padded_or_never_met_is_refused(site: Any) -> None:
    roots = site.officers("root-1", "root-2", "root-3")
    halt = next(role for role in site.root.roles if role.name == "halt")
    spoiled = [
        replace(halt, keys=(halt.keys[0],) * 3),
        replace(halt, threshold=0),
        replace(halt, threshold=4),
        replace(halt, groups_min=2),
        replace(halt, groups=halt.groups[:2]),
        replace(halt, keys=("zz" * 32, *halt.keys[1:])),
        replace(halt, keys=(halt.keys[0].upper(), *halt.keys[1:])),
    ]
    for role in spoiled:
        roles = tuple(role if r.name == "halt" else r for r in site.root.roles)
        with pytest.raises(Forged) as caught:
            trust.load_root(trust.sign(replace(site.root, roles=roles), roots), SITE)
        assert caught.value.reason == "malformed"
    twice = replace(site.root, roles=(*site.root.roles, Role("halt", (halt.keys[0],), ("x",), 1, 1)))
    with pytest.raises(Forged):
        trust.load_root(trust.sign(twice, roots), SITE)


def test_an_enrolled_key_speaks_for_itself_only(site: Any) -> None:
    ack = site.ack("ep-a", "aa")
    own = verify_key(next(e.key for e in site.knowledge().enrolments.values() if e.endpoint == "ep-a"))
    signed = trust.sign(ack, [site.key("endpoints/ep-a/device")])
    assert trust.verify_by(own, type(ack), signed, site=SITE)[0] == ack
    with pytest.raises(Forged) as caught:
        trust.verify_by(own, type(ack), trust.sign(ack, [site.key("endpoints/ep-b/device")]), site=SITE)
    assert caught.value.reason == "bad-signature"


def test_every_document_reads_back_as_it_was_written(site: Any) -> None:
    for document in (site.root, site.first, ORDER, site.ack("ep-a", "aa")):
        assert load(type(document), dump(document)) == document
