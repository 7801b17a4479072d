"""Classify, Regress and MultiInference: which signatures suit, and what outputs may look like, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from pyserve import dtypes
from pyserve.codec.examples import InferenceTask
from pyserve.codec.inference_results import Classifications, Regressions
from pyserve.codec.predict import ModelSpec
from pyserve.errors import Code, InvalidArgumentError, ServingError
from pyserve.inference.example_methods import Method
from pyserve.inference.multi_inference import (
    CLASSIFY,
    REGRESS,
    plan_one,
    plan_several,
    results_of,
    wanted_outputs,
)
from pyserve.inference.signature import check_shared_dtype
from pyserve.servable import CLASSIFY_METHOD, PREDICT_METHOD, REGRESS_METHOD, OutputOf, Signature, TensorSpec


def signature(key: str, inputs: str, outputs: str, method: str = PREDICT_METHOD) -> Signature:
    """A signature from the names of its inputs and outputs."""
    return Signature(
        key,
        method,
        {name: TensorSpec(name, dtypes.STRING, (None,), f"{name}:0") for name in inputs.split()},
        {name: TensorSpec(name, dtypes.FLOAT, (None,)) for name in outputs.split()},
    )


SIGNATURES: Mapping[str, Signature] = {
    made.key: made
    for made in (
        signature("serving_default", "inputs", "scores"),
        signature("classify", "inputs", "scores", CLASSIFY_METHOD),
        signature("both", "inputs", "scores classes", CLASSIFY_METHOD),
        signature("other", "inputs", "scores other", CLASSIFY_METHOD),
        signature("regress", "inputs", "outputs", REGRESS_METHOD),
        signature("no input", "", "outputs"),
        signature("two inputs", "inputs x", "outputs three more of them"),
        signature("three outputs", "x", "scores classes more"),
        signature("no output", "inputs", ""),
        signature("wrong input", "x", "y"),
        signature("wrong output", "inputs", "y"),
    )
}


def declared(key: str) -> str:
    return f"<{key}>"


def planned(method: Method, key: str, *, check: bool = False) -> Any:
    return plan_one(method, key, SIGNATURES, declared, check_method_name=check)


@pytest.mark.parametrize(
    ("method", "key", "outputs"),
    [
        (CLASSIFY, "", ["scores"]),
        (CLASSIFY, "classify", ["scores"]),
        (CLASSIFY, "both", ["classes", "scores"]),
        (CLASSIFY, "other", ["scores"]),
        (REGRESS, "regress", ["outputs"]),
    ],
)
def test_signatures_that_suit(method: Method, key: str, outputs: list[str]) -> None:
    """The outputs that a method knows are computed, and no others; the method name does not matter."""
    plan = planned(method, key)
    assert (plan.signature.key, plan.outputs) == (key or "serving_default", outputs)


@pytest.mark.parametrize(
    ("method", "key", "message"),
    [
        (CLASSIFY, "nope", "No signature was found with the name: nope"),
        (CLASSIFY, "no input", "Expected one input Tensor."),
        (CLASSIFY, "two inputs", "Expected one input Tensor."),
        (CLASSIFY, "three outputs", "Expected one or two output Tensors, found 3"),
        (CLASSIFY, "no output", "Expected one or two output Tensors, found 0"),
        (CLASSIFY, "wrong input", "No classification inputs found in SignatureDef: <wrong input>"),
        (
            CLASSIFY,
            "wrong output",
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            "Signature was: <wrong output>",
        ),
        (REGRESS, "nope", "No signature was found with the name: nope"),
        (REGRESS, "no input", "Expected one input Tensor."),
        (REGRESS, "two inputs", "Expected one input Tensor."),
        (REGRESS, "three outputs", "Expected one output Tensor."),
        (REGRESS, "no output", "Expected one output Tensor."),
        (REGRESS, "wrong input", "No regression inputs found in SignatureDef: <wrong input>"),
        (REGRESS, "wrong output", "No regression outputs found in SignatureDef: <wrong output>"),
    ],
)
def test_signatures_that_do_not_suit(method: Method, key: str, message: str) -> None:
    """The first rule that a signature breaks names what is wrong."""
    with pytest.raises(InvalidArgumentError) as caught:
        planned(method, key)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("method", "key", "message"),
    [
        (CLASSIFY, "classify", None),
        (REGRESS, "regress", None),
        (
            CLASSIFY,
            "regress",
            "Expected classification signature method_name to be tensorflow/serving/classify. "
            "Was: tensorflow/serving/regress",
        ),
        (
            REGRESS,
            "two inputs",
            "Expected regression signature method_name to be tensorflow/serving/regress. "
            "Was: tensorflow/serving/predict",
        ),
        (CLASSIFY, "nope", "No signature was found with the name: nope"),
    ],
)
def test_method_name_check(method: Method, key: str, message: str | None) -> None:
    """The check, when it is on, comes after the look-up and before the structure."""
    if message is None:
        assert planned(method, key, check=True).signature.key == key
        return
    with pytest.raises(InvalidArgumentError) as caught:
        planned(method, key, check=True)
    assert caught.value.message == message


def floats(*shape: int) -> Any:
    return np.ones(shape, np.float32)


def strings(*shape: int) -> Any:
    return np.full(shape, b"s", object)


SHAPE = "Expected Tensor shape: [batch_size num_classes] but got "


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"scores": floats(2, 3)}, None),
        ({"classes": strings(2, 3)}, None),
        ({"classes": strings(2, 3), "scores": floats(2, 3)}, None),
        ({"scores": floats(2, 0)}, None),
        ({"scores": floats(2)}, SHAPE + "[2]"),
        ({"scores": floats()}, SHAPE + "[]"),
        ({"classes": strings(2, 1, 3)}, SHAPE + "[2,1,3]"),
        ({"classes": floats(2, 1)}, "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        ({"classes": strings(3, 1)}, "Expected classes output batch size of 2. Got: 3"),
        ({"scores": np.ones((2, 1))}, "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        ({"scores": floats(1, 1)}, "Expected scores output batch size of 2. Got: 1"),
        (
            {"classes": strings(2, 3), "scores": floats(2, 4)},
            "Tensors class and score should match in dim_size(1). Got 3 vs. 4",
        ),
        # the order: classes before scores, and of each its rank, its type, its size
        (
            {"classes": floats(3, 1), "scores": floats(2)},
            "Expected classes Tensor of DT_STRING. Got: DT_FLOAT",
        ),
        ({"classes": floats(3)}, SHAPE + "[3]"),
        ({"classes": floats(3, 1)}, "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
    ],
)
def test_outputs_of_classify(outputs: dict[str, Any], message: str | None) -> None:
    """Outputs are [examples, classes]; anything else is named."""
    if message is None:
        found = CLASSIFY.result(outputs, 2)
        assert isinstance(found, Classifications)
        assert (found.labels, found.scores) == (outputs.get("classes"), outputs.get("scores"))
        return
    with pytest.raises(InvalidArgumentError) as caught:
        CLASSIFY.result(outputs, 2)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (floats(2), None),
        (floats(2, 1), None),
        (
            floats(2, 2),
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]",
        ),
        (floats(), "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got []"),
        (
            floats(2, 1, 1),
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,1,1]",
        ),
        (floats(3), "Input batch size did not match output batch size: 2 vs. 3"),
        (np.ones(2, np.int64), "Expected output Tensor of DT_FLOAT.  Got: DT_INT64"),
        (np.ones(3, np.int64), "Input batch size did not match output batch size: 2 vs. 3"),
    ],
)
def test_output_of_regress(array: Any, message: str | None) -> None:
    """The output is one float per example, in either of two shapes; anything else is named."""
    if message is None:
        found = REGRESS.result({"outputs": array}, 2)
        assert isinstance(found, Regressions)
        assert found.values.tolist() == [1.0, 1.0]
        return
    with pytest.raises(InvalidArgumentError) as caught:
        REGRESS.result({"outputs": array}, 2)
    assert caught.value.message == message


def task(name: str, key: str, method: str = CLASSIFY_METHOD) -> InferenceTask:
    return InferenceTask(ModelSpec(name=name, signature_name=key), method)


def test_plans_of_several_tasks() -> None:
    """Each task has its method and signature, in their order; results come from its own outputs."""
    plans = plan_several(
        [task("m", "both"), task("m", "regress", REGRESS_METHOD), task("m", "")],
        SIGNATURES,
        declared,
        check_method_name=False,
    )
    assert [(plan.method, plan.signature.key) for plan in plans] == [
        (CLASSIFY, "both"),
        (REGRESS, "regress"),
        (CLASSIFY, "serving_default"),
    ]
    wanted = wanted_outputs(plans)
    assert list(wanted.values()) == [
        OutputOf("both", "classes"),
        OutputOf("both", "scores"),
        OutputOf("regress", "outputs"),
        OutputOf("serving_default", "scores"),
    ]
    arrays = [strings(1, 1), floats(1, 1), floats(1) * 2, floats(1, 1) * 3]
    first, second, third = results_of(plans, dict(zip(wanted, arrays, strict=True)), 1)
    assert isinstance(first, Classifications)
    assert first.labels is arrays[0]
    assert first.scores is arrays[1]
    assert isinstance(second, Regressions)
    assert second.values.tolist() == [2.0]
    assert isinstance(third, Classifications)
    assert third.scores is arrays[3]


def test_results_of_one_plan() -> None:
    """A lone plan is a plain run, whose outputs have the signature's own names."""
    plans = [planned(REGRESS, "regress")]
    (found,) = results_of(plans, {"outputs": floats(2)}, 2)
    assert isinstance(found, Regressions)


