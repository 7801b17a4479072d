"""A REST predict request: its document, and the arrays that a signature's inputs take from it.

The REST handler keeps the order in which TensorFlow Serving checks a request: `PredictDocument.parse`
(syntax, object, `signature_name`), then it looks the model and the signature up, then `tensors` (input map,
keys, values). Row form is `instances`: one element per row, a batch dimension is added. Column form is
`inputs`: tensors as written.

Source: TensorFlow Serving, util/json_tensor.cc (FillPredictRequestFromJson).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import NoReturn

from pyserve.codec.json_parser import parse_document
from pyserve.codec.json_tensor import Leaf, Leaves, read, read_uniform, shape_text, to_array
from pyserve.codec.json_value import JsonObject, JsonValue, base64_text, clip, show
from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError, ServingError
from pyserve.servable import TensorSpec


@dataclass(frozen=True, slots=True)
class PredictTensors:
    """The arrays of one request.

    Attributes:
        arrays: By input alias. In column form and for valid row form every declared input is there.
        row_format: The request came as `instances`, so the response is a list of `predictions`.
    """

    arrays: Mapping[str, Array]
    row_format: bool


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PredictDocument:
    """A parsed predict request whose signature is not looked up yet.

    Attributes:
        signature_name: As written; empty when none or an empty one was given.
        document: The whole request.
    """

    signature_name: str
    document: JsonObject

    @classmethod
    def parse(cls, data: bytes) -> PredictDocument:
        """Read a request body.

        Raises:
            InvalidArgumentError: No JSON, no object at the top, or `signature_name` is no string.
        """
        document = parse_document(data)
        return cls(signature_name(document), document)

    def tensors(self, inputs: Mapping[str, TensorSpec]) -> PredictTensors:
        """The arrays for a signature's inputs.

        Args:
            inputs: The declared inputs by alias; only their dtypes count, shapes are not enforced.

        Raises:
            InvalidArgumentError: The document does not fit the inputs.
            UnimplementedError: Column form for a dtype that JSON cannot carry (row form reports that as
                INVALID_ARGUMENT with the code in its text, as TensorFlow Serving does).
        """
        if not inputs:
            named = clip(self.signature_name) or "DEFAULT"
            raise InvalidArgumentError(f"Failed to get input map for signature: {named}")
        rows, columns = self.document.find(b"instances"), self.document.find(b"inputs")
        if rows is not None and columns is not None:
            self._reject(
                "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
            )
        if columns is not None:
            return PredictTensors(_from_columns(columns[1], inputs), row_format=False)
        if rows is None:
            raise InvalidArgumentError("Missing 'inputs' or 'instances' key")
        instances = rows[1]
        if not isinstance(instances, list):
            self._reject("Expecting 'instances' to be an list/array")
        if not instances:
            self._reject("No values in 'instances' array")
        return PredictTensors(_from_rows(instances, inputs), row_format=True)

    def _reject(self, reason: str) -> NoReturn:
        raise InvalidArgumentError(f"JSON Value: {show(self.document)} {reason}")


def signature_name(document: JsonObject) -> str:
    """The `signature_name` of a predict, classify or regress request; empty when there is none.

    Raises:
        InvalidArgumentError: It is no string.
    """
    member = document.find(b"signature_name")
    if member is None:
        return ""
    if not isinstance(member[1], bytes):
        raise InvalidArgumentError(
            f"JSON Value: {show(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return member[1].decode("utf-8", "replace")


def _from_columns(value: JsonValue, inputs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    if not _is_named(value):
        if len(inputs) > 1:
            raise InvalidArgumentError(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required "
                "as per tensorinfo_map"
            )
        (spec,) = inputs.values()
        return {spec.alias: _column(value, spec)}
    assert isinstance(value, JsonObject)
    arrays: dict[str, Array] = {}
    for alias in sorted(inputs):
        member = value.find(alias.encode())
        if member is None:
            raise InvalidArgumentError(f"Missing named input: {alias} in 'inputs' object.")
        arrays[alias] = _column(member[1], inputs[alias])
    return arrays


def _column(value: JsonValue, spec: TensorSpec) -> Array:
    return to_array(read_uniform(value, spec.dtype) or read(value, spec.dtype), spec.dtype)


def _from_rows(instances: list[JsonValue], inputs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    if len(inputs) > 1 and not isinstance(instances[0], JsonObject):
        raise InvalidArgumentError(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    if _is_named(instances[0]):
        return _from_named_rows(instances, inputs)
    # With several inputs only a base64 object can come here; the other inputs are then missed at the run.
    spec = inputs[min(inputs)]
    leaves = read_uniform(instances, spec.dtype)
    if leaves is None:
        column = _Column(spec)
        for index, item in enumerate(instances):
            if _is_named(item):
                raise InvalidArgumentError(
                    f"Expecting value/list but got object at item {index} of input list"
                )
            try:
                column.add(item)
            except ServingError as error:
                raise InvalidArgumentError(
                    f"Failed to process element: {index} of 'instances' list. Error: {error}"
                ) from None
        leaves = column.leaves(len(instances))
    return {spec.alias: to_array(leaves, spec.dtype)}


def _from_named_rows(instances: list[JsonValue], inputs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    leaves = _uniform_named_rows(instances, inputs) or _checked_named_rows(instances, inputs)
    return {alias: to_array(leaves[alias], inputs[alias].dtype) for alias in inputs}


def _uniform_named_rows(
    instances: list[JsonValue], inputs: Mapping[str, TensorSpec]
) -> dict[str, Leaves] | None:
    names = {alias.encode(): alias for alias in inputs}
    values: dict[bytes, list[JsonValue]] = {name: [] for name in names}
    for item in instances:
        # As many members as inputs and every input found: no name is strange and none comes twice.
        if not isinstance(item, JsonObject) or len(item.pairs) != len(names):
            return None
        members = dict(item.pairs)
        if members.keys() != names.keys():
            return None
        for name, value in members.items():
            values[name].append(value)
    result: dict[str, Leaves] = {}
    for name, alias in names.items():
        leaves = read_uniform(values[name], inputs[alias].dtype)
        if leaves is None:
            return None
        result[alias] = leaves
    return result


def _checked_named_rows(instances: list[JsonValue], inputs: Mapping[str, TensorSpec]) -> dict[str, Leaves]:
    columns = {alias.encode(): _Column(spec) for alias, spec in inputs.items()}
    for index, item in enumerate(instances):
        if not isinstance(item, JsonObject) or not _is_named(item):
            raise InvalidArgumentError(f"Expecting object but got list at item {index} of input list")
        seen: set[bytes] = set()
        for name, value in item.pairs:
            try:
                if name not in columns:
                    raise InvalidArgumentError(f"JSON object: does not have named input: {clip(name)}")
                columns[name].add(value, again=name in seen)
            except ServingError as error:
                raise InvalidArgumentError(
                    f"Failed to process element: {index} key: {clip(name)} of 'instances' list. "
                    f"Error: {error}"
                ) from None
            seen.add(name)
        if len(seen) != len(columns):
            raise InvalidArgumentError(
                f"Failed to process element: {index} of 'instances' list. JSON object: {show(item)} "
                f"keys must be equal to: {','.join(sorted(inputs))}"
            )
    return {column.spec.alias: column.leaves(len(instances)) for column in columns.values()}


def _is_named(value: JsonValue) -> bool:
    """An object of inputs by name, which every object is but a base64 one."""
    return isinstance(value, JsonObject) and base64_text(value) is None


class _Column:
    """One input's elements, row by row; every row must look like the first."""

    def __init__(self, spec: TensorSpec) -> None:
        self.spec = spec
        self._first: Leaves | None = None
        self._rows: list[list[Leaf]] = []

    def add(self, value: JsonValue, *, again: bool = False) -> None:
        """Add a row. `again`: the row has the input already; its values pile up, which is a size error.

        Raises:
            ServingError: The value is wrong, or differs from the first row in size or shape.
        """
        leaves = read_uniform(value, self.spec.dtype) or read(value, self.spec.dtype)
        if self._first is None:
            self._first = leaves
        expected, size = len(self._first.values), len(leaves.values)
        if again:
            size += expected
        if again or size != expected:
            raise InvalidArgumentError(f"Expecting tensor size: {expected} but got: {size}")
        if leaves.shape != self._first.shape:
            raise InvalidArgumentError(
                f"Expecting shape {shape_text(self._first.shape)} but got: {shape_text(leaves.shape)}"
            )
        self._rows.append(leaves.values)

    def leaves(self, rows: int) -> Leaves:
        assert self._first is not None
        return Leaves((rows, *self._first.shape), list(chain.from_iterable(self._rows)))
