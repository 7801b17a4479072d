"""SavedModels as servables: the only package of pyserve that imports TensorFlow, and it does so late.

    version directory ─► completeness   have all files arrived?            (no TensorFlow)
                     └─► loader ─► meta_graph   which graph, which signatures (no TensorFlow)
                                ├─► traits      stateless? loops?          (pure)
                                ├─► version_config  what the version says about its session (no TensorFlow)
                                ├─► session     the graph, restored and initialised; placement: on which device
                                ├─► servable ─► program   one signature and one set of outputs, ready to run
                                └─► replicas    a servable for each of several devices
    backend   what the server holds
    runtime   the import of TensorFlow and its process-wide options; session_options their pure part
    extensions  custom operations, and modules to import before models
    garbage   when Python's cyclic collector may run
    profile   TensorFlow's profiler
    failures  TensorFlow's exceptions as ServingError

One executor serves every SavedModel: a session on the MetaGraph, fed and fetched by the tensor names of the
SignatureDefs. That is what TensorFlow Serving does, so names, partial fetches, deadlines, error texts and the
missing check of declared shapes agree by construction. `docs/architecture.md` has the figures.
"""

from __future__ import annotations

from pyserve.backends.saved_model.backend import SavedModelBackend
from pyserve.backends.saved_model.completeness import incomplete_reason
from pyserve.backends.saved_model.extensions import load_extensions
from pyserve.backends.saved_model.garbage import freeze_imported
from pyserve.backends.saved_model.loader import SavedModelLoader
from pyserve.backends.saved_model.replicas import ReplicatedServable
from pyserve.backends.saved_model.servable import SavedModelServable

__all__ = [
    "ReplicatedServable",
    "SavedModelBackend",
    "SavedModelLoader",
    "SavedModelServable",
    "freeze_imported",
    "incomplete_reason",
    "load_extensions",
]
