"""Which language a text is in, told by the small words that it holds: a model without TensorFlow."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .text import words

Strings = npt.NDArray[np.object_]

signatures = {
    "serving_default": {
        "inputs": {"text": ("string", [None])},
        "outputs": {"language": ("string", [None]), "score": ("float", [None])},
    }
}


class Languages:
    """Counts the words of a text that each language has.

    Args:
        known: Language → its words.
    """

    stateless = True  # it may be run again, and with made-up inputs: warm-up and batching make use of it

    def __init__(self, known: Mapping[str, frozenset[str]]) -> None:
        self._known = known

    def predict(self, inputs: Mapping[str, Strings]) -> Mapping[str, object]:
        """The best language of each text, and the share of its words that are known to it."""
        best = [self._best(text.decode()) for text in inputs["text"]]
        return {
            "language": [name for name, _ in best],
            "score": np.array([score for _, score in best], float),
        }

    def _best(self, text: str) -> tuple[str, float]:
        found = words(text)
        shares = {
            name: sum(word in known for word in found) / max(1, len(found))
            for name, known in self._known.items()
        }
        name = max(shares, key=lambda name: shares[name])
        return (name, shares[name]) if shares[name] else ("?", 0.0)


def load(path: Path) -> Languages:
    """The model, from the word lists beside this file."""
    lists = sorted((path / "words").glob("*.txt"))
    return Languages({file.stem: frozenset(words(file.read_text("utf-8"))) for file in lists})
