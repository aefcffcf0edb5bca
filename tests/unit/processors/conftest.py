"""Rules are built once: the word lists are read and combined."""

from __future__ import annotations

import pytest

from byleave.processors.session import Rules, load_rules


@pytest.fixture(scope="session")
def rules() -> Rules:
    return load_rules()
