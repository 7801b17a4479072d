"""What a signature's graph is found to do, on hand-written graphs."""

from __future__ import annotations

import pytest

from pyserve.backends.saved_model.traits import GraphIndex
from pyserve.protos import parse_text, tf

STATEFUL = {
    "VarHandleOp", "ReadVariableOp", "AssignAddVariableOp", "RandomUniform", "StatefulPartitionedCall",
    "While", "If", "HashTableV2", "LookupTableFindV2", "Assign", "VariableV2", "Assert",
}  # fmt: skip

GRAPH = """
node { name: "x" op: "Placeholder" }
node { name: "v" op: "VarHandleOp" }
node { name: "read" op: "ReadVariableOp" input: "v" }
node { name: "pure" op: "AddV2" input: "x" input: "read" }
node { name: "add" op: "AssignAddVariableOp" input: "v" input: "x" }
node { name: "after" op: "Identity" input: "pure" input: "^add" }
node { name: "old" op: "VariableV2" }
node { name: "assign" op: "Assign" input: "old" input: "x" }
node { name: "random" op: "RandomUniform" input: "x" }
node { name: "of_random" op: "Neg" input: "random:0" }
node { name: "split" op: "Split" input: "random" input: "x" }
node { name: "of_split" op: "Neg" input: "split:1" }
node { name: "table" op: "HashTableV2" }
node { name: "find" op: "LookupTableFindV2" input: "table" input: "x" input: "^checked" }
node { name: "checked" op: "Assert" input: "x" }
node { name: "call_pure" op: "StatefulPartitionedCall" input: "x"
  attr { key: "f" value { func { name: "pure_f" } } }
}
node { name: "call_deep" op: "StatefulPartitionedCall" input: "x"
  attr { key: "f" value { func { name: "outer" } } }
}
node { name: "call_none" op: "PartitionedCall" attr { key: "f" value { func { name: "nowhere" } } }
}
node { name: "cases" op: "If"
  attr { key: "branches" value { list { func { name: "pure_f" } func { name: "writer" } } } } }
node { name: "loop" op: "While" attr { key: "body" value { func { name: "pure_f" } } }
}
node { name: "direct" op: "writer" }
node { name: "loop1" op: "NextIteration" input: "x" }
node { name: "circle_a" op: "Merge" input: "circle_b" }
node { name: "circle_b" op: "NextIteration" input: "circle_a" }
library {
  function { signature { name: "pure_f" } node_def { name: "r" op: "ReadVariableOp" } }
  function { signature { name: "writer" } node_def { name: "w" op: "AssignAddVariableOp" } }
  function {
    signature { name: "outer" }
    node_def { name: "c" op: "PartitionedCall" attr { key: "f" value { func { name: "writer" } } }
}
    node_def { name: "again" op: "PartitionedCall" attr { key: "f" value { func { name: "outer" } } }
}
  }
}
"""


def is_stateful(op: str) -> bool:
    return op in STATEFUL


@pytest.fixture(scope="module")
def index() -> GraphIndex:
    return GraphIndex(parse_text(GRAPH, tf.GraphDef()), is_stateful)


@pytest.mark.parametrize(
    ("fetched", "stateful", "loops"),
    [
        ("pure:0", set(), False),
        ("find:0", set(), False),
        ("after:0", {"AssignAddVariableOp"}, False),
        ("assign", {"Assign"}, False),
        ("of_random:0", {"RandomUniform"}, False),
        ("call_pure:0", set(), False),
        ("call_deep:0", {"AssignAddVariableOp"}, False),
        ("call_none:0", {"nowhere"}, False),
        ("cases:0", {"AssignAddVariableOp"}, False),
        ("loop:0", set(), True),
        ("direct:0", {"AssignAddVariableOp"}, False),
        ("circle_a:0", set(), True),
        ("x:0", set(), False),
        ("missing:0", set(), False),
    ],
)
def test_state_and_loops_are_found(index: GraphIndex, fetched: str, stateful: set[str], loops: bool) -> None:
    """Everything that runs for a fetched tensor is looked at, through control edges and functions."""
    traits = index.traits(["x"], [fetched])
    assert traits.stateful_ops == stateful
    assert traits.stateless is (not stateful)
    assert traits.loops is loops


@pytest.mark.parametrize(
    ("fed", "fetched", "stateless"),
    [
        ("random:0", "of_random", True),  # fed: its producer does not run
        ("random", "of_random:0", True),  # the same tensor, written short
        ("random:0", "random", True),
        ("random:1", "of_random:0", False),  # another output of the producer
        ("split:1", "of_split", True),
        ("pure:0", "after", False),  # the control edge still runs
    ],
)
def test_a_fed_tensor_cuts_its_producer_off(
    index: GraphIndex, fed: str, fetched: str, stateless: bool
) -> None:
    """What only leads to a fed tensor does not run, and does not count."""
    assert index.traits([fed], [fetched]).stateless is stateless
