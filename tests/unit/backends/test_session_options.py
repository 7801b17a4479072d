"""From options to a session's ConfigProto, without TensorFlow."""

from __future__ import annotations

import pytest

from pyserve.backends.saved_model.session_options import config_proto
from pyserve.config import TensorFlowOptions
from pyserve.protos import parse_text, tf


def config(text: str) -> tf.ConfigProto:
    return parse_text(text, tf.ConfigProto())


FILE = config("""
    intra_op_parallelism_threads: 9 inter_op_parallelism_threads: 8
    gpu_options { per_process_gpu_memory_fraction: 0.7 allow_growth: true }
    graph_options { rewrite_options { remapping: OFF } }
    operation_timeout_in_ms: 5
""").SerializeToString()
REST_OF_FILE = """
    allow_soft_placement: true operation_timeout_in_ms: 5
    gpu_options { allow_growth: true } graph_options { rewrite_options { remapping: OFF } }
"""
NOTHING = "allow_soft_placement: true gpu_options {}"
BF16 = "graph_options { rewrite_options { auto_mixed_precision_onednn_bfloat16: ON } }"


@pytest.mark.parametrize(
    ("options", "base", "added"),
    [
        (TensorFlowOptions(), NOTHING, ""),
        (TensorFlowOptions(session_config=FILE), REST_OF_FILE, ""),
        (
            TensorFlowOptions(session_config=FILE, intra_op_parallelism=2),
            REST_OF_FILE,
            "intra_op_parallelism_threads: 2",
        ),
        (
            TensorFlowOptions(session_config=FILE, inter_op_parallelism=3),
            REST_OF_FILE,
            "inter_op_parallelism_threads: 3",
        ),
        (
            TensorFlowOptions(session_config=FILE, per_process_gpu_memory_fraction=0.25),
            REST_OF_FILE,
            "gpu_options { per_process_gpu_memory_fraction: 0.25 }",
        ),
        (TensorFlowOptions(session_config=FILE, bfloat16_mixed_precision=True), REST_OF_FILE, BF16),
        (TensorFlowOptions(session_config=config(BF16).SerializeToString()), NOTHING, BF16),
    ],
)
def test_fields(options: TensorFlowOptions, base: str, added: str) -> None:
    """Flags overwrite threads and memory fraction even by 0; everything else of the file stays."""
    expected = config(base)
    expected.MergeFrom(config(added))
    assert config_proto(options) == expected
