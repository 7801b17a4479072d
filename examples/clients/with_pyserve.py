"""Predict with pyserve's client: numpy in, numpy out.

python with_pyserve.py localhost:8500 1 2 5
python with_pyserve.py http://localhost:8501 1 2 5
"""

from __future__ import annotations

import sys

import numpy as np

from pyserve.client import Client, RestClient
from pyserve.errors import ServingError


def main(address: str = "localhost:8500", *values: str) -> int:
    kind = RestClient if address.startswith("http://") else Client
    x = np.array(values or [1, 2, 5], np.float32)
    with kind(address, timeout_s=10.0) as client:
        try:
            result = client.predict("half_plus_two", {"x": x})
        except ServingError as error:
            print(error, file=sys.stderr)
            return 1
        version = result.version or client.metadata("half_plus_two").version
    print(f"version {version}: {' '.join(f'{y:g}' for y in result['y'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
