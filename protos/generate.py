"""Generate `src/pyserve/protos` from the .proto files beside this script.

    python protos/generate.py            writes what is out of date
    python protos/generate.py --check    writes nothing; exits 1 and names the stale files

One FileDescriptorSet is written (`descriptors.binpb`, from which the classes are built at run time) and, for
each proto package, a module that resolves its names on first use with a `.pyi` that types them. Nothing here
is needed at run time; `grpcio-tools` supplies protoc.

Files of `google/protobuf` come with protoc, not from us, and differ between its versions. So their committed
form is kept (delete `descriptors.binpb` to take protoc's), and the rest is compared as parsed messages.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

sys.path.insert(0, str(Path(__file__).parent))
import stubs

SOURCES = Path(__file__).resolve().parent
OUTPUT = SOURCES.parent / "src" / "pyserve" / "protos"
DESCRIPTORS = "descriptors.binpb"

# Which module of pyserve.protos holds which proto package.
MODULES: Mapping[str, str] = {
    "eas": "eas",
    "google.protobuf": "wkt",
    "grpc.health.v1": "health",
    "grpc.reflection.v1": "reflection",
    "grpc.reflection.v1alpha": "reflection_v1alpha",
    "tensorflow": "tf",
    "tensorflow.error": "tf_error",
    "tensorflow.serving": "tfs",
    "tensorflow.serving.tools": "tfs_tools",
    "tensorflow.tfrt_stub": "tfrt",
}


def compile_protos(sources: Path) -> FileDescriptorSet:
    """All .proto files under a directory and what they import, each file after its imports.

    protoc runs in a process of its own: in one that also holds TensorFlow it crashes.

    Raises:
        SystemExit: protoc refuses a file; it has printed why.
    """
    names = sorted(path.relative_to(sources).as_posix() for path in sources.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / DESCRIPTORS
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{sources}", "--include_imports"]
        status = subprocess.run([*command, f"--descriptor_set_out={target}", *names], check=False).returncode
        if status:
            raise SystemExit(f"protoc failed with exit status {status}")
        return FileDescriptorSet.FromString(target.read_bytes())


def with_well_known_of(fresh: FileDescriptorSet, committed: FileDescriptorSet) -> FileDescriptorSet:
    """The fresh set with the committed form of the files that come with protoc."""
    kept = {file.name: file for file in committed.file if file.name.startswith("google/protobuf/")}
    return FileDescriptorSet(file=[kept.get(file.name, file) for file in fresh.file])


def stale_files(fresh: FileDescriptorSet, output: Path) -> dict[str, bytes]:
    """Name → right content of each generated file that is missing, outdated, or (empty) no longer wanted."""
    committed = FileDescriptorSet()
    path = output / DESCRIPTORS
    if path.exists():
        committed.ParseFromString(path.read_bytes())
    wanted = with_well_known_of(fresh, committed)
    stale: dict[str, bytes] = {}
    if wanted != committed:
        stale[DESCRIPTORS] = wanted.SerializeToString(deterministic=True)
    texts = stubs.render(wanted, MODULES)
    for name, text in texts.items():
        path = output / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale[name] = text.encode()
    stale |= {path.name: b"" for path in output.glob("*.pyi") if path.name not in texts}
    return stale


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Generate src/pyserve/protos from the .proto files.")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if something is stale")
    options = parser.parse_args(argv)
    stale = stale_files(compile_protos(SOURCES), OUTPUT)
    for name, content in stale.items():
        print(f"{'stale' if options.check else 'wrote'}: {OUTPUT / name}")
        if options.check:
            continue
        if content:
            (OUTPUT / name).write_bytes(content)
        else:
            (OUTPUT / name).unlink()
    if options.check and stale:
        print("run: python protos/generate.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
