"""The table of tensor element types: TensorFlow's number and names, the numpy form, the TensorProto field.

Every place that needs to know something about a dtype asks this table. numpy alone has no name for some of
TensorFlow's types; `ml_dtypes` supplies bfloat16, the 8-bit floats and the 4-bit integers, and quantised
integers take TensorFlow's own form, a structured dtype with one field (`[("qint8", "i1")]`), so that an array
always says by itself which TensorFlow type it is. Strings are object arrays of `bytes`: numpy's `S` dtype
drops trailing NUL bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class DType:
    """One element type.

    Attributes:
        number: Value of TensorFlow's enum `DataType`.
        name: Short name as TensorFlow prints it in messages, e.g. `float`, `int64`, `half`, `string`.
        numpy: The numpy dtype of arrays of this type; `object` (of `bytes`) for strings; None for types that
            have no data on the wire (`resource`, `variant`).
        field: The TensorProto field of typed data, e.g. `float_val`; None when there is none.
    """

    number: int
    name: str
    numpy: np.dtype[Any] | None
    field: str | None

    @property
    def enum_name(self) -> str:
        """The proto enum's name, e.g. `DT_FLOAT`."""
        return "DT_" + self.name.upper()

    @property
    def is_string(self) -> bool:
        return self.number == 7

    def __repr__(self) -> str:
        return f"DType({self.name})"


def _rows() -> list[DType]:
    def quantised(name: str, code: str) -> np.dtype[Any]:
        return np.dtype([(name, code)])

    rows: list[tuple[int, str, Any, str | None]] = [
        (1, "float", np.float32, "float_val"),
        (2, "double", np.float64, "double_val"),
        (3, "int32", np.int32, "int_val"),
        (4, "uint8", np.uint8, "int_val"),
        (5, "int16", np.int16, "int_val"),
        (6, "int8", np.int8, "int_val"),
        (7, "string", np.object_, "string_val"),
        (8, "complex64", np.complex64, "scomplex_val"),
        (9, "int64", np.int64, "int64_val"),
        (10, "bool", np.bool_, "bool_val"),
        (11, "qint8", quantised("qint8", "i1"), "int_val"),
        (12, "quint8", quantised("quint8", "u1"), "int_val"),
        (13, "qint32", quantised("qint32", "<i4"), "int_val"),
        (14, "bfloat16", ml_dtypes.bfloat16, "half_val"),
        (15, "qint16", quantised("qint16", "<i2"), "int_val"),
        (16, "quint16", quantised("quint16", "<u2"), "int_val"),
        (17, "uint16", np.uint16, "int_val"),
        (18, "complex128", np.complex128, "dcomplex_val"),
        (19, "half", np.float16, "half_val"),
        (20, "resource", None, None),
        (21, "variant", None, None),
        (22, "uint32", np.uint32, "uint32_val"),
        (23, "uint64", np.uint64, "uint64_val"),
        (24, "float8_e5m2", ml_dtypes.float8_e5m2, "float8_val"),
        (25, "float8_e4m3fn", ml_dtypes.float8_e4m3fn, "float8_val"),
        (26, "float8_e4m3fnuz", ml_dtypes.float8_e4m3fnuz, "float8_val"),
        (27, "float8_e4m3b11fnuz", ml_dtypes.float8_e4m3b11fnuz, "float8_val"),
        (28, "float8_e5m2fnuz", ml_dtypes.float8_e5m2fnuz, "float8_val"),
        (29, "int4", ml_dtypes.int4, "int_val"),
        (30, "uint4", ml_dtypes.uint4, "int_val"),
    ]
    return [DType(n, name, None if form is None else np.dtype(form), f) for n, name, form, f in rows]


ALL: tuple[DType, ...] = tuple(_rows())
BY_NUMBER: Mapping[int, DType] = MappingProxyType({d.number: d for d in ALL})
BY_NAME: Mapping[str, DType] = MappingProxyType({d.name: d for d in ALL})
_BY_NUMPY: Mapping[np.dtype[Any], DType] = MappingProxyType({d.numpy: d for d in ALL if d.numpy is not None})

FLOAT = BY_NAME["float"]
DOUBLE = BY_NAME["double"]
INT32 = BY_NAME["int32"]
INT64 = BY_NAME["int64"]
BOOL = BY_NAME["bool"]
STRING = BY_NAME["string"]

# numpy would make float64 of Python's floats; a model would not.
_PYTHON_TYPES: Mapping[object, DType] = MappingProxyType(
    {float: FLOAT, int: INT64, bool: BOOL, str: STRING, bytes: STRING, object: STRING}
)


def of_element_type(given: Any) -> DType | None:
    """The DType that somebody means; None when it says none.

    Args:
        given: A DType, TensorFlow's or numpy's name (`"float"`, `"float32"`), a numpy or TensorFlow dtype, or Python's
            `float` (32 bits), `int` (64 bits), `bool`, `str` and `bytes`.
    """
    if isinstance(given, DType):
        return given
    if isinstance(given, str) and given in BY_NAME:
        return BY_NAME[given]
    if isinstance(given, type) and given in _PYTHON_TYPES:
        return _PYTHON_TYPES[given]
    given = getattr(given, "as_numpy_dtype", given)  # TensorFlow's own
    if given is None or (
        isinstance(given, type) and given is not object and not issubclass(given, np.generic)
    ):
        return None  # numpy would take None for float64, and any class for an object
    try:
        return of_array(np.empty(0, given))
    except (TypeError, ValueError):
        return None


def of_array(array: Array) -> DType:
    """The DType of a numpy array (a string tensor is an object array).

    Raises:
        TypeError: numpy has a dtype here that no tensor can have, e.g. `datetime64`.
    """
    dtype = array.dtype
    found = _BY_NUMPY.get(dtype)
    if found is None and dtype.kind in "SU":
        return STRING
    if found is None:
        found = _BY_NUMPY.get(dtype.newbyteorder("<")) if dtype.kind != "O" else STRING
    if found is None:
        raise TypeError(f"numpy dtype {dtype} has no TensorFlow type")
    return found
