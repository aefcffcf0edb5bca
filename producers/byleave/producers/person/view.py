"""The person's page as HTML, from what the agent answers. Pure; everything that others wrote is escaped (P7).

It says what it does not know: a part whose answer is missing says so instead of showing nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from string import Template
from typing import Any

from byleave.producers.receipts import added

LINES_MAX = 2_000
_STATES = {
    "live": ("Recorded", "pause", "Pause"),
    "paused": ("Paused", "resume", "Resume"),
    "off": ("Not recorded", "pause", "Pause"),
}
_NAMED = re.compile(r"([A-Z][a-z ]{1,9}):\s+(.*)", re.DOTALL)
_NUMBERS = {"gaps": "lost, and said so", "near_focus": "dropped at a change of window"}


@dataclass(frozen=True, slots=True)
class View:
    """What the page shows. `answers`: the agent's, by question; `recent`: lines of the last minutes, if they were asked for."""

    endpoint: str
    time: str
    csrf: str = field(repr=False)
    answers: Mapping[str, Any] = field(repr=False)
    recent: Sequence[str] | None = field(default=None, repr=False)
    note: str = ""


def asset(name: str) -> bytes:
    """A file of this package."""
    return (resources.files("byleave.producers.person") / name).read_bytes()


def page(view: View) -> str:
    """The whole page."""
    status = view.answers.get("status", {})
    state = "live" if status.get("capturing") else "paused" if view.answers.get("paused") else "off"
    word, change, label = _STATES[state]
    sentence = str(status.get("answer", "the agent does not answer just now"))
    note = f'<section><p class="note" role="status">{escape(view.note)}</p></section>' if view.note else ""
    sections = note + "".join((_today(view.answers.get("today")), _recent(view.recent), _agreed(view.answers), _READERS))
    return Template(asset("page.html").decode()).substitute(
        word=word, state=state, change=change, label=label, endpoint=escape(view.endpoint), time=escape(view.time),
        sentence=escape(sentence[:1].upper() + sentence[1:] + "."), csrf=escape(view.csrf), sections=sections,
    )  # fmt: skip


def _today(today: Any) -> str:
    if not isinstance(today, Mapping):
        return _section("today", "Today", _p("This agent keeps no account of the day."))
    minutes = {str(app): float(spent) for app, spent in dict(today.get("minutes", {})).items()}
    numbers = {label: today[name] for name, label in _NUMBERS.items() if today.get(name)}
    taken = _bars(minutes) + _counts({**today.get("counts", {}), **numbers}) if minutes else _p("Nothing was taken today.")
    receipt = today.get("receipt")
    if receipt is None:
        removed = _p("No receipt of the redactor has come in for today yet.")
    else:
        removed = _counts(receipt["removals"]) or _p("Nothing of today had to be removed.")
        removed += f'<p class="quiet">{_sum(int(today.get("captured", 0)), receipt)}</p>'
    never = _counts(today.get("never", {})) or _p("Nothing of the kind came up.")
    return (
        _section("today", "Taken today", taken)
        + _section("removed", "Removed before anybody could read it", removed)
        + _section("never", "Never recorded", never)
    )


def _sum(captured: int, receipt: Mapping[str, Any]) -> str:
    told = f"Receipts: {receipt['captured']:,} events = {added(receipt)}."
    rest = captured - receipt["captured"]
    told += f" These sums do not add up, by {receipt['difference']:,}." if receipt.get("difference") else ""
    return told + (f" {rest:,} stand in no receipt yet." if rest else "")


def _recent(lines: Sequence[str] | None) -> str:
    if lines is None:
        form = '<form method="get" action="/"><button name="show" value="5m">Show the last five minutes</button></form>'
        return _section("recent", "The last five minutes", _p("They are in memory only, and only you can look.") + form)
    told = f"<pre>{escape(chr(10).join(lines[-LINES_MAX:]))}</pre>" if lines else _p("Nothing was taken in them.")
    return _section("recent", "The last five minutes", told + '<p><a href="/">Put them away</a></p>')


def _agreed(answers: Mapping[str, Any]) -> str:
    """`words`: the manifest in plain words: its title, lines of "Name: text", and sentences."""
    words = [str(line).strip() for line in answers.get("words", ())]
    if not words:
        return _section("agreed", "What you agreed to", _p("No manifest in force is known here just now."))
    rows = [(_NAMED.match(line), line) for line in words[1:]]
    named = "".join(f"<dt>{escape(row[1])}</dt><dd>{escape(row[2])}</dd>" for row, _ in rows if row)
    rest = escape(" ".join(line for row, line in rows if not row))
    return _section("agreed", "What you agreed to", f"<p><strong>{escape(words[0])}</strong></p><dl>{named}</dl><p>{rest}</p>")


def _section(name: str, title: str, body: str) -> str:
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>{body}</section>\n'


def _bars(minutes: Mapping[str, float]) -> str:
    most = max(minutes.values(), default=0.0) or 1.0
    rows = sorted(minutes.items(), key=lambda row: (-row[1], row[0]))
    return f'<ul class="bars">{"".join(_bar(app, spent, 100 * spent / most) for app, spent in rows)}</ul>'


def _bar(app: str, minutes: float, percent: float) -> str:
    bar = f'<svg aria-hidden="true"><rect width="{percent:.1f}%" height="100%"></rect></svg>'
    told = f"{minutes:,.0f}" if minutes >= 1 else "under 1"
    return f"<li><span>{escape(app)}</span><span>{told} min</span>{bar}</li>"


def _counts(counts: Mapping[str, Any]) -> str:
    rows = [f"<dt>{escape(str(name))}</dt><dd class='number'>{int(count):,}</dd>" for name, count in sorted(counts.items())]
    told = "".join(rows)
    return f'<dl class="counts">{told}</dl>' if told else ""


def _p(html: str) -> str:
    return f"<p>{html}</p>"


_READERS = _section(
    "readers",
    "Who read me",
    _p(
        "Each look at what was taken is in a log that cannot be changed unseen, and that stands on the keyring, not on this "
        "machine. This page does not know it yet; who runs the keyring can answer it."
    ),
)
