"""The SavedModel backend as the server sees it: loaders, completeness, tidying up."""

from __future__ import annotations

from pyserve.backends.saved_model import garbage
from pyserve.backends.saved_model.completeness import incomplete_reason
from pyserve.backends.saved_model.loader import SavedModelLoader
from pyserve.config import TensorFlowOptions
from pyserve.servable import ServableId


class SavedModelBackend:
    """Turns version directories into servables by TensorFlow, which is imported by the first load.

    Args:
        options: For every model of the server.
    """

    def __init__(self, options: TensorFlowOptions) -> None:
        self._options = options

    def make_loader(self, id: ServableId, path: str) -> SavedModelLoader:
        """A loader for one version; does no work yet."""
        del id
        return SavedModelLoader(path, self._options)

    def incomplete_reason(self, path: str) -> str | None:
        """What a version still lacks; None when nothing is known to be missing. Never raises."""
        return incomplete_reason(path)

    def loads_changed(self) -> None:
        """Collect what the loads that have just ended left behind."""
        garbage.collect_after_loads()
