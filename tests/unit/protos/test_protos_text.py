"""Text format: what operators write in configuration files, and what is said when they slip."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyserve.protos import ParseError, parse_text, tf, tfs, to_text, wkt

POLICY = tfs.FileSystemStoragePathSourceConfig.ServableVersionPolicy
TWO_MODELS = tfs.ModelServerConfig(
    model_config_list=tfs.ModelConfigList(
        config=[
            tfs.ModelConfig(
                name="m",
                base_path="/models/m",
                model_platform="tensorflow",
                model_version_policy=POLICY(specific=POLICY.Specific(versions=[42, 43])),
                version_labels={"stable": 42},
            ),
            tfs.ModelConfig(name="n", base_path="/models/n", model_platform="tensorflow"),
        ]
    )
)
SPELLINGS = {
    "no colon, quotes, repeated lines": """
        model_config_list {
          config {
            name: "m"
            base_path: "/models/m"
            model_platform: "tensorflow"
            model_version_policy { specific { versions: 42 versions: 43 } }
            version_labels { key: "stable" value: 42 }
          }
          config { name: "n" base_path: "/models/n" model_platform: "tensorflow" }
        }""",
    "colons, commas, apostrophes, list": """
        model_config_list: {
          config: {
            name: 'm',
            base_path: '/models/m',
            model_platform: 'tensorflow',
            model_version_policy: { specific: { versions: [42, 43] } },
            version_labels: { key: 'stable', value: 42 },
          },
          config: { name: 'n', base_path: '/models/n', model_platform: 'tensorflow' }
        }""",
    "comments, semicolons, angle brackets, joined strings, list of messages": """
        # two models
        model_config_list <
          config: [
            { name: "m"; base_path: "/mod" 'els/m'; model_platform: "tensorflow"; # the first
              model_version_policy < specific < versions: 0x2a versions: 43 > >
              version_labels { key: "stable" value: 42 } },
            { name: "n"; base_path: "/models/n"; model_platform: "tensorflow" }
          ]
        >""",
}
MISTAKES = [
    (
        "improperly formatted file",
        (1, 1),
        'Message type "tensorflow.serving.ModelServerConfig" has no field named',
    ),
    (
        "model_config_list {\n  config {\n    nme: 'm'\n  }\n}",
        (3, 5),
        '"tensorflow.serving.ModelConfig" has no field',
    ),
    ("model_config_list {\n  config {", (2, 10), 'Expected "}"'),
    ("model_config_list { config { name: 3 } }", (1, 36), "Expected string"),
    (
        "model_config_list { config { name: 'a' name: 'b' } }",
        (1, 46),
        'should not have multiple "name" fields',
    ),
    ("model_config_list { config { model_type: WHAT } }", (1, 42), "no value named WHAT"),
    ("model_config_list {}\ncustom_model_config {}", (2, 1), 'another member of oneof "config"'),
    ("model_config_list { config { name: '\\377' } }", (1, 43), "utf-8"),
    (
        "model_config_list { config { version_labels { key: 'a' value: 9223372036854775808 } } }",
        (1, 63),
        "out of range",
    ),
    (
        "custom_model_config { [type.googleapis.com/no.Such] {} }",
        (0, 0),
        "Type no.Such not found in descriptor pool",
    ),
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_means_the_same_models(spelling: str) -> None:
    """The liberties of text format are all accepted."""
    assert parse_text(SPELLINGS[spelling], tfs.ModelServerConfig()) == TWO_MODELS


@pytest.mark.parametrize("text", ["", " \n\t", "# nothing but a comment\n"])
def test_empty_text_is_an_empty_message(text: str) -> None:
    """Blank text and comments are a valid, empty config."""
    assert parse_text(text, tfs.ModelServerConfig()) == tfs.ModelServerConfig()


def test_the_message_given_is_the_message_returned() -> None:
    """`parse_text` fills and returns its argument."""
    message = tfs.MonitoringConfig()
    assert parse_text("prometheus_config { enable: true }", message) is message
    assert message.prometheus_config.enable


def test_wrappers_and_repeated_fields_of_batching_parameters() -> None:
    """Wrapper values are written in braces, sizes as a list or one by one."""
    text = """
        max_batch_size { value: 128 } batch_timeout_micros { value: 0 }
        thread_pool_name { value: "pool" } enable_large_batch_splitting { value: true }
        allowed_batch_sizes: [8, 16] allowed_batch_sizes: 128 pad_variable_length_inputs: true"""
    parameters = parse_text(text, tfs.BatchingParameters())
    assert parameters.max_batch_size.value == 128
    assert parameters.HasField("batch_timeout_micros")
    assert not parameters.HasField("num_batch_threads")
    assert list(parameters.allowed_batch_sizes) == [8, 16, 128]
    assert parameters.enable_large_batch_splitting.value


def test_a_platform_config_expands_its_any() -> None:
    """The settings of a platform are written in place, under the type's URL, and printed the same way."""
    text = """platform_configs { key: "tensorflow" value { source_adapter_config {
        [type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig] {
          legacy_config {
            session_config { gpu_options { allow_growth: true } inter_op_parallelism_threads: 2 }
            batching_parameters { max_batch_size { value: 8 } }
            saved_model_tags: "serve"
          } } } } }"""
    config = parse_text(text, tfs.PlatformConfigMap())
    packed = config.platform_configs["tensorflow"].source_adapter_config
    adapter = tfs.SavedModelBundleSourceAdapterConfig()
    assert packed.Unpack(adapter)
    assert adapter.legacy_config.session_config.gpu_options.allow_growth
    assert adapter.legacy_config.batching_parameters.max_batch_size.value == 8
    assert parse_text(to_text(config), tfs.PlatformConfigMap()) == config
    assert "[type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig]" in to_text(config)


