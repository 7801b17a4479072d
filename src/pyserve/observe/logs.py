"""Log output in TensorFlow's text format, so that scripts that read TensorFlow Serving's log keep working.

    2026-11-20 15:04:05.123456: I pyserve/lifecycle/manager.py:97] Loading servable version {name: m version: 1}

Only the command line installs a handler; the library just logs.
"""

from __future__ import annotations

import logging
import os
import sys
import time
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


class TensorFlowFormatter(logging.Formatter):
    """`YYYY-MM-DD HH:MM:SS.micros: <I|W|E|F> <file>:<line>] <message>`, in local time."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        micros = int(record.created % 1 * 1e6)
        letter = _LETTERS.get(record.levelno, "I")
        where = record.pathname.removeprefix(_PACKAGE_PARENT)
        text = f"{stamp}.{micros:06d}: {letter} {where}:{record.lineno}] {record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def level_from_environment(environ: dict[str, str] | os._Environ[str]) -> int:
    """The level that `TF_CPP_MIN_LOG_LEVEL` asks for; INFO by default, as TensorFlow Serving logs."""
    return _LEVELS.get(environ.get(_LEVEL_VARIABLE, "0"), logging.INFO)


def install(stream: TextIO | None = None) -> None:
    """Send pyserve's log to a stream (default: standard error). For the process, not for embedded use."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(TensorFlowFormatter())
    root = logging.getLogger("pyserve")
    root.handlers[:] = [handler]
    root.setLevel(level_from_environment(os.environ))
    root.propagate = False
