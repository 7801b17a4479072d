"""The JSON file that describes a service of Alibaba EAS: what of it a model server can honour, as a value. Pure.

Two spellings are read: `name` at the top or inside `metadata`, and the keys of `rpc` nested or flat (`rpc.keepalive`).
`//` comments are allowed. Unknown keys and those of the platform are named in a warning and ignored.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyserve.errors import InvalidArgumentError

logger = logging.getLogger(__name__)

_PROCESSOR = re.compile(r"tensorflow_(?P<device>cpu|gpu)(_[0-9]+\.[0-9]+)?", re.ASCII)
# A string, which may hold two slashes, or a comment.
_STRING_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*')
# U+FFFD: the file is not UTF-8.
_NOT_IN_A_TOKEN = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffd]")

_PLATFORM = frozenset(
    {
        "oss_endpoint", "metadata", "runtime", "networking", "cloud", "containers", "storage", "autoscaler", "sinker",
        "features", "labels", "unit", "processor_envs", "processor_type", "processor_mainclass",
    }
)  # fmt: skip
"""Keys at the top that are the platform's, or are looked into."""
_CUSTOM = ("processor_path", "processor_entry")
_SECRET = ("model_path", "warm_up_data_path")
"""URLs may be signed."""


@dataclass(frozen=True, slots=True)
class Rpc:
    """The keys of `metadata.rpc`, with EAS's defaults.

    Attributes:
        keepalive: Milliseconds that a request may take.
        worker_threads: Requests that the model works on at the same time.
        max_queue_size: Requests that may wait.
        batching: Collect requests into batches.
        max_batch_size: Rows of a batch.
        max_batch_timeout: Milliseconds that a request waits for company.
        rate_limit: Requests per second; 0: any number.
    """

    keepalive: int = 5000
    worker_threads: int = 5
    max_queue_size: int = 64
    batching: bool = False
    max_batch_size: int = 16
    max_batch_timeout: int = 50
    rate_limit: float = 0.0

    @property
    def max_enqueued_batches(self) -> int:
        """The queue in batches."""
        return max(1, math.ceil(self.max_queue_size / self.max_batch_size))


_RPC_LEAST: Mapping[str, int] = {
    "keepalive": 1,
    "worker_threads": 1,
    "max_queue_size": 0,
    "max_batch_size": 1,
    "max_batch_timeout": 0,
    "rate_limit": 0,
}
_RPC_WITHOUT_MEANING = frozenset({"io_threads", "enable_sigterm", "enable_jemalloc"})


@dataclass(frozen=True, slots=True)
class ServiceFile:
    """What the file says.

    Attributes:
        name: Of the service, and the model.
        model_path: A directory, an archive or a frozen graph: a path, or a `file`, `http` or `https` URL.
        model_entry: Where in it the model is; empty: it is looked for.
        token: Empty: none.
        signature_name: The default signature; empty: chosen by a rule.
        inputs, outputs: Nodes of a frozen graph.
        warm_up_paths: Files of requests.
        rpc: How requests are taken.
        grace_period_s: Limit of an orderly stop; None: not said.
        gpu: Whether the processor is one for GPUs.
    """

    name: str
    model_path: str
    model_entry: str = ""
    token: str = field(default="", repr=False)
    signature_name: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    warm_up_paths: tuple[str, ...] = ()
    rpc: Rpc = field(default_factory=Rpc)
    grace_period_s: float | None = None
    gpu: bool = False


def parse_service_file(text: str, path: str) -> ServiceFile:
    """What a service file says.

    Args:
        path: Of the file, for messages.

    Raises:
        InvalidArgumentError: It is no JSON object, lacks what is needed, asks for a custom processor or one that is not
            TensorFlow's, or a value is not what its key takes.
    """
    try:
        content = json.loads(_STRING_OR_COMMENT.sub(_without_comment, text.removeprefix("\ufeff")))
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"'{path}' is no JSON: {error}") from None
    return _Reader(_object(content, "the file", path), path).service()


