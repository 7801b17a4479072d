"""Servers that do nothing: what the stack under a model server can do at most.

    python benchmarks/echo.py grpc PORT     grpc.aio: every unary method answers with its request
    python benchmarks/echo.py http PORT     aiohttp's low-level server: every POST answers with its body
    python benchmarks/echo.py bytes PORT    one canned HTTP/2 answer per call, no message read: what the load generator
                                            itself can do at most

Prints `ready` once the port is open.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

_MESSAGE = b"\0\0\0\0\0"


async def serve_grpc(port: int) -> None:
    import grpc
    import grpc.aio

    class Echo(grpc.GenericRpcHandler):
        def __init__(self) -> None:
            async def echo(data: bytes, context: Any) -> bytes:
                return data

            self.method = grpc.unary_unary_rpc_method_handler(echo)

        def service(self, details: Any) -> Any:
            return self.method

    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.aio.server(handlers=[Echo()], options=options)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


async def serve_http(port: int) -> None:
    from aiohttp import web

    async def echo(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=await request.content.read(), content_type="application/json")

    await asyncio.get_running_loop().create_server(web.Server(echo), "127.0.0.1", port, backlog=1024)
    print("ready", flush=True)
    await asyncio.Event().wait()


class Canned(asyncio.Protocol):
    """Answers each END_STREAM with the same frames, without looking into anything."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        from pyserve.transport.h2.frames import frame, settings
        from pyserve.transport.h2.hpack.encoder import encode

        self.transport: Any = transport
        self.buffer = b""
        self.opened = False
        self.head = encode([(b":status", b"200"), (b"content-type", b"application/grpc")])
        self.trailers = encode([(b"grpc-status", b"0")])
        self.frame = frame
        self.transport.write(settings({3: 1000}))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.opened:
            self.buffer, self.opened = self.buffer[24:], True
        # The window is filled up by what came, which may be more than was taken from it.
        position, out = 0, [self.frame(8, 0, 0, len(data).to_bytes(4, "big"))]
        while len(self.buffer) - position >= 9:
            end = position + 9 + int.from_bytes(self.buffer[position : position + 3], "big")
            if end > len(self.buffer):
                break
            kind, flags = self.buffer[position + 3], self.buffer[position + 4]
            if kind == 0 and flags & 1:
                stream = int.from_bytes(self.buffer[position + 5 : position + 9], "big")
                out.append(self.frame(1, 4, stream, self.head))
                out.append(self.frame(0, 0, stream, _MESSAGE))
                out.append(self.frame(1, 5, stream, self.trailers))
            position = end
        self.buffer = self.buffer[position:]
        self.transport.write(b"".join(out))


async def serve_bytes(port: int) -> None:
    await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", port)
    print("ready", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    kind, port = sys.argv[1], int(sys.argv[2])
    serve = {"grpc": serve_grpc, "http": serve_http, "bytes": serve_bytes}[kind](port)
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve)
    else:
        uvloop.run(serve)


if __name__ == "__main__":
    main()
