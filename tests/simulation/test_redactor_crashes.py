"""The redactor's partition, seeded: killed at any moment, read again from what was committed, told things late.

Goal: whatever happens between two commits, the topics hold what an uninterrupted redactor gives; nothing lost, nothing twice.
Method: real batches of three endpoints in one partition; between any two steps the process may die, documents may come, a
commit may happen. The oracle feeds the same batches to `session.feed`, once, without a fence, a commit or a crash.
"""

from __future__ import annotations

import random

import pytest
from redactor_site import Bench, Endpoint, Site, balanced, oracle, received, rows_of, work

BASE_MS = 1_760_000_000_000


def log_of(site: Site, seed: int) -> list:
    """One partition's records: three endpoints interleaved, two sessions each, broker stamps rising."""
    rng, queues = random.Random(seed), []
    for n, name in enumerate(site.endpoints):
        queue = []
        for session in (0, 1):
            endpoint = Endpoint(site, name, bytes([n, session]) * 8)
            start_ms = BASE_MS + 1000 + session * 200_000
            queue += [(name, endpoint.seal(e, b), endpoint.last.hi_max) for e, b in work(seed * 10 + n, start_ms, 8)]
        queues.append(queue)
    found = []
    stamp_ms = BASE_MS
    while any(queues):
        name, value, hi_ms = rng.choice([q for q in queues if q]).pop(0)
        stamp_ms = max(stamp_ms, hi_ms + rng.randint(-500, 3000))
        found.append(received(name, value, len(found), stamp_ms))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_killed_anywhere_it_writes_what_an_uninterrupted_one_writes(seed: int) -> None:
    site = Site("t.", BASE_MS)
    log, rng = log_of(site, seed), random.Random(seed)
    bench = Bench(site, site.knowledge(BASE_MS))
    at = kills = waited = 0
    while bench.offset < len(log):
        dice = rng.random()
        if dice < 0.5 and at < len(log):
            bench.offer(log[at])
            at += 1
        elif dice < 0.7:
            bench.commit()
        elif dice < 0.8:
            bench.restore()
            at, kills = bench.offset, kills + 1
        elif at:
            heard_ms = log[at - 1].append_ms - rng.randint(-1000, 2000)
            if heard_ms > bench.knowledge.beacon.service_ms:
                bench.learn("control.beacon.v1", site.beacon(heard_ms))
            elif at == len(log):
                bench.learn("control.beacon.v1", site.beacon(bench.knowledge.beacon.service_ms + 1000))
        waited += len(bench.partition.fence)
    wanted, accounts = oracle(site, log)
    assert rows_of(bench.sanitized()) == wanted
    assert bench.refusals() == []
    assert {key: account["admitted"] for key, account in bench.accounts().items() if key in accounts} == {
        key: account.admitted for key, account in accounts.items()
    }
    assert all(balanced(account) and account["ended"] for account in bench.accounts().values())
    assert len(bench.accounts()) == 6
    assert kills > 3
    assert waited > 10
