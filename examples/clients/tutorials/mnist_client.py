"""Sends images of digits to a classifier over gRPC, several at a time, and counts the wrong answers.

    python mnist_client.py images.npz [--server localhost:8500] [--concurrency 10] [--num_tests 1000]

The file holds `images`, uint8 [n, 28, 28], and `labels`, integers [n], as numpy.savez writes them. The model takes
float32 [n, 784] between 0 and 1, and answers with a score for each of the ten digits.
"""

from __future__ import annotations

import argparse
import sys
import threading
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


class Tally:
    """Counts answers, and lets no more than `concurrency` requests be under way.

    Answers come on threads of gRPC; the condition guards every field.
    """

    def __init__(self, concurrency: int) -> None:
        self._condition = threading.Condition()
        self._free = concurrency
        self._done = 0
        self.wrong = 0
        self.errors: list[str] = []

    def throttle(self) -> None:
        """Wait until another request may be sent."""
        with self._condition:
            self._condition.wait_for(lambda: self._free > 0)
            self._free -= 1

    def wait(self, count: int) -> None:
        """Wait until `count` requests have been answered."""
        with self._condition:
            self._condition.wait_for(lambda: self._done >= count)

    def answered(self, label: int, scores: str, future: Any) -> None:
        """Called with the future of a request that has ended, well or not."""
        error = future.exception()
        right = error is None and int(np.argmax(tf.make_ndarray(future.result().outputs[scores]))) == label
        with self._condition:
            if error is not None:
                self.errors.append(f"{error.code().name}: {error.details()}")
            elif not right:
                self.wrong += 1
            self._free += 1
            self._done += 1
            self._condition.notify_all()


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how often a classifier of digits is wrong.")
    parser.add_argument("file", help="an .npz file with images and labels")
    parser.add_argument("--server", default="localhost:8500", help="host:port of the gRPC API")
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--signature", default="serving_default")
    parser.add_argument("--input", default="images", help="the signature's input")
    parser.add_argument("--output", default="probabilities", help="the signature's output with the scores")
    parser.add_argument("--concurrency", type=int, default=10, help="requests under way at a time")
    parser.add_argument("--num_tests", type=int, default=1000, help="images to send at most")
    arguments = parser.parse_args()

    with np.load(arguments.file) as data:
        images = data["images"][: arguments.num_tests].astype(np.float32) / 255.0
        labels = data["labels"][: arguments.num_tests]

    tally = Tally(arguments.concurrency)
    with grpc.insecure_channel(arguments.server) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for image, label in zip(images, labels, strict=True):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = arguments.model
            request.model_spec.signature_name = arguments.signature
            request.inputs[arguments.input].CopyFrom(tf.make_tensor_proto(image.reshape(1, image.size)))
            tally.throttle()
            future = stub.Predict.future(request, 10.0)
            future.add_done_callback(
                lambda future, label=int(label): tally.answered(label, arguments.output, future)
            )
        tally.wait(len(images))

    for error in tally.errors:
        print(error, file=sys.stderr)
    if len(tally.errors) == len(images):
        return 1
    answers = len(images) - len(tally.errors)
    print(f"{answers} answers, error rate {100 * tally.wrong / answers:.1f} %")
    return 1 if tally.errors else 0


if __name__ == "__main__":
    sys.exit(main())
