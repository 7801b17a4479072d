"""A service file and a real process: a model downloaded, unpacked and warmed up, tokens, batching."""

from __future__ import annotations

import functools
import http.client
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pyserve.errors import Code, ServingError
from pyserve.protos import eas
from pyserve.tools.download import download, shown
from servers import EXAMPLES, ServerProcess


class Files(SimpleHTTPRequestHandler):
    """Serves a directory, and a few oddities."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/redirect/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/redirect"))
            self.end_headers()
        elif path == "/to-a-file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
        elif path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "s3://bucket/x?sig=secret")
            self.end_headers()
        elif path == "/guarded":
            self.send_response(302 if self.headers["Authorization"] == "Basic dXNlcjpwQHNz" else 401)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/open")
            self.end_headers()
        elif path == "/open":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(str(self.headers["Authorization"]).encode())
        elif path == "/of-a-length":
            self.send_response(200)
            self.send_header("Content-Length", "secret")
            self.end_headers()
        elif path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "50")
            self.end_headers()
            self.wfile.write(b"x" * 10)
        elif path == "/of-no-length":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(bytes(101))
        elif path == "/forbidden":
            self.send_error(403)
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A directory, and the URL under which it is served."""
    directory = tmp_path / "served"
    directory.mkdir()
    handler = functools.partial(Files, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield directory, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_download(tmp_path: Path, files: tuple[Path, str]) -> None:
    """Whole, through a redirect too."""
    directory, url = files
    (directory / "a b.tar").write_bytes(b"content")
    for number, path in enumerate(("/a%20b.tar", "/redirect/a%20b.tar?sig=secret", "/a b.tar?sig=a b")):
        download(url + path, tmp_path / str(number), 7)
        assert (tmp_path / str(number)).read_bytes() == b"content"
    assert shown("https://user:pass@host/a%20b.tar?sig=secret") == "https://host/a b.tar"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/none", Code.NOT_FOUND),
        ("/forbidden", Code.PERMISSION_DENIED),
        ("/cut", Code.UNAVAILABLE),
        ("/to-a-file", Code.UNAVAILABLE),
        ("/elsewhere", Code.UNAVAILABLE),
        ("/of-a-length", Code.UNAVAILABLE),
        ("/guarded", Code.PERMISSION_DENIED),
        ("/large", Code.RESOURCE_EXHAUSTED),
        ("/of-no-length", Code.RESOURCE_EXHAUSTED),
    ],
)
def test_failed_downloads(tmp_path: Path, files: tuple[Path, str], path: str, code: Code) -> None:
    """With a code, and the URL as it may be shown."""
    directory, url = files
    (directory / "large").write_bytes(bytes(101))
    with pytest.raises(ServingError) as caught:
        download(
            url + path + "?sig=secret",
            tmp_path / "to",
            100,
        )
    assert caught.value.code is code
    assert f"{url}{path}" in caught.value.message
    assert "secret" not in caught.value.message


def test_credentials(tmp_path: Path, files: tuple[Path, str]) -> None:
    """Those of a URL go to its host, and not to where it redirects to; a wrong URL does not show them."""
    url = files[1].replace("//", "//user:p%40ss@")
    download(f"{url}/guarded", tmp_path / "to", 100)
    assert (tmp_path / "to").read_bytes() == b"None"
    for wrong in (
        "http://user:secret@[bad/x",
        "http://user:secret@127.0.0.1:x/x",
        "http://user:secret@\u2100/x",
    ):
        with pytest.raises(ServingError, match=r"not valid") as caught:
            download(wrong, tmp_path / "none", 100)
        assert "secret" not in caught.value.message


def test_nobody_there(tmp_path: Path) -> None:
    """A connection that is refused."""
    with pytest.raises(ServingError, match="cannot be downloaded"):
        download("http://127.0.0.1:1/x", tmp_path / "to", 100)


def ask(port: int, body: bytes, authorization: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/api/predict/half", body, {"Authorization": authorization})
    answer = connection.getresponse()
    try:
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_service(tmp_path: Path, files: tuple[Path, str]) -> None:
    """From a file with comments to answers in batches; the token guards, and what a URL keeps secret is not logged."""
    directory, url = files
    with tarfile.open(directory / "model.tar.gz", "w:gz") as tar:
        tar.add(EXAMPLES / "half_plus_two" / "1", arcname="model/export")
    request = eas.PredictRequest()
    request.inputs["x"].dtype = 1
    request.inputs["x"].array_shape.dim.append(2)
    request.inputs["x"].float_val.extend([1, 2])
    body = request.SerializeToString()
    (directory / "warm_up.bin").write_bytes(body)
    service = {
        "metadata": {"name": "half", "rpc": {"batching": True, "max_batch_timeout": 1}},
        "token": "tok",
        "processor": "tensorflow_cpu_1.15",
        "model_path": f"{url}/model.tar.gz?sig=secret",
        "warm_up_data_path": f"{url}/warm_up.bin",
    }
    file = tmp_path / "service.json"
    file.write_text("// a service\n" + json.dumps(service))
    cache = tmp_path / "cache"
    with ServerProcess([f"--eas_config_file={file}", f"--eas_model_cache={cache}"]) as server:
        assert ask(server.rest_port, body, "")[0] == 401
        status, answer = ask(server.rest_port, body, "tok")
        assert status == 200
        assert list(eas.PredictResponse.FromString(answer).outputs["y"].float_val) == [2.5, 3]
        assert json.loads(ask(server.rest_port, b"", "tok")[1])["signature_name"] == "serving_default"
        log = server.log
    assert f"Downloading {url}/model.tar.gz," in log
    assert "Ran 1 warm-up requests of EAS for servable {name: half version: 1}, 5 times each" in log
    assert "Wrapping session to perform batch processing" in log
    assert "stay open" in log
    assert "secret" not in log
    assert {path.name[0] for path in cache.iterdir()} <= set("0123456789abcdef")
