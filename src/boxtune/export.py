"""The verb `export`: a checkpoint becomes what other programs run: a SavedModel, or a file of another format."""

import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import tensorflow as tf

from boxtune import config, models
from boxtune.backends import prepare_backend, require_tensorflow
from boxtune.data.files import LOCK, PARTIAL, held, writing
from boxtune.data.label_map import read_label_map
from boxtune.errors import ConfigError, did_you_mean
from boxtune.evaluation.exported import CHECKPOINT, LABEL_MAP, PIPELINE_CONFIG, SAVED_MODEL
from boxtune.evaluation.thresholds import THRESHOLDS, Thresholds, read_thresholds, write_thresholds
from boxtune.exporting import formats as exporting
from boxtune.exporting.about import About
from boxtune.exporting.saved_model import INPUT_TYPES
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
    precisions: Sequence[str] = (),
    nms: str = "native",
    calibration_images: int | None = None,
    score_threshold: float | None = None,
    overrides: Sequence[str] = (),
) -> Path:
    """Write `saved_model/`, `checkpoint/ckpt-0`, `pipeline.config` and the label map; return the folder.

    The layout is that of the API's exporter and of its zoo, so the result can be fine-tuned again; beside it are the
    thresholds of scores that an evaluation found for the checkpoint, if one did. Every file is compared with the
    checkpoint, which prints a table and writes `parity.json`. An earlier export there is replaced once the new one is
    complete.

    Args:
        pipeline_config_path: the configuration that the checkpoint was trained with.
        checkpoint: a folder (its newest checkpoint), a prefix or an `.index` file.
        output_dir: created if necessary.
        input_type: one of INPUT_TYPES, of the SavedModel.
        formats: of FORMATS; without "saved_model" there is no `saved_model/`.
        precisions: of BOUNDS in exporting.parity: each format is written in those that it has, or else as float32.
        nms: how the ONNX file ends: "native" (`model.onnx`, which runs everywhere), or for TensorRT "none" or
            "efficient_nms" (its plugin), of which the input are images of the model's size.
        calibration_images: how many of the records for training an int8 file is calibrated on; by default 100.
        score_threshold: in [0, 1): detections have to score above it, in place of what the configuration says. It
            may lower mAP, which counts all detections. The exported `pipeline.config` has it, and evaluations of the
            export say so.
        overrides: "path.to.field=value" changes of the configuration.

    Raises:
        BoxtuneError: for anything the user can fix.
    """
    require_tensorflow("A SavedModel")
    prepare_backend()
    exporting.check(formats, precisions, nms, calibration_images)
    if input_type not in INPUT_TYPES:
        raise ConfigError(
            f'--input_type "{input_type}" is not one of {", ".join(INPUT_TYPES)}.'
            f"{did_you_mean(input_type, INPUT_TYPES)}"
        )
    if (Path(output_dir) / CHECKPOINT).is_file():
        raise ConfigError(
            f"{output_dir} holds the checkpoints of a training: choose another folder for the export"
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
        floor = config.score_floor(pipeline.model)
        request = exporting.Request(
            detector, pipeline, About(labels, thresholds, floor), input_type, nms, calibration_images
        )
        comparison = exporting.write(partial, request, formats, precisions)
        tree = checkpoints.tree(detector.checkpoint_variables(), detector.checkpoint_aliases)
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
    print(comparison, flush=True)
    return output_dir


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
