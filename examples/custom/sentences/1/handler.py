"""Whole sentences for a SavedModel that knows single words: its vocabulary looks them up one by one."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pyserve.errors import InvalidArgumentError

MAX_WORDS = 1000
PADDING = -2  # the model answers -1 for a word that it does not know

signatures = {
    "serving_default": {
        "inputs": {"sentence": ("string", [None])},
        "outputs": {"ids": ("int64", [None, None]), "length": ("int32", [None])},
    }
}
stateless = True


def predict(inputs: Mapping[str, npt.NDArray[np.object_]], model: Any) -> Mapping[str, object]:
    """A row of ids for each sentence, filled up to the longest."""
    sentences = [sentence.lower().split() for sentence in inputs["sentence"]]
    lengths = [len(words) for words in sentences]
    if max(lengths, default=0) > MAX_WORDS:
        raise InvalidArgumentError(f"A sentence has {max(lengths)} words; at most {MAX_WORDS} are allowed")
    words = np.array([word for words in sentences for word in words], object)
    found = iter(model.predict({"words": words})["ids"])
    ids = np.full((len(sentences), max(lengths, default=0)), PADDING, np.int64)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = [next(found) for _ in range(length)]
    return {"ids": ids, "length": lengths}
