"""Our messages against the official ones of TensorFlow, tensorflow-serving-api and grpcio-health-checking.

The official classes live in protobuf's default pool, ours in a private one; both are in this process. Wheels
older than the newest may lack what ADDED_LATER lists; every other difference is listed in LEFT_OUT or fails.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf import descriptor_pool, message_factory, text_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto
from google.protobuf.message import Message

from pyserve.protos import message_class, methods, pool, registry, tf, tfs, to_text

pytest.importorskip("tensorflow", reason="the official messages need TensorFlow")
pytest.importorskip("tensorflow_serving", reason="the official messages need tensorflow-serving-api")

APIS = [
    *("classification", "get_model_metadata", "get_model_status", "inference", "input", "logging", "model"),
    *("model_management", "model_service", "predict", "prediction_log", "prediction_service", "regression"),
    *("session_service", "status"),
]
CONFIGS = [
    *("file_system_storage_path_source", "log_collector_config", "logging_config", "model_server_config"),
    "platform_config",
]
OFFICIAL = [
    *(f"tensorflow_serving.apis.{name}_pb2" for name in APIS),
    *(f"tensorflow_serving.config.{name}_pb2" for name in CONFIGS),
    "tensorflow.core.protobuf.saved_model_pb2",
    "tensorflow.core.protobuf.tensor_bundle_pb2",
    "tensorflow.tsl.profiler.protobuf.profiler_options_pb2",
    "grpc_health.v1.health_pb2",
]
# Fields of TensorFlow that pyserve does not describe; they are carried along as unknown.
LEFT_OUT = {
    "tensorflow.GraphDef": {"debug_info"},
    "tensorflow.MetaGraphDef": {"object_graph_def"},
    "tensorflow.RunMetadata": {"step_stats", "cost_graph"},
    "tensorflow.RunOptions": {"debug_options"},
}
# Names of ours that a wheel older than the release noted lacks (looked up from 2.18 on).
ADDED_LATER = {
    "tensorflow.serving.LogMetadata.safe_aggregation_privacy_key",  # 2.19
    "tensorflow.serving.LoggingConfig.custom_logging_config",  # 2.19
    "tensorflow.serving.PerTaskSamplingConfig",  # 2.20
    "tensorflow.serving.PredictRequest.RequestOptions.Handshake",  # 2.21
    "tensorflow.serving.PredictRequest.RequestOptions.handshake",  # 2.21
    "tensorflow.serving.PredictRequest.RequestOptions.max_cache_length",  # 2.20
    "tensorflow.serving.PredictRequest.RequestOptions.return_additional_arrays_from_prefill",  # 2.19
    "tensorflow.serving.PredictRequest.RequestOptions.return_all_stoptokens",  # 2.20
    "tensorflow.serving.PredictRequest.RequestOptions.return_stoptokens",  # 2.19
    "tensorflow.serving.PredictStreamedOptions.RequestState.CANCEL",  # 2.20
    "tensorflow.serving.SamplingConfig.per_task_sampling_configs",  # 2.20
}
# TensorFlow and TensorFlow Serving ship no Python module for these; unit tests hold their fields.
NOT_IN_WHEELS = {
    "BatchOpRewriteConfig",
    "BatchingParameters",
    "ModelWarmupOptions",
    "MonitorRequest",
    "MonitorResponse",
    "MonitoringConfig",
    "ProfileRequest",
    "ProfileResponse",
    "ProfileToolData",
    "ProfilerServiceMonitorResult",
    "PrometheusConfig",
    "RemoteOpRemapConfig",
    "RuntimeConfigProto",
    "SSLConfig",
    "SavedModelBundleSourceAdapterConfig",
    "SavedModelConfig",
    "SessionBundleConfig",
    "SessionOverrides",
    "TerminateRequest",
    "TerminateResponse",
    "ThreadPoolFactoryConfig",
    "ToolRequestOptions",
}
PACKAGES = (
    "tensorflow",
    "tensorflow.error",
    "tensorflow.serving",
    "tensorflow.serving.tools",
    "tensorflow.tfrt_stub",
    "grpc.health.v1",
)


def _ours() -> Iterator[Descriptor | EnumDescriptor]:
    for package in PACKAGES:
        for name in registry.names(package):
            found = registry.resolve(package, name)
            if not isinstance(found, int):
                yield found.DESCRIPTOR


OURS = {d.full_name: d for d in _ours() if d.name not in NOT_IN_WHEELS}
MESSAGES = [name for name, d in OURS.items() if isinstance(d, Descriptor)]


def _find(find: Callable[[str], Any], name: str) -> Any:
    """An official description; skips for what is newer than the wheel installed."""
    try:
        return find(name)
    except KeyError:
        if name in ADDED_LATER:
            pytest.skip(f"{name} is newer than the wheel installed")
        raise


@pytest.fixture(scope="module")
def official() -> descriptor_pool.DescriptorPool:
    for name in OFFICIAL:
        importlib.import_module(name)
    return descriptor_pool.Default()


def _proto(descriptor: Any, proto: Any) -> Any:
    descriptor.CopyToProto(proto)
    return proto


def _field(message: DescriptorProto, field: FieldDescriptorProto) -> tuple[FieldDescriptorProto, str]:
    """A field without what is only another spelling of the same thing, and the name of its oneof."""
    plain = FieldDescriptorProto()
    plain.CopyFrom(field)
    plain.ClearField("oneof_index")
    plain.options.ClearField("packed")  # the default of proto3
    head, *words = field.name.split("_")
    if field.json_name == head + "".join(word[:1].upper() + word[1:] for word in words):
        plain.ClearField("json_name")
    if not plain.options.ListFields():
        plain.ClearField("options")
    return plain, message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""


def _compare_message(ours: DescriptorProto, theirs: DescriptorProto, name: str) -> list[str]:
    found: list[str] = []
    our_fields = {field.name: _field(ours, field) for field in ours.field}
    their_fields = {field.name: _field(theirs, field) for field in theirs.field}
    for field in sorted(our_fields.keys() | their_fields.keys()):
        if field not in our_fields:
            if field not in LEFT_OUT.get(name, ()):
                found.append(f"{name}.{field}: missing")
        elif field not in their_fields:
            if f"{name}.{field}" not in ADDED_LATER:
                found.append(f"{name}.{field}: not theirs")
        elif our_fields[field] != their_fields[field]:
            found.append(f"{name}.{field}: {our_fields[field]} is {their_fields[field]} there")
    nested = {message.name: message for message in theirs.nested_type}
    for message in ours.nested_type:
        inner = f"{name}.{message.name}"
        if message.name in nested:
            found += _compare_message(message, nested.pop(message.name), inner)
        elif inner not in ADDED_LATER:
            found.append(f"{inner}: not theirs")
    found += [f"{name}.{missing}: missing" for missing in nested]
    enums = {enum.name: enum for enum in theirs.enum_type}
    for enum in ours.enum_type:
        found += _compare_enum(enum, enums.pop(enum.name, EnumDescriptorProto()), f"{name}.{enum.name}")
    found += [f"{name}.{missing}: missing" for missing in enums]
    mine, other = ([(r.start, r.end) for r in m.reserved_range] for m in (ours, theirs))
    return found + ([f"{name}: reserved {mine} is {other} there"] if sorted(mine) != sorted(other) else [])


def _compare_enum(ours: EnumDescriptorProto, theirs: EnumDescriptorProto, name: str) -> list[str]:
    mine, other = ({value.name: value.number for value in enum.value} for enum in (ours, theirs))
    extra = {n for n in mine.keys() - other.keys() if f"{name}.{n}" not in ADDED_LATER}
    return [
        f"{name}.{value}: {mine.get(value)} is {other.get(value)} there"
        for value in sorted(extra | {n for n in other if mine.get(n) != other[n]})
    ]


@pytest.mark.parametrize("name", OURS)
def test_described_as_in_the_official_wheels(name: str, official: descriptor_pool.DescriptorPool) -> None:
    """Names, numbers, types, labels, oneofs, presence, json names and options of every field are equal."""
    ours = OURS[name]
    if isinstance(ours, EnumDescriptor):
        theirs = _find(official.FindEnumTypeByName, name)
        found = _compare_enum(
            _proto(ours, EnumDescriptorProto()), _proto(theirs, EnumDescriptorProto()), name
        )
    else:
        theirs = _find(official.FindMessageTypeByName, name)
        assert [f.is_packed for f in ours.fields if f.name in theirs.fields_by_name] == [
            theirs.fields_by_name[f.name].is_packed for f in ours.fields if f.name in theirs.fields_by_name
        ]
        found = _compare_message(_proto(ours, DescriptorProto()), _proto(theirs, DescriptorProto()), name)
    assert found == []


def _streams(method: Any) -> tuple[bool, bool]:
    return method.client_streaming, method.server_streaming


def test_nothing_of_the_serving_wheel_is_missing(official: descriptor_pool.DescriptorPool) -> None:
    """Every message, enum and service of tensorflow-serving-api and of the health wheel is described."""
    missing = []
    for module in OFFICIAL:
        if module.startswith(("tensorflow_serving", "grpc_health")):
            file = importlib.import_module(module).DESCRIPTOR
            names = [*file.message_types_by_name, *file.enum_types_by_name]
            missing += [f"{file.package}.{n}" for n in names if f"{file.package}.{n}" not in OURS]
            for service in file.services_by_name.values():
                ours = {
                    m.name: (m.request.DESCRIPTOR.full_name, *_streams(m)) for m in methods(service.full_name)
                }
                ours_back = {m.name: m.response.DESCRIPTOR.full_name for m in methods(service.full_name)}
                theirs = {m.name: (m.input_type.full_name, *_streams(m)) for m in service.methods}
                theirs_back = {m.name: m.output_type.full_name for m in service.methods}
                missing += [f"{service.full_name}.{n}" for n in theirs if theirs[n] != ours.get(n)]
                missing += [f"{service.full_name}.{n}" for n in theirs if theirs_back[n] != ours_back.get(n)]
    assert missing == []


SAMPLES: dict[int, Any] = {
    FieldDescriptor.CPPTYPE_INT32: -7,
    FieldDescriptor.CPPTYPE_INT64: -(2**62),
    FieldDescriptor.CPPTYPE_UINT32: 2**32 - 1,
    FieldDescriptor.CPPTYPE_UINT64: 2**64 - 1,
    FieldDescriptor.CPPTYPE_DOUBLE: 0.1,
    FieldDescriptor.CPPTYPE_FLOAT: 0.5,
    FieldDescriptor.CPPTYPE_BOOL: True,
}


def _sample(field: FieldDescriptor) -> Any:
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    if field.type == FieldDescriptor.TYPE_STRING:
        return "é" + field.name
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b"\0\xff" + field.name.encode()
    return SAMPLES[field.cpp_type]


def _fill(message: Message, depth: int) -> None:
    """Set every field, of a oneof the last one, except those that pyserve leaves out."""
    labels = {field.name: field.label for field in _proto(message.DESCRIPTOR, DescriptorProto()).field}
    for field in message.DESCRIPTOR.fields:
        is_repeated = labels[field.name] == FieldDescriptorProto.LABEL_REPEATED
        if field.name in LEFT_OUT.get(message.DESCRIPTOR.full_name, ()):
            continue
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            key, value = (inner.fields_by_name[name] for name in ("key", "value"))
            mapping = getattr(message, field.name)
            if value.message_type is None:
                mapping[_sample(key)] = _sample(value)
            elif depth:
                _fill(mapping[_sample(key)], depth - 1)
        elif inner is not None:
            if depth and is_repeated:
                _fill(getattr(message, field.name).add(), depth - 1)
            elif depth:
                getattr(message, field.name).SetInParent()
                _fill(getattr(message, field.name), depth - 1)
        elif is_repeated:
            getattr(message, field.name).extend([_sample(field)] * 2)
        else:
            setattr(message, field.name, _sample(field))


@pytest.mark.parametrize("name", MESSAGES)
def test_bytes_and_text_cross_over(name: str, official: descriptor_pool.DescriptorPool) -> None:
    """A filled official message is understood field by field, says the same as text, and comes back equal."""
    theirs = message_factory.GetMessageClass(_find(official.FindMessageTypeByName, name))()
    _fill(theirs, depth=3)
    ours = message_class(name).FromString(theirs.SerializeToString())
    ours.DiscardUnknownFields()
    assert type(theirs).FromString(ours.SerializeToString()) == theirs
    assert to_text(ours) == text_format.MessageToString(theirs, as_utf8=False)
    assert text_format.Parse(to_text(ours), type(theirs)()) == theirs
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)


def test_pools_do_not_mix(official: descriptor_pool.DescriptorPool) -> None:
    """The two descriptions of one name are different objects, so neither side can disturb the other."""
    name = "tensorflow.serving.PredictRequest"
    assert pool.FindMessageTypeByName(name) is not official.FindMessageTypeByName(name)
    foreign = message_factory.GetMessageClass(official.FindMessageTypeByName("tensorflow.TensorProto"))(
        dtype=1
    )
    with pytest.raises(TypeError):
        tfs.PredictRequest().inputs["x"].CopyFrom(foreign)
    assert tf.TensorProto.FromString(foreign.SerializeToString()).dtype == tf.DT_FLOAT


OUR_IMPORT = "from pyserve.protos import tf, tfs; tfs.PredictRequest(); tf.SavedModel()"
THEIR_IMPORT = "import tensorflow; from tensorflow_serving.apis import predict_pb2, prediction_log_pb2"
CROSSING = """
theirs = predict_pb2.PredictRequest()
theirs.inputs["x"].CopyFrom(tensorflow.make_tensor_proto([1.5, 2.5]))
ours = tfs.PredictRequest.FromString(theirs.SerializeToString())
assert ours.inputs["x"].dtype == tf.DT_FLOAT and len(ours.inputs["x"].tensor_content) == 8
assert predict_pb2.PredictRequest.FromString(ours.SerializeToString()) == theirs
assert tfs.PredictRequest.DESCRIPTOR is not predict_pb2.PredictRequest.DESCRIPTOR
print("fine")
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", ["pyserve", "tensorflow"])
def test_both_import_orders(first: str) -> None:
    """TensorFlow and its serving API can be imported before and after our messages in one process."""
    lines = [OUR_IMPORT, THEIR_IMPORT] if first == "pyserve" else [THEIR_IMPORT, OUR_IMPORT]
    code = "\n".join([*lines, CROSSING])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("fine"), done.stderr
