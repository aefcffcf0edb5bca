"""P5: what redaction lets out, and what it loses, is on no labelled text worse than it once was (bench/floors.toml)."""

from __future__ import annotations

import pytest

from bench import floors, labelled
from bench.redact import floor_figures
from byleave.processors.session import load_rules

pytestmark = pytest.mark.slow


def test_no_figure_is_worse_than_its_floor() -> None:
    sets = labelled.sets_here()
    known = floors.load_floors(floors.FILE.read_text(encoding="utf-8"))
    figures = floor_figures(load_rules(), sets)
    unmeasured = {name for name in known if name not in figures}
    assert all(name.startswith(labelled.FOREIGN) for name in unmeasured), "only what lies beside the clone may be absent"
    assert list(floors.worse(figures, known)) == []
