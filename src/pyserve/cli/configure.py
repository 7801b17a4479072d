"""From flag values to a ServerConfig, with TensorFlow Serving's order of checks and its messages. Pure but for the
files that flags name, which a given function reads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import cast

from pyserve.cli import eas
from pyserve.cli.flags import Flag, FlagValueError, Kind, State, Value, parse_value, set_away_from_default
from pyserve.cli.table import FLAGS
from pyserve.codec.batching_parameters import parse_batching_parameters
from pyserve.codec.model_config import check_platform, parse_model_config
from pyserve.codec.monitoring_config import parse_monitoring_config
from pyserve.codec.platform_config import parse_platform_config
from pyserve.codec.session_config import parse_session_config
from pyserve.config import (
    AdaptiveBatching,
    BatchingParameters,
    Limits,
    LoadOptions,
    ModelConfig,
    PlatformOptions,
    ServerConfig,
    TensorFlowOptions,
    TfLiteOptions,
    Unlisted,
    platform_names,
)
from pyserve.device_map import DeviceMap
from pyserve.errors import InvalidArgumentError, UnimplementedError

logger = logging.getLogger(__name__)

_DEFAULTS: Mapping[str, Value] = {flag.name: flag.default for flag in FLAGS}
# Channel arguments have no row in the table; their integers are read by the same rule.
_INT32 = Flag("", Kind.INT32, 0, "")


class _Values:
    """Flag values by name and type, defaults filled in."""

    def __init__(self, given: Mapping[str, Value]) -> None:
        self._values = {**_DEFAULTS, **given}

    def integer(self, name: str) -> int:
        return cast("int", self._values[name])

    def number(self, name: str) -> float:
        return float(cast("float", self._values[name]))

    def boolean(self, name: str) -> bool:
        return cast("bool", self._values[name])

    def text(self, name: str) -> str:
        return cast("str", self._values[name])


def server_config(given: Mapping[str, Value], read_file: Callable[[str], str]) -> ServerConfig:
    """The configuration that a command line asks for.

    Args:
        given: Values of the flags that were given.
        read_file: Path → text; raises ServingError.

    Raises:
        UnimplementedError: A flag was set that pyserve refuses.
        InvalidArgumentError: The flags contradict each other, or one is missing.
    """
    service = eas.service_file(given, read_file)
    if service is not None:
        given = {**eas.flags_of(service), **given}
    values = _Values(given)
    if values.integer("port") == 0 and not values.text("grpc_socket_path"):
        raise InvalidArgumentError(
            "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
        )
    if values.boolean("use_alts_credentials") and values.text("ssl_config_file"):
        raise InvalidArgumentError(
            "Either use_alts_credentials must be false or ssl_config_file must be empty."
        )
    for flag in set_away_from_default(given, FLAGS, State.REFUSED):
        raise UnimplementedError(f"--{flag.name} is refused: {flag.why}")
    for name in ("port", "rest_api_port", "admin_port"):
        if not 0 <= values.integer(name) <= 65535:
            raise InvalidArgumentError(f"--{name} must be between 0 and 65535; was {values.integer(name)}")
    tags = frozenset(_listed(values.text("saved_model_tags")))
    # The file of models is read before that of platforms, as in TensorFlow Serving, but needs their names.
    model_config_text = _model_config_text(values, read_file)
    platforms = _platforms(given, values, read_file)
    batching = None
    if platforms is None:
        batching = eas.batching_of(service, given) or _batching(values, read_file)
    return ServerConfig(
        models=_models(values, model_config_text, platforms),
        allow_python_models=values.boolean("allow_python_models"),
        load_op_library=_listed(values.text("load_op_library")),
        import_modules=_listed(values.text("import")),
        model_config_file=values.text("model_config_file"),
        model_config_file_poll_wait_seconds=values.integer("model_config_file_poll_wait_seconds"),
        allow_version_labels_for_unavailable_models=values.boolean(
            "allow_version_labels_for_unavailable_models"
        ),
        platforms=platforms,
        device_map=DeviceMap.parse(values.text("device_map")),
        port=values.integer("port") or None,
        rest_api_port=values.integer("rest_api_port") or None,
        admin_port=values.integer("admin_port") or None,
        grpc_socket_path=values.text("grpc_socket_path"),
        host=values.text("host") or None,
        grpc_channel_arguments=channel_arguments(values.text("grpc_channel_arguments")),
        grpc_engine=values.text("grpc_engine"),
        enable_grpc_healthcheck_service=values.boolean("enable_grpc_healthcheck_service"),
        metrics_path=_metrics_path(values, read_file),
        rest_api_timeout_in_ms=values.integer("rest_api_timeout_in_ms"),
        rest_api_enable_cors_support=values.boolean("rest_api_enable_cors_support"),
        enable_signature_method_name_check=values.boolean("enable_signature_method_name_check"),
        enable_serialization_as_tensor_content=values.boolean("enable_serialization_as_tensor_content"),
        enable_session_run=values.boolean("enable_session_run"),
        enable_profiler=_profiler(given),
        profile_dir=values.text("profile_dir"),
        batching=batching,
        adaptive_batching=_adaptive_batching(values),
        enable_per_model_batching_parameters=values.boolean("enable_per_model_batching_parameters"),
        num_run_threads=values.integer("num_run_threads"),
        stuck_after_s=values.number("stuck_after_s"),
        enable_model_warmup=values.boolean("enable_model_warmup"),
        num_request_iterations_for_warmup=values.integer("num_request_iterations_for_warmup"),
        warmup_from_signature=_warmup(values.text("warmup_from_signature")),
        eas=eas.eas_options(given, service, read_file) if eas.is_enabled(given) else None,
        drain_delay_s=values.number("drain_delay_s"),
        drain_timeout_s=values.number("drain_timeout_s"),
        limits=_limits(values),
        load=LoadOptions(
            file_system_poll_wait_seconds=values.integer("file_system_poll_wait_seconds"),
            max_num_load_retries=values.integer("max_num_load_retries"),
            load_retry_interval_micros=values.integer("load_retry_interval_micros"),
            num_load_threads=values.integer("num_load_threads"),
            num_unload_threads=values.integer("num_unload_threads"),
            incomplete_version_wait_s=values.number("incomplete_version_wait_s"),
            fail_on_initial_load_error=values.boolean("fail_on_initial_load_error"),
        ),
        tensorflow=_tensorflow(values, tags, read_file) if platforms is None else TensorFlowOptions(),
        tflite=TfLiteOptions(
            prefer_tflite_model=values.boolean("prefer_tflite_model"),
            num_tflite_pools=values.integer("num_tflite_pools"),
            num_tflite_interpreters_per_pool=values.integer("num_tflite_interpreters_per_pool"),
        ),
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(item for item in text.split(",") if item)


def _profiler(given: Mapping[str, Value]) -> bool:
    """Whether the profiler service is on: the flag's default is true in TensorFlow Serving, here it must be written."""
    written = given.get("enable_profiler") is True
    if given.get("profile_dir") and not written:
        logger.warning("--profile_dir has no effect without --enable_profiler=true")
    return written


