"""P3. Nobody sees what is not theirs: each key and each topic has named readers, and everybody else gets nothing.

Here the keys and the catalogue; that the broker keeps to the catalogue is proven in tests/broker/test_topics_and_acls.py.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from lake_site import DAY, PURPOSE, LakeSite, Stream

from byleave.core.errors import ByleaveError, Refused
from byleave.core.topics import load_catalogue
from byleave.deploy.pki import service_names
from byleave.sinks.keyring import Keyring

PEOPLE = ("mallory", "ann")
READS = {
    "raw.events.v1": {"redactor"}, "redactor.state.v1": {"redactor"}, "review.l3.v1": {"review"},
    "sanitized.events.l1.v1": {"sink", "ml"}, "sanitized.events.l2.v1": {"sink", "ml"},
    "sanitized.actions.l1.v1": {"sink", "ml"}, "sanitized.actions.l2.v1": {"sink", "ml"},
    "reviewed.actions.l2.v1": {"sink", "ml"},
}  # fmt: skip
"""Who may even receive the sealed bytes of captured content. Operations, security and the broker are not among them."""
DATA_KEYS = {(name, level) for name, levels in (("redactor", (1, 2, 3)), ("sink", (1, 2))) for level in levels}


@pytest.fixture
def site(tmp_path: Path) -> LakeSite:
    return LakeSite(tmp_path)


@pytest.fixture
def keyring(site: LakeSite) -> Iterator[Keyring]:
    keyring = site.keyring()
    yield keyring
    keyring.close()


def test_every_topic_that_holds_captured_content_has_exactly_these_readers() -> None:
    sealed = {
        topic.name: set(topic.readers) for topic in load_catalogue().topics if topic.schema in ("raw_batch", "sanitized_batch")
    }
    assert {**sealed, "redactor.state.v1": set(load_catalogue().topic("redactor.state.v1").readers)} == READS


def test_of_all_principals_and_levels_only_the_named_ones_get_a_data_key(keyring: Keyring) -> None:
    for level in (1, 2, 3):
        keyring.data_key("redactor", f"person-a/{DAY}/{level}")
    given = set()
    for principal, level in itertools.product((*service_names(), *PEOPLE), (1, 2, 3)):
        try:
            keyring.data_key(principal, f"person-a/{DAY}/{level}")
        except Refused:
            continue
        given.add((principal, level))
    assert given == DATA_KEYS


def test_of_all_principals_only_the_reader_that_the_manifest_names_sees_the_lake(site: LakeSite, keyring: Keyring) -> None:
    of = Stream("sanitized.actions.l2.v1", "ep-a", os.urandom(16))
    sink, _ = site.sink(keyring)
    sink.offer(site.received(of, site.value(of, 3, keyring.data_key("redactor", f"person-a/{DAY}/2"), seed=0), 0))
    sink.decide()
    sink.commit(site.now_ms)
    saw = set()
    for principal in (*service_names(), *PEOPLE):
        try:
            rows = site.rows(keyring, site.look("actions"), principal)
        except ByleaveError:
            continue
        saw.add((principal, len(rows)))
    assert saw == {("ml", 3)}


def test_the_named_reader_sees_nothing_for_another_purpose_or_above_its_level(site: LakeSite, keyring: Keyring) -> None:
    of = Stream("sanitized.actions.l2.v1", "ep-a", os.urandom(16))
    sink, _ = site.sink(keyring)
    sink.offer(site.received(of, site.value(of, 3, keyring.data_key("redactor", f"person-a/{DAY}/2"), seed=0), 0))
    sink.decide()
    sink.commit(site.now_ms)
    for purpose in ("performance-review", "", PURPOSE.upper()):
        with pytest.raises(Refused):
            site.rows(keyring, site.look("actions", purpose=purpose))
    with pytest.raises(Refused):
        site.rows(keyring, site.look("actions", level=3))


def test_there_is_no_way_to_ask_for_one_persons_rows(site: LakeSite) -> None:
    """A look has a table, a level, columns and a purpose: no filter by person exists in the reader or in the question."""
    assert set(site.look("actions").__dataclass_fields__) == {"person", "purpose", "table", "level", "columns"}
