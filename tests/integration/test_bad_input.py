"""Bad and very large input: a clear, bounded error, the server alive, its memory back."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from grpc_calls import Stubs, predict_request
from servers import ServerProcess

PREDICT = "/v1/models/half_plus_two:predict"
MIB = 2**20


@pytest.fixture(scope="module")
def stubs(server: ServerProcess) -> Iterator[Stubs]:
    with Stubs(server.grpc_port) as stubs:
        yield stubs


def post(server: ServerProcess, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("localhost", server.rest_port, timeout=100)
    try:
        connection.request("POST", PREDICT, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def alive(server: ServerProcess) -> bool:
    return post(server, b'{"instances": [2.0]}')[0] == 200


def raw(server: ServerProcess, data: bytes) -> bytes:
    """Everything that the server answers to these bytes until it closes, or has been silent for a while."""
    with socket.create_connection(("localhost", server.rest_port), timeout=10) as connection:
        connection.sendall(data)
        connection.settimeout(2)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except TimeoutError:
            pass
        return answer


DEPTH = 500_000


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": ' + b"[" * DEPTH + b"]" * DEPTH + b"}",
        b'{"instances": ' + b"[" * DEPTH,
        b'{"inputs": ' + b'{"x":' * DEPTH,
        b'{"other": ' + b"[" * DEPTH + b"]" * DEPTH + b', "instances": ["a"]}',
        b'{"instances": [' + b"1" * 100_000 + b"]}",
        b'{"instances": ["' + b"x" * 5_000_000 + b'"]}',
        b'{"' + b"k" * 1_000_000 + b'": 1}',
        b'{"instances": [{"' + b"k" * 1_000_000 + b'": 1}]}',
        b'{"instances": ["\xff\xfe\xed\xa0\x80"]}',
        b'{"instances": [\x00]}',
        b"\xff" * 1000,
    ],
    ids=[
        "deep arrays", "deep and cut", "deep objects", "deep in a key that does not count", "a number of 10^5 digits",
        "a long string", "a long key", "a long input name", "no UTF-8", "NUL", "no text",
    ],
)  # fmt: skip
def test_hostile_json(server: ServerProcess, body: bytes) -> None:
    """The answer is a short JSON error of the caller's, whatever the body holds."""
    status, answer = post(server, body)
    assert status == 400
    assert list(json.loads(answer)) == ["error"]
    assert len(answer) < 10_000
    assert alive(server)


def test_100_mb_of_json(server: ServerProcess) -> None:
    """100 MB of numbers are answered, 100 MB of something else are refused, and the memory comes back."""
    assert alive(server)
    before = server.rss_bytes()
    numbers = b'{"instances": [' + b",".join([b"1.25"] * 20_000_000) + b"]}"
    assert len(numbers) > 100_000_000
    status, answer = post(server, numbers)
    assert status == 200
    assert answer.count(b"2.625") == 20_000_000
    status, answer = post(server, b'{"instances": [' + b'"abcdefgh",' * 9_100_000 + b"1]}")
    assert status == 400
    assert len(answer) < 10_000
    assert alive(server)
    # Allocators keep some; what counts is that hundreds of megabytes are not held for ever.
    assert _settled(server, before + 300 * MIB)


def _settled(server: ServerProcess, limit: int) -> bool:
    deadline = time.monotonic() + 10
    while server.rss_bytes() > limit:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_one_gib_tensor(server: ServerProcess, stubs: Stubs) -> None:
    """A tensor_content of 1 GiB goes in and is answered, row by row."""
    images = np.zeros((2**28 // 784, 784), np.float32)
    images[-1] = 1.0
    content = images.tobytes()
    assert len(content) > 0.99 * 2**30
    fields = {"dtype": 1, "shape": images.shape, "tensor_content": content}
    request = predict_request("mlp", {"images": fields}, output_filter=["classes"])
    del images, content, fields
    answer = stubs.prediction.Predict(request, timeout=100).outputs["classes"]
    assert [dim.size for dim in answer.tensor_shape.dim] == [2**28 // 784]
    classes = np.array(answer.int64_val)
    assert (classes[:-1] == classes[0]).all()


@pytest.mark.parametrize(
    ("shape", "values"),
    [
        ([10**12], {"tensor_content": b"\0\0\0\0"}),
        ([10**12], {"float_val": [1.0]}),
        ([10**9, 10**9, 10**9], {}),
    ],
)
def test_huge_declared_shapes(
    server: ServerProcess, stubs: Stubs, shape: list[int], values: dict[str, object]
) -> None:
    """Nothing is allocated for elements that did not come."""
    before = server.rss_bytes()
    request = predict_request("half_plus_two", {"x": {"dtype": 1, "shape": shape, **values}})
    with pytest.raises(grpc.RpcError) as caught:
        stubs.prediction.Predict(request, timeout=30)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(caught.value.details()) < 500
    assert server.rss_bytes() < before + 50 * MIB


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", b"404"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /v1/models/m HTTP/9.9\r\n\r\n", b"400"),
        (b"TRACE /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n", b"501"),
        (b"GET /v1/models/\x01 HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 200_000 + b"\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\nHost: x\n\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n", b"400"),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"400",
        ),
    ],
)
def test_hostile_http(server: ServerProcess, data: bytes, status: bytes) -> None:
    """What is no HTTP request is answered with a short page of its status, without a word about our insides."""
    answer = raw(server, data)
    assert answer.split(b" ", 2)[1] == status
    assert b"Traceback" not in answer
    assert b"Content-Type: text/html" in answer
    assert len(answer) < 2000
    assert alive(server)


def test_a_caller_that_goes_away(server: ServerProcess) -> None:
    """Connections that end in the middle of a request, or before its answer, cost nothing."""
    head = b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    for data in (b"", head, head + b'{"instances": [1.0', head + b" " * 1000):
        with socket.create_connection(("localhost", server.rest_port)) as connection:
            connection.sendall(data)
    assert alive(server)
    assert "Traceback" not in server.log


def test_pipelined_requests(server: ServerProcess) -> None:
    """Requests sent in one piece are answered in order, errors between them included."""
    one = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n%s"
    good = b'{"instances": [2.0]}'
    data = one % (PREDICT.encode(), len(good), b"", good)
    data += one % (PREDICT.encode(), 1, b"", b"{")
    data += one % (PREDICT.encode(), len(good), b"Connection: close\r\n", good)
    statuses = [part.split(b" ", 1)[0] for part in raw(server, data).split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"400", b"200"]
