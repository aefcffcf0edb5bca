"""Avro on the wire: Confluent framing (magic byte 0, schema id, body), every decode checked to the last byte.

Promises  what is decoded was written by a schema that this version ships, whole, with nothing behind it and nothing oversized.
Refuses   unknown magic or id, truncated or trailing bytes, counts and sizes beyond their bound: all as Forged, and no message
          quotes the bytes (P4).

Schema ids come from `schemas/ids.toml`, not from a registry: an endpoint needs none at run time. A registry can be attached,
since the framing is Confluent's (https://docs.confluent.io, "Wire format").
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import fastavro

from byleave.core.errors import Broken, Forged

MAGIC = 0
PREFIX_BYTES = 5
RECORD_BYTES_MAX = 1 << 20
"""Largest record that any topic allows; a bigger one is refused before it is parsed."""
ITEMS_MAX = 4096
"""Longest array or map in a record; Avro states counts before content, so a few bytes could claim billions."""

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Schema:
    """A shipped schema: its fixed id, its name, its parsed form and the digest that envelopes bind."""

    id: int
    name: str
    digest: bytes
    parsed: Any
    text: str


@cache
def load_schemas() -> Mapping[str, Schema]:
    """All shipped schemas by name.

    Raises Broken if a schema's text does not match the digest that its id was given for: a changed schema needs a new id.
    """
    folder = resources.files("byleave.schemas")
    rows = tomllib.loads(folder.joinpath("ids.toml").read_text(encoding="utf-8"))["schema"]
    found = {}
    for row in rows:
        text = folder.joinpath("avro", f"{row['name']}.avsc").read_text(encoding="utf-8")
        digest = schema_digest(text)
        if digest.hex() != row["sha256"]:
            raise Broken(f"schema {row['name']} changed without a new id: its digest is {digest.hex()}")
        found[row["name"]] = Schema(row["id"], row["name"], digest, fastavro.parse_schema(json.loads(text)), text)
    return found


def schema_digest(text: str) -> bytes:
    """SHA-256 of the schema as compact JSON with sorted keys, docs and levels included: what a field promises is part of it."""
    return hashlib.sha256(json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")).encode()).digest()


def encode_body(name: str, record: Mapping[str, Any]) -> bytes:
    """Avro without framing, for parts that travel inside another record. Raises Broken on a record that does not fit."""
    buffer = io.BytesIO()
    try:
        fastavro.schemaless_writer(buffer, load_schemas()[name].parsed, record)
    except (ValueError, TypeError, KeyError, OverflowError, AttributeError, IndexError, struct.error):
        raise Broken(f"a record does not fit schema {name}") from None  # the cause would quote the value
    return buffer.getvalue()


def decode_body(name: str, payload: bytes, *, bytes_max: int = RECORD_BYTES_MAX) -> Record:
    """The reverse of `encode_body`. Raises Forged unless `payload` is exactly one record within its bounds."""
    if len(payload) > bytes_max:
        raise Forged(f"{name}: {len(payload)} bytes, at most {bytes_max} allowed", reason="oversized")
    buffer = io.BytesIO(payload)
    try:
        record = fastavro.schemaless_reader(buffer, load_schemas()[name].parsed, None)
    except Exception as error:  # noqa: BLE001 - hostile bytes may raise only our error, whatever the library does
        raise Forged(f"{name}: not a record of this schema ({type(error).__name__})", reason="malformed") from None
    if buffer.tell() != len(payload):
        raise Forged(f"{name}: {len(payload) - buffer.tell()} bytes behind the record", reason="trailing-bytes")
    if not isinstance(record, dict):
        raise Forged(f"{name}: not a record", reason="malformed")
    _check_items(name, record)
    return record


def encode(name: str, record: Mapping[str, Any]) -> bytes:
    """A framed record, ready to be a Kafka value."""
    return struct.pack(">bI", MAGIC, load_schemas()[name].id) + encode_body(name, record)


def decode(name: str, value: bytes | None, *, bytes_max: int = RECORD_BYTES_MAX) -> Record:
    """The record of schema `name` in a Kafka value.

    Raises Forged: no value, unknown magic, another schema's id, truncated, trailing or oversized bytes.
    """
    if value is None:
        raise Forged(f"{name}: no value", reason="tombstone")
    if len(value) < PREFIX_BYTES:
        raise Forged(f"{name}: {len(value)} bytes are too few", reason="truncated")
    magic, schema_id = struct.unpack_from(">bI", value)
    if magic != MAGIC:
        raise Forged(f"{name}: magic {magic}, expected {MAGIC}", reason="unknown-magic")
    if schema_id != load_schemas()[name].id:
        raise Forged(f"{name}: schema id {schema_id}, expected {load_schemas()[name].id}", reason="unknown-schema")
    return decode_body(name, value[PREFIX_BYTES:], bytes_max=bytes_max)


def _check_items(name: str, record: Mapping[str, Any]) -> None:
    for field, value in record.items():
        if isinstance(value, (list, dict)) and len(value) > ITEMS_MAX:
            raise Forged(f"{name}.{field}: {len(value)} items, at most {ITEMS_MAX}", reason="too-many-items")
