"""Logs as a container's keeper reads them: one JSON object a line, on standard output."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

__all__ = ["json_log"]


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told: dict[str, Any] = {"at": at, "level": record.levelname.lower(), "logger": record.name}
        told |= {"message": record.getMessage(), **getattr(record, "facts", {})}
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str, ensure_ascii=False)


@contextmanager
def json_log() -> Iterator[logging.Logger]:
    """Within the block whatever is logged, of level info and above, is written so.

    Yields:
        The command's own logger; ``extra={"facts": {…}}`` adds keys to a line.
    """
    root, calls = logging.getLogger(), logging.getLogger("httpx")
    before, handler = (root.level, calls.level), logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Line())
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    calls.setLevel(logging.WARNING)  # a line for each call to the SuperLink otherwise
    try:
        yield logging.getLogger("skerry")
    finally:
        root.removeHandler(handler)
        root.setLevel(before[0])
        calls.setLevel(before[1])
