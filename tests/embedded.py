"""A backend without TensorFlow for embedded servers in tests: every version serves half_plus_two as a callable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pyserve import dtypes
from pyserve.backends.function import FunctionServable, predict_signature
from pyserve.config import ModelConfig, ServerConfig
from pyserve.dtypes import Array
from pyserve.servable import Servable, ServableId, TensorSpec


def half_plus_two(x: Array) -> Mapping[str, Array]:
    return {"y": x / 2 + 2}


class FunctionBackend:
    """Loads a callable, whatever is in the version directory."""

    def prepare(self, *, own_process: bool) -> None: ...

    def make_loader(self, id: ServableId, path: str) -> FunctionBackend:
        return self

    def incomplete_reason(self, path: str) -> str | None:
        return None

    def load(self) -> Servable:
        x, y = (TensorSpec(alias, dtypes.FLOAT, (None,)) for alias in "xy")
        return FunctionServable([(predict_signature([x], [y]), half_plus_two)])


def config(base: Path, **changes: object) -> ServerConfig:
    """A server on free ports over the versions in a directory, which is given one."""
    (base / "1").mkdir(parents=True, exist_ok=True)
    (base / "1" / "model.py").touch()
    fields: dict[str, object] = {
        "models": (ModelConfig("m", str(base)),),
        "port": 0,
        "rest_api_port": 0,
        "admin_port": 0,
        "host": "127.0.0.1",
        **changes,
    }
    return ServerConfig(**fields)  # type: ignore[arg-type]
