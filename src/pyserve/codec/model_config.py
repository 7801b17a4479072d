"""`ModelServerConfig`, from its text or its message to the models that it lists, with every check of its own.

Source of the rules and texts: TensorFlow Serving, model_servers/server_core.cc.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from pyserve.codec.text_file import parse_file, read_text
from pyserve.config import (
    PYTHON_PLATFORM,
    All,
    Latest,
    ModelConfig,
    ModelSelection,
    Specific,
    Unlisted,
    VersionPolicy,
    check_base_path,
)
from pyserve.errors import InvalidArgumentError
from pyserve.protos import tfs

logger = logging.getLogger(__name__)

PLATFORM_TENSORFLOW = "tensorflow"
_TENSORFLOW_ALONE = frozenset({PLATFORM_TENSORFLOW})


def read_model_config(path: str, platforms: Collection[str] = _TENSORFLOW_ALONE) -> ModelSelection:
    """The models of a config file, read now.

    Raises:
        ServingError: The file cannot be read or parsed, or breaks a rule.
    """
    return parse_model_config(read_text(path), path, platforms)


def parse_model_config(
    text: str, path: str, platforms: Collection[str] = _TENSORFLOW_ALONE
) -> ModelSelection:
    """The models of a config file's text; an empty text is `Unlisted.UNSET`.

    Args:
        text: Text format of `ModelServerConfig`.
        path: Where it came from, for messages.
        platforms: What `model_platform` may be.

    Raises:
        InvalidArgumentError: The text cannot be parsed, or breaks a rule.
    """
    return model_configs(parse_file(text, path, tfs.ModelServerConfig()), platforms)


def model_configs(
    message: tfs.ModelServerConfig, platforms: Collection[str] = _TENSORFLOW_ALONE
) -> ModelSelection:
    """The models that a config message lists, or what it holds instead.

    Raises:
        InvalidArgumentError: A rule is broken; the message names the model.
    """
    kind = message.WhichOneof("config")
    if kind is None:
        return Unlisted.UNSET
    if kind == "custom_model_config":
        return Unlisted.CUSTOM
    # The order of TensorFlow Serving's checks: every name, then every path, then every platform.
    seen: set[str] = set()
    for config in message.model_config_list.config:
        if config.name in seen:
            raise InvalidArgumentError(f"Illegal to list model {config.name} multiple times in config list")
        seen.add(config.name)
    for config in message.model_config_list.config:
        check_base_path(config.name, config.base_path)
    return tuple(
        ModelConfig(
            name=config.name,
            base_path=config.base_path,
            platform=_platform(config, platforms),
            version_policy=_policy(config.model_version_policy),
            version_labels=dict(config.version_labels),
            logging_config=_logging_config(config),
        )
        for config in message.model_config_list.config
    )


def _logging_config(config: tfs.ModelConfig) -> bytes | None:
    if not config.HasField("logging_config"):
        return None
    return config.logging_config.SerializeToString(deterministic=True)


def _platform(config: tfs.ModelConfig, platforms: Collection[str]) -> str:
    name = config.name
    if config.model_type and config.model_platform:
        raise InvalidArgumentError(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            f"ModelServerConfig::model_platform, model name is {name}"
        )
    if not config.model_type and not config.model_platform:
        raise InvalidArgumentError(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {name}"
        )
    if config.model_type:
        if config.model_type != tfs.ModelType.TENSORFLOW:
            raise InvalidArgumentError(
                f"ModelServerConfig::model_type choice {config.model_type} not supported."
            )
        logger.warning(
            "Deprecated ModelServerConfig::model_type field detected. Prefer ModelServerConfig::model_platform."
        )
    platform = config.model_platform or PLATFORM_TENSORFLOW
    check_platform(name, platform, platforms)
    return platform


def check_platform(name: str, platform: str, platforms: Collection[str]) -> None:
    """Refuse a model of a platform that nobody loads.

    Raises:
        InvalidArgumentError: In TensorFlow Serving's words, and how to allow ours.
    """
    if platform not in platforms:
        hint = "; it needs --allow_python_models" if platform == PYTHON_PLATFORM else ""
        raise InvalidArgumentError(f"Model {name} requests unsupported platform {platform}{hint}")


def _policy(policy: tfs.FileSystemStoragePathSourceConfig.ServableVersionPolicy) -> VersionPolicy:
    match policy.WhichOneof("policy_choice"):
        case "all":
            return All()
        case "specific":
            return Specific(tuple(policy.specific.versions))
        case _:
            return Latest(max(1, policy.latest.num_versions))
