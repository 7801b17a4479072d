"""A model server for tests: the real one, over Python callables, SavedModels or recorded answers.

    from pyserve.testing import serve

    with serve({"half_plus_two": lambda x: {"y": x * 0.5 + 2.0}}) as server:
        server.client.predict("half_plus_two", {"x": [1.0]})    # or any client, at server.grpc_address, server.http_url
        server.model("half_plus_two").assert_called_once()

No part of a server is imitated: life cycle, routing, wire and errors are those that answer in production; what is
special is where versions come from (`versions`), what stands before a model's runs (`script`), and a look at the
requests (`requests`).

    signatures   callables → signatures           recorded   answers written down      features   tf.Examples as values
    server       start, versions, labels          model      scripts and assertions of one model
"""

from pyserve.testing.features import features
from pyserve.testing.model import Model
from pyserve.testing.recorded import Recorded
from pyserve.testing.requests import Request
from pyserve.testing.script import Gate
from pyserve.testing.server import ModelServer, serve
from pyserve.testing.signatures import signature

__all__ = ["Gate", "Model", "ModelServer", "Recorded", "Request", "features", "serve", "signature"]
