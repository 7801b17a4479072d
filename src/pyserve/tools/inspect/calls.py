"""A signature as calls to paste: curl, tensorflow-serving-api, pyserve.client. Pure.

A call that a protocol cannot carry is not shown; it becomes a comment that says why.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from pyserve.backends.saved_model.example_features import Feature
from pyserve.codec.json_predict import PredictDocument
from pyserve.dtypes import DType
from pyserve.errors import ServingError
from pyserve.servable import CLASSIFY_METHOD, DEFAULT_SIGNATURE, REGRESS_METHOD, Signature, TensorSpec
from pyserve.tools.inspect.samples import Element, Sample, feature_values, samples_for

_LINE = 60
"""Characters of a row of values that is written out; longer ones are written as a product."""

_NOT_MADE = re.compile("(q|qu)int.*|float8_.*fnuz")
"""Types that `tf.make_tensor_proto` of TensorFlow 2.21 does not make of Python's numbers."""

_TENSORFLOW_NAMES = {"float": "float32", "double": "float64", "half": "float16"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where calls go.

    Attributes:
        grpc_address: host:port.
        http_url: http://host:port.
        model, version: What is asked for; None: the newest.
    """

    grpc_address: str
    http_url: str
    model: str
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Calls:
    """One signature, called in three ways; each may be comments only, that say why it cannot be."""

    curl: str
    tensorflow_serving_api: str
    pyserve_client: str


def calls_for(target: Target, signature: Signature, features: tuple[Feature, ...] = ()) -> Calls:
    """The calls of a signature; values are samples."""
    kind = {CLASSIFY_METHOD: "classify", REGRESS_METHOD: "regress"}.get(signature.method_name, "predict")
    if kind != "predict":
        values = feature_values(features)
        return Calls(
            _note_features(values, _curl(target, kind, _examples_body(signature.key, values))),
            _note_features(values, _stub_examples(target, kind, signature.key, values)),
            _note_features(values, _client(target, kind, signature.key, _python_examples(values))),
        )
    samples = samples_for(signature, features)
    refused = [alias for alias, sample in samples.items() if sample.dtype.numpy is None]
    if refused:
        none = f"# no call can carry input {refused[0]}: it has the type {samples[refused[0]].dtype.name}"
        return Calls(none, none, none)
    inputs = ", ".join(f"{_quoted(alias)}: {_python(sample)}" for alias, sample in samples.items())
    return Calls(
        _curl_predict(target, signature, samples),
        _stub_predict(target, signature.key, samples),
        _client(target, "predict", signature.key, f"{{{inputs}}}"),
    )


# --- values ------------------------------------------------------------------------------------------------------


def _nested(element: str, shape: tuple[int, ...]) -> str:
    """Nested lists of one element; long ones as a product, which is Python and no JSON."""
    text = element
    for size in reversed(shape):
        row = ", ".join([text] * min(size, _LINE))
        text = f"[{row}]" if size * (len(text) + 2) <= _LINE or size <= 1 else f"[{text}] * {size}"
    return text


def _is_written_out(shape: tuple[int, ...], element: str) -> bool:
    return " * " not in _nested(element.replace("*", "."), shape)


def _python(sample: Sample) -> str:
    return _nested(_python_text(sample.element), sample.shape)


def _python_text(value: object) -> str:
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    """A string literal of Python, in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _json_element(element: Element) -> object:
    return {"b64": base64.b64encode(element).decode()} if isinstance(element, bytes) else element


# --- curl --------------------------------------------------------------------------------------------------------


def _curl(target: Target, verb: str, data: str) -> str:
    version = "" if target.version is None else f"/versions/{target.version}"
    return f"curl -d {data} {target.http_url}/v1/models/{quote(target.model, safe='')}{version}:{verb}"


def _curl_predict(target: Target, signature: Signature, samples: Mapping[str, Sample]) -> str:
    refusal = _json_refusal(signature.inputs, samples)
    if refusal is not None:
        return f"# REST cannot carry this call: {refusal}"
    rows = _in_rows(signature)
    head = {} if signature.key == DEFAULT_SIGNATURE else {"signature_name": signature.key}
    shapes = {alias: sample.shape[1:] if rows else sample.shape for alias, sample in samples.items()}
    written = all(_is_written_out(shapes[alias], _text(samples[alias], True)) for alias in samples)
    fields = {alias: _nested(_text(sample, written), shapes[alias]) for alias, sample in samples.items()}
    named = "{" + ", ".join(f"{json.dumps(alias)}: {text}" for alias, text in fields.items()) + "}"
    content = next(iter(fields.values())) if len(fields) == 1 else named
    key, content = ("instances", f"[{content}]") if rows else ("inputs", content)
    body = "{" + json.dumps(head)[1:-1] + (", " if head else "") + f'"{key}": {content}}}'
    if written:
        return _curl(target, "predict", shlex.quote(body))
    program = shlex.quote(f"import json; print(json.dumps({body}))")
    return f"python3 -c {program} | " + _curl(target, "predict", "@-")


def _text(sample: Sample, as_json: bool) -> str:
    value = _json_element(sample.element)
    return json.dumps(value) if as_json else repr(value)


def _in_rows(signature: Signature) -> bool:
    """Whether every input and output has rows, so that the row form says the same as the column form."""
    specs = [*signature.inputs.values(), *signature.outputs.values()]
    return all(spec.shape is None or spec.shape[:1] == (None,) for spec in specs)


def _json_refusal(inputs: Mapping[str, TensorSpec], samples: Mapping[str, Sample]) -> str | None:
    """Why JSON cannot carry these inputs: what the server would say."""
    if not inputs:
        return "the signature has no inputs"
    one = {alias: _json_element(sample.element) for alias, sample in samples.items()}
    if any(isinstance(value, complex) for value in one.values()):
        one = dict.fromkeys(one, 1)
    try:
        body = json.dumps({"inputs": one}).encode()
        PredictDocument.parse(body).tensors({alias: inputs[alias] for alias in samples})
    except ServingError as error:
        return error.message.splitlines()[0]
    return None


def _examples_body(key: str, values: Mapping[str, list[Element]]) -> str:
    return shlex.quote(json.dumps({"signature_name": key, "examples": [_flat(values)]}))


def _flat(values: Mapping[str, list[Element]]) -> dict[str, object]:
    """Lists of one value as that value."""
    return {name: each[0] if len(each) == 1 else each for name, each in values.items()}


def _python_examples(values: Mapping[str, list[Element]]) -> str:
    """A list of one example, as Python."""
    shown = {
        name: _python_text(each[0]) if len(each) == 1 else f"[{', '.join(map(_python_text, each))}]"
        for name, each in values.items()
    }
    return "[{" + ", ".join(f"{_quoted(name)}: {text}" for name, text in shown.items()) + "}]"


def _note_features(values: Mapping[str, object], call: str) -> str:
    if values:
        return call
    return f"# the features of the examples are not known here\n{call}"


# --- Python ------------------------------------------------------------------------------------------------------


def _client(target: Target, method: str, key: str, argument: str) -> str:
    signature = "" if key == DEFAULT_SIGNATURE else f", signature={_quoted(key)}"
    version = "" if target.version is None else f", version={target.version}"
    return (
        "from pyserve.client import Client\n\n"
        f"with Client({_quoted(target.grpc_address)}) as client:\n"
        f"    print(client.{method}({_quoted(target.model)}, {argument}{signature}{version}))"
    )


def _stub(target: Target, module: str, message: str, method: str, key: str, inputs: list[str]) -> str:
    lines = [
        "import grpc",
        "import tensorflow as tf",
        f"from tensorflow_serving.apis import {module}, prediction_service_pb2_grpc",
        "",
        f"channel = grpc.insecure_channel({_quoted(target.grpc_address)})",
        "stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)",
        f"request = {module}.{message}()",
        f"request.model_spec.name = {_quoted(target.model)}",
    ]
    if target.version is not None:
        lines.append(f"request.model_spec.version.value = {target.version}")
    if key != DEFAULT_SIGNATURE:
        lines.append(f"request.model_spec.signature_name = {_quoted(key)}")
    return "\n".join([*lines, *inputs, f"print(stub.{method}(request, timeout=10.0))"])


def _stub_predict(target: Target, key: str, samples: Mapping[str, Sample]) -> str:
    inputs = []
    for alias, sample in samples.items():
        if _NOT_MADE.fullmatch(sample.dtype.name):
            return (
                f"# tf.make_tensor_proto makes no {sample.dtype.name} of numbers, which input {alias} takes"
            )
        tensor = f"tf.make_tensor_proto({_python(sample)}, dtype={_tf_dtype(sample.dtype)})"
        inputs.append(f"request.inputs[{_quoted(alias)}].CopyFrom({tensor})")
    return _stub(target, "predict_pb2", "PredictRequest", "Predict", key, inputs)


def _stub_examples(target: Target, kind: str, key: str, values: Mapping[str, list[Element]]) -> str:
    module, message = {
        "classify": ("classification_pb2", "ClassificationRequest"),
        "regress": ("regression_pb2", "RegressionRequest"),
    }[kind]
    lines = ["example = request.input.example_list.examples.add()"]
    for name, each in values.items():
        field, value = {float: ("float_list", repr(each)), int: ("int64_list", repr(each))}.get(
            type(each[0]), ("bytes_list", repr([str(item).encode() for item in each]))
        )
        lines.append(f"example.features.feature[{_quoted(name)}].{field}.value.extend({value})")
    code = _stub(target, module, message, kind.capitalize(), key, lines)
    return code.replace("import tensorflow as tf\n", "")


def _tf_dtype(dtype: DType) -> str:
    name = _TENSORFLOW_NAMES.get(dtype.name, dtype.name)
    # TensorFlow's namespace does not have the newest types; their numbers do as well.
    return str(dtype.number) if name.startswith("float8") or name.endswith("int4") else f"tf.{name}"
