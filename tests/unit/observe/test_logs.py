"""Log lines: TensorFlow's format, JSON, levels."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping

import pytest

from pyserve.observe import logs


def record(message: str, *args: object, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("pyserve.x", level, logs.__file__, 12, message, args, None)
    made.__dict__.update(extra)
    return made


@pytest.mark.parametrize(
    ("level", "letter"),
    [
        (logging.DEBUG, "I"),
        (logging.INFO, "I"),
        (logging.WARNING, "W"),
        (logging.ERROR, "E"),
        (logging.CRITICAL, "F"),
    ],
)
def test_text(level: int, letter: str) -> None:
    """Date, time with microseconds, letter, place below the package, message."""
    line = logs.TensorFlowFormatter().format(record("loaded %s", "m", level=level))
    pattern = rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{6}}: {letter} pyserve/observe/logs\.py:12\] loaded m"
    assert re.fullmatch(pattern, line)


def test_no_escape_sequences() -> None:
    """A name from a request cannot paint the terminal."""
    line = logs.TensorFlowFormatter().format(record("model %s", "\x1b[31mred"))
    assert line.endswith("model \\x1b[31mred")


def test_json() -> None:
    """One object per line, with the facts given as extra fields, and the traceback of an error."""
    try:
        raise ValueError("oops\nagain")
    except ValueError:
        made = record("load of %s failed", "m", level=logging.ERROR, model="m", version=3)
        made.exc_info = sys.exc_info()
    line = logs.JsonFormatter().format(made)
    assert "\n" not in line
    fields = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", fields.pop("time"))
    assert "ValueError: oops" in fields.pop("traceback")
    assert fields == {
        "level": "ERROR",
        "where": "pyserve/observe/logs.py:12",
        "message": "load of m failed",
        "model": "m",
        "version": 3,
    }


@pytest.mark.parametrize(
    ("environ", "level"),
    [
        ({}, logging.INFO),
        ({"TF_CPP_MIN_LOG_LEVEL": "0"}, logging.INFO),
        ({"TF_CPP_MIN_LOG_LEVEL": "1"}, logging.WARNING),
        ({"TF_CPP_MIN_LOG_LEVEL": "2"}, logging.ERROR),
        ({"TF_CPP_MIN_LOG_LEVEL": "3"}, logging.CRITICAL),
        ({"TF_CPP_MIN_LOG_LEVEL": "x"}, logging.INFO),
    ],
)
def test_levels(environ: Mapping[str, str], level: int) -> None:
    """TensorFlow's variable decides; anything else shows everything."""
    assert logs.level_from_environment(environ) == level
