"""Warm-up files: made from JSON requests, checked without TensorFlow, and replayed against the loaded version.

A check runs every record through the code that replays it, up to the point where the model would run.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pyserve.backends.function import FunctionServable
from pyserve.backends.saved_model import SavedModelBackend
from pyserve.backends.saved_model.meta_graph import INIT_OP_KEY, read_saved_model, select
from pyserve.backends.tflite import TfLiteBackend
from pyserve.batching.task import Task
from pyserve.codec.json_predict import PredictDocument
from pyserve.codec.predict import ModelSpec, encode_request
from pyserve.codec.signature_def import signature_from_proto
from pyserve.codec.tf_record import encode_record, read_records
from pyserve.config import TensorFlowOptions, TfLiteOptions
from pyserve.dtypes import Array
from pyserve.errors import DataLossError, InvalidArgumentError, NotFoundError, ServingError, file_error
from pyserve.inference.warmup_file import MAX_RECORDS, PATH_IN_VERSION, parse_log, replay_file, too_many
from pyserve.inference.warmup_replay import Target, replay
from pyserve.lifecycle.loader import Loader
from pyserve.protos import tfs
from pyserve.servable import DEFAULT_SIGNATURE, ServableId, Signature

_MAX_PROBLEMS = 20


# --- make --------------------------------------------------------------------------------------------------------


def read_bodies(names: Iterable[str]) -> list[tuple[str, bytes]]:
    """The predict requests in files; `-` is standard input. See `request_bodies`.

    Raises:
        InvalidArgumentError: A file holds none.
        ServingError: One cannot be read.
    """
    return [body for name in names for body in request_bodies(name, _read(name))]


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise file_error(error) from error


def request_bodies(name: str, text: bytes) -> list[tuple[str, bytes]]:
    """The predict requests in a file: one JSON document, or one on each line.

    Args:
        name: Of the file, for messages.
        text: Its content.

    Returns:
        (where it stands, body) of each.

    Raises:
        InvalidArgumentError: The file holds none.
    """
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise InvalidArgumentError(f"{name} holds no request")
    # Whether the first line stands for itself tells the two forms apart; what is wrong with a body is said later.
    if len(lines) > 1 and _is_json(lines[0][1]):
        return [(f"{name}:{number}", line) for number, line in lines]
    return [(name, text)]


def make(
    version: Path,
    bodies: Iterable[tuple[str, bytes]],
    tags: Collection[str] = ("serve",),
    signature: str = "",
) -> list[bytes]:
    """The records of a warm-up file for a version, from REST predict requests.

    Args:
        version: The version directory, with a SavedModel.
        bodies: (where it stands, body) of each request.
        tags: Of the MetaGraph whose signatures count.
        signature: Used by requests that name none; empty: `serving_default`.

    Raises:
        InvalidArgumentError: A request does not fit its signature, or there are too many.
        ServingError: There is no SavedModel, or none with these tags.
    """
    signatures = read_signatures(version, tags)
    records = []
    for where, body in bodies:
        try:
            records.append(_record(body, signatures, signature))
        except ServingError as error:
            raise InvalidArgumentError(f"{where}: {error.message}") from error
    if len(records) > MAX_RECORDS:
        raise InvalidArgumentError(f"{len(records)} requests; a warm-up file has at most {MAX_RECORDS}")
    return records


def write(file: Path, records: Iterable[bytes]) -> int:
    """Write a file of records, whole or not at all, and make its directory; returns its size in bytes.

    Raises:
        ServingError: What the operating system says.
    """
    content = b"".join(map(encode_record, records))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        arriving = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
            arriving.chmod(0o644)  # the server may run as somebody else
            arriving.replace(file)
        except BaseException:
            arriving.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise file_error(error) from error
    return len(content)


def read_signatures(version: Path, tags: Collection[str] = ("serve",)) -> dict[str, Signature]:
    """The signatures that a version's SavedModel declares. TensorFlow is not needed.

    Raises:
        ServingError: There is no SavedModel, or none with these tags.
    """
    chosen = select(read_saved_model(version), tags)
    return {
        key: signature_from_proto(key, proto)
        for key, proto in chosen.signature_def.items()
        if key != INIT_OP_KEY
    }


def _record(body: bytes, signatures: Mapping[str, Signature], default: str) -> bytes:
    document = PredictDocument.parse(body)
    key = document.signature_name or default or DEFAULT_SIGNATURE
    found = signatures.get(key)
    if found is None:
        raise InvalidArgumentError(
            f'there is no signature "{key}"; the model has {", ".join(sorted(signatures))}'
        )
    log = tfs.PredictionLog()
    request = encode_request(ModelSpec(signature_name=key), document.tensors(found.inputs).arrays)
    log.predict_log.request.ParseFromString(request)
    return log.SerializeToString(deterministic=True)


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


# --- check -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Report:
    """What was found in a warm-up file.

    Attributes:
        file: Where it is.
        size: In bytes.
        records: Number of those that could be read.
        requests: How many there are of each kind and signature, e.g. `predict serving_default`.
        problems: Why the server would refuse the version, or the file is damaged; one sentence each.
        notes: What is strange, and no problem to the server.
    """

    file: Path
    size: int = 0
    records: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _WouldRunError(Exception):
    """The record is fine so far: the model would run now."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task


