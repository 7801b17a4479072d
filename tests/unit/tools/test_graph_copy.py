"""A part of a graph once more: what is copied, what is shared, what is refused."""

from __future__ import annotations

import pytest

from pyserve.errors import InvalidArgumentError
from pyserve.protos import tf
from pyserve.tools.convert.graph_copy import copy_part


def graph(**nodes: str) -> tf.GraphDef:
    """Nodes as `name="Op input input"`; `_` in names stands for nothing."""
    made = tf.GraphDef()
    for name, text in nodes.items():
        op, *inputs = text.split()
        made.node.add(name=name, op=op, input=inputs)
    return made


def copies(made: tf.GraphDef) -> dict[str, str]:
    return {
        node.name: " ".join([node.op, *node.input]) for node in made.node if node.name.startswith("copy/")
    }


def test_only_what_depends_on_the_tensor() -> None:
    """Weights are shared, as are outputs that do not depend; unrelated users of the tensor are left alone."""
    made = graph(
        x="Placeholder",
        w="Const",
        product="Mul x w",
        y="Add product:0 w ^product",
        other="Neg x",
        fixed="Identity w",
    )
    assert copy_part(made, "x:0", "z:0", ["y:0", "fixed:0"], "copy") == {
        "y:0": "copy/y:0",
        "fixed:0": "fixed:0",
    }
    assert copies(made) == {"copy/product": "Mul z:0 w", "copy/y": "Add copy/product:0 w ^copy/product"}
    assert [node.name for node in made.node][:6] == ["x", "w", "product", "y", "other", "fixed"]


def test_another_output_of_the_same_node() -> None:
    """x:1 is another tensor than x:0."""
    made = graph(x="Split", y="Add x x:1")
    copy_part(made, "x", "z:0", ["y"], "copy")
    assert copies(made) == {"copy/y": "Add z:0 x:1"}


def test_the_tensor_as_output() -> None:
    """An output that is the tensor itself becomes the replacement."""
    assert copy_part(graph(x="Placeholder"), "x:0", "z:0", ["x:0"], "copy") == {"x:0": "z:0"}


def test_a_loop() -> None:
    """The counter of a loop, which does not depend on the tensor, is copied with it; constants outside are not."""
    made = graph(
        x="Placeholder",
        zero="Const",
        into="Enter x",
        count="Enter zero",
        merged="Merge count next",
        next="NextIteration merged",
        body="Add into merged",
        out="Exit body",
    )
    for node in made.node:
        if node.op == "Enter":
            node.attr["frame_name"].s = b"while"
    assert copy_part(made, "x", "z", ["out"], "copy") == {"out": "copy/out"}
    assert copies(made) == {
        "copy/into": "Enter z",
        "copy/count": "Enter zero",
        "copy/merged": "Merge copy/count copy/next",
        "copy/next": "NextIteration copy/merged",
        "copy/body": "Add copy/into copy/merged",
        "copy/out": "Exit copy/body",
    }
    assert {node.attr["frame_name"].s for node in made.node if node.op == "Enter"} == {
        b"while",
        b"copy/while",
    }


def test_a_loop_beside() -> None:
    """A loop that does not depend on the tensor is shared."""
    made = graph(x="Placeholder", zero="Const", into="Enter zero", out="Exit into", y="Add x out")
    copy_part(made, "x", "z", ["y"], "copy")
    assert copies(made) == {"copy/y": "Add z out"}


def test_no_output_depends() -> None:
    """A signature whose outputs have nothing to do with the input cannot be given another one."""
    with pytest.raises(InvalidArgumentError, match="no output depends on the tensor x:0"):
        copy_part(graph(x="Placeholder", y="Const"), "x:0", "z:0", ["y:0"], "copy")
