"""The server's configuration as one frozen value, read once and passed down.

Nothing below `cli/` parses flags or text; nothing here touches the disk. Units are in the names, except where
a name is that of a TensorFlow Serving flag or proto field.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from pyserve.device_map import DeviceMap
from pyserve.errors import InvalidArgumentError

INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Latest:
    """Serve the highest `num_versions` version numbers found; 0 counts as 1."""

    num_versions: int = 1


@dataclass(frozen=True, slots=True)
class All:
    """Serve every version found."""


@dataclass(frozen=True, slots=True)
class Specific:
    """Serve exactly these versions, as far as they are found."""

    versions: tuple[int, ...] = ()


VersionPolicy = Latest | All | Specific


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model to serve.

    Attributes:
        name: Name in requests.
        base_path: Absolute directory whose numbered children are the versions.
        platform: Which backend loads it.
        version_policy: Which of the versions found are served.
        version_labels: Label → version number.
        logging_config: The serialized `LoggingConfig` that the configuration holds; None without one.
    """

    name: str
    base_path: str
    platform: str = "tensorflow"
    version_policy: VersionPolicy = field(default_factory=Latest)
    version_labels: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    logging_config: bytes | None = None

    def __post_init__(self) -> None:
        check_base_path(self.name, self.base_path)


def _at_least(least: int, **values: float) -> None:
    """Refuse a number that is too small, or none."""
    for name, value in values.items():
        if not value >= least:  # so, and not `<`: nan is refused too
            raise InvalidArgumentError(f"{name} must be at least {least}; was {value:g}")


def check_base_path(model: str, path: str) -> None:
    """Refuse a model whose base path is relative.

    Raises:
        InvalidArgumentError: In TensorFlow Serving's words.
    """
    if not is_absolute_path_or_uri(path):
        raise InvalidArgumentError(
            f"Expected model {model} to have an absolute path or URI; got base_path()={path}"
        )


def is_absolute_path_or_uri(path: str) -> bool:
    """TensorFlow Serving's test of a base path: it starts with `/`, or is a URI with a scheme.

    A Windows path with a drive counts as absolute there.
    """
    return path.startswith("/") or "://" in path or Path(path).is_absolute()


class Unlisted(enum.Enum):
    """What a `ModelServerConfig` holds when it holds no list of models."""

    UNSET = "nothing"
    CUSTOM = "custom_model_config"


