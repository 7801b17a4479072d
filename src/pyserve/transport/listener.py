"""A listening TCP socket: bound as TensorFlow Serving binds, and closed without losing a connection."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import socket
import struct
import sys

logger = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections that the kernel has made and nobody has accepted yet."""

# Between the wish to stop and the end of accepting: the last handshakes that the kernel has begun may complete. More
# than the way to a client and back inside a data centre, and little beside what a stop takes.
_LAST_ACCEPTS_S = 0.01
_LAST_ACCEPTS = 5

# linux/filter.h and asm-generic/socket.h; not in Python's socket module.
_SO_ATTACH_FILTER = 26
# A classic BPF program over the TCP header: a segment that asks for a new connection is dropped, others pass.
_DROP_NEWCOMERS = (
    (0x30, 0, 0, 13),  # load the byte with the flags
    (0x45, 0, 1, 0x02),  # SYN set: go on; otherwise skip one
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # keep all of it
)


def listen_on(host: str | None, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A bound socket that does not block; port 0 takes a free one.

    Args:
        host: IPv4 or IPv6 address; None: every address, dual-stack IPv6, or IPv4 where IPv6 cannot be had.
        port: TCP port.
        reuse_port: Let other processes that ask for it listen on the same port.

    Raises:
        OSError: It cannot be bound.
        TypeError, ValueError: `host` can be no host.
    """
    if host is not None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return _bound(family, host, port, reuse_port)
    try:
        return _bound(socket.AF_INET6, "::", port, reuse_port)
    except OSError as error:
        # A port in use is no reason to fall back: IPv4 alone might be free, and half of the clients would fail.
        if error.errno == errno.EADDRINUSE:
            raise
        return _bound(socket.AF_INET, "0.0.0.0", port, reuse_port)


async def stop_accepting(server: asyncio.Server, listener: socket.socket) -> None:
    """Accept the connections that the kernel has begun, and close the listener; begin none any more."""
    if not refuse_newcomers(listener):
        listener.listen(0)  # the next best: a queue as short as it can be
    await asyncio.sleep(_LAST_ACCEPTS_S)
    for _ in range(_LAST_ACCEPTS):  # a timer may be late and come before the sockets in its round of the loop
        await asyncio.sleep(0)
    server.close()


def refuse_newcomers(listener: socket.socket) -> bool:
    """Let the kernel begin no connection any more; those that it has begun can still be accepted.

    A connection is made by the kernel, before anybody accepts it, and its client may have sent a request by then.
    Closing the listener resets such connections, however quickly it follows the last accept. With newcomers kept out
    first, accepting what is left and closing then loses nobody: whoever comes in between gets no answer, tries again
    a second later (TCP's own rule) and is refused, or finds the next server.

    Returns:
        Whether that was done; elsewhere than on Linux it cannot be.
    """
    if not sys.platform.startswith("linux"):
        return False
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in _DROP_NEWCOMERS))
    described = struct.pack("HP", len(_DROP_NEWCOMERS), ctypes.addressof(program))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
    except OSError as error:
        logger.debug("No filter on the listening socket: %s", error)
        return False
    return True


def _bound(family: socket.AddressFamily, host: str, port: int, reuse_port: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.setblocking(False)
        listener.bind((host, port))
    except BaseException:
        listener.close()
        raise
    return listener
