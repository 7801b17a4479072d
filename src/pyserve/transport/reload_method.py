"""ModelService/HandleReloadConfigRequest: a new list of models, and the wait until it is served."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from pyserve.codec.message import parse_message
from pyserve.codec.model_config import model_configs
from pyserve.config import ModelSelection
from pyserve.errors import CancelledError, DeadlineExceededError, InvalidArgumentError, ServingError
from pyserve.inference.call import Blocking, Handler
from pyserve.lifecycle.configuration import Configuration
from pyserve.lifecycle.monitor import Monitor
from pyserve.protos import tfs

logger = logging.getLogger(__name__)

ReadMetric = Callable[[str], int]
"""Raw metric name → its value now: the first combination of labels of an integer metric, 0 for any other."""


def reload_handler(
    configuration: Configuration, monitor: Monitor, platforms: Collection[str], read_metric: ReadMetric
) -> Handler:
    """The method's handler, which gives a wait.

    Args:
        configuration: Changed by it.
        monitor: Woken when the caller goes away.
        platforms: What `model_platform` may be.
        read_metric: For the increases that the request asks about.
    """

    def handle(data: bytes, deadline: float | None) -> Blocking[bytes]:
        request = parse_message(tfs.ReloadConfigRequest, data)
        if request.config.WhichOneof("config") != "model_config_list":
            raise InvalidArgumentError(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is "
                "currently supported"
            )
        _log_entries(request)

        def run(gone: Callable[[], bool]) -> bytes:
            before = {name: read_metric(name) for name in dict.fromkeys(request.metric_names)}
            try:
                _reload(configuration, model_configs(request.config, platforms), deadline, gone)
            except ServingError as error:
                logger.error("ReloadConfig failed: %s", error.message)
                raise
            response = tfs.ReloadConfigResponse()
            response.status.SetInParent()
            for name, value in before.items():
                response.metric.add(name=name, int64_value_increase=read_metric(name) - value)
            return response.SerializeToString()

        return Blocking(run, monitor.wake)

    return handle


def _reload(
    configuration: Configuration, models: ModelSelection, deadline: float | None, gone: Callable[[], bool]
) -> None:
    reload = configuration.apply(models, deadline)
    if reload.wait(deadline, gone):
        return
    if gone():
        raise CancelledError("The caller went away; the configuration is in force")
    waiting = ", ".join(f"{name} ({reason})" for name, reason in reload.verdict().waiting_for.items())
    raise DeadlineExceededError(
        f"The configuration is in force, but not everything is available yet: {waiting}"
    )


def _log_entries(request: tfs.ReloadConfigRequest) -> None:
    for index, config in enumerate(request.config.model_config_list.config, 1):
        logger.info(
            "\nConfig entry\n\tindex : %d\n\tpath : %s\n\tname : %s\n\tplatform : %s",
            index,
            config.base_path,
            config.name,
            config.model_platform,
        )
