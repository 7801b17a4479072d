"""Serve every example model, and print calls to try. `make serve` runs this.

All arguments are passed on to pyserve, so `python examples/serve.py --port=9000 --rest_api_port=9001` works.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pyserve.cli.flags import parse
from pyserve.cli.table import FLAGS

MODELS = Path(__file__).resolve().parent / "models"

REST_CALLS = """\
Once the log says "Exporting HTTP/REST API", try in another terminal:

  curl -d '{{"instances": [1.0, 2.0, 5.0]}}' http://localhost:{rest}/v1/models/half_plus_two:predict
  curl http://localhost:{rest}/v1/models/half_plus_two
  curl http://localhost:{rest}/v1/models/half_plus_two/metadata

"""
GRPC_CALLS = """\
Once the log says "Running gRPC ModelServer", over gRPC ({python} has the packages):

  import grpc
  from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

  channel = grpc.insecure_channel("localhost:{port}")
  stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
  request = predict_pb2.PredictRequest()
  request.model_spec.name = "half_plus_two"
  x = request.inputs["x"]
  x.dtype = 1  # DT_FLOAT
  x.tensor_shape.dim.add().size = 3
  x.float_val.extend([1.0, 2.0, 5.0])
  print(stub.Predict(request).outputs["y"].float_val)

"""


def config_text(models: Path) -> str:
    """A ModelServerConfig that lists each directory with numbered versions in it."""
    bases = [
        base
        for base in sorted(models.iterdir())
        if base.is_dir() and any(child.name.isdigit() for child in base.iterdir())
    ]
    entries = [
        f'  config {{ name: "{base.name}" base_path: "{base}" model_platform: "tensorflow" }}\n'
        for base in bases
    ]
    return "model_config_list {\n" + "".join(entries) + "}\n"


def calls(arguments: list[str]) -> str:
    """Calls that work with a server that was given these arguments; nothing for a port that it does not open."""
    try:
        values = {flag.name: flag.default for flag in FLAGS} | parse(arguments, FLAGS)
    except ValueError:  # pyserve itself says what is wrong
        return ""
    port, rest = int(values["port"]), int(values["rest_api_port"])
    text = ""
    if rest > 0 and rest != port:
        text += REST_CALLS.format(rest=rest)
    if port > 0:
        text += GRPC_CALLS.format(port=port, python=os.path.relpath(sys.executable))
    return text


def main() -> None:
    arguments = sys.argv[1:] or ["--port=8500", "--rest_api_port=8501"]
    config = MODELS.parents[1] / "out" / "example_models.config"
    config.parent.mkdir(exist_ok=True)
    config.write_text(config_text(MODELS))
    names = ", ".join(sorted(base.name for base in MODELS.iterdir() if base.is_dir()))
    print(f"Serving {names}.\n\n{calls(arguments)}Stop with Ctrl-C.\n", flush=True)
    command = [sys.executable, "-m", "pyserve", f"--model_config_file={config}", *arguments]
    os.execv(sys.executable, command)


if __name__ == "__main__":
    main()
