"""Making and checking warm-up files from the signatures of example models, without TensorFlow."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pyserve.cli.main import main
from pyserve.codec.tf_record import encode_record, read_records
from pyserve.errors import InvalidArgumentError, NotFoundError, ServingError
from pyserve.inference.warmup_file import MAX_RECORDS, PATH_IN_VERSION
from pyserve.protos import tfs
from pyserve.tools import warmup
from pyserve.tools.model_directory import version_directory

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"
ONE = b'{"instances": [1.0, 2.0]}'
TWO = b'{"signature_name": "serving_default", "inputs": {"x": [5]}}'


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLES / "half_plus_two", tmp_path / "model"))


@pytest.fixture
def version(model: Path) -> Path:
    return model / "1"


@pytest.mark.parametrize(
    ("text", "bodies"),
    [
        (ONE, [("f", ONE)]),
        (ONE + b"\n", [("f", ONE + b"\n")]),
        (ONE + b"\n\n" + TWO + b"\n", [("f:1", ONE), ("f:3", TWO)]),
        (b'{\n "instances": [1.0]\n}\n', [("f", b'{\n "instances": [1.0]\n}\n')]),
        (b"{not json", [("f", b"{not json")]),
    ],
)
def test_bodies(text: bytes, bodies: list[tuple[str, bytes]]) -> None:
    """A file holds one document, over as many lines as it likes, or one on each line."""
    assert warmup.request_bodies("f", text) == bodies


def test_no_body() -> None:
    """A file of nothing is a mistake."""
    with pytest.raises(InvalidArgumentError, match="f holds no request"):
        warmup.request_bodies("f", b" \n")


def test_make(version: Path) -> None:
    """Each request becomes a Predict log of its signature, its values as the signature's types."""
    records = [tfs.PredictionLog.FromString(r) for r in warmup.make(version, [("a", ONE), ("b", TWO)])]
    requests = [record.predict_log.request for record in records]
    assert [request.model_spec.signature_name for request in requests] == ["serving_default"] * 2
    assert [list(request.inputs) for request in requests] == [["x"], ["x"]]
    assert requests[0].inputs["x"].dtype == 1
    assert [dim.size for dim in requests[0].inputs["x"].tensor_shape.dim] == [2]


def test_strings_are_written_one_by_one() -> None:
    """Strings stand in their own field, which every reader knows."""
    (record,) = warmup.make(EXAMPLES / "vocabulary" / "1", [("a", b'{"instances": ["fox", "dog"]}')])
    (tensor,) = tfs.PredictionLog.FromString(record).predict_log.request.inputs.values()
    assert list(tensor.string_val) == [b"fox", b"dog"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "here: "),
        (b'{"instances": ["a"]}', "here: "),
        (
            b'{"signature_name": "none", "instances": [1]}',
            'here: there is no signature "none"; the model has classify_x',
        ),
    ],
)
def test_a_wrong_request(version: Path, body: bytes, text: str) -> None:
    """What is wrong with a request is said with its place."""
    with pytest.raises(InvalidArgumentError) as caught:
        warmup.make(version, [("here", body)])
    assert caught.value.message.startswith(text)


def test_too_many(version: Path) -> None:
    """A file that the server would refuse is not made."""
    with pytest.raises(InvalidArgumentError, match="1001 requests; a warm-up file has at most 1000"):
        warmup.make(version, [("a", ONE)] * (MAX_RECORDS + 1))


def test_write(tmp_path: Path) -> None:
    """The file is whole, readable by all, and nothing else is left."""
    file = tmp_path / "new" / "file"
    assert warmup.write(file, [b"a", b"bc"]) == file.stat().st_size
    assert list(read_records(io.BytesIO(file.read_bytes()))) == [b"a", b"bc"]
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in file.parent.iterdir()] == ["file"]


def test_write_nowhere(tmp_path: Path) -> None:
    """What the system says is the error."""
    (tmp_path / "file").touch()
    with pytest.raises(ServingError, match="file"):
        warmup.write(tmp_path / "file" / "below", [])


def put(version: Path, content: bytes) -> None:
    file = version / PATH_IN_VERSION
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)


def log(
    key: str = "", alias: str = "x", values: tuple[float, ...] = (1.0,), shape: tuple[int, ...] | None = None
) -> bytes:
    record = tfs.PredictionLog()
    request = record.predict_log.request
    request.model_spec.signature_name = key
    tensor = request.inputs[alias]
    tensor.dtype = 1
    for size in (len(values),) if shape is None else shape:
        tensor.tensor_shape.dim.add().size = size
    tensor.float_val.extend(values)
    return record.SerializeToString()


def example_log(key: str) -> bytes:
    record = tfs.PredictionLog()
    record.classify_log.request.model_spec.signature_name = key
    record.classify_log.request.input.example_list.examples.add()
    return record.SerializeToString()


def test_a_good_file(version: Path) -> None:
    """Records are counted by kind and signature; there is nothing to complain about."""
    put(
        version, b"".join(map(encode_record, [log(), log("serving_default"), example_log("classify_x_to_y")]))
    )
    report = warmup.check(version)
    assert report.records == 3
    assert report.requests == {"predict serving_default": 2, "classify classify_x_to_y": 1}
    assert (report.problems, report.notes) == ([], [])