def test_a_session_config_of_tensorflow_serving_parses() -> None:
    """ConfigProto is described whole, down to the optimizers' parameters."""
    text = """
        device_count { key: "CPU" value: 1 } intra_op_parallelism_threads: 4 use_per_session_threads: true
        session_inter_op_thread_pool { num_threads: 2 global_name: "p" } allow_soft_placement: true
        gpu_options { per_process_gpu_memory_fraction: 0.5 visible_device_list: "0"
          experimental { virtual_devices { memory_limit_mb: 100 memory_limit_mb: 200 }
            use_unified_memory: true } }
        graph_options { optimizer_options { opt_level: L0 global_jit_level: ON_1 cpu_global_jit: true }
          rewrite_options { constant_folding: OFF auto_mixed_precision: ON disable_meta_optimizer: true
            meta_optimizer_iterations: ONE memory_optimization: HEURISTICS
            custom_optimizers { name: "x" parameter_map { key: "k" value { s: "v" } } } } }
        rpc_options { compression_algorithm: "gzip" }
        cluster_def { job { name: "w" tasks { key: 0 value: "a" } } }
        experimental { session_metadata { name: "m" version: 1 } use_tfrt: false
          coordination_config { service_type: "standalone" }
          mlir_bridge_rollout: MLIR_BRIDGE_ROLLOUT_DISABLED }"""
    config = parse_text(text, tf.ConfigProto())
    assert config.graph_options.optimizer_options.opt_level == tf.OptimizerOptions.L0 == -1
    assert list(config.gpu_options.experimental.virtual_devices[0].memory_limit_mb) == [100, 200]
    optimizer = config.graph_options.rewrite_options.custom_optimizers[0]
    assert optimizer.parameter_map["k"].s == b"v"


def test_escapes_of_keys_and_certificates() -> None:
    """PEM text is written with backslash-n and comes out with new-lines."""
    config = parse_text('server_key: "-----BEGIN\\nabc\\n-----END"', tfs.SSLConfig())
    assert config.server_key.splitlines() == ["-----BEGIN", "abc", "-----END"]


