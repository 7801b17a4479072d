"""`ConfigProto` of `--tensorflow_session_config_file`: which of its fields mean something here, and which are refused.

Text in, checked bytes out; the SavedModel backend builds every session's options on them. A field counts as
honoured when TensorFlow's local sessions act on it. The others are those of distributed sessions, of runtimes
that the wheel does not have, and those that TensorFlow itself passes over: set, they are refused by name, so that
nobody believes in a setting without effect.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from google.protobuf.message import Message

from pyserve.codec.text_file import parse_file
from pyserve.errors import InvalidArgumentError
from pyserve.protos import tf

logger = logging.getLogger(__name__)

HONOURED = frozenset({
    "allow_soft_placement",  # always on, with or without a file
    "device_count",
    "experimental.disable_optimize_for_static_graph",  # already so: these sessions are never made static
    "experimental.disable_output_partition_graphs",
    "experimental.disable_thread_spinning",
    "experimental.executor_type",
    "experimental.use_numa_affinity",
    "experimental.xla_prefer_single_graph_cluster",
    "gpu_options.allocator_type",
    "gpu_options.allow_growth",
    "gpu_options.deferred_deletion_bytes",
    "gpu_options.experimental",
    "gpu_options.force_gpu_compatible",
    "gpu_options.per_process_gpu_memory_fraction",
    "gpu_options.polling_active_delay_usecs",
    "gpu_options.visible_device_list",
    "graph_options.optimizer_options",
    "graph_options.place_pruned_graph",
    "graph_options.rewrite_options",
    "inter_op_parallelism_threads",
    "intra_op_parallelism_threads",
    "log_device_placement",
    "operation_timeout_in_ms",
    "pluggable_device_options",
    "session_inter_op_thread_pool",
    "use_per_session_threads",
})  # fmt: skip
"""Paths of the fields that may be set; a path stands for everything below it."""

_NOT_BELOW = frozenset({
    "graph_options.rewrite_options.custom_optimizers",  # names C++ classes; unknown names are passed over
    "pluggable_device_options.polling_inactive_delay_msecs",  # passed over, as in gpu_options
})  # fmt: skip
"""Exceptions below the honoured paths."""

OVERWRITTEN: Mapping[str, str] = {
    "intra_op_parallelism_threads": "--tensorflow_intra_op_parallelism or --tensorflow_session_parallelism",
    "inter_op_parallelism_threads": "--tensorflow_inter_op_parallelism or --tensorflow_session_parallelism",
    "gpu_options.per_process_gpu_memory_fraction": "--per_process_gpu_memory_fraction",
}
"""Fields that are always replaced, by 0 where no flag is given, and the flags that decide instead."""


def parse_session_config(text: str, path: str) -> bytes:
    """A serialized ConfigProto from a file's text; empty text gives an empty one.

    Args:
        text: Text format of `tensorflow.ConfigProto`.
        path: Where it came from, for messages.

    Raises:
        InvalidArgumentError: The text cannot be parsed, or sets a field that is not supported.
    """
    return checked_session_config(parse_file(text, path, tf.ConfigProto()), path)


def checked_session_config(message: tf.ConfigProto, path: str) -> bytes:
    """The message, serialized. A field that a flag overwrites is named in the log.

    Raises:
        InvalidArgumentError: It sets fields that are not supported; all are named.
    """
    found = list(set_fields(message))
    refused = [field for field in found if not _honoured(field)]
    if refused:
        raise InvalidArgumentError(
            f"Session config file '{path}' sets what is not supported: {', '.join(refused)}. Remove it"
        )
    for field in found:
        if field in OVERWRITTEN:
            logger.warning("%s in '%s' is ignored: %s decides", field, path, OVERWRITTEN[field])
    return message.SerializeToString(deterministic=True)


def set_fields(message: Message, prefix: str = "") -> Iterator[str]:
    """Dotted paths of the fields that are set to anything but their default, in the order of field numbers.

    Maps and lists count as one field; but for a list of thread pools, of which only the first runs anything, the
    others are named too.
    """
    for field, value in message.ListFields():
        path = prefix + field.name
        if isinstance(value, Message):
            yield from set_fields(value, path + ".")
        else:
            yield path
            if path == "session_inter_op_thread_pool":
                yield from (f"{path}[{index}]" for index in range(1, len(value)))


def _honoured(path: str) -> bool:
    names = path.split(".")
    above = {".".join(names[: count + 1]) for count in range(len(names))}
    return bool(above & HONOURED) and not above & _NOT_BELOW
