"""Receipts: what they count is what the accounts count, once; only their endpoint opens them; and all of them look the same."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from redactor_site import Bench, Endpoint, Site, opened_receipts, receipt_key, received, seed_key, typed_text, work

from byleave.core import codec
from byleave.core.batches import Boundary
from byleave.core.errors import ByleaveError, Forged
from byleave.core.events import FocusEvent, KeyEvent, Kind, Window
from byleave.core.receipts import HOUR_MS, OTHERS, open_receipt, record_key, seal_receipt
from byleave.processors.account import REPLACED, SHARES_MAX, Account
from byleave.processors.reassemble import Outcome
from byleave.processors.receipts import NUMBERS
from byleave.processors.state import StateSeal

BASE_MS = 1_760_000_400_000 // HOUR_MS * HOUR_MS
GOLDEN = Path(__file__).resolve().parents[2] / "assets" / "golden"
PARTS = {"written": ("kept", "reviewed"), "removed": (REPLACED, "level4", "dropped", "withheld")}


@pytest.fixture
def site() -> Site:
    return Site("t.", BASE_MS)


def closes(counts: dict) -> bool:
    parts = sum(counts[name] for name in ("written", "removed", "refused", "gaps", "held"))
    by_fate = {name: sum(s["count"] for s in counts["shares"] if s["fate"] in fates) for name, fates in PARTS.items()}
    return counts["held_before"] + counts["captured"] == parts and all(counts[name] == by_fate[name] for name in PARTS)


def log_over_hours(site: Site, seed: int) -> list:
    """One partition's records of three endpoints: two sessions each, pauses of up to forty minutes, some refused, some late."""
    rng, queues = random.Random(seed), []
    for n, name in enumerate(site.endpoints):
        queue = []
        for session in (0, 1):
            endpoint = Endpoint(site, name, bytes([n, session]) * 8)
            for events, boundary in work(seed * 10 + n, BASE_MS + 1000 + session * 200_000, 8):
                queue.append((name, endpoint.seal(events, boundary, gap=0), endpoint.last.hi_max))
                if rng.random() < 0.15:
                    queue.append((name, queue[-1][1], endpoint.last.hi_max))  # a copy: refused
                if rng.random() < 0.1:
                    bad = [FocusEvent(0, endpoint.last.hi_max, Window(8, "unheard-of"))]  # outside the manifest
                    queue.append((name, endpoint.seal(bad, hi_max=endpoint.last.hi_max), endpoint.last.hi_max))
        queues.append(queue)
    found, stamp_ms = [], BASE_MS
    while any(queues):
        name, value, hi_ms = rng.choice([q for q in queues if q]).pop(0)
        stamp_ms = max(stamp_ms, hi_ms) + rng.choice([300, 2_000, 2_400_000 if rng.random() < 0.3 else 900])
        found.append(received(name, value, len(found), stamp_ms))
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.slow
def test_killed_anywhere_there_is_one_receipt_an_hour_and_over_all_hours_they_are_the_accounts(site: Site, seed: int) -> None:
    log, rng = log_over_hours(site, seed), random.Random(seed)
    bench = Bench(site, site.knowledge(log[-1].append_ms + 10_000))
    at = kills = 0
    while bench.offset < len(log):
        dice = rng.random()
        if dice < 0.6 and at < len(log):
            bench.offer(log[at])
            at += 1
        elif dice < 0.75:
            bench.commit()
        elif dice < 0.85:
            bench.restore()
            at, kills = bench.offset, kills + 1
        else:
            bench.partition.sweep(0, bench.knowledge, bench.pending.append)
    bench.partition.sweep(log[-1].append_ms + 2 * HOUR_MS, bench.knowledge, bench.pending.append)
    bench.commit()
    assert kills > 2
    accounts = bench.accounts()
    for name in site.endpoints:
        receipts = bench.receipts(name)
        hours = [counts["hour_ms"] for counts in receipts]
        assert hours == sorted(set(hours))
        assert len(hours) > 1
        assert all(closes(counts) for counts in receipts)
        assert all(after["held_before"] == before["held"] for before, after in pairwise(receipts))
        assert receipts[-1]["held"] == 0
        own = [account for key, account in accounts.items() if key.startswith(name.encode() + b"/")]
        truth = {number: sum(account[number] for account in own) for number in NUMBERS}
        shares = Counter({fate: n for (fate,), n in summed([s for c in receipts for s in c["shares"]], ("fate",)).items()})
        assert sum(c["captured"] for c in receipts) == truth["admitted"] + truth["refused"] + truth["gaps"]
        assert sum(c["refused"] for c in receipts) == truth["refused"]
        assert shares["kept"] + shares["reviewed"] + shares[REPLACED] == truth["kept"] + truth["reviewed"]
        assert {fate: shares[fate] for fate in PARTS["removed"][1:]} == {fate: truth[fate] for fate in PARTS["removed"][1:]}
        labels = {label: count for (label,), count in summed([r for c in receipts for r in c["removals"]], ("label",)).items()}
        assert labels == sum((Counter(account["labels"]) for account in own), Counter())
    assert sum(sum(c["late"] for c in bench.receipts(name)) for name in site.endpoints) > 0
    assert sum(account["refused"] for account in accounts.values()) > 0


