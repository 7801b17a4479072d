"""The backend of a server with `--prefer_tflite_model`: takes versions with a `model.tflite`, hands on the rest."""

from __future__ import annotations

import os
from pathlib import Path

from pyserve.backends.saved_model import SavedModelBackend
from pyserve.backends.tflite.completeness import FILE_NAME, incomplete_reason
from pyserve.backends.tflite.loader import TfLiteLoader
from pyserve.config import TensorFlowOptions, TfLiteOptions
from pyserve.device_map import DeviceMap
from pyserve.servable import ServableId


class TfLiteBackend:
    """Serves `model.tflite` of a version that has one, and the SavedModel of any other.

    Args:
        options: How many interpreters a version has.
        tensorflow: For the SavedModels; its threads inside one operation count for TensorFlow Lite too.
        device_map: Where the SavedModels run.
    """

    def __init__(
        self, options: TfLiteOptions, tensorflow: TensorFlowOptions, device_map: DeviceMap | None = None
    ) -> None:
        self._saved_models = SavedModelBackend(tensorflow, device_map)
        self._device_map = device_map or DeviceMap()
        pools = options.num_tflite_pools if options.num_tflite_pools > 0 else os.cpu_count() or 1
        self._interpreters = pools * max(1, options.num_tflite_interpreters_per_pool)
        self._num_threads = tensorflow.intra_op_parallelism

    def prepare(self, *, own_process: bool) -> None:
        """Begin to import TensorFlow; see `SavedModelBackend.prepare`."""
        self._saved_models.prepare(own_process=own_process)

    def make_loader(self, id: ServableId, path: str) -> TfLiteLoader:
        """A loader for one version, which decides when it loads; does no work yet."""
        otherwise = self._saved_models.make_loader(id, path)
        return TfLiteLoader(
            path, otherwise, self._interpreters, self._num_threads, self._device_map.of(id.name)
        )

    def incomplete_reason(self, path: str) -> str | None:
        """What a version still lacks; None when nothing is known to be missing. Never raises."""
        file = Path(path) / FILE_NAME
        if os.path.isfile(file):  # noqa: PTH113  # Path's own raises where a directory may not be searched
            return incomplete_reason(file)
        return self._saved_models.incomplete_reason(path)
