"""Commands of the lake, the ledger and the keys. Rows go to standard output or a file, everything else beside them."""

from __future__ import annotations

import codecs
import csv
import getpass
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from byleave.core.console import Json, say
from byleave.core.errors import Forged, Misconfigured
from byleave.core.settings import load_installation

if TYPE_CHECKING:
    import pyarrow as pa

    from byleave.sinks.access import Look
    from byleave.sinks.ledger import Line

TABLE_ROWS = 20
LOOKS = ("read", "open", "read-refused")

app = typer.Typer(no_args_is_help=True)
lake, ledger, keys = (typer.Typer(no_args_is_help=True, help=text) for text in (
    "The encrypted training lake.", "The record of every look.", "Data keys."))  # fmt: skip
for name, group in {"lake": lake, "ledger": ledger, "keys": keys}.items():
    app.add_typer(group, name=name)


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSONL = "jsonl"
    ARROW = "arrow"


@lake.command("read")
def lake_read(
    purpose: Annotated[str, typer.Option(help="Purpose code; the manifest of the records must name it.")],
    table: Annotated[str, typer.Option(help="events or actions.")] = "actions",
    level: Annotated[int, typer.Option(help="Highest level to read.")] = 2,
    columns: Annotated[str, typer.Option(help="Comma-separated; default all.")] = "",
    form: Annotated[Format, typer.Option("--format", help="How rows are written.")] = Format.TABLE,
    out: Annotated[Path | None, typer.Option(help="File instead of standard output.")] = None,
    limit: Annotated[int | None, typer.Option(help="Most rows; a table shows 20 unless told otherwise.")] = None,
    principal: Annotated[str, typer.Option("--as", help="Whose certificate asks.")] = "ml",
    person: Annotated[str, typer.Option(help="Who looks; default this user. On record.")] = "",
    as_json: Json = False,
) -> None:
    """Read rows. The look is on record before the first of them; a refused one is on record too.

    Example: byleave lake read --table actions --level 2 --purpose train-assistant --format jsonl --out actions.jsonl
    """
    from byleave.core.keyring import KeyringClient
    from byleave.sinks.access import Look, read
    from byleave.sinks.lake import LocalLake

    at = load_installation()
    wanted = tuple(name.strip() for name in columns.split(",") if name.strip())
    look = Look(person or getpass.getuser(), purpose, table, level, wanted)
    most = limit if limit is not None else (TABLE_ROWS if form is Format.TABLE else None)
    with closing(KeyringClient(at.keyring, at.certificate(principal))) as keyring, _output(out) as stream:
        batches = read(LocalLake(at.home / "lake"), keyring, look, time.monotonic)
        rows = _write(form, look, _first(batches, most), stream)
    report = {"rows": rows, "table": table, "level": level, "purpose": purpose, "out": str(out) if out else None}
    say(report, f"{rows} rows of {table} up to level {level}; the look is on record", as_json, err=out is None)


@lake.command("snapshot")
def lake_snapshot(as_json: Json = False) -> None:
    """Say what the newest snapshot holds. Checks the chain of snapshots; opens no file.

    Example: byleave lake snapshot --json
    """
    from byleave.sinks.lake import LocalLake, Snapshot, live

    snapshots = [Snapshot(), *LocalLake(load_installation().home / "lake").history()]
    rows: dict[str, int] = {}
    files = live(snapshots)
    for file in files:
        rows[f"{file.table}.l{file.level}"] = rows.get(f"{file.table}.l{file.level}", 0) + file.rows
    newest, count = snapshots[-1], len(files)
    report = {"version": newest.version, "digest": newest.digest, "files": count, "rows": rows, "offsets": dict(newest.offsets)}
    lines = [f"snapshot {newest.version}, {count} files", *(f"  {name}: {count} rows" for name, count in sorted(rows.items()))]
    say(report, "\n".join(lines), as_json)


@app.command("who-read")
def who_read(
    subject: Annotated[str | None, typer.Option(help="Pseudonym: looks that covered this person's records.")] = None,
    snapshot: Annotated[int | None, typer.Option(help="Looks at this snapshot of the lake.")] = None,
    as_json: Json = False,
) -> None:
    """Say who looked, from the ledger alone. Without options: every look.

    Example: byleave who-read --subject person-a
    """
    found = [line for line in _ledger_lines() if line.entry["what"] in LOOKS and _about(line.entry, subject, snapshot)]
    rows = [{"entry": line.index, "at_ms": line.at_ms, **line.entry} for line in found]
    lines = [_sentence(line) for line in found] or ["nobody, by the ledger"]
    say({"looks": rows, "count": len(rows)}, "\n".join(lines), as_json)


