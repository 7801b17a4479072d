"""pyserve.client against real servers: what it sends, gets and says."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtype_samples import IN_JSON, SENDABLE, sample
from echo_clients import CLIENTS, NUMBERS, Sync, client_of, same
from echo_servers import EchoBackend, echo_server
from pyserve import Server
from pyserve.client import AsyncClient, Client, RestClient, Retry
from pyserve.client.results import ModelMetadata
from pyserve.dtypes import DType
from pyserve.errors import (
    Code,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ServingError,
    UnavailableError,
    UnimplementedError,
)
from servers import ServerProcess, config_text, free_port

# --- every dtype -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", SENDABLE, ids=repr)
def test_every_dtype_there_and_back(dtype: DType, client: Sync) -> None:
    """Over gRPC all; over REST those that JSON requests carry, while the others get the server's refusal."""
    array = sample(dtype)
    if isinstance(client, RestClient) and dtype.name not in IN_JSON:
        # Complex numbers are refused on this side already.
        with pytest.raises((UnimplementedError, InvalidArgumentError)):
            client.predict("echo", {"x": array}, signature=dtype.name)
        return
    result = client.predict("echo", {"x": array}, signature=dtype.name)
    assert same(result["y"], array)
    assert same(client.predict("echo", {"x": array[0, 0, ...]}, signature=dtype.name)["y"], array[0, 0, ...])


@pytest.mark.parametrize("dtype", SENDABLE, ids=repr)
def test_every_dtype_as_an_answer(dtype: DType, client: Sync) -> None:
    """Over REST too, but for complex numbers; the number that asks for it is Python's."""
    ask: Callable[[], Any] = lambda: client.predict("echo", {"x": 1}, signature=f"make_{dtype.name}")  # noqa: E731
    if isinstance(client, RestClient) and dtype.name.startswith("complex"):
        with pytest.raises(InvalidArgumentError, match="Failed to write JSON value"):
            ask()
        return
    assert same(ask()["y"], sample(dtype))


# --- the example models ------------------------------------------------------------------------------------------


def test_half_plus_two(models: Sync) -> None:
    """Lists and arrays; version, label, output filter, rows."""
    for x in ([1, 2, 5], (1.0, 2.0, 5.0), NUMBERS):
        assert models.predict("half_plus_two", {"x": x})["y"].tolist() == [2.5, 3.0, 4.5]
    result = models.predict("half_plus_two", {"x": NUMBERS}, version=1, output_filter=["y"])
    assert result.version == 1
    labelled = models.predict("half_plus_two", {"x": NUMBERS}, label="stable")
    assert labelled["y"].dtype == np.float32
    if isinstance(models, Client):
        assert labelled.version == 1
        assert models.predict("half_plus_two", {"x": NUMBERS}).version == 2


def test_strings_and_other_signatures(models: Sync) -> None:
    """Strings go and come as bytes."""
    assert models.predict("vocabulary", {"words": ["fox", b"dog"]})["ids"].tolist() == [3, -1]
    words = models.predict("vocabulary", {"ids": np.array([0, 9])}, signature="decode")["words"]
    assert words.tolist() == [b"the", b"?"]


def test_several_inputs_and_outputs(models: Sync) -> None:
    """By their names; a filter takes some."""
    inputs = {"left": [6.0], "right": np.array([3.0], np.float32)}
    outputs = models.predict("two_in_six_out", inputs)
    assert {alias: array.tolist() for alias, array in outputs.items()} == {
        "sum": [9.0],
        "difference": [3.0],
        "quotient": [2.0],
        "product": [18.0],
        "minimum": [3.0],
        "maximum": [6.0],
    }
    assert list(models.predict("two_in_six_out", inputs, output_filter=["product"])) == ["product"]


