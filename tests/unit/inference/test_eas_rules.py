"""Which signature a request of EAS means, and what it must send."""

from __future__ import annotations

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError
from pyserve.inference.eas_rules import check_array, check_names, chosen_signature
from pyserve.servable import CLASSIFY_METHOD, PREDICT_METHOD, Signature, TensorSpec


def signatures(**methods: str) -> dict[str, Signature]:
    kinds = {"p": PREDICT_METHOD, "c": CLASSIFY_METHOD, "": ""}
    return {key: Signature(key, kinds[method], {}, {}) for key, method in methods.items()}


@pytest.mark.parametrize(
    ("methods", "key", "configured", "chosen"),
    [
        ({"serving_default": "p", "a": "p"}, "", "", "serving_default"),
        ({"serving_default": "c", "predict_images": "p"}, "", "", "predict_images"),
        ({"serving_default": "c", "z": "p", "b": "p"}, "", "", "b"),
        ({"serving_default": "c", "a": "c"}, "", "", "serving_default"),
        ({"b": "c", "a": ""}, "", "", "a"),
        ({"serving_default": "p", "a": "c"}, "", "a", "a"),
        ({"serving_default": "p", "a": "c"}, "serving_default", "a", "serving_default"),
        ({"__saved_model_init_op": "p", "z": "c"}, "", "", "z"),
    ],
)
def test_the_signature(methods: dict[str, str], key: str, configured: str, chosen: str) -> None:
    """What is asked for, what is configured, what is for predict, what there is."""
    assert chosen_signature(signatures(**methods), key, configured).key == chosen


@pytest.mark.parametrize(
    ("methods", "key", "configured", "text"),
    [
        ({"b": "p", "a": "p"}, "x", "", "unknown signature 'x'; expected one of: a, b"),
        ({"a": "p"}, "", "x", "unknown signature 'x'; expected one of: a"),
        ({"__saved_model_init_op": "", "a": "p"}, "__saved_model_init_op", "", "expected one of: a"),
        ({"__saved_model_init_op": ""}, "", "", "the model has no signature"),
    ],
)
def test_no_signature(methods: dict[str, str], key: str, configured: str, text: str) -> None:
    """The known ones are listed, without TensorFlow's own."""
    with pytest.raises(InvalidArgumentError, match=text):
        chosen_signature(signatures(**methods), key, configured)


SPECS = {alias: TensorSpec(alias, dtypes.FLOAT, (None,)) for alias in "ab"}
SIGNATURE = Signature("s", PREDICT_METHOD, SPECS, {"y": TensorSpec("y", dtypes.FLOAT, (None,))})


@pytest.mark.parametrize(
    ("sent", "wanted", "text"),
    [
        ("abc", "", "unknown input 'c'; expected: a, b"),
        ("a", "", "missing input 'b'; expected: a, b"),
        ("", "", "missing input 'a'"),
        ("ab", "z", "unknown output 'z'; expected: y"),
    ],
)
def test_names(sent: str, wanted: str, text: str) -> None:
    """Every input, nothing else, and outputs that there are."""
    check_names(SIGNATURE, "ab", "y")
    with pytest.raises(InvalidArgumentError, match=text):
        check_names(SIGNATURE, sent, wanted)


def test_inputs_with_a_default() -> None:
    """They may be left out."""
    default = Signature("s", PREDICT_METHOD, SPECS, {}, {"b": np.zeros(1, np.float32)})
    check_names(default, "a", "")


@pytest.mark.parametrize(
    ("shape", "array", "text"),
    [
        ((None, 2), np.zeros((5, 2), np.float32), ""),
        (None, np.zeros((5, 2), np.float32), ""),
        ((), np.zeros((), np.float32), ""),
        ((None, 2), np.zeros((5, 3), np.float32), r"shape \[5, 3\], expected \[-1, 2\]"),
        ((None, 2), np.zeros(2, np.float32), r"shape \[2\], expected \[-1, 2\]"),
        ((), np.zeros(1, np.float32), r"shape \[1\], expected \[\]"),
        ((None,), np.zeros(2, np.int32), "dtype DT_INT32, expected DT_FLOAT"),
        ((None,), np.zeros(2), "dtype DT_DOUBLE, expected DT_FLOAT"),
    ],
)
def test_arrays(shape: tuple[int | None, ...] | None, array: Array, text: str) -> None:
    """Dtype, rank and fixed dimensions are those declared."""
    spec = TensorSpec("x", dtypes.FLOAT, shape)
    if not text:
        check_array(spec, array)
        return
    with pytest.raises(InvalidArgumentError, match="input 'x': " + text):
        check_array(spec, array)
