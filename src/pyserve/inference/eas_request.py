"""From a request of EAS's TensorFlow processor to a task: the same for a caller's and for one that warms up."""

from __future__ import annotations

from pyserve.batching.task import Task
from pyserve.codec import eas as codec
from pyserve.config import EasService
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError
from pyserve.inference import eas_rules
from pyserve.inference.prediction_service import OpenRequest


def task_of(
    message: codec.PredictRequest, service: EasService, opened: OpenRequest, deadline: float | None
) -> Task:
    """The task that answers a request; it takes over the handle.

    Args:
        message: As it came.
        service: The default signature, and whether the model is a frozen graph.
        opened: On the model.
        deadline: On `time.monotonic()`; None: no limit.

    Raises:
        InvalidArgumentError: It does not fit the model; the message names what is wrong.
        UnimplementedError: An answer could not carry an output.
    """
    if service.frozen:
        message = _of_frozen_graph(message)
    key = eas_rules.chosen_signature(opened.signatures, message.signature_name, service.default_signature).key
    signature = opened.signature(key)
    eas_rules.check_names(signature, message.arrays, message.output_filter)
    for alias in message.output_filter or sorted(signature.outputs):
        codec.check_output(signature.outputs[alias])
    arrays: dict[str, Array] = {}
    for alias in message.arrays:
        arrays[alias] = message.array(alias)
        eas_rules.check_array(signature.inputs[alias], arrays[alias])
    return opened.task(signature, arrays, message.output_filter, deadline)


def _of_frozen_graph(message: codec.PredictRequest) -> codec.PredictRequest:
    """A request for a frozen graph: `x` and `x:0` name the same node, and no signature is asked for."""
    if not message.output_filter:
        raise InvalidArgumentError("A frozen graph needs an output_filter: which nodes to fetch")

    def node(name: str) -> str:
        return name.removesuffix(":0")

    arrays = {node(name): array for name, array in message.arrays.items()}
    return codec.PredictRequest("", tuple(dict.fromkeys(map(node, message.output_filter))), arrays)
