"""A concern is read by its recipients alone, names nobody to all others, and stands until one of them has answered it (P7)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from byleave.control import concerns, rollcall, trust, wording
from byleave.control.bootstrap import dev_site
from byleave.control.concerns import Concern, Raised, Wrap
from byleave.control.documents import Root, digest, dump, load
from byleave.control.knowledge import Knowledge
from byleave.control.roots import rotated
from byleave.core.dsse import load_envelope
from byleave.core.errors import Forged, Misconfigured, Refused
from byleave.core.keys import public_hex, read_hpke_key, read_signing_key

SITE, NOW_MS, TEXT = "byleave.", 1_795_512_876_000, "it took down what I wrote to my doctor, Jürgen Čapek"


@dataclass
class Site:
    home: Path
    root: Root
    knowledge: Knowledge
    random: Callable[[int], bytes]

    def device(self, endpoint: str = "ep-a") -> Ed25519PrivateKey:
        return read_signing_key(self.home / "endpoints" / endpoint / "device.key")

    def sealed(self, text: str = TEXT, endpoint: str = "ep-a", now_ms: int = NOW_MS) -> concerns.Sealed:
        return concerns.seal(self.root, endpoint, self.device(endpoint), text, now_ms, self.random)

    def read(self, document: bytes, name: str = "security") -> Raised:
        concern = load(Concern, load_envelope(document).body)
        return concerns.unseal(self.knowledge.enrolments, concern, read_hpke_key(self.home / "recipients" / f"{name}.key"))


@pytest.fixture
def site(tmp_path: Path, seeded: Callable[[int], bytes]) -> Site:
    root = dev_site(tmp_path, SITE, [("ep-a", "p-a", "t"), ("ep-b", "p-b", "t")], NOW_MS, seeded)
    knowledge = Knowledge(root, SITE)
    for name in ("ep-a", "ep-b"):
        knowledge.learn("control.enrolment.v1", (tmp_path / "endpoints" / name / "enrolment.dsse").read_bytes())
    return Site(tmp_path, root, knowledge, seeded)


@pytest.fixture
def seeded() -> Callable[[int], bytes]:
    state = [0]

    def random_bytes(count: int) -> bytes:
        state[0] += 1
        return bytes.fromhex(digest(state[0].to_bytes(8, "big")))[:count]

    return random_bytes


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises((Forged, Refused)) as error:
        call()
    return error.value.reason


def resigned(document: bytes, at: Site, **changes: Any) -> bytes:
    """The same concern with changes, signed by a key that whoever changed it made."""
    key = Ed25519PrivateKey.from_private_bytes(at.random(32))
    concern = load(Concern, load_envelope(document).body)
    return trust.sign(dataclasses.replace(concern, key=public_hex(key), **changes), [key])


def test_each_recipient_reads_it_and_the_record_tells_nobody_else_whose_it_is(site: Site) -> None:
    long, short = site.sealed("x" * concerns.TEXT_CHARS_MAX), site.sealed("x", "ep-b")
    assert len(long.document) == len(short.document), "one size"
    sealed = site.sealed()
    body = load_envelope(sealed.document).body
    for secret in ("ep-a", "p-a", public_hex(site.device()), TEXT[:12]):
        assert secret.encode() not in body
    assert load(Concern, body).at_ms % concerns.HOUR_MS == 0
    for name in ("security", "council"):
        raised = site.read(sealed.document, name)
        assert (raised.endpoint, raised.text) == ("ep-a", TEXT)
    (site.home / "recipients" / "other.key").write_text("07" * 32)
    (site.home / "recipients" / "other.key").chmod(0o600)
    assert refused(lambda: site.read(sealed.document, "other")) == "unknown-key"


def test_it_stands_on_the_board_under_its_number_until_it_is_answered(site: Site) -> None:
    first, second = site.sealed(), site.sealed("another", "ep-b")
    for one in (first, second):
        site.knowledge.learn("control.concern.v1", one.document)
    later_ms = NOW_MS + 3 * concerns.DAY_MS
    assert [(row["number"], row["age_days"]) for row in rollcall.concerns(site.knowledge, later_ms)] == [(1, 3), (2, 3)]
    answer = concerns.answer(SITE, first.named, site.read(first.document), "it is gone, and barred", later_ms)
    assert b"gone" not in dump(answer)
    signed = trust.sign(answer, [read_signing_key(site.home / "officers" / "council-1.key")])
    site.knowledge.learn("control.answer.v1", signed)
    assert [row["number"] for row in rollcall.concerns(site.knowledge, later_ms)] == [2]
    reply = X25519PrivateKey.from_private_bytes(first.reply)
    assert concerns.open_answer(site.knowledge.answers[first.named], reply) == "it is gone, and barred"
    other = X25519PrivateKey.from_private_bytes(second.reply)
    assert refused(lambda: concerns.open_answer(answer, other)) == "unknown-key"


def test_an_answer_counts_only_from_an_officer_and_opens_only_if_its_writer_read_the_concern(site: Site) -> None:
    sealed = site.sealed()
    site.knowledge.learn("control.concern.v1", sealed.document)
    guess = dataclasses.replace(site.read(sealed.document), reply=public_hex(site.device()))
    answer = concerns.answer(SITE, sealed.named, guess, "trust me", NOW_MS)
    assert refused(lambda: site.knowledge.learn("control.answer.v1", trust.sign(answer, [site.device()]))) == "bad-signature"
    assert site.knowledge.answers == {}
    assert refused(lambda: concerns.open_answer(answer, X25519PrivateKey.from_private_bytes(sealed.reply)))
    zero = dataclasses.replace(guess, reply="00" * 32)
    assert refused(lambda: concerns.answer(SITE, sealed.named, zero, "hello", NOW_MS)) == "malformed"


def test_forged_replayed_foreign_and_oversized_concerns_are_refused_and_leave_nothing(site: Site) -> None:
    sealed = site.sealed()
    concern = load(Concern, load_envelope(sealed.document).body)
    other = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
    cases = {
        "bad-signature": trust.sign(concern, [other]),
        "wrong-site": resigned(sealed.document, site, site="elsewhere."),
        "oversized": resigned(sealed.document, site, sealed="x" * 20_000),
        "malformed": resigned(sealed.document, site, wraps=(Wrap("security", "x" * 108),) * 17),
        "tombstone": None,
    }
    for reason, document in cases.items():
        assert refused(lambda document=document: site.knowledge.learn("control.concern.v1", document)) == reason  # type: ignore[misc]
    short = resigned(sealed.document, site, sealed=concern.sealed[:-4])
    assert refused(lambda: site.knowledge.learn("control.concern.v1", short)) == "malformed"
    assert site.knowledge.concerns == {}
    site.knowledge.learn("control.concern.v1", sealed.document)
    assert refused(lambda: site.knowledge.learn("control.concern.v1", sealed.document)) == "replayed"
    assert list(site.knowledge.concerns) == [sealed.named]


def test_a_concern_that_another_wrote_in_an_endpoints_name_or_that_was_moved_is_not_read(site: Site) -> None:
    forged = concerns.seal(site.root, "ep-a", site.device("ep-b"), "in her name", NOW_MS, site.random)
    assert refused(lambda: site.read(forged.document)) == "bad-signature"
    stranger = concerns.seal(site.root, "ep-z", site.device("ep-b"), "of nobody", NOW_MS, site.random)
    assert refused(lambda: site.read(stranger.document)) == "unknown-endpoint"
    moved = resigned(site.sealed().document, site)  # the same sealed bytes under a key of somebody else's making
    assert refused(lambda: site.read(moved)) == "unknown-key"


def test_the_sixth_of_one_endpoint_in_one_day_is_not_read(site: Site) -> None:
    day = [site.read(site.sealed(now_ms=NOW_MS + n).document) for n in range(concerns.DAILY_MAX)]
    concerns.within_bound(day[:-1], day[-1])
    assert refused(lambda: concerns.within_bound(day, day[0])) == "too-many"
    concerns.within_bound(day, site.read(site.sealed(endpoint="ep-b").document))
    concerns.within_bound(day, site.read(site.sealed(now_ms=NOW_MS + concerns.DAY_MS).document))


@pytest.mark.parametrize("text", ["", "  \n", "x" * 2_001, "\N{CJK UNIFIED IDEOGRAPH-4E00}" * 1_500, "\0" * 2_000])
def test_a_text_that_is_empty_or_too_long_is_not_sealed(site: Site, text: str) -> None:
    with pytest.raises(Misconfigured):
        site.sealed(text)


def test_without_a_recipient_in_the_root_nothing_is_sealed(site: Site) -> None:
    site.root = dataclasses.replace(site.root, recipients=())
    assert refused(site.sealed) == "no-recipient"


def test_a_rotation_keeps_the_recipients_changes_them_and_says_so(site: Site) -> None:
    same = rotated(site.root, NOW_MS, add=(), remove=(), thresholds=(), expires_days=300)
    assert same.recipients == site.root.recipients
    gone, new = site.root.recipients[0], public_hex(site.device())
    following = rotated(
        site.root, NOW_MS, add=(), remove=[gone.key], thresholds=(), expires_days=300, recipients=[f"union={new}@council"]
    )  # fmt: skip
    assert [one.name for one in following.recipients] == ["council", "union"]
    words = "\n".join(wording.root_words(following, site.root))
    assert f"-   security of security reads what people raise: {gone.key}" in words
    assert f"+   union of council reads what people raise: {new}" in words


def test_a_root_of_before_recipients_keeps_its_bytes(site: Site) -> None:
    old = dataclasses.replace(site.root, recipients=())
    assert b"recipients" not in dump(old)
    assert load(Root, dump(old)) == old
