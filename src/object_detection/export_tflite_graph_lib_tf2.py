"""From a checkpoint to the SavedModel that TensorFlow Lite's converter takes, under the API's names."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from boxtune import config, models
from boxtune.backends import prepare_backend, require_tensorflow
from boxtune.config import pipeline_pb2
from boxtune.data.files import PARTIAL, held, writing
from boxtune.detection.box_coders import codes_of_boxes
from boxtune.detection.boxes import to_centers
from boxtune.errors import ConfigError
from boxtune.exporting.tflite import refuse_graph
from boxtune.exporting.tflite_graph import Module, PostProcess
from boxtune.models import Detector
from boxtune.models.ssd import SSD
from boxtune.training import averages, checkpoints
from object_detection.meta_architectures.ssd_meta_arch import SSDMetaArch


def get_const_center_size_encoded_anchors(anchors: Any) -> Any:
    """Return anchors [a, 4] as `[y, x, h, w]` of their centres and sizes, a constant float32 [a, 4]."""
    return tf.constant(tf.stack(to_centers(anchors), axis=-1), tf.float32, name="anchors")


class SSDModule(Module):
    """A detector whose `inference_fn` goes from a normalized image [1, h, w, 3] to what the converter replaces."""

    def __init__(
        self,
        pipeline_config: pipeline_pb2.TrainEvalPipelineConfig,
        detection_model: Detector | SSDMetaArch,
        max_detections: int,
        use_regular_nms: bool,
    ):
        detector = detection_model.detector if isinstance(detection_model, SSDMetaArch) else detection_model
        section = models.image_resizer(pipeline_config.model)
        refuse_graph(detector, section)
        suppress = detector.suppress
        if suppress is None:
            raise ConfigError("this script exports the SSD family; use boxtune export --format tflite")
        size = config.fixed_size(section)
        assert size is not None
        self._shape = [1, *size, 3]
        post = PostProcess(
            max_detections=max_detections,
            use_regular_nms=use_regular_nms,
            # The API writes six digits, so that the 1e-8 of the zoo is 0.
            nms_score_threshold=float(f"{suppress.score_threshold:f}"),
            nms_iou_threshold=float(f"{suppress.iou_threshold:f}"),
            num_classes=detector.num_classes,
        )
        scales = codes_of_boxes(np.zeros([1, 1, 4], np.float32)).scales
        if isinstance(detector, SSD):
            coder = detector.loss.box_coder
            anchor = np.array([[0, 0, 1, 1]], np.float32)
            codes = np.zeros([1, 1, coder.code_size], np.float32)
            scales = coder.center_codes(codes, anchor).scales
        self._signature = post.signature(scales)
        super().__init__(detector, size, post, "normalized")

    def input_shape(self) -> list[int]:
        """Return the shape of the image, [1, h, w, 3]."""
        return self._shape

    def postprocess_implements_signature(self) -> str:
        """Return the name and the attributes of what the converter puts in for the suppression."""
        return self._signature

    @property
    def inference_fn(self) -> Any:
        """The function from an image to count, scores, classes and boxes."""
        return self.infer


class CenterNetModule(tf.Module):
    """Of CenterNet, which boxtune does not have."""

    def __init__(
        self,
        pipeline_config: pipeline_pb2.TrainEvalPipelineConfig,
        max_detections: int,
        include_keypoints: bool,
        label_map_path: str = "",
    ):
        """Refuse, by a ConfigError."""
        raise ConfigError("CenterNet is not supported; use model.ssd")


def export_tflite_model(
    pipeline_config: pipeline_pb2.TrainEvalPipelineConfig,
    trained_checkpoint_dir: str,
    output_directory: str,
    max_detections: int,
    use_regular_nms: bool,
    include_keypoints: bool = False,
    label_map_path: str = "",
) -> None:
    """Write `saved_model/` in a folder, of the newest checkpoint of another.

    Args:
        pipeline_config: of the checkpoint.
        trained_checkpoint_dir: its folder.
        output_directory: created if necessary.
        max_detections: that are returned of an image.
        use_regular_nms: suppress class by class, which is exact and slower.
        include_keypoints: of CenterNet, which boxtune does not have.
        label_map_path: likewise.

    Raises:
        BoxtuneError: for anything the user can fix.
    """
    if include_keypoints:
        raise ConfigError("--centernet_include_keypoints is not supported; leave it out")
    if max_detections < 1:
        raise ConfigError(f"--max_detections is {max_detections}; it must be at least 1")
    require_tensorflow("A SavedModel")
    prepare_backend()
    prefix = checkpoints.find(trained_checkpoint_dir)
    detector = models.build(pipeline_config.model)
    averages.load(detector, prefix, averaged=pipeline_config.eval_config.use_moving_averages)
    module = SSDModule(pipeline_config, detector, max_detections, use_regular_nms)
    folder = Path(output_directory)
    with held(folder), writing(folder), tempfile.TemporaryDirectory(dir=folder, prefix=PARTIAL) as partial:
        module.save(Path(partial) / "saved_model")
        if os.path.lexists(folder / "saved_model"):
            shutil.rmtree(folder / "saved_model")
        (Path(partial) / "saved_model").replace(folder / "saved_model")
