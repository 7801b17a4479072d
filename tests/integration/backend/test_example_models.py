"""The example models answer as their README says, and TensorFlow Serving's own as their names say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyserve.backends.saved_model import SavedModelServable
from pyserve.errors import Code, ServingError
from pyserve.protos import tf as protos
from pyserve.protos import tfs
from pyserve.servable import CLASSIFY_METHOD, PREDICT_METHOD, REGRESS_METHOD

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"
Load = Callable[..., SavedModelServable]


def floats(*values: float) -> Any:
    return np.array(values, np.float32)


def strings(*values: bytes) -> Any:
    return np.array(values, object)


def example(x: float) -> bytes:
    message = protos.Example()
    message.features.feature["x"].float_list.value.append(x)
    return message.SerializeToString()


CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("half_plus_two/1", "serving_default", {"x": floats(1, 2, 5)}, {"y": floats(2.5, 3, 4.5)}),
    ("half_plus_two/2", "serving_default", {"x": floats(1, 2, 5)}, {"y": floats(2.5, 3, 4.5)}),
    ("half_plus_two/1", "classify_x_to_y", {"inputs": strings(example(1))}, {"scores": floats(2.5)[:, None]}),
    ("half_plus_two/1", "regress_x_to_y", {"inputs": strings(example(1))}, {"outputs": floats(2.5)[:, None]}),
    (
        "half_plus_two/2",
        "regress_x_to_y2",
        {"inputs": strings(example(1))},
        {"outputs": floats(3.5)[:, None]},
    ),
    ("half_plus_three/1", "serving_default", {"x": floats(1)}, {"y": floats(3.5)}),
    (
        "mlp/1",
        "serving_default",
        {"images": np.zeros((1, 784), np.float32)},
        {"classes": np.array([0]), "probabilities": np.full((1, 10), 0.1, np.float32)},
    ),
    ("vocabulary/1", "serving_default", {"words": strings(b"fox", b"dog")}, {"ids": np.array([3, -1])}),
    ("vocabulary/1", "decode", {"ids": np.array([0, 9])}, {"words": strings(b"the", b"?")}),
    (
        "two_in_six_out/1",
        "serving_default",
        {"left": floats(6), "right": floats(3)},
        {
            "sum": floats(9),
            "difference": floats(3),
            "quotient": floats(2),
            "product": floats(18),
            "minimum": floats(3),
            "maximum": floats(6),
        },
    ),
    (
        "tf1_linear/1",
        "prediction",
        {"x": floats(1, 2)},
        {"y": floats(2, 5), "unit": strings(b"degrees", b"degrees")},
    ),
]


@pytest.mark.parametrize(("model", "signature", "inputs", "outputs"), CASES)
def test_examples(
    load: Load, model: str, signature: str, inputs: dict[str, Any], outputs: dict[str, Any]
) -> None:
    """Each signature of each example computes what its README promises."""
    results = load(EXAMPLES / model).run(signature, inputs, list(outputs))
    assert results.keys() == outputs.keys()
    for alias, wanted in outputs.items():
        assert results[alias].dtype == wanted.dtype
        if wanted.dtype == object:
            assert results[alias].tolist() == wanted.tolist()
        else:
            np.testing.assert_allclose(results[alias], wanted, rtol=1e-6)


def test_the_counter_counts(load: Load) -> None:
    """All signatures of a model share its state, and each call changes it exactly once."""
    counter = load(EXAMPLES / "tf1_counter" / "1")

    def call(key: str) -> float:
        return float(counter.run(key, {}, ["output"])["output"])

    seen = [call(key) for key in ("get_counter", "incr_counter", "incr_counter", "get_counter")]
    assert seen == [0, 1, 2, 2]
    assert [call("reset_counter"), call("get_counter"), call("incr_counter")] == [0, 0, 1]
    assert counter.stateless == {"get_counter"}


def test_method_names_and_map(load: Load) -> None:
    """Method names and the signature map come from the SavedModel as they are."""
    servable = load(EXAMPLES / "half_plus_two" / "2")
    methods = {key: found.method_name for key, found in servable.signatures.items()}
    assert methods["serving_default"] == PREDICT_METHOD
    assert methods["classify_x_to_y"] == CLASSIFY_METHOD
    assert methods["regress_x_to_y2"] == REGRESS_METHOD
    message = tfs.SignatureDefMap.FromString(servable.signature_def_map)
    assert set(message.signature_def) == set(methods)
    assert "__saved_model_init_op" in message.signature_def


@pytest.mark.tfs_testdata
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ("saved_model_half_plus_two_cpu", (2, 1)),
        ("saved_model_half_plus_two_tf2_cpu", (1,)),
        ("saved_model_half_plus_two_2_versions", (2,)),
        ("saved_model_half_plus_two_mlmd", (2,)),
        ("saved_model_half_plus_three", (3, 1)),
    ],
)
def test_tensorflow_servings_models(
    load: Load, tfs_testdata: Path, model: str, shape: tuple[int, ...]
) -> None:
    """TensorFlow Serving's sample models of all ages load, and every signature of them answers."""
    servable = load(tfs_testdata / model / "00000123")
    plus = 3 if "three" in model else 2
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_allclose(servable.run("serving_default", {"x": x}, ["y"])["y"], x / 2 + plus)
    for key, signature in servable.signatures.items():
        # half_plus_three declares the input of its other signature as float while its graph wants strings.
        if list(signature.inputs) == ["inputs"] and plus == 2:
            features = protos.Example()
            for name in ("x", "x2"):
                features.features.feature[name].float_list.value.append(1)
            one = features.SerializeToString()
            (alias,) = signature.outputs
            (spec,) = signature.inputs.values()
            examples = np.array([one], object) if spec.dtype.is_string else floats(1)[:, None]
            result = servable.run(key, {"inputs": examples}, [alias])[alias]
            assert result.shape[0] == 1
            assert result.dtype == np.float32


@pytest.mark.tfs_testdata
def test_tensorflow_servings_counter(load: Load, tfs_testdata: Path) -> None:
    """The state of TensorFlow Serving's counter is one, whichever signature changes it."""
    counter = load(tfs_testdata / "saved_model_counter" / "00000123")
    counter.run("incr_counter", {}, ["output"])
    counter.run("incr_counter_by", {"delta": np.array(4, np.float32)}, ["output"])
    assert counter.run("get_counter", {}, ["output"])["output"] == 5
    assert counter.stateless == {"get_counter"}


@pytest.mark.tfs_testdata
def test_tensorflow_servings_session_bundle(load: Load, tfs_testdata: Path) -> None:
    """The bundle of before SavedModels is refused as such."""
    with pytest.raises(ServingError) as caught:
        load(tfs_testdata / "bad_half_plus_two" / "00000123")
    assert caught.value.code is Code.UNIMPLEMENTED
    assert caught.value.message == "Session Bundle is deprecated and removed."
