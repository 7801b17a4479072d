"""What `serve` is given; nothing is started here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from pyserve.testing import ModelServer, serve


def model(x: Any) -> Mapping[str, Any]:
    return {"y": x}


NOT_BY_NAME: Any = [model]


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: serve(NOT_BY_NAME), TypeError, r"models: expected models by name, such as {\"m\": model}; was \[<f"),
        (lambda: serve({"m": model}, labels=NOT_BY_NAME), TypeError, "labels: expected versions by model and label"),
        (lambda: serve({"m": model}, labels={"m": "a"}), TypeError, "labels: expected .* was {'m': 'a'}"),
        (lambda: serve({"m": model}, label={}), TypeError, "label: expected .* did you mean labels?"),
        (lambda: serve({"m": model}, metric_path="/"), TypeError, "metric_path: .* did you mean metrics_path?"),
        (lambda: serve({"m": model}, zzz=1), TypeError, "zzz: expected labels or a field of pyserve.ServerConfig$"),
        (lambda: serve({"m": {-1: model}}), ValueError, "model m: version -1, expected a number from 0"),
        (lambda: serve({"m": {1: model, "2": model}}), TypeError, "model 'm': a model is a callable"),
        (lambda: serve({"m": {}}), ValueError, "model 'm': a model needs a version"),
        (lambda: serve({"m": lambda x: {"y": np.array([1, None])}}), TypeError, "model 'm': .* holds a int"),
    ],
)  # fmt: skip
def test_refusals(make: Callable[[], ModelServer], error: type[Exception], text: str) -> None:
    """Each is told by the name of the argument or the model, and what was expected."""
    with pytest.raises(error, match=text):
        make()
