"""The profiler service with a recorder that only waits: what is refused, where files go, who ends what."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyserve.errors import CancelledError, Code, InvalidArgumentError, ServingError
from pyserve.inference.call import Blocking
from pyserve.protos import tf
from pyserve.transport.profiler import MAX_DURATION_MS, ProfilerService, profile_file, refusals

NOW = 1_700_000_000.0
SERVICE = "/tensorflow.ProfilerService/"


class Recorder:
    """Waits as it is told, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.files: list[Path] = []
        self.begun = threading.Event()

    def __call__(self, file: Path, options: tf.ProfileOptions, wait: Callable[[], None]) -> bool:
        self.begun.set()
        wait()
        self.files.append(file)
        return options.host_tracer_level > 0


def request(duration_ms: int = 1, **fields: Any) -> bytes:
    return tf.ProfileRequest(duration_ms=duration_ms, **fields).SerializeToString()


def begin(service: ProfilerService, data: bytes) -> Blocking[bytes]:
    begun = service.handlers()[SERVICE + "Profile"](data, None)
    assert isinstance(begun, Blocking)
    return begun


def refused(call: Callable[[], object]) -> tuple[Code, str]:
    with pytest.raises(ServingError) as caught:
        call()
    return caught.value.code, caught.value.message


@pytest.mark.parametrize("level", [0, 2])
def test_a_profile(tmp_path: Path, level: int) -> None:
    """It is recorded where the request says, and an empty one is reported as such."""
    recorder = Recorder()
    service = ProfilerService(str(tmp_path), recorder)
    options = tf.ProfileOptions(version=1, host_tracer_level=level)
    data = request(session_id="s", host_name="h:1", opts=options)
    response = tf.ProfileResponse.FromString(begin(service, data).run(lambda: False))
    assert recorder.files == [tmp_path / "plugins" / "profile" / "s" / "h_1.xplane.pb"]
    assert recorder.files[0].parent.is_dir()
    assert response.empty_trace is (level == 0)


@pytest.mark.parametrize(
    ("root", "session_id", "host_name", "expected"),
    [
        ("", "s", "h", "plugins/profile/s/h.xplane.pb"),
        ("logs/plugins/profile", "s", "h", "logs/plugins/profile/s/h.xplane.pb"),
        ("{own}/logs", "s", "[::1]:8500", "logs/s/[__1]_8500.xplane.pb"),
        ("a/../b", "s", "h", "b/s/h.xplane.pb"),
        (".", "s", "h", "s/h.xplane.pb"),
    ],
)
def test_where_a_profile_goes(
    tmp_path: Path, root: str, session_id: str, host_name: str, expected: str
) -> None:
    """Below the directory, by the names of the request."""
    asked = tf.ProfileRequest(
        repository_root=root.format(own=tmp_path), session_id=session_id, host_name=host_name
    )
    assert profile_file(tmp_path, asked, NOW) == tmp_path / expected


def test_names_that_are_not_given(tmp_path: Path) -> None:
    """The session is named by the time, the file by this host."""
    file = profile_file(tmp_path, tf.ProfileRequest(), NOW)
    assert file.parent.name.startswith("2023_11_1")
    assert len(file.name) > len(".xplane.pb")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"repository_root": "/"}, "repository_root must be in --profile_dir"),
        ({"repository_root": "{own}x"}, "repository_root must be in --profile_dir"),
        ({"repository_root": "a/../.."}, "repository_root must be in --profile_dir"),
        ({"repository_root": "out"}, "repository_root must be in --profile_dir"),
        ({"repository_root": "a\0b"}, "repository_root a\0b: "),
        ({"session_id": ".."}, "session_id must be the name of a file"),
        ({"session_id": "a/b"}, "session_id must be the name of a file"),
        ({"session_id": "."}, "session_id must be the name of a file"),
        ({"session_id": "a\0b"}, "session_id must be the name of a file"),
        ({"host_name": "/etc/h"}, "host_name must be the name of a file"),
    ],
)
def test_no_other_place(tmp_path: Path, fields: dict[str, str], message: str) -> None:
    """Nothing outside of the directory is written, whatever the request and symbolic links say."""
    own, elsewhere = tmp_path / "own", tmp_path / "elsewhere"
    own.mkdir()
    elsewhere.mkdir()
    (own / "out").symlink_to(elsewhere)
    asked = tf.ProfileRequest(
        **{"session_id": "s", "host_name": "h"}
        | {field: text.format(own=own) for field, text in fields.items()}
    )
    with pytest.raises(InvalidArgumentError) as caught:
        profile_file(own, asked, NOW)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("duration_ms", "opts_duration_ms", "refused_as"),
    [(0, 0, 0), (MAX_DURATION_MS + 1, 0, MAX_DURATION_MS + 1), (5, 2**63, 2**63)],
)
def test_durations(tmp_path: Path, duration_ms: int, opts_duration_ms: int, refused_as: int) -> None:
    """A profile has an end, and no late one."""
    service = ProfilerService(str(tmp_path), Recorder())
    data = request(duration_ms, opts=tf.ProfileOptions(duration_ms=opts_duration_ms))
    text = f"duration_ms must be between 1 and {MAX_DURATION_MS}; was {refused_as}"
    assert refused(lambda: begin(service, data)) == (Code.INVALID_ARGUMENT, text)


