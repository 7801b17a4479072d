"""What a TensorFlow Lite model declares, and what is made of one that declares nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.backends.tflite.signatures import by_tensor_name, signature_of
from pyserve.errors import InternalError
from pyserve.servable import PREDICT_METHOD, TensorSpec


def tensor(
    name: str, dtype: Any = np.float32, shape: tuple[int, ...] = (1, 3), free: Any = None
) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": shape, "shape_signature": shape if free is None else free}


@pytest.mark.parametrize(
    ("details", "spec"),
    [
        (tensor("a", free=(-1, 3)), TensorSpec("x", dtypes.FLOAT, (None, 3), "a")),
        (tensor("a", free=()), TensorSpec("x", dtypes.FLOAT, (1, 3), "a")),  # a model older than free shapes
        (tensor("a", shape=()), TensorSpec("x", dtypes.FLOAT, (), "a")),
        (tensor("a", np.bytes_), TensorSpec("x", dtypes.STRING, (1, 3), "a")),
        (tensor("a", np.int8), TensorSpec("x", dtypes.BY_NAME["int8"], (1, 3), "a")),
        (tensor("a", np.bool_), TensorSpec("x", dtypes.BOOL, (1, 3), "a")),
        (tensor("a", np.float16), TensorSpec("x", dtypes.BY_NAME["half"], (1, 3), "a")),
    ],
)
def test_tensors(details: dict[str, Any], spec: TensorSpec) -> None:
    """Types and shapes are TensorFlow's; a dimension of -1 is free."""
    signature = signature_of("s", {"x": details}, {"y": tensor("b")})
    assert signature.inputs == {"x": spec}
    assert (signature.key, signature.method_name, list(signature.outputs)) == ("s", PREDICT_METHOD, ["y"])


def test_an_unknown_type() -> None:
    """A type that TensorFlow does not have is refused by the tensor's name."""
    with pytest.raises(InternalError, match="Unknown TfLite type of tensor a"):
        signature_of("s", {"x": tensor("a", np.datetime64)}, {})


@pytest.mark.parametrize(
    ("names", "aliases"),
    [
        (["x", "y"], ["x", "y"]),
        (["serving_default_x:0"], ["serving_default_x"]),
        (["Call:0", "Call:1", "z:0"], ["Call:0", "Call:1", "z"]),
    ],
)
def test_aliases_without_signatures(names: list[str], aliases: list[str]) -> None:
    """Names lose what stands behind the colon, as in TensorFlow Serving, unless they would then be the same."""
    assert list(by_tensor_name(map(tensor, names))) == aliases
