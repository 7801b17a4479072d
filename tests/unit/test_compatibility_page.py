"""docs/compatibility.md against the code, where no server is needed: configuration fields and metrics."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor

from compatibility_page import PAGE, rows, states
from pyserve import protos
from pyserve.backends.saved_model.version_config import FILE_NAME, options_of_version
from pyserve.cli.flags import State
from pyserve.cli.table import FLAGS
from pyserve.codec import batching_parameters, model_config, monitoring_config, platform_config
from pyserve.config import All, Latest, ModelConfig, Specific, TensorFlowOptions, Unlisted
from pyserve.errors import Code, ServingError
from pyserve.observe import prometheus
from pyserve.observe.serving_metrics import ServingMetrics
from pyserve.protos import tfs

PACKAGE = "tensorflow.serving."
FILES = (
    "ModelServerConfig",
    "MonitoringConfig",
    "SSLConfig",
    "PlatformConfigMap",
    "SavedModelBundleSourceAdapterConfig",
    "ThreadPoolFactoryConfig",
    "SavedModelConfig",
)
"""What files hold; everything else hangs below these."""
STATES = {"honoured", "without meaning here", "ignored with a warning", "refused", "not yet"}
FIELDS = states("fields")
ADAPTER = "type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig"
CUSTOM = f'custom_model_config {{ [{ADAPTER}] {{ legacy_config {{ session_target: "x" }} }} }}'


def messages() -> Iterator[Descriptor]:
    """Each message of TensorFlow Serving that a file can hold, once; entries of maps are not counted as messages."""
    waiting = [protos.message_class(PACKAGE + name).DESCRIPTOR for name in FILES]
    seen: set[str] = set()
    while waiting:
        message = waiting.pop()
        if message.full_name in seen or not message.full_name.startswith(PACKAGE):
            continue
        seen.add(message.full_name)
        waiting += [field.message_type for field in message.fields if field.message_type is not None]
        if not message.GetOptions().map_entry:
            yield message


def test_every_configuration_field_is_on_the_page() -> None:
    """The page names exactly the fields that the messages have, and each has one of the states."""
    there = {
        f"{message.full_name.removeprefix(PACKAGE)}.{field.name}"
        for message in messages()
        for field in message.fields
    }
    assert FIELDS.keys() == there
    assert set(FIELDS.values()) <= STATES


@pytest.mark.parametrize(
    ("message", "table"),
    [
        ("SessionBundleConfig.", platform_config.FIELDS),
        ("ModelWarmupOptions.", platform_config.WARMUP_FIELDS),
    ],
)
def test_fields_of_platforms(message: str, table: Mapping[str, platform_config.Use]) -> None:
    """The rows of what a platform is told say what the code's own tables say."""
    documented = {
        key.removeprefix(message): state for key, state in FIELDS.items() if key.startswith(message)
    }
    assert documented == {field: use.value for field, use in table.items()}


def only_model(fields: str) -> ModelConfig:
    text = f'model_config_list {{ config {{ name: "m" base_path: "/m" {fields} }} }}'
    selection = model_config.parse_model_config(text, "/f", {"tensorflow", "other"})
    assert not isinstance(selection, Unlisted)
    return selection[0]


def policy(text: str) -> Any:
    return only_model(f'model_platform: "tensorflow" model_version_policy {{ {text} }}').version_policy


POLICY = "FileSystemStoragePathSourceConfig.ServableVersionPolicy."
HONOURED: dict[str, tuple[Callable[[], object], object]] = {
    "ModelConfig.name": (lambda: only_model("model_type: TENSORFLOW").name, "m"),
    "ModelConfig.base_path": (lambda: only_model("model_type: TENSORFLOW").base_path, "/m"),
    "ModelConfig.model_platform": (lambda: only_model('model_platform: "other"').platform, "other"),
    "ModelConfig.model_type": (lambda: only_model("model_type: TENSORFLOW").platform, "tensorflow"),
    "ModelConfig.version_labels": (
        lambda: only_model('model_type: TENSORFLOW version_labels { key: "a" value: 2 }').version_labels,
        {"a": 2},
    ),
    POLICY + "all": (lambda: policy("all {}"), All()),
    POLICY + "Latest.num_versions": (lambda: policy("latest { num_versions: 3 }"), Latest(3)),
    POLICY + "Specific.versions": (lambda: policy("specific { versions: 4 versions: 7 }"), Specific((4, 7))),
    "PrometheusConfig.enable": (
        lambda: monitoring_config.parse_monitoring_config("prometheus_config { enable: true }", "/f"),
        "/monitoring/prometheus/metrics",
    ),
    "PrometheusConfig.path": (
        lambda: monitoring_config.parse_monitoring_config(
            'prometheus_config { enable: true path: "/x" }', "/f"
        ),
        "/x",
    ),
}


BATCHING: dict[str, tuple[str, object]] = {
    "max_batch_size": ("{ value: 7 }", 7),
    "batch_timeout_micros": ("{ value: 7 }", 7),
    "max_enqueued_batches": ("{ value: 7 }", 7),
    "num_batch_threads": ("{ value: 7 }", 7),
    "thread_pool_name": ('{ value: "x" }', "x"),
    "allowed_batch_sizes": (": [4, 8]", (4, 8)),
    "pad_variable_length_inputs": (": true", True),
    "enable_large_batch_splitting": ("{ value: true }", True),
    "max_execution_batch_size": ("{ value: 7 }", 7),
}