def test_classify_and_regress(models: Sync) -> None:
    """Whole, and split."""
    examples = [{"x": 1.0}, {"x": [2.0]}, {"x": np.float32(3.0)}]
    for max_rows in (None, 2):
        classes = models.classify("half_plus_two", examples, signature="classify_x_to_y", max_rows=max_rows)
        assert classes.scores.tolist() == [[2.5], [3.0], [3.5]]
        assert classes.labels.tolist() == [[""], [""], [""]]
        numbers = models.regress("half_plus_two", examples, signature="regress_x_to_y", max_rows=max_rows)
        assert numbers.values.tolist() == [2.5, 3.0, 3.5]
    context = models.regress("half_plus_two", [{}], context={"x": 4.0}, signature="regress_x_to_y")
    assert context.values.tolist() == [4.0]


def test_multi_inference(server: ServerProcess) -> None:
    """Two signatures in one run."""
    tasks = [("regress", "regress_x_to_y"), ("classify", "classify_x_to_y")]
    with client_of("grpc", server) as client:
        assert isinstance(client, Client)
        first, second = client.multi_inference("half_plus_two", tasks, [{"x": 1.0}], version=1)  # type: ignore[arg-type]
    assert first.values.tolist() == [2.5]  # type: ignore[union-attr]
    assert second.scores.tolist() == [[2.5]]  # type: ignore[union-attr]
    assert first.version == second.version == 1


def test_what_a_model_declares_and_is(models: Sync) -> None:
    """Metadata and status."""
    metadata = models.metadata("half_plus_two", label="stable")
    assert isinstance(metadata, ModelMetadata)
    assert (metadata.name, metadata.version) == ("half_plus_two", 1)
    x = metadata.signatures["serving_default"].inputs["x"]
    assert (x.dtype.name, x.shape) == ("float", (None,))
    statuses = models.status("half_plus_two")
    assert [(each.version, each.available) for each in statuses] == [(2, True), (1, True)]
    assert [each.version for each in models.status("half_plus_two", version=1)] == [1]


def test_a_signature_without_inputs(server: ServerProcess) -> None:
    """State that calls change."""
    with client_of("grpc", server, retry=Retry(attempts=1)) as client:
        client.predict("tf1_counter", {}, signature="reset_counter")
        assert client.predict("tf1_counter", {}, signature="incr_counter")["output"].tolist() == 1.0
        assert client.predict("tf1_counter", {}, signature="get_counter")["output"].tolist() == 1.0


def test_list_of_models(server: ServerProcess) -> None:
    """pyserve's own, over REST."""
    with client_of("rest", server) as client:
        assert isinstance(client, RestClient)
        assert client.models()["half_plus_two"] == "available"


# --- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda c: c.predict("nope", {"x": NUMBERS}),
            NotFoundError,
            "Servable not found for request: Latest(nope)",
        ),
        (
            lambda c: c.predict("half_plus_two", {"x": NUMBERS}, version=9),
            NotFoundError,
            "Servable not found for request: Specific(half_plus_two, 9)",
        ),
        (
            lambda c: c.predict("half_plus_two", {"x": NUMBERS}, label="no"),
            InvalidArgumentError,
            "Unrecognized servable version label: no",
        ),
        (lambda c: c.status("nope"), NotFoundError, "Could not find any versions of model nope"),
        (lambda c: c.regress("half_plus_two", []), InvalidArgumentError, ""),
        (
            lambda c: c.regress("half_plus_two", [{"x": 1}], signature="regress_x_to_y"),
            InvalidArgumentError,
            "Data types don't match. Data type: int64 but expected type: float",
        ),
    ],
)
def test_errors_have_the_servers_class_and_text(
    models: Sync, call: Callable[[Sync], Any], error: type[ServingError], text: str
) -> None:
    """By both protocols."""
    with pytest.raises(error) as raised:
        call(models)
    assert text in raised.value.message


@pytest.mark.parametrize("code", [code for code in Code if code not in (Code.OK, Code.UNAVAILABLE)])
def test_every_code_by_grpc(echo: Server, code: Code) -> None:
    """Class, code and message are those of the server."""
    with client_of("grpc", echo) as client, pytest.raises(ServingError) as raised:
        client.predict("echo", {"x": int(code)}, signature="code")
    assert raised.value.code is code
    assert raised.value.message == f"code {int(code)} was asked for"


