"""Sends a JPEG file to an image classifier over REST: bytes travel in JSON as {"b64": ...}.

    python resnet_rest.py picture.jpg [--server localhost:8501] [--num_requests 10]

The model takes encoded images, a string per row, and answers with `classes` and `probabilities`.
"""

from __future__ import annotations

import argparse
import base64
import json
import time
import urllib.request
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description="Classify a picture, and measure how long it takes.")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--server", default="localhost:8501", help="host:port of the REST API")
    parser.add_argument("--model", default="resnet")
    parser.add_argument("--num_requests", type=int, default=10, help="requests to measure")
    arguments = parser.parse_args()
    url = f"http://{arguments.server}/v1/models/{arguments.model}:predict"
    picture = base64.b64encode(arguments.picture.read_bytes()).decode()
    body = json.dumps({"instances": [{"b64": picture}]}).encode()

    def classify() -> dict[str, object]:
        with urllib.request.urlopen(url, data=body, timeout=30) as answer:
            (prediction,) = json.load(answer)["predictions"]
            return dict(prediction)

    # The first answers of a server that has just started can take longer; they are not measured.
    for _ in range(3):
        prediction = classify()
    began = time.perf_counter()
    for _ in range(arguments.num_requests):
        prediction = classify()
    seconds = (time.perf_counter() - began) / arguments.num_requests
    print(f"class {prediction['classes']}, {1000 * seconds:.1f} ms per request")


if __name__ == "__main__":
    main()
