"""When parcels arrive: a small application that asks a model server, and knows nothing of how it is tested.

python delivery.py http://localhost:8501 1.0 2.0 5.0
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence

MODEL = "half_plus_two"


class EstimateUnavailableError(Exception):
    """There is no estimate now; the text says why."""


class Deliveries:
    """Estimates from a model server's REST API.

    Args:
        url: Of the server, e.g. `http://localhost:8501`.
        timeout_s: How long a customer waits.
    """

    def __init__(self, url: str, timeout_s: float = 2.0) -> None:
        self._url = f"{url}/v1/models/{MODEL}/labels/stable:predict"
        self._timeout_s = timeout_s

    def hours(self, distances_km: Sequence[float]) -> list[float]:
        """Hours until the arrival for each distance. A server that is busy is asked once more.

        Raises:
            EstimateUnavailableError: It is still busy, too slow, or refuses.
        """
        if not distances_km:
            return []
        try:
            return self._ask(distances_km)
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 503:
                    raise EstimateUnavailableError(json.load(error)["error"]) from error
        try:
            return self._ask(distances_km)
        except urllib.error.HTTPError as error:
            with error:
                raise EstimateUnavailableError(json.load(error)["error"]) from error

    def _ask(self, distances_km: Sequence[float]) -> list[float]:
        body = json.dumps({"instances": list(distances_km)}).encode()
        try:
            with urllib.request.urlopen(self._url, body, timeout=self._timeout_s) as answer:
                hours: list[float] = json.load(answer)["predictions"]
                return hours
        except TimeoutError as error:
            raise EstimateUnavailableError("the estimate takes too long") from error


if __name__ == "__main__":
    print(Deliveries(sys.argv[1]).hours([float(argument) for argument in sys.argv[2:]]))
