"""`assets.extra/tf_serving_warmup_requests`: recorded requests that a version brings along, replayed while it loads.

Part of a load attempt: whatever fails here fails the attempt. Limits, codes, texts and log lines are those of
TensorFlow Serving (servables/tensorflow/saved_model_warmup_util.cc, in its single-threaded mode).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from pyserve.codec.json_value import clip
from pyserve.codec.tf_record import read_records
from pyserve.errors import OK, DataLossError, InvalidArgumentError, Status, file_error
from pyserve.protos import tfs, to_text

logger = logging.getLogger(__name__)

PATH_IN_VERSION = Path("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000


@dataclass(frozen=True, slots=True)
class Replayed:
    """A warm-up that came to the end of its file, for metrics.

    Attributes:
        model_path: The version directory.
        status: OK, or why the file could not be read any further.
        duration_s: Seconds from the first look at the file.
        records: Records that were run.
    """

    model_path: str
    status: Status
    duration_s: float
    records: int


def replay_file(
    path: str,
    replay: Callable[[tfs.PredictionLog], None],
    *,
    iterations: int = 0,
    on_replayed: Callable[[Replayed], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Replay the file of a version, record by record in its order, on this thread, without a time limit.

    Args:
        path: The version directory.
        replay: Runs a record once; raises ServingError.
        iterations: Times that each record is run; <= 0: once (`--num_request_iterations_for_warmup`).
        on_replayed: Told at the end of the file, damaged or not; not when a record fails or there are too many, as
            TensorFlow Serving's metrics have it.
        clock: Seconds.

    Returns:
        Whether there is a file.

    Raises:
        DataLossError: It is no TFRecord file, or damaged.
        InvalidArgumentError: A record is no PredictionLog, or the file has more than `MAX_RECORDS`.
        ServingError: A record's own failure.
    """
    file = Path(path) / PATH_IN_VERSION
    # As in TensorFlow Serving, a directory that may not be searched has no such file.
    if not os.path.exists(file):  # noqa: PTH110  # Path's own would raise there
        logger.info("No warmup data file found at %s", file)
        return False
    started = clock()
    options = tfs.ModelWarmupOptions()
    if iterations > 0:
        options.num_request_iterations.value = iterations
    logger.info(
        "Starting to read warmup data for model at %s with model-warmup-options %s", file, to_text(options)
    )
    records = 0
    damage: DataLossError | None = None
    try:
        with file.open("rb") as stream:
            reader = read_records(stream)
            while True:
                try:
                    record = next(reader, None)
                except DataLossError as error:
                    damage = error
                    break
                if record is None:
                    break
                log = parse_log(record, file)
                for _ in range(max(iterations, 1)):
                    replay(log)
                records += 1
                if records > MAX_RECORDS:
                    raise InvalidArgumentError(too_many(file))
    except OSError as error:
        raise file_error(error) from error
    elapsed_s = clock() - started
    if on_replayed is not None:
        on_replayed(Replayed(path, OK if damage is None else Status.of(damage), elapsed_s, records))
    if damage is not None:
        raise DataLossError(f"{damage.message}. Please verify your warmup data is in TFRecord format.")
    logger.info(
        "Finished reading warmup data for model at %s. Number of warmup records read: %d. Elapsed time "
        "(microseconds): %d.",
        file,
        records,
        elapsed_s * 1e6,
    )
    return True


def parse_log(record: bytes, file: Path) -> tfs.PredictionLog:
    """The logged request that a record holds.

    Raises:
        InvalidArgumentError: It holds none.
    """
    try:
        return tfs.PredictionLog.FromString(record)
    except DecodeError:
        raise InvalidArgumentError(f"Failed to parse warmup record: {clip(record)} from {file}") from None


def too_many(file: Path) -> str:
    """What is said about a file with more than `MAX_RECORDS`."""
    return f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}"