@pytest.mark.parametrize(("text", "place", "reason"), MISTAKES, ids=lambda v: str(v)[:30])
def test_a_mistake_is_reported_with_its_place(text: str, place: tuple[int, int], reason: str) -> None:
    """A parse error carries line, column and reason, and prints them in C++'s form."""
    with pytest.raises(ParseError) as caught:
        parse_text(text, tfs.ModelServerConfig())
    error = caught.value
    assert (error.line, error.column) == place
    assert reason in error.reason
    prefix = f"{place[0]}:{place[1]}: " if place[0] else ""
    assert str(error) == prefix + error.reason
    assert isinstance(error, ValueError)


def test_a_mistake_does_not_repeat_a_secret() -> None:
    """The line with the mistake may hold a private key, so it is not quoted."""
    with pytest.raises(ParseError) as caught:
        parse_text('server_key: "SECRET" client_verify: 7', tfs.SSLConfig())
    assert caught.value.line == 1
    assert "SECRET" not in str(caught.value)


def test_endless_nesting_is_a_parse_error() -> None:
    """Text nested deeper than Python's stack is refused, not a crash."""
    with pytest.raises(ParseError, match="nested too deeply"):
        parse_text("list { func { attr { value { " * 1000, tf.AttrValue())


def test_text_is_printed_like_cpp() -> None:
    """Bytes outside ASCII are escaped; one line on request; unknown Any content stays readable as bytes."""
    spec = tfs.ModelSpec(name="é", version_label="x")
    assert to_text(spec) == 'name: "\\303\\251"\nversion_label: "x"\n'
    assert to_text(spec, one_line=True) == 'name: "\\303\\251" version_label: "x"'
    foreign = wkt.Any(type_url="type.googleapis.com/no.Such", value=b"\x08\x01")
    assert to_text(foreign, one_line=True) == 'type_url: "type.googleapis.com/no.Such" value: "\\010\\001"'


@pytest.mark.tfs_testdata
@pytest.mark.skipif("PYSERVE_TFS_TESTDATA" not in os.environ, reason="PYSERVE_TFS_TESTDATA is not set")
def test_the_sample_files_of_tensorflow_serving() -> None:
    """TensorFlow Serving's own sample config files parse (and its bad one does not)."""
    directory = Path(os.environ["PYSERVE_TFS_TESTDATA"])

    def read(name: str) -> str:
        return (directory / name).read_text()

    models = parse_text(read("good_model_config.txt"), tfs.ModelServerConfig()).model_config_list.config
    assert [model.name for model in models] == ["half_plus_two", "half_plus_three"]
    batching = parse_text(read("batching_config.txt"), tfs.BatchingParameters())
    assert (batching.max_batch_size.value, batching.max_enqueued_batches.value) == (128, 1000000)
    monitoring = parse_text(read("monitoring_config.txt"), tfs.MonitoringConfig())
    assert monitoring.prometheus_config.path == "/monitoring/prometheus/metrics"
    with pytest.raises(ParseError, match=r"^1:1: "):
        parse_text(read("bad_model_config.txt"), tfs.ModelServerConfig())


@pytest.mark.tfs_testdata
@pytest.mark.skipif("PYSERVE_TFS_TESTDATA" not in os.environ, reason="PYSERVE_TFS_TESTDATA is not set")
def test_the_sample_models_of_tensorflow_serving() -> None:
    """Every sample SavedModel parses, shows its signatures, and comes out as it went in."""
    paths = sorted(Path(os.environ["PYSERVE_TFS_TESTDATA"]).glob("saved_model_*/*/saved_model.pb"))
    assert paths
    for path in paths:
        model = tf.SavedModel.FromString(path.read_bytes())
        [graph] = model.meta_graphs
        assert "serve" in graph.meta_info_def.tags
        assert graph.signature_def
        assert tf.SavedModel.FromString(model.SerializeToString()) == model
