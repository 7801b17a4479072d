"""The map of models to devices: its text form, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pyserve.cli.configure import server_config
from pyserve.config import ModelConfig, ServerConfig
from pyserve.device_map import DeviceMap
from pyserve.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("", {}),
        (" ", {}),
        ("mlp=CPU:0", {"mlp": ("CPU:0",)}),
        ("resnet=GPU:0|GPU:1,mlp=CPU:0", {"resnet": ("GPU:0", "GPU:1"), "mlp": ("CPU:0",)}),
        (" resnet = GPU:10 | CPU:0 , mlp = XPU:2 ", {"resnet": ("GPU:10", "CPU:0"), "mlp": ("XPU:2",)}),
        ("a=b=GPU:0", {"a=b": ("GPU:0",)}),
    ],
)
def test_text(text: str, devices: dict[str, tuple[str, ...]]) -> None:
    """Models apart by commas, devices by bars, in the order given; blanks around them do not count."""
    assert DeviceMap.parse(text).devices == devices


FORM = "is not of the form model=DEVICE|DEVICE, e.g. resnet=GPU:0|GPU:1"
DEVICE = "is no device; expected TYPE:NUMBER, e.g. GPU:0"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DeviceMap.parse("resnet"), f"device_map: 'resnet' {FORM}"),
        (lambda: DeviceMap.parse("=GPU:0"), f"device_map: '=GPU:0' {FORM}"),
        (lambda: DeviceMap.parse("a=GPU:0,"), f"device_map: '' {FORM}"),
        (lambda: DeviceMap.parse("a=GPU:0,a=GPU:1"), "device_map: model a is named twice"),
        (lambda: DeviceMap.parse("a="), f"device_map: '' of model a {DEVICE}"),
        (lambda: DeviceMap.parse("a=GPU:0|"), f"device_map: '' of model a {DEVICE}"),
        (lambda: DeviceMap.parse("a=gpu:0"), f"device_map: 'gpu:0' of model a {DEVICE}"),
        (lambda: DeviceMap.parse("a=GPU"), f"device_map: 'GPU' of model a {DEVICE}"),
        (lambda: DeviceMap.parse("a=GPU:00"), f"device_map: 'GPU:00' of model a {DEVICE}"),
        (lambda: DeviceMap.parse("a=GPU:*"), f"device_map: 'GPU:*' of model a {DEVICE}"),
        (lambda: DeviceMap.parse("a=GPU:0|GPU:0"), "device_map: model a has GPU:0 twice"),
        (lambda: DeviceMap({"a": ()}), "device_map: model a has no device"),
        (lambda: DeviceMap({"a": ("GPU:0\n",)}), f"device_map: 'GPU:0\n' of model a {DEVICE}"),
    ],
)
def test_refused(make: Callable[[], object], message: str) -> None:
    """The message names the piece that is wrong, and what was expected."""
    with pytest.raises(InvalidArgumentError) as caught:
        make()
    assert caught.value.message == message


def test_devices_of_a_model() -> None:
    """A model that the map does not name has none."""
    devices = DeviceMap({"a": ("GPU:1", "GPU:0")})
    assert devices.of("a") == ("GPU:1", "GPU:0")
    assert devices.of("b") == ()


def test_the_flag() -> None:
    """`--device_map` becomes the configuration's map; without it there is none."""

    def made(**flags: str) -> DeviceMap:
        return server_config(
            {"model_base_path": "/m", "model_name": "a", **flags}, lambda path: ""
        ).device_map

    assert made() == DeviceMap()
    assert made(device_map="a=GPU:0|CPU:0") == DeviceMap({"a": ("GPU:0", "CPU:0")})
    with pytest.raises(InvalidArgumentError, match=r"there is no model b; the models are a$"):
        made(device_map="a=GPU:0,b=GPU:1")


@pytest.mark.parametrize(
    ("models", "named"),
    [
        (("b", "a"), "a, b"),
        (
            tuple(f"m{number:02}" for number in range(12)),
            "m00, m01, m02, m03, m04, m05, m06, m07, m08, m09 and 2 others",
        ),
    ],
)
def test_unknown_models(models: tuple[str, ...], named: str) -> None:
    """A name that is no model's is refused, with some that are; without any model it may become one."""
    placed = DeviceMap({"resnet": ("GPU:0",)})
    with pytest.raises(InvalidArgumentError) as caught:
        ServerConfig(models=tuple(ModelConfig(name, "/m") for name in models), device_map=placed)
    assert caught.value.message == f"device_map: there is no model resnet; the models are {named}"
    assert ServerConfig(device_map=placed).device_map is placed


def test_the_page() -> None:
    """docs/devices.md says the same thing once as a flag and once in code."""
    page = (Path(__file__).parents[2] / "docs" / "devices.md").read_text()
    (flag,) = re.findall("--device_map='(.*)'", page)
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    made: dict[str, ServerConfig] = {}
    exec(code, made)
    assert made["config"].device_map.of("resnet") == DeviceMap.parse(flag).of("resnet") == ("GPU:0", "GPU:1")
