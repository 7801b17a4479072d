"""The client's methods as plans: deadlines, retries, signatures, splitting by rows. The same for every protocol."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, SupportsFloat, SupportsIndex, TypeVar

import numpy as np
from google.protobuf.message import DecodeError

from pyserve.client.arrays import (
    as_arrays,
    check_by_alias,
    check_max_rows,
    join_rows,
    says_its_dtype,
    split_rows,
)
from pyserve.client.features import Example
from pyserve.client.grpc_wire import GrpcWire
from pyserve.client.plan import Exchange, Message, Pause, Plan, Together
from pyserve.client.results import Classification, ModelMetadata, Prediction, Regression, VersionStatus
from pyserve.client.retry import Retry
from pyserve.client.wire import Wire
from pyserve.codec.examples import InferenceTask
from pyserve.codec.predict import ModelSpec
from pyserve.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    UnavailableError,
)
from pyserve.protos import ParseError, parse_text, tfs
from pyserve.servable import CLASSIFY_METHOD, DEFAULT_SIGNATURE, REGRESS_METHOD, Signature

DEFAULT_TIMEOUT_S = 60.0
METADATA_MAX_AGE_S = 10.0
"""How long a signature that was read is taken for the current one."""

ModelServerConfig = str | bytes | Any
Method = Literal["classify", "regress"]
_METHODS: dict[str, str] = {"classify": CLASSIFY_METHOD, "regress": REGRESS_METHOD}

T = TypeVar("T")
R = TypeVar("R", Prediction, Classification, Regression)


def model_spec(model: str, version: int | None, label: str | None, signature: str = "") -> ModelSpec:
    """What a call names.

    Raises:
        InvalidArgumentError: A name is no text, it names a version and a label, or a version that is no number of 64
            bits.
    """
    for what, name in (("model", model), ("label", label or ""), ("signature", signature)):
        if not isinstance(name, str):
            raise InvalidArgumentError(f"{what}: {name!r:.100}, expected a name")
    if version is not None and label is not None:
        raise InvalidArgumentError("a call names a version or a label, not both")
    if version is not None and not (isinstance(version, SupportsIndex) and -(2**63) <= int(version) < 2**63):
        raise InvalidArgumentError(f"version: {version!r:.100}, expected a number of 64 bits")
    return ModelSpec(model, None if version is None else int(version), label, signature)


class Calls:
    """Makes a plan of each call. May be used from any thread.

    Args:
        wire: How calls and answers look.
        timeout_s: Limit of a call that names none, in seconds, retries included; math.inf for no limit.
        retry: When a call that found the server unavailable is made again.
        clock: `time.monotonic`.
        chance: For the jitter of pauses.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retry: Retry | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        self._wire = wire
        self._timeout_s = timeout_s
        self._retry = retry or Retry()
        self._clock = clock
        self._chance = chance or random.Random()
        # Replaced and removed entry by entry, which a dict does atomically.
        self._metadata: dict[ModelSpec, tuple[float, ModelMetadata]] = {}

    # --- predict ---------------------------------------------------------------------------------------------

    def predict(
        self,
        spec: ModelSpec,
        inputs: Mapping[str, Any],
        output_filter: Sequence[str],
        max_rows: int | None,
        concurrency: int,
        timeout_s: float | None,
    ) -> Plan[Prediction]:
        check_by_alias(inputs)
        if isinstance(output_filter, str):
            raise InvalidArgumentError(f"output_filter: expected a list of aliases, was {output_filter!r}")
        deadline = self._deadline(timeout_s)
        signature = None
        if self._wire.needs_signature or not all(map(says_its_dtype, inputs.values())):
            signature = yield from self._signature(spec, deadline)
        try:
            arrays = as_arrays(inputs, signature)
            if max_rows is None:
                return (yield from self._predict(spec, arrays, output_filter, signature, deadline))
            parts = split_rows(arrays, max_rows)

            def one(part: Mapping[str, Any], spec: ModelSpec) -> Plan[Prediction]:
                return self._predict(spec, part, output_filter, signature, deadline)

            found = yield from self._in_parts(parts, one, spec, concurrency)
        except InvalidArgumentError:
            self._forget(spec)  # perhaps the model has changed, and what is known of it is wrong
            raise
        if len(found) == 1:
            return found[0]
        rows = [next(len(array) for array in part.values() if array.ndim) for part in parts]
        return Prediction(join_rows(found, rows), found[0].version)

    def _predict(
        self,
        spec: ModelSpec,
        arrays: Mapping[str, Any],
        output_filter: Sequence[str],
        signature: Signature | None,
        deadline: float,
    ) -> Plan[Prediction]:
        answer = yield from self._exchange(self._wire.predict(spec, arrays, output_filter), deadline)
        try:
            return self._wire.prediction(answer, spec, signature, output_filter)
        except InternalError:
            if signature is None:
                raise
        # The answer does not fit the signature: it is a newer version's.
        self._forget(spec)
        signature = yield from self._signature(spec, deadline)
        return self._wire.prediction(answer, spec, signature, output_filter)

    # --- classify, regress, multi_inference --------------------------------------------------------------------

    def classify(
        self,
        spec: ModelSpec,
        examples: Sequence[Example],
        context: Example | None,
        max_rows: int | None,
        concurrency: int,
        timeout_s: float | None,
    ) -> Plan[Classification]:
        found = yield from self._of_examples(
            self._wire.classify,
            self._wire.classification,
            (spec, examples, context),
            max_rows,
            concurrency,
            timeout_s,
        )
        if len({part.labels.shape[1] for part in found}) > 1:
            raise InvalidArgumentError("max_rows: the parts of this call have different numbers of classes")
        labels = np.concatenate([part.labels for part in found])
        return Classification(labels, np.concatenate([part.scores for part in found]), found[0].version)

    def regress(
        self,
        spec: ModelSpec,
        examples: Sequence[Example],
        context: Example | None,
        max_rows: int | None,
        concurrency: int,
        timeout_s: float | None,
    ) -> Plan[Regression]:
        found = yield from self._of_examples(
            self._wire.regress,
            self._wire.regression,
            (spec, examples, context),
            max_rows,
            concurrency,
            timeout_s,
        )
        return Regression(np.concatenate([part.values for part in found]), found[0].version)

    def _of_examples(
        self,
        ask: Callable[[ModelSpec, Sequence[Example], Example | None], Message],
        read: Callable[[bytes, ModelSpec], R],
        call: tuple[ModelSpec, Sequence[Example], Example | None],
        max_rows: int | None,
        concurrency: int,
        timeout_s: float | None,
    ) -> Plan[list[R]]:
        deadline = self._deadline(timeout_s)
        spec, examples, context = call

        def one(part: Sequence[Example], spec: ModelSpec) -> Plan[R]:
            answer = yield from self._exchange(ask(spec, part, context), deadline)
            return read(answer, spec)

        return self._in_parts(_lists(examples, max_rows), one, spec, concurrency)

    def _in_parts(
        self,
        parts: Sequence[Any],
        one: Callable[[Any, ModelSpec], Plan[R]],
        spec: ModelSpec,
        concurrency: int,
    ) -> Plan[list[R]]:
        """The results of all parts, of one version: parts that an older one answered are asked again."""
        if concurrency < 1:
            raise InvalidArgumentError(f"concurrency: {concurrency}, expected at least 1")
        if len(parts) == 1:
            return [(yield from one(parts[0], spec))]
        found: list[R] = yield Together([one(part, spec) for part in parts], concurrency)
        newest = max((part.version for part in found if part.version is not None), default=None)
        late = [index for index, part in enumerate(found) if part.version != newest]
        if late:
            pinned = replace(spec, version=newest, version_label=None)
            again: list[R] = yield Together([one(parts[index], pinned) for index in late], concurrency)
            for index, part in zip(late, again, strict=True):
                found[index] = part
        return found

    # --- about models -------------------------------------------------------------------------------------------

    def asked(self, message: Message, read: Callable[[bytes], T], timeout_s: float | None) -> Plan[T]:
        """One message, and what its answer says."""
        return read((yield from self._exchange(message, self._deadline(timeout_s))))

    def metadata(self, spec: ModelSpec, timeout_s: float | None) -> Plan[ModelMetadata]:
        return self.asked(self._wire.ask_metadata(spec), self._wire.metadata, timeout_s)

    def status(self, spec: ModelSpec, timeout_s: float | None) -> Plan[list[VersionStatus]]:
        return self.asked(self._wire.ask_status(spec), self._wire.status, timeout_s)

    def _signature(self, spec: ModelSpec, deadline: float) -> Plan[Signature]:
        """The signature that a call names, read at most METADATA_MAX_AGE_S ago."""
        which = replace(spec, signature_name="")
        now = self._clock()
        read_at, metadata = self._metadata.get(which, (-math.inf, None))
        if metadata is None or now - read_at > METADATA_MAX_AGE_S:
            answer = yield from self._exchange(self._wire.ask_metadata(which), deadline)
            metadata = self._wire.metadata(answer)
            self._metadata[which] = now, metadata
        key = spec.signature_name or DEFAULT_SIGNATURE
        found = metadata.signatures.get(key)
        if found is None:
            self._forget(spec)
            raise FailedPreconditionError(f'Serving signature key "{key}" not found.')
        return found

    def _forget(self, spec: ModelSpec) -> None:
        self._metadata.pop(replace(spec, signature_name=""), None)

    # --- sending ------------------------------------------------------------------------------------------------

    def _deadline(self, timeout_s: float | None) -> float:
        limit = self._timeout_s if timeout_s is None else timeout_s
        if not isinstance(limit, SupportsFloat) or math.isnan(limit):
            raise InvalidArgumentError(f"timeout_s: {limit!r:.100}, expected seconds")
        return self._clock() + float(limit)

    def _exchange(self, message: Message, deadline: float, *, again: bool = True) -> Plan[bytes]:
        """Send a message; `again`: as often as `Retry` says when the server is unavailable."""
        for wait in self._retry.waits(self._chance) if again else ():
            try:
                answer: bytes = yield self._once(message, deadline)
                return answer
            except UnavailableError:
                if self._clock() + wait >= deadline:
                    raise
            yield Pause(wait)
        answer = yield self._once(message, deadline)
        return answer

    def _once(self, message: Message, deadline: float) -> Exchange:
        if deadline == math.inf:
            return Exchange(message, None)
        left = deadline - self._clock()
        if left <= 0:
            raise DeadlineExceededError("Deadline Exceeded")
        return Exchange(message, left)


