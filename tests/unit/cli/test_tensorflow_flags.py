"""The flags of TensorFlow's options: what they make of TensorFlowOptions, in which order they are checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyserve.cli.configure import server_config
from pyserve.cli.flags import Value
from pyserve.codec.session_config import HONOURED
from pyserve.config import TensorFlowOptions
from pyserve.errors import Code, NotFoundError, ServingError
from pyserve.protos import tf

FILES = {
    "/session": "gpu_options { allow_growth: true }",
    "/refused": "experimental { use_tfrt: true }",
    "/broken": "gpu_options {",
}
ALL_THREADS: dict[str, Value] = {
    "tensorflow_session_parallelism": 1,
    "tensorflow_intra_op_parallelism": 1,
    "tensorflow_inter_op_parallelism": 1,
}


def read(path: str) -> str:
    if path not in FILES:
        raise NotFoundError(f"{path}; No such file or directory")
    return FILES[path]


def options(**flags: Value) -> TensorFlowOptions:
    return server_config({"model_base_path": "/m", **flags}, read).tensorflow


def test_defaults() -> None:
    """Without flags TensorFlow gets no options at all."""
    assert options() == TensorFlowOptions()


def test_values() -> None:
    """Each flag reaches its field."""
    made = options(
        tensorflow_session_config_file="/session",
        per_process_gpu_memory_fraction=0.5,
        mixed_precision="bfloat16",
        saved_model_tags="serve,gpu",
    )
    assert tf.ConfigProto.FromString(made.session_config).gpu_options.allow_growth
    assert made.per_process_gpu_memory_fraction == 0.5
    assert made.bfloat16_mixed_precision
    assert made.saved_model_tags == {"serve", "gpu"}


@pytest.mark.parametrize(("value", "on", "warned"), [("", 0, 0), ("bfloat16", 1, 0), ("float16", 0, 1)])
def test_mixed_precision(value: str, on: int, warned: int, caplog: pytest.LogCaptureFixture) -> None:
    """Anything but bfloat16 is only warned about, in TensorFlow Serving's words."""
    assert options(mixed_precision=value).bfloat16_mixed_precision == bool(on)
    text = f"{value} auto mixed precision is not supported. Valid option: bfloat16"
    assert (text in caplog.messages) == bool(warned)


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (
            {"tensorflow_session_config_file": "/none"},
            Code.NOT_FOUND,
            "/none; No such file or directory",
        ),
        (
            {"tensorflow_session_config_file": "/broken", **ALL_THREADS},
            Code.INVALID_ARGUMENT,
            "Invalid protobuf file: '/broken'",
        ),
        (
            {"tensorflow_session_config_file": "/refused"},
            Code.INVALID_ARGUMENT,
            "experimental.use_tfrt",
        ),
        (
            {"tensorflow_session_config_file": "/session", **ALL_THREADS},
            Code.INVALID_ARGUMENT,
            "You cannot configure all.",
        ),
        (
            {"tensorflow_session_config_file": "/none", "model_base_path": ""},
            Code.INVALID_ARGUMENT,
            "Both server_options.model_base_path",
        ),
    ],
)
def test_refusals_in_order(flags: dict[str, Value], code: Code, message: str) -> None:
    """The models come first, then the session config file, then the thread counts."""
    with pytest.raises(ServingError) as caught:
        options(**flags)
    assert caught.value.code is code
    assert message in caught.value.message


def test_the_page_lists_the_honoured_fields() -> None:
    """docs/configuration.md names exactly the fields of the session config file that are honoured."""
    page = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
    section = page.partition("### The session config file")[2].partition("\n### ")[0]
    listed = [line[3:-1] for line in section.splitlines() if line.startswith("- `")]
    assert listed == sorted(HONOURED)
