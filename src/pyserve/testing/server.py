"""The fake: a real server whose models are callables, and whose versions are in memory.

with serve({"half_plus_two": lambda x: {"y": x * 0.5 + 2.0}}) as server:
    ...  # server.grpc_address, server.http_url, server.client
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar

from pyserve.client import Client
from pyserve.config import All, LoadOptions, ModelConfig, ServerConfig
from pyserve.errors import DeadlineExceededError, FailedPreconditionError, error_for
from pyserve.lifecycle.monitor import ServableState, State
from pyserve.lifecycle.startup import has_failed
from pyserve.server import Server
from pyserve.testing.model import Model
from pyserve.testing.recorder import Recorder
from pyserve.testing.requests import Request
from pyserve.testing.script import Script
from pyserve.testing.versions import Versions, version_of, versions_of

T = TypeVar("T")

_HOST = "127.0.0.1"
# Runs that are delayed or held occupy a thread each; so many may be at the same time, the others wait.
_RUN_THREADS = 16
# A test that has waited so long for a callable to be served has found a bug.
_TIMEOUT_S = 60.0
_NOTHING: Mapping[str, Any] = MappingProxyType({})

_DEFAULTS: Mapping[str, Any] = {
    "port": 0,
    "rest_api_port": 0,
    "host": _HOST,
    "num_run_threads": _RUN_THREADS,
    "drain_timeout_s": 5.0,
    "enable_model_warmup": False,
    "warmup_from_signature": False,
    # The source looks when it is told to, and no file has to be waited for.
    "load": LoadOptions(file_system_poll_wait_seconds=0, max_num_load_retries=0),
}


class ModelServer:
    """A server for tests, with gRPC and REST on free ports of this machine. Made by `serve`; a context manager.

    Its methods may be called from any thread. It may be started again after it was stopped.

    Args:
        models: By name: a version (see `serve`), or versions by number.
        labels: Model → label → version.
        settings: Fields of `pyserve.ServerConfig`, such as `enable_grpc_healthcheck_service=True`.

    Raises:
        TypeError, ValueError: A model cannot be served; the message says which, and why.
    """

    def __init__(
        self,
        models: Mapping[str, Any] = _NOTHING,
        *,
        labels: Mapping[str, Mapping[str, int]] = _NOTHING,
        **settings: Any,
    ) -> None:
        _check_by_name(models, labels, settings)
        self._recorder = Recorder()
        self._scripts: dict[str, Script] = {}
        self._versions = Versions(self._script)
        self._changing = threading.RLock()  # one change of the versions at a time; guards _client too
        for name, given in models.items():
            for version, load in _named(name, versions_of, given).items():
                self._versions.add(name, version, load)
        if unknown := sorted(labels.keys() - models.keys()):
            raise ValueError(f"labels for a model that is not there: {unknown[0]}")
        configs = tuple(_config(name, labels.get(name, {})) for name in models)
        self._config = ServerConfig(**{**_DEFAULTS, "models": configs, **settings})
        self._server: Server | None = None
        self._client: Client | None = None

    def __str__(self) -> str:
        return ", ".join(model.name for model in self._config.models) or "no model"

    # --- start and stop ------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Serve on threads of its own; returns when every model can be called.

        Raises:
            ServingError: A version cannot be loaded.
            RuntimeError: It runs already.
        """
        if self._server is not None:
            raise RuntimeError("the model server runs already")
        server = Server(
            self._config, self._versions, list_children=self._versions.children, tap=self._recorder
        )
        server.start()
        self._server = server
        return self

    def stop(self) -> None:
        """Let go of everyone who is held, finish what is under way, give everything back. May be called twice."""
        with self._changing:
            server, self._server = self._server, None
            client, self._client = self._client, None
        if client is not None:
            client.close()
        if server is not None:
            self._reset_scripts()
            server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _running(self) -> Server:
        if self._server is None:
            raise FailedPreconditionError(
                "The model server is not running; use it as a context manager, or start it"
            )
        return self._server

    # --- where it is ---------------------------------------------------------------------------------------------

    @property
    def server(self) -> Server:
        """The server itself, for whatever is not offered here."""
        return self._running

    @property
    def grpc_address(self) -> str:
        """host:port of gRPC."""
        return f"{_HOST}:{self._running.grpc_port}"

    @property
    def http_url(self) -> str:
        """`http://host:port` of REST."""
        return f"http://{_HOST}:{self._running.rest_port}"

    @property
    def client(self) -> Client:
        """A client for it, over gRPC; closed when the server stops."""
        address = self.grpc_address
        with self._changing:
            if self._client is None:
                self._client = Client(address)
            return self._client

    # --- versions ------------------------------------------------------------------------------------------------

    def add_version(self, name: str, version: int, model: Any) -> None:
        """Put a version into service, of a model that is there or of a new one; returns when it can be called.

        Args:
            model: As in `serve`.

        Raises:
            TypeError, ValueError: It cannot be served, or is there already.
            ServingError: It cannot be loaded; its state is END then, with that error.
        """
        load = _named(name, version_of, model)
        with self._changing:
            server = self._running
            mark = server.monitor.mark()
            self._versions.add(name, version, load)
            try:
                if any(config.name == name for config in server.models):
                    server.look_for_versions()
                    self._wait_for_load(server, name, version, mark)
                else:
                    server.reload((*server.models, _config(name)), _TIMEOUT_S)
            except BaseException:
                self._versions.remove(name, version)
                raise

    def _wait_for_load(self, server: Server, name: str, version: int, mark: int) -> None:
        def result() -> ServableState | None:
            states = server.monitor.versions(name, since=mark)
            decided = (s for s in states if s.state is State.AVAILABLE or has_failed(s))
            return next((s for s in decided if s.id.version == version), None)

        if not server.monitor.wait(lambda: result() is not None, _TIMEOUT_S):
            raise DeadlineExceededError(
                f"Version {version} of {name} was not available within {_TIMEOUT_S:g} s"
            )
        state = result()
        assert state is not None
        if not state.status.ok:
            raise error_for(state.status.code, state.status.message)

    def remove_version(self, name: str, version: int) -> None:
        """Take a version out of service; returns when new requests do not reach it any more. Those under way finish.

        Raises:
            KeyError: There is none.
        """
        with self._changing:
            server = self._running
            mark = server.monitor.mark()
            self._versions.remove(name, version)
            server.look_for_versions()

            def gone() -> bool:
                states = server.monitor.versions(name, since=mark)
                return any(s.id.version == version and s.state >= State.UNLOADING for s in states)

            if not server.monitor.wait(gone, _TIMEOUT_S):
                raise DeadlineExceededError(
                    f"Version {version} of {name} was not unloaded within {_TIMEOUT_S:g} s"
                )

    def set_label(self, name: str, label: str, version: int | None) -> None:
        """Let a label stand for another version, or for none (None), by the rules of a reload.

        Raises:
            KeyError: There is no such model.
            FailedPreconditionError: There is no such version.
        """
        with self._changing:
            server = self._running
            if all(config.name != name for config in server.models):
                raise KeyError(f"no model {name}, only {[config.name for config in server.models]}")
            server.reload(
                tuple(
                    _relabelled(config, label, version) if config.name == name else config
                    for config in server.models
                ),
                _TIMEOUT_S,
            )

    # --- scripts and requests ------------------------------------------------------------------------------------

    def model(self, name: str) -> Model:
        """Scripts and assertions for a model; it need not be there yet."""
        return Model(name, self._script(name), self._recorder.requests)

    def requests(self, name: str | None = None) -> list[Request]:
        """Everything that was asked, in the order of arrival; of one model, or of all. The last 1,000 are kept."""
        found = self._recorder.requests()
        return found if name is None else [request for request in found if request.model == name]

    def report(self, last: int = 20) -> str:
        """The last requests, a line each."""
        requests = self._recorder.requests()
        lines = [f"{number:>4}  {request}" for number, request in enumerate(requests, 1)]
        return "\n".join(lines[-last:]) or "no requests"

    def reset(self) -> None:
        """Forget what was scripted and what was asked; versions and labels stay."""
        self._reset_scripts()
        self._recorder.clear()

    def _reset_scripts(self) -> None:
        for script in list(self._scripts.values()):
            script.reset()

    def _script(self, name: str) -> Script:
        return self._scripts.setdefault(name, Script())


