"""From a checkpoint to the SavedModel that TensorFlow Lite's converter takes, under the API's names."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from boxtune import config, models
from boxtune.backends import prepare_backend, require_tensorflow
from boxtune.config import pipeline_pb2
from boxtune.data.files import PARTIAL, held, writing
from boxtune.errors import ConfigError
from boxtune.exporting.tflite import refuse_graph
from boxtune.exporting.tflite_graph import Module, PostProcess
from boxtune.models import Detector
from boxtune.training import averages, checkpoints


class SSDModule(Module):
    """A detector whose `inference_fn` goes from a normalized image [1, h, w, 3] to what the converter replaces."""

    def __init__(
        self,
        pipeline_config: pipeline_pb2.TrainEvalPipelineConfig,
        detection_model: Detector,
        max_detections: int,
        use_regular_nms: bool,
    ):
        section = models.image_resizer(pipeline_config.model)
        refuse_graph(detection_model, section)
        suppress = detection_model.suppress
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
            num_classes=detection_model.num_classes,
        )
        super().__init__(detection_model, size, post, "normalized")

    def input_shape(self) -> list[int]:
        """Return the shape of the image, [1, h, w, 3]."""
        return self._shape

    @property
    def inference_fn(self) -> Any:
        """The function from an image to count, scores, classes and boxes."""
        return self.infer


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
