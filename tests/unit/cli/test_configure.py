"""From flags to a configuration: order of checks, messages, resolution of threads."""

from __future__ import annotations

import pytest

from pyserve.cli.configure import server_config
from pyserve.cli.flags import State, Value
from pyserve.cli.table import FLAGS
from pyserve.config import BatchingParameters, Latest, ServerConfig
from pyserve.errors import Code, NotFoundError, ServingError

BASE: dict[str, Value] = {"model_base_path": "/m"}


def read_nothing(path: str) -> str:
    raise NotFoundError(f"{path}; No such file or directory")


def configured(**flags: Value) -> ServerConfig:
    return server_config({**BASE, **flags}, read_nothing)


def test_defaults_are_those_of_tensorflow_serving() -> None:
    """Without flags the values are TensorFlow Serving's."""
    config = configured()
    assert (config.port, config.rest_api_port) == (8500, None)
    (model,) = config.models
    assert (model.name, model.base_path, model.version_policy) == ("default", "/m", Latest(1))
    assert config.rest_api_timeout_in_ms == 30000
    assert config.load.max_num_load_retries == 5
    assert config.load.load_retry_interval_micros == 60_000_000
    assert config.load.file_system_poll_wait_seconds == 1
    assert config.tensorflow.saved_model_tags == {"serve"}


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ({"port": 0}, Code.INVALID_ARGUMENT, "At least one of server_options.grpc_port"),
        ({"port": 0, "model_base_path": ""}, Code.INVALID_ARGUMENT, "At least one of"),
        ({"port": 70000}, Code.INVALID_ARGUMENT, "--port must be between 0 and 65535; was 70000"),
        ({"rest_api_port": -1}, Code.INVALID_ARGUMENT, "--rest_api_port must be"),
        ({"admin_port": 65536}, Code.INVALID_ARGUMENT, "--admin_port must be"),
        ({"model_base_path": ""}, Code.INVALID_ARGUMENT, "Both server_options.model_base_path and"),
        (
            {"model_base_path": "rel"},
            Code.INVALID_ARGUMENT,
            "Expected model default to have an absolute path or URI; got base_path()=rel",
        ),
        ({"model_config_file": "/none"}, Code.NOT_FOUND, "/none; No such file or directory"),
        (
            {
                "tensorflow_session_parallelism": 1,
                "tensorflow_intra_op_parallelism": 1,
                "tensorflow_inter_op_parallelism": 1,
            },
            Code.INVALID_ARGUMENT,
            "You cannot configure all.",
        ),
        ({"ssl_config_file": "/x"}, Code.UNIMPLEMENTED, "--ssl_config_file is refused"),
        ({"warmup_from_signature": "perhaps"}, Code.INVALID_ARGUMENT, "must be auto or off"),
    ],
)
def test_refusals(flags: dict[str, Value], code: Code, message: str) -> None:
    """Each contradiction is refused with its code, and the text names what to change."""
    with pytest.raises(ServingError) as caught:
        configured(**flags)
    assert caught.value.code is code
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("intra", "inter", "session", "threads"),
    [(0, 0, 0, (0, 0)), (0, 0, 3, (3, 3)), (2, 0, 0, (2, 0)), (2, 0, 3, (2, 0)), (0, 4, 3, (0, 4))],
)
def test_parallelism(intra: int, inter: int, session: int, threads: tuple[int, int]) -> None:
    """Intra or inter, when given, stand as they are; otherwise both are the session's."""
    config = configured(
        tensorflow_intra_op_parallelism=intra,
        tensorflow_inter_op_parallelism=inter,
        tensorflow_session_parallelism=session,
    )
    assert (config.tensorflow.intra_op_parallelism, config.tensorflow.inter_op_parallelism) == threads


def test_tags_are_a_set() -> None:
    """`--saved_model_tags` splits at commas; without any tag it is the default."""
    assert configured(saved_model_tags="serve,gpu").tensorflow.saved_model_tags == {"serve", "gpu"}
    assert configured(saved_model_tags="a,,b,").tensorflow.saved_model_tags == {"a", "b"}
    assert configured(saved_model_tags="").tensorflow.saved_model_tags == {"serve"}


