"""SignatureDef → `servable.Signature`, and back for models that bring no protos along.

Used by a backend when it loads a model: the proto is what the SavedModel declares, the value is what the
request path works with.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from pyserve import dtypes
from pyserve.codec.tensor_proto import decode
from pyserve.dtypes import DType
from pyserve.protos import tf, tfs, to_text
from pyserve.servable import Signature, TensorSpec

_REFERENCE = 100
"""TensorFlow's number of a reference type is that of the value type plus this; requests see the value."""

_SHOWN_BYTES = 4096
"""How much of a SignatureDef goes into a message; gRPC callers see a quarter of it."""


def signature_from_proto(key: str, proto: tf.SignatureDef) -> Signature:
    """The signature that a SignatureDef declares.

    Args:
        key: Its name in the signature map.
        proto: A message of pyserve's own classes.

    Raises:
        InvalidArgumentError: A default value is no tensor.
    """
    return Signature(
        key=key,
        method_name=proto.method_name,
        inputs=MappingProxyType({alias: tensor_spec(alias, info) for alias, info in proto.inputs.items()}),
        outputs=MappingProxyType({alias: tensor_spec(alias, info) for alias, info in proto.outputs.items()}),
        defaults=MappingProxyType({alias: decode(value) for alias, value in proto.defaults.items()}),
    )


def signature_text(signature_def_map: bytes, key: str) -> str:
    """A signature's SignatureDef in text format, for a message; of bounded length.

    Args:
        signature_def_map: A serialized SignatureDefMap.
        key: One of its keys.
    """
    proto = tfs.SignatureDefMap.FromString(signature_def_map).signature_def[key]
    if proto.ByteSize() > _SHOWN_BYTES:
        proto.ClearField("defaults")  # nobody reads whole tensors in a message
    text = to_text(proto)
    return text if len(text) <= _SHOWN_BYTES else text[:_SHOWN_BYTES] + "..."


def tensor_spec(alias: str, info: tf.TensorInfo) -> TensorSpec:
    """One declared input or output.

    A sparse tensor is shown by its dtype, dense shape and the name of its values; a composite one has no
    tensor name. Neither can be fed as one array, so a request for it ends with TensorFlow's own error.
    """
    encoding = info.WhichOneof("encoding")
    name = info.coo_sparse.values_tensor_name if encoding == "coo_sparse" else info.name
    return TensorSpec(
        alias=alias, dtype=_dtype(info.dtype), shape=_shape(info.tensor_shape), tensor_name=name
    )


def signature_def_map(signatures: Iterable[Signature]) -> bytes:
    """A serialized `tensorflow.serving.SignatureDefMap` of signatures, without their defaults."""
    message = tfs.SignatureDefMap()
    for signature in signatures:
        definition = message.signature_def[signature.key]
        definition.method_name = signature.method_name
        for specs, infos in ((signature.inputs, definition.inputs), (signature.outputs, definition.outputs)):
            for alias, spec in specs.items():
                _fill(infos[alias], spec)
    return message.SerializeToString(deterministic=True)


def _fill(info: tf.TensorInfo, spec: TensorSpec) -> None:
    info.name = spec.tensor_name
    info.dtype = spec.dtype.number
    if spec.shape is None:
        info.tensor_shape.unknown_rank = True
    else:
        info.tensor_shape.SetInParent()
        for size in spec.shape:
            info.tensor_shape.dim.add(size=-1 if size is None else size)


def _dtype(number: int) -> DType:
    if number > _REFERENCE:
        number -= _REFERENCE
    known = dtypes.BY_NUMBER.get(number)
    if known is not None:
        return known
    # TensorFlow's own initialisation signature has an output of DT_INVALID.
    return DType(number, "invalid" if number == 0 else f"unknown dtype enum ({number})", None, None)


def _shape(proto: tf.TensorShapeProto) -> tuple[int | None, ...] | None:
    if proto.unknown_rank:
        return None
    return tuple(dim.size if dim.size >= 0 else None for dim in proto.dim)
