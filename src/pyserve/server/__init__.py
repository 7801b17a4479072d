"""The composition root: everything is made here, wired here, started and stopped here, in order.

core        the life cycle and the request path, without a socket
front_end   the ports: gRPC, REST, admin
server      the two together, on an event loop, as a process or embedded
"""

from pyserve.server.core import Backend, Core
from pyserve.server.server import Server

__all__ = ["Backend", "Core", "Server"]
