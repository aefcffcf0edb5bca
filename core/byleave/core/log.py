"""Edge: structured logs that cannot hold content (P4).

An event is a constant name and fields from one list, each a number or a short identifier. A field that is not on the list, or a
value that is not of its type, is a programming error: it is replaced by its type's name. A single word passes as an identifier:
that no caller puts captured text into a field is the callers' part, and each passes constants, places and counts only.
"""

from __future__ import annotations

import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

FIELDS: dict[str, type] = {
    "role": str, "reason": str, "topic": str, "partition": int, "offset": int, "endpoint": str, "epoch": int, "count": int,
    "ms": int, "seconds": float, "port": int, "pid": int, "error": str, "key_id": str, "halt_id": str, "state": str,
    "attempt": int, "session": str, "level": int, "file": str, "signal": int, "bytes": int, "principal": str, "purpose": str,
}  # fmt: skip
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.:/\-]{0,128}")
_CONSTANT = re.compile(r"[a-z][a-z-]{0,39}")
"""Reasons are constants of the code: lower case, no digits, so that hardly a password has their form."""


def only_declared(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Structlog processor: what is not declared, or not an identifier or number, does not pass."""
    for name in [n for n in event if n not in ("event", "level_name", "timestamp")]:
        value = event[name]
        form = _CONSTANT if name == "reason" else _IDENTIFIER
        fits = isinstance(value, FIELDS.get(name, ())) and not (isinstance(value, str) and not form.fullmatch(value))
        if not fits:
            event[name] = f"<{type(value).__name__} withheld>"
    if not _IDENTIFIER.fullmatch(str(event.get("event", ""))):
        event["event"] = "<text withheld>"
    return event


def configure(role: str) -> structlog.stdlib.BoundLogger:
    """JSON lines on stderr, each through `only_declared`. Called once, by a `main`."""
    structlog.configure(
        processors=[
            only_declared,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logger: structlog.stdlib.BoundLogger = structlog.get_logger().bind(role=role)
    return logger
