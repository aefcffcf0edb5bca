"""The keystroke simulator: its streams give back the text, its truth is true, its rhythm is human."""

import itertools
import random
import string

import pytest
from keystrokes import CLEAN, MESSY, NORMAL, Profile, replay, session, simulate

TEXT = "Please pay Ana Ruiz, SSN 219-09-9999, card 4111 1111 1111 1111.\nThanks! NDA ABCD-77 (call me)"
SPANS = [
    {"start": 11, "end": 19, "label": "PERSON"},
    {"start": 25, "end": 36, "label": "US_SSN"},
    {"start": 43, "end": 62, "label": "CREDIT_CARD"},
]
CLICKY = Profile(typo=0.15, arrow_fix=0.2, click_fix=0.2, word_delete=0.2)


def carets(sim):
    return [t.caret for t in sim.truth]


@pytest.mark.parametrize("profile", [CLEAN, NORMAL, MESSY, CLICKY, Profile(typo=0.5)])
@pytest.mark.parametrize("seed", range(60))
def test_replay_gives_the_final_text_and_its_origins(profile, seed):
    sim = simulate(TEXT, SPANS, seed, profile)
    assert replay(sim.events, carets(sim)) == (sim.text, sim.origin)
    if not profile.uncorrected:
        assert sim.text == TEXT
        assert sim.spans == SPANS
    for i, (event, truth) in enumerate(zip(sim.events, sim.truth, strict=True)):
        assert event.index == i
        if truth.offset is not None:
            assert sim.origin[truth.offset] == i
    assert all(a.t_ms < b.t_ms for a, b in zip(sim.events, sim.events[1:], strict=False))


def test_random_texts():
    rng = random.Random(5)
    for n in range(150):
        text = "".join(rng.choices(string.printable[:97] + "é ", k=rng.randint(0, 80)))
        cut = sorted(rng.sample(range(len(text) + 1), 2)) if len(text) > 2 else [0, 0]
        spans = [{"start": cut[0], "end": cut[1], "label": "X"}] if cut[0] < cut[1] else []
        sim = simulate(text, spans, n, CLICKY)
        assert sim.text == text
        assert sim.spans == spans
        assert replay(sim.events, carets(sim))[0] == text


def test_same_seed_same_stream():
    assert simulate(TEXT, SPANS, 3, MESSY) == simulate(TEXT, SPANS, 3, MESSY)
    assert simulate(TEXT, SPANS, 3).events != simulate(TEXT, SPANS, 4).events


def test_typed_and_deleted_secret_still_counts():
    sim = simulate("ls -l\n", (), 1, CLEAN, abandoned=[(2, "hunter2!", "PASSWORD")])
    assert sim.text == "ls -l\n"
    assert sim.spans == []
    kept = [sim.events[i].text for i in sim.sensitive_events()]
    assert "".join(kept) == "hunter2!"
    assert all(sim.truth[i].deleted and sim.truth[i].offset is None for i in sim.sensitive_events())


def test_slips_inside_a_span_are_sensitive():
    sim = simulate(TEXT, SPANS, 2, Profile(typo=0.3))
    slips = [t for t in sim.truth if t.typo and t.deleted]
    assert any(t.sensitive for t in slips)
    assert any(not t.sensitive for t in slips)


def test_every_character_of_a_span_has_its_label():
    sim = simulate(TEXT, SPANS, 9, MESSY)
    for span in sim.spans:
        for offset in range(span["start"], span["end"]):
            assert sim.truth[sim.origin[offset]].label == span["label"]


def test_paste_keeps_inner_spans():
    sim = simulate(TEXT, SPANS, 1, NORMAL, pastes=[(20, 40)])
    event = next(e for e in sim.events if e.kind == "paste")
    assert event.text == TEXT[20:40]
    assert sim.truth[event.index].inner == ((5, 16, "US_SSN"),)
    assert sim.text == TEXT
    assert sim.spans == SPANS


def test_rates_are_those_of_real_typists():
    keys = backspaces = 0
    gaps = []
    for seed in range(150):
        events = simulate(TEXT, SPANS, seed).events
        typed = [e for e in events if e.kind not in ("shift", "caps_lock")]
        keys += len(typed)
        backspaces += sum(e.kind == "backspace" for e in typed)
        gaps += [b.t_ms - a.t_ms for a, b in itertools.pairwise(events) if b.kind == "char"]
    gaps.sort()
    assert 0.045 < backspaces / keys < 0.075
    assert 150 < gaps[len(gaps) // 2] < 195
    assert 500 < gaps[int(len(gaps) * 0.95)] < 1000


def test_session_interleaves_and_keeps_every_window():
    records = [{"id": f"r{i}", "text": TEXT, "spans": SPANS} for i in range(5)]
    events, truth, sims = session(records, 1, switch=0.05)
    switches = sum(e.kind == "focus" for e in events)
    assert len(events) == len(truth) == sum(len(s.events) for s in sims.values()) + switches
    assert switches > 10
    for r in records:
        mine = [e for e in events if e.window == r["id"] and e.kind != "focus"]
        assert replay(mine, carets(sims[r["id"]]))[0] == TEXT
    assert all(a.t_ms < b.t_ms for a, b in itertools.pairwise(events))
