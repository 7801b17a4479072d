"""Asks the half_plus_two model over REST, with nothing but the standard library.

python half_plus_two_rest.py [--server localhost:8501] [x ...]
"""

from __future__ import annotations

import argparse
import json
import urllib.request


def main() -> None:
    parser = argparse.ArgumentParser(description="Half of each number, plus two.")
    parser.add_argument("--server", default="localhost:8501", help="host:port of the REST API")
    parser.add_argument("--model", default="half_plus_two")
    parser.add_argument("x", nargs="*", type=float, default=[1.0, 2.0, 5.0])
    arguments = parser.parse_args()
    url = f"http://{arguments.server}/v1/models/{arguments.model}"

    with urllib.request.urlopen(url, timeout=10) as answer:
        for version in json.load(answer)["model_version_status"]:
            print(f"version {version['version']} is {version['state']}")

    body = json.dumps({"instances": arguments.x}).encode()
    with urllib.request.urlopen(f"{url}:predict", data=body, timeout=10) as answer:
        for x, y in zip(arguments.x, json.load(answer)["predictions"], strict=True):
            print(f"{x:g} / 2 + 2 = {y:g}")


if __name__ == "__main__":
    main()
