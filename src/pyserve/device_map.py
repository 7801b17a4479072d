"""Which devices each model runs on: the value behind `--device_map`, right once it exists. No TensorFlow.

A device is named as TensorFlow numbers it, `CPU:0` or `GPU:1`. Whether it is there is known only to the backend.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pyserve.errors import InvalidArgumentError

_DEVICE = re.compile(r"[A-Z][A-Z0-9_]*:(0|[1-9][0-9]*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class DeviceMap:
    """Devices by the names of models; a model that is not named runs where TensorFlow puts it.

    Attributes:
        devices: Model → its devices, at least one, none twice. On each of several stands a replica of the model.

    Raises:
        InvalidArgumentError: A model has no device, one twice, or what is no name of a device.
    """

    devices: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        for model, devices in self.devices.items():
            for device in devices:
                if not _DEVICE.fullmatch(device):
                    raise InvalidArgumentError(
                        f"device_map: '{device}' of model {model} is no device; expected TYPE:NUMBER, e.g. GPU:0"
                    )
                if devices.count(device) > 1:
                    raise InvalidArgumentError(f"device_map: model {model} has {device} twice")
            if not devices:
                raise InvalidArgumentError(f"device_map: model {model} has no device")

    @classmethod
    def parse(cls, text: str) -> DeviceMap:
        """The map of a flag's text, `model=DEVICE|DEVICE,model=DEVICE`; of empty text an empty one.

        A model's name may hold equal signs; one that holds a comma can be given in code only.

        Raises:
            InvalidArgumentError: The text has another form, or a model twice; or as for the map itself.
        """
        devices: dict[str, tuple[str, ...]] = {}
        for item in text.split(",") if text.strip() else ():
            model, equals, names = (piece.strip() for piece in item.rpartition("="))
            if not (model and equals):
                raise InvalidArgumentError(
                    f"device_map: '{item.strip()}' is not of the form model=DEVICE|DEVICE, e.g. resnet=GPU:0|GPU:1"
                )
            if model in devices:
                raise InvalidArgumentError(f"device_map: model {model} is named twice")
            devices[model] = tuple(name.strip() for name in names.split("|"))
        return cls(MappingProxyType(devices))

    def of(self, model: str) -> tuple[str, ...]:
        """The devices of a model, empty when TensorFlow chooses."""
        return self.devices.get(model, ())
