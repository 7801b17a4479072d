"""Models that are Python code: `model.py` of a version directory, or `handler.py` around its SavedModel.

    version directory ─► completeness   have all source files arrived? (pure but for reading them)
                     └─► loader ─► package    the directory as a Python package of its own, gone after the unload
                                ├─► code      what its module offers: load, signatures, predict, unload
                                ├─► declaration   what it declares → signatures (pure)
                                ├─► wrapped_model   the SavedModel, as a handler sees it
                                └─► servable ─► arrays   what it returns → declared arrays (pure)
    backend   what the server holds
    failures  exceptions of the code as ServingError, with file and line

It runs whatever code lies in the model directory, so nothing of it happens without `--allow_python_models`.
"""

from __future__ import annotations

from pyserve.backends.python.backend import HandlerBackend, PythonBackend

__all__ = ["HandlerBackend", "PythonBackend"]