def channel_arguments(text: str) -> dict[str, int | str]:
    """The arguments of `--grpc_channel_arguments`: integers where they read as int32, text otherwise.

    Of an item only the first two pieces between equal signs count; the last of several with one name wins.

    Raises:
        InvalidArgumentError: An item has no equal sign.
    """
    arguments: dict[str, int | str] = {}
    for item in text.split(",") if text else ():
        name, *rest = item.split("=")
        if not rest:
            raise InvalidArgumentError(f"--grpc_channel_arguments: '{item}' is not of the form name=value")
        try:
            value = parse_value(_INT32, rest[0])
        except FlagValueError:
            value = rest[0]
        arguments[name] = cast("int | str", value)
    return arguments


def _metrics_path(values: _Values, read_file: Callable[[str], str]) -> str | None:
    config_file = values.text("monitoring_config_file")
    if not config_file:
        return None
    if not values.integer("rest_api_port") and not values.integer("admin_port"):
        logger.warning(
            "--monitoring_config_file is not read: metrics are served on --rest_api_port and --admin_port"
        )
        return None
    return parse_monitoring_config(read_file(config_file), config_file)


_AT_LEAST = {
    "rest_api_max_body_bytes": 1,
    "rest_api_max_inflated_bytes": 1,
    "rest_api_max_json_bytes": 0,
    "rest_api_idle_timeout_s": 0.001,
    "max_tensor_expansion_bytes": 0,
    "max_inflight_bytes": 0,
    "max_connections": 0,
}


def _limits(values: _Values) -> Limits:
    for name, least in _AT_LEAST.items():
        if not values.number(name) >= least:
            raise InvalidArgumentError(f"--{name} must be at least {least}; was {values.number(name):g}")
    return Limits(
        rest_api_max_body_bytes=values.integer("rest_api_max_body_bytes"),
        rest_api_max_inflated_bytes=values.integer("rest_api_max_inflated_bytes"),
        rest_api_max_json_bytes=values.integer("rest_api_max_json_bytes"),
        rest_api_idle_timeout_s=values.number("rest_api_idle_timeout_s"),
        max_tensor_expansion_bytes=values.integer("max_tensor_expansion_bytes"),
        max_inflight_bytes=values.integer("max_inflight_bytes"),
        max_connections=values.integer("max_connections"),
    )


