"""MonitoringConfig: enabled or not, and where the page is."""

from __future__ import annotations

import pytest

from pyserve.codec.monitoring_config import parse_monitoring_config
from pyserve.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", None),
        ("prometheus_config {}", None),
        ('prometheus_config { path: "/m" }', None),
        ("prometheus_config { enable: false }", None),
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ("prometheus_config: { enable: true, path: '' } # a comment", "/monitoring/prometheus/metrics"),
        ('prometheus_config { enable: true path: "/v1/models/m" }', "/v1/models/m"),
    ],
)
def test_paths(text: str, path: str | None) -> None:
    """Only `enable` makes a page; without a path it has TensorFlow Serving's."""
    assert parse_monitoring_config(text, "/f") == path


def test_a_path_that_nobody_can_ask_for(caplog: pytest.LogCaptureFixture) -> None:
    """A path without a slash is kept, and warned about."""
    assert parse_monitoring_config('prometheus_config { enable: true path: "m" }', "/f") == "m"
    assert "No request can reach the metrics page" in caplog.text


@pytest.mark.parametrize("text", ["prometheus_config { enabled: true }", "x", "prometheus_config {"])
def test_mistakes(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake names the file, and the log its place."""
    with pytest.raises(InvalidArgumentError, match="Invalid protobuf file: '/f'"):
        parse_monitoring_config(text, "/f")
    assert "Error parsing text-format tensorflow.serving.MonitoringConfig: 1:" in caplog.text