def test_ports_that_are_off() -> None:
    """0 turns a port off; gRPC's only beside a socket."""
    config = configured(port=0, grpc_socket_path="/s", rest_api_port=0, admin_port=0)
    assert (config.port, config.rest_api_port, config.admin_port) == (None, None, None)


def test_a_config_file_replaces_the_single_model() -> None:
    """With a config file, name and base path of the single model are ignored."""
    text = 'model_config_list { config { name: "a" base_path: "/a" model_platform: "tensorflow" } }'
    config = server_config({"model_config_file": "/c", "model_name": "x"}, lambda path: text)
    assert [model.name for model in config.models] == ["a"]


def test_every_flag_has_a_reason_or_is_implemented() -> None:
    """A flag that does nothing says why."""
    assert [f.name for f in FLAGS if f.state is not State.IMPLEMENTED and not f.why] == []
    assert len({f.name for f in FLAGS}) == len(FLAGS)


FILES = {
    "/models": 'model_config_list { config { name: "a" base_path: "/a" model_platform: "fast" } }',
    "/custom": "custom_model_config {}",
    "/python": 'model_config_list { config { name: "a" base_path: "/a" model_platform: "python" } }',
    "/empty": "",
    "/batching": "max_batch_size { value: 8 } batch_timeout_micros { value: 0 } num_batch_threads { value: 3 }",
    "/no_threads": "num_batch_threads { value: 0 }",
    "/platforms": """platform_configs { key: "fast" value { source_adapter_config {
        [type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig] {
          legacy_config { saved_model_tags: "quick" } } } } }""",
}
FILES["/ours"] = FILES["/platforms"].replace("fast", "python")


def from_files(**flags: Value) -> ServerConfig:
    return server_config(flags, lambda path: FILES[path])


def test_the_config_file_and_its_period_are_kept() -> None:
    """What the file is read again by, and how often, reaches the server."""
    config = from_files(model_config_file="/empty", model_config_file_poll_wait_seconds=7)
    assert (config.models, config.model_config_file) == ((), "/empty")
    assert config.model_config_file_poll_wait_seconds == 7
    assert not config.allow_version_labels_for_unavailable_models
    assert configured(
        allow_version_labels_for_unavailable_models=True
    ).allow_version_labels_for_unavailable_models


def test_python_models() -> None:
    """The platform is there when it is allowed, beside those of a file, which may not describe it then."""
    assert configured().platform_names == {"tensorflow"}
    assert configured(allow_python_models=True).platform_names == {"tensorflow", "python"}
    config = from_files(model_config_file="/python", allow_python_models=True)
    assert [model.platform for model in config.models] == ["python"]
    config = from_files(
        model_config_file="/python", platform_config_file="/platforms", allow_python_models=True
    )
    assert config.platform_names == {"fast", "python"}
    config = from_files(model_config_file="/python", platform_config_file="/ours")
    assert config.platform_names == {"python"}


def test_extensions() -> None:
    """Lists of files and modules, in their order."""
    config = configured(load_op_library="/b.so,/a.so", **{"import": "tensorflow_text,"})
    assert config.load_op_library == ("/b.so", "/a.so")
    assert config.import_modules == ("tensorflow_text",)
    assert (configured().load_op_library, configured().import_modules) == ((), ())


def test_a_platform_config_file_replaces_flags(caplog: pytest.LogCaptureFixture) -> None:
    """Its names are the platforms, its options theirs, and flags that it replaces are neither checked nor used."""
    config = from_files(
        model_config_file="/models",
        platform_config_file="/platforms",
        tensorflow_session_parallelism=1,
        tensorflow_intra_op_parallelism=1,
        tensorflow_inter_op_parallelism=1,
        saved_model_tags="slow",
        enable_model_warmup=True,
    )
    assert config.platform_names == {"fast"}
    assert config.platforms is not None
    assert config.platforms["fast"].tensorflow.saved_model_tags == {"quick"}
    assert config.models[0].platform == "fast"
    assert not config.platform("fast").enable_model_warmup
    for flag in ("saved_model_tags", "enable_model_warmup"):
        assert f"--{flag} is ignored: --platform_config_file decides instead" in caplog.messages
    assert "--num_tflite_pools is ignored" not in caplog.text


