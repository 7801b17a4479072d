"""The server's configuration as one frozen value, read once and passed down.

Nothing below `cli/` parses flags or text; nothing here touches the disk. Units are in the names, except where
a name is that of a TensorFlow Serving flag or proto field.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

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
        if not is_absolute_path_or_uri(self.base_path):
            raise InvalidArgumentError(
                f"Expected model {self.name} to have an absolute path or URI; got base_path()={self.base_path}"
            )


def _at_least(least: int, **values: float) -> None:
    """Refuse a number that is too small, or none."""
    for name, value in values.items():
        if not value >= least:  # so, and not `<`: nan is refused too
            raise InvalidArgumentError(f"{name} must be at least {least}; was {value:g}")


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
class Limits:
    """What one request, one caller, or all together may take (flags of the same names; docs/limits.md).

    Attributes:
        rest_api_max_body_bytes: A REST request's body as it is sent.
        rest_api_max_inflated_bytes: A gzip body after it was inflated.
        rest_api_idle_timeout_s: Silence on a REST connection.
        max_tensor_expansion_bytes: A tensor that carries fewer values than elements.
        max_inflight_bytes: All requests that are not answered yet; 0: a quarter of the memory.
        max_connections: On each port; 0: half of the files that the process may open.
    """

    rest_api_max_body_bytes: int = 2**31 - 1
    rest_api_max_inflated_bytes: int = 100 * 2**20
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
class ServerConfig:
    """Everything that a server needs to know. The defaults are TensorFlow Serving's.

    Attributes:
        models: The models to serve; names are unique. With none, a later configuration counts as the first.
        model_config_file: Where `models` came from; empty when not from a file.
        model_config_file_poll_wait_seconds: The file is read again this often; <= 0: never again.
        allow_version_labels_for_unavailable_models: A new label may name a version that is not available.
        platforms: What each `model_platform` is told, when a platform config file decides; None: there is only
            `tensorflow`, with the options of `tensorflow` below.
        port: gRPC port on all IPv4 addresses; None: no TCP gRPC; 0: any free port (embedded use).
        rest_api_port: HTTP port on all addresses; None: no REST; 0: any free port (embedded use).
        admin_port: HTTP port for health and readiness, open from the first second; None: none; 0: any free port.
        grpc_socket_path: UNIX socket on which gRPC listens too; empty: none.
        host: Address to bind; None: what TensorFlow Serving binds.
        grpc_channel_arguments: For the gRPC server, by name.
        grpc_engine: What speaks HTTP/2 for gRPC: `native`, pyserve's own, or `grpcio`.
        enable_grpc_healthcheck_service: Offer grpc.health.v1.
        metrics_path: URL path of the metrics page on the REST port; None: no page.
        rest_api_timeout_in_ms: Limit of a model run for REST requests; <= 0 means none.
        enable_session_run: Let callers run any part of a model's graph.
        num_run_threads: Model runs at the same time; 0: chosen from the cores.
        enable_model_warmup: Replay the requests that a version brings along before it is AVAILABLE.
        num_request_iterations_for_warmup: Times that each of them is run; <= 0: once.
        warmup_from_signature: Without such requests, run each stateless signature once instead.
        drain_delay_s: Seconds between the loss of readiness and the closing of the ports when the server stops.
        drain_timeout_s: Seconds that requests in flight may take to finish when the server stops.
    """

    models: tuple[ModelConfig, ...] = ()
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: float = 0.0
    allow_version_labels_for_unavailable_models: bool = False
    platforms: Mapping[str, TensorFlowOptions] | None = None
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
    num_run_threads: int = 0
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    warmup_from_signature: bool = True
    drain_delay_s: float = 0.0
    drain_timeout_s: float = 25.0
    limits: Limits = field(default_factory=Limits)
    load: LoadOptions = field(default_factory=LoadOptions)
    tensorflow: TensorFlowOptions = field(default_factory=TensorFlowOptions)
    tflite: TfLiteOptions = field(default_factory=TfLiteOptions)

    @property
    def platform_names(self) -> frozenset[str]:
        """What a model may name as its `model_platform`."""
        return frozenset({"tensorflow"} if self.platforms is None else self.platforms)

    def __post_init__(self) -> None:
        _at_least(0, num_run_threads=self.num_run_threads)
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
