"""The generator: fresh output, stale output, and stubs that say what the runtime does."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message

import pyserve.protos

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ROOT / "protos"
OUTPUT = Path(pyserve.protos.__file__).parent

if importlib.util.find_spec("grpc_tools") is None:
    pytest.skip("the generator needs grpcio-tools", allow_module_level=True)


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("protos_generate", SOURCES / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


@pytest.fixture(scope="module")
def fresh(generate: ModuleType) -> FileDescriptorSet:
    return generate.compile_protos(SOURCES)


def test_what_is_committed_is_fresh(generate: ModuleType, fresh: FileDescriptorSet) -> None:
    """src/pyserve/protos says what the .proto files say."""
    assert list(generate.stale_files(fresh, OUTPUT)) == []


def test_generation_is_deterministic(generate: ModuleType, fresh: FileDescriptorSet) -> None:
    """Two runs give the same bytes, each file after its imports."""
    again = generate.compile_protos(SOURCES)
    assert again.SerializeToString(deterministic=True) == fresh.SerializeToString(deterministic=True)
    seen: set[str] = set()
    for file in fresh.file:
        assert seen.issuperset(file.dependency)
        seen.add(file.name)


SEEDED = [
    (
        "tensorflow_serving/apis/predict.proto",
        "output_filter = 3",
        "output_filter = 30",
        {"descriptors.binpb"},
    ),
    (
        "tensorflow_serving/apis/model.proto",
        "string name = 1",
        "bytes name = 1",
        {"descriptors.binpb", "tfs.pyi"},
    ),
    ("tensorflow_serving/apis/status.proto", ' [json_name = "error_code"]', "", {"descriptors.binpb"}),
    ("tensorflow_serving/apis/input.proto", " [lazy = true]", "", {"descriptors.binpb"}),
    ("tensorflow/core/protobuf/error_codes.proto", "NOT_FOUND = 5", "NOT_FOUND = 50", {"descriptors.binpb"}),
    ("tensorflow_serving/config/ssl_config.proto", "// Who signs", "// Which authority signs", set()),
]


@pytest.mark.parametrize(("name", "old", "new", "stale"), SEEDED, ids=[seed[0] for seed in SEEDED])
def test_a_change_of_meaning_makes_the_output_stale(
    generate: ModuleType, tmp_path: Path, name: str, old: str, new: str, stale: set[str]
) -> None:
    """Any change but that of a comment is noticed."""
    shutil.copytree(SOURCES, tmp_path / "protos")
    path = tmp_path / "protos" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    found = set(generate.stale_files(generate.compile_protos(tmp_path / "protos"), OUTPUT))
    assert found >= stale
    assert bool(found) == bool(stale)


def test_edited_missing_and_left_over_output_is_stale(
    generate: ModuleType, fresh: FileDescriptorSet, tmp_path: Path
) -> None:
    """A hand-edited stub, a missing module and a stub of a package that is gone are all named."""
    out = tmp_path / "out"
    shutil.copytree(OUTPUT, out, ignore=shutil.ignore_patterns("__pycache__"))
    (out / "tfs.pyi").write_text((out / "tfs.pyi").read_text() + "\nextra: int\n")
    (out / "health.py").unlink()
    (out / "gone.pyi").write_text("x: int\n")
    stale = generate.stale_files(fresh, out)
    assert set(stale) == {"tfs.pyi", "health.py", "gone.pyi"}
    assert stale["gone.pyi"] == b""
    assert stale["health.py"] == (OUTPUT / "health.py").read_bytes()


def test_another_protoc_does_not_make_the_output_stale(
    generate: ModuleType, fresh: FileDescriptorSet, tmp_path: Path
) -> None:
    """Files that come with protoc may differ from those committed, in content and in encoding."""
    other = FileDescriptorSet()
    other.CopyFrom(fresh)
    for file in other.file:
        if file.name.startswith("google/protobuf/"):
            file.options.go_package = "elsewhere"
    assert generate.stale_files(other, OUTPUT) == {}
    assert set(generate.stale_files(other, tmp_path)) > {"descriptors.binpb"}


def test_main_checks_and_writes(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--check` exits 1 and writes nothing; without it the files are written; then `--check` exits 0."""
    monkeypatch.setattr(generate, "OUTPUT", tmp_path)
    assert generate.main(["--check"]) == 1
    assert list(tmp_path.iterdir()) == []
    assert generate.main([]) == 0
    assert (tmp_path / "tf.pyi").read_bytes() == (OUTPUT / "tf.pyi").read_bytes()
    capsys.readouterr()
    assert generate.main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_a_mistake_in_a_file_ends_the_run(generate: ModuleType, tmp_path: Path) -> None:
    """What protoc refuses is never generated from."""
    (tmp_path / "bad.proto").write_text('syntax = "proto3"; message M { Unknown x = 1; }')
    with pytest.raises(SystemExit, match="protoc failed"):
        generate.compile_protos(tmp_path)


