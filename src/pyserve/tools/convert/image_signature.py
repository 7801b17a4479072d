"""Adds a signature that takes encoded images where another one takes pixels: decode, resize, scale, in the graph.

What lies between the pixels and the outputs is in the graph a second time, behind a decoder; variables, tables and
constants are shared, and requests with pixels run as before. A placeholder whose default were the decoder would need no
copy; but TensorFlow runs the default, and misses the images, when a function that takes the pixels is inlined.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from pyserve.backends.saved_model.failures import to_serving_error
from pyserve.backends.saved_model.runtime import tensorflow
from pyserve.codec.signature_def import tensor_spec
from pyserve.dtypes import STRING
from pyserve.errors import InvalidArgumentError, NotFoundError
from pyserve.protos import tf
from pyserve.servable import DEFAULT_SIGNATURE, TensorSpec
from pyserve.tools.convert.edits import require
from pyserve.tools.convert.graph_copy import copy_part

METHODS = ("bilinear", "nearest", "bicubic", "area", "lanczos3")


@dataclass(frozen=True, slots=True)
class ImageSignature:
    """What the new signature is to do.

    Attributes:
        key: Its name.
        of: The signature that takes pixels, and gives the outputs.
        input: Which of its inputs; empty: the only one with four dimensions.
        alias: Of the encoded images, one per row: JPEG, PNG, BMP, or the first picture of a GIF.
        size: (height, width) in pixels; None: as declared.
        channels_first: The model takes [rows, channels, height, width].
        method: How to resize.
        mean, std: Of each channel, or of all: a pixel becomes `(pixel - mean) / std`, where pixels are 0 to 255.
    """

    key: str
    of: str = DEFAULT_SIGNATURE
    input: str = ""
    alias: str = "image_bytes"
    size: tuple[int, int] | None = None
    channels_first: bool = False
    method: str = "bilinear"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (255.0,)


@dataclass(frozen=True, slots=True)
class _Pixels:
    """What the model takes: dimensions and dtype."""

    height: int
    width: int
    channels: int


def add_image_signature(graph: tf.MetaGraphDef, wanted: ImageSignature) -> None:
    """Add the signature to the MetaGraph.

    Raises:
        NotFoundError: There is no such signature or input.
        InvalidArgumentError: The input takes no pixels, or their size is neither declared nor given.
    """
    base = require(graph.signature_def, wanted.of)
    spec = _pixel_input(base, wanted)
    if wanted.key in graph.signature_def:
        raise InvalidArgumentError(f'there is a signature "{wanted.key}" already')
    if wanted.alias in base.inputs and wanted.alias != spec.alias:
        raise InvalidArgumentError(f'signature "{wanted.of}" has an input "{wanted.alias}" already')
    pixels = _pixels(spec, wanted)
    scope = _free_scope(graph.graph_def)
    decoder = _decoder(scope, spec, pixels, wanted)
    outputs = [info.name for info in base.outputs.values()]
    copies = copy_part(graph.graph_def, spec.tensor_name, f"{scope}/pixels:0", outputs, f"{scope}/model")
    graph.graph_def.node.extend(decoder.node)
    graph.graph_def.library.function.extend(decoder.library.function)

    made = graph.signature_def[wanted.key]
    made.CopyFrom(base)
    del made.inputs[spec.alias]
    made.defaults.pop(spec.alias, None)
    images = made.inputs[wanted.alias]
    images.name, images.dtype = f"{scope}/images:0", STRING.number
    images.tensor_shape.dim.add(size=-1)
    for info in made.outputs.values():
        info.name = copies[info.name]


def _pixel_input(signature: tf.SignatureDef, wanted: ImageSignature) -> TensorSpec:
    specs = {alias: tensor_spec(alias, info) for alias, info in signature.inputs.items()}
    if wanted.input:
        if wanted.input not in specs:
            raise NotFoundError(
                f'signature "{wanted.of}" has no input "{wanted.input}"; it has {", ".join(sorted(specs)) or "none"}'
            )
        found = specs[wanted.input]
    else:
        of_images = [spec for spec in specs.values() if spec.shape is not None and len(spec.shape) == 4]
        if len(of_images) != 1:
            raise InvalidArgumentError(
                f'which input of signature "{wanted.of}" takes the pixels? It has {", ".join(sorted(specs)) or "none"}'
            )
        (found,) = of_images
    if found.dtype.numpy is None or found.dtype.is_string:
        raise InvalidArgumentError(f'input "{found.alias}" has the type {found.dtype.name}, expected numbers')
    if found.shape is not None and len(found.shape) != 4:
        raise InvalidArgumentError(f'input "{found.alias}" has {len(found.shape)} dimensions, expected 4')
    return found


def _pixels(spec: TensorSpec, wanted: ImageSignature) -> _Pixels:
    shape = spec.shape or (None,) * 4
    _, *rest = shape
    channels, height, width = rest if wanted.channels_first else (rest[2], rest[0], rest[1])
    if wanted.size is not None:
        for declared, given in ((height, wanted.size[0]), (width, wanted.size[1])):
            if declared not in (None, given):
                raise InvalidArgumentError(
                    f'input "{spec.alias}" is declared with {height} x {width} pixels, '
                    f"not {wanted.size[0]} x {wanted.size[1]}"
                )
        height, width = wanted.size
    if height is None or width is None:
        raise InvalidArgumentError(f'input "{spec.alias}" does not declare the size of images: give it')
    channels = 3 if channels is None else channels
    if channels not in (1, 3, 4):
        raise InvalidArgumentError(f'input "{spec.alias}" has {channels} channels, expected 1, 3 or 4')
    for name, values in (("mean", wanted.mean), ("std", wanted.std)):
        if len(values) not in (1, channels):
            raise InvalidArgumentError(f"{name} has {len(values)} values, expected 1 or {channels}")
    return _Pixels(height, width, channels)


def _free_scope(graph: tf.GraphDef) -> str:
    """A name with which no node and no function begins."""
    taken = [node.name for node in graph.node]
    taken += [function.signature.name for function in graph.library.function]
    names = itertools.chain(("images",), (f"images_{number}" for number in itertools.count(1)))
    # images_1 is no neighbour of images: functions made for the one would be named like those of the other.
    return next(
        name for name in names if not any(each.startswith((f"{name}/", f"{name}_map")) for each in taken)
    )


def _decoder(scope: str, spec: TensorSpec, pixels: _Pixels, wanted: ImageSignature) -> tf.GraphDef:
    """Nodes from `<scope>/images`, strings, to `<scope>/pixels`, what the model takes."""
    tensorflow_ = tensorflow()
    graph = tensorflow_.Graph()
    try:
        with graph.as_default(), tensorflow_.name_scope(scope):
            images = tensorflow_.compat.v1.placeholder(tensorflow_.string, [None], name="images")
            _scaled(tensorflow_, images, spec, pixels, wanted)
    except Exception as error:
        raise to_serving_error(error) from error
    return tf.GraphDef.FromString(graph.as_graph_def().SerializeToString())


def _scaled(tf_: Any, images: Any, spec: TensorSpec, pixels: _Pixels, wanted: ImageSignature) -> Any:
    size = (pixels.height, pixels.width)

    def decode(encoded: Any) -> Any:
        image = tf_.io.decode_image(encoded, channels=pixels.channels, expand_animations=False)
        image.set_shape([None, None, pixels.channels])
        return tf_.cast(tf_.image.resize(image, size, wanted.method), tf_.float32)

    dtype = tf_.as_dtype(spec.dtype.number)
    shape = tf_.TensorSpec([*size, pixels.channels], tf_.float32)
    decoded = tf_.map_fn(decode, images, fn_output_signature=shape, name="map")
    scaled = (decoded - tf_.constant(wanted.mean)) / tf_.constant(wanted.std)
    if wanted.channels_first:
        scaled = tf_.transpose(scaled, [0, 3, 1, 2])
    if dtype.is_integer:
        scaled = tf_.saturate_cast(tf_.round(scaled), dtype)
    return tf_.identity(tf_.cast(scaled, dtype), name="pixels")
