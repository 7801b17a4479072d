"""What the Dockerfile must keep saying, read as text: building it takes a container engine (tests/container)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_tensorflow_is_bounded_as_in_the_package() -> None:
    """Both targets install the TensorFlow versions that the package's extras allow."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    allowed = {
        re.sub(r"^tensorflow(\[and-cuda\])?", "", text.split(";")[0])
        for text in (extras["tensorflow"] + extras["gpu"])
    }
    bounds = set(re.findall(r'^ARG TENSORFLOW_VERSION="(.*)"$', DOCKERFILE, re.MULTILINE))
    assert bounds == allowed


@pytest.mark.parametrize(
    "line",
    [
        "ARG BASE=python:3.12-slim",
        "EXPOSE 8500 8501",
        "ENV MODEL_BASE_PATH=/models \\",
        "    MODEL_NAME=model \\",
        'ENTRYPOINT ["/usr/bin/tf_serving_entrypoint.sh"]',
    ],
)
def test_image_keeps_what_manifests_rely_on(line: str) -> None:
    """Ports, environment and entry point are those of TensorFlow Serving's image."""
    assert line in DOCKERFILE.splitlines()


def test_user_is_a_number_and_not_root() -> None:
    """The image runs as a user whose number says that it is not root."""
    (user,) = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    number, group = user.split(":")
    assert int(number) > 0
    assert group == "0"


def test_every_file_that_is_copied_reaches_the_build() -> None:
    """What the Dockerfile copies from the source tree exists, and .dockerignore lets it through."""
    copies = re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = [source for copy in copies for source in copy.split()]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] in allowed, source


def test_default_target_is_the_cpu_image() -> None:
    """A build without a target makes the CPU image: it is the last stage."""
    assert re.findall(r"^FROM (.+)$", DOCKERFILE, re.MULTILINE)[-1] == "cpu"
