"""`ModelServerConfig`, from its text or its message to the models that it lists, with every check of its own.

Source of the rules and texts: TensorFlow Serving, model_servers/server_core.cc.
"""

from __future__ import annotations

from pyserve.codec.text_file import parse_file
from pyserve.config import All, Latest, ModelConfig, Specific, VersionPolicy
from pyserve.errors import InvalidArgumentError
from pyserve.protos import tfs

PLATFORM_TENSORFLOW = "tensorflow"


def parse_model_config(text: str, path: str) -> tuple[ModelConfig, ...]:
    """The models of a config file's text; an empty text lists none.

    Args:
        text: Text format of `ModelServerConfig`.
        path: Where it came from, for messages.

    Raises:
        InvalidArgumentError: The text cannot be parsed, or breaks a rule.
    """
    return model_configs(parse_file(text, path, tfs.ModelServerConfig()))


def model_configs(message: tfs.ModelServerConfig) -> tuple[ModelConfig, ...]:
    """The models that a config message lists.

    Raises:
        InvalidArgumentError: A rule is broken; the message names the model.
    """
    if message.WhichOneof("config") == "custom_model_config":
        raise InvalidArgumentError("ModelServer does not yet support custom model config.")
    seen: set[str] = set()
    models: list[ModelConfig] = []
    for config in message.model_config_list.config:
        if config.name in seen:
            raise InvalidArgumentError(f"Illegal to list model {config.name} multiple times in config list")
        seen.add(config.name)
        models.append(
            ModelConfig(
                name=config.name,
                base_path=config.base_path,
                platform=_platform(config),
                version_policy=_policy(config.model_version_policy),
                version_labels=dict(config.version_labels),
            )
        )
    return tuple(models)


def _platform(config: tfs.ModelConfig) -> str:
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
        return PLATFORM_TENSORFLOW
    if config.model_platform != PLATFORM_TENSORFLOW:
        raise InvalidArgumentError(f"Model {name} requests unsupported platform {config.model_platform}")
    return config.model_platform


def _policy(policy: tfs.FileSystemStoragePathSourceConfig.ServableVersionPolicy) -> VersionPolicy:
    match policy.WhichOneof("policy_choice"):
        case "all":
            return All()
        case "specific":
            return Specific(tuple(policy.specific.versions))
        case _:
            return Latest(max(1, policy.latest.num_versions))
