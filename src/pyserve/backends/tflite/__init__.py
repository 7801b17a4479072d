"""TensorFlow Lite models as servables: `model.tflite` of a version directory, with `--prefer_tflite_model`.

version directory ─► backend   has it a model.tflite? else the SavedModel's backend has it
                 └─► completeness   has all of the file arrived?   (no TensorFlow)
                 └─► loader ─► interpreter   the one place that touches TensorFlow Lite
                            ├─► signatures   what the model declares, or its tensors (pure)
                            └─► servable ─► pool   interpreters, each for one run at a time (pure)
"""

from __future__ import annotations

from pyserve.backends.tflite.backend import TfLiteBackend
from pyserve.backends.tflite.loader import TfLiteLoader
from pyserve.backends.tflite.servable import TfLiteServable

__all__ = ["TfLiteBackend", "TfLiteLoader", "TfLiteServable"]
