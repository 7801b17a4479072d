"""What the flags and the service file of EAS make of a configuration.

The service file stands for flags: those that it means are put below the ones that were given, which win.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from pyserve.cli.flags import Value
from pyserve.codec.eas_config import ServiceFile, parse_service_file
from pyserve.config import BatchingParameters, EasOptions, EasService
from pyserve.errors import InvalidArgumentError

logger = logging.getLogger(__name__)

_SAYS_THE_MODEL = ("model_name", "model_base_path", "model_config_file")
_ADDRESS = re.compile(r"(?P<host>[^:\s]+|\[[0-9a-fA-F:]+\]):(?P<port>[0-9]{1,5})", re.ASCII)
# EAS's clients keep idle connections in a pool, and take one that was closed meanwhile for a failure.
_IDLE_TIMEOUT_S = 65.0


def is_enabled(given: Mapping[str, Value]) -> bool:
    """Whether clients of EAS are answered.

    Raises:
        InvalidArgumentError: Flags contradict each other, or one is missing.
    """
    enabled = bool(given.get("enable_eas") or given.get("eas_config_file"))
    if not enabled and given.get("eas_token_file"):
        raise InvalidArgumentError("--eas_token_file needs --enable_eas or --eas_config_file")
    if enabled and not given.get("rest_api_port"):
        raise InvalidArgumentError("--enable_eas and --eas_config_file need --rest_api_port")
    return enabled


def service_file(given: Mapping[str, Value], read_file: Callable[[str], str]) -> ServiceFile | None:
    """The service that `--eas_config_file` describes; None without the flag.

    Raises:
        InvalidArgumentError: The file is wrong, or flags say what to serve as well.
    """
    path = str(given.get("eas_config_file", ""))
    if not path:
        return None
    for name in _SAYS_THE_MODEL:
        if name in given:
            raise InvalidArgumentError(
                f"--eas_config_file says what to serve: --{name} must not be given too"
            )
    return parse_service_file(read_file(path), path)


def flags_of(service: ServiceFile) -> dict[str, Value]:
    """The flags that a service file stands for."""
    path = service.model_path
    flags: dict[str, Value] = {
        "model_name": service.name,
        "model_base_path": path if "://" in path else str(Path(path).absolute()),
        "num_run_threads": service.rpc.worker_threads,
        "rest_api_idle_timeout_s": _IDLE_TIMEOUT_S,
    }
    if service.grace_period_s is not None:
        flags["drain_timeout_s"] = service.grace_period_s
    return flags


def batching_of(service: ServiceFile | None, given: Mapping[str, Value]) -> BatchingParameters | None:
    """The batching that a service file asks for; None where flags decide, or it asks for none."""
    if service is None or not service.rpc.batching or "enable_batching" in given:
        return None
    rpc = service.rpc
    return BatchingParameters(
        max_batch_size=rpc.max_batch_size,
        batch_timeout_micros=rpc.max_batch_timeout * 1000,
        max_enqueued_batches=rpc.max_enqueued_batches,
        num_batch_threads=rpc.worker_threads,
    )


def eas_options(
    given: Mapping[str, Value], service: ServiceFile | None, read_file: Callable[[str], str]
) -> EasOptions:
    """What clients of EAS are answered by.

    Raises:
        InvalidArgumentError: The token file holds no token, or an address is none.
        ServingError: The token file cannot be read.
    """
    tokens: tuple[str, ...] = ()
    if path := str(given.get("eas_token_file", "")):
        tokens = parse_tokens(read_file(path), path)
    if tokens or (service is not None and service.token):
        logger.warning(
            "Tokens guard the URLs of EAS alone: gRPC and the other URLs of the REST port stay open"
        )
    services: dict[str, EasService] = {}
    if service is not None:
        if service.gpu:
            logger.info(
                "Service %s is for GPUs: they are used where TensorFlow finds some",
                service.name,
            )
        services[service.name] = EasService(
            tokens=(service.token,) if service.token else (),
            default_signature=service.signature_name,
            keepalive_s=service.rpc.keepalive / 1000,
            max_queue_size=service.rpc.max_queue_size,
            rate_limit=service.rpc.rate_limit,
            model_entry=service.model_entry,
            graph_inputs=service.inputs,
            graph_outputs=service.outputs,
            warm_up_paths=service.warm_up_paths,
        )
    return EasOptions(
        services=MappingProxyType(services),
        tokens=tokens,
        check_content_md5=bool(given.get("eas_check_content_md5", True)),
        advertised_address=_address(str(given.get("eas_advertised_address", ""))),
        warm_up_must_succeed=bool(given.get("eas_warmup_must_succeed", False)),
    )


def parse_tokens(text: str, path: str) -> tuple[str, ...]:
    """The tokens of a file: one a line, without the blanks around it; lines that begin with `#` are comments.

    Args:
        text: Of the file; what is no UTF-8 in it is U+FFFD.

    Raises:
        InvalidArgumentError: There is none: a door that was to be locked must not stay open. Or it is no UTF-8.
    """
    if "\ufffd" in text:
        raise InvalidArgumentError(f"'{path}' is not UTF-8")
    lines = (line.strip() for line in text.removeprefix("\ufeff").splitlines())
    tokens = tuple(line for line in lines if line and not line.startswith("#"))
    if not tokens:
        raise InvalidArgumentError(f"'{path}' holds no token")
    return tokens


def _address(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise InvalidArgumentError(f"--eas_advertised_address must be HOST:PORT; was {text}")
    return match["host"].strip("[]"), int(match["port"])
