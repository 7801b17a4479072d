"""The private pool, the classes made from it, and the fields that no installed wheel describes."""

from __future__ import annotations

import copy
import subprocess
import sys
import threading

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from pyserve.protos import (
    eas,
    health,
    message_class,
    methods,
    pool,
    reflection,
    registry,
    service,
    tf,
    tf_error,
    tfrt,
    tfs,
    tfs_tools,
    wkt,
)

PACKAGES = {
    "eas": eas,
    "google.protobuf": wkt,
    "grpc.health.v1": health,
    "grpc.reflection.v1": reflection,
    "tensorflow": tf,
    "tensorflow.error": tf_error,
    "tensorflow.serving": tfs,
    "tensorflow.serving.tools": tfs_tools,
    "tensorflow.tfrt_stub": tfrt,
}
# Messages that TensorFlow Serving describes and no wheel ships: name → "field number type", "*" for repeated.
CONFIG_MESSAGES = {
    tfs.BatchingParameters: [
        "max_batch_size 1 Int64Value",
        "batch_timeout_micros 2 Int64Value",
        "max_enqueued_batches 3 Int64Value",
        "num_batch_threads 4 Int64Value",
        "thread_pool_name 5 StringValue",
        "allowed_batch_sizes 6 int64*",
        "pad_variable_length_inputs 7 bool",
        "enable_large_batch_splitting 8 BoolValue",
        "max_execution_batch_size 9 Int64Value",
    ],
    tfs.SessionBundleConfig: [
        "session_target 1 string",
        "session_config 2 ConfigProto",
        "batching_parameters 3 BatchingParameters",
        "session_run_load_threadpool_index 4 Int32Value",
        "experimental_transient_ram_bytes_during_load 5 uint64",
        "saved_model_tags 6 string*",
        "in_graph_batching_parameters 7 BatchingOptions",
        "experimental_fixed_input_tensors 778 NamedTensorProto*",
        "enable_model_warmup 779 bool",
        "model_warmup_options 780 ModelWarmupOptions",
        "enable_session_metadata 781 bool",
        "remove_unused_fields_from_bundle_metagraph 782 bool",
        "prefer_tflite_model 783 bool",
        "resource_estimation_uses_validation_result 784 bool",
        "num_tflite_interpreters 785 int32",
        "num_tflite_interpreters_per_pool 786 int32",
        "num_tflite_pools 787 int32",
        "wrap_session_with_no_threading_params 788 bool",
        "enable_per_model_batching_params 789 bool",
        "enable_saved_model_config 790 bool",
        "mixed_precision 791 string",
    ],
    tfs.ModelWarmupOptions: [
        "num_request_iterations 1 Int32Value",
        "num_model_warmup_threads 2 Int32Value",
        "model_name 3 string",
        "model_version 4 int64",
        "enable_all_batch_sizes_warmup 5 bool",
    ],
    tfs.SavedModelBundleSourceAdapterConfig: ["legacy_config 1000 SessionBundleConfig"],
    tfs.SSLConfig: [
        "server_key 1 string",
        "server_cert 2 string",
        "custom_ca 3 string",
        "client_verify 4 bool",
    ],
    tfs.MonitoringConfig: ["prometheus_config 1 PrometheusConfig"],
    tfs.PrometheusConfig: ["enable 1 bool", "path 2 string"],
    tfs.ThreadPoolFactoryConfig: ["thread_pool_factory_config 1 Any"],
    tfs.SavedModelConfig: [
        "session_overrides 1 SessionOverrides",
        "tfrt_runtime_config 2 RuntimeConfigProto",
        "critical 3 bool",
    ],
    tfs.SessionOverrides: [
        "remote_op_remap_config 1 RemoteOpRemapConfig",
        "batch_op_rewriter_config 2 BatchOpRewriteConfig",
        "disable_meta_optimizer 3 bool",
    ],
    tfs_tools.RemoteOpRemapConfig: [
        "model_name_remap 1 ModelNameRemapEntry*",
        "target_address_remap 2 TargetAddressRemapEntry*",
        "propagate_version 4 bool",
        "propagate_model_name 5 bool",
        "backend_model_name_to_target_address_remap 6 BackendModelNameToTargetAddressRemapEntry*",
    ],
    tf.ProfileRequest: [
        "duration_ms 1 uint64",
        "max_events 2 uint64",
        "tools 3 string*",
        "opts 4 ProfileOptions",
        "repository_root 5 string",
        "session_id 6 string",
        "host_name 7 string",
        "tool_options 8 ToolOptionsEntry*",
    ],
    tf.ToolRequestOptions: ["output_formats 2 string", "save_to_repo 3 bool"],
    tf.ProfileResponse: ["tool_data 6 ProfileToolData*", "empty_trace 7 bool"],
    tf.ProfileToolData: ["name 1 string", "data 2 bytes"],
    tf.TerminateRequest: ["session_id 1 string"],
    tf.TerminateResponse: [],
    tf.MonitorRequest: ["duration_ms 1 uint64", "monitoring_level 2 int32", "timestamp 3 bool"],
    tf.MonitorResponse: ["data 1 string", "monitor_result 10 ProfilerServiceMonitorResult"],
    reflection.ServerReflectionRequest: [
        "host 1 string",
        "file_by_filename 3 string",
        "file_containing_symbol 4 string",
        "file_containing_extension 5 ExtensionRequest",
        "all_extension_numbers_of_type 6 string",
        "list_services 7 string",
    ],
    reflection.ServerReflectionResponse: [
        "valid_host 1 string",
        "original_request 2 ServerReflectionRequest",
        "file_descriptor_response 4 FileDescriptorResponse",
        "all_extension_numbers_response 5 ExtensionNumberResponse",
        "list_services_response 6 ListServiceResponse",
        "error_response 7 ErrorResponse",
    ],
    reflection.FileDescriptorResponse: ["file_descriptor_proto 1 bytes*"],
    reflection.ErrorResponse: ["error_code 1 int32", "error_message 2 string"],
}
METHODS = {
    "tensorflow.serving.PredictionService": [
        "Classify ClassificationRequest ClassificationResponse",
        "Regress RegressionRequest RegressionResponse",
        "Predict PredictRequest PredictResponse",
        "MultiInference MultiInferenceRequest MultiInferenceResponse",
        "GetModelMetadata GetModelMetadataRequest GetModelMetadataResponse",
    ],
    "tensorflow.serving.ModelService": [
        "GetModelStatus GetModelStatusRequest GetModelStatusResponse",
        "HandleReloadConfigRequest ReloadConfigRequest ReloadConfigResponse",
    ],
    "tensorflow.serving.SessionService": ["SessionRun SessionRunRequest SessionRunResponse"],
    "tensorflow.ProfilerService": [
        "Profile ProfileRequest ProfileResponse",
        "Terminate TerminateRequest TerminateResponse",
        "Monitor MonitorRequest MonitorResponse",
    ],
    "grpc.health.v1.Health": [
        "Check HealthCheckRequest HealthCheckResponse",
        "List HealthListRequest HealthListResponse",
        "Watch HealthCheckRequest stream HealthCheckResponse",
    ],
    **{
        f"grpc.reflection.{version}.ServerReflection": [
            "ServerReflectionInfo stream ServerReflectionRequest stream ServerReflectionResponse"
        ]
        for version in ("v1", "v1alpha")
    },
}


