"""What a `model.tflite` declares, read from its bytes: signatures without TensorFlow.

Shows the same as the interpreter does once it has loaded the file; a test holds the two together.

Source: TensorFlow Lite's schema (compiler/mlir/lite/schema/schema.fbs), whose field numbers never change.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from pyserve.backends.tflite.flatbuffer import (
    IDENTIFIER,
    INT8,
    UINT32,
    Read,
    numbers,
    scalar,
    tables,
    target,
    text,
)
from pyserve.backends.tflite.signatures import Details, by_tensor_name, signature_of
from pyserve.dtypes import BY_NAME
from pyserve.errors import DataLossError, InternalError, InvalidArgumentError, file_error
from pyserve.servable import DEFAULT_SIGNATURE, Signature

_MODEL_SUBGRAPHS, _MODEL_SIGNATURES = 2, 7
_SUBGRAPH_TENSORS, _SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS = 0, 1, 2
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_SHAPE_SIGNATURE = 0, 1, 3, 7
_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS, _SIGNATURE_KEY, _SIGNATURE_SUBGRAPH = 0, 1, 2, 4
_MAP_NAME, _MAP_TENSOR = 0, 1

TYPES = (
    "float", "half", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8", "double",
    "complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4", "bfloat16", "int2",
    "uint4",
)  # fmt: skip
"""Names by the number of TensorFlow Lite's enum `TensorType`."""


def read_signatures(file: Path) -> dict[str, Signature]:
    """Those that a model file declares; without any, `serving_default` over all its inputs and outputs.

    Raises:
        InvalidArgumentError: The file is no TensorFlow Lite model.
        DataLossError: It is not whole.
        InternalError: A tensor has a type that TensorFlow does not have.
        ServingError: It cannot be read.
    """
    try:
        with file.open("rb") as stream:

            def read(at: int, count: int) -> bytes:
                stream.seek(at)
                return stream.read(count)

            if read(4, 4) != IDENTIFIER:
                raise InvalidArgumentError(f"{file} is no TensorFlow Lite model")
            return _signatures(read)
    except (struct.error, IndexError) as error:
        raise DataLossError(f"{file} is cut off or damaged") from error
    except OSError as error:
        raise file_error(error) from error


def _signatures(read: Read) -> dict[str, Signature]:
    model = target(read, 0)
    subgraphs = tables(read, model, _MODEL_SUBGRAPHS)
    found: dict[str, Signature] = {}
    for table in tables(read, model, _MODEL_SIGNATURES):
        tensors = tables(read, subgraphs[scalar(read, table, _SIGNATURE_SUBGRAPH, UINT32)], _SUBGRAPH_TENSORS)
        inputs, outputs = (
            {
                text(read, entry, _MAP_NAME): _details(
                    read, tensors[scalar(read, entry, _MAP_TENSOR, UINT32)]
                )
                for entry in tables(read, table, field)
            }
            for field in (_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS)
        )
        key = text(read, table, _SIGNATURE_KEY)
        found[key] = signature_of(key, inputs, outputs)
    if found:
        return found
    tensors = tables(read, subgraphs[0], _SUBGRAPH_TENSORS)

    def named(indices: Iterable[int]) -> dict[str, Details]:
        return by_tensor_name(_details(read, tensors[index]) for index in indices)

    inputs, outputs = (
        named(numbers(read, subgraphs[0], field)) for field in (_SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS)
    )
    return {DEFAULT_SIGNATURE: signature_of(DEFAULT_SIGNATURE, inputs, outputs)}


def _details(read: Read, tensor: int) -> Details:
    kind = scalar(read, tensor, _TENSOR_TYPE, INT8)
    known = BY_NAME.get(TYPES[kind]) if 0 <= kind < len(TYPES) else None
    name = text(read, tensor, _TENSOR_NAME)
    if known is None or known.numpy is None:
        raise InternalError(f"Unknown TfLite type of tensor {name}: {kind}")
    return {
        "name": name,
        "dtype": known.numpy,
        "shape": numbers(read, tensor, _TENSOR_SHAPE),
        "shape_signature": numbers(read, tensor, _TENSOR_SHAPE_SIGNATURE),
    }
