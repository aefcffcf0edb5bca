"""Sanitized bodies as Arrow columns, and the seal on the columns that hold text (ruling 15; docs/formats/lake.md).

Pure. Events go from wire columns to Arrow columns without a Python object a row. Text is sealed row by row under the key of
(subject, day, level), tied to its row: destroying that key makes it unreadable wherever the file was copied (P7).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from byleave.control.documents import Manifest
from byleave.control.promised import promise_of
from byleave.core.batches import Content, SanitizedBatch, SanitizedHeader, decode_rows
from byleave.core.codec import Record
from byleave.core.envelope import Randomness
from byleave.core.errors import Forged
from byleave.core.events import Kind, unpack_steps
from byleave.core.rows import KEY_ROW, KeyClass
from byleave.core.targets import load_targets

NONCE_BYTES = 12
_IDENTITY = [
    ("subject", pa.string()), ("endpoint", pa.string()), ("session", pa.binary(16)), ("epoch", pa.int64()),
    ("level", pa.int8()), ("row", pa.int64()), ("key_id", pa.string()), ("manifest", pa.string()), ("policy", pa.string()),
    ("raw_partition", pa.int32()), ("raw_offset", pa.int64()),
]  # fmt: skip
_EVENTS = [
    ("at_ms", pa.int64()), ("kind", pa.string()), ("app", pa.string()), ("x", pa.int16()), ("y", pa.int16()),
    ("screen_width", pa.int32()), ("screen_height", pa.int32()), ("button", pa.int8()), ("dx", pa.int8()), ("dy", pa.int8()),
    ("key_class", pa.string()),
]  # fmt: skip
_ACTIONS = [
    ("kind", pa.string()), ("start_ms", pa.int64()), ("end_ms", pa.int64()), ("app", pa.string()), ("button", pa.string()),
    ("x", pa.float32()), ("y", pa.float32()), ("to_x", pa.float32()), ("to_y", pa.float32()), ("dx", pa.int32()),
    ("dy", pa.int32()), ("text", pa.binary()), ("keys", pa.list_(pa.string())), ("redactions", pa.list_(pa.string())),
]  # fmt: skip
_TOLD = {
    "x": "pointer.x", "to_x": "pointer.x", "y": "pointer.y", "to_y": "pointer.y", "button": "pointer.button",
    "dx": "pointer.wheel", "dy": "pointer.wheel", "app": "window.app", "key_class": "key.key", "keys": "key.key",
    "target_role": "target.role", "target_box": "target.box", "target_label": "target.label",
}  # fmt: skip
"""By which field of a manifest a column may tell something. `text` goes by its row's kind; what is not here tells of a row only
that it is there."""
_SAY_NOTHING: tuple[Any, ...] = (0, -1, "", "none", "unknown", None, [], [0, 0, 0, 0])
_KIND_OF = {
    **dict.fromkeys(("move", "button_down", "button_up", "scroll"), "pointer"), "key": "key",
    **dict.fromkeys(("CLICK", "DOUBLE_CLICK", "TRIPLE_CLICK", "DRAG", "SCROLL"), "pointer"),
    **dict.fromkeys(("TYPE", "PRESS", "HOTKEY", "HELD"), "key"), "SWITCH": "window", "TASK": "task", "TASK_DONE": "task",
}  # fmt: skip
_TEXT_OF = {"SWITCH": "title.title", "TASK": "task.text"}
_TARGETS = [("target_role", pa.string()), ("target_box", pa.list_(pa.int32())), ("target_label", pa.binary())]
SCHEMAS = {"events": pa.schema(_IDENTITY + _EVENTS), "actions": pa.schema(_IDENTITY + _ACTIONS + _TARGETS)}
EARLIER = {"actions": pa.schema(_IDENTITY + _ACTIONS)}
"""Of files that the version before wrote: what they lack reads as null."""
_BOUND = {"text": b"byleave/v1/text", "target_label": b"byleave/v1/label"}
"""What each of SEALED_COLUMNS is bound to, so that one does not open as the other."""
TABLES = {Content.EVENTS: "events", Content.ACTIONS: "actions"}

_KINDS = pa.array([*(kind.name.lower() for kind in sorted(Kind) if kind < KEY_ROW), "key"])
_CLASSES = pa.array([key_class.name.lower() for key_class in sorted(KeyClass)])
_STEPS = [unpack_steps(packed) for packed in range(256)]
_DX, _DY = (pa.array([steps[axis] for steps in _STEPS], pa.int8()) for axis in (0, 1))


def arrow_rows(batch: SanitizedBatch, key: bytes, random_bytes: Randomness) -> pa.RecordBatch:
    """The rows of an opened record, text sealed again. Raises Forged unless body, columns and header agree."""
    header = batch.header
    body = decode_rows(header.content, batch.body)
    own = _events(body) if header.content is Content.EVENTS else _actions(body, header, key, random_bytes)
    count = len(own["kind"])
    if count != header.rows:
        raise Forged(f"{count} rows, the header says {header.rows}", reason="count-mismatch")
    schema = SCHEMAS[TABLES[header.content]]
    columns = {**_identity(header, count), **own}
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def undue(rows: pa.RecordBatch, level: int, manifest: Manifest) -> str:
    """What of these rows their manifest does not promise: a level, kind or column by name; empty if all is promised (P1).

    Which application a row is of cannot be asked here: rows tell its category, and only the redactor's policy knows of which.
    """
    promise = promise_of(manifest)
    if level > max((reader.level for reader in manifest.readers), default=0):
        return f"level {level}"
    kinds = rows.column("kind").unique().to_pylist()
    for kind in kinds:
        if kind != "GAP" and _KIND_OF.get(kind) not in promise.kinds:
            return str(kind)
    for name in rows.schema.names:
        if name in _TOLD and _TOLD[name] not in promise.fields and _tells(rows.column(name)):
            return str(name)
    if "text" in rows.schema.names:
        silent = [kind for kind in kinds if _TEXT_OF.get(kind, "key.key") not in promise.fields]
        of = pc.call_function("is_in", [rows.column("kind")], pc.SetLookupOptions(pa.array(silent, pa.string())))
        if rows.column("text").filter(of).drop_null():
            return "text"
    return ""


def _tells(column: pa.Array) -> bool:
    return any(value not in _SAY_NOTHING for value in column.to_pylist())


def open_text(key: bytes, endpoint: str, session: bytes, level: int, row: int, sealed: bytes, column: str = "text") -> str:
    """The text of one row. Raises Forged (`moved-ciphertext`): another key, row or column, or changed bytes."""
    try:
        bound = _place(column, endpoint, session, level) + _number(row)
        plain = AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        raise Forged("a sealed text does not belong to its row and key", reason="moved-ciphertext") from None
    return plain.decode()


def _identity(header: SanitizedHeader, count: int) -> dict[str, pa.Array]:
    values = header.record() | {"manifest": header.manifest.hex()}
    same = {name: pa.repeat(pa.scalar(values[name], kind), count) for name, kind in _IDENTITY if name != "row"}
    return {**same, "row": pa.array(range(header.row0, header.row0 + count), pa.int64())}


def _events(body: Record) -> dict[str, pa.Array]:
    """Checked before it is trusted: lengths, kinds, classes and places in `apps`."""
    count = len(body["kind"])
    sizes = {"at": 4, "x": 2, "y": 2, "arg": 1, "key_class": 1, "app": 1}
    fits = all(len(body[name]) == count * size for name, size in sizes.items())
    tops = {"kind": len(_KINDS), "key_class": len(_CLASSES), "app": len(body["apps"])}
    if not fits or any(max(body[name], default=-1) >= top for name, top in tops.items()):
        raise Forged("sanitized columns do not agree", reason="count-mismatch")

    def column(name: str, kind: pa.DataType) -> pa.Array:
        return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(body[name])])

    # call_function: the named functions of pyarrow.compute look for optional modules at every call
    kind, arg = column("kind", pa.uint8()), column("arg", pa.uint8())
    scroll, zero = pc.call_function("equal", [kind, pa.scalar(int(Kind.SCROLL), pa.uint8())]), pa.scalar(0, pa.int8())
    button = pc.call_function("if_else", [scroll, zero, column("arg", pa.int8())])
    dx, dy = (pc.call_function("if_else", [scroll, steps.take(arg), zero]) for steps in (_DX, _DY))
    screen = {name: pa.repeat(pa.scalar(body[name], pa.int32()), count) for name in ("screen_width", "screen_height")}
    return {
        "at_ms": pc.call_function("add", [column("at", pa.uint32()).cast(pa.int64()), pa.scalar(body["base_ms"], pa.int64())]),
        "kind": _KINDS.take(kind), "app": pa.array(body["apps"], pa.string()).take(column("app", pa.uint8())),
        "x": column("x", pa.int16()), "y": column("y", pa.int16()), **screen, "button": button,
        "dx": dx, "dy": dy,
        "key_class": _CLASSES.take(column("key_class", pa.uint8())),
    }  # fmt: skip


def _actions(body: Record, header: SanitizedHeader, key: bytes, random_bytes: Randomness) -> dict[str, pa.Array]:
    rows: list[dict[str, Any]] = body["rows"]
    targets, count = load_targets(body["targets"]), len(rows)
    if any(not 0 <= place < count for place in targets):
        raise Forged("a target is of no row", reason="count-mismatch")
    cipher = AESGCM(key)

    def sealed(column: str, texts: Iterable[str]) -> pa.Array:
        place, found = _place(column, header.endpoint, header.session, int(header.level)), list[bytes | None]()
        for number, text in enumerate(texts, header.row0):
            nonce = random_bytes(NONCE_BYTES) if text else b""
            found.append(nonce + cipher.encrypt(nonce, text.encode(), place + _number(number)) if text else None)
        return pa.array(found, pa.binary())

    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in _ACTIONS if name != "text"}
    known = [targets.get(place) for place in range(count)]
    return {
        **columns, "text": sealed("text", (row["text"] for row in rows)),
        "target_role": pa.array([target.role if target else None for target in known], pa.string()),
        "target_box": pa.array([target.box if target else None for target in known], pa.list_(pa.int32())),
        "target_label": sealed("target_label", (target.label if target else "" for target in known)),
    }  # fmt: skip


def _place(column: str, endpoint: str, session: bytes, level: int) -> bytes:
    """What a text is tied to, but for its row; parts of open length carry it."""
    name = endpoint.encode()
    return _BOUND[column] + len(name).to_bytes(2, "big") + name + session + level.to_bytes(1, "big")


def _number(row: int) -> bytes:
    return row.to_bytes(8, "big")
