"""A detector as a SavedModel, which any TensorFlow program can run, with the API's signature."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from boxtune import models
from boxtune.config import pipeline_pb2
from boxtune.data import resize
from boxtune.data.decoder import decoded_anywhere
from boxtune.exporting.traced import by_name
from boxtune.models import Detector
from boxtune.runtimes.model_file import ModelFile
from boxtune.structures import Inputs

_ENCODED = "image/encoded"


def write(folder: Path, detector: Detector, model: pipeline_pb2.DetectionModel, input_type: str) -> None:
    """Write a detector as a SavedModel of which the input is one of INPUT_TYPES."""
    serving = Serving(detector, resize.resizer(models.image_resizer(model)), input_type)
    signature = serving.__call__.get_concrete_function()
    with _without_notes():
        tf.saved_model.save(serving, str(folder), {"serving_default": signature})


class ByImages(ModelFile):
    """A SavedModel that is loaded, called with images uint8 [1, h, w, 3] whatever its own input is."""

    largest_batch = 1

    def __init__(self, folder: Path, input_type: str) -> None:
        self.path = folder
        self._loaded = tf.saved_model.load(str(folder))  # it holds the variables
        self._encode = INPUT_TYPES[input_type].encode

    def __call__(self, images: npt.NDArray[np.uint8]) -> dict[str, Any]:
        """Return the outputs by their names."""
        return dict(self._loaded.signatures["serving_default"](self._encode(images)))


class Serving(tf.Module):
    """A detector behind the API's serving signature: images in, their detections out, classes numbered from 1.

    A batch may have any number of images. As tensors they have one size; encoded ones may differ, as long as the
    resizer gives them one.
    """

    def __init__(self, detector: Detector, resizer: resize.Resizer, input_type: str):
        super().__init__()
        # TensorFlow saves the variables that it finds here.
        self._variables = [variable.value for variable in detector.checkpoint_variables().values()]

        def resized(image: Any) -> tuple[Any, Any]:
            made = resizer(image)
            return made.image, made.size

        def find(images: Any, sizes: Any) -> dict[str, Any]:
            return detections_by_name(detector, Inputs(images=images, sizes=sizes))

        # As an attribute, so that the loaded model can be called.
        self.__call__ = serving_function(input_type, resized, find)


def serving_function(
    input_type: str, prepare: Callable[[Any], tuple[Any, Any]], find: Callable[[Any, Any], dict[str, Any]]
) -> Any:
    """Return the function from one of INPUT_TYPES to the outputs of a model, by their names.

    Args:
        input_type: of INPUT_TYPES.
        prepare: from an image [h, w, 3], uint8 or float32, to the image as the network takes it, and its size.
        find: from images and sizes to the outputs.
    """
    spec, decode, _ = INPUT_TYPES[input_type]

    def read(one: Any) -> tuple[Any, Any]:
        return prepare(decode(one))

    one = tf.TensorSpec(spec.shape[1:], spec.dtype)
    traced = tf.function(read, autograph=False).get_concrete_function(one)
    outputs = tuple(tf.TensorSpec(part.shape, part.dtype) for part in traced.outputs)

    @tf.function(input_signature=[spec], autograph=False)
    def serve(input_tensor: Any) -> dict[str, Any]:
        return find(*tf.map_fn(read, input_tensor, fn_output_signature=outputs))

    return serve


def detections_by_name(detector: Detector, inputs: Inputs) -> dict[str, Any]:
    """Return the detections in a batch, and what they were chosen among, by the API's names."""
    predictions = detector(inputs, training=False)
    found = detector.detect(inputs, predictions)
    return {**by_name(found), **detector.raw_outputs(inputs, predictions, found)}


def _encode(images: npt.NDArray[np.uint8]) -> Any:
    return tf.stack([tf.io.encode_png(image) for image in images])


def _as_examples(images: npt.NDArray[np.uint8]) -> Any:
    return tf.stack([_example(encoded) for encoded in _encode(images).numpy()])


def _example(encoded: bytes) -> bytes:
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
    serialized: bytes = tf.train.Example(
        features=tf.train.Features(feature={_ENCODED: feature})
    ).SerializeToString()
    return serialized


class InputType(NamedTuple):
    """What the input of a SavedModel may be."""

    spec: tf.TensorSpec
    decode: Callable[[Any], Any]
    """From one of it to an image [h, w, 3] in [0, 255], uint8 or float32."""
    encode: Callable[[npt.NDArray[np.uint8]], Any]
    """From images uint8 [b, h, w, 3] to it."""


INPUT_TYPES = {
    "image_tensor": InputType(
        tf.TensorSpec([None, None, None, 3], tf.uint8, "input_tensor"),
        lambda image: image,
        tf.constant,
    ),
    "float_image_tensor": InputType(
        tf.TensorSpec([None, None, None, 3], tf.float32, "input_tensor"),
        lambda image: image,
        lambda images: tf.cast(images, tf.float32),
    ),
    "encoded_image_string_tensor": InputType(
        tf.TensorSpec([None], tf.string, "input_tensor"), decoded_anywhere, _encode
    ),
    "tf_example": InputType(
        tf.TensorSpec([None], tf.string, "input_tensor"),
        lambda serialized: decoded_anywhere(
            tf.io.parse_single_example(serialized, {_ENCODED: tf.io.FixedLenFeature([], tf.string)})[_ENCODED]
        ),
        _as_examples,
    ),
}
"""By the API's names."""


@contextmanager
def _without_notes() -> Iterator[None]:
    """Leave out TensorFlow's notes within the block: they name a folder that is gone when they are read."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)
