"""Hostile text: repetitions that make a careless expression slow, and near misses made from an expression itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

UNITS = (
    "a", "A", "1", "1 ", "-", " ", "\n", "'", "@", "\xe9", "\u200b", "a@", "a@a.", "a.", "1.1.", "1-1-1-", "a-", "a!",
    "!a!!", "ab:cd:", "::", "\"'", "((((", "[{<", "://", "a://b:c", "password is ", "password password ", "pw=",
    "token=", "key: ", "the code is ", "eyJ.", "-----BEGIN ", "-----BEGIN A-----", "4111 ", "(555) ", "+1 ", "00 ",
    "acct 1", "iban DE", "born 1 ", "1 may ", "$1,", "salary 1", "Mark ", "john.", "12 a b st ", "1 rue a ",
    "a strasse ", "one two ", "dot dot ", "a at b dot ", "sudo x\n", "ssh a\nb\n", "x a x ", "the corner of ",
    "a is the password", "T1T1T1\n",
    "konto " + "0" * 240 + " ", "iban DE" + "0" * 240 + " ", "case no " + "1-" * 99 + " ", "1" * 240 + " ",
)  # fmt: skip
"""What is repeated."""


def hostile(unit: str, size: int) -> str:
    """`size` characters of one unit, repeated."""
    return (unit * (size // len(unit) + 1))[:size]


def near_misses(expression: str) -> Iterator[str]:
    """Texts that an expression nearly matches: one that it should match, and the same cut off or spoiled at its end."""
    tree = re._parser.parse(expression)  # type: ignore[attr-defined]
    for more in (2, 40):
        example = "".join(_example(tree, more))
        for cut in (0, 1, 2, len(example) // 2):
            head = example[: len(example) - cut]
            yield from (head, f"{head}\x7f", f"{head} ", f"{head}\n")


def _example(tree: Any, more: int) -> Iterator[str]:
    """The parts of a text that the tree of an expression matches, each repeated `more` times beyond its least, if it may be.

    Looks ahead and behind are left out.
    """
    for kind, value in tree:
        name = str(kind)
        if name == "LITERAL":
            yield chr(value)
        elif name in ("NOT_LITERAL", "ANY"):
            yield "x"
        elif name == "IN":
            yield _one(value)
        elif name == "BRANCH":
            yield from _example(value[1][-1], more)
        elif name == "SUBPATTERN":
            yield from _example(value[3], more)
        elif name == "ATOMIC_GROUP":
            yield from _example(value, more)
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            low, high, inner = value
            yield "".join(_example(inner, more)) * min(int(high), int(low) + more)


def _one(choices: Any) -> str:
    """A character of a set."""
    kind, value = choices[0]
    if str(kind) == "NEGATE":
        return "x"
    if str(kind) == "RANGE":
        return chr(value[0])
    if str(kind) == "CATEGORY":
        return {"CATEGORY_DIGIT": "1", "CATEGORY_SPACE": " ", "CATEGORY_NOT_SPACE": "x"}.get(str(value), "w")
    return chr(value)
