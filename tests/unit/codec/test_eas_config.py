"""The service file of EAS: both spellings, every key that means something here, and what is refused."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from pyserve.codec.eas_config import Rpc, ServiceFile, parse_service_file
from pyserve.errors import InvalidArgumentError

LEAST = {"name": "m", "model_path": "/models/m", "processor": "tensorflow_cpu_1.15"}


def parsed(**content: Any) -> ServiceFile:
    return parse_service_file(json.dumps({**LEAST, **content}), "service.json")


def test_the_least_that_is_needed() -> None:
    """Everything else has EAS's defaults."""
    assert parsed() == ServiceFile("m", "/models/m")
    assert Rpc() == Rpc(5000, 5, 64, False, 16, 50, 0)
    assert Rpc().max_enqueued_batches == 4


def test_a_byte_order_mark() -> None:
    """Editors of Windows put one there."""
    text = json.dumps({"name": "m", "model_path": "/m"})
    assert parse_service_file("\ufeff" + text, "service.json").name == "m"


def test_comments_and_the_newer_spelling() -> None:
    """The name inside `metadata`; two slashes inside a text are no comment."""
    text = """{
      // a comment
      "metadata": { "name": "m" }, // another
      "model_path": "http://host/a\\"b//c.tar.gz"
    }"""
    assert parse_service_file(text, "f") == ServiceFile("m", 'http://host/a"b//c.tar.gz')


@pytest.mark.parametrize("flat", [False, True])
def test_rpc(flat: bool) -> None:
    """Nested or flat."""
    rpc = {
        "keepalive": 700, "worker_threads": 7, "max_queue_size": 33, "batching": True, "max_batch_size": 8,
        "max_batch_timeout": 3, "rate_limit": 2.5, "io_threads": 4, "enable_sigterm": True, "enable_jemalloc": 1,
    }  # fmt: skip
    metadata = {f"rpc.{key}": value for key, value in rpc.items()} if flat else {"rpc": rpc}
    found = parsed(metadata=metadata).rpc
    assert found == Rpc(700, 7, 33, True, 8, 3, 2.5)
    assert found.max_enqueued_batches == 5


def test_nested_keys_win() -> None:
    """Over flat ones of the same name, in either order."""
    for metadata in (
        {"rpc": {"keepalive": 1}, "rpc.keepalive": 2, "rpc.worker_threads": 3},
        {"rpc.keepalive": 2, "rpc.worker_threads": 3, "rpc": {"keepalive": 1}},
    ):
        assert parsed(metadata=metadata).rpc == Rpc(keepalive=1, worker_threads=3)


@pytest.mark.parametrize("value", ['{"signature_name": "s"}', {"signature_name": "s"}])
def test_model_config(value: object) -> None:
    """JSON, or a text that holds it."""
    assert parsed(model_config=value).signature_name == "s"


