"""A model that finds in every image the same two objects, scored by how red it is; and images for it."""

import io
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from boxtune.data.label_map import LabelMap, write_label_map
from boxtune.evaluation.thresholds import ClassThreshold, Thresholds, write_thresholds

CAT, DOG = "cat <b>&amp;", "dog"


class _Finder(tf.Module):
    """Finds a dog in the upper left quarter, scored by the mean of red, and a cat to the right, half as sure."""

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8)])
    def find(self, images):
        red = tf.reduce_mean(tf.cast(images[..., 0], tf.float32)) / 255
        return {
            "num_detections": tf.constant([2.0]),
            "detection_boxes": tf.constant([[[0.0, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5]]]),
            "detection_classes": tf.constant([[1.0, 2.0]]),
            "detection_scores": tf.reshape(red, [1, 1]) * tf.constant([[0.5, 1.0]]),
        }


def export(folder: Path) -> Path:
    """Write the model as `boxtune export` does; dogs are shown from 0.7 on, cats, without a threshold, from 0.5 on."""
    finder = _Finder()
    tf.saved_model.save(finder, str(folder / "saved_model"), {"serving_default": finder.find})
    write_label_map(LabelMap.from_names([CAT, DOG]), folder / "label_map.pbtxt")
    write_thresholds(Thresholds(7, 40, 0.0, (ClassThreshold(2, DOG, 0.7, 0.9, 0.8),)), folder)
    return folder


def picture(red: int, *, width: int = 40, height: int = 20, format: str = "PNG", **options) -> bytes:
    """Return an image of one color as a file."""
    written = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), np.uint8([red, 0, 0]))).save(written, format, **options)
    return written.getvalue()