def test_nobody_there(tmp_path: Path) -> None:
    """UNAVAILABLE, and at once when it is not to be tried again."""
    for kind in CLIENTS:
        nobody = Client(f"localhost:{free_port()}", retry=Retry(attempts=1))
        other = RestClient(f"http://localhost:{free_port()}", retry=Retry(attempts=1))
        with nobody if kind == "grpc" else other as client, pytest.raises(UnavailableError):
            client.status("m")
    with Client(f"unix:{tmp_path}/none", retry=Retry(attempts=1)) as client, pytest.raises(UnavailableError):
        client.status("m")


def test_a_closed_client(client: Sync) -> None:
    """Says so; closing again does nothing."""
    client.close()
    client.close()
    with pytest.raises(FailedPreconditionError, match="The client is closed"):
        client.status("echo")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Client("http://localhost:8501"), "takes a RestClient"),
        (lambda: AsyncClient("https://localhost:8501"), "takes a RestClient"),
        (lambda: Client("localhost"), "'localhost' names no port: expected host:port"),
        (lambda: Client(""), "'' names no port"),
        (lambda: AsyncClient("localhost:99999"), "'localhost:99999' names no port"),
        (lambda: Client(None), "None is no address"),  # type: ignore[arg-type]
        (lambda: RestClient("localhost:8501"), "no address of the form http://host:port"),
        (lambda: RestClient("https://localhost"), "no address of the form http://host:port"),
        (lambda: RestClient("http://localhost:abc"), "'http://localhost:abc' is no address of the form"),
        (lambda: RestClient("http://"), "no address of the form http://host:port"),
    ],
)
def test_addresses_of_the_wrong_kind(make: Callable[[], Any], text: str) -> None:
    """Refused when the client is made."""
    with pytest.raises(ValueError, match=text):
        make()


# --- reload ------------------------------------------------------------------------------------------------------


def test_reload(tmp_path: Path) -> None:
    """Models come and go; what is refused says why; the config is text, bytes or a message."""
    from tensorflow_serving.config import model_server_config_pb2

    (tmp_path / "other" / "1").mkdir(parents=True)
    with echo_server(tmp_path) as server, Client(f"localhost:{server.grpc_port}") as client:
        both = config_text({"echo": tmp_path / "echo", "other": tmp_path / "other"})
        assert client.reload(both, metric_names=["/tensorflow/none"]) == {"/tensorflow/none": 0}
        assert client.predict("other", {"x": NUMBERS}, signature="float").version == 1
        message = model_server_config_pb2.ModelServerConfig()
        message.model_config_list.config.add(
            name="echo", base_path=str(tmp_path / "echo"), model_platform="tensorflow"
        )
        client.reload(message)
        with pytest.raises(NotFoundError):
            client.predict("other", {"x": NUMBERS}, signature="float")
        client.reload(message.SerializeToString())
        with pytest.raises(NotFoundError, match="nowhere"):
            client.reload(config_text({"echo": tmp_path / "nowhere"}))
        assert client.predict("echo", {"x": NUMBERS}, signature="float").version == 1


def test_a_new_version_with_another_dtype(tmp_path: Path) -> None:
    """While one version's signature is remembered, its answers are still right: gRPC says the dtype itself."""
    with echo_server(tmp_path) as server, Client(f"localhost:{server.grpc_port}") as client:
        assert client.predict("echo", {"x": [1, 2]}, signature="int16")["y"].dtype == np.int16
        (tmp_path / "echo" / "2").mkdir()
        deadline = time.monotonic() + 30
        while client.predict("echo", {"x": [1, 2]}, signature="int16").version != 2:
            assert time.monotonic() < deadline


# --- asyncio -----------------------------------------------------------------------------------------------------


