"""`byleave bench redact`: what gets out, what is lost for nothing, how fast; ours beside its peers on the same texts.

The texts are labelled: ours, and where the data folder lies beside the clone also other people's. Peers are installed once into
`.cache/peers` of the clone; one that cannot be had is named with the reason. `--raise-floors` writes better figures down as the
worst that is allowed from then on (bench/floors.toml).
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench import disguises, floors, labelled, peers, redact_speed
from bench.figures import Figure, report
from byleave.processors.redact import redactor
from byleave.processors.session import Rules, load_rules

QUICK_RECORDS, QUICK_TYPED, TYPED = 120, 40, 150
LEAK_GOALS = {"pii_dev": 0.5, "pii": 1.0, "workplace": 3.0}
"""Per cent, by how a set's name begins; the longest that fits counts."""
LOST_GOALS = {"pii": 15.0, "workplace": 15.0, "prose": 3.0}
TYPED_GOALS = {"normal": 0.5, "messy": 1.0, "abandoned": 0.1}
LEVEL_GOALS = {"missed_context": 2.0, "missed_bare": 8.0, "false_context": 10.0, "false_bare": 10.0}
_SAID = {
    "missed_context": "level 3 or 4 that would go on as 1 or 2, window known",
    "missed_bare": "level 3 or 4 that would go on as 1 or 2, text alone",
    "false_context": "level 1 or 2 taken for 3 or 4, window known",
    "false_bare": "level 1 or 2 taken for 3 or 4, text alone",
}
Sets = Mapping[str, Sequence[dict[str, Any]]]


def main(argv: list[str]) -> int:
    """0 if every goal is met, 1 if one is missed."""
    parser = argparse.ArgumentParser("byleave bench redact", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True, help="run the peers too")
    parser.add_argument("--quick", action="store_true", help="a part of each set; such figures are no floors")
    parser.add_argument("--raise-floors", action="store_true", help="write better figures into bench/floors.toml, and end")
    asked = parser.parse_args(argv)
    if asked.raise_floors:
        return raise_floors()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        at = progress.add_task("word lists")
        figures, more = _measure(asked.quick, asked.peers, lambda what: progress.update(at, description=what))
    if not asked.json:
        Console().print(_systems_table(more))
    return report(figures, as_json=asked.json, more=more)


def _measure(quick: bool, with_peers: bool, say: Any) -> tuple[list[Figure], dict[str, Any]]:
    """Every figure with a goal, and what it was made from."""
    rules, every = load_rules(), labelled.sets_here()
    sets = {name: _spread(records, QUICK_RECORDS) if quick else records for name, records in every.items()}
    say("ours on labelled text")
    found = labelled.ours(sets, rules)
    say("peers: install, then run")
    systems = compare(sets, rules, with_peers)
    say("typing")
    typed = typing_figures(sets, rules, QUICK_TYPED if quick else TYPED)
    say("disguises")
    hidden = disguises.disguised(rules)
    say("speed and memory")
    low = redact_speed.stretches(_work(sets, rules))
    fast, idle, start = redact_speed.speed(low, rules), redact_speed.idle_bytes(rules), redact_speed.start()
    figures = [
        *_text_figures(found), *_pooled_figures(sets, rules), *_typed_figures(typed),
        Figure("made-up values in disguise that get out", 1, 100 * hidden.share, f"% of {hidden.tried:,}", at_least=False),
        *_speed_figures(fast, idle),
    ]  # fmt: skip
    absent = [] if any(name.startswith(labelled.FOREIGN) for name in sets) else [f"{name}.jsonl" for name in labelled.FOREIGN]
    more = {"sets": found, "systems": systems, "typing": typed, "start": start, "speed": asdict(fast), "absent": absent}
    return figures, more | {"quick": quick, "disguises": {"values": hidden.values, "shapes": hidden.shapes}}


