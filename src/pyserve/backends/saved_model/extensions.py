"""What a process is given before it loads models: custom operations of TensorFlow, and modules that register some.

Both belong to the process, not to a model: TensorFlow has one registry of operations, and nothing leaves it again.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path

from pyserve.backends.saved_model import runtime
from pyserve.backends.saved_model.failures import bare_text
from pyserve.errors import FailedPreconditionError, NotFoundError

_log = logging.getLogger(__name__)


def load_extensions(op_libraries: Sequence[str], modules: Sequence[str], *, own_process: bool) -> None:
    """Load libraries, then import modules, in the order given. Once or often, it makes no difference.

    Blocks for the import of TensorFlow, which comes first where it is installed: modules that import it themselves find
    it as a server needs it.

    Args:
        op_libraries: Files of compiled operations (`--load_op_library`).
        modules: Names, as in `import` (`--import`).
        own_process: See `SavedModelBackend.prepare`.

    Raises:
        NotFoundError: There is no such file.
        FailedPreconditionError: A library or module cannot be loaded, or there is no TensorFlow for a library.
    """
    for library in op_libraries:
        if not Path(library).is_file():
            raise NotFoundError(f"--load_op_library: there is no file {library}")
    if own_process:
        runtime.own_process()
    if op_libraries or importlib.util.find_spec("tensorflow") is not None:
        tf = runtime.tensorflow()
    for library in op_libraries:
        try:
            tf.load_op_library(library)
        except Exception as error:
            text = bare_text(str(getattr(error, "message", error)))
            raise FailedPreconditionError(f"--load_op_library: {library} cannot be loaded: {text}") from error
        _log.info("Loaded the operations of %s", library)
    for module in modules:
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:
            text = bare_text(f"{type(error).__name__}: {error}")
            raise FailedPreconditionError(f"--import: {module} cannot be imported: {text}") from error
        _log.info("Imported %s", module)
