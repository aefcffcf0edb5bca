"""Where the gate's words come from, and what an operator may add."""

from __future__ import annotations

import dataclasses

import pytest

from byleave.core.errors import Misconfigured
from byleave.processors.lexicon import load_pack, load_words
from byleave.processors.redact import find_spans, sanitized_text
from byleave.processors.rules import Rules, load_rules
from byleave.processors.vocabulary import Vocabulary, load_vocabulary


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return load_vocabulary()


def test_no_sensitive_word_and_no_plural_of_one_is_a_harmless_word(vocabulary: Vocabulary) -> None:
    sensitive = load_words("medical") | load_words("removals")
    assert vocabulary.words.isdisjoint(sensitive)
    harmless = load_words("additions") | load_words("short") | load_words("grammar") | load_words("fields")
    assert vocabulary.words.isdisjoint({f"{word}s" for word in sensitive} - harmless)


def test_no_technical_or_derived_word_lets_a_family_name_through(vocabulary: Vocabulary) -> None:
    assert vocabulary.words.isdisjoint({"okafor", "okonkwo", "kowalski", "nguyen", "garcia", "schmidt", "hernandez", "patel"})
    unlike_words = vocabulary.family - load_words("additions") - load_words("fields") - load_words("short")
    assert len(vocabulary.words & unlike_words) == 0


@pytest.mark.parametrize("word", ["printf", "stderr", "namespace", "enum", "mutex", "iterator", "sqlite", "unsigned", "svg"])
def test_words_of_programming_languages_are_known(vocabulary: Vocabulary, word: str) -> None:
    assert word in vocabulary.words


@pytest.mark.parametrize("word", ["lamenting", "refiner", "unscientific", "regularities"])
def test_rare_words_are_known_if_they_are_a_known_one_with_a_syllable_more(vocabulary: Vocabulary, word: str) -> None:
    assert word in vocabulary.words


@pytest.mark.parametrize(
    "word", ["metformin", "zoloft", "tonsillitis", "hysterectomy", "pembrolizumab", "gonorrhoea", "creatinine"]
)
def test_health_is_known_by_list_or_ending(vocabulary: Vocabulary, word: str) -> None:
    assert vocabulary.is_medical(word)


def test_every_list_that_the_pack_names_is_there_with_its_source() -> None:
    pack = load_pack("en")
    for kind in ("harmless", "medical", "sensitive", "foreign"):
        assert all(load_words(name) for name in pack["lexicons"][kind])
    assert {pack["counts"]["package"], pack["names"]["package"], pack["technical"]["package"]} == {
        "symspellpy", "names", "pygments.lexers",
    }  # fmt: skip


@pytest.mark.parametrize("language", ["de", "", "..", "en/../en", "EN2"])
def test_a_language_without_a_pack_is_never_guessed(language: str) -> None:
    with pytest.raises(Misconfigured, match="no language pack"):
        load_vocabulary(language)


def test_words_of_the_house_pass_and_show_in_the_digest(rules: Rules) -> None:
    text = "the blorvax queue is slow"
    assert sanitized_text(text, find_spans("", text, rules)) == "the <WORD> queue is slow"
    house = load_rules(house=frozenset({"blorvax"}))
    assert find_spans("", text, house) == []
    assert house.digest != rules.digest


@pytest.mark.parametrize("word", ["lupus", "divorce", "xanax"])
def test_a_sensitive_word_is_refused_as_a_word_of_the_house(word: str) -> None:
    with pytest.raises(Misconfigured, match="sensitive"):
        load_rules(house=frozenset({"blorvax", word}))


def test_the_vocabulary_shows_no_word_and_cannot_be_changed(vocabulary: Vocabulary) -> None:
    assert "metformin" not in repr(vocabulary)
    with pytest.raises(dataclasses.FrozenInstanceError):
        vocabulary.words = frozenset({"kowalski"})  # type: ignore[misc]
