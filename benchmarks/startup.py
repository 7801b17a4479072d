"""From exec to the first answer, beside the time that importing TensorFlow takes.

    python benchmarks/startup.py [--rounds 7]

Each round measures, one after the other: a process that only imports TensorFlow, and a server with a small model,
from its exec to the first answered REST request. Prints both medians with their ranges, and the difference.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from servers import EXAMPLES, ServerProcess


def import_s() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import tensorflow"], check=True, capture_output=True)
    return time.monotonic() - began


def first_answer_s() -> float:
    server = ServerProcess([f"--model_base_path={EXAMPLES / 'half_plus_two'}"])
    url = f"http://localhost:{server.rest_port}/v1/models/default:predict"
    began = time.monotonic()
    server.launch()
    try:
        while True:
            try:
                with urllib.request.urlopen(url, b'{"instances": [1.0]}', timeout=5) as answer:
                    answer.read()
                return time.monotonic() - began
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.005)
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    import_s()  # reads the files once
    imports, answers = [], []
    for _ in range(rounds):
        imports.append(import_s())
        answers.append(first_answer_s())
    for name, values in (("import tensorflow", imports), ("exec to first answer", answers)):
        print(
            f"{name:>21}: median {statistics.median(values):.2f} s, range {min(values):.2f} to {max(values):.2f}"
        )
    beyond = [answer - imported for answer, imported in zip(answers, imports, strict=True)]
    print(
        f"{'difference':>21}: median {statistics.median(beyond):+.2f} s, range {min(beyond):+.2f} to {max(beyond):+.2f}"
    )


if __name__ == "__main__":
    main()
