"""The meeting point of the two flows: what the life cycle produces and the request path uses.

A *servable* is one loaded version of a model. `lifecycle/` creates and retires servables through this
interface and never sees a request; `inference/` borrows them through a `ServableHandle` and never sees
files, threads or states of the life cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import NamedTuple, Protocol, Self, runtime_checkable

from pyserve.dtypes import Array, DType

DEFAULT_SIGNATURE = "serving_default"
PREDICT_METHOD = "tensorflow/serving/predict"
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"
METHOD_NAMES: Mapping[str, str] = MappingProxyType(
    {"predict": PREDICT_METHOD, "classify": CLASSIFY_METHOD, "regress": REGRESS_METHOD}
)
"""The same by what people call them."""


@dataclass(frozen=True, slots=True, order=True)
class ServableId:
    """Name and version of a servable; `str()` gives TensorFlow Serving's form `{name: m version: 1}`."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{{name: {self.name} version: {self.version}}}"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One declared input or output of a signature.

    Attributes:
        alias: Its name in the signature, as clients write it.
        dtype: Element type.
        shape: Declared dimensions, None for each that is free; None when the rank is unknown. Informative on
            the TensorFlow Serving paths, where the declared shape is never enforced.
        tensor_name: The graph tensor behind it, e.g. `x:0`; used in messages.
    """

    alias: str
    dtype: DType
    shape: tuple[int | None, ...] | None
    tensor_name: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """A named function of a servable.

    Attributes:
        key: Its name in the signature map.
        method_name: `tensorflow/serving/predict` and so on, as declared; may be empty.
        inputs, outputs: By alias.
        defaults: Values for inputs that a request may leave out, by alias.
    """

    key: str
    method_name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    defaults: Mapping[str, Array] = field(default_factory=lambda: MappingProxyType({}))


class Servable(Protocol):
    """A loaded version. All methods may be called from any thread, several at once."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Every signature that a request may name, by key."""
        ...

    @property
    def signature_def_map(self) -> bytes:
        """A serialized `tensorflow.serving.SignatureDefMap` with all signatures exactly as declared."""
        ...

    @property
    def stateless(self) -> frozenset[str]:
        """Keys of the signatures that can be run, or run again, without anybody noticing.

        Their graphs, library functions included, hold no stateful operation beyond reads of variables and tables.
        """
        ...

    def run(
        self,
        signature_key: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        """Execute one signature, blocking the calling thread.

        Args:
            signature_key: A key of `signatures`.
            inputs: One array per declared input, of the declared dtype (already validated, defaults filled in).
            outputs: Aliases wanted, each declared, none twice.
            timeout_s: Time left for the run, in seconds; None means no limit. Honoured where the executor can.

        Returns:
            An array for each wanted alias. Strings are object arrays of `bytes`.

        Raises:
            ServingError: With the code and text of the failure in the model.
        """
        ...

    def unload(self) -> None:
        """Give back everything that the version holds. Called once, when no handle is left."""
        ...


class OutputOf(NamedTuple):
    """An output of one of several signatures."""

    signature_key: str
    alias: str


@runtime_checkable
class JointlyRunnable(Protocol):
    """What a servable may do beyond `Servable`: run several signatures as one.

    For one without it they are run one after another; where signatures share state, others may come in between.
    """

    def run_jointly(
        self, outputs: Mapping[str, OutputOf], array: Array, timeout_s: float | None = None
    ) -> dict[str, Array]:
        """Execute several signatures of one input each over the same array, blocking the calling thread.

        Args:
            outputs: What to compute: a name of the caller's choice → output of a declared signature.
            array: For the input of every signature, of its declared dtype.
            timeout_s: Time left for all of it, in seconds; None means no limit.

        Returns:
            An array for each name.

        Raises:
            ServingError: With the code and text of the failure in the model.
        """
        ...


@runtime_checkable
class RunsTensors(Protocol):
    """What a servable with a graph may do beyond `Servable`: run any part of it. Only for trusted callers."""

    def run_tensors(
        self,
        feeds: Mapping[str, Array],
        fetches: Sequence[str],
        targets: Sequence[str],
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        """Feed and fetch tensors by their names in the graph, blocking the calling thread.

        Args:
            feeds: Arrays by tensor name.
            fetches: Names of tensors, none twice.
            targets: Names of operations to run for their effect.
            timeout_s: Time left for the run, in seconds; None means no limit.

        Returns:
            An array for each name in `fetches`.

        Raises:
            NotFoundError: The graph has no tensor or operation of a name.
            ServingError: With the code and text of the failure in the model.
        """
        ...


@runtime_checkable
class Replicated(Protocol):
    """What a servable may be beyond `Servable`: several that answer alike, of which each run takes one."""

    def on_each_replica(self, work: Callable[[], None]) -> None:
        """Call something once for each replica: whatever it runs on this thread, that replica runs."""
        ...


def on_each_replica(servable: Servable, work: Callable[[], None]) -> None:
    """Call something as often as all of a servable has to be run; see `Replicated`."""
    if isinstance(servable, Replicated):
        servable.on_each_replica(work)
    else:
        work()


class ServableHandle:
    """A short right to use a servable; the version is not unloaded before every handle was released.

    Release it exactly once, or use it as a context manager. A second `release` does nothing.
    """

    __slots__ = ("_release", "id", "servable")

    def __init__(self, servable_id: ServableId, servable: Servable, release: Callable[[], None]) -> None:
        self.id = servable_id
        self.servable = servable
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
