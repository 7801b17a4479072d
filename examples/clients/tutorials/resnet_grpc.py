"""Sends JPEG files to an image classifier over gRPC, as one DT_STRING tensor with a row per file.

    python resnet_grpc.py picture.jpg ... [--server localhost:8500]

The model takes encoded images as `image_bytes`, and answers with `classes` and `probabilities`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def main() -> None:
    parser = argparse.ArgumentParser(description="Classify pictures.")
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--server", default="localhost:8500", help="host:port of the gRPC API")
    parser.add_argument("--model", default="resnet")
    arguments = parser.parse_args()

    request = predict_pb2.PredictRequest()
    request.model_spec.name = arguments.model
    request.model_spec.signature_name = "serving_default"
    pictures = [path.read_bytes() for path in arguments.pictures]
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(pictures, shape=[len(pictures)]))

    with grpc.insecure_channel(arguments.server) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        outputs = stub.Predict(request, timeout=30).outputs
    classes = tf.make_ndarray(outputs["classes"])
    probabilities = tf.make_ndarray(outputs["probabilities"])
    for path, number, row in zip(arguments.pictures, classes, probabilities, strict=True):
        print(f"{path.name}: class {number}, probability {row[number]:.2f}")


if __name__ == "__main__":
    main()
