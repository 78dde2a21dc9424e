"""The verb `export`: a checkpoint becomes a SavedModel that any TensorFlow program can run, or an ONNX file."""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import tensorflow as tf

from boxtune import config, models
from boxtune.backends import prepare_backend, require_tensorflow
from boxtune.data import resize
from boxtune.data.decoder import decoded_anywhere
from boxtune.data.files import LOCK, PARTIAL, held, writing
from boxtune.data.label_map import read_label_map
from boxtune.errors import ConfigError, did_you_mean
from boxtune.evaluation.exported import CHECKPOINT, LABEL_MAP, PIPELINE_CONFIG, SAVED_MODEL
from boxtune.evaluation.thresholds import THRESHOLDS, Thresholds, read_thresholds, write_thresholds
from boxtune.exporting import formats as exporting
from boxtune.exporting.onnx import About
from boxtune.models import Detector
from boxtune.structures import Inputs
from boxtune.training import averages, checkpoints
from boxtune.training.run_state import own_label_map

_log = logging.getLogger("boxtune")


def export(
    pipeline_config_path: str | Path,
    checkpoint: str | Path,
    output_dir: str | Path,
    *,
    input_type: str = "image_tensor",
    formats: Sequence[str] = (SAVED_MODEL,),
    nms: str = "native",
    score_threshold: float | None = None,
    overrides: Sequence[str] = (),
) -> Path:
    """Write `saved_model/`, `checkpoint/ckpt-0`, `pipeline.config` and the label map; return the folder.

    The layout is that of the API's exporter and of its zoo, so the result can be fine-tuned again; beside it are the
    thresholds of scores that an evaluation found for the checkpoint, if one did. An earlier export there is replaced
    once the new one is complete. An ONNX file is compared with the checkpoint, which prints a table and writes
    `parity.json`.

    Args:
        pipeline_config_path: the configuration that the checkpoint was trained with.
        checkpoint: a folder (its newest checkpoint), a prefix or an `.index` file.
        output_dir: created if necessary.
        input_type: one of INPUT_TYPES, of the SavedModel.
        formats: of FORMATS; without "saved_model" there is no `saved_model/`.
        nms: how the ONNX file ends: "native" (`model.onnx`, which runs everywhere), or for TensorRT "none" or
            "efficient_nms" (its plugin), of which the input are images of the model's size.
        score_threshold: in [0, 1): detections have to score above it, in place of what the configuration says. It
            may lower mAP, which counts all detections. The exported `pipeline.config` has it, and evaluations of the
            export say so.
        overrides: "path.to.field=value" changes of the configuration.

    Raises:
        BoxtuneError: for anything the user can fix.
    """
    require_tensorflow("A SavedModel")
    prepare_backend()
    exporting.check(formats, nms)
    if input_type not in INPUT_TYPES:
        raise ConfigError(
            f'--input_type "{input_type}" is not one of {", ".join(INPUT_TYPES)}.'
            f"{did_you_mean(input_type, INPUT_TYPES)}"
        )
    pipeline = config.load(pipeline_config_path, overrides)
    if score_threshold is not None:
        config.set_score_floor(pipeline.model, score_threshold)
        print(
            f"Detections that score {score_threshold:g} or less are left out of the export: its mAP may be lower than "
            "that of the checkpoint.",
            flush=True,
        )
    config.refuse(pipeline, pipeline_config_path, config.MODEL)
    prefix = checkpoints.find(checkpoint)
    detector = models.build(pipeline.model)
    averages.load(detector, prefix, averaged=pipeline.eval_config.use_moving_averages)

    output_dir = Path(output_dir)
    label_map = own_label_map(prefix) or Path(pipeline.train_input_reader.label_map_path)
    labels = read_label_map(label_map) if os.path.lexists(label_map) else None
    thresholds = _thresholds_of(prefix)
    above = output_dir.parent  # a model directory, perhaps, of which retrain replaces this folder
    with (
        held(above) if (above / LOCK).exists() else nullcontext(),
        held(output_dir),
        writing(output_dir),
        tempfile.TemporaryDirectory(dir=output_dir, prefix=PARTIAL) as name,
    ):
        partial = Path(name)
        if SAVED_MODEL in formats:
            serving = Serving(detector, resize.resizer(models.image_resizer(pipeline.model)), input_type)
            signature = serving.__call__.get_concrete_function()
            with _without_notes():
                tf.saved_model.save(serving, str(partial / SAVED_MODEL), {"serving_default": signature})
        if "onnx" in formats:
            exporting.write_onnx(partial, detector, pipeline, About(labels, thresholds), nms)
        tree = checkpoints.tree(detector.checkpoint_variables())
        tf.train.CheckpointManager(tree, str(partial / CHECKPOINT), 1).save(checkpoint_number=0)
        config.write(pipeline, partial / PIPELINE_CONFIG)
        if labels:
            shutil.copyfile(label_map, partial / LABEL_MAP)
        else:
            _log.warning(
                "%s: exported without names of the classes: there is no label map %s", output_dir, label_map
            )
        if thresholds:
            write_thresholds(thresholds, partial)
        exporting.remove_others(output_dir, partial)
        (output_dir / THRESHOLDS).unlink(missing_ok=True)  # of an earlier export
        for entry in sorted(partial.iterdir()):
            path = output_dir / entry.name
            if path.is_dir():
                shutil.rmtree(path)
            entry.replace(path)
    return output_dir


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


