"""The methods that the blocking clients share; what carries a request is theirs."""

from __future__ import annotations

import concurrent.futures
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from pyserve.client.calls import Calls, model_spec
from pyserve.client.features import Example
from pyserve.client.plan import Exchange, Pause, Plan, Step, Together
from pyserve.client.results import Classification, ModelMetadata, Prediction, Regression, VersionStatus
from pyserve.errors import ServingError

T = TypeVar("T")


class SyncClient(ABC):
    """What `Client` and `RestClient` have in common. Thread-safe; a context manager that closes at the end.

    Every method raises `pyserve.errors.ServingError`: the class is that of the server's code (`NotFoundError`,
    `InvalidArgumentError`, ...), the message is the server's. Of this side's own, `UnavailableError` says that nobody
    could be reached, `DeadlineExceededError` that the time was over, `FailedPreconditionError` that the client is
    closed, and `InvalidArgumentError` names an argument that cannot be sent.

    In all of them `version` or `label` says which version is asked, by default the newest that is available, and
    `timeout_s` limits the whole call, retries included; None means the client's own limit, math.inf none.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    @abstractmethod
    def _exchange(self, exchange: Exchange) -> bytes: ...

    @abstractmethod
    def close(self) -> None:
        """Close the connections. Calls that are under way end with an error. May be called twice."""

    def _run(self, plan: Plan[T]) -> T:
        return run(plan, self._exchange)

    def predict(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        output_filter: Sequence[str] = (),
        max_rows: int | None = None,
        concurrency: int = 4,
        timeout_s: float | None = None,
    ) -> Prediction:
        """Run a signature over arrays.

        Args:
            model: Its name.
            inputs: By alias. A numpy array is sent in its own dtype. Python's scalars and (nested) lists take the
                dtype that the signature declares, which is then asked for first, and remembered for 10 seconds.
                Strings are `bytes` or `str`, alone, in lists, or in object arrays.
            version, label: Which version.
            signature: Its key; empty means `serving_default`.
            output_filter: Aliases of the outputs wanted; none means all. (Over REST all come, and the others are
                dropped here.)
            max_rows: Split the inputs along dimension 0 into calls of at most so many rows, and join the outputs.
                Inputs of rank 0 go with each. All parts are answered by one version; over REST, which does not say
                which version answered, that is not looked after.
            concurrency: How many of these calls are under way at once, >= 1.
            timeout_s: Limit in seconds.

        Returns:
            Arrays by alias, strings as object arrays of `bytes`; and the `version` that answered.
        """
        spec = model_spec(model, version, label, signature)
        return self._run(self._calls.predict(spec, inputs, output_filter, max_rows, concurrency, timeout_s))

    def classify(
        self,
        model: str,
        examples: Sequence[Example],
        *,
        context: Example | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        max_rows: int | None = None,
        concurrency: int = 4,
        timeout_s: float | None = None,
    ) -> Classification:
        """Classes and scores of tf.Examples.

        Args:
            model: Its name.
            examples: Mappings from feature name to a value or a flat list or array of values (floats, integers,
                `bytes` or `str`), serialized tf.Examples, or tf.Example messages.
            context: An example with features that all share.
            version, label, signature: As in `predict`.
            max_rows: Examples per call, when the call is to be split.
            concurrency, timeout_s: As in `predict`.
        """
        spec = model_spec(model, version, label, signature)
        return self._run(self._calls.classify(spec, examples, context, max_rows, concurrency, timeout_s))

    def regress(
        self,
        model: str,
        examples: Sequence[Example],
        *,
        context: Example | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        max_rows: int | None = None,
        concurrency: int = 4,
        timeout_s: float | None = None,
    ) -> Regression:
        """A number for each tf.Example; arguments as in `classify`."""
        spec = model_spec(model, version, label, signature)
        return self._run(self._calls.regress(spec, examples, context, max_rows, concurrency, timeout_s))

    def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
    ) -> ModelMetadata:
        """The signatures that a version declares."""
        return self._run(self._calls.metadata(model_spec(model, version, label), timeout_s))

    def status(
        self, model: str, *, version: int | None = None, timeout_s: float | None = None
    ) -> list[VersionStatus]:
        """The state of every version that the server has seen, newest first; or of one."""
        return self._run(self._calls.status(model_spec(model, version, None), timeout_s))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def run(plan: Plan[T], exchange: Callable[[Exchange], bytes]) -> T:
    """Drive a plan to its end on this thread (and, for `Together`, on a few more)."""
    try:
        step = next(plan)
        while True:
            try:
                answer = _perform(step, exchange)
            except ServingError as error:
                step = plan.throw(error)
            else:
                step = plan.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


def _perform(step: Step, exchange: Callable[[Exchange], bytes]) -> Any:
    match step:
        case Exchange():
            return exchange(step)
        case Pause(seconds):
            return time.sleep(seconds)
        case Together(plans, concurrency):
            with concurrent.futures.ThreadPoolExecutor(
                min(concurrency, len(plans)), "pyserve-client"
            ) as pool:
                futures = [pool.submit(run, plan, exchange) for plan in plans]
                done, rest = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
                for future in rest:
                    future.cancel()
                for future in done:
                    future.result()  # raises the error that ended the wait
                return [future.result() for future in futures]
