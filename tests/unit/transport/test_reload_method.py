"""HandleReloadConfigRequest as bytes: what is refused at once, what is logged, and what is answered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from pyserve.config import ModelConfig, ModelSelection
from pyserve.errors import CancelledError, Code, DeadlineExceededError, InvalidArgumentError, ServingError
from pyserve.inference.call import Blocking
from pyserve.lifecycle.monitor import Monitor
from pyserve.lifecycle.startup import Outcome, Verdict
from pyserve.protos import tfs
from pyserve.transport.reload_method import reload_handler


class FakeConfiguration:
    """Takes what it is given; `ready` is what the wait says, an error is raised by `apply`."""

    def __init__(self, ready: bool = True, error: ServingError | None = None) -> None:
        self.applied: list[ModelSelection] = []
        self.ready = ready
        self.error = error

    def apply(self, models: ModelSelection, deadline: float | None) -> FakeConfiguration:
        if self.error is not None:
            raise self.error
        self.applied.append(models)
        return self

    def wait(self, deadline: float | None, gone: Callable[[], bool]) -> bool:
        return self.ready

    def verdict(self) -> Verdict:
        return Verdict(Outcome.WAITING, {"m": "loading"})


def request(*metrics: str) -> tfs.ReloadConfigRequest:
    message = tfs.ReloadConfigRequest(metric_names=metrics)
    message.config.model_config_list.config.add(name="m", base_path="/m", model_platform="tensorflow")
    return message


def begin(configuration: FakeConfiguration, data: bytes, values: dict[str, list[int]] | None = None) -> Any:
    def read_metric(name: str) -> int:
        return (values or {})[name].pop(0)

    handler = reload_handler(cast("Any", configuration), Monitor(), {"tensorflow"}, read_metric)
    return handler(data, None)


def run(
    configuration: FakeConfiguration,
    message: tfs.ReloadConfigRequest,
    values: dict[str, list[int]] | None = None,
    gone: bool = False,
) -> tfs.ReloadConfigResponse:
    begun = begin(configuration, message.SerializeToString(), values)
    assert isinstance(begun, Blocking)
    assert configuration.applied == []  # nothing happens before it runs
    return tfs.ReloadConfigResponse.FromString(begun.run(lambda: gone))


def test_success() -> None:
    """The models are applied, the answer has an OK status and the increase of each metric, named once."""
    configuration = FakeConfiguration()
    response = run(configuration, request("/a", "/b", "/a"), {"/a": [3, 10], "/b": [5, 5]})
    assert configuration.applied == [(ModelConfig("m", "/m"),)]
    assert response.HasField("status")
    assert response.status.error_code == 0
    assert {m.name: m.int64_value_increase for m in response.metric} == {"/a": 7, "/b": 0}
    assert all(m.HasField("int64_value_increase") for m in response.metric)


def test_an_empty_list_is_a_list() -> None:
    """A list that is there and empty is applied."""
    message = tfs.ReloadConfigRequest()
    message.config.model_config_list.SetInParent()
    configuration = FakeConfiguration()
    run(configuration, message)
    assert configuration.applied == [()]


@pytest.mark.parametrize("kind", ["absent", "empty", "custom", "garbage"])
def test_other_configurations_are_refused(kind: str) -> None:
    """Only a list of models is supported, and bytes that are no message are the caller's mistake."""
    message = tfs.ReloadConfigRequest()
    if kind == "empty":
        message.config.SetInParent()
    elif kind == "custom":
        message.config.custom_model_config.SetInParent()
    data = b"\xff" if kind == "garbage" else message.SerializeToString()
    with pytest.raises(InvalidArgumentError) as caught:
        begin(FakeConfiguration(), data)
    assert caught.value.message == (
        "Could not parse ReloadConfigRequest from 1 bytes"
        if kind == "garbage"
        else "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is "
        "currently supported"
    )


def test_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Each entry is logged, and so is a failure."""
    with caplog.at_level("INFO"), pytest.raises(InvalidArgumentError):
        run(FakeConfiguration(error=InvalidArgumentError("no")), request())
    assert "\nConfig entry\n\tindex : 1\n\tpath : /m\n\tname : m\n\tplatform : tensorflow" in caplog.messages
    assert "ReloadConfig failed: no" in caplog.messages


@pytest.mark.parametrize(
    ("gone", "error", "code"),
    [(False, DeadlineExceededError, Code.DEADLINE_EXCEEDED), (True, CancelledError, Code.CANCELLED)],
)
def test_a_wait_that_ends_early(gone: bool, error: type[ServingError], code: Code) -> None:
    """The deadline's error says what is still awaited; a caller who has gone gets none of it."""
    with pytest.raises(error) as caught:
        run(FakeConfiguration(ready=False), request(), gone=gone)
    assert caught.value.code is code
    assert gone or caught.value.message.endswith("not everything is available yet: m (loading)")


def test_wake_wakes_the_monitor() -> None:
    """What waits on the monitor looks again when the caller has gone."""
    monitor = Monitor()
    handler = reload_handler(cast("Any", FakeConfiguration()), monitor, {"tensorflow"}, lambda name: 0)
    begun = handler(request().SerializeToString(), None)
    assert isinstance(begun, Blocking)
    gone = threading.Event()
    thread = threading.Thread(target=monitor.wait, args=(gone.is_set, 20.0))
    thread.start()
    gone.set()
    begun.wake()
    thread.join(10.0)
    assert not thread.is_alive()
