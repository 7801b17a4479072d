"""What the files of a version tell, and how it is printed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pyserve.cli.main import main
from pyserve.inference.warmup_file import PATH_IN_VERSION
from pyserve.protos import tf
from pyserve.tools.inspect.version_files import inspect_path

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLES / "half_plus_two", tmp_path / "model"))


@pytest.mark.parametrize("path", ["", "2", "2/saved_model.pb"])
def test_what_a_path_means(path: str, model: Path) -> None:
    """A model's directory stands for its newest version; the others are listed."""
    found = inspect_path(model / path)
    assert (found.model, found.version, found.other_versions) == ("model", 2, (1,))
    assert found.source == str(model / "2")
    assert list(found.signatures) == [
        "serving_default",
        "classify_x_to_y",
        "regress_x_to_y",
        "regress_x_to_y2",
    ]


def test_a_version_without_a_number(model: Path) -> None:
    """A directory that is no version yet is inspected too, under its own name."""
    moved = (model / "2").rename(model / "export")
    found = inspect_path(moved)
    assert (found.model, found.version, found.other_versions) == ("export", None, ())


def test_facts(model: Path) -> None:
    """Format, size, tags, TensorFlow's version, features of examples."""
    files = inspect_path(model).files
    assert files is not None
    sizes = [path.stat().st_size for path in (model / "2").rglob("*") if path.is_file()]
    assert (files.format, files.bytes, files.count) == ("SavedModel", sum(sizes), len(sizes))
    assert files.tag_sets == (("serve",),)
    assert files.tensorflow_version.startswith("2.")
    assert [(each.name, each.dtype.name, each.length) for each in files.features] == [("x", "float", 1)]
    assert (files.incomplete, files.warmup, files.refused) == (None, None, {})


def test_what_is_wrong_with_a_version(model: Path) -> None:
    """Files that are missing, and a warm-up file that would be refused, are told."""
    version = model / "2"
    next((version / "variables").glob("variables.data-*")).unlink()
    (version / PATH_IN_VERSION).parent.mkdir()
    (version / PATH_IN_VERSION).write_bytes(b"no TFRecord file")
    files = inspect_path(model).files
    assert files is not None
    assert files.incomplete == "there is no variables/variables.data-00000-of-00001 yet"
    assert files.warmup is not None
    assert files.warmup.records == 0
    assert "Is this even a TFRecord file" in files.warmup.problems[0]


def edit(model: Path, tags: list[list[str]]) -> None:
    """Give the newest version a MetaGraph for each list of tags."""
    file = model / "2" / "saved_model.pb"
    saved = tf.SavedModel.FromString(file.read_bytes())
    graph = saved.meta_graphs[0]
    del saved.meta_graphs[:]
    for number, each in enumerate(tags):
        copy = saved.meta_graphs.add()
        copy.CopyFrom(graph)
        copy.meta_info_def.ClearField("tags")
        copy.meta_info_def.tags.extend(each)
        copy.signature_def[f"number_{number}"].CopyFrom(graph.signature_def["serving_default"])
    file.write_bytes(saved.SerializeToString())


@pytest.mark.parametrize(
    ("tags", "asked", "chosen"),
    [
        ([["gpu"]], "", 0),
        ([["gpu", "serve"], ["serve"]], "", 1),
        ([["gpu", "serve"], ["serve"]], "serve,gpu", 0),
        ([["a"], ["b"]], "", None),
        ([["serve"]], "gpu", None),
    ],
)
def test_tags(
    tags: list[list[str]], asked: str, chosen: int | None, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`serve`, or the only MetaGraph, or the one that was asked for; otherwise the tags are listed."""
    edit(model, tags)
    code = main(["inspect", str(model), "--json", f"--saved_model_tags={asked}"])
    output = capsys.readouterr()
    if chosen is None:
        assert code == 1
        assert "there are: " + "; ".join(",".join(sorted(each)) for each in tags) in output.err
        return
    found = json.loads(output.out)
    assert f"number_{chosen}" in found["signatures"]
    assert sorted(found["files"]["tag_sets"]) == sorted(sorted(each) for each in tags)
    assert found["files"]["tag_sets"][0] == sorted(tags[chosen])


def test_a_signature_that_cannot_be_served(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is shown with the reason, and without calls."""
    file = model / "2" / "saved_model.pb"
    saved = tf.SavedModel.FromString(file.read_bytes())
    info = saved.meta_graphs[0].signature_def["serving_default"].inputs["x"]
    info.coo_sparse.values_tensor_name = "x:0"
    file.write_bytes(saved.SerializeToString())
    assert main(["inspect", str(model), "--signature=serving_default"]) == 0
    output = capsys.readouterr().out
    assert 'refused: Signature "serving_default" cannot be served: input "x" is a sparse tensor' in output
    assert "curl" not in output


def test_plain_lines(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no terminal is: lines without control characters, calls as they are pasted."""
    assert main(["inspect", str(model), "--signature=serving_default", "--http_url=http://h:1/"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  version     2 (there are also: 1)" in lines
    assert "  input   x  float  [?]" in lines
    assert """curl -d '{"instances": [1.0]}' http://h:1/v1/models/model:predict""" in lines
    assert not any("\x1b" in line for line in lines)
    assert main(["inspect", str(model), "--no_calls"]) == 0
    assert "curl" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{}/none"], 1, "none; No such file or directory"),
        (["{}/empty"], 1, "empty holds neither a model"),
        (["{}/file"], 1, "file is none of saved_model.pb, saved_model.pbtxt, model.tflite"),
        (["{}/damaged"], 1, "Can't parse"),
        (["{}/lite"], 1, "model.tflite is no TensorFlow Lite model"),
        (["{}/" + "x" * 300], 1, "File name too long"),
        (["{}/model", "name"], 2, "MODEL and --version are for a server"),
        (["{}/model", "--signature=no"], 1, 'there is no signature "no"; the model has serving_default, '),
    ],
)
def test_bad_paths(
    arguments: list[str], code: int, said: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One clear sentence and an exit code."""
    base = model.parent
    for name, file in (("empty", ""), ("damaged", "saved_model.pb"), ("lite", "model.tflite")):
        (base / name).mkdir()
        if file:
            (base / name / file).write_bytes(b"\xff" * 20)
    (base / "file").touch()
    assert main(["inspect", *(argument.format(base) for argument in arguments)]) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err


def test_code_beside_a_model(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told, because a server may serve its signatures instead; a model of nothing but code is named so."""
    (model / "2" / "handler.py").write_text("signatures = {}")
    assert main(["inspect", str(model)]) == 0
    assert "handler.py: with --allow_python_models its signatures are served" in capsys.readouterr().out
    code = model.parent / "code" / "1"
    code.mkdir(parents=True)
    (code / "model.py").write_text("signatures = {}")
    for path in (code, code.parent):
        assert main(["inspect", str(path)]) == 1
        assert f"{path} is Python code, which only a server runs" in capsys.readouterr().err
