"""What runs out: all of it, the nearest first, with who must sign; nothing urgent is called well."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from byleave.control import calendar, documents, trust
from byleave.control.calendar import Level
from byleave.control.documents import Rehearsal
from byleave.control.knowledge import Knowledge
from byleave.core.keys import public_hex

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000


def rows(site: Any, knowledge: Knowledge, now_ms: int = NOW_MS, **certificates: int) -> list[calendar.Due]:
    names = {public_hex(site.key("officers/security-1")): "security-1"}
    return calendar.calendar(site.root, knowledge, certificates, names, now_ms)


@pytest.mark.parametrize(
    ("left_ms", "level"),
    [(None, "soon"), (0, "over"), (-1, "over"), (1, "urgent"), (3 * DAY_MS, "urgent"), (3 * DAY_MS + 1, "soon"),
     (14 * DAY_MS, "soon"), (14 * DAY_MS + 1, "ok")],
)  # fmt: skip
def test_the_levels_begin_at_fourteen_and_three_days(left_ms: int | None, level: str) -> None:
    assert calendar.level(None if left_ms is None else NOW_MS + left_ms, NOW_MS) == level


def test_everything_with_an_end_is_in_it_and_says_who_must_sign(site: Any) -> None:
    found = rows(site, site.knowledge(), beacon=NOW_MS + DAY_MS)
    by_what = {row.what: row for row in found}
    assert set(by_what) == {"root", "state", "manifest", "redactor key", "enrolment", "rehearsal", "certificate"}
    assert by_what["root"].who == "2 of 3 of role root, from 2 of the groups root-1, root-2, root-3"
    assert by_what["state"].who == "2 of 3 of role resume, from 2 of the groups council, privacy, security"
    assert (by_what["state"].days, by_what["manifest"].days, by_what["root"].days) == (30, 90, 365)
    assert (by_what["certificate"].name, by_what["certificate"].level) == ("beacon", Level.URGENT)
    assert found[0] == by_what["certificate"], "the nearest comes first"
    assert {row.name for row in found if row.what == "enrolment"} == {"ep-a", "ep-b"}
    assert {row.level for row in found if row.what == "rehearsal"} == {Level.SOON}, "never tried is never well"


def test_no_document_that_runs_out_is_forgotten() -> None:
    """A document class that gains an end must gain a row; grants, sessions and windows end by themselves, long before a day."""
    ends = {"expires_ms", "until_ms", "not_after_ms"}
    kinds = [kind for kind in vars(documents).values() if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__")]
    assert {kind.__name__ for kind in kinds if ends & {one.name for one in fields(kind)}} == {
        "Root", "Manifest", "LevelPolicy", "State", "Enrolment", "Window", "Grant",
    }  # fmt: skip


def test_a_level_policy_that_is_over_is_named(site: Any) -> None:
    policy = documents.LevelPolicy("test.", 3, "", (), NOW_MS - DAY_MS, NOW_MS)
    (row,) = [
        row for row in calendar.calendar(site.root, site.knowledge(), {}, {}, NOW_MS, policy) if row.what == "level policy"
    ]
    assert (row.name, row.level) == ("version 3", Level.OVER)


def test_a_key_that_has_not_worked_for_ninety_days_is_over(site: Any) -> None:
    knowledge, mine = site.knowledge(), public_hex(site.key("officers/security-1"))
    said = Rehearsal("test.", mine, NOW_MS, "00")
    knowledge.learn("control.rehearsal.v1", trust.sign(said, site.officers("security-1")))
    for days, level in ((0, Level.OK), (76, Level.SOON), (87, Level.URGENT), (90, Level.OVER)):
        (row,) = [row for row in rows(site, knowledge, NOW_MS + days * DAY_MS) if row.name == "security-1 (security)"]
        assert (row.level, row.days) == (level, 90 - days)


def test_what_the_beacon_service_exports_is_the_first_of_each_kind(site: Any) -> None:
    knowledge = site.knowledge()
    found = calendar.soonest(knowledge, NOW_MS + 31 * DAY_MS)
    assert found["state"] == -DAY_MS
    assert (found["manifest"], found["enrolment"], found["root"]) == (59 * DAY_MS, 59 * DAY_MS, 334 * DAY_MS)
    assert "rehearsal" not in found, "what never happened has no end to count to"


def test_a_site_without_a_state_still_has_a_calendar(site: Any) -> None:
    assert [row.what for row in rows(site, Knowledge(site.root, "test.")) if row.what != "rehearsal"] == ["root"]
