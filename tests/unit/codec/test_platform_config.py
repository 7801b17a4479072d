"""PlatformConfigMap: what each platform is told, and what is ignored or refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from pyserve.codec.platform_config import FIELDS, WARMUP_FIELDS, Use, parse_platform_config
from pyserve.config import BatchingParameters, PlatformOptions, TensorFlowOptions, TfLiteOptions
from pyserve.errors import Code, ServingError
from pyserve.protos import tf, tfs

ADAPTER = "type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig"


def platform(fields: str, name: str = "tensorflow", adapter: str = ADAPTER) -> str:
    content = f"legacy_config {{ {fields} }}" if adapter == ADAPTER else fields
    return f'platform_configs {{ key: "{name}" value {{ source_adapter_config {{ [{adapter}] {{ {content} }} }} }} }}'


def options(
    tensorflow: TensorFlowOptions | None = None, *, warmup: bool = False, iterations: int = 0, **tflite: Any
) -> PlatformOptions:
    """What a platform is told, from protobuf's defaults."""
    tflite = {"num_tflite_interpreters_per_pool": 0, **tflite}
    return PlatformOptions(tensorflow or TensorFlowOptions(), TfLiteOptions(**tflite), warmup, iterations)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("", options()),
        (
            'saved_model_tags: "serve" saved_model_tags: "gpu"',
            options(TensorFlowOptions(saved_model_tags=frozenset({"serve", "gpu"}))),
        ),
        ('mixed_precision: "bfloat16"', options(TensorFlowOptions(bfloat16_mixed_precision=True))),
        (
            "session_config { intra_op_parallelism_threads: 2 inter_op_parallelism_threads: 3 "
            "gpu_options { per_process_gpu_memory_fraction: 0.5 allow_growth: true } }",
            options(
                TensorFlowOptions(
                    intra_op_parallelism=2,
                    inter_op_parallelism=3,
                    per_process_gpu_memory_fraction=0.5,
                    session_config=tf.ConfigProto(
                        gpu_options=tf.GPUOptions(allow_growth=True)
                    ).SerializeToString(),
                )
            ),
        ),
        ("experimental_transient_ram_bytes_during_load: 7", options()),
        ("enable_model_warmup: true", options(warmup=True)),
        (
            "enable_model_warmup: true model_warmup_options { num_request_iterations { value: 3 } }",
            options(warmup=True, iterations=3),
        ),
        ('model_warmup_options { model_name: "m" model_version: 1 }', options()),
        (
            "prefer_tflite_model: true num_tflite_pools: 2 num_tflite_interpreters_per_pool: 3",
            options(prefer_tflite_model=True, num_tflite_pools=2, num_tflite_interpreters_per_pool=3),
        ),
    ],
)
def test_honoured_fields(fields: str, expected: PlatformOptions, caplog: pytest.LogCaptureFixture) -> None:
    """Tags, precision, session options with thread counts and the GPU share, warm-up and TensorFlow Lite count."""
    assert parse_platform_config(platform(fields), "/p") == {"tensorflow": expected}
    assert caplog.text == ""


def test_platforms_have_names() -> None:
    """Each entry is a platform of its own."""
    text = platform("") + platform('saved_model_tags: "x"', "other")
    found = parse_platform_config(text, "/p")
    assert found["other"].tensorflow.saved_model_tags == {"x"}
    assert found.keys() == {"tensorflow", "other"}


@pytest.mark.parametrize(
    ("fields", "batching", "per_model"),
    [
        ("", None, False),
        ("batching_parameters {}", BatchingParameters(), False),
        (
            "batching_parameters { max_batch_size { value: 8 } } enable_per_model_batching_params: true",
            BatchingParameters(max_batch_size=8),
            True,
        ),
        ("batching_parameters {} wrap_session_with_no_threading_params: true", None, False),
    ],
)
def test_batching(fields: str, batching: BatchingParameters | None, per_model: bool) -> None:
    """Parameters turn batching on, empty ones too; sessions without threads of their own are never batched."""
    found = parse_platform_config(platform(fields), "/p")["tensorflow"]
    assert (found.batching, found.enable_per_model_batching_parameters) == (batching, per_model)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("enable_session_metadata", ": true"),
        ("num_tflite_interpreters", ": 2"),
    ],
)
def test_ignored_fields_are_named(field: str, value: str, caplog: pytest.LogCaptureFixture) -> None:
    """A field that is not supported is named in a warning."""
    parse_platform_config(platform(f"{field} {value}"), "/p")
    assert f"{field} of platform tensorflow in '/p' is ignored" in caplog.text


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_model_warmup_threads", "{ value: 2 }"), ("enable_all_batch_sizes_warmup", ": true")],
)
def test_ignored_fields_of_the_warm_up_are_named(
    field: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    """So is one of the messages inside."""
    parse_platform_config(platform(f"model_warmup_options {{ {field} {value} }}"), "/p")
    assert f"{field} of platform tensorflow in '/p' is ignored" in caplog.text


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("nonsense", Code.INVALID_ARGUMENT, "Invalid protobuf file: '/p'"),
        (platform('session_target: "grpc://x"'), Code.UNIMPLEMENTED, "sets session_target"),
        (platform("enable_saved_model_config: true"), Code.UNIMPLEMENTED, "sets enable_saved_model_config"),
        (platform("session_config { isolate_session_state: true }"), Code.INVALID_ARGUMENT, "isolate_session_state"),
        ('platform_configs { key: "t" value {} }', Code.INVALID_ARGUMENT, "t in '/p' is configured by nothing"),
        (
            platform("", adapter="type.googleapis.com/tensorflow.serving.LoggingConfig"),
            Code.INVALID_ARGUMENT,
            "configured by tensorflow.serving.LoggingConfig",
        ),
    ],
)  # fmt: skip
def test_refusals(text: str, code: Code, message: str) -> None:
    """What cannot be served as asked is refused by name."""
    with pytest.raises(ServingError) as caught:
        parse_platform_config(text, "/p")
    assert caught.value.code is code
    assert message in caught.value.message


def test_the_table_has_every_field() -> None:
    """No field of SessionBundleConfig and of ModelWarmupOptions is without an answer."""
    assert FIELDS.keys() == {field.name for field in tfs.SessionBundleConfig.DESCRIPTOR.fields}
    assert WARMUP_FIELDS.keys() == {field.name for field in tfs.ModelWarmupOptions.DESCRIPTOR.fields}
    assert set(FIELDS.values()) == set(Use)
