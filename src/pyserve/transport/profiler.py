"""TensorFlow's profiler service: not offered, and its calls say so and what to do instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from pyserve.errors import UnimplementedError
from pyserve.inference.call import Handler

_METHODS = ("Profile", "Terminate", "Monitor")


def handlers() -> Mapping[str, Handler]:
    """Full method name → handler."""
    return {f"/tensorflow.ProfilerService/{name}": _refuse for name in _METHODS}


def _refuse(data: bytes, deadline: float | None) -> NoReturn:
    del data, deadline
    raise UnimplementedError(
        "pyserve does not offer the profiler service. To profile a model, run it under tf.profiler.experimental"
    )
