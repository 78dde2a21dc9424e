"""A detector as TensorFlow Lite's converter takes it: one image, already resized, to the four outputs of the API."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from boxtune.detection.box_coders import CenterCodes, codes_of_boxes
from boxtune.detection.kernels import staying_convolutions, tensorflow_lite
from boxtune.errors import ConfigError, printable
from boxtune.exporting.traced import quiet
from boxtune.models import Detector
from boxtune.models.backbones.common import prepared_images
from boxtune.runtimes.tflite_schema import POST_PROCESS
from boxtune.silence_stderr import silenced_stderr
from boxtune.structures import Inputs

FLOAT32, FLOAT16, DYNAMIC_RANGE, INT8 = "float32", "float16", "dynamic_range", "int8"
PRECISIONS = (FLOAT32, FLOAT16, DYNAMIC_RANGE, INT8)


@dataclass(frozen=True)
class PostProcess:
    """The attributes of the operator that decodes boxes and suppresses those that overlap better ones."""

    max_detections: int
    use_regular_nms: bool
    """Class by class; otherwise boxes suppress each other by the best class of each, whatever that is."""
    nms_score_threshold: float
    """Boxes that score this or more count."""
    nms_iou_threshold: float
    num_classes: int
    max_classes_per_detection: int = 1

    def signature(self, scales: tuple[float, float, float, float]) -> str:
        """Return the operator's name and attributes as the converter reads them, with the scales of CenterCodes."""
        attributes = asdict(self) | dict(
            zip(("y_scale", "x_scale", "h_scale", "w_scale"), scales, strict=True)
        )
        kinds = {bool: "b", int: "i", float: "f"}
        texts = (
            # In all digits, so that 1e-8 does not become 0.
            f'attr {{ key: "{key}" value {{ {kinds[type(value)]}: {repr(value).lower()} }} }}'
            for key, value in attributes.items()
        )
        return " ".join([f'name: "{POST_PROCESS}"', *texts])


class Module(tf.Module):
    """A detector behind a signature from one image to count, scores, classes from 0 on, and boxes.

    The image is float32 [1, h, w, 3]. If `how` is "normalized" it is normalized as the network wants it, if it is
    "padded" its values are from 0 to 255. In both cases its padding is filled. The boxes are fractions of that image.
    """

    def __init__(self, detector: Detector, size: tuple[int, int], post: PostProcess | None, how: Any):
        super().__init__()
        # TensorFlow saves the variables that it finds here.
        self._variables = [variable.value for variable in detector.checkpoint_variables().values()]
        find = partial(_detections, detector) if post is None else partial(_post_processed, detector, post)
        image = tf.TensorSpec([1, *size, 3], tf.float32, "input")

        @tf.function(input_signature=[image], autograph=False)
        def infer(image: Any) -> tuple[Any, ...]:
            with ExitStack() as stack:
                for context in (staying_convolutions(), tensorflow_lite(), prepared_images(how)):
                    stack.enter_context(context)
                return find(Inputs(images=image, sizes=tf.constant([size], tf.int32)))

        self.infer = infer

    def save(self, folder: Path) -> None:
        """Write it as a SavedModel."""
        with quiet("tensorflow"):
            signature = self.infer.get_concrete_function()
            tf.saved_model.save(self, str(folder), {"serving_default": signature})


def _post_processed(detector: Detector, post: PostProcess, inputs: Inputs) -> tuple[Any, ...]:
    predictions = detector(inputs, training=False)
    encoded = detector.encoded_candidates(inputs, predictions)
    if encoded is None:
        boxes, scores = detector.candidates(inputs, predictions)
        encoded = codes_of_boxes(boxes), scores
    codes, scores = encoded
    return _operator(post, codes.scales)(codes.encodings, scores, _constant(codes))[::-1]


def _constant(codes: CenterCodes) -> Any:
    """Return the anchors, as a constant if they are known before there is an image."""
    known = tf.get_static_value(codes.anchors)
    return codes.anchors if known is None else tf.constant(known, tf.float32, name="anchors")


def _operator(post: PostProcess, scales: tuple[float, float, float, float]) -> Callable[..., tuple[Any, ...]]:
    """Return a function that the converter replaces by the operator; TensorFlow cannot run it.

    From encodings [1, a, 4], scores [1, a, c] and anchors [a, 4] to boxes, classes, scores and count.
    """

    @tf.function(experimental_implements=post.signature(scales), autograph=False)
    def detect(encodings: Any, scores: Any, anchors: Any) -> tuple[Any, ...]:
        return tuple(tf.constant(0.0, name=name) for name in ("boxes", "classes", "scores", "count"))

    return detect


def _detections(detector: Detector, inputs: Inputs) -> tuple[Any, ...]:
    found = detector.detect(inputs, detector(inputs, training=False))
    return (
        tf.cast(found.count, tf.float32),
        found.scores,
        tf.cast(found.classes, tf.float32),
        found.boxes,
    )


def convert(saved_model: Path, precision: str, images: Callable[[], Iterable[Any]] | None) -> bytes:
    """Return what the converter makes of a SavedModel.

    Args:
        saved_model: of a Module.
        precision: of PRECISIONS. Of INT8 the input is uint8, the outputs are float32.
        images: the images float32 [1, h, w, 3] that show, for INT8, the ranges of values.

    Raises:
        ConfigError: naming what it cannot convert.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    converter.allow_custom_ops = True
    if precision != FLOAT32:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == FLOAT16:
        converter.target_spec.supported_types = [tf.float16]
    if precision == INT8:
        assert images is not None
        converter.representative_dataset = lambda: ([np.asarray(image)] for image in images())
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
    with quiet("tensorflow"), quiet("absl"), silenced_stderr():
        try:
            return bytes(converter.convert())
        except ConfigError:
            raise
        except Exception as error:  # of any kind, for whatever it cannot convert
            reason = printable(str(error).strip().partition("\n")[0])
            raise ConfigError(f"--format tflite: the model cannot be converted: {reason}") from error
