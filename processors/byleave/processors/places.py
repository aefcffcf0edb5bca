"""Names and readings by where they stand: "ask mark", "Dr Field", "rose's review", "A1c went from 7.1 to 6.2".

Promises  a word that is also a name goes where it is used as one, in lower case too, and stays where it is used as a word.
"""

from __future__ import annotations

import re
from itertools import pairwise

from byleave.processors.lexicon import load_words
from byleave.processors.neighbours import CAPITALS, TITLES
from byleave.processors.tokens import Token, What
from byleave.processors.vocabulary import GRAMMAR, Vocabulary

_SENTENCE = frozenset('.!?:\n>|"“(=[{;')
_GREETINGS = TITLES | load_words("before_names")
_DETERMINERS = frozenset(
    ("the", "a", "an", "this", "that", "each", "every", "any", "no", "our", "your", "its", "their", "my", "of")
)
_AFTER_NAMES = load_words("after_names")
_VERBS = _AFTER_NAMES - GRAMMAR
_BESIDE_NAMES, _ROLES = load_words("beside_names"), load_words("roles")
_ENDERS = frozenset(("please", "today", "tomorrow", "tonight", "yesterday", "first", "instead", "too"))
_OPENED, _CLOSED = frozenset("\"'([<*"), frozenset("\"')]<*")
_NAME_FIELDS = frozenset(("name", "names", "given", "surname", "firstname", "lastname", "attn", "signed", "from", "cc"))
_PERSON_FIELDS = frozenset(("first", "last", "family", "given", "surname", "middle", "firstname", "lastname", "fullname"))
_MEDICAL_CUES = frozenset(("dx", "rx", "diagnosis", "diagnosed", "treated", "suffering", "suffers", "symptoms"))
_MEDICAL_PAIRS = load_words("medical_pairs")
_PAIR_ENDS = frozenset(end for pair in _MEDICAL_PAIRS for end in (pair.rsplit("_")[-1], pair.rsplit("_")[-1] + "s"))
_STRANGE = frozenset((What.UNKNOWN, What.IDENTIFIER, What.HALF))
_READING = re.compile(r"\d{1,4}(?:\.\d{1,2})?|[clst]\d{1,2}")


def judge_places(text: str, tokens: list[Token], vocabulary: Vocabulary) -> None:
    """Names by where they stand, and what follows a medical cue."""
    last = len(tokens) - 1
    for place, token in enumerate(tokens):
        what = token.what
        before, after = tokens[place - 1] if place else None, tokens[place + 1] if place < last else None
        capital = what in CAPITALS and not token.label
        if capital and before is not None and (_is_called(text, before, token) or _is_proper(text, before, token, vocabulary)):
            token.label = "NAME"
        elif not token.label and (what is What.NAMELIKE or (token.lower in GRAMMAR and token.lower in vocabulary.given)):
            shouted = text[token.start : token.end].isupper() and token.lower not in vocabulary.given
            verbs = _VERBS if token.lower in GRAMMAR else _AFTER_NAMES
            acts = token.lower in vocabulary.given and after is not None and after.lower in verbs
            if not shouted and (_is_name(text, before, token, after) or (acts and text[token.start].isupper())):
                token.label = "NAME"
        elif what in _STRANGE:
            if token.label == "WORD" and _is_shaped_as_name(text, token, vocabulary):
                token.label = "NAME"
        elif token.label == "MEDICAL" and what is What.MEDICAL:
            _readings(text, token, tokens[place + 1 : place + 6])
        elif before is not None and token.lower in _PAIR_ENDS and _is_pair(before.lower, token.lower):
            before.label = token.label = "MEDICAL"
        elif token.lower in _MEDICAL_CUES:
            for value in tokens[place + 1 : place + 4]:
                if value.label in ("WORD", "NAME"):
                    value.label = "MEDICAL"


def _is_pair(first: str, second: str) -> bool:
    return f"{first}_{second.removesuffix('s')}" in _MEDICAL_PAIRS


