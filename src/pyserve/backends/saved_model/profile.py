"""TensorFlow's profiler: what operations and runs cost while a profile is recorded.

The public `tf.profiler.experimental` alone is used. It is one per process: whoever records, others cannot.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pyserve.backends.saved_model import runtime
from pyserve.backends.saved_model.failures import to_serving_error
from pyserve.codec.wire import bytes_fields
from pyserve.errors import InternalError, file_error
from pyserve.protos.tf import ProfileOptions

# Numbers of fields in TensorFlow's xplane.proto.
_PLANES, _LINES, _EVENTS = 1, 3, 4


def record(file: Path, options: ProfileOptions, wait: Callable[[], None]) -> bool:
    """Record a profile for as long as `wait` blocks, and put it into a file, whole or not at all.

    Args:
        file: For an XSpace message, `*.xplane.pb`; its directory exists. A file of this name is replaced.
        options: What to record.
        wait: Blocks on the calling thread. What it raises is passed on, and nothing is written.

    Returns:
        Whether anything happened meanwhile.

    Raises:
        AlreadyExistsError: Somebody is recording in this process already.
        FailedPreconditionError: TensorFlow is not installed.
        ServingError: The file cannot be written, or whatever else TensorFlow says.
    """
    profiler = runtime.tensorflow().profiler.experimental
    levels = tracer_levels(options)
    try:
        # TensorFlow chooses names of its own below the directory that it is given.
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".recording-") as scratch:
            try:
                profiler.start(scratch, None if levels is None else profiler.ProfilerOptions(*levels))
            except Exception as error:
                raise to_serving_error(error) from error
            save = False
            try:
                wait()
                save = True
            finally:
                _stop(profiler, save)
            recorded = next(Path(scratch).rglob("*.xplane.pb"), None)
            if recorded is None:
                raise InternalError("TensorFlow's profiler has left no file")
            content = recorded.read_bytes()
            recorded.replace(file)
    except OSError as error:
        raise file_error(error) from error
    return has_events(content)


def tracer_levels(options: ProfileOptions) -> tuple[int, int, int] | None:
    """Levels for what happens on the host, in Python, on devices; None where they are TensorFlow's defaults.

    TensorFlow 2.21 cannot read levels from Python, complains in the log, and takes its defaults. So it is only given
    any where they matter.

    Source: TensorFlow, tsl/profiler/lib/profiler_session.cc: options without a version are none.
    """
    levels = options.host_tracer_level, options.python_tracer_level, options.device_tracer_level
    return levels if options.version and levels != (2, 0, 1) else None


def _stop(profiler: Any, save: bool) -> None:
    try:
        profiler.stop(save=save)
    except Exception as error:
        raise to_serving_error(error) from error


def has_events(xspace: bytes) -> bool:
    """Whether an XSpace message holds anything that happened. Looks no further than the first event."""
    events = (
        event
        for plane in _parts(memoryview(xspace), _PLANES)
        for line in _parts(plane, _LINES)
        for event in _parts(line, _EVENTS)
    )
    return next(events, None) is not None


def _parts(message: memoryview, number: int) -> Iterator[memoryview]:
    """The messages in one field of a message."""
    return (content for found, content in bytes_fields(message) if found == number and content is not None)