def compare(sets: Sets, rules: Rules, with_peers: bool) -> dict[str, Any]:
    """By set and system: leak, full recall, secrets, harmless lost, speed; or why a peer is absent."""
    spans = {name: records for name, records in sets.items() if "/" not in name and all("spans" in r for r in records)}
    systems: dict[str, Any] = {"absent": {}, "sets": {}}
    for name, records in spans.items():
        scored = labelled.scores(records, redactor(rules))
        systems["sets"][name] = {"byleave": scored}
    answers = peers.ask(labelled.texts_of(spans)) if with_peers else []
    for peer in answers:
        if peer.absent:
            systems["absent"][peer.name] = peer.absent
            continue
        for name, records in spans.items():
            systems["sets"][name][peer.name] = _peer_scores(records, peer)
    return systems


def _peer_scores(records: Sequence[dict[str, Any]], peer: peers.Answers) -> dict[str, Any]:
    """A peer's figures, with the times that it took itself: it runs elsewhere."""
    scored = labelled.scores(records, lambda text: peer.ranges[text])
    seconds = [peer.seconds[record["text"]] for record in records if record["text"] in peer.seconds]
    whole = sum(len(text) for text in peer.ranges) / peer.seconds_all if peer.seconds_all else 0.0
    times = importlib.import_module("redaction_score").speed(sum(len(r["text"]) for r in records), seconds) if seconds else {}
    return scored | {"chars_per_s": times.get("chars_per_s", whole), "p99_ms": times.get("p99_ms")}


def typing_figures(sets: Sets, rules: Rules, most: int) -> dict[str, dict[str, float]]:
    """Shares of typed sensitive and of deleted characters whose text gets out, by how the person types."""
    score = importlib.import_module("typing_score")
    names = [name for name in sets if "/" not in name and not name.startswith(("prose", "levels"))]
    records = [record for name in names for record in _spread(sets[name], most)]
    out = {}
    for profile in score.PROFILES:
        found = score.score(records, profile, rules)
        out[profile] = {
            "sensitive_out": found.leak,
            "deleted_out": found.deleted_out / max(1, found.deleted),
            "lost": found.lost,
            "sensitive": found.sensitive,
            "deleted": found.deleted,
        }
    return out


def _work(sets: Sets, rules: Rules) -> list[dict[str, Any]]:
    """Texts of work that are not taken for more."""
    found = [r for name in ("prose_dev", "prose_blind", "workplace_dev") for r in sets.get(name, ()) if not r["spans"]]
    return [record for record in found if labelled.judge(record, rules).level < 3]


