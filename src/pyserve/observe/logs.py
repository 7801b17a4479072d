"""Log output: TensorFlow's text format, so that scripts that read TensorFlow Serving's log keep working, or JSON.

    2026-11-20 15:04:05.123456: I pyserve/lifecycle/manager.py:97] Loading servable version {name: m version: 1}
    {"time": "2026-11-20T15:04:05.123456+00:00", "level": "INFO", "where": "...", "message": "..."}

Only the command line installs a handler; the library just logs.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

_LETTERS = {
    logging.DEBUG: "I",
    logging.INFO: "I",
    logging.WARNING: "W",
    logging.ERROR: "E",
    logging.CRITICAL: "F",
}
_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2]) + os.sep

# TensorFlow's own switch: 0 shows everything, 1 hides INFO, 2 WARNING too, 3 ERROR too.
_LEVEL_VARIABLE = "TF_CPP_MIN_LOG_LEVEL"
_LEVELS = {"0": logging.INFO, "1": logging.WARNING, "2": logging.ERROR, "3": logging.CRITICAL}

# What every log record has; anything else was given as `extra`, and is a fact worth a field.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _where(record: logging.LogRecord) -> str:
    return f"{record.pathname.removeprefix(_PACKAGE_PARENT)}:{record.lineno}"


class TensorFlowFormatter(logging.Formatter):
    """`YYYY-MM-DD HH:MM:SS.micros: <I|W|E|F> <file>:<line>] <message>`, in local time.

    A line break inside a message stays, as in TensorFlow's log; the escape character does not, so that no request
    can paint an operator's terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        micros = int(record.created % 1 * 1e6)
        letter = _LETTERS.get(record.levelno, "I")
        text = f"{stamp}.{micros:06d}: {letter} {_where(record)}] {record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text.replace("\x1b", "\\x1b")


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (UTC), level, where, message, the record's `extra` fields, the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "where": _where(record),
            "message": record.getMessage(),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


FORMATTERS: Mapping[str, type[logging.Formatter]] = {"text": TensorFlowFormatter, "json": JsonFormatter}


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever `sys.stderr` is at that moment, so that a progress display can slip in between."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def level_from_environment(environ: Mapping[str, str]) -> int:
    """The level that `TF_CPP_MIN_LOG_LEVEL` asks for; INFO by default, as TensorFlow Serving logs."""
    return _LEVELS.get(environ.get(_LEVEL_VARIABLE, "0"), logging.INFO)


def install(log_format: str = "text") -> None:
    """Send pyserve's log to standard error. For the process, not for embedded use.

    Args:
        log_format: A key of `FORMATTERS`.
    """
    handler = _StderrHandler()
    handler.setFormatter(FORMATTERS[log_format]())
    root = logging.getLogger("pyserve")
    root.handlers[:] = [handler]
    root.setLevel(level_from_environment(os.environ))
    root.propagate = False