def test_a_package_without_a_module_is_refused(generate: ModuleType, fresh: FileDescriptorSet) -> None:
    """A new proto package must be given a Python name."""
    with pytest.raises(ValueError, match=r"grpc\.health\.v1"):
        generate.stubs.render(fresh, {k: v for k, v in generate.MODULES.items() if v != "health"})


def test_a_name_without_a_plain_form_is_refused(generate: ModuleType) -> None:
    """A field called like a keyword cannot be typed, and that is said."""
    descriptors = FileDescriptorSet()
    file = descriptors.file.add(name="x.proto", package="x")
    file.message_type.add(name="M").field.add(name="from", number=1, type=9, label=1)
    with pytest.raises(ValueError, match="'from'"):
        generate.stubs.render(descriptors, {"x": "x"})


MODULES = [
    "eas", "health", "reflection", "reflection_v1alpha", "tf", "tf_error", "tfrt", "tfs", "tfs_tools", "wkt",
]  # fmt: skip


def _accepted(node: ast.FunctionDef) -> set[str]:
    """The string literals that the one argument of a stub's method may be."""
    return {n.value for n in ast.walk(node.args) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def _answers(ask: Callable[[str], object], names: list[str]) -> set[str]:
    found = set()
    for name in names:
        with contextlib.suppress(ValueError):
            ask(name)
            found.add(name)
    return found


def _check_class(node: ast.ClassDef, runtime: type[Message]) -> None:
    """The constants, nested classes, arguments and field types of a stub's class are the runtime's."""
    empty = runtime()
    fields = [field.name for field in runtime.DESCRIPTOR.fields]
    oneofs = [oneof.name for oneof in runtime.DESCRIPTOR.oneofs if not oneof.name.startswith("_")]
    choices = set(oneofs)
    typed: list[str] = []
    for inner in node.body:
        if isinstance(inner, ast.ClassDef) and not inner.name.startswith("_"):
            _check_class(inner, getattr(runtime, inner.name))
        elif isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            assert [arg.arg for arg in inner.args.kwonlyargs] == fields
        elif isinstance(inner, ast.FunctionDef) and inner.name == "HasField":
            assert _accepted(inner) == _answers(empty.HasField, [*fields, *oneofs])
        elif isinstance(inner, ast.FunctionDef) and inner.name == "ClearField":
            assert _accepted(inner) == {*fields, *oneofs}
        elif isinstance(inner, ast.FunctionDef) and inner.name == "WhichOneof":
            choices -= _accepted(inner)
        elif isinstance(inner, ast.FunctionDef) and inner.decorator_list and inner.name in fields:
            typed.append(inner.name)
            assert not isinstance(getattr(empty, inner.name), int | float | str | bytes)
        elif isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
            if inner.value is not None:
                assert getattr(runtime, inner.target.id) == ast.literal_eval(inner.value)
            elif inner.target.id in fields:
                typed.append(inner.target.id)
                assert type(getattr(empty, inner.target.id)).__name__ == ast.unparse(inner.annotation)
            else:
                assert hasattr(runtime, inner.target.id)
    assert typed == fields
    assert choices == set()


@pytest.mark.parametrize("name", MODULES)
def test_stub_and_runtime_agree(name: str) -> None:
    """Each class of a stub is a message with exactly those fields; each name of the module is in the stub."""
    module = importlib.import_module(f"pyserve.protos.{name}")
    tree = ast.parse((OUTPUT / f"{name}.pyi").read_text())
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    for node in classes:
        _check_class(node, getattr(module, node.name))
    values = [
        n.target.id for n in tree.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    ]
    assert sorted([*(c.name for c in classes), *values]) == dir(module)