def test_fourteen_typed_passwords_are_fourteen_in_her_receipt(site: Site) -> None:
    bench, endpoint = Bench(site, site.knowledge(BASE_MS + HOUR_MS)), Endpoint(site, "ep-a", b"a" * 16)
    for n in range(14):
        at_ms = BASE_MS + 1_000 + n * 60_000
        batch = endpoint.seal(typed_text(at_ms, f"my password: hunter{n}zebra"))
        bench.offer(received("ep-a", batch, n, at_ms + 2_000))
    bench.partition.sweep(BASE_MS + 3 * HOUR_MS, bench.knowledge, bench.pending.append)
    bench.commit()
    [counts] = bench.receipts("ep-a")
    assert sum(r["count"] for r in counts["removals"] if r["label"] == "PASSWORD") == 14
    assert {r["rule"] for r in counts["removals"]} == {"pattern"}
    assert counts["hour_ms"] == BASE_MS
    assert (counts["sessions"], counts["late"]) == (1, 0)
    assert closes(counts)
    assert b"hunter" not in b"".join(output.value for output in bench.topics["receipts.v1"])


def made(site: Site, bench: Bench, names: tuple[str, ...] = ("ep-a",), words: str = "the report is ready") -> list:
    """The records of one hour in which these endpoints typed."""
    for name in names:
        endpoint = Endpoint(site, name, name.encode().ljust(16, b"."))
        bench.offer(
            received(name, endpoint.seal(typed_text(BASE_MS + 1_000, words)), bench.partition.next_offset, BASE_MS + 5_000)
        )
    bench.partition.sweep(BASE_MS + HOUR_MS, bench.knowledge, bench.pending.append)
    bench.commit()
    return [(output.key, output.value) for output in bench.topics.get("receipts.v1", ())]


@pytest.fixture
def bench(site: Site) -> Bench:
    return Bench(site, site.knowledge(BASE_MS + 2 * HOUR_MS))


def test_no_other_key_of_the_site_opens_a_receipt(site: Site, bench: Bench) -> None:
    [record] = made(site, bench)
    assert len(opened_receipts(site, "ep-a", [record])) == 1
    signing = [*site.officers.values(), *site.roots, site.enrol, site.beacon_key, site.sign, seed_key("ep-a"), seed_key("ep-b"),
               seed_key("person of ep-a")]  # fmt: skip
    others = [X25519PrivateKey.from_private_bytes(key.private_bytes_raw()) for key in signing]
    others += [site.open, X25519PrivateKey.from_private_bytes(site.state_key), receipt_key("ep-b"), receipt_key("ep-c")]
    redactor = [site.sign.public_key()]
    assert all(open_receipt(site.name, key, record, redactor) is None for key in others)
    for key in others:  # and if it claimed to be theirs, signed anew by the redactor itself
        outer = codec.decode("receipt", record[1])
        name = record_key(site.name, key.public_key(), BASE_MS)
        forged = (name, codec.encode("receipt", outer | {"signature": signature(site.sign, name, outer)}))
        with pytest.raises(Forged, match="does not open"):
            open_receipt(site.name, key, forged, redactor)


def signature(key: Ed25519PrivateKey, name: bytes, outer: dict) -> bytes:
    from byleave.core import dsse
    from byleave.core.receipts import RECEIPT_TYPE

    return dsse.sign(key, RECEIPT_TYPE, name, outer["hour_ms"].to_bytes(8, "big"), outer["sealed"])


