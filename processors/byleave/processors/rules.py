"""Everything that decisions depend on besides the data, built once and named by one digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from byleave.core.errors import Misconfigured
from byleave.processors import patterns
from byleave.processors.policy import Policy, load_policy
from byleave.processors.vocabulary import Vocabulary, load_vocabulary

RULES_VERSION = "1"
"""Raised with each change of the rules' code that could change an answer; changed data show in the digest by themselves."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Word lists, patterns and level policy. `digest` is SHA-256 hex over all of it, for `SanitizedHeader.policy`."""

    vocabulary: Vocabulary
    patterns: patterns.Patterns
    policy: Policy
    digest: str = field(default="")


def load_rules(policy_text: str | None = None, *, house: frozenset[str] = frozenset()) -> Rules:
    """The rules that are shipped, with another level policy if `policy_text` is given and the operator's words. Raises Misconfigured."""
    vocabulary, policy, shapes = load_vocabulary("en", house), load_policy(policy_text), patterns.load_patterns()
    strange = sorted(set(policy.topics) - set(vocabulary.topics))
    if strange:
        raise Misconfigured(
            f"level policy: topic {strange[0]!r} has no word list; known are {', '.join(sorted(vocabulary.topics))}"
        )
    parts = (RULES_VERSION, vocabulary.digest, shapes.digest, policy.text)
    digest = hashlib.sha256("\0".join(hashlib.sha256(part.encode()).hexdigest() for part in parts).encode()).hexdigest()
    return Rules(vocabulary, shapes, policy, digest)