@pytest.mark.parametrize(
    ("content", "problems"),
    [
        (
            encode_record(log("none")),
            ['record 1: FAILED_PRECONDITION: Serving signature key "none" not found.'],
        ),
        (
            encode_record(log()) + encode_record(log(alias="z")),
            ["record 2: INVALID_ARGUMENT: Signature input alias: x"],
        ),
        (encode_record(example_log("none")), ["record 1: INVALID_ARGUMENT: No signature was found"]),
        (encode_record(b"\xff"), ["record 1: INVALID_ARGUMENT: Failed to parse warmup record"]),
        (encode_record(log()) + b"garbage, at least 12 bytes", ["record 2: corrupted record at"]),
        (encode_record(log())[:-1], ["record 1: truncated record at 0"]),
        (encode_record(log()) + b"tail", ["the last 4 bytes are what is left of a record"]),
        (b"no", ["the last 2 bytes are what is left of a record"]),
        (encode_record(b"") * (MAX_RECORDS + 1), ["Number of warmup records exceeds the maximum (1000) at "]),
        (
            encode_record(tfs.PredictionLog(session_run_log=tfs.SessionRunLog()).SerializeToString()),
            ["record 1: UNIMPLEMENTED: Unsupported log_type for warmup: 5"],
        ),
        (encode_record(b"\xff") * 30, ["record "] * 20 + ["and 10 more"]),
    ],
)
def test_problems(version: Path, content: bytes, problems: list[str]) -> None:
    """What the server would refuse is found, record by record, and some things that it would not notice."""
    put(version, content)
    found = warmup.check(version).problems
    assert len(found) == len(problems)
    for text, start in zip(found, problems, strict=True):
        assert text.startswith(start)


@pytest.mark.parametrize(
    ("content", "notes"),
    [
        (encode_record(b""), ["record 1 holds no request and is skipped"]),
        (b"", ["there are no records, so that a server would warm nothing up"]),
        (
            encode_record(log(values=(1.0, 2.0), shape=(1, 2))),
            ["record 1: input x has the shape [1, 2], declared is [?]"],
        ),
    ],
)
def test_notes(version: Path, content: bytes, notes: list[str]) -> None:
    """What is strange but harmless is a note."""
    put(version, content)
    report = warmup.check(version)
    assert (report.notes, report.problems) == (notes, [])


def test_no_file(version: Path) -> None:
    """A version without the file cannot be checked."""
    with pytest.raises(NotFoundError, match="No warmup data file found at "):
        warmup.check(version)


def test_without_a_saved_model(version: Path) -> None:
    """Without signatures to compare with, the format alone is checked, and the report says so."""
    put(version, encode_record(log("whatever")))
    (version / "saved_model.pb").rename(version / "model.tflite")
    report = warmup.check(version)
    assert report.problems == []
    assert report.notes[0].startswith("signatures are not checked: ")


@pytest.mark.parametrize("given", [".", "2", "2/saved_model.pb"])
def test_version_directory(model: Path, given: str) -> None:
    """A version, its file, or the model, which stands for the newest version by number."""
    newest = Path(shutil.copytree(model / "2", model / "10"))
    assert version_directory(model / given) == (newest if given == "." else model / "2")


def test_no_version_directory(model: Path, tmp_path: Path) -> None:
    """Anything else is refused by its path."""
    with pytest.raises(NotFoundError, match="nowhere; No such file or directory"):
        version_directory(tmp_path / "nowhere")
    with pytest.raises(InvalidArgumentError, match="holds neither a model"):
        version_directory(tmp_path)
    (tmp_path / "other.txt").touch()
    with pytest.raises(InvalidArgumentError, match=r"other\.txt is none of"):
        version_directory(tmp_path / "other.txt")


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def pyserve(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_the_command(pyserve: Run, model: Path, tmp_path: Path) -> None:
    """Make, refuse to replace, replace, check; and exit code 1 for what is wrong."""
    requests = tmp_path / "requests.json"
    requests.write_bytes(ONE + b"\n" + TWO)
    file = model / "2" / PATH_IN_VERSION
    code, out, _ = pyserve("warmup", "make", model, "--request", requests)
    assert (code, out) == (0, f"{file}: 2 records, {file.stat().st_size} bytes\n")
    code, _, err = pyserve("warmup", "make", model, "--request", requests)
    assert (code, err) == (
        1,
        f"pyserve warmup: ALREADY_EXISTS: {file} is there already; --force replaces it\n",
    )
    code, out, _ = pyserve("warmup", "make", model, "--force", "--request", requests, requests)
    assert (code, out) == (0, f"{file}: 4 records, {file.stat().st_size} bytes\n")
    code, out, _ = pyserve("warmup", "check", model)
    assert code == 0
    assert out == f"{file}: 4 records, {file.stat().st_size} bytes\n  4 x predict serving_default\nOK\n"
    file.write_bytes(encode_record(log("none")))
    code, out, _ = pyserve("warmup", "check", model / "2")
    assert code == 1
    assert out.endswith('problem: record 1: FAILED_PRECONDITION: Serving signature key "none" not found.\n')
    code, _, err = pyserve("warmup", "make", model, "--force", "--request", tmp_path / "none")
    assert (code, err) == (1, f"pyserve warmup: NOT_FOUND: {tmp_path}/none; No such file or directory\n")


def test_options(pyserve: Run, version: Path, tmp_path: Path) -> None:
    """Another signature, another place, other tags."""
    requests = tmp_path / "requests.json"
    requests.write_text(json.dumps({"inputs": ["a serialized Example"]}))
    output = tmp_path / "out"
    code, _, _ = pyserve(
        "warmup", "make", version, "--request", requests, "--signature", "classify_x_to_y", "--output", output
    )
    assert code == 0
    (record,) = read_records(io.BytesIO(output.read_bytes()))
    request = tfs.PredictionLog.FromString(record).predict_log.request
    assert (request.model_spec.signature_name, list(request.inputs)) == ("classify_x_to_y", ["inputs"])
    code, _, err = pyserve(
        "warmup", "make", version, "--request", requests, "--force", "--saved_model_tags=gpu,x"
    )
    assert code == 1
    assert "Could not find meta graph def matching supplied tags: { gpu x }" in err