class GrpcCalls(Calls):
    """The calls that only gRPC has, besides the others."""

    def __init__(self, timeout_s: float, retry: Retry | None) -> None:
        self._grpc = GrpcWire()
        super().__init__(self._grpc, timeout_s=timeout_s, retry=retry)

    def multi_inference(
        self,
        model: str,
        tasks: Sequence[tuple[Method, str]],
        examples: Sequence[Example],
        context: Example | None,
        version: int | None,
        label: str | None,
        timeout_s: float | None,
    ) -> Plan[list[Classification | Regression]]:
        wanted = []
        for method, signature in tasks:
            if method not in _METHODS:
                raise InvalidArgumentError(
                    f"a task's method is {method!r}, expected one of {sorted(_METHODS)}"
                )
            wanted.append(InferenceTask(model_spec(model, version, label, signature), _METHODS[method]))
        message = self._grpc.multi_inference(wanted, examples, context)
        return self.asked(message, self._grpc.inferences, timeout_s)

    def reload(
        self, config: ModelServerConfig, metric_names: Sequence[str], timeout_s: float
    ) -> Plan[dict[str, int]]:
        message = self._grpc.reload(_config(config), metric_names)
        answer = yield from self._exchange(message, self._deadline(timeout_s), again=False)
        return self._grpc.reloaded(answer)


def _config(config: ModelServerConfig) -> tfs.ModelServerConfig:
    if isinstance(config, str):
        try:
            return parse_text(config, tfs.ModelServerConfig())
        except ParseError as error:
            raise InvalidArgumentError(f"config is no text format of ModelServerConfig: {error}") from None
    try:
        data = config if isinstance(config, bytes) else config.SerializeToString()
        return tfs.ModelServerConfig.FromString(data)
    except (AttributeError, DecodeError):
        raise InvalidArgumentError(
            f"config: expected a ModelServerConfig as text, bytes or message, was {config!r:.100}"
        ) from None


def _lists(examples: Sequence[Example], max_rows: int | None) -> list[Sequence[Example]]:
    if max_rows is None:
        return [examples]
    check_max_rows(max_rows)
    return [examples[start : start + max_rows] for start in range(0, len(examples), max_rows)] or [examples]
