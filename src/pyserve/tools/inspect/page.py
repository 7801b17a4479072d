"""An inspection as rows of text, and as JSON. Pure; nothing is printed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pyserve.backends.python.completeness import HANDLER
from pyserve.servable import Signature, TensorSpec
from pyserve.tools.inspect.calls import Calls
from pyserve.tools.inspect.inspection import Files, Inspection


def facts(found: Inspection) -> list[tuple[str, str]]:
    """(what, text) of all that is not about one signature."""
    version = "without a number" if found.version is None else str(found.version)
    others = f" (there are also: {', '.join(map(str, found.other_versions))})" if found.other_versions else ""
    rows = [("model", found.model), ("version", version + others)]
    return rows if found.files is None else rows + _file_facts(found.files)


def _file_facts(files: Files) -> list[tuple[str, str]]:
    by = f" of TensorFlow {files.tensorflow_version}" if files.tensorflow_version else ""
    rows = [("format", files.format + by)]
    if files.tag_sets:
        chosen, *rest = (",".join(tags) or "none" for tags in files.tag_sets)
        rows.append(("tags", chosen + (f" (there are also: {'; '.join(rest)})" if rest else "")))
    rows.append(("size", f"{files.bytes} bytes in {files.count} file{'' if files.count == 1 else 's'}"))
    rows.append(("warm-up", _warmup(files)))
    if files.features:
        rows.append(
            (
                "features",
                ", ".join(f"{each.name} {each.dtype.name}[{each.length}]" for each in files.features),
            )
        )
    if files.handler:
        rows.append(
            (
                "handler",
                f"{HANDLER}: with --allow_python_models its signatures are served, not those shown here",
            )
        )
    if files.incomplete is not None:
        rows.append(("incomplete", files.incomplete))
    return rows


def _warmup(files: Files) -> str:
    if files.warmup is None:
        return "no file"
    problems = "".join(f"; {problem}" for problem in files.warmup.problems)
    return f"{files.warmup.records} record{'' if files.warmup.records == 1 else 's'}{problems}"


def tensor_rows(signature: Signature) -> list[tuple[str, str, str, str]]:
    """(`input` or `output`, alias, dtype, shape) of each tensor of a signature."""
    return [
        (role, alias, spec.dtype.name, shape_text(spec) + (", has a default" if alias in defaults else ""))
        for role, specs, defaults in (
            ("input", signature.inputs, signature.defaults),
            ("output", signature.outputs, {}),
        )
        for alias, spec in sorted(specs.items())
    ]


def shape_text(spec: TensorSpec) -> str:
    """`[?, 3]`; `any shape` where the rank is unknown."""
    if spec.shape is None:
        return "any shape"
    return "[" + ", ".join("?" if size is None else str(size) for size in spec.shape) + "]"


def as_json(found: Inspection, calls: Mapping[str, Calls]) -> str:
    """One JSON object; free dimensions are null, as is a shape of unknown rank."""
    shown: dict[str, Any] = {
        "source": found.source,
        "model": found.model,
        "version": found.version,
        "other_versions": found.other_versions,
    }
    refused: Mapping[str, str] = {}
    if found.files is not None:
        refused = found.files.refused
        shown["files"] = asdict(found.files)
        del shown["files"]["refused"]
        shown["files"]["features"] = [
            {"name": each.name, "dtype": each.dtype.name, "length": each.length}
            for each in found.files.features
        ]
    shown["signatures"] = {
        key: {
            "method_name": signature.method_name,
            "inputs": _specs(signature.inputs),
            "outputs": _specs(signature.outputs),
            "optional_inputs": sorted(signature.defaults),
            "refused": refused.get(key),
            "calls": asdict(calls[key]) if key in calls else None,
        }
        for key, signature in found.signatures.items()
    }
    return json.dumps(shown, indent=2)


def _specs(specs: Mapping[str, TensorSpec]) -> dict[str, dict[str, object]]:
    return {
        alias: {"dtype": spec.dtype.enum_name, "shape": spec.shape, "tensor_name": spec.tensor_name}
        for alias, spec in sorted(specs.items())
    }
