"""Every flag, in TensorFlow Serving's order, with what pyserve does with it. The documentation shows this table."""

from __future__ import annotations

import os

from pyserve.cli.flags import Flag, Kind, State

_CPUS = os.cpu_count() or 1

_LATER = "not supported yet"
_XLA_ALLOWED = "XLA is never disabled: what asks for it, a model or the session config file, gets it"


def _flag(
    name: str,
    kind: Kind,
    default: int | float | bool | str,
    text: str,
    state: State = State.IMPLEMENTED,
    why: str = "",
) -> Flag:
    return Flag(name, kind, default, text, state, why)


def _own(name: str, kind: Kind, default: int | float | bool | str, text: str) -> Flag:
    return Flag(name, kind, default, text, own=True)


INT32, INT64, BOOL, STRING, FLOAT = Kind.INT32, Kind.INT64, Kind.BOOL, Kind.STRING, Kind.FLOAT
ACCEPTED, WARNED, REFUSED = State.ACCEPTED, State.WARNED, State.REFUSED

FLAGS: tuple[Flag, ...] = (
    _flag("port", INT32, 8500, "TCP port for gRPC, on all IPv4 addresses; 0 turns TCP off"),
    _flag("grpc_socket_path", STRING, "", "UNIX socket on which gRPC listens too"),
    _flag("rest_api_port", INT32, 0, "TCP port for the REST API; 0 turns it off, and differs from --port"),
    _flag(
        "rest_api_num_threads", INT32, 4 * _CPUS, "threads of the REST server",
        ACCEPTED, "one event loop serves every connection",
    ),
    _flag("rest_api_timeout_in_ms", INT32, 30000, "limit of a model run for REST requests; <= 0: none"),
    _flag("rest_api_enable_cors_support", BOOL, False, "send CORS headers with REST answers"),
    _flag("enable_batching", BOOL, False, "collect requests into batches"),
    _flag(
        "allow_version_labels_for_unavailable_models", BOOL, False,
        "let a new label name a version that is not loaded",
    ),
    _flag("batching_parameters_file", STRING, "", "text file of BatchingParameters; needs --enable_batching"),
    _flag(
        "enable_per_model_batching_parameters", BOOL, False,
        "with --enable_batching: batching_params.pbtxt of a version decides; without one it is not batched",
    ),
    _flag("model_config_file", STRING, "", "text file of ModelServerConfig; --model_name and path are then ignored"),
    _flag(
        "model_config_file_poll_wait_seconds", INT32, 0, "re-read --model_config_file this often; <= 0: never",
    ),
    _flag("model_name", STRING, "default", "name of the single model"),
    _flag("model_base_path", STRING, "", "absolute path of the directory that holds the numbered versions"),
    _flag("num_load_threads", INT32, 0, "versions loaded at the same time after the start; 0: one"),
    _flag("num_unload_threads", INT32, 0, "versions unloaded at the same time; 0: one"),
    _flag("max_num_load_retries", INT32, 5, "further attempts after a load failed"),
    _flag("load_retry_interval_micros", INT64, 60_000_000, "pause between attempts; negative: none"),
    _flag(
        "file_system_poll_wait_seconds", INT32, 1,
        "seconds between looks for new versions; 0: look once; negative: never",
    ),
    _flag(
        "flush_filesystem_caches", BOOL, True, "drop file caches after loading",
        ACCEPTED, "it does nothing on local disks in TensorFlow Serving either",
    ),
    _flag("tensorflow_session_parallelism", INT64, 0, "threads inside and between operations; 0: automatic"),
    _flag("tensorflow_session_config_file", STRING, "", "text file of tensorflow.ConfigProto, the base of sessions"),
    _flag("tensorflow_intra_op_parallelism", INT64, 0, "threads inside one operation; 0: automatic"),
    _flag("tensorflow_inter_op_parallelism", INT64, 0, "operations at the same time; 0: automatic"),
    _flag(
        "use_alts_credentials", BOOL, False, "Google ALTS credentials",
        REFUSED, "ALTS exists only inside Google Cloud's C++ stack",
    ),
    _flag("ssl_config_file", STRING, "", "text file of SSLConfig, for gRPC", REFUSED, _LATER),
    _flag("platform_config_file", STRING, "", "text file of PlatformConfigMap"),
    _flag("per_process_gpu_memory_fraction", FLOAT, 0.0, "share of GPU memory to take; 0: automatic"),
    _flag("saved_model_tags", STRING, "serve", "comma-separated tags of the MetaGraph to load"),
    _flag("grpc_channel_arguments", STRING, "", "gRPC channel arguments, k=v,k=v"),
    _flag(
        "grpc_max_threads", INT32, 4 * _CPUS, "upper limit of gRPC threads",
        ACCEPTED, "one event loop serves every connection",
    ),
    _flag("enable_model_warmup", BOOL, True, "replay the requests that a version brings along while loading it"),
    _flag("num_request_iterations_for_warmup", INT32, 0, "times that each of those is replayed; <= 0: once"),
    _flag("version", BOOL, False, "print versions and exit"),
    _flag("monitoring_config_file", STRING, "", "text file of MonitoringConfig: the metrics page"),
    _flag(
        "remove_unused_fields_from_bundle_metagraph", BOOL, True, "keep only signatures of the MetaGraph",
        ACCEPTED, "pyserve never keeps more",
    ),
    _flag("prefer_tflite_model", BOOL, False, "serve model.tflite where it is present, else the SavedModel"),
    _flag("num_tflite_pools", INT32, _CPUS, "pools of TensorFlow Lite interpreters per version"),
    _flag("num_tflite_interpreters_per_pool", INT32, 1, "interpreters in each pool"),
    _flag(
        "enable_signature_method_name_check", BOOL, False, "require a signature's method_name to fit the call"
    ),
    _flag(
        "xla_cpu_compilation_enabled", BOOL, False, "let models be compiled by XLA on CPU", ACCEPTED, _XLA_ALLOWED
    ),
    _flag(
        "xla_gpu_compilation_enabled", BOOL, False, "let models be compiled by XLA on GPU", ACCEPTED, _XLA_ALLOWED
    ),
    _flag("enable_profiler", BOOL, True, "offer the profiler service; off unless this is written"),
    _flag(
        "thread_pool_factory_config_file", STRING, "", "text file of ThreadPoolFactoryConfig",
        REFUSED, "it names a C++ class",
    ),
    _flag("mixed_precision", STRING, "", "`bfloat16` rewrites graphs for oneDNN"),
    _flag(
        "skip_initialize_tpu", BOOL, False, "do not initialise TPUs", ACCEPTED, "there is no TPU support",
    ),
    _flag("enable_grpc_healthcheck_service", BOOL, False, "offer grpc.health.v1"),
    _flag(
        "enable_serialization_as_tensor_content", BOOL, False,
        "answer Predict with tensor_content instead of typed fields (gRPC)",
    ),
    _flag(
        "remote_predict_op_use_tensor_content", BOOL, False, "of other releases of TensorFlow Serving", WARNED,
        "there is no remote predict operation",
    ),
    _flag(
        "use_tflite_model", BOOL, False, "of older releases: now --prefer_tflite_model", WARNED,
        "write --prefer_tflite_model",
    ),
    _flag(
        "num_tflite_interpreters", INT32, 1, "of older releases: now --num_tflite_interpreters_per_pool", WARNED,
        "write --num_tflite_interpreters_per_pool",
    ),
    _own("admin_port", INT32, 0, "TCP port for /healthz and /readyz, open from the first second; 0: none"),
    _own("host", STRING, "", "address to bind; empty: 0.0.0.0 for gRPC, all addresses for REST"),
    _own("grpc_engine", STRING, "grpcio", "what speaks HTTP/2 for gRPC: native, pyserve's own, or grpcio"),
    _own("log_format", STRING, "text", "text: TensorFlow's log lines; json: one object per line"),
    _own(
        "fail_on_initial_load_error", BOOL, True,
        "end the start when a model cannot be loaded; false: serve the others",
    ),
    _own(
        "incomplete_version_wait_s", FLOAT, 3.0,
        "seconds that a version directory with missing files must stay unchanged before it is tried all the same",
    ),
    _own(
        "warmup_from_signature", STRING, "auto",
        "auto: run each stateless signature of a version without recorded requests once before AVAILABLE; off: do not",
    ),
    _own(
        "device_map", STRING, "",
        "devices of models, e.g. resnet=GPU:0|GPU:1,mlp=CPU:0, with a replica on each; others: TensorFlow chooses",
    ),
    _own(
        "num_run_threads", INT32, 0,
        "runs of one model at the same time, without --enable_batching; 0: chosen from the cores",
    ),
    _own(
        "batching_mode", STRING, "static",
        "static: batches by --enable_batching and its parameters; adaptive: by what is learned, with or without them",
    ),
    _own(
        "batching_target_latency_ms", FLOAT, 500.0,
        "with --batching_mode=adaptive: how long one run of a model may take",
    ),
    _own(
        "stuck_after_s", FLOAT, 60.0,
        "a model run that takes longer gives its thread up, and its version counts as stuck",
    ),
    _own(
        "enable_session_run", BOOL, False,
        "offer SessionService/SessionRun; unsafe: callers may run every operation of a model's graph",
    ),
    _own(
        "allow_python_models", BOOL, False,
        "serve model.py (model_platform python) and handler.py of version directories; unsafe: their code is run",
    ),
    _own("load_op_library", STRING, "", "comma-separated files of custom TensorFlow operations to load first"),
    _own("import", STRING, "", "comma-separated Python modules to import before models are loaded"),
    _own("enable_eas", BOOL, False, "answer clients of Alibaba EAS's TensorFlow processor on the REST port"),
    _own("eas_config_file", STRING, "", "JSON file of an EAS service: what to serve and how; turns --enable_eas on"),
    _own("eas_token_file", STRING, "", "file of tokens, one a line: EAS's clients must have one"),
    _own("eas_check_content_md5", BOOL, True, "hold the body of a signed EAS request to the digest that was signed"),
    _own("eas_advertised_address", STRING, "", "HOST:PORT told to EAS's clients that discover; empty: as they came"),
    _own("eas_warmup_must_succeed", BOOL, False, "a version whose EAS warm-up request fails is not served"),
    _own("eas_model_cache", STRING, "", "directory for models of EAS services; empty: ~/.cache/pyserve/models"),
    _own("profile_dir", STRING, "", "directory below which the profiler service writes"),
    _own("drain_delay_s", FLOAT, 0.0, "seconds between the loss of readiness and the closing of the ports"),
    _own("drain_timeout_s", FLOAT, 25.0, "seconds that requests in flight may take to finish at shutdown"),
    _own("rest_api_max_body_bytes", INT64, 2**31 - 1, "size of a REST request's body as it is sent"),
    _own("rest_api_max_inflated_bytes", INT64, 100 * 2**20, "size of a gzip body after inflating"),
    _own(
        "rest_api_max_json_bytes", INT64, 0, "memory that a REST body may take as parsed JSON; 0: a quarter of all"
    ),
    _own("rest_api_idle_timeout_s", FLOAT, 50.0, "seconds that a REST connection may be silent"),
    _own(
        "max_tensor_expansion_bytes", INT64, 2**28,
        "size to which a tensor that carries fewer values than elements is expanded",
    ),
    _own(
        "max_inflight_bytes", INT64, 0, "size of all requests that are not answered yet; 0: a quarter of the memory"
    ),
    _own("max_connections", INT32, 0, "connections on each port; 0: half of the files that may be open"),
)  # fmt: skip
