"""Writes the requests that a server replays before it offers a version: here pictures for an image classifier.

    python write_warmup.py /models/resnet/1 picture.jpg [--batch_sizes 1 4]

The file is assets.extra/tf_serving_warmup_requests in the version's directory, and must be there before the server
loads the version.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2


def main() -> None:
    parser = argparse.ArgumentParser(description="Write warm-up requests for an image classifier.")
    parser.add_argument("version", type=Path, help="the version's directory, with saved_model.pb")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--model", default="resnet")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 4], help="a request for each")
    arguments = parser.parse_args()

    picture = arguments.picture.read_bytes()
    file = arguments.version / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for size in arguments.batch_sizes:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = arguments.model
            request.model_spec.signature_name = "serving_default"
            request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([picture] * size, shape=[size]))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
    print(f"{file}: {len(arguments.batch_sizes)} requests")


if __name__ == "__main__":
    main()
