"""The page on refusals names every reason that a batch can be refused for."""

from __future__ import annotations

import re
from pathlib import Path

from byleave.control import admission
from byleave.core import batches, codec, dsse, envelope, events
from byleave.processors import intake, partition, session

PAGE = Path(__file__).parents[3] / "docs" / "formats" / "refusals.md"
OF_DOCUMENTS = {"wrong-type"}


def test_every_reason_in_the_code_is_on_the_page() -> None:
    page = set(
        re.findall(r"`([a-z0-9-]+)`", "".join(row for row in PAGE.read_text().splitlines(True) if row.startswith("| `")))
    )
    found = set()
    for module in (admission, batches, codec, dsse, envelope, events, intake, session):
        text = Path(module.__file__).read_text()
        found |= set(re.findall(r'reason="([a-z0-9-]+)"', text)) | set(re.findall(r'Refuses\("([a-z0-9-]+)"\)', text))
        found |= set(re.findall(r'_unless_late\("([a-z0-9-]+)"', text))
    found.add(partition.KEY_DESTROYED)
    assert len(found) > 25
    assert found - OF_DOCUMENTS <= page