def test_records_are_of_one_size_and_their_keys_never_the_same_twice(site: Site, bench: Bench) -> None:
    busy = "password: hunter2zx for ann@example.com and the report is ready " * 3
    records = made(site, bench, ("ep-a",)) + made(site, Bench(site, site.knowledge(BASE_MS + 2 * HOUR_MS)), ("ep-b",), busy)
    assert len({len(value) for _, value in records}) == 1
    keys = {record_key(site.name, receipt_key(name).public_key(), BASE_MS + n * HOUR_MS)
            for name in site.endpoints for n in range(5)}  # fmt: skip
    assert len(keys) == 15
    assert not any(name.encode() in key + value for key, value in records for name in site.endpoints)


def test_a_forged_moved_or_changed_receipt_is_refused(site: Site, bench: Bench) -> None:
    [(name, value)] = made(site, bench)
    outer, key, redactor = codec.decode("receipt", value), receipt_key("ep-a"), [site.sign.public_key()]
    later = record_key(site.name, key.public_key(), BASE_MS + HOUR_MS)
    elsewhere = outer | {"hour_ms": BASE_MS + HOUR_MS}
    bad = {
        "bad-signature": [
            (name, codec.encode("receipt", outer | {"signature": signature(seed_key("ep-b"), name, outer)})),
            (later, codec.encode("receipt", elsewhere)),
            *((name, codec.encode("receipt", outer | {"sealed": flipped(outer["sealed"], n)})) for n in (0, 40, 2_000)),
        ],
        "moved-ciphertext": [
            (later, codec.encode("receipt", elsewhere | {"signature": signature(site.sign, later, elsewhere)}))
        ],
        "malformed": [(name, codec.encode("receipt", outer | {"hour_ms": BASE_MS + 1})), (name, value[:-1])],
        "tombstone": [(name, None)],
        "trailing-bytes": [(name, value + b"x")],
    }
    for reason, records in bad.items():
        for record in records:
            with pytest.raises(Forged) as caught:
                open_receipt(site.name, key, record, redactor)
            assert caught.value.reason == reason
    rng = random.Random(5)
    for _ in range(300):
        hostile = flipped(value, rng.randrange(len(value)))
        try:
            assert open_receipt(site.name, key, (name, hostile), redactor) is None
        except ByleaveError as error:
            assert isinstance(error, Forged)


def flipped(value: bytes, at: int) -> bytes:
    return value[:at] + bytes([value[at] ^ 4]) + value[at + 1 :]


def test_an_endpoint_without_a_receipt_key_gets_none_and_all_else_goes_on() -> None:
    site = Site("t.", BASE_MS, receipts=False)
    bench = Bench(site, site.knowledge(BASE_MS + 2 * HOUR_MS))
    assert made(site, bench) == []
    [account] = bench.accounts().values()
    assert account["admitted"] > 0


SUMS = ("captured", "written", "removed", "refused", "gaps", "held_before", "held", "late")


def test_a_key_that_nothing_can_be_sealed_to_stops_nothing(site: Site) -> None:
    empty = {"hour_ms": BASE_MS, "endpoint": "ep-a", "policy": "", "shares": [], "removals": [], "sessions": 0}
    counts = empty | dict.fromkeys(SUMS, 0)
    low = X25519PublicKey.from_public_bytes(bytes(32))
    with pytest.raises(ByleaveError) as caught:
        seal_receipt(site.name, low, counts, site.sign)
    assert caught.value.reason == "bad-key"


def test_what_is_held_when_the_hour_ends_is_settled_in_the_next(site: Site, bench: Bench) -> None:
    endpoint = Endpoint(site, "ep-a", b"a" * 16)
    turn = BASE_MS + HOUR_MS
    bench.offer(received("ep-a", endpoint.seal(typed_text(turn - 3_000, "the report")[:-1]), 0, turn - 1_000))
    end = KeyEvent(0, turn + 4_000, Kind.PRESS, "enter")
    bench.offer(received("ep-a", endpoint.seal([end], Boundary.END), 1, turn + 5_000))
    bench.partition.sweep(turn + HOUR_MS, bench.knowledge, bench.pending.append)
    bench.commit()
    first, second = bench.receipts("ep-a")
    assert (first["captured"], first["written"], first["held"]) == (11, 1, 10)
    assert (second["held_before"], second["captured"], second["written"], second["held"]) == (10, 1, 11, 0)


