"""Makes a classifier of encoded images, as clients of ResNet models expect it, and pictures to show to it.

    python image_model.py MODEL PICTURES

MODEL/1 is a SavedModel: `image_bytes`, a JPEG file per row, to `classes` and `probabilities`: 0 red, 1 green, 2 blue.
PICTURES gets red.jpg, green.jpg and blue.jpg, of different sizes. Run in a process of its own: it imports TensorFlow.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

COLOURS = ("red", "green", "blue")


class Colours(tf.Module):
    """Decode, resize, a convolution that lets each channel pass, mean, softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(tf.eye(3)[None, None] * 5.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def classify(self, image_bytes: Any) -> Any:
        images = tf.map_fn(self._decode, image_bytes, fn_output_signature=tf.TensorSpec([16, 16, 3]))
        maps = tf.nn.conv2d(images, self.kernel, strides=1, padding="SAME")
        probabilities = tf.nn.softmax(tf.reduce_mean(maps, axis=[1, 2]))
        return {"classes": tf.argmax(probabilities, axis=1), "probabilities": probabilities}

    def _decode(self, encoded: Any) -> Any:
        return tf.image.resize(tf.image.decode_jpeg(encoded, channels=3), [16, 16]) / 255.0


def main(model: Path, pictures: Path) -> None:
    colours = Colours()
    tf.saved_model.save(colours, str(model / "1"), signatures={"serving_default": colours.classify})
    for channel, name in enumerate(COLOURS):
        image = np.zeros((20 + channel, 30, 3), np.uint8)
        image[..., channel] = 255
        (pictures / f"{name}.jpg").write_bytes(tf.io.encode_jpeg(image).numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
