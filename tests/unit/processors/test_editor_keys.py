"""What each key of an editor does to the text that is held: followed where it is known, and never guessed where it is not."""

from __future__ import annotations

import pytest
from typed_sessions import EDITOR, TERMINAL, Output, act, balanced, focused, run, window

from byleave.core.batches import Boundary
from byleave.core.events import Event, FocusEvent, Modifiers
from byleave.core.rows import ActionKind
from byleave.processors.preview import batch_of
from byleave.processors.session import EndpointState, Rules, feed

CONTROL, SHIFT, ALT, META, ALTGR = Modifiers.CONTROL, Modifiers.SHIFT, Modifiers.ALT, Modifiers.META, Modifiers.ALTGR
ACUTE, DIAERESIS = "\u0301", "\u0308"


def written(rules: Rules, scene: list[object], app: str = EDITOR) -> list[str]:
    out = run(focused(scene, app), rules)
    balanced(out.account)
    assert out.account.held == 0
    return out.texts()


def key(name: str, modifiers: Modifiers = Modifiers.NONE, times: int = 1) -> list[object]:
    return [("key", name, modifiers)] * times


# -- keys that put text ---------------------------------------------------------------------------------------------------


def test_shift_and_caps_lock_only_change_which_character_comes(rules: Rules) -> None:
    scene = [("key", "shift"), ("key", "G", SHIFT), ("release", "g"), ("release", "shift"), "ood ", ("key", "caps_lock"),
             *(("key", char, Modifiers.CAPS) for char in "MORNING"), ("key", "caps_lock"), "\n"]  # fmt: skip
    assert written(rules, scene) == ["Good MORNING"]


def test_a_key_that_repeats_without_release_is_typed_again_and_deletes_again(rules: Rules) -> None:
    assert written(rules, ["good morninggggg", *key("backspace", times=4), ("release", "backspace"), "\n"]) == ["good morning"]


def test_overlapping_keys_are_one_text(rules: Rules) -> None:
    scene: list[object] = ["g", "o", ("release", "g"), "o", "d", ("release", "o"), ("release", "d"), "\n"]
    assert written(rules, scene) == ["good"]


@pytest.mark.parametrize("modifiers", [ALTGR, ALTGR | CONTROL, ALTGR | ALT, CONTROL | ALT])
def test_alt_gr_puts_the_character_that_the_layout_gives(rules: Rules, modifiers: Modifiers) -> None:
    assert written(rules, ["mail ann", ("key", "@", modifiers), "example.com now\n"]) == ["mail <EMAIL> now"]


def test_a_dead_key_and_its_letter_are_one_letter(rules: Rules) -> None:
    scene = ["meet at the caf", ("key", ACUTE), ("release", ACUTE), "e", ("release", "e"), " today\n"]
    out = run(focused(scene), rules)
    assert out.texts() == written(rules, ["meet at the café today\n"])
    assert (out.account.kept, out.account.held) == (out.account.admitted, 0)


@pytest.mark.parametrize(
    "after", ["x", " ", "\n", "\t", ACUTE, ("key", "left"), ("click", 3, 3), ("paste", "e"), ("focus", TERMINAL, 2)]
)
def test_a_dead_key_without_its_letter_leaves_no_part_of_its_token(rules: Rules, after: object) -> None:
    token = "hunter" if not isinstance(after, tuple) else "hu"
    after = ("key", ACUTE) if after == ACUTE else after
    out = run(focused([f"see {token}", ("key", ACUTE), after, " and go\n"]), rules)
    assert not any(token in text for text in out.texts())
    balanced(out.account)


def test_a_dead_key_is_taken_back_by_one_backspace(rules: Rules) -> None:
    assert written(rules, ["cafe", ("key", DIAERESIS), "\b", " e\n"]) == written(rules, ["cafe e\n"])


def test_an_unknown_key_takes_its_token_along(rules: Rules) -> None:
    assert written(rules, ["see hunter", ("key", ""), "s now\n"]) == ["see <WORD> now"]


def test_a_character_entered_by_its_number_is_unknown_and_its_digits_stay(rules: Rules) -> None:
    scene: list[object] = ["caf", ("key", "alt_l"), *key("0", ALT), *key("2", ALT), *key("3", ALT), ("release", "alt_l"), "s\n"]
    out = run(focused(scene), rules)
    assert not any(row.keys for row in out.actions() if row.kind is ActionKind.HOTKEY)
    assert "cafs" not in "".join(out.texts())


@pytest.mark.parametrize("layout", ["", "unknown input method"])
def test_without_a_layout_no_text_is_taken(rules: Rules, layout: str) -> None:
    out = run(focused(["good morning\n"], layout="" if not layout else "us", secure=bool(layout)), rules)
    assert out.texts() == []
    assert out.account.level4 >= len("good morning\n")


