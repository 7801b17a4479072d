"""The SavedModel backend as the server sees it: loaders, completeness, tidying up."""

from __future__ import annotations

from pyserve.backends.saved_model import runtime
from pyserve.backends.saved_model.completeness import incomplete_reason
from pyserve.backends.saved_model.loader import SavedModelLoader
from pyserve.config import TensorFlowOptions
from pyserve.device_map import DeviceMap
from pyserve.servable import ServableId


class SavedModelBackend:
    """Turns version directories into servables by TensorFlow, which is imported by the first load.

    Args:
        options: For every model of the server.
        device_map: Where the models run.
    """

    def __init__(self, options: TensorFlowOptions, device_map: DeviceMap | None = None) -> None:
        self._options = options
        self._device_map = device_map or DeviceMap()

    def make_loader(self, id: ServableId, path: str) -> SavedModelLoader:
        """A loader for one version; does no work yet."""
        return SavedModelLoader(path, self._options, self._device_map.of(id.name))

    def incomplete_reason(self, path: str) -> str | None:
        """What a version still lacks; None when nothing is known to be missing. Never raises."""
        return incomplete_reason(path)

    def prepare(self, *, own_process: bool) -> None:
        """Begin to import TensorFlow, on a thread that all servers of the process share; loads wait for it.

        Args:
            own_process: The process is the server's; its memory may be tidied for serving.
        """
        if own_process:
            runtime.own_process()
        runtime.begin_import()
