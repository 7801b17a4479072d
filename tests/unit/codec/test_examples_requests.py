"""Classify, Regress and MultiInference requests → string tensors of serialized Examples."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pyserve.codec import examples
from pyserve.codec.examples import Examples, decode_examples_request, decode_multi_inference_request
from pyserve.codec.predict import ModelSpec
from pyserve.errors import InvalidArgumentError
from pyserve.protos import tf, tfs


def example(**floats: float) -> tf.Example:
    made = tf.Example()
    for name, value in floats.items():
        made.features.feature[name].float_list.value.append(value)
    return made


def floats_of(data: bytes) -> dict[str, list[float]]:
    parsed = tf.Example.FromString(data)
    return {name: list(feature.float_list.value) for name, feature in parsed.features.feature.items()}


@pytest.mark.parametrize("name", ["ClassificationRequest", "RegressionRequest"])
def test_list(name: str) -> None:
    """The examples are the bytes that were sent, in their order."""
    message = getattr(tfs, name)()
    message.model_spec.name = "m"
    message.model_spec.signature_name = "s"
    message.input.example_list.examples.extend([example(a=1.0), example(), example(b=2.0)])
    found = decode_examples_request(message.SerializeToString(), name)
    assert found.model_spec == ModelSpec(name="m", signature_name="s")
    array = found.examples.array()
    assert (array.dtype, array.shape) == (object, (3,))
    assert [floats_of(item) for item in array] == [{"a": [1.0]}, {}, {"b": [2.0]}]


def test_context() -> None:
    """The context goes in front of each example, so that the example's own feature wins."""
    message = tfs.RegressionRequest()
    message.input.example_list_with_context.examples.extend([example(a=1.0), example(b=2.0)])
    message.input.example_list_with_context.context.CopyFrom(example(a=7.0, c=3.0))
    array = decode_examples_request(message.SerializeToString(), "RegressionRequest").examples.array()
    assert [floats_of(item) for item in array] == [
        {"a": [1.0], "c": [3.0]},
        {"a": [7.0], "b": [2.0], "c": [3.0]},
    ]


def test_absent_model_spec() -> None:
    """A request without a model spec differs from one with an empty spec."""
    assert decode_examples_request(b"", "ClassificationRequest").model_spec is None
    assert decode_examples_request(b"\x0a\x00", "ClassificationRequest").model_spec == ModelSpec()


@pytest.mark.parametrize("context", [None, example(a=1.0)])
def test_no_examples(context: tf.Example | None) -> None:
    """No input, no kind of input and an empty list are the same error."""
    message = tfs.ClassificationRequest()
    if context is not None:
        message.input.example_list_with_context.context.CopyFrom(context)
    else:
        message.input.SetInParent()
    for data in (message.SerializeToString(), b""):
        found = decode_examples_request(data, "ClassificationRequest")
        with pytest.raises(InvalidArgumentError, match=r"Input is empty\.$"):
            found.examples.array()


def test_a_context_is_not_repeated_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of the context are limited; without one any number of examples is taken."""
    monkeypatch.setattr(examples, "REPEATED_CONTEXT_LIMIT", 30)
    assert Examples([b""] * 3, b"x" * 10).array().tolist() == [b"x" * 10] * 3
    with pytest.raises(InvalidArgumentError, match="takes 40 bytes, more than 30"):
        Examples([b""] * 4, b"x" * 10).array()
    assert len(Examples([b"y"] * 100).array()) == 100


def test_trailing_zeros_stay() -> None:
    """NUL bytes at the end of an Example are kept."""
    assert Examples([b"a\0\0"]).array().tolist() == [b"a\0\0"]


def test_multi_inference() -> None:
    """Tasks come in their order, one without a model spec with an empty name; the examples are shared."""
    message = tfs.MultiInferenceRequest()
    task = message.tasks.add(method_name="r")
    task.model_spec.name = "m"
    task.model_spec.version.value = 3
    message.tasks.add()
    message.input.example_list.examples.append(example(a=1.0))
    found = decode_multi_inference_request(message.SerializeToString())
    assert [(task.model_spec, task.method_name) for task in found.tasks] == [
        (ModelSpec(name="m", version=3), "r"),
        (ModelSpec(), ""),
    ]
    assert [floats_of(item) for item in found.examples.array()] == [{"a": [1.0]}]


DECODERS: dict[str, Callable[[bytes], object]] = {
    "ClassificationRequest": lambda data: decode_examples_request(data, "ClassificationRequest"),
    "RegressionRequest": lambda data: decode_examples_request(data, "RegressionRequest"),
    "MultiInferenceRequest": decode_multi_inference_request,
}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff" * 1000, b"\x12\x05abc"])
def test_bytes_that_are_no_request(name: str, data: bytes) -> None:
    """Broken bytes are the caller's error, told shortly."""
    with pytest.raises(InvalidArgumentError, match=f"Could not parse {name} from {len(data)} bytes$"):
        DECODERS[name](data)
