"""The whole way, as `byleave demo` goes it: a real screen is captured, and what was typed arrives; the secret does not.

Xvfb, xterm and xdotool, the RECORD worker, Kafka with mutual TLS and ACLs, the redactor, the lake, the keyring and the halt:
each is the real one, in a process of its own. Where there is no X server this test fails: it is what the test is of.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from byleave.core.errors import Misconfigured
from demo import desktop
from demo.facts import Facts, Sample
from demo.rehearsal import DESK, LIVE_SECRETS, Rehearsal, await_true, prepare_home

pytestmark = [pytest.mark.broker, pytest.mark.display, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Facts, list[Sample], Path]:
    home = tmp_path_factory.mktemp("whole") / "home"
    with Rehearsal(home) as rehearsal:
        rehearsal.open_site()
        rehearsal.consent()
        rehearsal.start_roles()
        assert "real X server" in rehearsal.start_endpoints(), f"no screen: {desktop.missing_tools()}"
        rehearsal.type_work()
        await_true(lambda: not rehearsal.typing() and rehearsal.delivered(DESK), 60.0, "what was typed is on its way")
        rehearsal.halt()
        rehearsal.settle()
        rehearsal.offer_late()
        samples = rehearsal.read_back()
        rehearsal.search(samples)
    return rehearsal.facts, samples, home


def test_every_promise_held(run: tuple[Facts, list[Sample], Path]) -> None:
    facts, _, _ = run
    assert facts.broken == []
    assert (facts.stopped, facts.unknown, facts.late_offered, facts.late_admitted) == (3, 0, 2, 0)
    assert (facts.lost, facts.duplicated, facts.canaries_found, facts.plaintext_hits) == (0, 0, 0, 0)
    assert facts.captured == facts.gaps + facts.discarded + facts.refused_events + facts.admitted
    assert facts.admitted == sum(facts.dispositions.values()) > 300


def test_the_text_typed_on_the_real_screen_is_in_the_lake_and_the_secret_is_not(run: tuple[Facts, list[Sample], Path]) -> None:
    _, samples, _ = run
    typed = "\n".join(sample.text for sample in samples if sample.endpoint == DESK)
    assert "please send the notes to <EMAIL>" in typed
    assert "call me at <PHONE> if the build fails" in typed
    assert "thanks for the quick review" in typed
    for secret in LIVE_SECRETS:
        assert secret not in typed
    assert "typed after the halt" not in typed


def test_the_search_that_found_nothing_finds_what_is_there(run: tuple[Facts, list[Sample], Path]) -> None:
    from demo.sweep import sweep

    _, _, home = run
    assert {hit.secret for hit in sweep([home], ["BEGIN CERTIFICATE", "Kestrel-hunter2"]).hits} == {0}


def test_a_folder_that_is_not_a_demos_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(Misconfigured, match="not empty and not from a demo"):
        prepare_home(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