@ledger.command("verify")
def ledger_verify(
    head: Annotated[str | None, typer.Option(help="A head that you remember, as 'size:hash'.")] = None, as_json: Json = False
) -> None:
    """Check every line of the ledger, that it contains a remembered head, and that every snapshot of the lake is on record.

    Example: byleave ledger verify --head 812:9f86d0…
    """
    from byleave.sinks.lake import LocalLake
    from byleave.sinks.ledger import GENESIS, Head

    lines = list(_ledger_lines(head))
    newest = Head(lines[-1].index + 1, lines[-1].hash) if lines else Head(0, GENESIS)
    recorded = {(line.entry["version"], line.entry["digest"]) for line in lines if line.entry["what"] == "commit"}
    snapshots = list(LocalLake(load_installation().home / "lake").history())
    for snapshot in snapshots:
        if (snapshot.version, snapshot.digest) not in recorded:
            raise Forged(f"snapshot {snapshot.version} of the lake is not on record", reason="ledger")
    text = f"{newest.size} entries and {len(snapshots)} snapshots verify; head {newest}"
    say({"entries": newest.size, "head": str(newest), "snapshots": len(snapshots)}, text, as_json)


@keys.command("destroy")
def keys_destroy(
    subject: Annotated[str, typer.Option(help="Pseudonym of the person.")],
    day: Annotated[str | None, typer.Option(help="YYYY-MM-DD; without it, every day there is.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    principal: Annotated[str, typer.Option("--as", help="Whose certificate asks.")] = "enrol",
    as_json: Json = False,
) -> None:
    """Destroy a person's data keys: their text becomes unreadable in lake, topics and copies. Not to be undone.

    Example: byleave keys destroy --subject person-a --day 2026-11-24
    """
    from byleave.core.keyring import KeyringClient

    question = f"Destroy the keys of {subject}, {day or 'every day'}?"
    if not yes and not (sys.stdin.isatty() and typer.confirm(question, err=True)):
        raise Misconfigured("nothing was destroyed: confirm at the terminal, or say --yes")
    at = load_installation()
    with closing(KeyringClient(at.keyring, at.certificate(principal))) as keyring:
        gone = keyring.destroy(subject, day)
    say({"destroyed": gone}, f"{len(gone)} keys destroyed and on record", as_json)


def _ledger_lines(head: str | None = None) -> Iterator[Line]:
    from byleave.sinks.ledger import parse_head, read_head, verify

    folder = load_installation().home / "ledger"
    if not folder.is_dir():  # "nobody looked" must never be the answer of a folder that is not there
        raise Misconfigured(f"there is no ledger in {folder}; name the keyring's state folder with BYLEAVE_HOME")
    return verify(folder, parse_head(head) if head else read_head(folder))


def _about(entry: Mapping[str, Any], subject: str | None, snapshot: int | None) -> bool:
    covers = any(str(key_id).split("/")[0] == subject for key_id in entry.get("covers", ()))
    return (subject is None or covers) and (snapshot is None or entry.get("snapshot") == snapshot)


def _sentence(line: Line) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(line.at_ms / 1000))
    entry, refused = line.entry, line.entry["what"] == "read-refused"
    seen = f"{entry.get('table', 'a record')} up to level {entry.get('level', '?')}"
    people = len({str(key_id).split("/")[0] for key_id in entry.get("covers", ())})
    end = f"refused ({entry['reason']})" if refused else f"{len(entry.get('columns', ()))} columns, records of {people} people"
    return f"{at}  {entry['person']} as {entry['principal']}, for {entry['purpose']}: {seen}: {end}"


def _first(batches: Iterator[pa.RecordBatch], most: int | None) -> Iterator[pa.RecordBatch]:
    left = sys.maxsize if most is None else most
    for batch in batches:
        yield batch.slice(0, left)
        left -= batch.num_rows
        if left <= 0:
            return


@contextmanager
def _output(out: Path | None) -> Iterator[IO[bytes]]:
    """A file for its owner alone, or standard output. A file that is there already is not overwritten."""
    if out is None:
        yield sys.stdout.buffer
        return
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Misconfigured(f"{out} cannot be made ({type(error).__name__}); name another file") from None
    with os.fdopen(handle, "wb") as file:
        try:
            yield file
        except BaseException:
            out.unlink()  # a refused or broken read leaves no half a file behind
            raise


def _write(form: Format, look: Look, batches: Iterator[pa.RecordBatch], stream: IO[bytes]) -> int:
    """Rows as they come, a table at the end; nothing, not even a header, before the look is allowed. How many there were."""
    import pyarrow as pa

    first = next(batches, None)
    rows, batches = 0, chain([] if first is None else [first], batches)
    if form is Format.ARROW:
        with pa.ipc.new_stream(stream, look.schema()) as writer:
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows
        return rows
    text, table = codecs.getwriter("utf-8")(stream), [[*look.names()]]
    lines = csv.writer(text, lineterminator="\n")
    if form is Format.CSV:
        lines.writerow(look.names())
    for row in chain.from_iterable(batch.to_pylist() for batch in batches):
        rows += 1
        plain = {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}
        cells = [" ".join(map(str, v)) if isinstance(v, list) else "" if v is None else str(v) for v in plain.values()]
        if form is Format.JSONL:
            text.write(json.dumps(plain, ensure_ascii=False) + "\n")
        elif form is Format.CSV:
            lines.writerow(cells)
        else:
            table.append(cells)
    text.write(_aligned(table) if form is Format.TABLE else "")
    stream.flush()
    return rows


def _aligned(rows: list[list[str]]) -> str:
    widths = [min(32, max(len(row[n]) for row in rows)) for n in range(len(rows[0]))]
    return "".join("  ".join(v[:w].ljust(w) for v, w in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows)
