"""What a hook saw and what the browser's extension said become one stream; nothing passes that was not confirmed (P1)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byleave.control.documents import Manifest
from byleave.core.errors import Forged
from byleave.core.events import Kind, Window
from byleave.producers.browser import NEWS_MAX, SOURCES_MAX, STALE_MS, WAITING_MAX, BrowserSites, is_browser
from byleave.producers.focus_hold import FocusHold
from byleave.producers.hooks.source import FOCUS_HOLD_MS, POLL_EVENTS_MAX, Observed
from byleave.producers.scope import Scope

CHROME, FIREFOX, EDITOR = (
    Window(1, "google-chrome", layout="us"),
    Window(2, "firefox", layout="us"),
    Window(3, "editor", layout="us"),
)
CRM, BANK = "crm.example", "paypal.com"


@dataclass
class Endpoint:
    """From the merged streams to what would be captured: `text` holds the time of each key that was."""

    listed: tuple[str, ...] = (CRM,)
    sites: BrowserSites = field(default_factory=BrowserSites)
    hold: FocusHold = field(default_factory=lambda: FocusHold(FOCUS_HOLD_MS))
    text: list[int] = field(default_factory=list)
    told: list[Window | None] = field(default_factory=list)
    seqs: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds = ("pointer", "key", "window")
        apps = ("google-chrome", "firefox", "editor")
        self.scope = Scope(Manifest("byleave.", "t", kinds, apps, self.listed, (), (), 1, "", "", 0, 1))
        self.sites.open(window=True)

    def say(self, at_ms: int, site: str, of: int = 1, leap: int = 1) -> None:
        self.seqs[of] = self.seqs.get(of, 0) + leap
        self.sites.hear({"ask": "site", "of": of, "news": [[self.seqs[of], at_ms, site]]}, at_ms)

    def see(self, settled_ms: int, *events: Observed, now_ms: int | None = None) -> None:
        placed = self.sites.place(events, settled_ms, settled_ms if now_ms is None else now_ms)
        certain = [e for event in placed for e in self.hold.feed(event)]
        for event in [*certain, *self.hold.settle(self.sites.settled(settled_ms))]:
            admitted = self.scope.admit(event)
            if admitted and admitted.kind is Kind.PRESS:
                self.text.append(admitted.at_ms)
            elif admitted and admitted.kind is Kind.FOCUS:
                self.told.append(admitted.window)


def focus(at_ms: int, window: Window | None) -> Observed:
    return Observed(at_ms, Kind.FOCUS, window=window)


def key(at_ms: int) -> Observed:
    return Observed(at_ms, Kind.PRESS, key="q")


@pytest.fixture
def there() -> Endpoint:
    """A browser whose page has had the keyboard since 1,000."""
    e = Endpoint()
    e.see(1_000, focus(1_000, CHROME))
    e.say(1_001, CRM)
    e.see(1_002)
    return e


def test_what_is_typed_passes_once_a_later_word_confirms_its_site(there: Endpoint) -> None:
    there.see(1_900, key(1_500))
    assert there.text == []
    there.say(1_600, CRM)
    there.see(2_000)
    assert there.text == []  # confirmed, but not yet for 200 ms after it
    there.say(1_700, CRM)
    there.see(2_100)
    assert there.text == [1_500]
    assert [w.site for w in there.told if w] == [CRM]


def test_what_is_typed_around_a_change_of_site_is_nobodys(there: Endpoint) -> None:
    there.say(2_000, "")
    there.say(3_000, CRM)
    there.say(3_500, CRM)
    there.see(4_000, *(key(at) for at in (1_100, 1_500, 1_850, 1_999, 2_001, 2_500, 2_999, 3_100, 3_201, 3_300)))
    assert there.text == [1_500, 3_201, 3_300]
    assert there.scope.dropped == 0


def test_a_site_that_is_not_listed_is_only_counted_and_one_that_nobody_may_list_not_even_that(there: Endpoint) -> None:
    for n, site in enumerate(("wiki.example", BANK)):
        there.say(2_000 + n * 1_000, site)
        there.say(2_900 + n * 1_000, site)
        there.see(2_900 + n * 1_000, key(2_500 + n * 1_000))
        assert (there.text, there.scope.dropped) == ([], 1)


def test_after_a_silence_nothing_passes_that_was_typed_since_the_last_word(there: Endpoint) -> None:
    there.see(1_900, key(1_500))
    there.see(1_001 + STALE_MS, key(2_500))
    assert there.sites.settled(4_000) < 1_500
    there.see(1_002 + STALE_MS, key(3_000))
    there.say(3_600, CRM)
    there.say(4_200, CRM)
    there.see(4_200, key(3_700), key(3_900))
    assert (there.text, there.scope.dropped) == ([3_900], 0)


def test_a_lost_word_is_doubt_about_all_since_the_one_before(there: Endpoint) -> None:
    there.say(2_000, CRM)
    there.say(3_000, CRM, leap=2)
    there.say(3_900, CRM)
    there.see(4_000, key(1_500), key(2_500), key(3_500))
    assert there.text == [1_500, 3_500]


def test_two_that_have_the_keyboard_at_once_have_none_and_one_that_fell_silent_has_not(there: Endpoint) -> None:
    for at in (1_200, 1_700, 2_200, 2_700, 3_200, 3_700):
        there.say(at, CRM, of=2)
    there.see(4_000, key(1_150), key(1_450), key(2_950), key(3_450))
    assert there.text == [3_450]


def test_another_window_and_back_needs_a_word_of_after_that(there: Endpoint) -> None:
    there.say(2_000, CRM)
    there.see(2_950, focus(2_500, EDITOR), key(2_800))
    assert there.text == []
    there.say(2_501, "")
    there.see(3_100)
    assert there.text == [2_800]
    there.say(3_210, CRM)
    there.see(3_500, focus(3_200, CHROME), key(3_450))
    there.say(3_900, CRM)
    there.see(4_000, key(3_650))
    assert there.text == [2_800, 3_450, 3_650]


def test_the_page_may_say_it_has_the_keyboard_before_the_window_has() -> None:
    e = Endpoint()
    e.see(900, focus(500, EDITOR))
    e.say(999, CRM)
    e.see(1_400, focus(1_000, CHROME), key(1_300))
    assert e.text == []
    e.say(1_499, CRM)
    e.say(1_999, CRM)
    e.see(2_000)
    assert e.text == [1_300]


@pytest.mark.parametrize("listed", [(), (CRM,)])
def test_without_an_extension_a_browser_is_an_application_if_no_sites_are_listed(listed: tuple[str, ...]) -> None:
    e = Endpoint(listed)
    e.see(1_000, focus(500, FIREFOX), key(800))
    assert (e.text, e.scope.dropped) == ([] if listed else [800], 0)


def test_where_an_extension_speaks_a_browser_needs_its_word_and_tells_no_site_that_is_not_asked_for() -> None:
    e = Endpoint(())
    e.see(1_000, focus(500, CHROME))
    for at, site in ((1_001, ""), (2_000, CRM), (2_900, CRM), (3_000, BANK), (3_900, BANK)):
        e.say(at, site)
    e.see(4_000, key(1_500), key(2_500), key(3_500))
    assert (e.text, e.scope.dropped) == ([2_500], 0)
    assert {w.site for w in e.told if w} == {""}


def test_between_two_run_windows_only_the_newest_word_is_kept_and_the_next_one_needs_its_own() -> None:
    e = Endpoint()
    e.sites.open(window=False)
    for at in range(1_000, 4_000, 500):
        e.say(at, f"s{at}.example")
    assert len(e.sites._inbox) == 1
    assert "s3000" not in repr(vars(e.sites))
    e.sites.open(window=True)
    e.see(5_000, focus(4_000, CHROME), key(4_500), now_ms=8_000)
    assert e.text == []


@pytest.mark.parametrize(
    "news", [None, 7, [7], [[1, 2]], [[1, "2", CRM]], [[1, 2, "https://crm.example/x"]], [[1, 2, "a" * 254]], [[1, 2, None]]]
)
def test_anything_else_is_refused_and_what_went_before_it_holds_no_longer(there: Endpoint, news: object) -> None:
    with pytest.raises(Forged):
        there.sites.hear({"of": 1, "news": news}, 2_000)
    there.seqs[1] += 1
    there.say(2_500, CRM)
    there.see(3_000, key(1_500), key(2_000))
    assert there.text == []


def test_every_queue_has_its_bound(there: Endpoint) -> None:
    for n in range(4 * NEWS_MAX):
        there.say(2_000 + n, CRM if n % 2 else "", of=n % 50 + 10)
    there.sites.place([], 1_500, 1_500)
    found = there.sites.place([key(3_000)] * (WAITING_MAX + 1), 1_500, 1_500)
    assert len(found) <= POLL_EVENTS_MAX
    assert len(there.sites._inbox) <= NEWS_MAX >= len(there.sites._news)
    assert len(there.sites._sources) <= SOURCES_MAX


STEPS = ("key", "key", "crm", "crm", "crm", "none", "bank", "lost", "editor", "chrome", "turn", "other")
WINDOWS, SAID = {"editor": EDITOR, "chrome": CHROME}, {"crm": CRM, "none": "", "bank": BANK}


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 900), st.sampled_from(STEPS)), min_size=10, max_size=60), st.integers(0, 3))
def test_a_captured_key_lies_between_two_words_of_its_site_whatever_happens(steps: list[tuple[int, str]], behind: int) -> None:
    """`behind`: how many turns late a word arrives."""
    e, now, number, window = Endpoint(), 1_000, 0, CHROME
    words: list[tuple[int, str]] = []
    keys: dict[int, Window] = {}
    late: list[list[object]] = []
    e.see(now, focus(now, CHROME))
    for gap, what in steps:
        now += gap
        events = []
        if what == "key":
            events, keys[now] = [key(now)], window
        elif what in WINDOWS:
            window = WINDOWS[what]
            events = [focus(now, window)]
        elif what in SAID or what == "lost":
            number += 1
            words.append((now, what))
            late += [[number, now, SAID[what]]] if what in SAID else []
        elif what == "other":
            e.sites.hear({"of": 2, "news": [[now, now, ""]]}, now)
        while len(late) > behind:
            e.sites.hear({"of": 1, "news": [late.pop(0)]}, now)
        e.see(now, *events)
    for at in e.text:
        if keys[at] is CHROME:
            assert max(w for w in words if w[0] <= at)[1] == "crm"
            assert min((w for w in words if w[0] > at), default=(0, "lost"))[1] != "lost"
            assert {w for at_ms, w in words if abs(at_ms - at) < FOCUS_HOLD_MS} <= {"crm"}
            assert any(at_ms >= at + FOCUS_HOLD_MS for at_ms, _ in words)


@pytest.mark.parametrize(
    ("app", "is_one"),
    [("google-chrome-unstable", True), ("firefox_firefox", True), ("Firefox Nightly", True), ("chromium-browser", True),
     ("Navigator", True), ("firefoxy", False), ("editor", False), ("chrome-remote", False)],
)  # fmt: skip
def test_a_browser_is_known_by_its_class_whatever_channel_or_package_it_is_of(app: str, is_one: bool) -> None:
    assert is_browser(Window(1, app)) is is_one
