"""What a signature's graph may do besides computing: keep state, loop. Pure, from the MetaGraph alone.

The loader asks once per signature. Warm-up runs only stateless signatures unasked, and only those without
loops may run on the caller's thread (`pace`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pyserve.backends.saved_model.meta_graph import full_name
from pyserve.protos import tf

IsStateful = Callable[[str], bool]
"""Whether an op of this name counts as stateful; True for one that is unknown."""

_READS = frozenset(
    {
        # variables
        "VarHandleOp", "ReadVariableOp", "VarIsInitializedOp", "VariableShape", "ResourceGather",
        "ResourceGatherNd", "Variable", "VariableV2", "IsVariableInitialized",
        # tables
        "HashTable", "HashTableV2", "AnonymousHashTable", "MutableHashTable", "MutableHashTableV2",
        "MutableDenseHashTable", "MutableDenseHashTableV2", "LookupTableFind", "LookupTableFindV2",
        "LookupTableSize", "LookupTableSizeV2",
        # checks of values, marked stateful so that optimisers keep them
        "Assert",
        # reference variables of TensorFlow 1 on their way through control flow
        "RefIdentity", "RefSwitch", "RefMerge", "RefEnter", "RefExit", "RefNextIteration", "RefSelect",
    }
)  # fmt: skip
"""Stateful by TensorFlow's book, but running them changes nothing that a later run could see."""

_CALLS = frozenset(
    {
        "PartitionedCall", "StatefulPartitionedCall", "If", "StatelessIf", "Case", "StatelessCase", "While",
        "StatelessWhile", "For", "MapDefun",
    }
)  # fmt: skip
"""Ops that only run functions of the library: as stateful as those."""

_LOOPS = frozenset({"While", "StatelessWhile", "For", "NextIteration", "RefNextIteration"})


@dataclass(frozen=True, slots=True)
class Traits:
    """What the graph behind a signature contains.

    Attributes:
        stateful_ops: Ops that may leave or depend on state beyond reads of variables and tables, e.g.
            `AssignAddVariableOp`, `RandomUniform`.
        loops: Whether it may run for a time that no size bounds.
    """

    stateful_ops: frozenset[str]
    loops: bool

    @property
    def stateless(self) -> bool:
        return not self.stateful_ops


class GraphIndex:
    """A GraphDef prepared for questions about its signatures. Not thread-safe; short-lived, during a load."""

    def __init__(self, graph: tf.GraphDef, is_stateful: IsStateful) -> None:
        self._nodes: Mapping[str, tf.NodeDef] = {node.name: node for node in graph.node}
        self._functions = {function.signature.name: function for function in graph.library.function}
        self._is_stateful = is_stateful

    def traits(self, inputs: Iterable[str], outputs: Iterable[str]) -> Traits:
        """The traits of what runs when these tensors are fed and fetched.

        A fed tensor cuts its producer off. Functions count whole: their stateful ops run whatever is fetched.
        """
        fed = {full_name(name) for name in inputs}
        seen: set[str] = set()
        functions: set[str] = set()
        stateful: set[str] = set()
        loops = False
        pending = [name for name in outputs if full_name(name) not in fed]
        while pending:
            node = self._nodes.get(_node_name(pending.pop()))
            if node is None or node.name in seen:
                continue
            seen.add(node.name)
            pending.extend(name for name in node.input if name.startswith("^") or full_name(name) not in fed)
            loops |= self._visit(node, stateful, functions)
        while functions - seen:
            name = (functions - seen).pop()
            seen.add(name)
            function = self._functions.get(name)
            if function is None:
                stateful.add(name)
                continue
            for node in function.node_def:
                loops |= self._visit(node, stateful, functions)
        return Traits(frozenset(stateful), loops)

    def _visit(self, node: tf.NodeDef, stateful: set[str], functions: set[str]) -> bool:
        """Note what one node adds; True when it is part of a loop."""
        called = _functions_of(node)
        functions |= called
        if node.op in self._functions:
            # A node may name a library function directly as its op.
            functions.add(node.op)
        elif node.op not in _READS and not (node.op in _CALLS and called) and self._is_stateful(node.op):
            stateful.add(node.op)
        return node.op in _LOOPS


def _functions_of(node: tf.NodeDef) -> set[str]:
    names = set()
    for value in node.attr.values():
        if value.HasField("func"):
            names.add(value.func.name)
        elif value.HasField("list"):
            names.update(function.name for function in value.list.func)
    return names


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]
