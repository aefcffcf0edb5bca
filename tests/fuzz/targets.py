"""What must hold of any bytes: nothing crashes, spans are ordered and inside, each event is counted once."""

from __future__ import annotations

from functools import cache

from typed_sessions import EDITOR, TERMINAL, balanced, focused, run

from byleave.core.events import Modifiers
from byleave.processors.detectors import load_detectors
from byleave.processors.redact import LABELS, find_spans, sanitized_text
from byleave.processors.rules import Rules, load_rules

_ACTS: tuple[object, ...] = (
    "\n", "\t", "\b", "\b\b\b\b", ("key", "left"), ("key", "right"), ("key", "home"), ("key", "end"), ("key", "delete"),
    ("key", "up"), ("key", "esc"), ("key", "nothing_known"), ("key", ""), ("key", "left", Modifiers.SHIFT),
    ("key", "end", Modifiers.SHIFT), ("key", "backspace", Modifiers.CONTROL), ("key", "a", Modifiers.CONTROL),
    ("key", "z", Modifiers.CONTROL), ("key", "x", Modifiers.CONTROL), ("key", "v", Modifiers.CONTROL), ("key", "shift"),
    ("key", "w", Modifiers.CONTROL), ("release", "shift"), ("release", "t"), ("click", 3, 4), ("focus", EDITOR, 1),
    ("focus", TERMINAL, 2), ("focus", "nobody-knows", 3), ("wait", 700), ("wait", 31_000), ("key", "\u0301"), ("scroll", 1),
)  # fmt: skip


@cache
def _rules() -> Rules:
    return load_rules()


def spans(data: bytes) -> None:
    """The whole redactor on a text behind a context; the first byte says which edges are open and where the context ends."""
    mode, text = data[0] if data else 0, data[1:].decode("utf-8", "replace")
    context, text = text[: mode >> 2], text[mode >> 2 :]
    found, at = find_spans(context, text, _rules(), open_left=bool(mode & 1), open_right=bool(mode & 2)), -1
    for span in found:
        assert at < span.start < span.end <= len(text)
        assert span.label in LABELS
        at = span.end
    sanitized_text(text, found)


def patterns(data: bytes) -> None:
    """All patterns and their checks, on a text as it is."""
    text = data.decode("utf-8", "surrogatepass" if data.isascii() else "replace")
    for start, end, label in load_detectors().find(text):
        assert 0 <= start < end <= len(text)
        assert label in LABELS


def session(data: bytes) -> None:
    """Keys, carets, focus changes and pauses in any order: bytes below 128 are typed, others are acts."""
    scene = [chr(byte) if byte < 128 else _ACTS[byte % len(_ACTS)] for byte in data[:400]]
    done = run(focused(scene), _rules())
    balanced(done.account)


TARGETS = {"spans": spans, "patterns": patterns, "session": session}
