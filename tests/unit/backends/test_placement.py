"""Which operations of a graph are asked to run on a device, and which stay where they are."""

from __future__ import annotations

import pytest

from pyserve.backends.saved_model.loader import refuse_unknown_devices
from pyserve.backends.saved_model.placement import place
from pyserve.errors import InvalidArgumentError
from pyserve.protos import parse_text, tf


def graph(nodes: str) -> tf.GraphDef:
    return parse_text(nodes, tf.GraphDef())


@pytest.mark.parametrize(
    ("node", "device"),
    [
        ('op: "MatMul"', "/device:GPU:1"),
        ('op: "VarHandleOp" attr { key: "dtype" value { type: DT_STRING } }', "/device:GPU:1"),
        ('op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } }', "/device:GPU:1"),
        ('op: "Placeholder" attr { key: "dtype" value { type: DT_STRING } }', "/device:CPU:0"),
        ('op: "PlaceholderWithDefault" attr { key: "dtype" value { type: DT_STRING } }', "/device:CPU:0"),
        ('op: "PlaceholderV2" attr { key: "dtype" value { type: DT_RESOURCE } }', "/device:CPU:0"),
        ('op: "Placeholder" attr { key: "dtype" value { type: DT_VARIANT } }', "/device:CPU:0"),
        ('op: "MatMul" device: "/device:GPU:0"', "/device:GPU:0"),
        ('op: "RestoreV2" device: "/device:CPU:0"', "/device:CPU:0"),
    ],
)
def test_nodes(node: str, device: str) -> None:
    """Without a device of its own an operation goes to the wanted one; inputs that no GPU can hold, to the CPU."""
    placed = graph(f'node {{ name: "n" {node} }}')
    place(placed, "GPU:1")
    assert placed.node[0].device == device


def test_kept_devices() -> None:
    """Devices of the graph's own are told, those in functions too; CPUs are no news. Functions stay as they are."""
    placed = graph("""
        node { name: "a" op: "Add" device: "/device:GPU:0" }
        node { name: "b" op: "Add" device: "/cpu:0" }
        node { name: "c" op: "Add" }
        library { function { node_def { name: "d" op: "Add" device: "/job:localhost/gpu:3" }
                             node_def { name: "e" op: "Add" device: "/device:CPU:*" }
                             node_def { name: "f" op: "Add" } } }
    """)
    functions = placed.library.SerializeToString()
    assert place(placed, "GPU:1") == {"/device:GPU:0", "/job:localhost/gpu:3"}
    assert placed.library.SerializeToString() == functions


def test_unknown_devices() -> None:
    """The message names what is not there, and what is."""
    refuse_unknown_devices(("CPU:1", "CPU:0"), ["CPU:0", "CPU:1"])
    with pytest.raises(InvalidArgumentError) as caught:
        refuse_unknown_devices(("CPU:0", "GPU:0", "GPU:1"), ["CPU:0", "CPU:1"])
    assert caught.value.message == (
        "device_map: there is no GPU:0 and no GPU:1; TensorFlow's devices are CPU:0, CPU:1"
    )
