"""Everything that decisions depend on besides the data, built once and named by one digest."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field

from byleave.core.errors import Misconfigured
from byleave.processors.detectors import Detectors, load_detectors
from byleave.processors.lexicon import load_labels
from byleave.processors.policy import Policy, load_policy
from byleave.processors.topics import Topics, load_topics
from byleave.processors.vocabulary import Vocabulary, load_vocabulary

RULES_VERSION = "2"
"""Raised with each change of the rules' code that could change an answer; changed data show in the digest by themselves."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Word lists, detectors and level policy. `digest` is SHA-256 hex over all of it, for `SanitizedHeader.policy`."""

    vocabulary: Vocabulary
    patterns: Detectors
    policy: Policy
    topics: Topics
    digest: str = field(default="")


def load_rules(
    policy_text: str | None = None, *, house: frozenset[str] = frozenset(), detectors: Collection[str] = ()
) -> Rules:
    """The shipped rules, with another level policy if `policy_text` is given, and `house` words. Raises Misconfigured."""
    vocabulary, policy, shapes = load_vocabulary("en", house), load_policy(policy_text), load_detectors(detectors)
    topics = load_topics(vocabulary.given - vocabulary.words)
    for what, named, known in (("topic", policy.topics, topics.names), ("label", policy.labels, load_labels())):
        if strange := sorted(set(named) ^ set(known)):
            said = "has no level" if strange[0] in known else f"does not exist; known are {', '.join(sorted(known))}"
            raise Misconfigured(f"level policy: the {what} {strange[0]!r} {said}")
    parts = (RULES_VERSION, vocabulary.digest, shapes.digest, topics.digest, policy.text)
    digest = hashlib.sha256("\0".join(hashlib.sha256(part.encode()).hexdigest() for part in parts).encode()).hexdigest()
    return Rules(vocabulary, shapes, policy, topics, digest)