def test_the_hour_of_an_endpoint_that_went_silent_ends_by_the_time_of_its_partition(site: Site, bench: Bench) -> None:
    a, b = Endpoint(site, "ep-a", b"a" * 16), Endpoint(site, "ep-b", b"b" * 16)
    bench.offer(received("ep-a", a.seal(typed_text(BASE_MS + 1_000, "the rep")[:-1]), 0, BASE_MS + 5_000))
    bench.partition.sweep(0, bench.knowledge, bench.pending.append)
    bench.commit()
    assert bench.receipts("ep-a") == []
    later_ms = BASE_MS + HOUR_MS + 100_000
    bench.offer(received("ep-b", b.seal(typed_text(later_ms, "hello")), 1, later_ms + 1_000))
    bench.partition.sweep(0, bench.knowledge, bench.pending.append)
    bench.commit()
    [counts] = bench.receipts("ep-a")
    assert (counts["captured"], counts["held"]) == (8, 0)  # half an hour of silence ended its session
    assert closes(counts)
    assert bench.receipts("ep-b") == []


def test_stamps_that_run_back_open_no_hour_a_second_time(site: Site, bench: Bench) -> None:
    a = Endpoint(site, "ep-a", b"a" * 16)
    turn = BASE_MS + HOUR_MS
    for n, stamp in enumerate((turn - 2_000, turn + 1_000, turn - 1_000, turn + 2_000)):
        bench.offer(received("ep-a", a.seal(typed_text(BASE_MS + 1_000 + n * 2_000, "hello")), n, stamp))
    bench.partition.sweep(turn + HOUR_MS, bench.knowledge, bench.pending.append)
    bench.commit()
    assert [(c["hour_ms"], c["captured"]) for c in bench.receipts("ep-a")] == [(BASE_MS, 7), (turn, 21)]


def test_a_state_of_the_format_before_is_read_and_its_hour_begins_with_the_next_record(site: Site) -> None:
    sealed = bytes.fromhex((GOLDEN / "state_format_2.hex").read_text(encoding="ascii"))
    stream = StateSeal(bytes(range(32)), "t.", random.randbytes).open("ep-a", 3, sealed)
    assert (stream.offset, stream.hour, stream.open) == (2, None, True)
    assert (stream.state.account.admitted, stream.state.account.kept, stream.state.account.held) == (269, 57, 6)
    assert stream.state.account.shares == {}


def test_more_shares_than_are_told_apart_are_of_others_and_none_is_lost() -> None:
    account = Account(held=SHARES_MAX + 40)
    for n in range(SHARES_MAX + 40):
        account.settle(Outcome.KEPT, 1, f"app-{n}", "key", 2)
    assert len(account.shares) == SHARES_MAX + 1
    assert sum(account.shares.values()) == SHARES_MAX + 40
    assert account.shares[f"{OTHERS}\tkey\t2\tkept"] == 40


def test_the_most_varied_hour_fits_the_size_and_keeps_its_sums(site: Site) -> None:
    rng = random.Random(1)
    kinds, fates = ("key", "pointer", "window", "task"), ("kept", "withheld", "level4")
    labels, rules = [f"LABEL_{n}" for n in range(30)], ("vocabulary", "pattern", "edge", "place", "neighbour", "topic")
    for app_chars in (3, 20):
        some = [(kind, level, fate) for kind in kinds for level in (1, 2, 3, 4) for fate in fates for _ in range(3)]
        shares = [
            {"app": rng.randbytes(app_chars).hex(), "kind": kind, "level": level, "fate": fate, "count": rng.getrandbits(40)}
            for kind, level, fate in some
        ]
        removals = [{"label": label, "rule": rule, "count": rng.getrandbits(30)} for label in labels for rule in rules]
        counts = {"hour_ms": BASE_MS, "endpoint": "e" * 63, "policy": rng.randbytes(32).hex(), "shares": shares, "sessions": 9}
        counts |= {"removals": removals} | {name: rng.getrandbits(50) for name in SUMS}
        key = receipt_key("ep-a")
        record = seal_receipt(site.name, key.public_key(), counts, site.sign)
        told = open_receipt(site.name, key, record, [site.sign.public_key()])
        assert told is not None
        assert [told[name] for name in SUMS] == [counts[name] for name in SUMS]
        for name, parts in (("shares", ("kind", "level", "fate")), ("removals", ("label",))):
            assert summed(told[name], parts) == summed(counts[name], parts)
        assert len(told["shares"]) < len(shares)


def summed(rows: list[dict], parts: tuple[str, ...]) -> Counter:
    found: Counter = Counter()
    for row in rows:
        found[tuple(row[part] for part in parts)] += row["count"]
    return found
