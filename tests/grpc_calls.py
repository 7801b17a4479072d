"""The official client stubs, and short ways to make their requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
from tensorflow.core.example import example_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

# Messages of any size, as clients of large models set it.
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Stubs:
    """A channel with TensorFlow Serving's own stubs, to host:port or a port of this machine; a context manager."""

    def __init__(self, server: str | int) -> None:
        address = f"localhost:{server}" if isinstance(server, int) else server
        self.channel = grpc.insecure_channel(address, UNLIMITED)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.close()


def predict_request(
    name: str | None,
    inputs: Mapping[str, Mapping[str, Any]],
    *,
    version: int | None = None,
    label: str | None = None,
    signature_name: str = "",
    output_filter: Sequence[str] = (),
) -> Any:
    """A PredictRequest; `inputs` holds the fields of each TensorProto, `shape` as a list of dims."""
    request = predict_pb2.PredictRequest(output_filter=output_filter)
    if name is not None:
        fill_spec(request.model_spec, name, version, label, signature_name)
    for alias, fields in inputs.items():
        tensor = request.inputs[alias]
        tensor.dtype = fields["dtype"]
        tensor.tensor_shape.SetInParent()
        for size in fields["shape"]:
            tensor.tensor_shape.dim.add().size = size
        tensor.tensor_shape.unknown_rank = fields.get("unknown_rank", False)
        for key, value in fields.items():
            if key.endswith("_val"):
                getattr(tensor, key).extend(value)
            elif key == "tensor_content":
                tensor.tensor_content = value
    return request


def example(**features: Any) -> Any:
    """A tf.Example; a value or a list of values per feature: floats, integers or bytes."""
    made = example_pb2.Example()
    for name, content in features.items():
        values = content if isinstance(content, list) else [content]
        feature = made.features.feature[name]
        kinds = {float: feature.float_list, int: feature.int64_list, bytes: feature.bytes_list}
        kinds[type(values[0])].value.extend(values)
    return made


def classify_request(name: str | None, examples: Sequence[Any], context: Any = None, **spec: Any) -> Any:
    return _examples_request(classification_pb2.ClassificationRequest(), name, examples, context, spec)


def regress_request(name: str | None, examples: Sequence[Any], context: Any = None, **spec: Any) -> Any:
    return _examples_request(regression_pb2.RegressionRequest(), name, examples, context, spec)


def multi_inference_request(
    tasks: Sequence[tuple[str | None, str, str]],
    examples: Sequence[Any],
    context: Any = None,
    **spec: Any,
) -> Any:
    """Tasks are (model name, signature name, method name); `spec` is for the first of them."""
    request = inference_pb2.MultiInferenceRequest()
    for name, signature_name, method_name in tasks:
        task = request.tasks.add(method_name=method_name)
        if name is not None:
            fill_spec(task.model_spec, name, signature_name=signature_name, **spec)
        spec = {}
    _fill_input(request.input, examples, context)
    return request


def _examples_request(
    request: Any, name: str | None, examples: Sequence[Any], context: Any, spec: Mapping[str, Any]
) -> Any:
    if name is not None:
        fill_spec(request.model_spec, name, **spec)
    _fill_input(request.input, examples, context)
    return request


def _fill_input(sent: Any, examples: Sequence[Any], context: Any) -> None:
    if context is None:
        sent.example_list.examples.extend(examples)
    else:
        sent.example_list_with_context.examples.extend(examples)
        sent.example_list_with_context.context.CopyFrom(context)


def fill_spec(
    spec: Any, name: str, version: int | None = None, label: str | None = None, signature_name: str = ""
) -> None:
    spec.SetInParent()
    spec.name = name
    spec.signature_name = signature_name
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label


def metadata_request(name: str | None, fields: Sequence[str], **spec: Any) -> Any:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    if name is not None:
        fill_spec(request.model_spec, name, **spec)
    return request


def status_request(name: str | None, **spec: Any) -> Any:
    request = get_model_status_pb2.GetModelStatusRequest()
    if name is not None:
        fill_spec(request.model_spec, name, **spec)
    return request


def text_of(error: grpc.RpcError, expected: str) -> str:
    """The error's text; only its beginning, marked with `…`, when that is all that is expected."""
    text: str = error.details()
    if not expected.endswith("…"):
        return text
    return text[: len(expected) - 1] + "…"