def _is_shaped_as_name(text: str, token: Token, vocabulary: Vocabulary) -> bool:
    shaped = text[token.start].isupper() and token.lower.replace("-", "").replace("'", "").isalpha()
    return shaped or token.lower.removesuffix("'s") in vocabulary.names


def same_names(text: str, tokens: list[Token]) -> None:
    """What is a name once is one everywhere in the text, and so is what "and" joins with one."""
    if all(token.label != "NAME" for token in tokens):
        return
    known = {token.lower for token in tokens if token.label == "NAME" and token.what is What.NAMELIKE}
    for token in tokens:
        if token.what is What.NAMELIKE and not token.label and token.lower in known:
            token.label = "NAME"
    for first, glue, second in zip(tokens, tokens[1:], tokens[2:], strict=False):
        joined = glue.lower in ("and", "or") and text[first.end : second.start] == f" {glue.lower} "
        for one, other in ((first, second), (second, first)):
            if joined and one.label == "NAME" and other.what is What.NAMELIKE and not other.label:
                other.label = "NAME"


def _is_called(text: str, before: Token, token: Token) -> bool:
    """Whether any word with a capital is a name here: "Dr Strand", "<family>Marks"."""
    gap = text[before.end : token.start]
    if before.lower in TITLES:
        return gap in (" ", ". ")
    return before.lower in _PERSON_FIELDS and re.fullmatch(r"[\"']?\s?[:=>]\s?[\"']?", gap) is not None


def _is_proper(text: str, before: Token, token: Token, vocabulary: Vocabulary) -> bool:
    """Whether a word that is hardly used as one has its capital from within a sentence: "because Gareth", not "Paris is"."""
    if token.lower.removesuffix("'s") not in vocabulary.proper or text[token.start : token.end].isupper():
        return False
    gap = text[before.end : token.start]
    return token.lower not in GRAMMAR and gap.rstrip(' "(') in ("", ",")


def _readings(text: str, token: Token, following: list[Token]) -> None:
    """What a test came to, in the same sentence: "A1c went from 7.1 to 6.2"."""
    for before, value in pairwise([token, *following]):
        if not _SENTENCE.isdisjoint(text[before.end : value.start]):
            return
        if _READING.fullmatch(value.lower):
            value.label = value.label or "MEDICAL"


def _is_name(text: str, before: Token | None, token: Token, after: Token | None) -> bool:
    """Whether a word that is also a name is one here: "ask Mark", "hi mark", "Mark Johnson", not "Mark it" or "the mark"."""
    gap = text[before.end : token.start] if before else ""
    known = before.lower if before is not None else ""
    if known in _NAME_FIELDS and not gap.strip(" :=>\t\"'"):
        return True
    if (known in _GREETINGS and not gap.strip(". ")) or (known in _ROLES and gap.strip() in (":", "=", "->")):
        return True
    if not text[token.start].isupper():
        return _is_lower_name(text, known, gap, token, after)
    if token.lower in GRAMMAR:
        return False
    alone = text[max(token.start - 1, 0)] in _OPENED and text[token.end : token.end + 1] in _CLOSED
    if alone or (before is not None and _SENTENCE.isdisjoint(gap)):
        return True
    joined = (What.UNKNOWN, What.NAMELIKE, What.LETTER)
    return after is not None and after.what in joined and after.lower not in ("i", "a") and text[after.start].isupper()


def _is_lower_name(text: str, known: str, gap: str, token: Token, after: Token | None) -> bool:
    """The same in lower case: "faith left early", "rose's review", "sync with mark, then"."""
    whose = token.lower.endswith("'s")
    if whose or known == "" or not _SENTENCE.isdisjoint(gap):
        return known not in _DETERMINERS and (whose or (after is not None and after.lower in _AFTER_NAMES))
    return known in _BESIDE_NAMES and gap == " " and _ends_there(text, token, after)


def _ends_there(text: str, token: Token, after: Token | None) -> bool:
    """Whether nothing goes on behind a word as it would behind a noun: "from rose, ", "with mark about it"."""
    if token.lower in GRAMMAR:
        return False
    return after is None or text[token.end : after.start].strip() != "" or after.lower in GRAMMAR or after.lower in _ENDERS
