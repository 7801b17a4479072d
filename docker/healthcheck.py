"""The container's health check: exit code 0 when the server answers, else 1 and a sentence that says why.

It looks for the server among the container's processes, reads from its arguments where it listens, and asks there:

    --admin_port, else --rest_api_port    GET /healthz must be 200
    neither                               the gRPC port must accept a connection

So arguments may change ports without anything else to set. PYSERVE_HEALTH_PORT overrides this with the number of a
port that answers /healthz; 0 turns the check off.

Rules: it runs every few seconds, so it imports nothing that is slow; standard library only, and nothing of pyserve.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence

TIMEOUT_S = 3.0
COMMANDS = frozenset({"pyserve", "tensorflow_model_server"})
DEFAULT_GRPC_PORT = "8500"


def flags(arguments: Sequence[str]) -> dict[str, str]:
    """Flag → value as the server reads them: `--name=value` or `--name value`, the last one wins."""
    found: dict[str, str] = {}
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            found[name] = value if equals else following
    return found


def server_arguments(command: Sequence[str]) -> Sequence[str] | None:
    """What follows the server's name in a process's command line; None when it is another process.

    The server is the script itself, or the first argument of a Python interpreter.
    """
    for place, word in enumerate(command[:2]):
        if os.path.basename(word) in COMMANDS:  # noqa: PTH119 - pathlib costs more than the whole check
            return command[place + 1 :]
    if list(command[1:3]) == ["-m", "pyserve"]:
        return command[3:]
    return None


def target(environment: Mapping[str, str], commands: Iterator[Sequence[str]]) -> tuple[int, bool] | None:
    """Where to ask.

    Args:
        environment: Environment variables.
        commands: The command lines of the container's processes.

    Returns:
        A port, and whether it speaks HTTP; None when there is nothing to ask.

    Raises:
        LookupError: No server among the processes.
        ValueError: A port is not a number.
    """
    if chosen := environment.get("PYSERVE_HEALTH_PORT"):
        port = int(chosen)
        return (port, True) if port else None
    for command in commands:
        arguments = server_arguments(command)
        if arguments is None:
            continue
        given = flags(arguments)
        for name in ("admin_port", "rest_api_port"):
            if port := int(given.get(name) or 0):
                return port, True
        port = int(given.get("port") or DEFAULT_GRPC_PORT)
        return (port, False) if port else None
    raise LookupError("no server among the container's processes")


def is_healthy(response: bytes) -> bool:
    """Whether the beginning of an HTTP response says 200."""
    words = response.split(b" ", 2)
    return len(words) > 1 and words[0].startswith(b"HTTP/1.") and words[1] == b"200"


def ask(port: int, speaks_http: bool) -> None:
    """Connect, and over HTTP get /healthz.

    Raises:
        OSError: Nobody listens, or not in time, or the answer is not 200.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
        if not speaks_http:
            return
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        response = b""
        while len(response) < 16 and (more := connection.recv(4096)):
            response += more
    if not is_healthy(response):
        raise OSError(f"/healthz answers {response[:60]!r}")


def processes() -> Iterator[Sequence[str]]:
    """The command lines of all processes that can be seen, lowest process id first."""
    for process in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):  # noqa: PTH208 - as above
        try:
            with open(f"/proc/{process}/cmdline", "rb") as file:  # noqa: PTH123 - as above
                words = file.read().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has just ended, or is none of our business
        yield words[:-1]


def main() -> int:
    try:
        if (found := target(os.environ, processes())) is not None:
            ask(*found)
    except (OSError, LookupError, ValueError) as error:
        print(f"unhealthy: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
