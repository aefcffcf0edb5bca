"""A browser's site travels from the focus to the level of what is typed there."""

from __future__ import annotations

import pytest
from typed_sessions import focused, run

from byleave.processors.session import Rules

TEXT = "we meet at noon to talk about the plan\n"


@pytest.mark.parametrize(
    ("site", "level"), [("docs.github.com", 2), ("some.council.gov.uk", 4), ("not-listed-anywhere.example", 4), ("", 4)]
)
def test_what_is_typed_into_a_browser_has_the_level_of_its_site(rules: Rules, site: str, level: int) -> None:
    out = run(focused([TEXT], "firefox", site=site), rules)
    assert [text.strip() for text in out.texts(1, 2, 3)] == ([TEXT.strip()] if level < 4 else [])
    levels = {found for (_, found), rows in out.rows.items() for row in rows if getattr(row, "text", "")}
    assert levels == ({level} if level < 4 else set())
