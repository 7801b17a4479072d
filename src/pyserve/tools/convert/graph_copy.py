"""Copies the part of a graph between a tensor and some outputs, with another tensor in the place of the first. Pure.

What does not depend on the tensor (variables, tables, constants) is shared by the original and the copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pyserve.backends.saved_model.meta_graph import full_name
from pyserve.errors import InvalidArgumentError
from pyserve.protos import tf

_ENTER = frozenset({"Enter", "RefEnter"})
_EXIT = frozenset({"Exit", "RefExit"})


def copy_part(
    graph: tf.GraphDef, tensor: str, replacement: str, outputs: Iterable[str], scope: str
) -> dict[str, str]:
    """Add a copy to the graph.

    Args:
        graph: Gets the new nodes.
        tensor: Where the part begins; its own node is not copied.
        replacement: The tensor that the copy takes instead.
        outputs: Tensors where the part ends.
        scope: Of the names of the copies; no node has it.

    Returns:
        The tensor that stands for each output: its copy, or itself where it does not depend on the tensor.

    Raises:
        InvalidArgumentError: No output depends on the tensor.
    """
    nodes = {node.name: node for node in graph.node}
    wanted = {_node(output) for output in outputs}
    behind = _closure(wanted, lambda name: map(_node, nodes[name].input))
    users: dict[str, list[str]] = {}
    first: set[str] = set()
    for name in behind:
        for source in nodes[name].input:
            users.setdefault(_node(source), []).append(name)
            if not source.startswith("^") and full_name(source) == full_name(tensor):
                first.add(name)
    part = _closure(first, lambda name: users.get(name, ()))
    if any(nodes[name].op in _ENTER for name in behind) and part & _in_loops(nodes, behind, users):
        # A loop of TensorFlow 1 is one frame: its counter and its constants have to be copied with it.
        part |= _in_loops(nodes, behind, users)
    if not part & wanted and full_name(tensor) not in map(full_name, outputs):
        raise InvalidArgumentError(f"no output depends on the tensor {tensor}")

    def renamed(source: str) -> str:
        if not source.startswith("^") and full_name(source) == full_name(tensor):
            return replacement
        if _node(source) not in part:
            return source
        return f"^{scope}/{source[1:]}" if source.startswith("^") else f"{scope}/{source}"

    for name in [node.name for node in graph.node if node.name in part]:
        copy = graph.node.add()
        copy.CopyFrom(nodes[name])
        copy.name = f"{scope}/{name}"
        copy.ClearField("input")
        copy.input.extend(map(renamed, nodes[name].input))
        if copy.op in _ENTER:
            copy.attr["frame_name"].s = f"{scope}/".encode() + copy.attr["frame_name"].s
    return {output: renamed(output) for output in outputs}


def _in_loops(nodes: Mapping[str, tf.NodeDef], behind: set[str], users: Mapping[str, list[str]]) -> set[str]:
    """The nodes inside of loops, from where they are entered to where they are left."""
    entries = {name for name in behind if nodes[name].op in _ENTER}
    return _closure(entries, lambda name: () if nodes[name].op in _EXIT else users.get(name, ()))


def _closure(start: Iterable[str], following: Callable[[str], Iterable[str]]) -> set[str]:
    """The names that can be reached, the first ones included."""
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += following(name)
    return found


def _node(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]
