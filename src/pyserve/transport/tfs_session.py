"""SessionService over gRPC, which TensorFlow Serving describes and does not offer: only with `--enable_session_run`.

It feeds, fetches and runs whatever a graph holds, restore and save operations included, so it is for callers who
may do anything to the model, and to the files that the server can reach.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping

from pyserve.codec.session_run import decode_session_run_request, encode_session_run_response
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError
from pyserve.inference.call import Call, Handler
from pyserve.inference.prediction_service import PredictionService
from pyserve.servable import Signature, TensorSpec

SESSION_RUN = "/tensorflow.serving.SessionService/SessionRun"


def handlers(
    service: PredictionService, *, as_content: bool = False, clock: Callable[[], float] = time.monotonic
) -> Mapping[str, Handler]:
    """Full method name → handler."""
    return {SESSION_RUN: functools.partial(_session_run, service, as_content, clock)}


def _session_run(
    service: PredictionService,
    as_content: bool,
    clock: Callable[[], float],
    data: bytes,
    deadline: float | None,
) -> Call[bytes]:
    request = decode_session_run_request(data)
    spec = request.model_spec
    if spec is None:
        raise InvalidArgumentError("Missing ModelSpec")
    if request.timeout_s is not None:
        own = clock() + request.timeout_s
        deadline = own if deadline is None else min(own, deadline)
    fetched = {name: name for name in request.fetches}
    feeds = dict(request.feeds)
    key = ""
    with service.open(spec.name, spec.version, spec.version_label) as opened:
        if request.names_are_aliases:
            signature = opened.signature(spec.signature_name)
            key = signature.key
            fetched = {alias: _tensor(signature, signature.outputs, alias) for alias in request.fetches}
            feeds = {_tensor(signature, signature.inputs, alias): array for alias, array in feeds.items()}
        tensors = tuple(dict.fromkeys(fetched.values()))
        task = opened.graph_task(feeds, tensors, request.targets, deadline)
    served = opened.id

    def finish(outputs: dict[str, Array]) -> bytes:
        return encode_session_run_response(
            [(name, outputs[fetched[name]]) for name in request.fetches],
            name=served.name,
            version=served.version,
            signature_name=key,
            as_content=as_content,
        )

    return Call(task, finish)


def _tensor(signature: Signature, specs: Mapping[str, TensorSpec], alias: str) -> str:
    if alias not in specs:
        raise InvalidArgumentError(
            f"Tensor alias {alias} not found in signature {signature.key}: expected one of "
            f"{{{','.join(sorted(specs))}}}"
        )
    return specs[alias].tensor_name
