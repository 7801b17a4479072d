"""Which device each operation of a graph is asked to run on. Pure, on the GraphDef; TensorFlow is not needed.

A session has no default device, so the operations say it one by one before the graph is imported. It is a wish (soft
placement): what a device cannot compute, strings above all, TensorFlow puts on the CPU. Bodies of functions are left
alone: TensorFlow runs them where their caller stands.
"""

from __future__ import annotations

from pyserve.dtypes import BY_NAME
from pyserve.protos import tf

HOST = "/device:CPU:0"
"""Where a session takes what is fed and gives what is fetched."""

_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})
_HOST_TYPES = frozenset(BY_NAME[name].number for name in ("string", "resource", "variant"))


def place(graph: tf.GraphDef, device: str) -> frozenset[str]:
    """Put every operation that names no device on one, in place. Inputs of strings and resources go to the CPU.

    Args:
        graph: Of one MetaGraph.
        device: E.g. `GPU:1`.

    Returns:
        Devices other than CPUs that operations, those in functions included, have named themselves and keep.
    """
    own = {node.device for function in graph.library.function for node in function.node_def}
    for node in graph.node:
        if node.device:
            own.add(node.device)
        else:
            node.device = HOST if _is_host_input(node) else f"/device:{device}"
    return frozenset(name for name in own if name and "CPU" not in name.upper())


def _is_host_input(node: tf.NodeDef) -> bool:
    return node.op in _PLACEHOLDERS and node.attr["dtype"].type in _HOST_TYPES
