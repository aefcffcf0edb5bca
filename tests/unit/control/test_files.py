"""What lies in an installation's files: the development site, officers' keys, the pinned root, the person's words."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from byleave.control import bootstrap, consenting, desk, officers, trust, wording
from byleave.control.knowledge import Knowledge
from byleave.core.errors import Forged, Misconfigured, Refused
from byleave.core.keys import public_hex, read_hpke_key

NOW_MS = 1_800_000_000_000


def contents(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_a_site_is_made_once_and_only_added_to(tmp_path: Path) -> None:
    first = [("ep-a", "person-a", "team-1")]
    bootstrap.dev_site(tmp_path, "test.", first, NOW_MS, random.Random(1).randbytes)
    before = contents(tmp_path)
    bootstrap.dev_site(tmp_path, "test.", [*first, ("ep-b", "person-b", "team-2")], NOW_MS + 5, random.Random(2).randbytes)
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[1] for name in after.keys() - before.keys()} == {"ep-b", "person-b"}


def test_nobody_consents_by_being_enrolled(tmp_path: Path) -> None:
    root = bootstrap.dev_site(tmp_path, "test.", [("ep-a", "person-a", "team-1")], NOW_MS, random.Random(1).randbytes)
    knowledge = Knowledge(root, "test.")
    for topic, _, value in bootstrap.documents_to_publish(tmp_path):
        knowledge.learn(topic, value)
    assert knowledge.leave("ep-a", NOW_MS)
    assert not knowledge.consents


def test_the_state_is_sealed_to_the_key_in_the_redactors_folder(site: Any) -> None:
    run = site.first.run[0]
    assert public_hex(read_hpke_key(site.home / "redactor" / f"{run.key_id}.key")) == run.recipient


def test_the_root_of_another_site_or_none_is_not_used(site: Any, tmp_path: Path) -> None:
    assert bootstrap.pinned_root(site.home, "test.") == site.root
    with pytest.raises(Forged):
        bootstrap.pinned_root(site.home, "other.")
    with pytest.raises(Misconfigured):
        bootstrap.pinned_root(tmp_path, "test.")


def test_officers_who_can_are_found_and_too_few_are_refused(site: Any, tmp_path: Path) -> None:
    chosen = desk.officers(site.root, "resume", site.home / "officers")
    assert len(chosen) == 2
    signed = trust.sign(site.first, chosen)
    assert trust.verify(site.root, "resume", type(site.first), signed, site="test.")
    folder = tmp_path / "one"
    folder.mkdir()
    alone = folder / "security-1.key"
    alone.write_bytes(site.bytes("officers/security-1.key"))
    alone.chmod(0o600)
    with pytest.raises(Refused) as caught:
        desk.officers(site.root, "resume", folder)
    assert caught.value.reason == "below-threshold"


@pytest.mark.parametrize("name", ["../beacon/beacon", "", "/etc/passwd", "security-9"])
def test_an_officer_is_a_name_and_no_path(site: Any, name: str) -> None:
    with pytest.raises(Misconfigured):
        officers.read_officer(officers.officer_path(site.home, name), lambda: "")


def test_the_person_reads_all_of_the_manifest_before_signing(site: Any) -> None:
    manifest = next(iter(site.knowledge().manifests.values()))
    words = "\n".join(wording.plain_words(manifest, "by 2 keys or more"))
    for said in (
        *manifest.applications,
        *manifest.purposes,
        str(manifest.retention_days),
        manifest.dpia,
        manifest.less_intrusive,
        manifest.dpia_sha256,
        wording.NEVER,
        "by 2 keys or more",
        *(wording.FIELDS[name] for name in manifest.fields),
    ):
        assert said in words
    assert wording.FIELDS["title.title"] not in words
    for reader in manifest.readers:
        assert f"{reader.principal} reads level {reader.level} for {reader.purpose}" in words
    assert [wording.KINDS[kind] in words for kind in manifest.kinds] == [True] * len(manifest.kinds)
    assert wording.KINDS["title"] not in words


def test_which_endpoint_is_meant_is_asked_when_there_are_several(site: Any, tmp_path: Path) -> None:
    assert consenting.endpoint_here(site.home, "ep-b") == "ep-b"
    for name in ("", "ep-x"):
        with pytest.raises(Misconfigured, match="ep-a, ep-b"):
            consenting.endpoint_here(site.home, name)
    with pytest.raises(Misconfigured, match="none"):
        consenting.endpoint_here(tmp_path, "")
