"""The asyncio client over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio

from pyserve.client.calls import DEFAULT_TIMEOUT_S, GrpcCalls, Method, ModelServerConfig, model_spec
from pyserve.client.channel import Option, error_of, metadata_of, options_of, target_of
from pyserve.client.features import Example
from pyserve.client.plan import Exchange, Pause, Plan, Step, Together, closed
from pyserve.client.results import Classification, ModelMetadata, Prediction, Regression, VersionStatus
from pyserve.client.retry import Retry
from pyserve.errors import ServingError

T = TypeVar("T")


class AsyncClient:
    """`Client` for asyncio: the same methods, to be awaited; an asynchronous context manager.

    Belongs to the event loop of its first call; not thread-safe. Cancelling a call cancels its request. Arrays are
    encoded and decoded on the loop, which a tensor of 64 MB holds up for some tens of milliseconds.

    Args and errors as in `Client`.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retry: Retry | None = None,
        headers: Mapping[str, str] | None = None,
        channel_options: Sequence[Option] = (),
    ) -> None:
        self._calls = GrpcCalls(timeout_s, retry)
        self._metadata = metadata_of(headers or {})
        self._target = target_of(address)
        self._options = options_of(channel_options)
        self._channel: grpc.aio.Channel | None = None  # made in the loop that it will belong to
        self._methods: dict[str, Callable[..., Any]] = {}
        self._closed = False

    async def predict(
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
        """As `Client.predict`."""
        spec = model_spec(model, version, label, signature)
        return await self._run(
            self._calls.predict(spec, inputs, output_filter, max_rows, concurrency, timeout_s)
        )

    async def classify(
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
        """As `Client.classify`."""
        spec = model_spec(model, version, label, signature)
        return await self._run(
            self._calls.classify(spec, examples, context, max_rows, concurrency, timeout_s)
        )

    async def regress(
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
        """As `Client.regress`."""
        spec = model_spec(model, version, label, signature)
        return await self._run(self._calls.regress(spec, examples, context, max_rows, concurrency, timeout_s))

    async def multi_inference(
        self,
        model: str,
        tasks: Sequence[tuple[Method, str]],
        examples: Sequence[Example],
        *,
        context: Example | None = None,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
    ) -> list[Classification | Regression]:
        """As `Client.multi_inference`."""
        return await self._run(
            self._calls.multi_inference(model, tasks, examples, context, version, label, timeout_s)
        )

    async def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
    ) -> ModelMetadata:
        """As `Client.metadata`."""
        return await self._run(self._calls.metadata(model_spec(model, version, label), timeout_s))

    async def status(
        self, model: str, *, version: int | None = None, timeout_s: float | None = None
    ) -> list[VersionStatus]:
        """As `Client.status`."""
        return await self._run(self._calls.status(model_spec(model, version, None), timeout_s))

    async def reload(
        self,
        config: ModelServerConfig,
        *,
        metric_names: Sequence[str] = (),
        timeout_s: float = float("inf"),
    ) -> dict[str, int]:
        """As `Client.reload`."""
        return await self._run(self._calls.reload(config, metric_names, timeout_s))

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, plan: Plan[T]) -> T:
        return await run_async(plan, self._exchange)

    async def _exchange(self, exchange: Exchange) -> bytes:
        if self._closed:
            raise closed()
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._target, self._options)
        message = exchange.message
        method = self._methods.get(message.path)
        if method is None:
            method = self._methods[message.path] = self._channel.unary_unary(message.path)
        try:
            answer: bytes = await method(message.body, timeout=exchange.timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_of(error) from None
        return answer


async def run_async(plan: Plan[T], exchange: Callable[[Exchange], Awaitable[bytes]]) -> T:
    """Drive a plan to its end in this task (and, for `Together`, in a few more)."""
    try:
        step = next(plan)
        while True:
            try:
                answer = await _perform_async(step, exchange)
            except ServingError as error:
                step = plan.throw(error)
            else:
                step = plan.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


async def _perform_async(step: Step, exchange: Callable[[Exchange], Awaitable[bytes]]) -> Any:
    match step:
        case Exchange():
            return await exchange(step)
        case Pause(seconds):
            return await asyncio.sleep(seconds)
        case Together(plans, concurrency):
            free = asyncio.Semaphore(concurrency)

            async def one(plan: Plan[Any]) -> Any:
                async with free:
                    return await run_async(plan, exchange)

            tasks = [asyncio.ensure_future(one(plan)) for plan in plans]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
