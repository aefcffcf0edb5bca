"""Erasing from the lake what a signed order says is to be erased (ruling 7; P7).

Promises  afterwards no file that counts holds such a row: its files are written anew without, under fresh keys, in one commit
          that names the order; before it all old files count, after it none does, whatever is killed when. What was taken
          away is on record before it is.
Leaves    offsets and streams as they were: nothing is read twice for it.
"""

from __future__ import annotations

from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from byleave.core.envelope import Randomness
from byleave.core.keyring import KeyringClient
from byleave.sinks.access import groups
from byleave.sinks.columns import SCHEMAS
from byleave.sinks.lake import DataFile, Snapshot, Table, live
from byleave.sinks.orders import Discard, Standing
from byleave.sinks.sink import write_file


def discard(
    lake: Table, keys: KeyringClient, order: Discard, standing: Standing,
    *, now_ms: int, service_ms: int, random_bytes: Randomness,
) -> Snapshot:  # fmt: skip
    """Carries out one order; that it was is in the snapshot, so it is done once. `service_ms` is the newest beacon's time.

    Nothing may be staged meanwhile that was decided before the order was known. Raises Transient: `conflict` with another
    writer, `order-unread` by the keyring; then nothing has changed for who reads, and it is to be tried again.
    """
    parent = lake.head()
    added: list[DataFile] = []
    removed: list[str] = []
    erased = 0
    for group in groups(live(lake.history())):
        opened = keys.erase_keys(order.halt_id, [file.ticket for file in group])
        for file in (file for file in group if file.file in opened):
            rows = pa.Table.from_batches(lake.read(file, opened[file.file]), SCHEMAS[file.table])
            rest = rows.filter(pc.call_function("invert", [standing.doomed(order, rows, file.table)]))
            if rest.num_rows < rows.num_rows:
                erased += rows.num_rows - rest.num_rows
                removed.append(file.file)
                added += [write_file(lake, keys, file.table, file.level, rest, random_bytes)] if rest.num_rows else []
    record = partial(keys.record_commit, discarded={"halt_id": order.halt_id, "files": removed, "rows": erased})
    done = {**parent.discards, order.halt_id: service_ms}
    return lake.commit(parent, added, {}, parent.streams, now_ms, record, removed=removed, discards=done)
