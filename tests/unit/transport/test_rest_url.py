"""The URL grammar of the REST API."""

from __future__ import annotations

import pytest

from pyserve.errors import InvalidArgumentError
from pyserve.transport.rest_url import Target, parse


@pytest.mark.parametrize(
    ("method", "target", "means"),
    [
        ("POST", "/v1/models/m:predict", Target("predict", "m")),
        ("POST", "/v1/models/m:classify", Target("classify", "m")),
        ("POST", "/v1/models/m:regress", Target("regress", "m")),
        ("POST", "/v1/models/m/versions/7:predict", Target("predict", "m", version=7)),
        ("POST", "/v1/models/m/versions/007:predict", Target("predict", "m", version=7)),
        ("POST", "/v1/models/m/labels/stable:predict", Target("predict", "m", label="stable")),
        ("POST", "/V1/Models/M/Versions/1:predict", Target("predict", "M", version=1)),
        ("POST", "/v1/models/a%2Fb%3Ac:predict", Target("predict", "a/b:c")),
        ("POST", "/v1/models/a+b%2:predict", Target("predict", "a+b%2")),
        ("POST", "/v1/models/%C3%A9:predict", Target("predict", "é")),
        ("POST", "/v1/models/m/labels/a%2fb:predict", Target("predict", "m", label="a/b")),
        ("GET", "/v1/models", Target("status", "")),
        ("GET", "/v1/models/m", Target("status", "m")),
        ("GET", "/v1/models/m?x=1", Target("status", "m?x=1")),
        ("GET", "/v1/models/m/versions/3", Target("status", "m", version=3)),
        ("GET", "/v1/models/m/labels/l", Target("status", "m", label="l")),
        ("GET", "/v1/models/versions/5", Target("status", "", version=5)),
        ("GET", "/v1/models/m/metadata", Target("metadata", "m")),
        ("GET", "/v1/models/m/METADATA", Target("status", "m")),
        ("GET", "/v1/models/m/versions/3/metadata", Target("metadata", "m", version=3)),
        ("GET", "/v1/models/m/labels/l/metadata", Target("metadata", "m", label="l")),
        (
            "GET",
            "/v1/models/m/versions/9223372036854775807",
            Target("status", "m", version=2**63 - 1),
        ),
        ("GET", "/v1/models/m/versions/" + "0" * 5000 + "1", Target("status", "m", version=1)),
    ],
)
def test_targets(method: str, target: str, means: Target) -> None:
    """Each form of the grammar means what TensorFlow Serving takes it for."""
    assert parse(method, target) == means


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/m/"),
        ("GET", "/v1/models/m/version/5"),
        ("GET", "/v1/models/m/versions/abc"),
        ("GET", "/v1/models/m/versions/1/labels/l"),
        ("GET", "/v1/models/m:predict"),
        ("GET", "/v1/modelsx"),
        ("GET", "/v1/models/m/versions/٣"),
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/m:PREDICT"),
        ("POST", "/v1/models/m:predict?x=1"),
        ("POST", "/v1/models/m:predict\n"),
        ("POST", "/v1/models/m:explain"),
        ("POST", "/v1/models/m/metadata"),
        ("POST", "/v1/models:predict"),
        ("PUT", "/v1/models/m"),
        ("DELETE", "/v1/models/m"),
        ("HEAD", "/v1/models/m"),
        ("PATCH", "/v1/models/m:predict"),
    ],
)
def test_malformed(method: str, target: str) -> None:
    """What does not match is refused with the method and the target in the text."""
    with pytest.raises(InvalidArgumentError) as caught:
        parse(method, target)
    assert caught.value.message == f"Malformed request: {method} {target}"


@pytest.mark.parametrize("digits", ["9223372036854775808", "1" * 5000])
def test_version_beyond_int64(digits: str) -> None:
    """A version that no int64 can hold is named."""
    with pytest.raises(InvalidArgumentError) as caught:
        parse("GET", f"/v1/models/m/versions/{digits}")
    assert caught.value.message == f"Failed to convert version: {digits} to numeric."