def test_one_at_a_time(tmp_path: Path) -> None:
    """A second one is refused; Terminate ends the session that it names, and the next is recorded."""
    recorder = Recorder()
    service = ProfilerService(str(tmp_path), recorder)

    def terminate(session_id: str) -> None:
        data = tf.TerminateRequest(session_id=session_id).SerializeToString()
        assert service.handlers()[SERVICE + "Terminate"](data, None) == b""

    terminate("long")  # not running yet: without effect on a later one
    long = begin(service, request(MAX_DURATION_MS, session_id="long"))
    thread = threading.Thread(target=long.run, args=(lambda: False,))
    thread.start()
    assert recorder.begun.wait(20)
    other = begin(service, request(session_id="other"))
    assert refused(lambda: other.run(lambda: False)) == (
        Code.ALREADY_EXISTS,
        "Another profiling session active.",
    )
    terminate("other")
    thread.join(0.1)  # it would have ended by now
    assert thread.is_alive()
    terminate("long")
    thread.join(20)
    begin(service, request(session_id="next")).run(lambda: False)
    assert [file.parent.name for file in recorder.files] == ["long", "next"]


@pytest.mark.parametrize("end", ["gone", "stopped"])
def test_ends(tmp_path: Path, end: str) -> None:
    """A caller who goes away leaves nothing behind; a server that stops keeps what there is."""
    recorder = Recorder()
    service = ProfilerService(str(tmp_path), recorder)
    begun = begin(service, request(MAX_DURATION_MS))
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(begun.run(lambda: end == "gone"))
        except CancelledError as error:
            outcome.append(error.code)

    thread = threading.Thread(target=run)
    thread.start()
    assert recorder.begun.wait(20)
    if end == "gone":
        begun.wake()
    else:
        service.stop()
    thread.join(20)
    assert len(recorder.files) == (end == "stopped")
    assert (outcome == [Code.CANCELLED]) is (end == "gone")
    service.stop()  # nothing runs: nothing happens


def test_a_beginning_in_the_future(tmp_path: Path) -> None:
    """A profile that is to begin later can be ended before it has begun."""
    service = ProfilerService(str(tmp_path), Recorder(), clock=lambda: NOW)
    options = tf.ProfileOptions(start_timestamp_ns=int((NOW + 10_000) * 1e9))
    begun = begin(service, request(opts=options))
    begun.wake()
    assert refused(lambda: begun.run(lambda: True))[0] is Code.CANCELLED


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    """What the operating system says of the directory is the answer."""
    (tmp_path / "plugins").touch()
    service = ProfilerService(str(tmp_path), Recorder())
    code, text = refused(lambda: begin(service, request()).run(lambda: False))
    assert code is not Code.INTERNAL
    assert str(tmp_path / "plugins") in text
    begin(service, request(repository_root="else")).run(lambda: False)  # and the next one is not in its way


@pytest.mark.parametrize("method", ["Profile", "Terminate"])
def test_what_is_no_message(tmp_path: Path, method: str) -> None:
    """Bytes that cannot be parsed are the caller's mistake."""
    service = ProfilerService(str(tmp_path), Recorder())
    code, text = refused(lambda: service.handlers()[SERVICE + method](b"\xff", None))
    assert (code, text) == (Code.INVALID_ARGUMENT, f"Could not parse {method}Request from 1 bytes")


def test_what_is_not_offered() -> None:
    """Without a directory nothing is recorded, monitoring is not there, and a service that is off says how to begin."""
    service = ProfilerService("", Recorder())
    code, text = refused(lambda: begin(service, request()))
    assert (code, "--profile_dir" in text) == (Code.FAILED_PRECONDITION, True)
    assert refused(lambda: service.handlers()[SERVICE + "Monitor"](b"", None))[0] is Code.UNIMPLEMENTED
    assert refusals().keys() == service.handlers().keys()
    for handler in refusals().values():
        code, text = refused(lambda handler=handler: handler(b"", None))  # type: ignore[misc]
        assert (code, "--enable_profiler=true" in text) == (Code.UNIMPLEMENTED, True)
