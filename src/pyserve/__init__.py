"""pyserve: a pure-Python model server that takes over from TensorFlow Serving.

Importing this package costs next to nothing: no TensorFlow, no gRPC, no thread. `Server` and `ServerConfig`
are resolved on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyserve.config import ServerConfig as ServerConfig
    from pyserve.server import Server as Server

__version__ = "0.1.0.dev0"
__all__ = ["Server", "ServerConfig", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Server":
        from pyserve.server import Server

        return Server
    if name == "ServerConfig":
        from pyserve.config import ServerConfig

        return ServerConfig
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
