"""What earlier versions wrote is still read, and means the same: their bytes are kept, signed by keys made up for it.

Never made anew: a file that this version cannot read is a break with endpoints that are not updated yet. What a new version
adds gets a file of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from byleave.control import beacon, trust
from byleave.control.admission import Admitted, Claim, Refuses, decide
from byleave.control.documents import dump
from byleave.control.knowledge import Knowledge
from byleave.core.dsse import load_envelope

GOLDEN = sorted((Path(__file__).parents[2] / "assets" / "golden").glob("control_*.json"))
NOW_MS = 1_795_500_000_000


@pytest.fixture(params=GOLDEN, ids=lambda path: path.stem)
def golden(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(json.loads(request.param.read_text()))


def read(golden: dict[str, Any]) -> Knowledge:
    records = [(topic, value.encode()) for topic, value in golden["records"]]
    knowledge = Knowledge(trust.load_root(records[0][1], "golden."), "golden.")
    for topic, value in records[1:]:
        document = knowledge.learn(topic, value)
        assert dump(document) == load_envelope(value).body, f"{topic}: written again it would have another digest"
    return knowledge


def test_two_versions_before_are_kept() -> None:
    assert len(GOLDEN) >= 2


def test_every_document_is_read_keeps_its_bytes_and_means_what_it_meant(golden: dict[str, Any]) -> None:
    knowledge = read(golden)
    assert knowledge.state is not None
    assert (knowledge.state.epoch, knowledge.state_digest) == (golden["epoch"], golden["state"])
    assert (list(knowledge.in_force()), sorted(knowledge.enrolments)) == (golden["in_force"], golden["enrolled"])
    manifest = bytes.fromhex(knowledge.state.run[0].manifest)
    first, second = (Claim("ep-a", bytes(16), 1, hi, hi + 100, manifest) for hi in (NOW_MS + 1_500, NOW_MS + 2_600))
    assert isinstance(decide(first, knowledge), Admitted)
    assert decide(second, knowledge) == Refuses("halted"), "of the first epoch, after the order that the second lifted"
    assert isinstance(decide(Claim("ep-a", bytes(16), 2, NOW_MS + 11_000, NOW_MS + 11_100, manifest), knowledge), Admitted)
    assert decide(Claim("ep-b", bytes(16), 2, NOW_MS + 11_300, NOW_MS + 11_400, manifest), knowledge) == Refuses("halted")


def test_a_service_of_today_goes_on_from_the_memory_of_then(golden: dict[str, Any]) -> None:
    knowledge, memory = read(golden), beacon.load(golden["memory"].encode())
    after, said = beacon.vouch(memory, knowledge, NOW_MS)
    assert said.service_ms == memory.last_ms + 1
    assert [one.halt_id for one in said.halts] == golden["in_force"]
    assert after.revoked == frozenset(knowledge.revoked)
