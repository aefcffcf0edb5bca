"""Recordings one after another: their times, their windows, their screens."""

from __future__ import annotations

import json
from pathlib import Path

from byleave.producers.hooks.replay import replay


def test_recordings_with_commas_between_follow_one_another_with_windows_and_screens_of_their_own(tmp_path: Path) -> None:
    for name, width in (("one", 800), ("two", 1024)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "metadata.json").write_text(json.dumps({"screen_width": width, "screen_height": 600}), "utf-8")
        rows = [{"time_stamp": 5.0 + n, "action": "move", "x": n, "y": n} for n in range(2)]
        (folder / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    timeline = replay(f"{tmp_path / 'one'},{tmp_path / 'two'}", speed=1.0)
    timeline.start(0, titles=False)
    first = timeline.poll(1_000, 0)
    assert ([e.at_ms for e in first], timeline.screen.width) == ([0, 0, 1_000], 800)
    second = timeline.poll(10_000, 0)
    assert ([e.at_ms for e in second], timeline.screen.width) == ([2_000, 2_000, 3_000], 1024)
    windows = [event.window for event in (*first, *second) if event.window]
    assert [(w.handle, w.app) for w in windows] == [(0, "recording:one"), (1, "recording:two")]
    assert timeline.exhausted
