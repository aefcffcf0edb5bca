"""The more a text is about somebody, the stricter the gate: what is harmless elsewhere goes where it would tell.

Promises  in a text about health, words of the body and all but everyday words go; in one about money, every number, in figures
          or spelled; in one about people, every word that is also a name. In any other text nothing changes.
"""

from __future__ import annotations

from collections.abc import Collection

from byleave.processors.lexicon import load_words
from byleave.processors.tokens import Token, What
from byleave.processors.vocabulary import GRAMMAR, Vocabulary

_BODILY, _AMOUNTS = load_words("bodily"), load_words("amounts")
_MONEY, _PEOPLE = frozenset(("pay", "bank", "tax")), frozenset(("people", "private"))
_WORDS = frozenset((What.WORD, What.CAPITAL, What.NAMELIKE))


def tighten(tokens: list[Token], topics: Collection[str], vocabulary: Vocabulary) -> None:
    """Labels more of `tokens` by the `topics` that their text is about."""
    health, money, people = "health" in topics, not _MONEY.isdisjoint(topics), not _PEOPLE.isdisjoint(topics)
    for token in tokens:
        if token.label:
            continue
        base = token.lower.removesuffix("'s")
        if health and token.what in _WORDS and (base in _BODILY or base not in vocabulary.everyday):
            token.label = "MEDICAL"
        elif money and (token.what is What.SMALL or base in _AMOUNTS):
            token.label = "NUMBER"
        elif people and token.what is What.NAMELIKE and base not in GRAMMAR:
            token.label = "NAME"
