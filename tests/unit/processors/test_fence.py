"""Where batches wait: nothing overtakes its own endpoint, nothing is lost, and waiting has its bound."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from byleave.processors.fence import WAITING_KEY_MAX, WAITING_MAX, Fence


def decide_all(fence: Fence[str, int], may_pass) -> list[int]:
    passed = []
    for key, item in fence.due():
        if may_pass(key, item):
            fence.passed(key)
            passed.append(item)
        else:
            fence.waits(key)
    return passed


def test_who_waits_holds_back_its_own_key_and_nobody_else() -> None:
    fence: Fence[str, int] = Fence()
    for offset, key in enumerate("abab"):
        fence.offer(key, offset, offset)
    assert decide_all(fence, lambda key, _: key == "b") == [1, 3]
    assert (fence.oldest, len(fence), fence.holds("a"), fence.holds("b")) == (0, 2, True, False)


def test_a_head_that_waits_is_not_asked_again_until_something_was_learned() -> None:
    fence: Fence[str, int] = Fence()
    asked = []
    fence.offer("a", 0, 0)
    decide_all(fence, lambda *_: asked.append(1))
    fence.offer("a", 1, 1)
    decide_all(fence, lambda *_: asked.append(1))
    assert len(asked) == 1
    fence.wake()
    assert decide_all(fence, lambda *_: True) == [0, 1]
    assert (fence.oldest, len(fence)) == (None, 0)


def test_a_decision_that_fails_leaves_its_record_where_it_was() -> None:
    fence: Fence[str, int] = Fence()
    fence.offer("a", 5, 5)
    for _, _ in fence.due():
        break  # as an exception would
    assert decide_all(fence, lambda *_: True) == [5]


def test_one_key_or_all_together_fill_it_and_half_empty_it_has_room_again() -> None:
    fence: Fence[str, int] = Fence()
    for offset in range(WAITING_KEY_MAX):
        assert not fence.full
        fence.offer("a", offset, offset)
    assert fence.full
    assert not fence.roomy
    for _ in range(WAITING_KEY_MAX // 2):
        fence.passed("a")
    assert fence.roomy
    many: Fence[int, int] = Fence()
    for offset in range(WAITING_MAX):
        many.offer(offset, offset, offset)
    assert many.full


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=60))
def test_each_key_leaves_in_order_and_whatever_waits_is_counted(arrivals: list[tuple[str, int]]) -> None:
    fence: Fence[str, tuple[int, int]] = Fence()
    passed: dict[str, list[int]] = {key: [] for key in "abc"}
    for offset, (key, ripe_at) in enumerate(arrivals):
        fence.offer(key, offset, (offset, ripe_at))
    for now in range(4):
        fence.wake()
        for key, (offset, ripe_at) in fence.due():
            if ripe_at <= now:
                fence.passed(key)
                passed[key].append(offset)
            else:
                fence.waits(key)
        left = set(range(len(arrivals))) - {o for found in passed.values() for o in found}
        assert fence.oldest == min(left, default=None)
        assert len(fence) == len(left)
    assert all(found == sorted(found) for found in passed.values())
    assert len(fence) == 0