@pytest.mark.parametrize(
    ("content", "name", "value"),
    [
        ({"token": "t"}, "token", "t"),
        ({"model_entry": "a/b"}, "model_entry", "a/b"),
        ({"model_config": {"inputs": ["x"], "outputs": "y"}}, "inputs", ("x",)),
        ({"model_config": {"inputs": ["x"], "outputs": "y"}}, "outputs", ("y",)),
        ({"warm_up_data_path": "/w"}, "warm_up_paths", ("/w",)),
        ({"warm_up_data_path": ["/v", "/w"]}, "warm_up_paths", ("/v", "/w")),
        ({"warm_up_data_path": ""}, "warm_up_paths", ()),
        ({"metadata": {"eas": {"termination_grace_period": 7}}}, "grace_period_s", 7.0),
        ({"metadata": {"eas.termination_grace_period": "7"}}, "grace_period_s", 7.0),
        ({"processor": "tensorflow_gpu_1.14"}, "gpu", True),
        ({"processor": "tensorflow_gpu"}, "gpu", True),
        ({"processor": "tensorflow_cpu"}, "gpu", False),
        ({"networking": {"gateway_policy": {"rate_limit": {"enable": True, "limit": 5}}}}, "rpc", Rpc(rate_limit=5)),
        ({"networking": {"gateway_policy": {"rate_limit": {"enable": False, "limit": 5}}}}, "rpc", Rpc()),
        (
            {
                "networking": {"gateway_policy": {"rate_limit": {"enable": True, "limit": 5}}},
                "metadata": {"rpc": {"rate_limit": 3}},
            },
            "rpc",
            Rpc(rate_limit=3),
        ),
    ],
)  # fmt: skip
def test_keys(content: dict[str, Any], name: str, value: object) -> None:
    """What each key says."""
    assert getattr(parsed(**content), name) == value


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"name": ""}, 'name of \'service.json\' is ""; expected a text'),
        ({"name": 1}, "name of"),
        ({"model_path": ""}, "model_path of"),
        ({"processor": "pytorch_cpu_1.6"}, "processor of 'service.json' is \"pytorch_cpu_1.6\"; expected tensorflow"),
        ({"processor": "tensorflow_cpu_x"}, "processor of"),
        ({"processor_path": "http://x"}, "processor_path of .* custom processors cannot be run"),
        ({"model_config": "x=1"}, "model_config of"),
        ({"model_config": [1]}, "model_config of 'service.json' must be a JSON object"),
        ({"metadata": []}, "metadata of 'service.json' must be a JSON object"),
        ({"metadata": {"rpc": {"keepalive": 0}}}, "metadata.rpc.keepalive of .* is 0; expected at least 1"),
        ({"metadata": {"rpc": {"keepalive": 1.5}}}, "is 1.5; expected a whole number"),
        ({"metadata": {"rpc": {"keepalive": True}}}, "is true; expected a whole number"),
        ({"metadata": {"rpc": {"keepalive": "soon"}}}, "expected a whole number"),
        ({"metadata": {"rpc": {"keepalive": 2**31}}}, "expected at least 1, and below"),
        ({"metadata": {"rpc": {"worker_threads": 0}}}, "worker_threads"),
        ({"metadata": {"rpc": {"max_queue_size": -1}}}, "max_queue_size"),
        ({"metadata": {"rpc": {"batching": "yes"}}}, "expected true or false"),
        ({"metadata": {"rpc": {"rate_limit": -1}}}, "rate_limit"),
        ({"warm_up_data_path": [1]}, "warm_up_data_path of"),
        ({"networking": {"gateway_policy": {"rate_limit": {"enable": True}}}}, "rate_limit.limit of .* is null"),
    ],
)  # fmt: skip
def test_what_is_refused(content: dict[str, Any], text: str) -> None:
    """The message names the key, the value and what was expected."""
    with pytest.raises(InvalidArgumentError, match=text):
        parsed(**content)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "{'name': 'm'}", "[" * 100_000])
def test_what_is_no_service_file(text: str) -> None:
    """The file is named."""
    with pytest.raises(InvalidArgumentError, match=r"'service\.json'"):
        parse_service_file(text, "service.json")


def test_what_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    """Each key is named, with whether it is the platform's; those without harm are silent."""
    with caplog.at_level(logging.WARNING):
        parsed(
            cloud={}, oss_endpoint="x", nonsense=1,
            metadata={"cpu": 1, "instance": 2, "rolling_strategy": {}, "rpc": {"io_threads": 1, "odd": 1}},
            networking={"gateway": "g", "gateway_policy": {"concurrency_limit": {}}},
        )  # fmt: skip
    said = "\n".join(caplog.messages)
    for name in (
        "cloud",
        "oss_endpoint",
        "nonsense",
        "metadata.rolling_strategy",
        "metadata.rpc.odd",
        "gateway",
    ):
        assert name in said
    assert "nonsense of 'service.json' is ignored: it is unknown" in said
    assert "cloud of 'service.json' is ignored: it is of the platform" in said
    assert "concurrency_limit in networking" in said
    assert len(caplog.messages) == 7


def test_secrets_are_not_shown() -> None:
    """A token is not in what is logged of the value."""
    assert "geheim" not in repr(parsed(token="geheim"))


@pytest.mark.parametrize(
    "content",
    [
        {"token": 4711},
        {"token": ["4711"]},
        {"token": "4711\n"},
        {"token": "4711\ud800"},
        {"token": "another 4711\ufffd"},
        {"metadata": {"token": "4711"}},
        {"model_path": ["https://host/m.tar.gz?sig=4711"]},
        {"warm_up_data_path": {"oss": "?sig=4711"}},
    ],
)
def test_secrets_that_are_wrong_are_not_shown(content: dict[str, Any]) -> None:
    """The message names the key alone."""
    with pytest.raises(InvalidArgumentError, match=next(iter(content))) as caught:
        parsed(**content)
    assert "4711" not in caught.value.message
