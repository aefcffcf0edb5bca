"""What signed orders say of looks and rows, asked of the real documents."""

from __future__ import annotations

from pathlib import Path

import pytest
from lake_site import NOW_MS, LakeSite

from byleave.control import trust
from byleave.control.documents import Lifted, Scope, State
from byleave.control.knowledge import Knowledge
from byleave.sinks.orders import Discard, Standing, standing_of

MIDNIGHT_MS = 1_795_478_400_000
"""2026-11-24 in UTC."""
DAY_MS = 86_400_000


@pytest.fixture
def site(tmp_path: Path) -> LakeSite:
    return LakeSite(tmp_path)


@pytest.fixture
def knowledge(site: LakeSite) -> Knowledge:
    return site.knowledge()


@pytest.mark.parametrize(
    ("scope", "about_a", "about_b"),
    [
        (Scope("global"), True, True),
        (Scope("site", "byleave."), True, True),
        (Scope("site", "other."), False, False),
        (Scope("team", "team"), True, True),
        (Scope("team", "others"), False, False),
        (Scope("endpoint", "ep-a"), True, False),
        (Scope("subject", "person-b"), False, True),
        (Scope("floor", "3"), True, True),  # not understood: it may be about anybody
    ],
)
def test_an_order_stops_looks_at_whom_it_is_about_and_at_nobody_else(
    site: LakeSite, knowledge: Knowledge, scope: Scope, about_a: bool, about_b: bool
) -> None:
    site.hear(knowledge, scope, "reads", NOW_MS)
    for name, about in (("a", about_a), ("b", about_b)):
        assert site.standing.stops({f"ep-{name}"}, {f"person-{name}"}) == ("reads-halted" if about else None)
    both = site.standing.stops({"ep-a", "ep-b"}, {"person-a", "person-b"})
    assert both == ("reads-halted" if about_a or about_b else None), "one covered record stops the whole look"


def test_an_endpoint_that_nobody_knows_is_of_every_team(site: LakeSite, knowledge: Knowledge) -> None:
    site.hear(knowledge, Scope("team", "others"), "reads", NOW_MS)
    assert site.standing.stops({"ep-x"}, {"person-x"}) == "reads-halted"


@pytest.mark.parametrize("what", ["capture", "processing"])
def test_an_order_of_another_kind_stops_no_look(site: LakeSite, knowledge: Knowledge, what: str) -> None:
    site.hear(knowledge, Scope("global"), what, NOW_MS)
    assert site.standing.stops({"ep-a"}, {"person-a"}) is None


def test_an_order_counts_from_its_reading_and_until_a_state_lifts_it(site: LakeSite, knowledge: Knowledge) -> None:
    halt_id, order = site.order(Scope("global"), "reads")
    knowledge.learn("control.halt.v1", order)
    assert standing_of(knowledge, caught_up=True).stops({"ep-a"}, set()) == "reads-halted", "before any beacon names it"
    assert knowledge.state is not None
    lifted = Lifted(halt_id, Scope("global"), "reads", NOW_MS, 2)
    old = knowledge.state
    state = State(old.site, 2, knowledge.state_digest, 1, old.issued_ms, old.expires_ms, old.run, (lifted,))
    knowledge.learn("control.state.v1", trust.sign(state, [site.signer]))
    knowledge.learn("control.beacon.v1", site.beacon(knowledge, NOW_MS + 9_000))
    assert standing_of(knowledge, caught_up=True).stops({"ep-a"}, set()) is None


