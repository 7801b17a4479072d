"""TensorFlow Serving's gRPC methods: bytes in, bytes out or a call to run. Any gRPC engine can serve this table."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from pyserve.codec.message import parse_message
from pyserve.codec.predict import ModelSpec, decode_request, encode_response
from pyserve.codec.tensor_proto import EXPANSION_LIMIT
from pyserve.errors import InvalidArgumentError
from pyserve.inference.call import Call, Handler
from pyserve.inference.model_service import ModelService
from pyserve.inference.prediction_service import PredictionService
from pyserve.inference.signature import check_input_names, check_known_names
from pyserve.protos import tfs, wkt
from pyserve.transport import tfs_examples, tfs_session

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
RELOAD_CONFIG = _MODEL + "HandleReloadConfigRequest"
_SIGNATURE_DEF = "signature_def"


def handlers(
    prediction: PredictionService,
    models: ModelService,
    *,
    as_content: bool = False,
    session_run: bool = False,
    expansion_limit: int = EXPANSION_LIMIT,
) -> Mapping[str, Handler]:
    """Full method name → handler.

    Args:
        prediction: Predict, Classify, Regress, MultiInference.
        models: Status and metadata.
        as_content: Answer Predict with `tensor_content` (`--enable_serialization_as_tensor_content`).
        session_run: Offer SessionService too (`--enable_session_run`).
        expansion_limit: How large, in bytes, a tensor may become that carries fewer values than elements.
    """
    return {
        _PREDICTION + "Predict": functools.partial(_predict, prediction, as_content, expansion_limit),
        **tfs_examples.handlers(prediction),
        **(tfs_session.handlers(prediction, as_content=as_content) if session_run else {}),
        _PREDICTION + "GetModelMetadata": functools.partial(_get_model_metadata, models),
        _MODEL + "GetModelStatus": functools.partial(_get_model_status, models),
    }


def _predict(
    service: PredictionService, as_content: bool, expansion_limit: int, data: bytes, deadline: float | None
) -> Call[bytes]:
    message = decode_request(data)
    spec = message.model_spec
    if spec is None:
        raise InvalidArgumentError("Missing ModelSpec")
    with service.open(spec.name, spec.version, spec.version_label) as request:
        signature = request.signature(spec.signature_name)
        check_input_names(signature, message.aliases)
        # Only what the signature declares is decoded: the rest would cost memory and be refused anyway.
        inputs = {
            alias: message.array(alias, expansion_limit)
            for alias in message.aliases
            if alias in signature.inputs
        }
        check_known_names(signature, message.aliases)
        task = request.task(signature, inputs, message.output_filter, deadline)
    encode = functools.partial(
        encode_response,
        name=request.id.name,
        version=request.id.version,
        signature_name=signature.key,
        as_content=as_content,
    )
    return Call(task, encode)


def _get_model_metadata(service: ModelService, data: bytes, deadline: float | None) -> bytes:
    del deadline  # ignored by TensorFlow Serving too: nothing here takes time
    request = parse_message(tfs.GetModelMetadataRequest, data)
    if not request.HasField("model_spec"):
        raise InvalidArgumentError("Missing ModelSpec")
    if not request.metadata_field:
        raise InvalidArgumentError("GetModelMetadataRequest must specify at least one metadata_field")
    for name in request.metadata_field:
        if name != _SIGNATURE_DEF:
            raise InvalidArgumentError(f"Metadata field {name} is not supported")
    spec = ModelSpec.of(request.model_spec)
    found = service.metadata(spec.name, spec.version, spec.version_label)
    response = tfs.GetModelMetadataResponse()
    response.model_spec.name = found.id.name
    response.model_spec.version.value = found.id.version
    response.metadata[_SIGNATURE_DEF].CopyFrom(
        wkt.Any(
            type_url="type.googleapis.com/tensorflow.serving.SignatureDefMap", value=found.signature_def_map
        )
    )
    return response.SerializeToString()


def _get_model_status(service: ModelService, data: bytes, deadline: float | None) -> bytes:
    del deadline
    request = parse_message(tfs.GetModelStatusRequest, data)
    if not request.HasField("model_spec"):
        raise InvalidArgumentError("Missing ModelSpec")
    spec = ModelSpec.of(request.model_spec)
    return service.status_response(spec.name, spec.version)  # a label counts as no version
