"""The client of EAS as its users have it: `eas-prediction` from PyPI, unmodified, in a virtual environment of its own.

It needs a protobuf that cannot live beside ours, so it runs as a process that is told in JSON lines what to do. The
environment is kept between runs. Run as a script this file is that process; it then imports nothing of ours.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REQUIREMENT = "eas-prediction==0.36"


class SdkMissingError(Exception):
    """The client cannot be had here."""


def environment() -> Path:
    """The Python of an environment with the client, made when it is not there yet.

    Raises:
        SdkMissingError: It cannot be made.
    """
    version = "{}.{}".format(*sys.version_info[:2])
    root = Path(tempfile.gettempdir()) / f"pyserve-test-eas-sdk-{os.getuid()}-{version}-{REQUIREMENT}"
    python = root / "bin" / "python"
    if python.exists():
        return python
    with tempfile.TemporaryDirectory(prefix="eas-sdk-", dir=root.parent) as scratch:
        new = Path(scratch) / "venv"
        try:
            subprocess.run(
                [sys.executable, "-m", "venv", str(new)], check=True, capture_output=True, timeout=60
            )
            install = [str(new / "bin" / "python"), "-m", "pip", "install", "--quiet", REQUIREMENT]
            subprocess.run(install, check=True, capture_output=True, timeout=100, text=True)
        except (subprocess.SubprocessError, OSError) as error:
            said = getattr(error, "stderr", None) or error
            raise SdkMissingError(f"{REQUIREMENT} cannot be installed: {str(said)[-300:]}") from None
        if not python.exists():  # another run may have been faster
            new.rename(root)
    return python


class Sdk:
    """A process with the client."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [str(environment()), "-I", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(
        self, port: int | None, service: str, feeds: dict[str, Any] | None = None, **how: Any
    ) -> dict[str, Any]:
        """One call of the client; see `_answer` for what it may be told.

        Args:
            feeds: Name → shape, name of the type, flat values (of strings: `str`).

        Returns:
            `outputs`: name → shape, number of the type, values, or `code` and `message` of the client's exception;
            `request`: the bytes that it sent.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        command = {"endpoint": f"127.0.0.1:{port}", "service": service, "feeds": feeds or {}, **how}
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        answer["request"] = base64.b64decode(answer.get("request", ""))
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def _main() -> None:
    from eas_prediction import ENDPOINT_TYPE_DIRECT, PredictClient  # type: ignore[import-not-found]

    clients: dict[str, Any] = {}
    answers, sys.stdout = sys.stdout, sys.stderr  # the client prints
    for line in sys.stdin:
        command = json.loads(line)
        settings = {key: command.get(key) for key in ("endpoint", "service", "token", "timeout", "direct")}
        key = json.dumps(settings)
        if key not in clients:
            client = clients[key] = PredictClient(command["endpoint"], command["service"])
            if command.get("direct"):
                client.set_endpoint_type(ENDPOINT_TYPE_DIRECT)
            client.init()
            client.set_token(command.get("token", ""))
            client.set_timeout(command.get("timeout", 20_000))
        answers.write(json.dumps(_answer(clients[key], command)) + "\n")
        answers.flush()
    os._exit(0)  # a client in direct mode has a thread that does not end


def _answer(client: Any, command: dict[str, Any]) -> dict[str, Any]:
    """One call, or `times` of it.

    `signature`, `fetch` (names) and `times` are of the request; `structure` asks with an empty one.
    """
    from eas_prediction import StringRequest, TFRequest
    from eas_prediction.exception import PredictException  # type: ignore[import-not-found]

    if command.get("structure"):
        request = StringRequest("")
    else:
        request = TFRequest(command.get("signature", ""))
        for name, (shape, dtype, values) in command["feeds"].items():
            if dtype == "DT_STRING":
                values = [value.encode() for value in values]
            request.add_feed(name, shape, getattr(TFRequest, dtype), values)
        for name in command.get("fetch", ()):
            request.add_fetch(name)
    sent = request.to_string()
    sent = base64.b64encode(sent.encode() if isinstance(sent, str) else sent).decode()
    try:
        for _ in range(command.get("times", 1)):
            response = client.predict(request)
    except PredictException as error:
        message = error.message.decode() if isinstance(error.message, bytes) else str(error.message)
        return {"code": error.code, "message": message, "request": sent}
    if command.get("structure"):
        return {"text": response.response_data.decode()}
    outputs = {}
    for name in response.response.outputs:
        values = response.get_values(name)
        values = None if values is None else [v.decode() if isinstance(v, bytes) else v for v in values]
        dtype = response.response.outputs[name].dtype
        outputs[name] = [response.get_tensor_shape(name), dtype, values]
    return {"outputs": outputs, "request": sent}


if __name__ == "__main__":
    _main()
