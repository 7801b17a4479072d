"""Warm-up by requests of EAS's TensorFlow processor: each is run five times before a version is AVAILABLE.

The requests go through the rules of real ones, and straight to the model: no queue, no token, no limit of a service but
a long one, and they are not counted as requests.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from pyserve.batching.task import Task
from pyserve.codec import eas as codec
from pyserve.config import EasOptions, EasService
from pyserve.errors import ServingError
from pyserve.inference.eas_request import task_of
from pyserve.inference.warmup_replay import Target
from pyserve.servable import Servable, ServableId

logger = logging.getLogger(__name__)

TIMES = 5
"""How often EAS sends each request."""
_LEAST_LIMIT_S = 60.0


def warm_up_by_eas(
    options: EasOptions, id: ServableId, servable: Servable, run: Callable[[Task], None]
) -> None:
    """Warm a version up by the requests of its service, if it has any, blocking.

    Args:
        options: Services, and whether a failure fails the load; else it is logged.
        run: Answers a task before it returns.

    Raises:
        ServingError: A request failed that must not.
    """
    service = options.service(id.name)
    target = Target(id, servable, run=run)
    for number, data in enumerate(service.warm_up, 1):
        try:
            _replay(target, data, service)
        except ServingError as error:
            if options.warm_up_must_succeed:
                raise
            logger.error("Warm-up request %d of servable %s failed: %s", number, id, error)
    if service.warm_up:
        logger.info(
            "Ran %d warm-up requests of EAS for servable %s, %d times each", len(service.warm_up), id, TIMES
        )


def _replay(target: Target, data: bytes, service: EasService) -> None:
    message = codec.decode_request(data)
    for _ in range(TIMES):
        deadline = time.monotonic() + max(2 * service.keepalive_s, _LEAST_LIMIT_S)
        with target.open() as opened:
            task = task_of(message, service, opened, deadline)
        target.answer(task)