def _without_comment(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith('"') else ""


class _Reader:
    """Takes the keys out of the file one by one; what is left over was not expected."""

    def __init__(self, content: dict[str, Any], path: str) -> None:
        self._path = path
        self._content = content
        self._metadata = _nested(_object(content.get("metadata", {}), "metadata", path))

    def service(self) -> ServiceFile:
        content, metadata = self._content, self._metadata
        for key in _CUSTOM:
            if content.get(key):
                raise self._wrong(key, content[key], "none: custom processors cannot be run")
        if "token" in metadata:  # ignored, it would leave the door open
            raise InvalidArgumentError(f"token of '{self._path}' must stand beside metadata, not in it")
        device = self._device()
        model_config = self._model_config()
        name = metadata.get("name", content.get("name", ""))
        known = {
            "name", "token", "model_path", "model_entry", "model_config", "processor", "warm_up_data_path", *_CUSTOM,
        }  # fmt: skip
        for key in sorted(content.keys() - known - {"metadata", "networking"}):
            kind = "of the platform" if key in _PLATFORM else "unknown"
            logger.warning("%s of '%s' is ignored: it is %s", key, self._path, kind)
        for key in sorted(metadata.keys() - {"name", "rpc", "eas", "instance", "cpu", "memory", "gpu"}):
            logger.warning(
                "metadata.%s of '%s' is ignored: it is of the platform, or unknown", key, self._path
            )
        return ServiceFile(
            name=self._text("name", name, required=True),
            model_path=self._text("model_path", content.get("model_path", ""), required=True),
            model_entry=self._text("model_entry", content.get("model_entry", "")),
            token=self._token(content.get("token", "")),
            signature_name=self._text("model_config.signature_name", model_config.get("signature_name", "")),
            inputs=self._texts("model_config.inputs", model_config.get("inputs", [])),
            outputs=self._texts("model_config.outputs", model_config.get("outputs", [])),
            warm_up_paths=self._texts("warm_up_data_path", content.get("warm_up_data_path", [])),
            rpc=self._rpc(),
            grace_period_s=self._grace_period_s(),
            gpu=device == "gpu",
        )

    def _device(self) -> str:
        processor = self._text("processor", self._content.get("processor", "tensorflow_cpu"))
        match = _PROCESSOR.fullmatch(processor)
        if match is None:
            raise self._wrong(
                "processor", processor, "tensorflow_cpu or tensorflow_gpu, with _MAJOR.MINOR or without"
            )
        return match["device"]

    def _model_config(self) -> dict[str, Any]:
        """JSON, or a text that may hold it; any other text is some other processor's."""
        value = self._content.get("model_config", {})
        if isinstance(value, str):
            try:
                value = json.loads(value) if value.strip() else {}
            except (ValueError, RecursionError):
                raise self._wrong("model_config", value, "a JSON object, or a text that holds one") from None
        return _object(value, "model_config", self._path)

    def _rpc(self) -> Rpc:
        given = _object(self._metadata.get("rpc", {}), "metadata.rpc", self._path)
        values: dict[str, Any] = {}
        for key, value in given.items():
            name = f"metadata.rpc.{key}"
            if key == "batching":
                values[key] = self._boolean(name, value)
            elif key in _RPC_LEAST:
                values[key] = self._number(name, value, _RPC_LEAST[key], whole=key != "rate_limit")
            elif key not in _RPC_WITHOUT_MEANING:
                logger.warning("%s of '%s' is ignored: it is unknown", name, self._path)
        limit = self._gateway_rate_limit()
        if limit is not None:
            values["rate_limit"] = min(values.get("rate_limit") or limit, limit)
        return Rpc(**values)

    def _gateway_rate_limit(self) -> float | None:
        networking = _object(self._content.get("networking", {}), "networking", self._path)
        policy = _object(networking.get("gateway_policy", {}), "networking.gateway_policy", self._path)
        name = "networking.gateway_policy.rate_limit"
        limit = _object(policy.get("rate_limit", {}), name, self._path)
        for key in sorted((networking.keys() - {"gateway_policy"}) | (policy.keys() - {"rate_limit"})):
            logger.warning("%s in networking of '%s' is ignored: it is of the platform", key, self._path)
        if not limit or not self._boolean(f"{name}.enable", limit.get("enable", False)):
            return None
        return float(self._number(f"{name}.limit", limit.get("limit"), 1, whole=False))

    def _grace_period_s(self) -> float | None:
        eas = _object(self._metadata.get("eas", {}), "metadata.eas", self._path)
        if "termination_grace_period" not in eas:
            return None
        name = "metadata.eas.termination_grace_period"
        return float(self._number(name, eas["termination_grace_period"], 0, whole=False))

    # --- values --------------------------------------------------------------------------------------------------

    def _text(self, key: str, value: object, *, required: bool = False) -> str:
        if not isinstance(value, str) or (required and not value):
            raise self._wrong(key, value, "a text")
        return value

    def _token(self, value: object) -> str:
        """A text that can stand in a header; never shown."""
        if not isinstance(value, str) or _NOT_IN_A_TOKEN.search(value):
            raise InvalidArgumentError(
                f"token of '{self._path}' must be a text in UTF-8 without control characters"
            )
        return value

    def _texts(self, key: str, value: object) -> tuple[str, ...]:
        """One text or several."""
        values = value if isinstance(value, list) else [value] if value else []
        return tuple(self._text(key, text, required=True) for text in values)

    def _boolean(self, key: str, value: object) -> bool:
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if isinstance(value, bool) or value in (0, 1):
            return bool(value)
        raise self._wrong(key, value, "true or false")

    def _number(self, key: str, value: object, least: int, *, whole: bool) -> Any:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value, re.ASCII):
            value = int(value)  # samples of EAS have numbers in quotes
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise self._wrong(key, value, "a whole number" if whole else "a number")
        if not least <= value < 2**31:
            raise self._wrong(key, value, f"at least {least}, and below {2**31}")
        return value

    def _wrong(self, key: str, value: object, expected: str) -> InvalidArgumentError:
        shown = "what is not shown here" if key in _SECRET else json.dumps(value)[:100]
        return InvalidArgumentError(f"{key} of '{self._path}' is {shown}; expected {expected}")


def _object(value: object, what: str, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidArgumentError(
            f"{what} of '{path}' must be a JSON object"
            if what != "the file"
            else f"'{path}' must hold a JSON object"
        )
    return value


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The same with keys like `rpc.keepalive` put into their objects; what stands there nested wins."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        head, dot, rest = key.partition(".")
        if dot and isinstance(inner := nested.setdefault(head, {}), dict):
            inner.setdefault(rest, value)
        elif isinstance(value, dict) and isinstance(inner := nested.get(key), dict):
            inner.update(value)
        else:
            nested[key] = dict(value) if isinstance(value, dict) else value
    return nested
