"""assets.extra/saved_model_config.pb: one override, the rest named, and nothing that stops a load."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyserve.backends.saved_model.version_config import options_of_version
from pyserve.config import TensorFlowOptions
from pyserve.protos import tf, tfs

OPTIONS = TensorFlowOptions(session_config=tf.ConfigProto(log_device_placement=True).SerializeToString())


def write(directory: Path, data: bytes) -> Path:
    (directory / "assets.extra").mkdir()
    (directory / "assets.extra" / "saved_model_config.pb").write_bytes(data)
    return directory


def test_no_file_no_change(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without the file the options are the server's, and nothing is logged."""
    assert options_of_version(tmp_path, OPTIONS) is OPTIONS
    assert caplog.text == ""


@pytest.mark.parametrize("value", [True, False])
def test_the_meta_optimizer(tmp_path: Path, value: bool) -> None:
    """disable_meta_optimizer goes into the session's options, which otherwise stay."""
    overrides = tfs.SessionOverrides(disable_meta_optimizer=value)
    data = tfs.SavedModelConfig(session_overrides=overrides).SerializeToString()
    before = tf.ConfigProto(log_device_placement=True)
    before.graph_options.rewrite_options.disable_meta_optimizer = not value
    options = TensorFlowOptions(session_config=before.SerializeToString())
    after = options_of_version(write(tmp_path, data), options)
    found = tf.ConfigProto.FromString(after.session_config)
    assert found.graph_options.rewrite_options.disable_meta_optimizer is value
    assert found.log_device_placement


def test_the_rest_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What does nothing here is named in a warning."""
    config = tfs.SavedModelConfig(critical=True)
    config.session_overrides.remote_op_remap_config.propagate_version = True
    config.tfrt_runtime_config.SetInParent()
    assert options_of_version(write(tmp_path, config.SerializeToString()), OPTIONS) is OPTIONS
    assert "session_overrides.remote_op_remap_config" in caplog.text
    assert "tfrt_runtime_config" in caplog.text
    assert "critical" not in caplog.text


@pytest.mark.parametrize("damage", ["bytes", "directory"])
def test_a_damaged_file_is_only_logged(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """The version is loaded all the same."""
    if damage == "bytes":
        write(tmp_path, b"\xff\xff")
    else:
        (tmp_path / "assets.extra" / "saved_model_config.pb").mkdir(parents=True)
    assert options_of_version(tmp_path, OPTIONS) is OPTIONS
    assert "Failed to load saved model config: " in caplog.text