def _describe(field: FieldDescriptorProto) -> str:
    scalar = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    kind = field.type_name.rpartition(".")[2] or scalar
    return f"{field.name} {field.number} {kind}{'*' * (field.label == field.LABEL_REPEATED)}"


@pytest.mark.parametrize("message", CONFIG_MESSAGES, ids=lambda m: m.DESCRIPTOR.full_name)
def test_config_message_has_exactly_the_fields_of_the_contract(message: type) -> None:
    """A config message has each field under the name, number and type that operators' files use."""
    proto = DescriptorProto()
    message.DESCRIPTOR.CopyToProto(proto)
    fields = sorted(proto.field, key=lambda f: f.number)
    assert [_describe(field) for field in fields] == CONFIG_MESSAGES[message]


@pytest.mark.parametrize("name", METHODS)
def test_service_has_exactly_the_methods_of_the_contract(name: str) -> None:
    """A service has its methods in order, with the right message classes and streams."""
    described = []
    for method in methods(name):
        assert method.path == f"/{name}/{method.name}"
        words = [method.name]
        words += ["stream"] * method.client_streaming + [method.request.DESCRIPTOR.name]
        words += ["stream"] * method.server_streaming + [method.response.DESCRIPTOR.name]
        described.append(" ".join(words))
        assert method.request is message_class(method.request.DESCRIPTOR.full_name)
    assert described == METHODS[name]
    assert service(name).full_name == name


@pytest.mark.parametrize("package", PACKAGES)
def test_module_offers_every_message_of_its_package(package: str) -> None:
    """`dir(module)` lists what the package has; each name resolves to the pool's class, enum or value."""
    module = PACKAGES[package]
    names = dir(module)
    assert names
    for name in names:
        value = getattr(module, name)
        if isinstance(value, int):
            continue
        assert value.DESCRIPTOR.full_name == f"{package}.{name}"
        if isinstance(value.DESCRIPTOR, Descriptor):
            assert value is message_class(f"{package}.{name}")
            assert value.FromString(value().SerializeToString()) == value()


