"""ModelServerConfig: what its text means, and what is refused."""

from __future__ import annotations

import pytest

from pyserve.codec.model_config import parse_model_config
from pyserve.config import All, Latest, ModelConfig, ModelSelection, Specific, Unlisted
from pyserve.errors import InvalidArgumentError


def model(fields: str) -> str:
    return "model_config_list { config { " + fields + " } }"


GOOD = 'name: "m" base_path: "/m" model_platform: "tensorflow"'


@pytest.mark.parametrize(
    ("text", "models"),
    [
        ("", Unlisted.UNSET),
        ("  # nothing but a comment\n", Unlisted.UNSET),
        ("custom_model_config {}", Unlisted.CUSTOM),
        ("model_config_list: {}", ()),
        (model(GOOD), (ModelConfig("m", "/m"),)),
        (model('name: "m", base_path: "/m"; model_type: TENSORFLOW'), (ModelConfig("m", "/m"),)),
        (model(GOOD + " model_version_policy { all {} }"), (ModelConfig("m", "/m", version_policy=All()),)),
        (
            model(GOOD + " model_version_policy { latest { num_versions: 2 } }"),
            (ModelConfig("m", "/m", version_policy=Latest(2)),),
        ),
        (
            model(GOOD + " model_version_policy: { specific { versions: 42 versions: 43 } }"),
            (ModelConfig("m", "/m", version_policy=Specific((42, 43))),),
        ),
        (
            model(GOOD + " version_labels { key: 'stable' value: 42 }"),
            (ModelConfig("m", "/m", version_labels={"stable": 42}),),
        ),
        (model('base_path: "/m" model_platform: "tensorflow"'), (ModelConfig("", "/m"),)),
        (
            model('name: "m" base_path: "gs://b/m" model_platform: "tensorflow"'),
            (ModelConfig("m", "gs://b/m"),),
        ),
        (
            model(GOOD + ' version_labels { key: "" value: -1 } version_labels { key: "a/b:c" value: 1 }'),
            (ModelConfig("m", "/m", version_labels={"": -1, "a/b:c": 1}),),
        ),
        (
            model(GOOD + " version_labels { key: 'a' value: 1 } version_labels { key: 'a' value: 2 }"),
            (ModelConfig("m", "/m", version_labels={"a": 2}),),
        ),
        (
            model(GOOD + " model_version_policy { latest { num_versions: 0 } }"),
            (ModelConfig("m", "/m", version_policy=Latest(1)),),
        ),
        (model(GOOD + " logging_config {}"), (ModelConfig("m", "/m", logging_config=b""),)),
    ],
)
def test_models(text: str, models: ModelSelection) -> None:
    """Every form of the text gives the models that it lists."""
    assert parse_model_config(text, "/c") == models


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("improperly formatted file", "Invalid protobuf file: '/c'"),
        (
            "model_config_list { " + 2 * ("config { " + GOOD + " } ") + "}",
            "Illegal to list model m multiple times in config list",
        ),
        (
            model('name: "m" base_path: "m" model_platform: "tensorflow"'),
            "Expected model m to have an absolute path or URI; got base_path()=m",
        ),
        (model(GOOD + " model_type: TENSORFLOW"), "Illegal setting both ModelServerConfig::model_type"),
        (model('name: "m" base_path: "/m"'), "Illegal setting neither ModelServerConfig::model_type"),
        (model('name: "m" base_path: "/m" model_type: OTHER'), "model_type choice 2 not supported."),
        (
            model('name: "m" model_platform: "tensorflow"'),
            "Expected model m to have an absolute path or URI; got base_path()=",
        ),
        (
            model('name: "m" base_path: "/m" model_platform: "caffe"'),
            "Model m requests unsupported platform caffe",
        ),
        (
            model('name: "m" base_path: "/m" model_platform: "python"'),
            "Model m requests unsupported platform python; it needs --allow_python_models",
        ),
    ],
)
def test_refusals(text: str, message: str) -> None:
    """Each broken rule is refused in TensorFlow Serving's words."""
    with pytest.raises(InvalidArgumentError) as caught:
        parse_model_config(text, "/c")
    assert message in caught.value.message


def test_the_order_of_the_checks() -> None:
    """Every name is looked at before any path, and every path before any platform."""
    no_platform = 'config { name: "a" base_path: "/a" } '
    relative = 'config { name: "b" base_path: "b" } '
    for entries, message in [
        (no_platform + relative, "Expected model b to have an absolute path"),
        (relative + no_platform * 2, "Illegal to list model a multiple times"),
    ]:
        with pytest.raises(InvalidArgumentError, match=message):
            parse_model_config("model_config_list { " + entries + "}", "/c")


def test_the_place_of_a_mistake_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the line that scripts look for, with line and column."""
    with pytest.raises(InvalidArgumentError):
        parse_model_config("model_config_list {\n  nonsense: 1\n}", "/c")
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig: 2:3: " in caplog.text


def test_further_platforms() -> None:
    """Other platforms than tensorflow are legal when they were configured, and tensorflow is not when it was not."""
    text = model('name: "m" base_path: "/m" model_platform: "gpu"')
    assert parse_model_config(text, "/c", {"gpu"}) == (ModelConfig("m", "/m", platform="gpu"),)
    with pytest.raises(InvalidArgumentError, match="Model m requests unsupported platform tensorflow"):
        parse_model_config(model(GOOD), "/c", {"gpu"})


def test_model_type_is_deprecated(caplog: pytest.LogCaptureFixture) -> None:
    """model_type still works, with a warning."""
    parse_model_config(model('name: "m" base_path: "/m" model_type: TENSORFLOW'), "/c")
    assert "Deprecated ModelServerConfig::model_type field detected" in caplog.text
