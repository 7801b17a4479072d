"""ConfigProto files: what is honoured, what is refused by name, what flags overwrite."""

from __future__ import annotations

import logging

import pytest
from google.protobuf.descriptor import Descriptor

from pyserve.codec.session_config import _NOT_BELOW, HONOURED, OVERWRITTEN, parse_session_config, set_fields
from pyserve.errors import InvalidArgumentError
from pyserve.protos import parse_text, tf

USUAL = """
    device_count { key: "CPU" value: 2 }
    use_per_session_threads: true
    session_inter_op_thread_pool { num_threads: 2 global_name: "p" }
    gpu_options { allow_growth: true visible_device_list: "0"
                  experimental { virtual_devices { memory_limit_mb: 100 } } }
    allow_soft_placement: true log_device_placement: true operation_timeout_in_ms: 500
    graph_options { optimizer_options { global_jit_level: ON_1 cpu_global_jit: true }
                    rewrite_options { constant_folding: OFF optimizers: "constfold" } }
    experimental { executor_type: "SINGLE_THREADED_EXECUTOR" use_tfrt: false }
    rpc_options {}
"""


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "experimental {}", "isolate_session_state: false", USUAL]
)
def test_honoured(text: str) -> None:
    """What a file sets comes through whole; defaults and empty messages of unsupported fields do no harm."""
    assert tf.ConfigProto.FromString(parse_session_config(text, "/s")) == parse_text(text, tf.ConfigProto())


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rpc_options { compression_algorithm: 'gzip' }", "rpc_options.compression_algorithm"),
        ("cluster_def { job { name: 'w' tasks { key: 0 value: 'a' } } }", "cluster_def.job"),
        ("isolate_session_state: true", "isolate_session_state"),
        ("placement_period: 3", "placement_period"),
        ("device_filters: '/job:a' device_filters: '/job:b'", "device_filters"),
        ("graph_options { build_cost_model: 1 }", "graph_options.build_cost_model"),
        ("gpu_options { polling_inactive_delay_msecs: 1 }", "gpu_options.polling_inactive_delay_msecs"),
        (
            "pluggable_device_options { polling_inactive_delay_msecs: 1 }",
            "pluggable_device_options.polling_inactive_delay_msecs",
        ),
        (
            "graph_options { rewrite_options { custom_optimizers { name: 'x' } } }",
            "graph_options.rewrite_options.custom_optimizers",
        ),
        (
            "experimental { use_tfrt: true session_metadata { name: 'm' version: 1 } executor_type: 'DEFAULT' }",
            "experimental.session_metadata.name, experimental.session_metadata.version, experimental.use_tfrt",
        ),
        (
            "session_inter_op_thread_pool { num_threads: 1 } session_inter_op_thread_pool { num_threads: 2 }",
            "session_inter_op_thread_pool[1]",
        ),
    ],
)
def test_refused_by_name(text: str, named: str) -> None:
    """Fields without meaning here are refused, every one of them named, beside whatever else the file sets."""
    with pytest.raises(InvalidArgumentError) as caught:
        parse_session_config("allow_soft_placement: true " + text, "/s")
    assert caught.value.message == f"Session config file '/s' sets what is not supported: {named}. Remove it"


@pytest.mark.parametrize("text", ["intra_op_parallelism_threads", "no_such_field: 1", "gpu_options { x: 1 }"])
def test_unparsable(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in the text is the error of every text file, with its place in the log."""
    with pytest.raises(InvalidArgumentError, match="Invalid protobuf file: '/s'"):
        parse_session_config(text, "/s")
    assert "Error parsing text-format tensorflow.ConfigProto: 1:" in caplog.text


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("intra_op_parallelism_threads: 3", "intra_op_parallelism_threads"),
        ("inter_op_parallelism_threads: 3", "inter_op_parallelism_threads"),
        (
            "gpu_options { per_process_gpu_memory_fraction: 0.5 }",
            "gpu_options.per_process_gpu_memory_fraction",
        ),
    ],
)
def test_overwritten_fields_are_named(text: str, field: str, caplog: pytest.LogCaptureFixture) -> None:
    """A value that never counts is accepted, and the log says which flag decides."""
    caplog.set_level(logging.WARNING)
    parse_session_config(text, "/s")
    assert f"{field} in '/s' is ignored: {OVERWRITTEN[field]} decides" in caplog.text


def test_nothing_is_logged_about_other_fields(caplog: pytest.LogCaptureFixture) -> None:
    """Honoured fields pass without a word."""
    parse_session_config(USUAL, "/s")
    assert not caplog.records


@pytest.mark.parametrize("path", sorted(HONOURED | _NOT_BELOW | set(OVERWRITTEN)))
def test_the_table_names_fields_that_exist(path: str) -> None:
    """A misspelt path would refuse what it means to allow."""
    descriptor: Descriptor | None = tf.ConfigProto.DESCRIPTOR
    for name in path.split("."):
        assert descriptor is not None
        descriptor = descriptor.fields_by_name[name].message_type


def test_set_fields() -> None:
    """Only what is set counts, maps and lists as one field each."""
    text = """
        isolate_session_state: false rpc_options {} device_count { key: "CPU" value: 2 }
        gpu_options { allow_growth: true experimental { virtual_devices { memory_limit_mb: 100 } } }
        graph_options { rewrite_options { optimizers: "a" optimizers: "b" } } operation_timeout_in_ms: 0
    """
    assert list(set_fields(parse_text(text, tf.ConfigProto()))) == [
        "device_count",
        "gpu_options.allow_growth",
        "gpu_options.experimental.virtual_devices",
        "graph_options.rewrite_options.optimizers",
    ]