def test_nested_messages_enums_and_values_are_attributes() -> None:
    """Nested names are reached as in generated code."""
    assert (
        tfs.FileSystemStoragePathSourceConfig.ServableVersionPolicy.Latest(num_versions=2).num_versions == 2
    )
    assert tfs.ModelVersionStatus.AVAILABLE == 30
    assert tfs.ModelVersionStatus.State.Name(40) == "UNLOADING"
    assert tfs.ModelVersionStatus.State.Value("END") == 50
    assert (tf.DT_FLOAT, tf.DataType.Value("DT_FLOAT"), tf.DataType.DT_FLOAT) == (1, 1, 1)
    assert tf.DT_INVALID == 0
    assert tf_error.Code.Name(5) == "NOT_FOUND"
    assert tf.TensorProto(dtype="DT_HALF").dtype == tf.DT_HALF


def test_unknown_names_are_refused() -> None:
    """An unknown attribute, message or service is an error that names it."""
    with pytest.raises(AttributeError, match="'PredictRequests'"):
        _ = tfs.PredictRequests  # type: ignore[attr-defined]
    with pytest.raises(KeyError, match=r"no\.such"):
        message_class("no.such")
    with pytest.raises(KeyError, match=r"no\.such"):
        methods("no.such")


def test_the_pool_is_private() -> None:
    """Nothing of pyserve is in protobuf's default pool, where TensorFlow's own descriptions would clash."""
    assert pool is not descriptor_pool.Default()
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("tensorflow.serving.SSLConfig")
    assert tfs.SSLConfig.DESCRIPTOR.file.pool is pool


def test_well_known_types_belong_to_the_pool_and_keep_their_methods() -> None:
    """An Any packs and unpacks messages of the pool under the usual type URL."""
    packed = wkt.Any()
    packed.Pack(tfs.SignatureDefMap())
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    assert packed.Is(tfs.SignatureDefMap.DESCRIPTOR)
    assert packed.Unpack(tfs.SignatureDefMap())
    assert not packed.Unpack(tfs.PredictRequest())
    assert wkt.Int64Value.DESCRIPTOR.file.pool is pool


def test_fields_that_are_left_out_survive() -> None:
    """A field that is not described (MetaGraphDef.object_graph_def = 7) is carried through unchanged."""
    content = b"\x3a\x03\x0a\x01x"
    graph = tf.MetaGraphDef.FromString(content)
    assert graph.SerializeToString() == content
    outer = tf.SavedModel(meta_graphs=[graph])
    assert tf.SavedModel.FromString(outer.SerializeToString()).meta_graphs[0].SerializeToString() == content


def test_presence_and_oneofs() -> None:
    """Optional scalars, messages and oneofs say whether they are set; the last member of a oneof wins."""
    spec = tfs.ModelSpec(name="m")
    assert spec.WhichOneof("version_choice") is None
    spec.version.value = 0
    assert spec.WhichOneof("version_choice") == "version"
    spec.version_label = "stable"
    assert not spec.HasField("version")
    assert not tfs.PredictRequest().HasField("client_id")
    assert tfs.PredictRequest(client_id=b"").HasField("client_id")


def test_json_names_of_the_status_answer() -> None:
    """The three fields that TensorFlow Serving names in snake case in JSON keep those names."""
    names = {
        f.name: f.json_name for f in (*tfs.StatusProto.DESCRIPTOR.fields, *tfs.ModelSpec.DESCRIPTOR.fields)
    }
    assert (names["error_code"], names["error_message"]) == ("error_code", "error_message")
    assert names["signature_name"] == "signatureName"
    [field] = tfs.GetModelStatusResponse.DESCRIPTOR.fields
    assert field.json_name == "model_version_status"


def test_every_described_file_can_be_sent_to_a_reflection_client() -> None:
    """A file's serialized form and those of its imports rebuild it in an empty pool."""
    target = descriptor_pool.DescriptorPool()

    def add(file) -> None:
        for needed in file.dependencies:
            add(needed)
        target.AddSerializedFile(file.serialized_pb)

    add(service("tensorflow.serving.PredictionService").file)
    rebuilt = target.FindServiceByName("tensorflow.serving.PredictionService")
    assert rebuilt.methods_by_name["Predict"].input_type.full_name == "tensorflow.serving.PredictRequest"


def test_messages_can_be_copied() -> None:
    """Deep copies are equal and independent."""
    request = tfs.PredictRequest(output_filter=["y"])
    twin = copy.deepcopy(request)
    twin.output_filter.append("z")
    assert list(request.output_filter) == ["y"]


def test_threads_agree_on_a_class() -> None:
    """Whoever asks first, all threads get the same class."""
    found: list[type] = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        found.append(registry.resolve("grpc.reflection.v1alpha", "ServerReflectionRequest"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_import_brings_in_nothing_heavy() -> None:
    """Importing every module of messages imports neither TensorFlow, gRPC nor numpy."""
    code = (
        "import sys; from pyserve.protos import tf, tfs, wkt, health; tfs.PredictRequest();"
        "heavy = {'tensorflow', 'tensorflow_serving', 'grpc', 'grpc_tools', 'numpy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
