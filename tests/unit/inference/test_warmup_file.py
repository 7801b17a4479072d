"""The file of recorded requests: order, repetitions, limits, damage, log lines, metrics; and what comes without one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from pyserve import dtypes
from pyserve.codec.tf_record import encode_record
from pyserve.dtypes import Array
from pyserve.errors import Code, DataLossError, InternalError, ServingError, Status
from pyserve.inference.warmup import WarmUp
from pyserve.inference.warmup_file import MAX_RECORDS, Replayed, replay_file
from pyserve.protos import tfs
from pyserve.servable import PREDICT_METHOD, ServableId, Signature, TensorSpec


def log(number: int) -> bytes:
    record = tfs.PredictionLog()
    record.predict_log.request.model_spec.signature_name = str(number)
    return record.SerializeToString()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(records: Iterable[bytes], cut: int | None = None) -> Path:
        file = tmp_path / "assets.extra" / "tf_serving_warmup_requests"
        file.parent.mkdir()
        file.write_bytes(b"".join(map(encode_record, records))[:cut])
        return tmp_path

    return write


class Recorder:
    """What was replayed, by signature name; fails at one of them if told."""

    def __init__(self, fail_at: str = "", error: ServingError | None = None) -> None:
        self.seen: list[str] = []
        self.fail_at = fail_at
        self.error = error or InternalError("the model does not like it")
        self.metrics: list[Replayed] = []

    def __call__(self, record: tfs.PredictionLog) -> None:
        name = record.predict_log.request.model_spec.signature_name
        self.seen.append(name)
        if name == self.fail_at:
            raise self.error


def ticking(seconds: float = 1.5) -> Callable[[], float]:
    now = iter([100.0, 100.0 + seconds])
    return lambda: next(now)


def test_no_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A version without the file is fine; the log says so, metrics hear nothing."""
    caplog.set_level(logging.INFO)
    recorder = Recorder()
    assert not replay_file(str(tmp_path), recorder, on_replayed=recorder.metrics.append)
    assert recorder.seen == []
    assert recorder.metrics == []
    assert caplog.messages == [
        f"No warmup data file found at {tmp_path}/assets.extra/tf_serving_warmup_requests"
    ]


