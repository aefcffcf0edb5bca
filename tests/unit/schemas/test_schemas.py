"""Schemas: every field says what it is, how sensitive it is and which kind of the manifest covers it, or the build fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest

from byleave.core import codec
from byleave.core.codec import load_schemas, schema_digest
from byleave.core.errors import Broken

KINDS = {"meta", "pointer", "key", "window", "title", "text", "target"}
UNITS = {"ms", "bytes", "px", "steps", "fraction"}
SUFFIX_UNITS = {"_ms": "ms", "_width": "px", "_height": "px"}


def fields_of(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        for field in schema.get("fields", []):
            yield field
            yield from fields_of(field["type"])
        for inner in ("items", "values"):
            if inner in schema:
                yield from fields_of(schema[inner])
    if isinstance(schema, list):
        for branch in schema:
            yield from fields_of(branch)


def faults(schema: Any) -> list[str]:
    found = []
    for field in fields_of(schema):
        name = field["name"]
        if len(field.get("doc", "")) < 5:
            found.append(f"{name}: no doc")
        if field.get("level") not in (1, 2, 3, 4):
            found.append(f"{name}: no level")
        if field.get("kind") not in KINDS:
            found.append(f"{name}: no manifest kind")
        wanted = next((unit for suffix, unit in SUFFIX_UNITS.items() if name.endswith(suffix)), field.get("unit"))
        if field.get("unit") != wanted or (wanted is not None and wanted not in UNITS):
            found.append(f"{name}: unit {field.get('unit')}, expected {wanted}")
    return found


@pytest.mark.parametrize("name", sorted(load_schemas()))
def test_every_field_has_doc_unit_level_and_manifest_kind(name: str) -> None:
    assert faults(json.loads(load_schemas()[name].text)) == []


def test_a_field_without_its_annotations_is_found() -> None:
    bare = {"type": "record", "name": "R", "fields": [{"name": "at_ms", "type": "long"}]}
    assert faults(bare) == ["at_ms: no doc", "at_ms: no level", "at_ms: no manifest kind", "at_ms: unit None, expected ms"]


def test_every_shipped_schema_has_an_id_of_its_own() -> None:
    files = {p.name.removesuffix(".avsc") for p in resources.files("byleave.schemas").joinpath("avro").iterdir()}
    assert files == set(load_schemas())
    assert len({schema.id for schema in load_schemas().values()}) == len(files)


def test_a_changed_doc_changes_the_digest_that_envelopes_bind() -> None:
    text = load_schemas()["raw_batch"].text
    assert schema_digest(text.replace("One endpoint's second", "Anything")) != load_schemas()["raw_batch"].digest


def test_a_schema_changed_without_a_new_id_stops_the_programme(monkeypatch: pytest.MonkeyPatch) -> None:
    load_schemas.cache_clear()
    monkeypatch.setattr(codec, "schema_digest", lambda _: b"\0" * 32)
    with pytest.raises(Broken, match="changed without a new id"):
        load_schemas()
    monkeypatch.undo()
    load_schemas.cache_clear()
    assert load_schemas()