def _thresholds_of(prefix: str) -> Thresholds | None:
    """Return the thresholds that were found for a checkpoint, None if there are none, or those of another."""
    path, step = Path(prefix).parent / THRESHOLDS, checkpoints.step_of(prefix)
    if not os.path.lexists(path):
        return None
    found = read_thresholds(path)
    if found.step != step:
        _log.warning(
            "%s is of step %d, %s of step %d: exported without thresholds. Find them with `boxtune evaluate "
            "--min_precision 0`.",
            path, found.step, Path(prefix).name, step,
        )  # fmt: skip
        return None
    return found


class Serving(tf.Module):
    """A detector behind the API's serving signature: images in, their detections out, classes numbered from 1.

    A batch may have any number of images. As tensors they have one size; encoded ones may differ, as long as the
    resizer gives them one.
    """

    def __init__(self, detector: Detector, resizer: resize.Resizer, input_type: str):
        super().__init__()
        # TensorFlow saves the variables that it finds here.
        self._variables = [variable.value for variable in detector.checkpoint_variables().values()]
        spec, decode = INPUT_TYPES[input_type]

        def read(one: Any) -> tuple[Any, Any]:
            resized = resizer(decode(one))
            return resized.image, resized.size

        one = tf.TensorSpec(spec.shape[1:], spec.dtype)
        traced = tf.function(read, autograph=False).get_concrete_function(one)
        outputs = tuple(tf.TensorSpec(part.shape, part.dtype) for part in traced.outputs)

        @tf.function(input_signature=[spec], autograph=False)
        def serve(input_tensor: Any) -> dict[str, Any]:
            images, sizes = tf.map_fn(read, input_tensor, fn_output_signature=outputs)
            return detections_by_name(detector, Inputs(images=images, sizes=sizes))

        self.__call__ = serve  # as an attribute, so that the loaded model can be called


def detections_by_name(detector: Detector, inputs: Inputs) -> dict[str, Any]:
    """Return the detections in a batch under the API's output names, all float32.

    Source: the API's exporter_lib_v2 and core.standard_fields.
    """
    predictions = detector(inputs, training=False)
    found = detector.detect(inputs, predictions)
    shapes = {
        "detection_masks": found.masks,
        "detection_keypoints": found.keypoints,
        "detection_keypoint_scores": found.keypoint_scores,
    }
    return {
        "num_detections": tf.cast(found.count, tf.float32),
        "detection_boxes": found.boxes,
        "detection_scores": found.scores,
        "detection_classes": tf.cast(found.classes, tf.float32) + 1.0,
        **{name: part for name, part in shapes.items() if part is not None},
        **detector.raw_outputs(inputs, predictions, found),
    }


def _decode(encoded: Any) -> Any:
    return tf.cast(decoded_anywhere(encoded), tf.float32)


INPUT_TYPES: dict[str, tuple[tf.TensorSpec, Callable[[Any], Any]]] = {
    "image_tensor": (
        tf.TensorSpec([None, None, None, 3], tf.uint8, "input_tensor"),
        lambda image: tf.cast(image, tf.float32),
    ),
    "float_image_tensor": (
        tf.TensorSpec([None, None, None, 3], tf.float32, "input_tensor"),
        lambda image: image,
    ),
    "encoded_image_string_tensor": (tf.TensorSpec([None], tf.string, "input_tensor"), _decode),
    "tf_example": (
        tf.TensorSpec([None], tf.string, "input_tensor"),
        lambda serialized: _decode(
            tf.io.parse_single_example(serialized, {"image/encoded": tf.io.FixedLenFeature([], tf.string)})[
                "image/encoded"
            ]
        ),
    ),
}
"""By the API's names, the input [b, ...] of the serving signature, and the function from one of it to an image
[h, w, 3] in [0, 255]."""
