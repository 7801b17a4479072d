"""A frozen graph through the session: wrapped, loaded and run like any SavedModel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import numpy as np

from pyserve.backends.saved_model import SavedModelServable
from pyserve.config import EasOptions, EasService, ModelConfig, ServerConfig
from pyserve.dtypes import BOOL, FLOAT
from pyserve.protos import tf as protos
from pyserve.tools.eas_model import prepared


def graph() -> protos.GraphDef:
    """y = x * 2; large = y > x, whose type no attribute says."""
    made = protos.GraphDef()
    made.versions.producer = 1395
    x = made.node.add(name="x", op="Placeholder")
    x.attr["dtype"].type = protos.DT_FLOAT
    x.attr["shape"].shape.dim.add(size=-1)
    two = made.node.add(name="two", op="Const")
    two.attr["dtype"].type = protos.DT_FLOAT
    two.attr["value"].tensor.CopyFrom(protos.TensorProto(dtype=protos.DT_FLOAT, float_val=[2]))
    two.attr["value"].tensor.tensor_shape.SetInParent()
    for name, op, inputs in (("y", "Mul", ("x", "two")), ("large", "Greater", ("y", "x"))):
        made.node.add(name=name, op=op, input=inputs).attr["T"].type = protos.DT_FLOAT
    return made


def test_a_frozen_graph(tmp_path: Path, load: Callable[..., SavedModelServable]) -> None:
    """Nodes by name; the types that requests are held to are those of the graph."""
    (tmp_path / "frozen.pb").write_bytes(graph().SerializeToString())
    services = MappingProxyType({"m": EasService(graph_inputs=("x",), graph_outputs=("y:0", "large"))})
    config = ServerConfig(models=(ModelConfig("m", str(tmp_path / "frozen.pb")),), eas=EasOptions(services))
    base = Path(prepared(config, tmp_path / "cache").models[0].base_path)
    servable = load(base / "1")
    signature = servable.signatures["serving_default"]
    assert {alias: spec.dtype for alias, spec in signature.outputs.items()} == {"y": FLOAT, "large": BOOL}
    outputs = servable.run("serving_default", {"x": np.array([1, -2], np.float32)}, ("y", "large"))
    assert outputs["y"].tolist() == [2, -4]
    assert outputs["large"].tolist() == [True, False]
