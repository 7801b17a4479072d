"""REST predict requests: what is accepted, what becomes of it, and every message of a refusal."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserve import dtypes
from pyserve.codec import json_tensor
from pyserve.codec.json_parser import parse
from pyserve.codec.json_predict import PredictDocument, PredictTensors
from pyserve.errors import InvalidArgumentError, ServingError, UnimplementedError
from pyserve.servable import TensorSpec


def specs(**names: str) -> dict[str, TensorSpec]:
    return {alias: TensorSpec(alias, dtypes.BY_NAME[name], None) for alias, name in names.items()}


def read(data: bytes, **names: str) -> PredictTensors:
    return PredictDocument.parse(data).tensors(specs(**names))


def message(data: bytes, **names: str) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        read(data, **names)
    return caught.value.message


ROW0 = "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
ROW1 = "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
KEY0 = "Failed to process element: 0 key: "
KEY1 = "Failed to process element: 1 key: "
DOC_BOTH = '{\n    "instances": [1],\n    "inputs": [1]\n}'


@pytest.mark.parametrize(
    ("data", "names", "expected"),
    [
        ("{}", {"x": "float"}, "Missing 'inputs' or 'instances' key"),
        (
            '{"instances":[1],"inputs":[1]}',
            {"x": "float"},
            f"JSON Value: {DOC_BOTH} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist ",
        ),
        (
            '{"instances":1}',
            {"x": "float"},
            "JSON Value: {\n    \"instances\": 1\n} Expecting 'instances' to be an list/array",
        ),
        (
            '{"instances":[]}',
            {"x": "float"},
            "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array",
        ),
        ('{"instances":[1]}', {}, "Failed to get input map for signature: DEFAULT"),
        ('{"signature_name":"s","instances":[1]}', {}, "Failed to get input map for signature: s"),
        (
            '{"instances":[1]}',
            {"x": "float", "y": "float"},
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map",
        ),
        (
            '{"inputs":[1]}',
            {"x": "float", "y": "float"},
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map",
        ),
        (
            '{"inputs":{"b64":"aGk="}}',
            {"x": "string", "y": "string"},
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map",
        ),
        ('{"inputs":{"x":1}}', {"x": "float", "y": "float"}, "Missing named input: y in 'inputs' object."),
        (
            '{"instances":[{"x":1},2]}',
            {"x": "float"},
            "Expecting object but got list at item 1 of input list",
        ),
        (
            '{"instances":[{"x":"a"},{"b64":"aGk="}]}',
            {"x": "string"},
            "Expecting object but got list at item 1 of input list",
        ),
        (
            '{"instances":[1,{"x":2}]}',
            {"x": "float"},
            "Expecting value/list but got object at item 1 of input list",
        ),
        (
            '{"instances":[{"x":1},{"z":2}]}',
            {"x": "float"},
            KEY1 + "z of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not "
            "have named input: z",
        ),
        (
            '{"instances":[{"x":1}]}',
            {"x": "float", "y": "float", "a": "float"},
            "Failed to process element: 0 of 'instances' list. JSON object: {\n    \"x\": 1\n} "
            "keys must be equal to: a,x,y",
        ),
        (
            '{"instances":[{"x":null}]}',
            {"x": "float"},
            KEY0 + "x of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: null "
            "Type: Null is not of expected type: float",
        ),
        (
            '{"instances":[{"x":1},{"x":2,"x":3}]}',
            {"x": "float"},
            KEY1 + "x of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 1 but got: 2",
        ),
        (
            '{"instances":[1,"a"]}',
            {"x": "float"},
            ROW1 + 'JSON Value: "a" Type: String is not of expected type: float',
        ),
        (
            '{"instances":[1]}',
            {"x": "half"},
            "Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: "
            "Conversion of JSON Value: 1 to type: half",
        ),
        (
            '{"instances":[[1,2],[1]]}',
            {"x": "float"},
            ROW1 + "Expecting tensor size: 2 but got: 1",
        ),
        (
            '{"instances":[[[1,2]],[[1],[2]]]}',
            {"x": "float"},
            ROW1 + "Expecting shape [1,2] but got: [2,1]",
        ),
        (
            '{"instances":[1,[1]]}',
            {"x": "float"},
            ROW1 + "Expecting shape [] but got: [1]",
        ),
        (
            '{"instances":[{"b64":"x"},{"b64":1}]}',
            {"x": "string"},
            ROW0 + "Unable to base64 decode",
        ),
        (
            '{"instances":[[{"c":1}]]}',
            {"x": "string"},
            ROW0 + 'JSON Value: {\n    "c": 1\n} not formatted correctly for base64 data',
        ),
        (
            '{"instances":[{"b64":"aGk="}]}',
            {"x": "float"},
            ROW0 + 'JSON Value: {\n    "b64": "aGk="\n} Type: Object is not of expected type: float',
        ),
    ],
)
def test_refusal(data: str, names: dict[str, str], expected: str) -> None:
    """Every rule about keys and rows has TensorFlow Serving's message."""
    assert message(data.encode(), **names) == expected