def _spread(records: Sequence[dict[str, Any]], most: int) -> Sequence[dict[str, Any]]:
    """At most so many of `records`, from all over them."""
    return records[:: max(1, len(records) // most)][:most]


def _text_figures(found: Mapping[str, Mapping[str, float]]) -> list[Figure]:
    out = []
    for name, rows in found.items():
        for figure, goals, said in (("leak", LEAK_GOALS, "leak of tier 1"), ("lost", LOST_GOALS, "harmless characters lost")):
            fitting = [start for start in goals if name == start or (name.startswith(start) and "/" not in name)]
            if figure in rows and fitting:
                exact = name if name in goals else min(fitting, key=len)
                out.append(Figure(f"{name}: {said}", goals[exact], 100 * rows[figure], "%", at_least=False))
    return out


def _pooled_figures(sets: Sets, rules: Rules) -> list[Figure]:
    """Over all sets together that can tell."""
    secret = [record for name, records in sets.items() if name.startswith("workplace") for record in records]
    levels = [r for name, records in sets.items() if "/" not in name and not name.startswith("prose") for r in records]
    leak = labelled.secrets_in_context(secret, rules)
    found = labelled.level_figures(levels, rules)
    figures = [Figure("workplace: leak of secrets, window known", 1.0, 100 * (leak or 0.0), "%", at_least=False)]
    return figures + [
        Figure(_SAID[name], goal, 100 * found[name], "%", at_least=False) for name, goal in LEVEL_GOALS.items() if name in found
    ]


def _typed_figures(typed: Mapping[str, Mapping[str, float]]) -> list[Figure]:
    sensitive = [
        Figure(
            f"typed {name}: sensitive keys whose text gets out", goal, 100 * typed[name]["sensitive_out"],
            f"% of {typed[name]['sensitive']:,.0f}", at_least=False,
        )
        for name, goal in TYPED_GOALS.items()
    ]  # fmt: skip
    deleted = max(rows["deleted_out"] for rows in typed.values())
    keys = sum(rows["deleted"] for rows in typed.values())
    return [*sensitive, Figure("typed: deleted characters that get out", 0, 100 * deleted, f"% of {keys:,.0f}", at_least=False)]


def _speed_figures(fast: redact_speed.Speed, idle: float) -> list[Figure]:
    decisions = f"ms of CPU, {fast.decisions:,} decisions"
    return [
        Figure("reassemble, redact, classify: normal typing, one core", 50_000, fast.events_a_second, "key events/s"),
        Figure("one decision, p99", 5, fast.decision_p99_ms, decisions, at_least=False),
        Figure(f"hostile text, slowest: {fast.hostile_worst}", 1, fast.hostile_mb_a_second, "MB/s"),
        Figure("memory of an idle endpoint", 50, idle / 1_000, "kB", at_least=False),
    ]


def _systems_table(more: Mapping[str, Any]) -> Table:
    systems = more["systems"]
    notes = [f"{name} is absent: {why}" for name, why in systems["absent"].items()]
    notes += [f"{name} is not beside this clone" for name in more["absent"]]
    table = Table(title="the same texts, in one run", title_justify="left", caption="\n".join(notes), caption_justify="left")
    for column in ("texts", "system", "leak", "secrets", "whole spans", "harmless lost", "chars/s", "p99 ms"):
        table.add_column(column, justify="left" if column in ("texts", "system") else "right")
    for name, rows in systems["sets"].items():
        for system, row in rows.items():
            share = [_percent(row[figure]) for figure in ("leak", "secrets", "full_recall", "lost")]
            slowest = f"{row['p99_ms']:.2f}" if row["p99_ms"] is not None else "-"
            table.add_row(f"{name} ({row['records']})", system, *share, f"{row['chars_per_s']:,.0f}", slowest)
        table.add_section()
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def floor_figures(rules: Rules, sets: Sets) -> dict[str, dict[str, float]]:
    """What has floors: the same figures on every machine. Typing is measured on the developers' own texts."""
    own = {name: sets[name] for name in ("workplace_dev", "workplace_dev2") if name in sets}
    typed = {f"typed_{name}": rows for name, rows in typing_figures(own, rules, QUICK_TYPED).items()}
    kept, hidden = ("sensitive_out", "deleted_out", "lost"), disguises.disguised(rules)
    return (
        labelled.ours(sets, rules)
        | {"disguised": {"out": hidden.share}}
        | {name: {each: rows[each] for each in kept} for name, rows in typed.items()}
    )


def raise_floors(today: datetime.date | None = None) -> int:
    """Rewrites the file of floors; prints what is stricter now, and what has become worse. 1 if anything has."""
    old = floors.load_floors(floors.FILE.read_text(encoding="utf-8")) if floors.FILE.exists() else {}
    found = floor_figures(load_rules(), labelled.sets_here())
    new = floors.raised(found, old, today or datetime.datetime.now(datetime.UTC).date())
    floors.FILE.write_text(floors.written(new), encoding="utf-8")
    stricter = sum(old.get(name, {}).get(figure) != row for name, rows in new.items() for figure, row in rows.items())
    lower = list(floors.worse(found, new))
    print(json.dumps({"raised": stricter, "worse": lower}))
    return 1 if lower else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