def test_what_is_not_known_stops_every_look(site: LakeSite, knowledge: Knowledge) -> None:
    def stops(of: Standing) -> str | None:
        return of.stops({"ep-a"}, {"person-a"})

    assert stops(standing_of(knowledge, caught_up=True)) is None
    assert stops(standing_of(knowledge, caught_up=False)) == "control-unknown"
    assert stops(standing_of(Knowledge(site.root, site.site), caught_up=True)) == "control-unknown"
    halt_id, order = site.order(Scope("subject", "somebody-else"), "reads")
    knowledge.learn("control.beacon.v1", site.beacon(knowledge, NOW_MS + 2_000, **{halt_id: NOW_MS}))
    assert stops(standing_of(knowledge, caught_up=True)) == "control-unknown", "named by a beacon, and not read"
    knowledge.learn("control.halt.v1", order)
    assert stops(standing_of(knowledge, caught_up=True)) is None
    knowledge.state_digest = "00" * 32  # what the next beacon vouches for
    knowledge.learn("control.beacon.v1", site.beacon(knowledge, NOW_MS + 4_000))
    assert stops(standing_of(knowledge, caught_up=True)) == "control-unknown", "a beacon of a state that was not read"


def test_nothing_is_to_be_erased_before_its_order_is_in_effect(site: LakeSite, knowledge: Knowledge) -> None:
    halt_id, order = site.order(Scope("global"), "capture", NOW_MS - 60_000)
    knowledge.learn("control.halt.v1", order)
    assert standing_of(knowledge, caught_up=True).discards == ()
    knowledge.learn("control.beacon.v1", site.beacon(knowledge, NOW_MS + 2_000, **{halt_id: NOW_MS + 2_500}))
    assert standing_of(knowledge, caught_up=True).discards == ()
    knowledge.learn("control.beacon.v1", site.beacon(knowledge, NOW_MS + 2_500, **{halt_id: NOW_MS + 2_500}))
    assert standing_of(knowledge, caught_up=True).discards == (
        Discard(halt_id, Scope("global"), NOW_MS - 60_000, NOW_MS + 2_500),
    )
    assert standing_of(knowledge, caught_up=False).discards == ()


def test_a_key_is_useless_only_if_its_whole_day_and_all_of_its_subject_are_meant(site: LakeSite, knowledge: Knowledge) -> None:
    standing = standing_of(knowledge, caught_up=True)

    def useless(scope: Scope, since_ms: int, effective_ms: int, key_id: str = "person-a/2026-11-24/2") -> bool:
        return standing.useless(Discard("h", scope, since_ms, effective_ms), key_id)

    whole = (MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS)
    for scope in (Scope("global"), Scope("site", "byleave."), Scope("team", "team"), Scope("endpoint", "ep-a"),
                  Scope("subject", "person-a")):  # fmt: skip
        assert useless(scope, *whole), scope
        assert not useless(scope, whole[0] + 1, whole[1])
        assert not useless(scope, whole[0], whole[1] - 1)
    for scope in (Scope("site", "other."), Scope("team", "others"), Scope("endpoint", "ep-b"), Scope("subject", "person-b")):
        assert not useless(scope, *whole), scope
    for scope in (Scope("team", "team"), Scope("endpoint", "ep-a")):
        assert not useless(scope, *whole, "person-x/2026-11-24/2"), "of whom nothing is known: a key cannot be had back"
    assert useless(Scope("global"), *whole, "person-x/2026-11-24/2")


def test_a_subject_with_a_second_endpoint_keeps_the_key_when_one_is_meant(tmp_path: Path) -> None:
    site = LakeSite(tmp_path)
    site.subject = lambda endpoint: "person-a" if endpoint == "ep-b" else endpoint.replace("ep-", "person-")  # type: ignore[method-assign]
    standing = standing_of(site.knowledge(), caught_up=True)
    order = Discard("h", Scope("endpoint", "ep-a"), MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS)
    assert not standing.useless(order, "person-a/2026-11-24/2")


def test_the_days_of_an_order_are_those_whose_keys_its_rows_can_be_under() -> None:
    order = Discard("h", Scope("global"), MIDNIGHT_MS + 50, MIDNIGHT_MS + 60_000)
    days = [day for day in ("2026-11-22", "2026-11-23", "2026-11-24", "2026-11-25", "2026-11-26") if order.has_day(day)]
    assert days == ["2026-11-23", "2026-11-24", "2026-11-25"]
