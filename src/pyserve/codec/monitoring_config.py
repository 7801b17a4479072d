"""`MonitoringConfig` of `--monitoring_config_file`: whether there is a metrics page, and where."""

from __future__ import annotations

import logging

from pyserve.codec.text_file import parse_file
from pyserve.protos import tfs

logger = logging.getLogger(__name__)

DEFAULT_PATH = "/monitoring/prometheus/metrics"


def parse_monitoring_config(text: str, path: str) -> str | None:
    """The URL path of the metrics page; None when it is not enabled.

    Args:
        text: Text format of `MonitoringConfig`.
        path: Where it came from, for messages.

    Raises:
        InvalidArgumentError: The text cannot be parsed.
    """
    prometheus = parse_file(text, path, tfs.MonitoringConfig()).prometheus_config
    if not prometheus.enable:
        return None
    if prometheus.path and not prometheus.path.startswith("/"):
        logger.warning("No request can reach the metrics page: its path %s has no leading /", prometheus.path)
    return prometheus.path or DEFAULT_PATH
