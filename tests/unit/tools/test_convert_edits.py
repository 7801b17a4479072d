"""What a conversion changes in signatures, on protos alone."""

from __future__ import annotations

import pytest

from pyserve.dtypes import FLOAT
from pyserve.errors import InvalidArgumentError, NotFoundError
from pyserve.protos import tf
from pyserve.tools.convert.edits import Edits, Renaming, edited, set_default

INIT = "__saved_model_init_op"
OBJECT_GRAPH = b"\x3a\x02\x0a\x00"
"""Field 7 of a MetaGraphDef, with one empty node."""


def meta_graph() -> tf.MetaGraphDef:
    """Signatures `serving_default` (x, w → y) and `other` (x → z), and TensorFlow's own."""
    made = tf.MetaGraphDef()
    made.meta_info_def.tags.append("serve")
    made.graph_def.node.add(name="x", op="Placeholder")
    made.saver_def.restore_op_name = "restore"
    for key, inputs, outputs in (("serving_default", "xw", "y"), ("other", "x", "z"), (INIT, "", "")):
        signature = made.signature_def[key]
        for alias in inputs:
            signature.inputs[alias].name = f"{alias}:0"
        for alias in outputs:
            signature.outputs[alias].name = f"{alias}:0"
    default = made.signature_def["serving_default"].defaults["w"]
    default.dtype = FLOAT.number
    default.float_val.append(3.0)
    return made


def shape(graph: tf.MetaGraphDef) -> dict[str, str]:
    """Signatures as `inputs > outputs`, each `alias=tensor`."""
    return {
        key: " > ".join(
            ",".join(f"{alias}={info.name[0]}" for alias, info in sorted(infos.items()))
            for infos in (signature.inputs, signature.outputs)
        )
        for key, signature in graph.signature_def.items()
        if key != INIT
    }


@pytest.mark.parametrize(
    ("edits", "signatures"),
    [
        (Edits(), {"serving_default": "w=w,x=x > y=y", "other": "x=x > z=z"}),
        (Edits(keep=("other",)), {"other": "x=x > z=z"}),
        (Edits(rename={"other": "third"}), {"serving_default": "w=w,x=x > y=y", "third": "x=x > z=z"}),
        (
            Edits(rename={"other": "serving_default", "serving_default": "other"}),
            {"other": "w=w,x=x > y=y", "serving_default": "x=x > z=z"},
        ),
        (
            Edits(inputs=(Renaming("", "x", "a"),), outputs=(Renaming("other", "z", "b"),)),
            {"serving_default": "a=x,w=w > y=y", "other": "a=x > b=z"},
        ),
        (
            Edits(rename={"other": "third"}, inputs=(Renaming("third", "x", "a"),)),
            {"serving_default": "w=w,x=x > y=y", "third": "a=x > z=z"},
        ),
        (
            Edits(inputs=(Renaming("", "x", "w"), Renaming("serving_default", "w", "x"))),
            {"serving_default": "w=x,x=w > y=y", "other": "w=x > z=z"},
        ),
    ],
)
def test_edits(edits: Edits, signatures: dict[str, str]) -> None:
    """Signatures are kept and renamed, then aliases; tensors stay what they are, and the source as it is."""
    source = meta_graph()
    before = source.SerializeToString(deterministic=True)
    made = edited(source, edits)
    assert shape(made) == signatures
    assert INIT in made.signature_def
    assert made.saver_def.restore_op_name == "restore"
    assert source.SerializeToString(deterministic=True) == before


def test_defaults_follow_their_inputs() -> None:
    """The default value of an input that is renamed has its new name."""
    made = edited(meta_graph(), Edits(inputs=(Renaming("", "w", "weight"),)))
    assert list(made.signature_def["serving_default"].defaults) == ["weight"]
    assert made.signature_def["serving_default"].defaults["weight"].float_val == [3.0]


def test_tags() -> None:
    """Tags are replaced, or stay."""
    assert list(edited(meta_graph(), Edits()).meta_info_def.tags) == ["serve"]
    assert list(edited(meta_graph(), Edits(tags=("a", "b"))).meta_info_def.tags) == ["a", "b"]


def test_the_object_graph_is_left_out() -> None:
    """It would tell tf.saved_model.load the old names."""
    source = tf.MetaGraphDef.FromString(meta_graph().SerializeToString() + OBJECT_GRAPH)
    assert OBJECT_GRAPH in source.SerializeToString()
    made = edited(source, Edits())
    assert OBJECT_GRAPH not in made.SerializeToString()
    assert made.SerializeToString(deterministic=True) == meta_graph().SerializeToString(deterministic=True)


def test_default_signature() -> None:
    """serving_default is another signature, which stays under its own name too."""
    made = meta_graph()
    set_default(made, "other")
    assert shape(made) == {"serving_default": "x=x > z=z", "other": "x=x > z=z"}
    set_default(made, "serving_default")
    with pytest.raises(NotFoundError, match='no signature "no"; the model has other, serving_default'):
        set_default(made, "no")


@pytest.mark.parametrize(
    ("edits", "error", "said"),
    [
        (Edits(keep=("no",)), NotFoundError, 'no signature "no"; the model has other, serving_default'),
        (Edits(rename={"no": "a"}), NotFoundError, 'no signature "no"'),
        (
            Edits(rename={"other": "serving_default"}),
            InvalidArgumentError,
            "two signatures would have the name",
        ),
        (Edits(inputs=(Renaming("no", "x", "a"),)), NotFoundError, 'no signature "no"'),
        (Edits(inputs=(Renaming("other", "w", "a"),)), NotFoundError, 'no input "w" in other; there are x'),
        (
            Edits(outputs=(Renaming("", "x", "a"),)),
            NotFoundError,
            'no output "x" in other, serving_default; there are y',
        ),
        (
            Edits(inputs=(Renaming("", "w", "x"),)),
            InvalidArgumentError,
            "two inputs of a signature would have",
        ),
    ],
)
def test_refused(edits: Edits, error: type[Exception], said: str) -> None:
    """What there is not, and names that would be there twice."""
    with pytest.raises(error, match=said):
        edited(meta_graph(), edits)