@pytest.mark.parametrize(
    ("flags", "batching"),
    [
        ({}, None),
        ({"enable_batching": True}, BatchingParameters(thread_pool_name="model_server_batch_threads")),
        ({"enable_batching": True, "batching_parameters_file": "/empty"}, BatchingParameters()),
        (
            {"enable_batching": True, "batching_parameters_file": "/batching"},
            BatchingParameters(max_batch_size=8, batch_timeout_micros=0, num_batch_threads=3),
        ),
        # A platform config file decides instead, and the file is not even read.
        (
            {
                "enable_batching": True,
                "batching_parameters_file": "/no",
                "platform_config_file": "/platforms",
            },
            None,
        ),
    ],
)
def test_batching(flags: dict[str, Value], batching: BatchingParameters | None) -> None:
    """--enable_batching turns it on, its file brings the parameters."""
    config = from_files(model_config_file="/empty", **flags)
    assert config.batching == batching
    assert not config.enable_per_model_batching_parameters


def test_batching_per_model_and_stuck_runs() -> None:
    """The other two flags of running models."""
    config = configured(enable_batching=True, enable_per_model_batching_parameters=True, stuck_after_s=7.5)
    assert (config.enable_per_model_batching_parameters, config.stuck_after_s) == (True, 7.5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {
                "model_config_file": "/empty",
                "enable_batching": True,
                "batching_parameters_file": "/no_threads",
            },
            "num_batch_threads must be positive; was 0",
        ),
        (
            {"model_config_file": "/empty", "enable_batching": True, "batching_parameters_file": "/custom"},
            "Invalid protobuf file: '/custom'",
        ),
        (
            {"model_config_file": "/empty", "batching_parameters_file": "/batching"},
            "server_options.batching_parameters_file is set without setting server_options.enable_batching to true.",
        ),
        ({"model_config_file": "/empty", "stuck_after_s": 0.0}, "stuck_after_s must be positive; was 0"),
        ({"model_config_file": "/models"}, "Model a requests unsupported platform fast"),
        (
            {"model_base_path": "/m", "platform_config_file": "/platforms"},
            "Model default requests unsupported platform tensorflow",
        ),
        (
            {"model_config_file": "/python"},
            "Model a requests unsupported platform python; it needs --allow_python_models",
        ),
        (
            {"model_config_file": "/python", "platform_config_file": "/ours", "allow_python_models": True},
            "The platform python cannot be described by a platform config file: with --allow_python_models it is that "
            "of models that are Python code",
        ),
        ({"model_config_file": "/custom"}, "ModelServer does not yet support custom model config."),
    ],
)
def test_configurations_that_cannot_be_started(flags: dict[str, Value], message: str) -> None:
    """A platform that nobody describes, and a configuration that is no list, end the start."""
    with pytest.raises(ServingError) as caught:
        from_files(**flags)
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, message)


@pytest.mark.parametrize(
    ("flags", "offered"),
    [({}, False), ({"enable_profiler": True}, True), ({"enable_profiler": False}, False)],
)
def test_the_profiler_is_off_unless_it_is_asked_for(
    flags: dict[str, Value], offered: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The default of TensorFlow Serving's flag is true; here only a written one counts. A directory is not enough."""
    assert configured(**flags).enable_profiler is offered
    assert caplog.messages == []
    assert configured(**flags, profile_dir="/p").profile_dir == "/p"
    said = "--profile_dir has no effect without --enable_profiler=true"
    assert (said in caplog.messages) is not offered
