"""A listening socket that is about to close: whoever is connected already is served, nobody else gets in."""

from __future__ import annotations

import socket
import sys

import pytest

from pyserve.transport.listener import listen_on, refuse_newcomers


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's socket filters are Linux's")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_newcomers_are_kept_out_and_the_others_are_served(host: str) -> None:
    """A connection that waits in the kernel's queue is accepted and carries data both ways; a later one is not made."""
    with listen_on(host, 0) as listener:
        listener.listen(8)
        address = listener.getsockname()[:2]
        with socket.create_connection(address) as waiting:
            waiting.sendall(b"request")
            assert refuse_newcomers(listener)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.3)
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.recv(16) == b"request"
                accepted.sendall(b"answer")
                assert waiting.recv(16) == b"answer"
                waiting.shutdown(socket.SHUT_WR)
                assert accepted.recv(16) == b""
            with pytest.raises(BlockingIOError):
                listener.accept()
