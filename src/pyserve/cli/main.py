"""`pyserve`: arguments in, a server process, an exit code out."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pyserve import __version__
from pyserve.cli import commands
from pyserve.cli.configure import server_config
from pyserve.cli.flags import FlagValueError, State, UnknownArgumentError, parse, set_away_from_default, usage
from pyserve.cli.table import FLAGS
from pyserve.codec.text_file import read_text
from pyserve.config import ServerConfig
from pyserve.errors import ServingError, Status
from pyserve.observe import logs

logger = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_UNKNOWN_ARGUMENT = 2
EXIT_FAILURE = 255  # what a C program's `return -1` becomes, and scripts may test for
_PROGRAM = "pyserve"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the result is the process's exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if commands.is_command(arguments):
        return commands.run(_PROGRAM, arguments)
    if "--help" in arguments or "-h" in arguments:
        print(usage(_PROGRAM, FLAGS) + commands.usage(_PROGRAM), end="")
        return EXIT_OK
    try:
        values = parse(arguments, FLAGS)
    except FlagValueError as error:
        print(error, file=sys.stderr)
        print(usage(_PROGRAM, FLAGS), end="")
        return EXIT_FAILURE
    except UnknownArgumentError as error:
        if error.values.get("version"):
            return _print_versions()
        print(error, file=sys.stderr)
        print(f"`{_PROGRAM} --help` lists every flag.", file=sys.stderr)
        return EXIT_UNKNOWN_ARGUMENT
    if values.get("version"):
        return _print_versions()
    signals = _Signals()  # before the imports, so that a stop in the first second is heard
    log_format = str(values.get("log_format", "text"))
    if log_format not in logs.FORMATTERS:
        print(f"--log_format must be one of {', '.join(logs.FORMATTERS)}; was {log_format}", file=sys.stderr)
        return EXIT_FAILURE
    logs.install(log_format)
    try:
        config = server_config(values, read_text)
        for flag in set_away_from_default(values, FLAGS, State.WARNED):
            logger.warning("--%s is ignored: %s", flag.name, flag.why)
        if config.eas is not None:
            config = _with_eas_models(config, str(values.get("eas_model_cache", "")))
        if not values.get("model_config_file"):
            model = config.models[0]
            logger.info(
                "Building single TensorFlow model file config:  model_name: %s model_base_path: %s",
                model.name,
                model.base_path,
            )
        _serve(config, signals)
    except ServingError as error:
        print(f"Failed to start server. Error: {error}", flush=True)
        return EXIT_FAILURE


def _print_versions() -> int:
    print(f"TensorFlow ModelServer: {__version__}+pyserve")
    print(f"TensorFlow Library: {_tensorflow_version()}")
    return EXIT_OK


def _with_eas_models(config: ServerConfig, cache: str) -> ServerConfig:
    # Here, not above: who serves no EAS service needs none of it.
    from pyserve.tools.eas_model import default_cache, prepared

    return prepared(config, Path(cache).absolute() if cache else default_cache())


def _serve(config: ServerConfig, signals: _Signals) -> NoReturn:
    # Here, not above: --help and errors in the arguments must not wait for imports.
    from pyserve.cli.progress import LoadProgress
    from pyserve.server import Server

    server = Server(config)
    signals.stop = server.request_stop
    try:
        with LoadProgress(server.monitor):
            server.run()
    except ServingError as error:
        print(f"Failed to start server. Error: {error}", flush=True)
        _leave(EXIT_FAILURE)
    except Exception as error:
        logger.exception("The server ended by an error of its own")
        print(f"Failed to start server. Error: {Status.of(error)}", flush=True)
        _leave(EXIT_FAILURE)
    _leave(EXIT_OK)


class _Signals:
    """The first signal asks for an orderly stop, the second ends the process at once.

    Before there is a server to stop, the first one ends the process, with 0.
    """

    def __init__(self) -> None:
        self.stop: Callable[[], None] | None = None
        self._seen = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle)

    def handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._seen:
            os._exit(128 + number)
        self._seen = True
        if self.stop is None:
            os._exit(EXIT_OK)
        self.stop()


def _leave(code: int) -> NoReturn:
    """End the process now.

    Everything has been stopped in order. Python's own way out would wait for threads of others, and run finalizers
    while a load or a model that cannot be ended still uses what they take apart.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _tensorflow_version() -> str:
    # From the package's metadata: importing TensorFlow takes seconds.
    for name in ("tensorflow", "tensorflow-cpu", "tf-nightly"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "not installed"
