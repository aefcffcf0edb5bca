"""Microsoft Presidio's pattern recognizers as one more detector; only where somebody asks for it (extra "presidio").

No language model is loaded and nothing is fetched. Its e-mail and URL recognizers ask the network for a list of suffixes,
so they are left out: our own patterns cover both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from byleave.core.errors import Misconfigured

SCORE_MIN = 0.4
"""Below it are shapes that Presidio itself only believes beside a word for them."""
_ONLINE = frozenset(("EmailRecognizer", "UrlRecognizer"))
_LABELS: Mapping[str, str] = {
    "CREDIT_CARD": "CREDIT_CARD", "IBAN_CODE": "IBAN", "IP_ADDRESS": "IP", "MAC_ADDRESS": "MAC", "PHONE_NUMBER": "PHONE",
    "US_SSN": "US_SSN", "US_ITIN": "TAX_ID", "US_PASSPORT": "PASSPORT", "US_DRIVER_LICENSE": "DRIVER_LICENSE",
    "US_BANK_NUMBER": "BANK_ACCOUNT", "MEDICAL_LICENSE": "MEDICAL_ID", "CRYPTO": "BANK_ACCOUNT", "UK_NHS": "MEDICAL_ID",
    "UK_NINO": "NATIONAL_ID", "DATE_TIME": "DATE",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Presidio:
    """A `Detector` over Presidio's recognizers."""

    recognizers: tuple[Any, ...] = field(repr=False)
    digest: str

    def find(self, text: str) -> Iterator[tuple[int, int, str]]:
        """What the recognizers find with a score of `SCORE_MIN` or more."""
        for recognizer in self.recognizers:
            for found in recognizer.analyze(text, recognizer.supported_entities, None):
                if found.score >= SCORE_MIN:
                    yield found.start, found.end, _LABELS.get(found.entity_type, "NATIONAL_ID")


def load_presidio() -> Presidio:
    """Presidio's recognizers for English text. Raises Misconfigured where it is not installed."""
    try:
        from presidio_analyzer import PatternRecognizer, predefined_recognizers
    except ImportError:
        raise Misconfigured("the detector 'presidio' is not installed: pip install byleave[presidio]") from None
    kinds = (getattr(predefined_recognizers, name) for name in sorted(predefined_recognizers.__all__) if name not in _ONLINE)
    made = (kind() for kind in kinds if isinstance(kind, type) and issubclass(kind, PatternRecognizer))
    digest = hashlib.sha256(f"presidio {version('presidio-analyzer')}".encode()).hexdigest()
    return Presidio(tuple(one for one in made if one.supported_language == "en"), digest)
