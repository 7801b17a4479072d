"""The flags of adaptive batching."""

from __future__ import annotations

import pytest

from pyserve.cli.configure import server_config
from pyserve.cli.flags import Value
from pyserve.config import AdaptiveBatching, BatchingParameters, ServerConfig
from pyserve.errors import InvalidArgumentError


def config(**flags: Value) -> ServerConfig:
    return server_config({"model_base_path": "/m", **flags}, lambda path: "max_batch_size { value: 7 }")


def test_values() -> None:
    """The mode alone switches it on; parameters may stand beside it."""
    assert config().adaptive_batching is None
    assert config(batching_mode="static").adaptive_batching is None
    alone = config(batching_mode="adaptive")
    assert (alone.adaptive_batching, alone.batching) == (AdaptiveBatching(500.0), None)
    both = config(
        batching_mode="adaptive",
        batching_target_latency_ms=20.0,
        enable_batching=True,
        batching_parameters_file="/b",
    )
    assert both.adaptive_batching == AdaptiveBatching(20.0)
    assert both.batching == BatchingParameters(max_batch_size=7)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"batching_mode": "dynamic"}, "--batching_mode must be static or adaptive; was dynamic"),
        ({"batching_target_latency_ms": 0.0}, "batching_target_latency_ms must be positive; was 0"),
        (
            {"batching_target_latency_ms": float("nan")},
            "batching_target_latency_ms must be positive; was nan",
        ),
        (
            {"batching_target_latency_ms": float("inf")},
            "batching_target_latency_ms must be positive; was inf",
        ),
    ],
)
def test_wrong_values(flags: dict[str, Value], message: str) -> None:
    """Each is refused by name."""
    with pytest.raises(InvalidArgumentError) as caught:
        config(**flags)
    assert caught.value.message == message
