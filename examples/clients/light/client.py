"""Predict over gRPC with stubs made from the .proto files: grpcio and protobuf, and neither TensorFlow nor pyserve.

sh make_stubs.sh stubs
PYTHONPATH=stubs python client.py localhost:8500 1 2 5
"""

from __future__ import annotations

import sys

import grpc
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def main(address: str = "localhost:8500", *values: str) -> int:
    numbers = [float(x) for x in values or (1, 2, 5)]
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half_plus_two"
    x = request.inputs["x"]
    x.dtype = types_pb2.DT_FLOAT
    x.tensor_shape.dim.add().size = len(numbers)
    x.float_val.extend(numbers)
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            answer = stub.Predict(request, timeout=10)
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
            return 1
    print(
        f"version {answer.model_spec.version.value}: {' '.join(f'{y:g}' for y in answer.outputs['y'].float_val)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
