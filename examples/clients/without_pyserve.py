"""Predict with nothing but Python's standard library.

    python without_pyserve.py http://localhost:8501 1 2 5

Over gRPC, with TensorFlow Serving's own stubs: tutorials/half_plus_two_grpc.py.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from typing import Any


def ask(url: str, document: Any = None) -> Any:
    """The answer's JSON; with a document it is a POST."""
    body = None if document is None else json.dumps(document).encode()
    with urllib.request.urlopen(url, body, timeout=10) as answer:
        return json.load(answer)


def main(server: str = "http://localhost:8501", *values: str) -> int:
    model = f"{server}/v1/models/half_plus_two"
    try:
        version = ask(f"{model}/metadata")["model_spec"]["version"]
        answer = ask(f"{model}:predict", {"instances": [float(x) for x in values or (1, 2, 5)]})
    except urllib.error.HTTPError as error:
        print(json.load(error)["error"], file=sys.stderr)
        return 1
    print(f"version {version}: {' '.join(f'{y:g}' for y in answer['predictions'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