TWICE = "Duplicate evaluation of signature: "
NEITHER = 'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature was: '
OTHER = "All ModelSpecs in a MultiInferenceRequest must access the same model name."


@pytest.mark.parametrize(
    ("tasks", "code", "message"),
    [
        ([task("", "")], Code.INVALID_ARGUMENT, "Found ModelSpec with an empty model name."),
        ([task("m", "classify"), task("n", "")], Code.INVALID_ARGUMENT, OTHER),
        ([task("m", ""), task("m", "serving_default")], Code.INVALID_ARGUMENT, TWICE + "serving_default"),
        ([task("m", "nope")], Code.INVALID_ARGUMENT, "Requested signature not found in model graph: nope"),
        ([task("m", "", PREDICT_METHOD)], Code.UNIMPLEMENTED, f"Unsupported signature method_name: {PREDICT_METHOD}"),
        ([task("m", "regress")], Code.INVALID_ARGUMENT, NEITHER + "<regress>"),
        ([task("m", "two inputs", REGRESS_METHOD)], Code.INVALID_ARGUMENT, "Expected one input Tensor."),
        # the order of the checks of one task
        ([task("m", "classify"), task("n", "classify")], Code.INVALID_ARGUMENT, OTHER),
        ([task("m", "classify"), task("m", "classify", "x")], Code.INVALID_ARGUMENT, TWICE + "classify"),
        ([task("m", "nope", "x")], Code.INVALID_ARGUMENT, "Requested signature not found in model graph: nope"),
        ([task("m", "two inputs", "x")], Code.UNIMPLEMENTED, "Unsupported signature method_name: x"),
        # the first task that is wrong
        ([task("m", "", "x"), task("", "")], Code.UNIMPLEMENTED, "Unsupported signature method_name: x"),
    ],
)  # fmt: skip
def test_refused_tasks(tasks: list[InferenceTask], code: Code, message: str) -> None:
    """Each task is checked whole before the next one."""
    with pytest.raises(ServingError) as caught:
        plan_several(tasks, SIGNATURES, declared, check_method_name=False)
    assert (caught.value.code, caught.value.message) == (code, message)


def test_tasks_with_the_method_name_check() -> None:
    """The check holds for each task by its own method."""
    good = [task("m", "classify"), task("m", "regress", REGRESS_METHOD)]
    assert len(plan_several(good, SIGNATURES, declared, check_method_name=True)) == 2
    with pytest.raises(InvalidArgumentError, match="Expected classification signature method_name"):
        plan_several([*good, task("m", "")], SIGNATURES, declared, check_method_name=True)


def fed(tensor: str, dtype: dtypes.DType) -> Signature:
    return Signature("s", "", {"inputs": TensorSpec("inputs", dtype, None, tensor)}, {})


def test_a_shared_input_is_of_one_type() -> None:
    """The index counts distinct tensors in the order of their names."""
    string, number = dtypes.STRING, dtypes.FLOAT
    check_shared_dtype([fed("a:0", string), fed("b:0", string)], string)
    with pytest.raises(InvalidArgumentError, match=r"Expects arg\[1\] to be float but string is provided"):
        check_shared_dtype([fed("b:0", number), fed("a:0", string), fed("a:0", string)], string)