@pytest.mark.parametrize("value", ["1", "null", "[]", "{}"])
def test_signature_name_must_be_a_string(value: str) -> None:
    """Anything but a string as signature_name is refused at parsing, with the document shown."""
    with pytest.raises(InvalidArgumentError) as caught:
        PredictDocument.parse(f'{{"signature_name":{value}}}'.encode())
    shown = f'{{\n    "signature_name": {value}\n}}'
    expected = f"JSON Value: {shown} not formatted correctly. 'signature_name' key must be a string value."
    assert caught.value.message == expected


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"{}", ""),
        (b'{"signature_name":""}', ""),
        (b'{"signature_name":"a","signature_name":1}', "a"),
        (b'{"signature_name":"\xc3\xa9"}', "é"),
    ],
)
def test_signature_name(data: bytes, name: str) -> None:
    """The first signature_name counts; none is the empty one."""
    assert PredictDocument.parse(data).signature_name == name


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ("[1,[2]]", "float", "Encountered list at unexpected level: 1 expected < 1"),
        (
            "[[1],2]",
            "float",
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        ("[[1,2],[3]]", "float", "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ("[[],[1]]", "float", "Encountered list at unexpected size: 1 at level: 1 expected size: 0"),
        (
            "[[[1]],[2]]",
            "int32",
            "JSON Value: 2 found at incorrect level: 3 in the JSON DOM. Expected at level: 3",
        ),
        ("true", "float", "JSON Value: true Type: True is not of expected type: float"),
        ("false", "double", "JSON Value: false Type: False is not of expected type: double"),
        ("[[1]]", "string", "JSON Value: 1 Type: Number is not of expected type: string"),
        ("[1]", "bool", "JSON Value: 1 Type: Number is not of expected type: bool"),
        ('["a"]', "bool", 'JSON Value: "a" Type: String is not of expected type: bool'),
        ("1.0", "int32", "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ("1e2", "int64", "JSON Value: 100.0 Type: Number is not of expected type: int64"),
        ("2147483648", "int32", "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        ("-2147483649", "int8", "JSON Value: -2147483649 Type: Number is not of expected type: int8"),
        (
            "9223372036854775808",
            "int64",
            "JSON Value: 9223372036854775808 Type: Number is not of expected type: int64",
        ),
        ("-1", "uint32", "JSON Value: -1 Type: Number is not of expected type: uint32"),
        ("[4294967296]", "uint32", "JSON Value: 4294967296 Type: Number is not of expected type: uint32"),
        ("[-1]", "uint64", "JSON Value: -1 Type: Number is not of expected type: uint64"),
        (
            "[18446744073709551616]",
            "uint64",
            "JSON Value: 1.8446744073709552e+19 Type: Number is not of expected type: uint64",
        ),
        ("null", "string", "JSON Value: null Type: Null is not of expected type: string"),
        ("NaN", "int32", "JSON Value: NaN Type: Number is not of expected type: int32"),
    ],
)
def test_value_refusal(value: str, dtype: str, expected: str) -> None:
    """In column form a wrong value is reported as it is, without a wrapper."""
    assert message(f'{{"inputs":{value}}}'.encode(), x=dtype) == expected
    assert message(f'{{"inputs":{{"x":{value}}}}}'.encode(), x=dtype) == expected


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "uint16", "complex64", "qint8", "int4", "resource"])
def test_dtypes_that_json_cannot_carry(dtype: str) -> None:
    """Such an input is UNIMPLEMENTED in column form."""
    with pytest.raises(UnimplementedError) as caught:
        read(b'{"inputs":[[1]]}', x=dtype)
    assert caught.value.message == f"Conversion of JSON Value: 1 to type: {dtype}"


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ("[1, 2.5, -0.0]", "float", np.array([1, 2.5, -0.0], np.float32)),
        (
            "[1e39, -1e39, 1e-60, NaN, Infinity]",
            "float",
            np.array([np.inf, -np.inf, 0, np.nan, np.inf], np.float32),
        ),
        ("[1e39, 18446744073709551615]", "double", np.array([1e39, 2.0**64])),
        ("3", "float", np.array(3, np.float32)),
        ("[300, -129, 128]", "int8", np.array([44, 127, -128], np.int8)),
        ("[300, -1]", "uint8", np.array([44, 255], np.uint8)),
        ("[65536, 32768]", "int16", np.array([0, -32768], np.int16)),
        ("[2147483647, -2147483648]", "int32", np.array([2**31 - 1, -(2**31)], np.int32)),
        ("[[9223372036854775807],[-9223372036854775808]]", "int64", np.array([[2**63 - 1], [-(2**63)]])),
        ("[4294967295]", "uint32", np.array([2**32 - 1], np.uint32)),
        ("[18446744073709551615]", "uint64", np.array([2**64 - 1], np.uint64)),
        ("[[true],[false]]", "bool", np.array([[True], [False]])),
        ("[]", "float", np.zeros((0,), np.float32)),
        ("[[],[]]", "int64", np.zeros((2, 0), np.int64)),
        ("[[],[]]", "half", np.zeros((2, 0), np.float16)),
        ('["a\\u0000", {"b64":"AAE="}]', "string", np.array([b"a\0", b"\0\1"], object)),
        ('{"b64":"aGk="}', "string", np.array(b"hi", object)),
        ("[[[[[5]]]]]", "int32", np.full((1, 1, 1, 1, 1), 5, np.int32)),
    ],
)
def test_values(value: str, dtype: str, expected: Any) -> None:
    """Columns keep the shape as written and take the declared dtype; named and plain form agree."""
    for data in (f'{{"inputs":{value}}}', f'{{"other":1,"inputs":{{"y":0,"x":{value}}}}}'):
        result = read(data.encode(), x=dtype)
        assert not result.row_format
        assert result.arrays["x"].dtype == expected.dtype
        np.testing.assert_array_equal(result.arrays["x"], expected)
        assert result.arrays["x"].shape == expected.shape


