"""Warm-up by zeros: which inputs are made, and that failures stay inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError
from pyserve.inference.warmup import warm_up, zeros_for
from pyserve.servable import CLASSIFY_METHOD, PREDICT_METHOD, ServableId, Signature, TensorSpec


def signature(
    *specs: TensorSpec, key: str = "s", method: str = PREDICT_METHOD, **defaults: Array
) -> Signature:
    outputs = {"b": TensorSpec("b", dtypes.FLOAT, None), "a": TensorSpec("a", dtypes.FLOAT, None)}
    return Signature(key, method, {spec.alias: spec for spec in specs}, outputs, defaults)


@pytest.mark.parametrize(
    ("spec", "shape", "value"),
    [
        (TensorSpec("x", dtypes.FLOAT, (None, 3)), (1, 3), 0.0),
        (TensorSpec("x", dtypes.FLOAT, ()), (), 0.0),
        (TensorSpec("x", dtypes.BOOL, (2,)), (2,), False),
        (TensorSpec("x", dtypes.STRING, (None,)), (1,), b""),
    ],
)
def test_zeros(spec: TensorSpec, shape: tuple[int, ...], value: object) -> None:
    """Free dimensions become one; strings are empty; the dtype is the declared one."""
    made = zeros_for(signature(spec))
    assert made is not None
    assert made["x"].shape == shape
    assert made["x"].dtype == spec.dtype.numpy
    assert made["x"].flat[0] == value


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("x", dtypes.FLOAT, None),
        TensorSpec("x", dtypes.FLOAT, (2**40, 2**40)),
        TensorSpec("x", dtypes.BY_NAME["resource"], ()),
    ],
)
def test_no_zeros(spec: TensorSpec) -> None:
    """Unknown ranks, enormous shapes and types without data are left alone."""
    assert zeros_for(signature(spec)) is None


def test_defaults_are_kept() -> None:
    """An input with a default takes it."""
    made = zeros_for(signature(TensorSpec("x", dtypes.FLOAT, None), x=np.ones(3)))
    assert made is not None
    assert made["x"].tolist() == [1, 1, 1]


class Recorder:
    """A servable that writes down what is run, and fails where told."""

    signature_def_map = b""

    def __init__(self, signatures: Sequence[Signature], stateless: set[str], fail: str = "") -> None:
        self.signatures: Mapping[str, Signature] = {s.key: s for s in signatures}
        self.stateless = frozenset(stateless)
        self.fail = fail
        self.ran: list[tuple[str, list[str]]] = []

    def run(
        self,
        signature_key: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        self.ran.append((signature_key, list(outputs)))
        if signature_key == self.fail:
            raise InvalidArgumentError("zeros are not welcome")
        return {}

    def unload(self) -> None: ...


def test_warm_up_runs_what_has_no_side_effects() -> None:
    """Each stateless predict signature runs once with all outputs; a failure does not stop the others."""
    x = TensorSpec("x", dtypes.FLOAT, (None,))
    servable = Recorder(
        [
            signature(x, key="a"),
            signature(x, key="b"),
            signature(x, key="stateful"),
            signature(x, key="examples", method=CLASSIFY_METHOD),
        ],
        {"a", "b", "examples"},
        fail="a",
    )
    warm_up(ServableId("m", 1), servable)
    assert servable.ran == [("a", ["a", "b"]), ("b", ["a", "b"])]


@pytest.mark.parametrize(
    ("shape", "rows", "made"),
    [
        ((None, 3), 4, (4, 3)),
        ((4, 3), 4, (4, 3)),
        ((1, 3), 4, None),
        ((), 4, None),
        ((2, 3), 1, (2, 3)),
    ],
)
def test_rows(shape: tuple[int | None, ...], rows: int, made: tuple[int, ...] | None) -> None:
    """The first dimension takes the number of rows, where it is free or fits."""
    zeros = zeros_for(signature(TensorSpec("x", dtypes.FLOAT, shape)), rows)
    assert (None if zeros is None else zeros["x"].shape) == made


def test_what_cannot_be_batched_is_run_as_it_is() -> None:
    """A signature with fixed shapes runs once when no batch size fits it."""
    servable = Recorder([signature(TensorSpec("x", dtypes.FLOAT, (1, 3)), key="a")], {"a"})
    warm_up(ServableId("m", 1), servable, (4, 8))
    assert servable.ran == [("a", ["a", "b"])]
