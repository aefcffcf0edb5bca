"""Every error that byleave raises, in four families by what the operator does next.

    ByleaveError                    never raised itself
    ├── Refused      policy said no; nothing to repair, it is counted by `reason`
    ├── Forged       a signature, a chain or the bytes themselves are not what they claim: look at who sent it
    ├── Transient    the same call may succeed later: retry within a bound
    └── Broken       an invariant does not hold: stop, and let a person look

Messages name expected and got by kind, place and size, never by value: no message holds captured content (P4), so errors of
libraries that quote their input are replaced, not chained.
"""

from __future__ import annotations


class ByleaveError(Exception):
    """Base. `reason` is a short constant that is safe as a metric label and in `refused.v1`."""

    reason = "error"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class Refused(ByleaveError):
    """Policy refuses it: outside the manifest, halted, no permit, not entitled."""

    reason = "refused"


class Forged(ByleaveError):
    """The bytes are not what they claim: bad signature, wrong key, moved, truncated, replayed, malformed."""

    reason = "forged"


class Transient(ByleaveError):
    """Something outside did not answer in time. Retrying within a bound is right."""

    reason = "transient"


class Broken(ByleaveError):
    """An invariant is violated or the installation is wrong. Stop; do not guess."""

    reason = "broken"


class Misconfigured(Broken):
    """A setting is missing or wrong: one sentence says what, and what to do. Exit code 2."""

    reason = "misconfigured"
