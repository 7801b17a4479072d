"""tensorflow.ProfilerService: records a profile of the running server for those who ask, one at a time.

Whoever can reach the port can slow the server down by it, and fill a disk. So it is off unless it is asked for, and
writes below one directory that the operator names.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, Protocol

from pyserve.codec.message import parse_message
from pyserve.errors import (
    AlreadyExistsError,
    CancelledError,
    FailedPreconditionError,
    InvalidArgumentError,
    UnimplementedError,
    file_error,
)
from pyserve.inference.call import Blocking, Handler
from pyserve.protos import tf

MAX_DURATION_MS = 60_000
"""Of one profile: a busy server records megabytes per second, and holds them in memory."""
RUNS = Path("plugins", "profile")
"""Where TensorBoard looks below its log directory."""

_SERVICE = "/tensorflow.ProfilerService/"


class Record(Protocol):
    """Records into a file while `wait` blocks, and says whether anything happened; raises ServingError."""

    def __call__(self, file: Path, options: tf.ProfileOptions, wait: Callable[[], None]) -> bool: ...


def refusals() -> Mapping[str, Handler]:
    """Full method name → handler, of a server whose profiler service is off."""

    def refuse(data: bytes, deadline: float | None) -> NoReturn:
        raise UnimplementedError(
            "The profiler service is off. Start the server with --enable_profiler=true and --profile_dir"
        )

    return {_SERVICE + name: refuse for name in ("Profile", "Terminate", "Monitor")}


class ProfilerService:
    """The service of a server whose profiler is on. Thread-safe.

    Args:
        directory: Profiles are written below it, and nowhere else; empty: none can be recorded.
        record: Does it.
        clock: Wall time in seconds, for profiles that are to begin at a point in time.
    """

    def __init__(self, directory: str, record: Record, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._record = record
        self._clock = clock
        self._lock = threading.Lock()
        # Guarded by _lock: the session's id, and what ends it.
        self._running: tuple[str, threading.Event] | None = None

    def handlers(self) -> Mapping[str, Handler]:
        """Full method name → handler."""
        return {
            _SERVICE + "Profile": self._profile,
            _SERVICE + "Terminate": self._terminate,
            _SERVICE + "Monitor": _monitor,
        }

    def stop(self) -> None:
        """End the profile that is being recorded; it is kept. Returns at once."""
        with self._lock:
            if self._running is not None:
                self._running[1].set()

    def _profile(self, data: bytes, deadline: float | None) -> Blocking[bytes]:
        request = parse_message(tf.ProfileRequest, data)
        if not self._directory:
            raise FailedPreconditionError(
                "Profiles have nowhere to go. Start the server with --profile_dir as well"
            )
        duration_s = _duration_ms(request) / 1000
        over = threading.Event()

        def run(gone: Callable[[], bool]) -> bytes:
            def wait() -> None:
                over.wait(duration_s)
                if gone():
                    raise CancelledError("The caller went away")

            with self._alone(request.session_id, over):
                file = profile_file(Path(self._directory), request, self._clock())
                try:
                    file.parent.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise file_error(error) from error
                delay_s = request.opts.start_timestamp_ns / 1e9 - self._clock()
                over.wait(min(max(delay_s, 0.0), MAX_DURATION_MS / 1000))
                recorded = self._record(file, request.opts, wait)
            return tf.ProfileResponse(empty_trace=not recorded).SerializeToString()

        return Blocking(run, over.set)

    @contextmanager
    def _alone(self, session_id: str, over: threading.Event) -> Iterator[None]:
        with self._lock:
            if self._running is not None:
                raise AlreadyExistsError("Another profiling session active.")
            self._running = session_id, over
        try:
            yield
        finally:
            with self._lock:
                self._running = None

    def _terminate(self, data: bytes, deadline: float | None) -> bytes:
        """End a session, whose profile is kept; one that is not running is as good as ended, as in TensorFlow."""
        session_id = parse_message(tf.TerminateRequest, data).session_id
        with self._lock:
            if self._running is not None and self._running[0] == session_id:
                self._running[1].set()
        return tf.TerminateResponse().SerializeToString()


def _monitor(data: bytes, deadline: float | None) -> NoReturn:
    raise UnimplementedError(
        "Monitor is for TPUs, and TensorFlow has it for nothing else. The metrics page "
        "(--monitoring_config_file) says what the server does"
    )


def _duration_ms(request: tf.ProfileRequest) -> int:
    """How long to record, as TensorFlow's clients say it; the request's own field where they do not."""
    duration_ms = request.opts.duration_ms or request.duration_ms
    if not 1 <= duration_ms <= MAX_DURATION_MS:
        raise InvalidArgumentError(f"duration_ms must be between 1 and {MAX_DURATION_MS}; was {duration_ms}")
    return duration_ms


def profile_file(directory: Path, request: tf.ProfileRequest, now: float) -> Path:
    """The file that a profile goes to: `repository_root/session_id/host_name.xplane.pb`, as in TensorFlow.

    Args:
        directory: What the root is relative to, and must not leave, symbolic links followed.
        request: Each of its names may be empty: TensorBoard's place, the time, this host.
        now: Wall time in seconds.

    Raises:
        InvalidArgumentError: The root is elsewhere, or a name is more than the name of one file.

    Source: xla/tsl/profiler/utils/file_system_utils.h and xla/tsl/profiler/rpc/client/save_profile.cc.
    """
    session_id = request.session_id or time.strftime("%Y_%m_%d_%H_%M_%S", time.localtime(now))
    host_name = (request.host_name or socket.gethostname()).replace(":", "_")
    for field, name in (("session_id", session_id), ("host_name", host_name)):
        if Path(name).name != name or name == ".." or "\0" in name:
            raise InvalidArgumentError(f"{field} must be the name of a file without a path; was {name}")
    own = directory.resolve()
    try:
        run = (own / (request.repository_root or RUNS) / session_id).resolve()
    except (OSError, ValueError) as error:  # a loop of links, a name that no file can have
        raise InvalidArgumentError(f"repository_root {request.repository_root}: {error}") from error
    if not run.is_relative_to(own):
        raise InvalidArgumentError(
            f"repository_root must be in --profile_dir, which is {own}, or relative to it; was "
            f"{request.repository_root}"
        )
    return run / f"{host_name}.xplane.pb"
