"""What a caller gives for a model, and versions in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyserve.codec.tensor_writer import encode
from pyserve.codec.tf_record import encode_record
from pyserve.config import ModelConfig
from pyserve.errors import DataLossError, FailedPreconditionError, NotFoundError
from pyserve.protos import tf, tfs
from pyserve.servable import ServableId
from pyserve.testing.features import features
from pyserve.testing.recorded import Recorded
from pyserve.testing.script import Script
from pyserve.testing.versions import Versions, version_of, versions_of

ID = ServableId("m", 1)


def half(x: Any) -> Any:
    return {"y": x / 2}


def test_forms() -> None:
    """A callable, callables by signature, versions by number, a servable."""
    assert list(versions_of(half)) == [1]
    assert list(versions_of({3: half, 7: half})) == [3, 7]
    servable = version_of({"serving_default": half, "other": half})(ID)
    assert set(servable.signatures) == {"serving_default", "other"}
    assert version_of(servable)(ID) is servable


def test_a_version_can_be_loaded_again() -> None:
    """Each load makes a servable of its own, so that an unloaded version can come back."""
    load = version_of(half)
    load(ID).unload()
    assert load(ID).run("serving_default", {"x": np.float32([1])}, ("y",))["y"].tolist() == [0.5]


def test_a_load_that_fails() -> None:
    """An error instead of a model is what its load ends with."""
    with pytest.raises(DataLossError, match="damaged"):
        version_of(DataLossError("damaged"))(ID)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (3, TypeError, "a model is a callable, .*was 3"),
        ({}, ValueError, "needs a version"),
        ({"a": half, 1: half}, TypeError, "a model is a callable"),
        ("/no/such/path", ValueError, "neither a SavedModel nor a directory of numbered ones"),
    ],
)
def test_refusals(given: Any, error: type[Exception], text: str) -> None:
    """Anything else is refused, and what was expected is said."""
    with pytest.raises(error, match=text):
        versions_of(given)


def test_paths_of_saved_models(tmp_path: Path) -> None:
    """A version's directory counts by its name, a base path by its newest version; nothing is loaded yet."""
    for name in ("2", "10", "unnumbered"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    assert list(versions_of(tmp_path)) == [10]
    assert list(versions_of(str(tmp_path / "2"))) == [2]
    assert list(versions_of(tmp_path / "unnumbered")) == [1]
    assert list(versions_of({5: tmp_path / "2"})) == [5]


def test_versions_in_memory() -> None:
    """They are found by the model's name; a model that never had one has no base path."""
    versions = Versions(lambda name: Script())
    model = ModelConfig("m", "memory://m")
    with pytest.raises(FileNotFoundError):
        versions.children(model)
    versions.add("m", 1, version_of(half))
    versions.add("m", 2, version_of(half))
    assert sorted(versions.children(model)) == ["1", "2"]
    with pytest.raises(ValueError, match="has a version 2 already"):
        versions.add("m", 2, version_of(half))
    loader = versions.make_loader(ServableId("m", 2), "memory://m/2")
    versions.remove("m", 2)
    assert loader.load().signatures
    with pytest.raises(NotFoundError, match="memory://m/2 was removed"):
        versions.make_loader(ServableId("m", 2), "memory://m/2")
    with pytest.raises(KeyError, match=r"no version 2, only \[1\]"):
        versions.remove("m", 2)
    versions.remove("m", 1)
    assert versions.children(model) == []


def test_recorded_answers() -> None:
    """Equal inputs get their answer, others none; the dtypes are those of the recordings."""
    recorded = Recorded([({"x": [1.0]}, {"y": "one"}), ({"x": [2.0]}, {"y": "two"})])
    servable = version_of(recorded)(ID)
    assert servable.run("serving_default", {"x": np.float32([2])}, ("y",))["y"][()] == b"two"
    with pytest.raises(FailedPreconditionError, match="None of the 2 recorded requests"):
        servable.run("serving_default", {"x": np.float32([3])}, ("y",))
    assert servable.signatures["serving_default"].inputs["x"].dtype.name == "float"


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        ([], "nothing is recorded"),
        ([({"x": 1}, {"y": 1}), ({"x": 1.0}, {"y": 1})], "recording 1 has other inputs or outputs than the first"),
        ([({"x": 1}, {"y": 1}), ({"x": 1}, {"z": 1})], "recording 1 has other inputs or outputs than the first"),
    ],
)  # fmt: skip
def test_recordings_that_do_not_agree(pairs: Any, text: str) -> None:
    """One signature must describe them all."""
    with pytest.raises(ValueError, match=text):
        versions_of(Recorded(pairs))


def test_recorded_logs(tmp_path: Path) -> None:
    """PredictionLogs with request and response are answers; others are passed over."""
    log = tfs.PredictionLog()
    log.predict_log.request.model_spec.signature_name = "sig"
    log.predict_log.request.inputs["x"].CopyFrom(tf.TensorProto.FromString(encode(np.float32([1, 2]))))
    warm_up = log.SerializeToString()
    log.predict_log.response.outputs["y"].CopyFrom(tf.TensorProto.FromString(encode(np.int64([3]))))
    other = tfs.PredictionLog()
    other.classify_log.SetInParent()
    file = tmp_path / "log"
    file.write_bytes(
        b"".join(map(encode_record, (warm_up, other.SerializeToString(), log.SerializeToString())))
    )
    servable = version_of(Recorded.load(file))(ID)
    assert list(servable.signatures) == ["sig"]
    assert servable.run("sig", {"x": np.float32([1, 2])}, ("y",))["y"].tolist() == [3]
    file.write_bytes(encode_record(warm_up))
    with pytest.raises(ValueError, match="no record with both"):
        Recorded.load(file)


def test_features() -> None:
    """tf.Examples as values, by kind; a feature without one is left out."""
    example = tf.Example()
    example.features.feature["f"].float_list.value.append(0.5)
    example.features.feature["i"].int64_list.value.extend([1, 2])
    example.features.feature["b"].bytes_list.value.append(b"a\0")
    example.features.feature["none"].SetInParent()
    (found,) = features([example.SerializeToString()])
    assert {name: array.tolist() for name, array in found.items()} == {"f": [0.5], "i": [1, 2], "b": [b"a\0"]}
    assert (found["f"].dtype, found["i"].dtype, found["b"].dtype) == (np.float32, np.int64, object)
