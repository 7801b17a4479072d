"""The blocking client over gRPC."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc

from pyserve.client.calls import DEFAULT_TIMEOUT_S, GrpcCalls, Method, ModelServerConfig
from pyserve.client.channel import Option, error_of, metadata_of, options_of, target_of
from pyserve.client.features import Example
from pyserve.client.plan import Exchange, closed
from pyserve.client.results import Classification, Regression
from pyserve.client.retry import Retry
from pyserve.client.sync_client import SyncClient


class Client(SyncClient):
    """Calls a model server over gRPC, blocking the calling thread. Thread-safe; a context manager.

    Connects with the first call, and again by itself when the connection is lost.

    Args:
        address: `host:port`, `unix:/path/of/socket`, or another target of gRPC (`dns:///name:port`,
            `ipv4:10.0.0.1:8500,10.0.0.2:8500`).
        timeout_s: Limit of calls that name none, in seconds; math.inf for no limit.
        retry: When a call that found the server unavailable is made again.
        headers: Sent along with every call.
        channel_options: gRPC's channel arguments, over those set here. Messages may have any size already.

    Raises:
        ValueError: The address is a URL of HTTP, or names no port.
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
        self._grpc = GrpcCalls(timeout_s, retry)
        super().__init__(self._grpc)
        self._metadata = metadata_of(headers or {})
        self._channel = grpc.insecure_channel(target_of(address), options_of(channel_options))
        self._methods: dict[str, Callable[..., Any]] = {}  # filled by whoever comes first, with equal values
        self._closed = False

    def multi_inference(
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
        """Several signatures over the same tf.Examples, in one run of the model.

        Args:
            model: Its name.
            tasks: (`classify` or `regress`, signature key) of each.
            examples, context: As in `classify`.
            version, label, timeout_s: As in `predict`.

        Returns:
            A result for each task, in their order.
        """
        return self._run(
            self._grpc.multi_inference(model, tasks, examples, context, version, label, timeout_s)
        )

    def reload(
        self,
        config: ModelServerConfig,
        *,
        metric_names: Sequence[str] = (),
        timeout_s: float = float("inf"),
    ) -> dict[str, int]:
        """Give the server a new list of models, and wait until they are available or have failed.

        Never tried again by itself.

        Args:
            config: A `ModelServerConfig` in text format, serialized, or as a message of any protobuf pool.
            metric_names: Metrics whose increase is asked for.
            timeout_s: Limit in seconds; by default none, for loading may take minutes.

        Returns:
            The increase of each metric by name.
        """
        return self._run(self._grpc.reload(config, metric_names, timeout_s))

    def close(self) -> None:
        self._closed = True
        self._channel.close()

    def _exchange(self, exchange: Exchange) -> bytes:
        if self._closed:
            raise closed()
        message = exchange.message
        method = self._methods.get(message.path)
        if method is None:
            # Without serializers bytes pass as they are.
            method = self._methods[message.path] = self._channel.unary_unary(message.path)
        try:
            answer: bytes = method(message.body, timeout=exchange.timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_of(error) from None
        except ValueError:
            if self._closed:  # meanwhile, by another thread
                raise closed() from None
            raise
        return answer
