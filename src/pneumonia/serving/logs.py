"""Logs as JSON lines: what was asked and how it went, never what was sent."""

from __future__ import annotations

import json
import logging
import logging.config
import traceback
from datetime import UTC, datetime
from pathlib import Path

ACCESS = "pneumonia.access"


class JsonLines(logging.Formatter):
    """A record a line: time, level, logger, message, and the fields of `extra={"told": {...}}`.

    Of an exception its type and where it came from; its own text may hold what a sender sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        level = record.levelname.lower()
        line: dict[str, object] = {"time": when, "level": level, "logger": record.name}
        line |= {"message": record.getMessage()} | getattr(record, "told", {})
        if record.exc_info and record.exc_info[0]:
            line |= {
                "exception": record.exc_info[0].__name__,
                "at": [
                    f"{Path(frame.filename).name}:{frame.lineno}"
                    for frame in traceback.extract_tb(record.exc_info[2])
                ],
            }
        return json.dumps(line)


def configuration(level: str = "INFO") -> dict[str, object]:
    """For `logging.config.dictConfig` and uvicorn: everything as JSON lines on standard output."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines}},
        "handlers": {
            "lines": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "stream": "ext://sys.stdout",
            }
        },
        "root": {"handlers": ["lines"], "level": "WARNING"},
        # MLflow has a handler of its own otherwise.
        "loggers": {
            "mlflow": {"handlers": [], "propagate": True, "level": "ERROR"},
            # What libraries have to say to programmers.
            "py.warnings": {"level": "ERROR"},
            "pneumonia": {"level": level},
            "uvicorn": {"handlers": [], "propagate": True, "level": level},
            "uvicorn.error": {"handlers": [], "propagate": True, "level": level},
        },
    }
