"""A configuration is right once it exists: numbers that make no sense are refused by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pyserve.config import LoadOptions, ServerConfig, TensorFlowOptions
from pyserve.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ServerConfig(num_run_threads=-3), "num_run_threads must be at least 0; was -3"),
        (lambda: ServerConfig(drain_timeout_s=float("nan")), "drain_timeout_s must be at least 0; was nan"),
        (lambda: ServerConfig(drain_delay_s=-1), "drain_delay_s must be at least 0; was -1"),
        (
            lambda: LoadOptions(incomplete_version_wait_s=-5),
            "incomplete_version_wait_s must be at least 0; was -5",
        ),
        (
            lambda: TensorFlowOptions(per_process_gpu_memory_fraction=7),
            "per_process_gpu_memory_fraction must be between 0 and 1; was 7",
        ),
    ],
)
def test_refused(make: Callable[[], object], message: str) -> None:
    """The message names the option, what is allowed, and what was given."""
    with pytest.raises(InvalidArgumentError) as caught:
        make()
    assert caught.value.message == message
