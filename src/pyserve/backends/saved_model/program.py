"""One signature and one set of outputs, looked up once and ready to run again and again.

`servable` makes programs and keeps them; `session` runs them. Here arrays become what TensorFlow takes and
back: numeric arrays cross without a copy, strings are object arrays of `bytes` both ways.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pyserve import dtypes
from pyserve.backends.saved_model.meta_graph import full_name
from pyserve.backends.saved_model.pace import Pace
from pyserve.backends.saved_model.session import GraphSession
from pyserve.dtypes import Array, DType
from pyserve.errors import TIMED_OUT, DeadlineExceededError, NotFoundError, UnimplementedError
from pyserve.servable import OutputOf, Signature


class Program:
    """Runs one signature for one set of outputs. Any thread may call `run`, several at once.

    Args:
        session: Outlives the program.
        signature: All its tensors are in the session's graph.
        outputs: The aliases to compute.
        paced: Whether short runs may stay on the calling thread: only for graphs that just compute.

    Raises:
        KeyError, ValueError: A tensor is not in the graph.
    """

    def __init__(
        self, session: GraphSession, signature: Signature, outputs: Sequence[str], *, paced: bool
    ) -> None:
        self.signature = signature
        self._session = session
        self._inputs = [
            (alias, session.endpoint(spec.tensor_name), spec.dtype.numpy)
            for alias, spec in signature.inputs.items()
        ]
        fed = {full_name(spec.tensor_name): alias for alias, spec in signature.inputs.items()}
        # One tensor under several aliases is fetched once. One that is fed cannot be fetched: TensorFlow
        # refuses it, and its value is known.
        self._from_input: list[tuple[str, str]] = []
        self._from_fetch: list[tuple[str, int, DType]] = []
        fetched: dict[str, int] = {}
        for alias in outputs:
            name = full_name(signature.outputs[alias].tensor_name)
            if name in fed:
                self._from_input.append((alias, fed[name]))
            else:
                index = fetched.setdefault(name, len(fetched))
                self._from_fetch.append((alias, index, dtypes.BY_NUMBER[session.element_type(name)]))
        self._fetches = [session.endpoint(name) for name in fetched]
        self._pace = Pace() if paced else None

    def run(self, inputs: Mapping[str, Array], timeout_s: float | None) -> dict[str, Array]:
        """The wanted outputs.

        Raises:
            DeadlineExceededError: There is no time left at all.
            tf.errors.OpError, TypeError, ValueError: As TensorFlow raises them.
        """
        timeout_ms = _milliseconds(timeout_s)
        feeds: dict[Any, Array] = {}
        for alias, endpoint, dtype in self._inputs:
            array = inputs[alias]
            feeds[endpoint] = array if array.dtype is dtype else _native(array)
        values: Sequence[Any] = ()
        if self._fetches:
            pace = self._pace
            if pace is None:
                values = self._session.run(feeds, self._fetches, timeout_ms=timeout_ms)
            else:
                input_bytes = _input_bytes(feeds.values())
                started = time.perf_counter()
                values = self._session.run(
                    feeds,
                    self._fetches,
                    timeout_ms=timeout_ms,
                    on_caller_thread=pace.is_short(input_bytes),
                )
                pace.observe(input_bytes, time.perf_counter() - started)
        results = {alias: as_array(values[index], dtype) for alias, index, dtype in self._from_fetch}
        for alias, source in self._from_input:
            results[alias] = inputs[source]
        return results


def run_tensors(
    session: GraphSession,
    feeds: Mapping[str, Array],
    fetches: Sequence[str],
    targets: Sequence[str],
    timeout_s: float | None,
) -> dict[str, Array]:
    """One run of tensors and operations by their names in the graph; nothing is kept for a later one.

    Raises:
        NotFoundError: The graph has no tensor or operation of a name.
        UnimplementedError: A tensor to fetch is a handle of a resource, which has no form on the wire.
        DeadlineExceededError: There is no time left at all.
        tf.errors.OpError, TypeError, ValueError: As TensorFlow raises them.
    """
    timeout_ms = _milliseconds(timeout_s)
    fed = {_found(session.endpoint, "Tensor", name): _native(array) for name, array in feeds.items()}
    fetched = [_found(session.endpoint, "Tensor", name) for name in fetches]
    run = [_found(session.operation, "Operation", name) for name in targets]
    types = [dtypes.BY_NUMBER[session.element_type(name)] for name in fetches]
    for name, dtype in zip(fetches, types, strict=True):
        if dtype.numpy is None:
            raise UnimplementedError(
                f"Tensor {name} has the type {dtype.name}, which has no form on the wire"
            )
    values = session.run(fed, fetched, targets=run, timeout_ms=timeout_ms)
    return {name: as_array(value, dtype) for name, value, dtype in zip(fetches, values, types, strict=True)}


def _found(find: Callable[[str], Any], what: str, name: str) -> Any:
    try:
        return find(name)
    except (KeyError, ValueError, TypeError):
        raise NotFoundError(f"{what} {name} is not in the graph") from None


def _milliseconds(timeout_s: float | None) -> int:
    """A time limit as TensorFlow takes it, 0 for none.

    Raises:
        DeadlineExceededError: There is no time left at all.
    """
    if timeout_s is None:
        return 0
    if timeout_s <= 0:
        raise DeadlineExceededError(TIMED_OUT)
    return math.ceil(min(timeout_s, 1e6) * 1000)


def joined(signatures: Mapping[str, Signature], outputs: Sequence[OutputOf]) -> Signature:
    """Several signatures as one: what makes a joint run out of a program.

    Args:
        signatures: By key.
        outputs: The outputs wanted of them.

    Returns:
        A signature with an input for each distinct tensor that they are fed by, named after it, and an output for
        each one wanted, named by its place in `outputs`.
    """
    keys = dict.fromkeys(output.signature_key for output in outputs)
    inputs = {full_name(spec.tensor_name): spec for key in keys for spec in signatures[key].inputs.values()}
    return Signature(
        key=",".join(keys),
        method_name="",
        inputs=inputs,
        outputs={
            str(place): signatures[output.signature_key].outputs[output.alias]
            for place, output in enumerate(outputs)
        },
    )


def as_array(value: Any, dtype: DType) -> Array:
    """A fetched value as an array of pyserve's form of the dtype; scalars become arrays of rank 0."""
    if type(value) is not np.ndarray:
        scalar: Array = np.empty((), object if dtype.is_string else np.asarray(value).dtype)
        scalar[()] = value
        value = scalar
    array: Array = value
    wanted = dtype.numpy
    # Quantised integers come as plain ones of the same width.
    return array if wanted is None or wanted.fields is None else array.view(wanted)


def _native(array: Array) -> Array:
    """The array in the machine's byte order: TensorFlow reads the bytes as if it were."""
    if array.dtype.isnative:
        return array
    return array.astype(array.dtype.newbyteorder("="))


def _input_bytes(arrays: Iterable[Array]) -> int:
    """Bytes of the inputs, those of the strings included: an array of strings only counts its references itself."""
    total = 0
    for array in arrays:
        total += array.nbytes
        if array.dtype.hasobject:
            # One serialized image is a longer run than one word; what is no string TensorFlow refuses.
            total += sum(len(item) for item in array.flat if isinstance(item, bytes))
    return total
