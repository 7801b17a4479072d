"""A client of an image model, as the tuning story needs it: full or light, with threads, with several images a call.

    python benchmarks/story_client.py full|light HOST:PORT MODEL THREADS ROWS SECONDS

`full` is what tutorials show: TensorFlow makes the TensorProto, tensorflow-serving-api the call. `light` needs neither:
numpy, grpcio, and pyserve's message classes. Each call makes its request anew from an array, and reads its answer.
Prints one line of JSON: seconds until ready for the first call, images answered, seconds for them, CPU seconds.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_TIMEOUT_S = 300.0


def full(address: str, model: str) -> Callable[[Any], Any]:
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(address, _UNLIMITED))

    def call(images: Any) -> Any:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
        return tf.make_ndarray(stub.Predict(request, timeout=_TIMEOUT_S).outputs["probabilities"])

    return call


def light(address: str, model: str) -> Callable[[Any], Any]:
    import grpc

    from pyserve.codec.predict import ModelSpec, encode_request
    from pyserve.codec.tensor_proto import decode
    from pyserve.protos import tfs

    method = "/tensorflow.serving.PredictionService/Predict"
    predict = grpc.insecure_channel(address, _UNLIMITED).unary_unary(method)

    def call(images: Any) -> Any:
        answer = predict(encode_request(ModelSpec(model), {"images": images}), timeout=_TIMEOUT_S)
        return decode(tfs.PredictResponse.FromString(answer).outputs["probabilities"])

    return call


def main() -> None:
    began = time.monotonic()
    kind, address, model = sys.argv[1:4]
    threads, rows, seconds = int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6])
    call = {"full": full, "light": light}[kind](address, model)
    images = np.random.default_rng(7).random((rows, 224, 224, 3), np.float32)
    ready_s = time.monotonic() - began
    call(images)  # connects, and lets the model see the batch size
    answered = [0] * threads
    cpu, began = time.process_time(), time.monotonic()

    def one(number: int) -> None:
        while time.monotonic() - began < seconds:
            answered[number] += len(call(images))

    workers = [threading.Thread(target=one, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    taken = time.monotonic() - began
    used = time.process_time() - cpu
    print(json.dumps({"ready_s": ready_s, "images": sum(answered), "seconds": taken, "cpu_s": used}))


if __name__ == "__main__":
    main()