def serve(
    models: Mapping[str, Any] = _NOTHING,
    *,
    labels: Mapping[str, Mapping[str, int]] = _NOTHING,
    **settings: Any,
) -> ModelServer:
    """A model server for tests; to be used as a context manager.

    Args:
        models: By name, a version or versions by number. A version is

            - a callable from keyword arrays to a mapping of arrays; `signature` tells how its dtypes are found out,
            - several of them by signature key,
            - `Recorded` answers,
            - the path of a SavedModel, or of a directory of them by number (needs TensorFlow),
            - a `pyserve.servable.Servable`,
            - a `pyserve.errors.ServingError`, with which the load fails.
        labels: Model → label → version.
        settings: Fields of `pyserve.ServerConfig`.

    Raises:
        TypeError, ValueError: A model cannot be served; the message says which, and why.
    """
    return ModelServer(models, labels=labels, **settings)


def _check_by_name(models: object, labels: object, settings: Mapping[str, Any]) -> None:
    """Refuse what is not given by name, and settings that there are none of."""
    if not isinstance(models, Mapping):
        raise TypeError(f'models: expected models by name, such as {{"m": model}}; was {models!r:.100}')
    if not isinstance(labels, Mapping) or not all(isinstance(each, Mapping) for each in labels.values()):
        raise TypeError(
            f'labels: expected versions by model and label, such as {{"m": {{"stable": 1}}}}; was {labels!r:.100}'
        )
    known = [field.name for field in fields(ServerConfig) if field.name != "models"]
    for name in settings.keys() - set(known):
        near = difflib.get_close_matches(name, [*known, "labels"], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise TypeError(f"{name}: expected labels or a field of pyserve.ServerConfig{hint}")


def _config(name: str, labels: Mapping[str, int] = _NOTHING) -> ModelConfig:
    """A model all of whose versions are served. Its base path is only a name."""
    return ModelConfig(name, f"memory://{name}", version_policy=All(), version_labels=dict(labels))


def _relabelled(config: ModelConfig, label: str, version: int | None) -> ModelConfig:
    labels = {each: bound for each, bound in config.version_labels.items() if each != label}
    return replace(config, version_labels=labels if version is None else {**labels, label: version})


def _named(name: str, make: Callable[[Any], T], given: Any) -> T:
    """What is made of what was given for a model; a refusal says for which."""
    try:
        return make(given)
    except (TypeError, ValueError) as error:
        raise type(error)(f"model {name!r}: {error}") from error
