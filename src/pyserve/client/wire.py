"""What a protocol must give the calls: requests as bytes, and results from the answers' bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pyserve.client.features import Example
from pyserve.client.plan import Message
from pyserve.client.results import Classification, ModelMetadata, Prediction, Regression, VersionStatus
from pyserve.codec.predict import ModelSpec
from pyserve.dtypes import Array
from pyserve.errors import InternalError, Status, error_for
from pyserve.lifecycle.monitor import State
from pyserve.protos import tfs
from pyserve.servable import Signature


class Wire(Protocol):
    """gRPC or REST, without a socket. Stateless; every function may raise ServingError."""

    needs_signature: bool
    """Whether `prediction` needs the signature: JSON does not say which dtype a number has."""

    def predict(
        self, spec: ModelSpec, inputs: Mapping[str, Array], output_filter: Sequence[str]
    ) -> Message: ...

    def prediction(
        self, answer: bytes, spec: ModelSpec, signature: Signature | None, output_filter: Sequence[str]
    ) -> Prediction: ...

    def classify(self, spec: ModelSpec, examples: Sequence[Example], context: Example | None) -> Message: ...

    def classification(self, answer: bytes, spec: ModelSpec) -> Classification: ...

    def regress(self, spec: ModelSpec, examples: Sequence[Example], context: Example | None) -> Message: ...

    def regression(self, answer: bytes, spec: ModelSpec) -> Regression: ...

    def ask_metadata(self, spec: ModelSpec) -> Message: ...

    def metadata(self, answer: bytes) -> ModelMetadata: ...

    def ask_status(self, spec: ModelSpec) -> Message: ...

    def status(self, answer: bytes) -> list[VersionStatus]: ...


def version_statuses(response: tfs.GetModelStatusResponse) -> list[VersionStatus]:
    """The states of a status answer, in its order: newest version first.

    Raises:
        InternalError: It has a state that there is none of.
    """
    found = []
    for entry in response.model_version_status:
        try:
            state = State(entry.state)
        except ValueError:
            raise InternalError(
                f"version {entry.version} is in a state without a name: {entry.state}"
            ) from None
        found.append(VersionStatus(entry.version, state, status_of(entry.status)))
    return found


def status_of(proto: tfs.StatusProto) -> Status:
    """A status as a value."""
    code = proto.error_code
    return Status() if code == 0 else Status.of(error_for(code, proto.error_message))