def test_order_and_log(write: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    """Records run once each, in the order of the file; the log lines are TensorFlow Serving's."""
    caplog.set_level(logging.INFO)
    path = write(map(log, range(3)))
    recorder = Recorder()
    assert replay_file(str(path), recorder, on_replayed=recorder.metrics.append, clock=ticking())
    assert recorder.seen == ["0", "1", "2"]
    file = path / "assets.extra" / "tf_serving_warmup_requests"
    assert caplog.messages == [
        f"Starting to read warmup data for model at {file} with model-warmup-options ",
        f"Finished reading warmup data for model at {file}. Number of warmup records read: 3. "
        "Elapsed time (microseconds): 1500000.",
    ]
    assert recorder.metrics == [Replayed(str(path), Status(), 1.5, 3)]


@pytest.mark.parametrize(("iterations", "times"), [(-1, 1), (0, 1), (1, 1), (3, 3)])
def test_iterations(write: Callable[..., Path], iterations: int, times: int) -> None:
    """Each record is repeated before the next one; a number that is not positive counts as one."""
    recorder = Recorder()
    replay_file(str(write([log(0), log(1)])), recorder, iterations=iterations)
    assert recorder.seen == ["0"] * times + ["1"] * times


def test_iterations_are_logged(write: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    """The log shows the options as a proto message."""
    caplog.set_level(logging.INFO)
    replay_file(str(write([])), Recorder(), iterations=3)
    assert caplog.messages[0].endswith("model-warmup-options num_request_iterations {\n  value: 3\n}\n")


def test_a_failing_record(write: Callable[..., Path]) -> None:
    """A record's own error is the error of the load; nothing after it runs, and metrics hear nothing."""
    recorder = Recorder(fail_at="1")
    with pytest.raises(InternalError, match="the model does not like it"):
        replay_file(str(write(map(log, range(3)))), recorder, on_replayed=recorder.metrics.append)
    assert recorder.seen == ["0", "1"]
    assert recorder.metrics == []


def test_a_models_data_loss_is_not_the_files(write: Callable[..., Path]) -> None:
    """DATA_LOSS that a record's run raises is passed on as it is."""
    recorder = Recorder(fail_at="0", error=DataLossError("my weights are gone"))
    with pytest.raises(DataLossError) as caught:
        replay_file(str(write([log(0)])), recorder)
    assert caught.value.message == "my weights are gone"


@pytest.mark.parametrize(("records", "fails"), [(MAX_RECORDS, False), (MAX_RECORDS + 1, True)])
def test_limit(write: Callable[..., Path], records: int, fails: bool) -> None:
    """A thousand records are fine; the next one is still run, then the load fails."""
    path = write(log(0) for _ in range(records))
    recorder = Recorder()
    if fails:
        with pytest.raises(ServingError) as caught:
            replay_file(str(path), recorder)
        assert caught.value.code is Code.INVALID_ARGUMENT
        file = path / "assets.extra" / "tf_serving_warmup_requests"
        assert caught.value.message == f"Number of warmup records exceeds the maximum (1000) at {file}"
    else:
        replay_file(str(path), recorder)
    assert len(recorder.seen) == records


def test_damage(write: Callable[..., Path]) -> None:
    """Records before the damage are run; then DATA_LOSS, and metrics hear the reader's own words."""
    path = write([log(0), log(1)], -1)
    recorder = Recorder()
    with pytest.raises(DataLossError) as caught:
        replay_file(str(path), recorder, on_replayed=recorder.metrics.append, clock=ticking())
    at = len(encode_record(log(0)))
    reason = f"truncated record at {at}' failed with Read less bytes than requested"
    assert caught.value.message == f"{reason}. Please verify your warmup data is in TFRecord format."
    assert recorder.seen == ["0"]
    assert recorder.metrics == [Replayed(str(path), Status(Code.DATA_LOSS, reason), 1.5, 1)]


def test_an_unparsable_record(write: Callable[..., Path]) -> None:
    """A record that is no PredictionLog is named, and a long one cut."""
    path = write([b"\xff" + b"x" * 1000])
    with pytest.raises(ServingError) as caught:
        replay_file(str(path), Recorder())
    assert caught.value.code is Code.INVALID_ARGUMENT
    text = caught.value.message
    assert text.startswith("Failed to parse warmup record: \ufffdxxx")
    assert text.endswith(f"x... from {path}/assets.extra/tf_serving_warmup_requests")
    assert len(text) < 400 + len(str(path))


def test_an_unreadable_file(tmp_path: Path) -> None:
    """Something that cannot be read as a file fails with what the system says."""
    (tmp_path / "assets.extra" / "tf_serving_warmup_requests").mkdir(parents=True)
    with pytest.raises(ServingError, match="tf_serving_warmup_requests; Is a directory"):
        replay_file(str(tmp_path), Recorder())


# --- which of the two ways to warm up ---------------------------------------------------------------------------


class Servable:
    """Writes down how many rows it was run with."""

    signature_def_map = b""
    stateless = frozenset({"zeros"})

    def __init__(self) -> None:
        y = {"y": TensorSpec("y", dtypes.FLOAT, None)}
        x = {"x": TensorSpec("x", dtypes.FLOAT, (None, 2))}
        self.signatures: Mapping[str, Signature] = {
            key: Signature(key, PREDICT_METHOD, inputs, y) for key, inputs in (("zeros", x), ("0", {}))
        }
        self.ran: list[tuple[str, int]] = []

    def run(
        self,
        signature_key: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        self.ran.append((signature_key, len(inputs["x"]) if inputs else 0))
        return {}

    def unload(self) -> None: ...


def warmed(warm_up: WarmUp, path: Path, batch_sizes: Sequence[int] = ()) -> list[tuple[str, int]]:
    servable = Servable()
    warm_up(ServableId("m", 1), str(path), servable, batch_sizes)
    return servable.ran


def test_records_come_instead_of_zeros(write: Callable[..., Path]) -> None:
    """With a file only the file counts, even an empty one; if it is not to be read, zeros do."""
    path = write([log(0)])
    assert warmed(WarmUp(), path) == [("0", 0)]
    assert warmed(WarmUp(iterations=2), path) == [("0", 0), ("0", 0)]
    assert warmed(WarmUp(from_file=False), path) == [("zeros", 1)]
    assert warmed(WarmUp(from_file=False, from_signature=False), path) == []
    (path / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"")
    assert warmed(WarmUp(), path) == []


def test_zeros_for_each_batch_size(tmp_path: Path) -> None:
    """Without a file every batch size that the version will meet is run once."""
    assert warmed(WarmUp(), tmp_path) == [("zeros", 1)]
    assert warmed(WarmUp(from_signature=False), tmp_path) == []
    assert warmed(WarmUp(), tmp_path, (4, 8)) == [("zeros", 1), ("zeros", 4), ("zeros", 8)]


class Replicated(Servable):
    """Two that stand behind one; what is run outside of a replica counts as its own."""

    def __init__(self) -> None:
        super().__init__()
        self.replicas = (Servable(), Servable())
        self.own = self.ran

    def on_each_replica(self, work: Callable[[], None]) -> None:
        for replica in self.replicas:
            self.ran = replica.ran
            work()
        self.ran = self.own


@pytest.mark.parametrize(("from_file", "ran"), [(True, [("0", 0)]), (False, [("zeros", 1)])])
def test_every_replica_is_warmed_up(
    write: Callable[..., Path], from_file: bool, ran: list[tuple[str, int]]
) -> None:
    """Each replica runs everything once, and nothing is run elsewhere; the file is read, and counted, once."""
    path, servable, replayed = write([log(0)]), Replicated(), list[Replayed]()
    WarmUp(from_file=from_file, on_replayed=replayed.append)(ServableId("m", 1), str(path), servable)
    assert servable.own == []
    assert [replica.ran for replica in servable.replicas] == [ran, ran]
    assert [count.records for count in replayed] == ([1] if from_file else [])
