"""What the flags of EAS and its service file make of a configuration."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from pyserve.cli.configure import server_config
from pyserve.cli.flags import Value
from pyserve.config import BatchingParameters, EasOptions, EasService, ServerConfig
from pyserve.errors import InvalidArgumentError, NotFoundError

SERVICE = {"name": "m", "model_path": "/models/m", "processor": "tensorflow_cpu"}
REST: dict[str, Value] = {"rest_api_port": 8501}


def reader(**files: str) -> Callable[[str], str]:
    def read(path: str) -> str:
        if path not in files:
            raise NotFoundError(f"{path}; No such file or directory")
        return files[path]

    return read


def served(flags: dict[str, Value] | None = None, **content: Any) -> ServerConfig:
    """What a service file makes, with these flags."""
    given: dict[str, Value] = {"eas_config_file": "f", **REST, **(flags or {})}
    return server_config(
        given, reader(f=json.dumps({**SERVICE, **content}), t="\ufeff# ours\n\n one \ntwo\n")
    )


def test_off_unless_asked_for() -> None:
    """A server that takes over from TensorFlow Serving answers nothing new."""
    assert server_config({"model_base_path": "/m", **REST}, reader()).eas is None


def test_the_flag_alone() -> None:
    """Every model is a service with EAS's defaults; what the server does otherwise stays."""
    config = server_config({"model_base_path": "/m", "enable_eas": True, **REST}, reader())
    assert config.eas == EasOptions()
    assert config.eas.service("m") == EasService()
    assert (config.num_run_threads, config.batching) == (0, None)


def test_the_service_file() -> None:
    """It says what is served, and how."""
    config = served(
        token="tok",
        model_entry="e",
        model_config={"signature_name": "s", "inputs": ["x"], "outputs": ["y"]},
        warm_up_data_path="/w",
        metadata={
            "rpc": {"keepalive": 700, "worker_threads": 3, "max_queue_size": 9, "rate_limit": 2},
            "eas": {"termination_grace_period": 7},
        },
    )
    (model,) = config.models
    assert (model.name, model.base_path) == ("m", "/models/m")
    assert config.eas == EasOptions(
        {
            "m": EasService(
                tokens=("tok",),
                default_signature="s",
                keepalive_s=0.7,
                max_queue_size=9,
                rate_limit=2,
                model_entry="e",
                graph_inputs=("x",),
                graph_outputs=("y",),
                warm_up_paths=("/w",),
            )
        }
    )
    assert (config.num_run_threads, config.drain_timeout_s, config.batching) == (3, 7, None)
    assert config.limits.rest_api_idle_timeout_s >= 60


def test_batching_of_the_service_file() -> None:
    """In the terms of the batching here."""
    config = served(metadata={"rpc": {"batching": True, "max_batch_size": 10, "max_batch_timeout": 7}})
    assert config.batching == BatchingParameters(
        max_batch_size=10, batch_timeout_micros=7000, max_enqueued_batches=7, num_batch_threads=5
    )


def test_flags_win() -> None:
    """Over what the file stands for."""
    flags: dict[str, Value] = {
        "num_run_threads": 9, "drain_timeout_s": 1.0, "rest_api_idle_timeout_s": 3.0, "enable_batching": False,
    }  # fmt: skip
    config = served(flags, metadata={"rpc": {"batching": True}, "eas": {"termination_grace_period": 7}})
    assert (config.num_run_threads, config.drain_timeout_s, config.batching) == (9, 1, None)
    assert config.limits.rest_api_idle_timeout_s == 3


def test_urls_and_relative_paths() -> None:
    """A URL stays what it is; a path becomes absolute."""
    assert served(model_path="http://h/m.tar.gz").models[0].base_path == "http://h/m.tar.gz"
    assert served(model_path="here/m").models[0].base_path.endswith("/here/m")
    assert served(model_path="here/m").models[0].base_path.startswith("/")


def test_other_flags(caplog: pytest.LogCaptureFixture) -> None:
    """Tokens, one a line; an address; the checks."""
    with caplog.at_level(logging.WARNING):
        config = served(
            {
                "eas_token_file": "t",
                "eas_check_content_md5": False,
                "eas_advertised_address": "10.0.0.1:80",
                "eas_warmup_must_succeed": True,
            }
        )
    assert config.eas is not None
    assert config.eas.tokens == ("one", "two")
    assert config.eas.check_content_md5 is False
    assert config.eas.advertised_address == ("10.0.0.1", 80)
    assert config.eas.warm_up_must_succeed is True
    assert "gRPC and the other URLs of the REST port stay open" in caplog.text
    address = served({"eas_advertised_address": "[::1]:80"}).eas
    assert address is not None
    assert address.advertised_address == ("::1", 80)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"enable_eas": True, "model_base_path": "/m"}, "need --rest_api_port"),
        ({"eas_config_file": "f"}, "need --rest_api_port"),
        ({"eas_token_file": "t", "model_base_path": "/m", **REST}, "needs --enable_eas or --eas_config_file"),
        ({"eas_config_file": "f", "model_name": "m", **REST}, "--model_name must not be given too"),
        (
            {"eas_config_file": "f", "model_base_path": "/m", **REST},
            "--model_base_path must not be given too",
        ),
        (
            {"eas_config_file": "f", "model_config_file": "/m", **REST},
            "--model_config_file must not be given too",
        ),
        ({"enable_eas": True, "model_base_path": "/m", "eas_token_file": "e", **REST}, "'e' holds no token"),
        ({"enable_eas": True, "model_base_path": "/m", "eas_token_file": "l", **REST}, "'l' is not UTF-8"),
        (
            {"enable_eas": True, "model_base_path": "/m", "eas_advertised_address": "x", **REST},
            "--eas_advertised_address must be HOST:PORT; was x",
        ),
        (
            {"enable_eas": True, "model_base_path": "/m", "eas_advertised_address": "x:70000", **REST},
            "must be HOST:PORT",
        ),
    ],
)
def test_what_is_refused(flags: dict[str, Value], text: str) -> None:
    """What contradicts itself, or would leave a door open."""
    with pytest.raises(InvalidArgumentError, match=text):
        server_config(flags, reader(f=json.dumps(SERVICE), e="\n# none\n", t="tok", l="t\ufffdk"))


@pytest.mark.parametrize(
    "flags",
    [{"eas_config_file": "/none"}, {"enable_eas": True, "model_base_path": "/m", "eas_token_file": "/none"}],
)
def test_files_that_are_not_there(flags: dict[str, Value]) -> None:
    """They are named."""
    with pytest.raises(NotFoundError, match="/none"):
        server_config({**REST, **flags}, reader())