ModelSelection = tuple[ModelConfig, ...] | Unlisted


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How versions are found, loaded and unloaded (flags of the same names; contract: lifecycle)."""

    file_system_poll_wait_seconds: float = 1.0
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    num_load_threads: int = 0
    num_unload_threads: int = 0
    incomplete_version_wait_s: float = 3.0
    fail_on_initial_load_error: bool = True

    def __post_init__(self) -> None:
        _at_least(0, incomplete_version_wait_s=self.incomplete_version_wait_s)


@dataclass(frozen=True, slots=True)
class TensorFlowOptions:
    """What the SavedModel backend is told.

    Attributes:
        saved_model_tags: Tags of the MetaGraph to load, exactly these.
        intra_op_parallelism, inter_op_parallelism: Threads inside one operation, and operations at the same
            time; 0: TensorFlow chooses. The process's first session decides for all of them.
        session_config: A serialized `tensorflow.ConfigProto`, the base of every session's options. Its thread
            counts and GPU memory fraction are replaced by the fields here.
        per_process_gpu_memory_fraction: Share of each GPU's memory to take; 0: TensorFlow chooses.
        bfloat16_mixed_precision: Rewrite graphs to compute in bfloat16 by oneDNN.
    """

    saved_model_tags: frozenset[str] = frozenset({"serve"})
    intra_op_parallelism: int = 0
    inter_op_parallelism: int = 0
    session_config: bytes = b""
    per_process_gpu_memory_fraction: float = 0.0
    bfloat16_mixed_precision: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.per_process_gpu_memory_fraction <= 1:
            raise InvalidArgumentError(
                "per_process_gpu_memory_fraction must be between 0 and 1; "
                f"was {self.per_process_gpu_memory_fraction:g}"
            )


@dataclass(frozen=True, slots=True)
class BatchingParameters:
    """How requests are collected into batches (docs/batching.md; fields as in TensorFlow Serving's file).

    Values are checked where TensorFlow Serving checks them: the number of threads when a server starts, the others
    when a version is loaded (`batching/parameters.py`).

    Attributes:
        max_batch_size: Rows of the largest accepted request and, without splitting, of the largest batch.
        batch_timeout_micros: How long the oldest task of a batch that is not full may wait.
        max_enqueued_batches: Batches that may wait in a queue, the open one included.
        num_batch_threads: Batches of one model that run at the same time; None: one per core.
        thread_pool_name: Prefix of the threads' names.
        allowed_batch_sizes: A batch is padded to the next of these; empty: never.
        pad_variable_length_inputs: Pad inner dimensions to the largest of the batch.
        enable_large_batch_splitting: Cut requests over several batches.
        max_execution_batch_size: Rows of the largest batch, with splitting; None: `max_batch_size`.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int | None = None
    thread_pool_name: str = "batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None


@dataclass(frozen=True, slots=True)
class AdaptiveBatching:
    """Collect requests into batches of sizes that are learned (docs/batching.md).

    Attributes:
        target_latency_ms: How long a run of the model may take. Only a queue on which requests wait gets runs that
            long, and only where rows get cheaper by it. A slow model (ResNet50 on two cores: 60 to 85 ms for a row)
            still has room for the few rows from which it gains, and while the server keeps up nobody waits for more
            than twice as long.
    """

    target_latency_ms: float = 500.0

    def __post_init__(self) -> None:
        if not 0 < self.target_latency_ms < math.inf:
            raise InvalidArgumentError(
                f"batching_target_latency_ms must be positive; was {self.target_latency_ms:g}"
            )


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request, one caller, or all together may take (flags of the same names; docs/limits.md).

    Attributes:
        rest_api_max_body_bytes: A REST request's body as it is sent.
        rest_api_max_inflated_bytes: A gzip body after it was inflated.
        rest_api_max_json_bytes: Memory that a REST body takes as parsed JSON; 0: a quarter of the memory.
        rest_api_idle_timeout_s: Silence on a REST connection.
        max_tensor_expansion_bytes: A tensor that carries fewer values than elements.
        max_inflight_bytes: All requests that are not answered yet; 0: a quarter of the memory.
        max_connections: On each port; 0: half of the files that the process may open.
    """

    rest_api_max_body_bytes: int = 2**31 - 1
    rest_api_max_inflated_bytes: int = 100 * 2**20
    rest_api_max_json_bytes: int = 0
    rest_api_idle_timeout_s: float = 50.0
    max_tensor_expansion_bytes: int = 2**28
    max_inflight_bytes: int = 0
    max_connections: int = 0


@dataclass(frozen=True, slots=True)
class TfLiteOptions:
    """Whether and how TensorFlow Lite models are served (flags of the same names).

    Attributes:
        prefer_tflite_model: Serve `model.tflite` of a version that has one, instead of its SavedModel.
        num_tflite_pools: Pools of interpreters per version; 0: one per core.
        num_tflite_interpreters_per_pool: Interpreters in each pool.
    """

    prefer_tflite_model: bool = False
    num_tflite_pools: int = 0
    num_tflite_interpreters_per_pool: int = 1


@dataclass(frozen=True, slots=True)
class PlatformOptions:
    """How the models of one platform are loaded: as flags say, or as a platform config file says of each platform.

    Attributes:
        tensorflow: For SavedModels.
        tflite: Whether and how TensorFlow Lite models are served.
        enable_model_warmup: Replay the requests that a version brings along before it is AVAILABLE.
        num_request_iterations_for_warmup: Times that each of them is run; <= 0: once.
        batching, enable_per_model_batching_parameters: As in `ServerConfig`.
    """

    tensorflow: TensorFlowOptions = field(default_factory=TensorFlowOptions)
    tflite: TfLiteOptions = field(default_factory=TfLiteOptions)
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    batching: BatchingParameters | None = None
    enable_per_model_batching_parameters: bool = False


PYTHON_PLATFORM = "python"
"""The platform of models that are Python code."""


def platform_names(
    platforms: Mapping[str, PlatformOptions] | None, allow_python_models: bool
) -> frozenset[str]:
    """What a model may name as its `model_platform`; the arguments are those of `ServerConfig`.

    Raises:
        InvalidArgumentError: A platform config file describes the platform that is ours.
    """
    names = frozenset({"tensorflow"} if platforms is None else platforms)
    if not allow_python_models:
        return names
    if PYTHON_PLATFORM in names:
        raise InvalidArgumentError(
            f"The platform {PYTHON_PLATFORM} cannot be described by a platform config file: with "
            "--allow_python_models it is that of models that are Python code"
        )
    return names | {PYTHON_PLATFORM}


@dataclass(frozen=True, slots=True)
class EasService:
    """What Alibaba EAS's service file says of a service, which is a model (docs/eas.md). The defaults are EAS's.

    Attributes:
        tokens: Each opens the service; none: with `EasOptions.tokens` alone.
        default_signature: For requests that name none; empty: chosen by a rule.
        keepalive_s: Limit of a request, the arrival of its body and its wait included.
        max_queue_size: Requests that may wait while models work on others.
        rate_limit: Requests per second; 0: any number.
        model_entry: Where in the model's files the model is; empty: it is looked for.
        graph_inputs, graph_outputs: Nodes of a frozen graph to feed and to fetch.
        frozen: The model is a frozen graph.
        warm_up_paths: Files of requests; `warm_up` holds their content once they were read.
    """

    tokens: tuple[str, ...] = field(default=(), repr=False)
    default_signature: str = ""
    keepalive_s: float = 5.0
    max_queue_size: int = 64
    rate_limit: float = 0.0
    model_entry: str = ""
    graph_inputs: tuple[str, ...] = ()
    graph_outputs: tuple[str, ...] = ()
    frozen: bool = False
    warm_up_paths: tuple[str, ...] = ()
    warm_up: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class EasOptions:
    """Answer clients of Alibaba EAS's TensorFlow processor on the REST port (docs/eas.md).

    Attributes:
        services: By model; any other is served by the defaults.
        tokens: Each opens every service; with none, and none of its own, a service is open.
        check_content_md5: Hold the body of a signed request to the digest that was signed.
        advertised_address: Host and port that clients are told; None: those that they reached the server by.
        warm_up_must_succeed: A version whose warm-up fails is not served.
    """

    services: Mapping[str, EasService] = field(default_factory=lambda: MappingProxyType({}))
    tokens: tuple[str, ...] = field(default=(), repr=False)
    check_content_md5: bool = True
    advertised_address: tuple[str, int] | None = None
    warm_up_must_succeed: bool = False

    def service(self, model: str) -> EasService:
        """What is known of a service."""
        return self.services.get(model) or _EAS_DEFAULTS


_EAS_DEFAULTS = EasService()


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Everything that a server needs to know. The defaults are TensorFlow Serving's.

    Attributes:
        models: The models to serve; names are unique. With none, a later configuration counts as the first.
        model_config_file: Where `models` came from; empty when not from a file.
        model_config_file_poll_wait_seconds: The file is read again this often; <= 0: never again.
        allow_version_labels_for_unavailable_models: A new label may name a version that is not available.
        platforms: What each `model_platform` is told, when a platform config file decides; None: there is only
            `tensorflow`, with the options below.
        device_map: Which devices the models run on.
        port: gRPC port on all IPv4 addresses; None: no TCP gRPC; 0: any free port (embedded use).
        rest_api_port: HTTP port on all addresses; None: no REST; 0: any free port (embedded use).
        admin_port: HTTP port for health and readiness, open from the first second; None: none; 0: any free port.
        grpc_socket_path: UNIX socket on which gRPC listens too; empty: none.
        host: Address to bind; None: what TensorFlow Serving binds.
        grpc_channel_arguments: For the gRPC server, by name.
        grpc_engine: What speaks HTTP/2 for gRPC: `native`, pyserve's own, or `grpcio`.
        enable_grpc_healthcheck_service: Offer grpc.health.v1.
        metrics_path: URL path of the metrics page on the REST and the admin port; None: no page.
        rest_api_timeout_in_ms: Limit of a model run for REST requests; <= 0 means none.
        enable_session_run: Let callers run any part of a model's graph.
        allow_python_models: Run code from model directories: the platform `python`, and handlers beside SavedModels.
        load_op_library: Files with custom operations, given to TensorFlow before the first model is loaded.
        import_modules: Python modules to import after those, likewise.
        enable_profiler: Offer the profiler service.
        profile_dir: Where profiles are written; empty: none can be recorded.
        batching: Collect requests into batches; None: run each alone.
        adaptive_batching: Collect them into batches of learned sizes, with or without `batching`, whose
            `max_batch_size`, `max_enqueued_batches` and `num_batch_threads` are then upper limits.
        enable_per_model_batching_parameters: With `batching`: a version's own file decides, and a version without one
            is not batched.
        num_run_threads: Runs of one model at the same time, without batching; 0: chosen from the cores.
        stuck_after_s: A run that takes longer gives its thread up, and its version counts as stuck.
        enable_model_warmup: Replay the requests that a version brings along before it is AVAILABLE.
        num_request_iterations_for_warmup: Times that each of them is run; <= 0: once.
        warmup_from_signature: Without such requests, run each stateless signature once instead.
        eas: Answer clients of Alibaba EAS too, on the REST port; None: do not.
        drain_delay_s: Seconds between the loss of readiness and the closing of the ports when the server stops.
        drain_timeout_s: Seconds that requests in flight may take to finish when the server stops.
    """

    models: tuple[ModelConfig, ...] = ()
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: float = 0.0
    allow_version_labels_for_unavailable_models: bool = False
    platforms: Mapping[str, PlatformOptions] | None = None
    device_map: DeviceMap = field(default_factory=DeviceMap)
    port: int | None = 8500
    rest_api_port: int | None = None
    admin_port: int | None = None
    grpc_socket_path: str = ""
    host: str | None = None
    grpc_channel_arguments: Mapping[str, int | str] = field(default_factory=lambda: MappingProxyType({}))
    grpc_engine: str = "grpcio"
    enable_grpc_healthcheck_service: bool = False
    metrics_path: str | None = None
    rest_api_timeout_in_ms: int = 30_000
    rest_api_enable_cors_support: bool = False
    enable_signature_method_name_check: bool = False
    enable_serialization_as_tensor_content: bool = False
    enable_session_run: bool = False
    allow_python_models: bool = False
    load_op_library: tuple[str, ...] = ()
    import_modules: tuple[str, ...] = ()
    enable_profiler: bool = False
    profile_dir: str = ""
    batching: BatchingParameters | None = None
    adaptive_batching: AdaptiveBatching | None = None
    enable_per_model_batching_parameters: bool = False
    num_run_threads: int = 0
    stuck_after_s: float = 60.0
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    warmup_from_signature: bool = True
    eas: EasOptions | None = None
    drain_delay_s: float = 0.0
    drain_timeout_s: float = 25.0
    limits: Limits = field(default_factory=Limits)
    load: LoadOptions = field(default_factory=LoadOptions)
    tensorflow: TensorFlowOptions = field(default_factory=TensorFlowOptions)
    tflite: TfLiteOptions = field(default_factory=TfLiteOptions)

    @property
    def platform_names(self) -> frozenset[str]:
        """What a model may name as its `model_platform`."""
        return platform_names(self.platforms, self.allow_python_models)

    def platform(self, name: str | None) -> PlatformOptions:
        """How the models of a platform are loaded; of one that no file describes, as the options here say."""
        own = PlatformOptions(
            self.tensorflow,
            self.tflite,
            self.enable_model_warmup,
            self.num_request_iterations_for_warmup,
            self.batching if self.platforms is None else None,
            self.enable_per_model_batching_parameters,
        )
        return (self.platforms or {}).get(name or "", own)

    @property
    def all_batching(self) -> tuple[BatchingParameters, ...]:
        """The batching parameters in force, of the server or of its platforms."""
        options = (self,) if self.platforms is None else self.platforms.values()
        return tuple(option.batching for option in options if option.batching is not None)

    def __post_init__(self) -> None:
        _at_least(0, num_run_threads=self.num_run_threads)
        if not self.stuck_after_s > 0:
            raise InvalidArgumentError(f"stuck_after_s must be positive; was {self.stuck_after_s:g}")
        for parameters in self.all_batching:
            if parameters.num_batch_threads is not None and parameters.num_batch_threads < 1:
                raise InvalidArgumentError(
                    f"num_batch_threads must be positive; was {parameters.num_batch_threads}"
                )
        _at_least(0, drain_delay_s=self.drain_delay_s, drain_timeout_s=self.drain_timeout_s)
        if self.grpc_engine not in ("native", "grpcio"):
            raise InvalidArgumentError(f"grpc_engine must be native or grpcio; was {self.grpc_engine}")
        seen: set[str] = set()
        for model in self.models:
            if model.name in seen:
                raise InvalidArgumentError(
                    f"Illegal to list model {model.name} multiple times in config list"
                )
            seen.add(model.name)
        strangers = sorted(self.device_map.devices.keys() - seen)
        if strangers and self.models:  # without models they come later, and nobody knows their names
            raise InvalidArgumentError(
                f"device_map: there is no model {strangers[0]}; the models are {_named(seen)}"
            )


def _named(models: set[str]) -> str:
    shown = sorted(models)[:10]
    return ", ".join(shown) + (f" and {len(models) - 10} others" if len(models) > 10 else "")