def test_asyncio(server: ServerProcess, echo: Server, backend: EchoBackend) -> None:
    """Every method, many at once, with deadlines, cancellation and errors."""

    async def examples() -> None:
        async with AsyncClient(f"localhost:{server.grpc_port}") as client:
            numbers = [client.predict("half_plus_two", {"x": [float(n)]}) for n in range(50)]
            assert [each["y"].tolist() for each in await asyncio.gather(*numbers)] == [
                [n / 2 + 2] for n in range(50)
            ]
            inputs = [{"x": 1.0}]
            classes = await client.classify("half_plus_two", inputs, signature="classify_x_to_y")
            assert classes.scores.tolist() == [[2.5]]
            numbers_of = await client.regress(
                "half_plus_two", inputs * 5, signature="regress_x_to_y", max_rows=2
            )
            assert numbers_of.values.tolist() == [2.5] * 5
            (only,) = await client.multi_inference("half_plus_two", [("regress", "regress_x_to_y")], inputs)
            assert only.values.tolist() == [2.5]  # type: ignore[union-attr]
            assert (await client.metadata("half_plus_two", version=1)).version == 1
            assert (await client.status("half_plus_two"))[0].available
            with pytest.raises(NotFoundError, match="nope"):
                await client.predict("nope", {"x": NUMBERS})
            with pytest.raises(InvalidArgumentError):
                await client.reload("nonsense")
        with pytest.raises(FailedPreconditionError, match="closed"):
            await client.status("half_plus_two")
        await client.close()

    async def echoes() -> None:
        async with AsyncClient(f"localhost:{echo.grpc_port}", retry=Retry(first_wait_s=0.01)) as client:
            rows = np.arange(1000, dtype=np.float32).reshape(100, 10)
            result = await client.predict("echo", {"x": rows}, signature="float", max_rows=9)
            assert same(result["y"], rows)
            with pytest.raises(NotFoundError):
                await client.predict("nope", {"x": rows}, max_rows=9)
            backend.failures = 2
            assert (await client.predict("echo", {"x": NUMBERS}, signature="flaky")).version == 1
            with pytest.raises(DeadlineExceededError):
                await client.predict("echo", {"x": NUMBERS}, signature="gate", timeout_s=0.2)
            waiting = asyncio.ensure_future(
                client.predict("echo", {"x": NUMBERS}, signature="gate", timeout_s=math.inf)
            )
            await asyncio.sleep(0.1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            waiting = asyncio.ensure_future(client.predict("echo", {"x": NUMBERS}, signature="gate"))
            await asyncio.sleep(0.1)
            await client.close()
            with pytest.raises(FailedPreconditionError, match="closed"):
                await waiting

    asyncio.run(examples())
    asyncio.run(echoes())


# --- imports -----------------------------------------------------------------------------------------------------

FOREIGN = "tensorflow keras aiohttp uvloop watchdog rich"
SERVER = "server transport.grpc_server transport.rest transport.dispatch inference backends batching"


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_the_package_is_nearly_free() -> None:
    """No package of others."""
    assert not modules_after("import pyserve.client") & {"numpy", "grpc", "google.protobuf", "asyncio"}


@pytest.mark.parametrize("name", ["Client", "AsyncClient", "RestClient"])
def test_clients_bring_no_server_and_no_tensorflow(name: str, echo: Server) -> None:
    """Neither when they are imported nor when they have called; and REST brings no grpcio."""
    port = echo.rest_port if name == "RestClient" else echo.grpc_port
    address = f"http://localhost:{port}" if name == "RestClient" else f"localhost:{port}"
    call = "client.predict('echo', {'x': [1]}, signature='float', max_rows=1)"
    code = f"from pyserve.client import {name}\n"
    if name == "AsyncClient":
        code += (
            f"import asyncio\nasync def main():\n  async with {name}('{address}') as client: await {call}\n"
        )
        code += "asyncio.run(main())"
    else:
        code += f"with {name}('{address}') as client: {call}"
    loaded = modules_after(code)
    assert not loaded & set(FOREIGN.split())
    assert not loaded & {f"pyserve.{part}" for part in SERVER.split()}
    assert ("grpc" in loaded) is (name != "RestClient")


def test_every_name_is_there() -> None:
    """Of the package; another is an AttributeError."""
    import pyserve.client as package

    assert all(getattr(package, name).__name__ == name for name in package.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = package.nothing