def test_a_layout_that_changes_in_a_token_cuts_it_and_neither_half_travels_unless_plain(rules: Rules) -> None:
    def events(second_layout: str) -> list[Event]:
        events = focused(["call 555-01"])
        events.append(FocusEvent(len(events), events[-1].at_ms + 5, window(layout=second_layout)))
        act(events, "0-2345 now\n")
        return events

    for layout, rest in (("de", ["<NUMBER> now"]), ("", [])):
        out = run(events(layout), rules)
        assert out.texts()[0] == "call <NUMBER>"
        assert [text.replace("PHONE", "NUMBER") for text in out.texts()[1:]] == rest


# -- keys that delete -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scene", "left"),
    [
        (["good morningx", "\b", "\n"], "good morning"),
        (["good xmorning", *key("left", times=8), *key("delete"), "\n"], "good morning"),
        (["good hunter", *key("backspace", CONTROL), "morning\n"], "good morning"),
        (["good hunter", *key("backspace", ALT), "morning\n"], "good morning"),
        (["good hunter two", *key("backspace", CONTROL, 2), "morning\n"], "good morning"),
        (["hunter two", *key("backspace", META), "good morning\n"], "good morning"),
        (["good morning hunter", *key("left", CONTROL), *key("delete", CONTROL), "\n"], "good morning "),
        (["good hunter", *key("left", SHIFT, 6), "morning\n"], "good morning"),
        (["good hunter", *key("left", SHIFT | CONTROL), "\b", "morning\n"], "good morning"),
        (["hunter", *key("home", SHIFT), "good morning\n"], "good morning"),
        (["hunter", *key("a", CONTROL), "good morning\n"], "good morning"),
        (["hunter", *key("a", META), *key("delete"), "good morning\n"], "good morning"),
        (["good hunter", *key("left", SHIFT, 6), *key("x", CONTROL), "morning\n"], "good morning"),
        (["good morning hunter", *key("left", SHIFT, 7), "\n"], "good morning"),
        (["good hunter", *key("left", SHIFT, 6), ("paste", "morning"), "\n"], "good morning"),
    ],
)
def test_what_is_deleted_or_replaced_is_gone_and_the_rest_is_whole(rules: Rules, scene: list[object], left: str) -> None:
    out = run(focused(scene), rules)
    assert out.texts() == [left]
    assert out.account.late_deletions == 0
    assert out.account.withheld > 0


def test_a_pasted_line_break_is_where_home_and_end_stop(rules: Rules) -> None:
    scene: list[object] = [("paste", "the first line\nmorning"), *key("home"), "good ", *key("end"), " team\n"]
    assert written(rules, scene) == ["the first line\ngood morning team"]


def test_cut_without_a_known_selection_lets_nothing_out(rules: Rules) -> None:
    assert written(rules, ["the quick plan", *key("x", CONTROL), "\n"]) == []


@pytest.mark.parametrize("undo", [*key("z", CONTROL), *key("z", META), *key("y", CONTROL), *key("z", CONTROL | SHIFT)])
def test_undo_withholds_what_is_held(rules: Rules, undo: object) -> None:
    out = run(focused(["the quick plan", undo, " then\n"]), rules)
    assert not any("plan" in text for text in out.texts())


def test_a_deletion_that_reaches_final_text_is_counted_and_what_follows_joins_what_is_left(rules: Rules) -> None:
    scene = ["call 555-01", ("key", "esc"), *key("backspace", times=1), "10-2345 now\n"]
    out = run(focused(scene), rules)
    assert out.account.late_deletions == 1
    assert not any(char.isdigit() for text in out.texts() for char in text)


def test_keys_that_edit_keep_the_hold_alive(rules: Rules) -> None:
    """A person who takes 40 s to delete a word is not silent."""
    scene: list[object] = ["good hunterabc"]
    for _ in range(9):
        scene += [("wait", 4_500), "\b"]
    assert written(rules, [*scene, "morning\n"]) == ["good morning"]


# -- keys after which the caret is not known ------------------------------------------------------------------------------

LOST = [("click", 5, 5), ("key", "up"), ("key", "page_down"), ("key", "home", META), ("key", "t", CONTROL), ("key", "f", ALT),
        ("key", "v", CONTROL), ("paste", ""), ("key", "b", CONTROL)]  # fmt: skip


@pytest.mark.parametrize("lost", LOST)
def test_a_token_that_goes_on_where_the_caret_is_not_known_does_not_travel(rules: Rules, lost: object) -> None:
    for before, after, parts in (
        ("ask Wojc", "iech now", ("Wojc", "iech")),
        ("mail wkow", "ski now", ("wkow", "ski")),
        ("call 555-01", "0-2345 now", ("555", "01", "345")),
        ("call (555) 0", "10-2345", ("555", "10", "345")),
    ):
        text = "".join(written(rules, [before, lost, after, "\n"]))
        assert not any(part in text for part in parts)


@pytest.mark.parametrize("lost", LOST)
def test_a_cue_typed_before_the_caret_was_lost_still_counts(rules: Rules, lost: object) -> None:
    assert "sunflower" in "".join(written(rules, ["the next word: ", lost, "sunflower\n"]))
    assert "sunflower" not in "".join(written(rules, ["the password: ", lost, "sunflower\n"]))


