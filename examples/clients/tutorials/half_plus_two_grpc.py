"""Asks the half_plus_two model over gRPC: numbers by Predict, a tf.Example by Regress.

python half_plus_two_grpc.py [--server localhost:8500] [x ...]
"""

from __future__ import annotations

import argparse

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc, regression_pb2


def main() -> None:
    parser = argparse.ArgumentParser(description="Half of each number, plus two.")
    parser.add_argument("--server", default="localhost:8500", help="host:port of the gRPC API")
    parser.add_argument("--model", default="half_plus_two")
    parser.add_argument("x", nargs="*", type=float, default=[1.0, 2.0, 5.0])
    arguments = parser.parse_args()

    with grpc.insecure_channel(arguments.server) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        predict = predict_pb2.PredictRequest()
        predict.model_spec.name = arguments.model
        predict.model_spec.signature_name = "serving_default"
        predict.inputs["x"].CopyFrom(tf.make_tensor_proto(arguments.x, dtype=tf.float32))
        answer = stub.Predict(predict, timeout=10)
        print(f"version {answer.model_spec.version.value}")
        for x, y in zip(arguments.x, tf.make_ndarray(answer.outputs["y"]), strict=True):
            print(f"{x:g} / 2 + 2 = {y:g}")

        regress = regression_pb2.RegressionRequest()
        regress.model_spec.name = arguments.model
        regress.model_spec.signature_name = "regress_x_to_y"
        for x in arguments.x:
            example = regress.input.example_list.examples.add()
            example.features.feature["x"].float_list.value.append(x)
        result = stub.Regress(regress, timeout=10).result
        print("regress:", *(f"{each.value:g}" for each in result.regressions))


if __name__ == "__main__":
    main()
