"""Serve every example model, and print calls to try. `make serve` runs this.

All arguments are passed on to pyserve, so `python examples/serve.py --port=9000 --rest_api_port=9001` works.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

MODELS = Path(__file__).resolve().parent / "models"

CALLS = """\
Serving {names}.

Once the log says "Exporting HTTP/REST API", try in another terminal:

  curl -d '{{"instances": [1.0, 2.0, 5.0]}}' http://localhost:{rest}/v1/models/half_plus_two:predict
  curl http://localhost:{rest}/v1/models/half_plus_two
  curl http://localhost:{rest}/v1/models/half_plus_two/metadata

and over gRPC ({python} has the packages):

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

Stop with Ctrl-C.
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


def flag(arguments: list[str], name: str, default: str) -> str:
    """The value that a flag has among the arguments."""
    values = [argument.partition("=")[2] for argument in arguments if argument.startswith(f"--{name}=")]
    return values[-1] if values else default


def main() -> None:
    arguments = sys.argv[1:] or ["--port=8500", "--rest_api_port=8501"]
    config = MODELS.parents[1] / "out" / "example_models.config"
    config.parent.mkdir(exist_ok=True)
    config.write_text(config_text(MODELS))
    names = ", ".join(sorted(base.name for base in MODELS.iterdir() if base.is_dir()))
    print(
        CALLS.format(
            names=names,
            port=flag(arguments, "port", "8500"),
            rest=flag(arguments, "rest_api_port", "8501"),
            python=os.path.relpath(sys.executable),
        ),
        flush=True,
    )
    command = [sys.executable, "-m", "pyserve", f"--model_config_file={config}", *arguments]
    os.execv(sys.executable, command)


if __name__ == "__main__":
    main()