def batching_field(name: str) -> object:
    text = f"{name} {BATCHING[name][0]}"
    return getattr(batching_parameters.parse_batching_parameters(text, "/f"), name)


HONOURED |= {
    f"BatchingParameters.{name}": (functools.partial(batching_field, name), expected)
    for name, (_, expected) in BATCHING.items()
}


@pytest.mark.parametrize("field", HONOURED)
def test_honoured_fields(field: str) -> None:
    """What a honoured field says is what the configuration holds."""
    read, expected = HONOURED[field]
    assert FIELDS[field] == "honoured"
    assert read() == expected


def test_custom_model_config_is_refused() -> None:
    """It is told apart from a list; the life cycle refuses it."""
    assert FIELDS["ModelServerConfig.custom_model_config"] == "refused"
    assert model_config.parse_model_config(CUSTOM, "/f") is Unlisted.CUSTOM


def platform_text(field: str) -> str:
    """A platform config file that sets one field of SessionBundleConfig, to something that is not its default."""
    bundle = tfs.SessionBundleConfig()
    descriptor = bundle.DESCRIPTOR.fields_by_name[field]
    value: Any = {"string": "x", "bool": True}.get(kind(descriptor), 1)
    if descriptor.message_type is not None and descriptor.is_repeated:
        getattr(bundle, field).add()
    elif descriptor.message_type is not None:
        getattr(bundle, field).SetInParent()
    elif descriptor.is_repeated:
        getattr(bundle, field).append(value)
    else:
        setattr(bundle, field, value)
    text = protos.to_text(bundle)
    return (
        f'platform_configs {{ key: "t" value {{ source_adapter_config {{ [{ADAPTER}] {{ '
        f"legacy_config {{ {text} }} }} }} }} }}"
    )


def kind(descriptor: Any) -> str:
    return {descriptor.TYPE_STRING: "string", descriptor.TYPE_BOOL: "bool"}.get(descriptor.type, "number")


@pytest.mark.parametrize("field", platform_config.FIELDS)
def test_platform_fields_do_what_the_page_says(field: str, caplog: pytest.LogCaptureFixture) -> None:
    """A refused field ends the start by its name, an ignored one is named in a warning, others are silent."""
    state = FIELDS[f"SessionBundleConfig.{field}"]
    if state == "refused":
        with pytest.raises(ServingError, match=field) as caught:
            platform_config.parse_platform_config(platform_text(field), "/f")
        assert caught.value.code is Code.UNIMPLEMENTED
        return
    platform_config.parse_platform_config(platform_text(field), "/f")
    assert (f"{field} of platform t in '/f' is ignored" in caplog.text) is (state == "ignored with a warning")


@pytest.mark.parametrize(
    "field",
    [
        "SavedModelConfig.critical",
        "SavedModelConfig.tfrt_runtime_config",
        "SessionOverrides.remote_op_remap_config",
        "SessionOverrides.batch_op_rewriter_config",
        "SessionOverrides.disable_meta_optimizer",
    ],
)
def test_fields_of_a_version_do_what_the_page_says(
    field: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An honoured field changes the options, an ignored one is named in a warning, one without meaning is silent."""
    caplog.set_level(logging.WARNING)
    config = tfs.SavedModelConfig()
    message, name = field.split(".")
    target: Any = config if message == "SavedModelConfig" else config.session_overrides
    if target.DESCRIPTOR.fields_by_name[name].message_type is None:
        setattr(target, name, True)
    else:
        getattr(target, name).SetInParent()
    path = tmp_path / FILE_NAME
    path.parent.mkdir()
    path.write_bytes(config.SerializeToString())
    before = TensorFlowOptions()
    changed = options_of_version(tmp_path, before) != before
    assert changed is (FIELDS[field] == "honoured")
    assert (name in caplog.text) is (FIELDS[field] == "ignored with a warning")


@pytest.mark.parametrize(
    ("message", "flag"),
    [
        ("ModelConfig", "model_config_file"),
        ("PrometheusConfig", "monitoring_config_file"),
        ("PlatformConfig", "platform_config_file"),
        ("SSLConfig", "ssl_config_file"),
        ("ThreadPoolFactoryConfig", "thread_pool_factory_config_file"),
        ("BatchingParameters", "batching_parameters_file"),
    ],
)
def test_fields_of_a_file_follow_its_flag(message: str, flag: str) -> None:
    """A file's fields are honoured when its flag is implemented, and only then."""
    implemented = next(entry for entry in FLAGS if entry.name == flag).state is State.IMPLEMENTED
    honoured = [
        name for name, state in FIELDS.items() if name.startswith(message + ".") and state == "honoured"
    ]
    assert bool(honoured) is implemented


def test_every_metric_is_on_the_page() -> None:
    """The page's names, types and labels are those that a server registers, in its order."""
    registered = [
        [prometheus.metric_name(metric.name), metric.kind, ", ".join(metric.labels)]
        for metric in ServingMetrics().registry.metrics()
    ]
    assert [row[:3] for row in rows("metrics")] == registered


def test_every_difference_has_a_reason() -> None:
    """No row of the tables of differences has an empty cell, and none stands there twice."""
    text = PAGE.read_text()
    section = text[text.index("## Differences") : text.index("## Flags")]
    table = [
        [cell.strip() for cell in line[1:-1].split(" | ")]
        for line in section.splitlines()
        if line[:2] == "| "
    ]
    assert [row for row in table if len(row) != 4 or not all(row)] == []
    subjects = [row[0] for row in table if row[0] != "What"]
    assert len(subjects) == len(set(subjects)) > 50
