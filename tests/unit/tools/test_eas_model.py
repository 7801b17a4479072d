"""Where a service's model is found, and how it gets into the cache. No network: see the integration tests."""

from __future__ import annotations

import tarfile
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from pyserve.config import EasOptions, EasService, ModelConfig, ServerConfig
from pyserve.errors import InvalidArgumentError, NotFoundError, ServingError, UnimplementedError
from pyserve.protos import eas, tf
from pyserve.tools.archive import UnpackLimits
from pyserve.tools.eas_model import default_cache, locate, prepared


def saved_model(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(b"model")
    return directory


def packed(directory: Path, to: Path) -> Path:
    with tarfile.open(to, "w:gz") as tar:
        tar.add(directory, arcname=".")
    return to


def prepare(tmp_path: Path, model_path: str, **service: Any) -> tuple[Path, EasService]:
    """The base path and the service after the model was fetched."""
    services = MappingProxyType({"m": EasService(**service)})
    config = ServerConfig(models=(ModelConfig("m", model_path),), eas=EasOptions(services))
    done = prepared(config, tmp_path / "cache", UnpackLimits(max_bytes=10**6))
    assert done.eas is not None
    return Path(done.models[0].base_path), done.eas.services["m"]


def test_a_saved_model_becomes_version_one(tmp_path: Path) -> None:
    """Nothing is copied; a second start finds what the first one made."""
    directory = saved_model(tmp_path / "m")
    for path in (str(directory), f"file://{directory}", f"file://localhost{directory}"):
        base, service = prepare(tmp_path, path)
        assert [child.name for child in base.iterdir()] == ["1"]
        assert (base / "1").resolve() == directory
        assert not service.frozen
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_numbered_directories_are_served_as_they_are(tmp_path: Path) -> None:
    """So that new versions are found while the server runs."""
    saved_model(tmp_path / "m" / "3")
    assert prepare(tmp_path, str(tmp_path / "m"))[0] == tmp_path / "m"
    assert not (tmp_path / "cache").exists()


def test_archives(tmp_path: Path) -> None:
    """Unpacked under the name of their content, once; another content is another place."""
    saved_model(tmp_path / "m" / "inner" / "model")
    archive = packed(tmp_path / "m", tmp_path / "m.tar.gz")
    base, _ = prepare(tmp_path, str(archive))
    assert (base / "1" / "saved_model.pb").read_bytes() == b"model"
    assert prepare(tmp_path, str(archive))[0] == base
    (tmp_path / "m/inner/model/saved_model.pb").write_bytes(b"newer")
    newer, _ = prepare(tmp_path, str(packed(tmp_path / "m", tmp_path / "m.tar.gz")))
    assert (newer / "1" / "saved_model.pb").read_bytes() == b"newer"
    assert (base / "1" / "saved_model.pb").read_bytes() == b"model"


def test_a_bad_archive_leaves_nothing(tmp_path: Path) -> None:
    """Neither a half model nor what was unpacked of it."""
    (tmp_path / "m.tar.gz").write_bytes(b"x" * 2000)
    with pytest.raises(InvalidArgumentError, match=r"m\.tar\.gz is no tar archive"):
        prepare(tmp_path, str(tmp_path / "m.tar.gz"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_frozen_graph(tmp_path: Path) -> None:
    """Wrapped as a SavedModel, by the names that the service gives."""
    graph = tf.GraphDef()
    graph.node.add(name="x", op="Placeholder").attr["dtype"].type = tf.DT_FLOAT
    graph.node.add(name="y", op="Identity", input=["x"]).attr["T"].type = tf.DT_FLOAT
    file = tmp_path / "m" / "frozen.pb"
    file.parent.mkdir()
    file.write_bytes(graph.SerializeToString())
    for path in (file, file.parent):
        base, service = prepare(tmp_path, str(path), graph_inputs=("x",), graph_outputs=("y",))
        assert service.frozen
        model = tf.SavedModel.FromString((base / "1" / "saved_model.pb").read_bytes())
        assert set(model.meta_graphs[0].signature_def["serving_default"].outputs) == {"y"}
    with pytest.raises(InvalidArgumentError, match="`inputs` and `outputs`"):
        prepare(tmp_path, str(file))


@pytest.mark.parametrize(
    ("files", "entry", "found"),
    [
        (["saved_model.pb"], "", "."),
        (["saved_model.pbtxt"], "", "."),
        (["1/saved_model.pb", "2/saved_model.pb"], "", "."),
        (["a/saved_model.pb"], "", "a"),
        (["a/b/c/saved_model.pb"], "", "a/b/c"),
        (["a/1/saved_model.pb", "a/2/saved_model.pb"], "", "a"),
        (["a/saved_model.pb", "b/saved_model.pb"], "b", "b"),
        (["a/saved_model.pb", "b/saved_model.pb"], "b/saved_model.pb", "b"),
        (["a/saved_model.pb", "a/assets/x.pb"], "", "a"),
        (["a/frozen.pb"], "", "a/frozen.pb"),
        (["a/frozen.pb", "b/frozen.pb"], "b/frozen.pb", "b/frozen.pb"),
    ],
)
def test_where_a_model_is(tmp_path: Path, files: list[str], entry: str, found: str) -> None:
    """The entry, the root, versions, the only one below."""
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert locate(tmp_path, entry) == tmp_path / found


@pytest.mark.parametrize(
    ("files", "entry", "text"),
    [
        (["a.txt"], "", "found none"),
        (["a/saved_model.pb", "b/saved_model.pb"], "", "found a, b; model_entry says which"),
        (["a/b/c/d/saved_model.pbtxt"], "", "found none"),
        (["a.pb", "b.pb"], "", "found a.pb, b.pb"),
        (["saved_model.pb"], "none", "model_entry 'none' is not in"),
        (["saved_model.pb"], "../other", "model_entry '../other' is not in"),
        (["saved_model.pb", "a.txt"], "a.txt", "a.txt is neither"),
    ],
)
def test_where_no_model_is(tmp_path: Path, files: list[str], entry: str, text: str) -> None:
    """What was found is said."""
    root = tmp_path / "root"
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    saved_model(tmp_path / "other")
    with pytest.raises(InvalidArgumentError, match=text):
        locate(root, entry)


@pytest.mark.parametrize(
    ("path", "error", "text"),
    [
        (
            "https://user:secret@[x/m.tar.gz",
            InvalidArgumentError,
            "a URL that begins with https: is not valid",
        ),
        ("/nowhere/at/all", NotFoundError, "model_path /nowhere/at/all of service m is not there"),
        ("oss://bucket/key", UnimplementedError, "model_path oss://bucket/key is not supported"),
        ("file://host/x", UnimplementedError, "not supported"),
        ("http://host/x.zip?sig=secret", InvalidArgumentError, r"http://host/x\.zip must be an archive"),
    ],
)
def test_paths_that_are_refused(tmp_path: Path, path: str, error: type[ServingError], text: str) -> None:
    """The path is named, without what may be secret in it."""
    with pytest.raises(error, match=text) as caught:
        prepare(tmp_path, path)
    assert "secret" not in caught.value.message


def request() -> bytes:
    message = eas.PredictRequest()
    message.inputs["x"].dtype = 1
    return message.SerializeToString()


def test_warm_up_files(tmp_path: Path) -> None:
    """A file, a URL of one, a directory of them by name."""
    model = str(saved_model(tmp_path / "m"))
    directory = tmp_path / "warm up"
    directory.mkdir()
    for name in ("b", "a"):
        (directory / name).write_bytes(request())
    paths = (str(directory / "a"), f"file://{tmp_path}/warm%20up/b", str(directory))
    assert prepare(tmp_path, model, warm_up_paths=paths)[1].warm_up == (request(),) * 4


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"a line of text\n"])
def test_warm_up_files_that_hold_no_request(tmp_path: Path, content: bytes) -> None:
    """The server does not start; the file is named."""
    (tmp_path / "w.bin").write_bytes(content)
    with pytest.raises(InvalidArgumentError, match=r"w\.bin holds no request"):
        prepare(tmp_path, str(saved_model(tmp_path / "m")), warm_up_paths=(str(tmp_path / "w.bin"),))


def test_a_warm_up_file_that_is_not_there(tmp_path: Path) -> None:
    """Likewise."""
    with pytest.raises(NotFoundError, match="/nowhere; No such file"):
        prepare(tmp_path, str(saved_model(tmp_path / "m")), warm_up_paths=("/nowhere",))


def test_warm_up_files_that_are_none(tmp_path: Path) -> None:
    """A directory that was to hold some."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidArgumentError, match="empty is an empty directory"):
        prepare(tmp_path, str(saved_model(tmp_path / "m")), warm_up_paths=(str(tmp_path / "empty"),))


def test_models_without_a_service_are_left_alone() -> None:
    """And so is a server without EAS."""
    config = ServerConfig(models=(ModelConfig("m", "/m"),))
    assert prepared(config, Path("/nowhere")) is config


def test_the_cache() -> None:
    """Where caches are kept."""
    assert default_cache({"XDG_CACHE_HOME": "/c"}) == Path("/c/pyserve/models")
    assert default_cache({}) == Path.home() / ".cache" / "pyserve" / "models"
