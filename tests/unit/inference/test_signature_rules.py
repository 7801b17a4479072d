"""What a Predict request must satisfy: names, dtypes, filters, in TensorFlow Serving's words."""

from __future__ import annotations

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.errors import Code, ServingError
from pyserve.inference import signature as rules
from pyserve.servable import PREDICT_METHOD, Signature, TensorSpec


def spec(alias: str, dtype: dtypes.DType = dtypes.FLOAT) -> TensorSpec:
    return TensorSpec(alias, dtype, (None,), f"t_{alias}:0")


def signature(*inputs: str, defaults: tuple[str, ...] = (), outputs: tuple[str, ...] = ("y",)) -> Signature:
    return Signature(
        "serving_default",
        PREDICT_METHOD,
        {alias: spec(alias) for alias in inputs},
        {alias: spec(alias) for alias in outputs},
        {alias: np.zeros(1, np.float32) for alias in defaults},
    )


@pytest.mark.parametrize(
    ("declared", "sent", "message"),
    [
        (signature("x"), {"x"}, None),
        (signature("x", "z", defaults=("z",)), {"x"}, None),
        (
            signature("x"),
            {"x", "z"},
            "input size does not match signature: 2!=1 len({x,z}) != len({x}). "
            "Sent extra: {z}. Missing but required: {}.",
        ),
        (
            signature("a", "b"),
            {"b"},
            "input size does not match signature: 1!=2 len({b}) != len({a,b}). "
            "Sent extra: {}. Missing but required: {a}.",
        ),
        (
            signature("x"),
            set(),
            "input size does not match signature: 0!=1 len({}) != len({x}). "
            "Sent extra: {}. Missing but required: {x}.",
        ),
        (
            signature("x"),
            {"q"},
            "Signature input alias: x(feed name: t_x:0) not found in request and no default value provided. "
            "Inputs expected to be in the request {q}, or default input alias set: ",
        ),
        (
            signature("a", "b", "c", defaults=("c",)),
            {"a"},
            "Signature input alias: b(feed name: t_b:0) not found in request and no default value provided. "
            "Inputs expected to be in the request {a}, or default input alias set: c",
        ),
    ],
)
def test_input_names(declared: Signature, sent: set[str], message: str | None) -> None:
    """Missing and surplus inputs are refused, defaults fill in."""
    if message is None:
        rules.check_input_names(declared, sent)
        return
    with pytest.raises(ServingError) as caught:
        rules.check_input_names(declared, sent)
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, message)


def test_unknown_name_among_defaulted_ones() -> None:
    """Where the counts agree only thanks to a default, the unknown name is still found."""
    declared = signature("a", "b", defaults=("b",))
    rules.check_input_names(declared, {"a", "q"})
    with pytest.raises(ServingError) as caught:
        rules.check_known_names(declared, {"a", "q"})
    assert caught.value.message == (
        "Inputs contains invalid name. Used request inputs: a, request input: a,q"
    )


def test_dtypes_are_counted_in_the_order_of_the_graph_tensors() -> None:
    """The index in the message is that of the feed, sorted by graph name, as TensorFlow's runtime counts."""
    declared = Signature(
        "s",
        PREDICT_METHOD,
        {"a": TensorSpec("a", dtypes.FLOAT, None, "z:0"), "b": TensorSpec("b", dtypes.INT64, None, "y:0")},
        {},
    )
    rules.check_dtypes(declared, {"a": dtypes.FLOAT, "b": dtypes.INT64})
    with pytest.raises(ServingError) as caught:
        rules.check_dtypes(declared, {"a": dtypes.STRING, "b": dtypes.INT64})
    assert str(caught.value) == "INVALID_ARGUMENT: Expects arg[1] to be float but string is provided"


@pytest.mark.parametrize(
    ("output_filter", "chosen"),
    [([], ["a", "b"]), (["b"], ["b"]), (["b", "a"], ["b", "a"])],
)
def test_output_filter(output_filter: list[str], chosen: list[str]) -> None:
    """An empty filter means every output; otherwise exactly those named."""
    assert list(rules.chosen_outputs(signature("x", outputs=("b", "a")), output_filter)) == chosen


@pytest.mark.parametrize(
    ("output_filter", "message"),
    [
        (["q"], "output tensor alias not found in signature: q Outputs expected to be in the set {a,b}."),
        (["a", "a"], "duplicate output tensor alias: a"),
    ],
)
def test_bad_output_filter(output_filter: list[str], message: str) -> None:
    """Unknown and repeated names are refused."""
    with pytest.raises(ServingError) as caught:
        rules.chosen_outputs(signature("x", outputs=("b", "a")), output_filter)
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, message)


def test_signature_lookup_and_method_name() -> None:
    """An empty key means serving_default; an unknown key and, if checked, a foreign method are refused."""
    found = signature("x")
    assert rules.find_signature({"serving_default": found}, "") is found
    with pytest.raises(ServingError) as caught:
        rules.find_signature({}, "")
    assert str(caught.value) == 'FAILED_PRECONDITION: Serving signature key "serving_default" not found.'
    rules.check_method_name(found)
    with pytest.raises(ServingError) as caught:
        rules.check_method_name(Signature("s", "other", {}, {}))
    assert str(caught.value) == (
        "INTERNAL: Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
        "tensorflow/serving/classify, tensorflow/serving/regress}. Was: other"
    )