@pytest.mark.parametrize(
    ("instances", "expected"),
    [
        ("[1,2,3]", [1, 2, 3]),
        ("[[1,2],[3,4]]", [[1, 2], [3, 4]]),
        ('[{"x":1},{"x":2}]', [1, 2]),
        ('[{"x":[[1]]},{"x":[[2]]}]', [[[1]], [[2]]]),
        ("[[],[]]", [[], []]),
    ],
)
def test_rows(instances: str, expected: Any) -> None:
    """Rows get a batch dimension, and a single input may be named or not."""
    result = read(f'{{"instances":{instances}}}'.encode(), x="float")
    assert result.row_format
    np.testing.assert_array_equal(result.arrays["x"], np.array(expected, np.float32))
    assert result.arrays["x"].shape == np.shape(expected)


def test_rows_of_several_inputs() -> None:
    """Each input is a batch of its own dtype and shape; members may be in any order."""
    data = b'{"instances":[{"a":1,"b":["x"],"c":{"b64":"aGk="}},{"b":["y"],"c":{"b64":"eW8="},"a":2}]}'
    arrays = read(data, a="int32", b="string", c="string").arrays
    assert arrays["a"].tolist() == [1, 2]
    assert arrays["b"].tolist() == [[b"x"], [b"y"]]
    assert arrays["c"].tolist() == [b"hi", b"yo"]


def test_base64_rows() -> None:
    """A first row that is a base64 object means plain values; strings and base64 objects mix."""
    arrays = read(b'{"instances":[{"b64":"aGk="},"yo",{"b64":"eQ"}]}', x="string").arrays
    assert arrays["x"].tolist() == [b"hi", b"yo", b"y"]


def test_columns_may_differ_in_dimension_0() -> None:
    """Inputs of column form are independent, and unknown members are ignored."""
    arrays = read(b'{"inputs":{"a":[1,2,3],"b":5,"zzz":null}}', a="float", b="float").arrays
    assert arrays["a"].shape == (3,)
    assert arrays["b"].shape == ()


@pytest.mark.parametrize(
    "form", ['{"inputs":%s}', '{"instances":%s}', '{"inputs":{"x":%s}}', '{"instances":[{"x":%s}]}']
)
def test_depth_of_a_used_key(form: str) -> None:
    """A value deeper than any tensor is refused without recursion."""
    text = message((form % ("[" * 20_000 + "1" + "]" * 20_000)).encode(), x="float")
    assert "dimensions, expected at most" in text


def test_long_names_make_short_messages() -> None:
    """What a request chose to call things is cut in messages."""
    data = b'{"instances":[{"' + b"n" * 100_000 + b'":"' + b"v" * 100_000 + b'"}]}'
    assert len(message(data, x="float")) < 1500
    data = b'{"signature_name":"' + b"n" * 100_000 + b'","instances":[1]}'
    assert len(message(data)) < 400


VALUES = st.recursive(
    st.sampled_from([1, 2.5, -7, 2**40, 300, True, None, "s", float("nan"), {"b64": "aGk="}, {"c": 1}]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None)
@given(VALUES, st.sampled_from(sorted(json_tensor._RULES)))
def test_uniform_reading_agrees_with_the_exact_one(value: Any, name: str) -> None:
    """What the quick reading accepts, the exact one accepts with the same result."""
    dtype = dtypes.BY_NAME[name]
    parsed = parse(json.dumps(value).encode())
    quick = json_tensor.read_uniform(parsed, dtype)
    if quick is not None:
        exact = json_tensor.read(parsed, dtype)
        assert exact.shape == quick.shape
        assert [repr(leaf) for leaf in exact.values] == [repr(leaf) for leaf in quick.values]


@settings(deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=4), st.sampled_from(["float", "int8", "string"]))
def test_rows_agree_with_and_without_the_quick_reading(rows: list[Any], name: str) -> None:
    """The quick readings never change the outcome of a row request, named or plain."""
    for instances in (rows, [{"x": row} for row in rows]):
        data = json.dumps({"instances": instances}).encode()
        quick = outcome(data, name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pyserve.codec.json_predict.read_uniform", lambda value, dtype: None)
            assert outcome(data, name) == quick


def outcome(data: bytes, name: str) -> Any:
    try:
        array = read(data, x=name).arrays["x"]
    except ServingError as error:
        return str(error)
    return array.shape, array.dtype, repr(array.tolist())