def _model_config_text(values: _Values, read_file: Callable[[str], str]) -> str:
    config_file = values.text("model_config_file")
    if config_file:
        return read_file(config_file)
    if not values.text("model_base_path"):
        raise InvalidArgumentError(
            "Both server_options.model_base_path and server_options.model_config_file are empty!"
        )
    return ""


def _models(
    values: _Values, model_config_text: str, platforms: Mapping[str, PlatformOptions] | None
) -> tuple[ModelConfig, ...]:
    names = platform_names(platforms, values.boolean("allow_python_models"))
    config_file = values.text("model_config_file")
    if config_file:
        models = parse_model_config(model_config_text, config_file, names)
        if models is Unlisted.CUSTOM:
            raise InvalidArgumentError("ModelServer does not yet support custom model config.")
        return models if isinstance(models, tuple) else ()
    model = ModelConfig(values.text("model_name"), values.text("model_base_path"))
    check_platform(model.name, model.platform, names)
    return (model,)


def _batching(values: _Values, read_file: Callable[[str], str]) -> BatchingParameters | None:
    config_file = values.text("batching_parameters_file")
    if not values.boolean("enable_batching"):
        if config_file:
            raise InvalidArgumentError(
                "server_options.batching_parameters_file is set without setting "
                "server_options.enable_batching to true."
            )
        return None
    if config_file:
        return parse_batching_parameters(read_file(config_file), config_file)
    return BatchingParameters(thread_pool_name="model_server_batch_threads")


def _adaptive_batching(values: _Values) -> AdaptiveBatching | None:
    mode = values.text("batching_mode")
    if mode not in ("static", "adaptive"):
        raise InvalidArgumentError(f"--batching_mode must be static or adaptive; was {mode}")
    target = AdaptiveBatching(values.number("batching_target_latency_ms"))
    return target if mode == "adaptive" else None


# What a platform config file decides instead.
_REPLACED = (
    "enable_batching",
    "batching_parameters_file",
    "enable_per_model_batching_parameters",
    "tensorflow_session_parallelism",
    "tensorflow_session_config_file",
    "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism",
    "per_process_gpu_memory_fraction",
    "saved_model_tags",
    "mixed_precision",
    "enable_model_warmup",
    "num_request_iterations_for_warmup",
    "prefer_tflite_model",
    "num_tflite_pools",
    "num_tflite_interpreters_per_pool",
)


def _platforms(
    given: Mapping[str, Value], values: _Values, read_file: Callable[[str], str]
) -> Mapping[str, PlatformOptions] | None:
    config_file = values.text("platform_config_file")
    if not config_file:
        return None
    platforms = parse_platform_config(read_file(config_file), config_file)
    for name in _REPLACED:
        if name in given:
            logger.warning("--%s is ignored: --platform_config_file decides instead", name)
    return platforms


def _tensorflow(values: _Values, tags: frozenset[str], read_file: Callable[[str], str]) -> TensorFlowOptions:
    config_file = values.text("tensorflow_session_config_file")
    session_config = parse_session_config(read_file(config_file), config_file) if config_file else b""
    intra = values.integer("tensorflow_intra_op_parallelism")
    inter = values.integer("tensorflow_inter_op_parallelism")
    session = values.integer("tensorflow_session_parallelism")
    if intra > 0 and inter > 0 and session > 0:
        raise InvalidArgumentError(
            "Either --tensorflow_session_parallelism may be set, or --tensorflow_intra_op_parallelism and "
            "--tensorflow_inter_op_parallelism. You cannot configure all."
        )
    if intra <= 0 and inter <= 0:
        intra = inter = session
    return TensorFlowOptions(
        saved_model_tags=tags or frozenset({"serve"}),
        intra_op_parallelism=max(0, intra),
        inter_op_parallelism=max(0, inter),
        session_config=session_config,
        per_process_gpu_memory_fraction=values.number("per_process_gpu_memory_fraction"),
        bfloat16_mixed_precision=_is_bfloat16(values.text("mixed_precision")),
    )


def _is_bfloat16(mixed_precision: str) -> bool:
    if mixed_precision not in ("", "bfloat16"):
        logger.warning("%s auto mixed precision is not supported. Valid option: bfloat16", mixed_precision)
    return mixed_precision == "bfloat16"


def _warmup(text: str) -> bool:
    if text not in ("auto", "off"):
        raise InvalidArgumentError(f"--warmup_from_signature must be auto or off; was {text}")
    return text == "auto"