def check(version: Path, tags: Collection[str] = ("serve",)) -> Report:
    """Examine the warm-up file of a version, without loading it.

    Raises:
        NotFoundError: The version has none.
        ServingError: It cannot be read, or the SavedModel's signatures cannot.
    """
    file = version / PATH_IN_VERSION
    if not file.exists():
        raise NotFoundError(f"No warmup data file found at {file}")
    report = Report(file)
    target: Target | None = None
    try:
        target = _dry_target(read_signatures(version, tags))
    except NotFoundError as error:
        report.notes.append(f"signatures are not checked: {error.message.splitlines()[0]}")
    try:
        report.size = file.stat().st_size
        with file.open("rb") as stream:
            end = 0
            for record in read_records(stream):
                end = stream.tell()
                report.records += 1
                _examine(report, record, target)
            if end < report.size:
                report.problems.append(
                    f"the last {report.size - end} bytes are what is left of a record; a server would not notice"
                )
    except DataLossError as error:
        report.problems.append(f"record {report.records + 1}: {error.message}")
    except OSError as error:
        raise file_error(error) from error
    if report.records > MAX_RECORDS:
        report.problems.append(too_many(file))
    if not report.records and not report.problems:
        report.notes.append("there are no records, so that a server would warm nothing up")
    if len(report.problems) > _MAX_PROBLEMS:
        report.problems[_MAX_PROBLEMS:] = [f"and {len(report.problems) - _MAX_PROBLEMS} more"]
    return report


def _dry_target(signatures: Mapping[str, Signature]) -> Target:
    def never(**inputs: Array) -> Mapping[str, Array]:
        raise AssertionError("a check runs nothing")

    def stop(task: Task) -> None:
        raise _WouldRunError(task)

    servable = FunctionServable([(signature, never) for signature in signatures.values()])
    return Target(ServableId("check", 0), servable, run=stop)


def _examine(report: Report, record: bytes, target: Target | None) -> None:
    where = f"record {report.records}"
    try:
        log = parse_log(record, report.file)
        kind = log.WhichOneof("log_type")
        if kind is None:
            report.notes.append(f"{where} holds no request and is skipped")
            return
        report.requests[f"{kind.removesuffix('_log')} {_signature_names(log, kind)}"] += 1
        if target is not None:
            replay(target, log)
    except _WouldRunError as reached:
        report.notes += [f"{where}: {note}" for note in _shape_notes(reached.task)]
    except ServingError as error:
        report.problems.append(f"{where}: {error}")


def _signature_names(log: tfs.PredictionLog, kind: str) -> str:
    if kind == "multi_inference_log":
        specs = [task.model_spec for task in log.multi_inference_log.request.tasks]
    elif kind in ("predict_log", "classify_log", "regress_log"):
        specs = [getattr(log, kind).request.model_spec]
    else:
        return ""
    return "+".join(spec.signature_name or DEFAULT_SIGNATURE for spec in specs)


def _shape_notes(task: Task) -> list[str]:
    """Shapes that differ from the declared ones: a server does not mind, the model may."""
    notes = []
    for alias, spec in task.handle.servable.signatures[task.signature_key].inputs.items():
        array, shape = task.inputs.get(alias), spec.shape
        if array is None or shape is None:
            continue
        if len(shape) != array.ndim or any(
            want not in (None, got) for want, got in zip(shape, array.shape, strict=True)
        ):
            declared = ", ".join("?" if size is None else str(size) for size in shape)
            notes.append(f"input {alias} has the shape {list(array.shape)}, declared is [{declared}]")
    return notes


# --- run ---------------------------------------------------------------------------------------------------------


def run(
    version: Path,
    options: TensorFlowOptions | None = None,
    *,
    iterations: int = 0,
    prefer_tflite: bool = False,
) -> float:
    """Load a version and replay its warm-up file as a server would; returns the seconds of the replay.

    Raises:
        ServingError: What would fail the load.
    """
    options = options or TensorFlowOptions()
    id = ServableId(version.parent.name or "model", int(version.name) if version.name.isdecimal() else 0)
    loader: Loader
    if prefer_tflite:
        loader = TfLiteBackend(TfLiteOptions(prefer_tflite_model=True), options).make_loader(id, str(version))
    else:
        loader = SavedModelBackend(options).make_loader(id, str(version))
    servable = loader.load()
    try:
        started = time.monotonic()
        replay_file(str(version), functools.partial(replay, Target(id, servable)), iterations=iterations)
        return time.monotonic() - started
    finally:
        servable.unload()
