"""Which declared signatures cannot be served, decided from the proto alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pyserve.backends.saved_model.loader import refuse_unservable, signature_def_map
from pyserve.errors import UnimplementedError
from pyserve.protos import parse_text, tf, tfs


@pytest.mark.parametrize(
    ("signature", "problem"),
    [
        (
            'inputs { key: "a" value { dtype: DT_FLOAT coo_sparse { values_tensor_name: "v:0" } } }',
            'input "a" is a sparse',
        ),
        ('inputs { key: "a" value { composite_tensor { } } }', 'input "a" is a composite'),
        ('outputs { key: "b" value { name: "t:0" dtype: DT_RESOURCE } }', 'output "b" has the type resource'),
        ('outputs { key: "b" value { name: "t:0" dtype: DT_VARIANT } }', 'output "b" has the type variant'),
        ('outputs { key: "b" value { name: "op" } }', 'output "b" is an operation without a value'),
        ('outputs { key: "b" value { name: "t:0" dtype: 77 } }', 'output "b" has the type enum 77'),
    ],
)
def test_the_reason_names_the_tensor(signature: str, problem: str) -> None:
    """What cannot be a dense array is refused, with role and alias."""
    with pytest.raises(UnimplementedError) as caught:
        refuse_unservable("k", parse_text(signature, tf.SignatureDef()))
    assert caught.value.message.startswith(f'Signature "k" cannot be served: {problem}')


@pytest.mark.parametrize(
    "dtype", ["DT_FLOAT", "DT_STRING", "DT_QINT8", "DT_FLOAT_REF", "DT_INT4", "DT_BFLOAT16"]
)
def test_dense_tensors_are_served(dtype: str) -> None:
    """Every type with data on the wire is accepted, references included."""
    refuse_unservable(
        "k", parse_text(f'inputs {{ key: "a" value {{ name: "a" dtype: {dtype} }} }}', tf.SignatureDef())
    )


def test_all_signatures_are_in_the_map() -> None:
    """The map for the metadata API holds every signature whole, defaults and init op included."""
    graph = tf.MetaGraphDef()
    graph.signature_def["a"].defaults["x"].float_val.append(2)
    graph.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = "init"
    message = tfs.SignatureDefMap.FromString(signature_def_map(graph))
    assert dict(message.signature_def) == dict(graph.signature_def)


def test_tensorflow_is_not_imported_early() -> None:
    """Importing the backend and asking about completeness leaves TensorFlow out."""
    code = (
        "import sys; from pyserve.backends.saved_model import incomplete_reason, SavedModelLoader; "
        "incomplete_reason('/'); sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
