"""What the client's calls give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyserve.dtypes import Array
from pyserve.errors import Status
from pyserve.lifecycle.monitor import State
from pyserve.servable import Signature


class Prediction(dict[str, Array]):
    """The outputs of a predict call by alias.

    Strings are object arrays of `bytes`. Arrays may be read-only, where they share the answer's memory.

    Attributes:
        version: The version that answered; None where the answer does not tell (REST, unless it was asked for).
    """

    def __init__(self, outputs: Mapping[str, Array], version: int | None) -> None:
        super().__init__(outputs)
        self.version = version


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """Classes and scores of each example.

    Attributes:
        labels: Object array of `str`, [examples, classes]; empty texts when the model gives none.
        scores: float32, [examples, classes]; zeros when the model gives none.
        version: As in `Prediction`.
    """

    labels: Array
    scores: Array
    version: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """A number for each example.

    Attributes:
        values: float32, [examples].
        version: As in `Prediction`.
    """

    values: Array
    version: int | None


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a version declares.

    Attributes:
        name, version: Which one.
        signatures: By key, all of them, TensorFlow's own `__saved_model_init_op` included.
    """

    name: str
    version: int
    signatures: Mapping[str, Signature]


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """The state of one version; `status` says at END whether, and how, it failed."""

    version: int
    state: State
    status: Status

    @property
    def available(self) -> bool:
        return self.state is State.AVAILABLE