@pytest.mark.parametrize("lost", LOST)
def test_plain_words_after_it_travel(rules: Rules, lost: object) -> None:
    assert "".join(written(rules, ["good morning. ", lost, "see you later\n"])).endswith("see you later")


def test_a_field_reached_by_tab_remembers_what_it_was_called(rules: Rules) -> None:
    assert "sunflower" in "".join(written(rules, ["next word:", ("key", "tab"), "sunflower\n"]))
    assert "sunflower" not in "".join(written(rules, ["password:", ("key", "tab"), "sunflower\n"]))


def test_a_double_click_makes_caret_and_selection_unknown(rules: Rules) -> None:
    scene: list[object] = ["see wkowal", ("click", 5, 5), ("click", 5, 5), "ski\n"]
    assert not any("ski" in text for text in written(rules, scene))


def test_left_and_right_alone_are_not_a_boundary(rules: Rules) -> None:
    assert written(rules, ["god morning", *key("left", times=9), "o", *key("end"), " team\n"]) == ["good morning team"]


def test_at_a_prompt_control_keys_are_those_of_a_line_editor(rules: Rules) -> None:
    for scene, left in (
        (["hunter", *key("u", CONTROL), "git status\n"], "git status"),
        (["git hunter", *key("w", CONTROL), "status\n"], "git status"),
        (["status hunter", *key("a", CONTROL), "git ", *key("e", CONTROL), "\b" * 7, "\n"], "git status"),
        (["git status hunter", *key("left", CONTROL), *key("k", CONTROL), "\n"], "git status "),
    ):
        assert written(rules, scene, TERMINAL) == [left]
    for moves in (*key("b", CONTROL), *key("p", CONTROL), *key("x", CONTROL), *key("c", CONTROL | SHIFT)):
        assert not any("45" in text for text in written(rules, ["call 555-01", moves, "0-2345\n"], TERMINAL))


def test_shift_and_enter_is_a_new_line_of_the_same_message(rules: Rules) -> None:
    def after(modifiers: Modifiers) -> Output:
        return run(focused(["my ssn is 219-09-9999", *key("enter", modifiers), "good morning\n"], TERMINAL), rules)

    assert after(Modifiers.NONE).texts() == ["good morning"]
    assert after(SHIFT).texts() == []


def test_a_lost_release_of_control_ends_after_half_a_minute(rules: Rules) -> None:
    scene: list[object] = [("key", "ctrl_l"), ("wait", 31_000), *(("key", char, CONTROL) for char in "good"), "\n"]
    assert written(rules, scene) == ["good"]


def test_events_of_two_people_never_meet_and_windows_keep_their_text_whole(rules: Rules) -> None:
    def person(words: list[str], apps: tuple[str, str]) -> list[object]:
        scene: list[object] = []
        for n, word in enumerate(words):
            scene += [("focus", apps[n % 2], n % 2 + 1), word + " "]
        return [*scene, ("focus", apps[0], 1), "\n", ("focus", apps[1], 2), "\n"]

    people = {
        "ann": person(["the", "git", "plan", "status", "is", "now", "ready", "please"], (EDITOR, TERMINAL)),
        "bob": person(["good", "make", "morning", "test", "team", "again", "today", "quietly"], (EDITOR, TERMINAL)),
    }
    events = {name: focused(scene) for name, scene in people.items()}
    alone = {name: run(some, rules) for name, some in events.items()}
    states, together = {name: EndpointState() for name in events}, {name: Output() for name in events}
    for n in range(max(map(len, events.values()))):
        for name, some in events.items():
            if n < len(some):
                last = n + 1 == len(some)
                batch = batch_of(some[n : n + 1], n, some[n].at_ms, boundary=Boundary.END if last else Boundary.NONE)
                together[name].add(feed(states[name], batch, rules))
    for name, others in (("ann", "bob"), ("bob", "ann")):
        assert together[name].rows == alone[name].rows
        words = "".join(together[name].texts()).split()
        assert sorted(words) == sorted(str(what).strip() for what in people[name] if isinstance(what, str) and what.strip())
        assert not set(words) & set("".join(together[others].texts()).split())
    assert "".join(together["ann"].texts()[::2]).split() == ["the", "plan", "is", "ready"]


def test_names_of_keys_are_the_only_text_of_shortcuts(rules: Rules) -> None:
    rows = run(focused([*key("s", CONTROL), *key("é", CONTROL), *key("f5")]), rules).actions()
    assert [row.keys for row in rows if row.kind in (ActionKind.HOTKEY, ActionKind.PRESS)] == [("ctrl", "s"), ("f5",)]


def test_a_word_with_a_capital_that_may_go_on_is_not_let_out(rules: Rules) -> None:
    for name in ("Andersen", "Sprague", "Jarvis"):
        texts = written(rules, [f"see you at {name[:3]}", ("focus", TERMINAL, 2), "ls\n", ("focus", EDITOR, 1), name[3:], "\n"])
        assert not any(name[:3] in text for text in texts)
    assert written(rules, ["see you later", ("focus", TERMINAL, 2)]) == ["see you later"]
