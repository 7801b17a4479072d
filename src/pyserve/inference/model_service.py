"""Status and metadata of models, protocol-neutral."""

from __future__ import annotations

from dataclasses import dataclass

from pyserve.errors import NotFoundError
from pyserve.inference.router import Router
from pyserve.lifecycle.monitor import Monitor, ServableState
from pyserve.protos import tfs
from pyserve.servable import ServableId


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a servable declares: a serialized `SignatureDefMap` with every signature of its MetaGraph."""

    id: ServableId
    signature_def_map: bytes


class ModelService:
    """Answers questions about models. Thread-safe.

    Args:
        monitor: Remembers the last state of every version ever seen.
        router: Resolves versions and labels for metadata.
    """

    def __init__(self, monitor: Monitor, router: Router) -> None:
        self._monitor = monitor
        self._router = router

    def status_response(self, name: str, version: int | None = None) -> bytes:
        """A serialized `GetModelStatusResponse`: one version, or all that were ever seen, newest first.

        Versions that ended and models that left the configuration stay listed, as in TensorFlow Serving.

        Raises:
            NotFoundError: The version, or every version, is unknown.
        """
        response = tfs.GetModelStatusResponse()
        for state in self._states(name, version):
            listed = response.model_version_status.add(version=state.id.version, state=int(state.state))
            # Set even when it is OK: TensorFlow Serving sends an empty status, and clients read it.
            listed.status.error_code = int(state.status.code)
            listed.status.error_message = state.status.message
        return response.SerializeToString()

    def _states(self, name: str, version: int | None) -> list[ServableState]:
        if version is not None:
            state = self._monitor.state(ServableId(name, version))
            if state is None:
                raise NotFoundError(f"Could not find version {version} of model {name}")
            return [state]
        states = self._monitor.versions(name)
        if not states:
            raise NotFoundError(f"Could not find any versions of model {name}")
        return states

    def metadata(self, name: str, version: int | None = None, label: str | None = None) -> Metadata:
        """The signatures of the version that a request for this model would reach.

        Raises:
            ServingError: The router's refusals.
        """
        with self._router.route(name, version, label) as handle:
            return Metadata(handle.id, handle.servable.signature_def_map)
