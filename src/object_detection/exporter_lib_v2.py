"""From a checkpoint to a SavedModel, and the modules that such a model is made of."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from boxtune.config.pipeline_pb2 import TrainEvalPipelineConfig
from boxtune.errors import ConfigError
from boxtune.export import export
from boxtune.exporting.saved_model import serving_function
from boxtune.training import checkpoints
from object_detection.builders import model_builder
from object_detection.core.model import DetectionModel
from object_detection.core.standard_fields import DetectionResultFields
from object_detection.edited_config import written_config
from object_detection.utils import config_util

_BUILD = model_builder.build
INPUT_BUILDER_UTIL_MAP: dict[str, Callable[..., Any]] = {"model_build": _BUILD}
"""The functions that an export is made of, by the API's names."""


class DetectionInferenceModule(tf.Module):
    """A model behind a function from its input to detections by name, all float32 [b, ...], classes from 1 on.

    The subclasses are of one input each. `module.__call__.get_concrete_function()` is the signature to save.
    """

    input_type = ""

    def __init__(
        self,
        detection_model: DetectionModel,
        use_side_inputs: bool = False,
        zipped_side_inputs: Any = None,
    ):
        """Prepare to call a model; side inputs are refused by a ConfigError."""
        super().__init__()
        _refuse_side_inputs(use_side_inputs or bool(zipped_side_inputs))
        self._model = detection_model
        if self.input_type:
            # As an attribute, so that the loaded model can be called.
            self.__dict__["__call__"] = serving_function(self.input_type, self._prepare, self._find)

    def __call__(self, input_tensor: Any) -> dict[str, Any]:
        """Return the detections in a batch."""
        found: dict[str, Any] = self.__dict__["__call__"](input_tensor)
        return found

    def _prepare(self, image: Any) -> tuple[Any, Any]:
        images, shapes = self._model.preprocess(tf.cast(image, tf.float32)[None])
        return images[0], shapes[0]

    def _find(self, images: Any, shapes: Any) -> dict[str, Any]:
        found = self._model.postprocess(self._model.predict(images, shapes), shapes)
        outputs = {name: tf.cast(part, tf.float32) for name, part in found.items()}
        outputs[DetectionResultFields.detection_classes] += model_builder.CLASS_ID_OFFSET
        return outputs


class DetectionFromImageModule(DetectionInferenceModule):
    """Takes images uint8 [b, h, w, 3]."""

    input_type = "image_tensor"


class DetectionFromFloatImageModule(DetectionInferenceModule):
    """Takes images float32 [b, h, w, 3] with values from 0 to 255."""

    input_type = "float_image_tensor"


class DetectionFromEncodedImageModule(DetectionInferenceModule):
    """Takes encoded images [b], such as files of JPEG."""

    input_type = "encoded_image_string_tensor"


class DetectionFromTFExampleModule(DetectionInferenceModule):
    """Takes serialized records [b]."""

    input_type = "tf_example"


class DetectionFromImageAndBoxModule(DetectionInferenceModule):
    """Takes images and boxes, of which a model would find the masks: there is none such."""

    def __init__(
        self,
        detection_model: DetectionModel,
        use_side_inputs: bool = False,
        zipped_side_inputs: Any = None,
    ):
        """Refuse, by a ConfigError."""
        raise ConfigError(
            "image_and_boxes_tensor is of models that find masks in given boxes; there is none such"
        )

    def __call__(self, input_tensor: Any, boxes: Any) -> dict[str, Any]:  # type: ignore[override]
        """Refuse."""
        raise NotImplementedError


DETECTION_MODULE_MAP: Mapping[str, type[DetectionInferenceModule]] = {
    "image_tensor": DetectionFromImageModule,
    "encoded_image_string_tensor": DetectionFromEncodedImageModule,
    "tf_example": DetectionFromTFExampleModule,
    "float_image_tensor": DetectionFromFloatImageModule,
    "image_and_boxes_tensor": DetectionFromImageAndBoxModule,
}
"""The modules by what they take."""


def get_true_shapes(input_tensor: Any) -> Any:
    """Return int32 [b, 3], the shape of each of some images [b, h, w, 3] without padding."""
    shape = tf.shape(input_tensor)
    return tf.tile(shape[None, 1:], [shape[0], 1])


def export_inference_graph(
    input_type: str,
    pipeline_config: TrainEvalPipelineConfig,
    trained_checkpoint_dir: str,
    output_directory: str,
    use_side_inputs: bool = False,
    side_input_shapes: str = "",
    side_input_types: str = "",
    side_input_names: str = "",
) -> None:
    """Write `saved_model/`, `checkpoint/ckpt-0` and `pipeline.config`, as `boxtune export` does.

    Models of another `model_build` in INPUT_BUILDER_UTIL_MAP are written as they are.

    Args:
        input_type: one of DETECTION_MODULE_MAP.
        pipeline_config: of the checkpoint.
        trained_checkpoint_dir: its folder, of which the newest is taken.
        output_directory: created if necessary.
        use_side_inputs, side_input_shapes, side_input_types, side_input_names: not supported.

    Raises:
        BoxtuneError: for anything the user can fix.
    """
    _refuse_side_inputs(use_side_inputs)
    if INPUT_BUILDER_UTIL_MAP["model_build"] is not _BUILD:
        _export_own(input_type, pipeline_config, trained_checkpoint_dir, Path(output_directory))
        return
    with written_config(pipeline_config) as path:
        export(path, trained_checkpoint_dir, output_directory, input_type=input_type)


def _export_own(
    input_type: str,
    pipeline_config: TrainEvalPipelineConfig,
    trained_checkpoint_dir: str,
    output_directory: Path,
) -> None:
    """Export a model that boxtune does not know."""
    if input_type not in DETECTION_MODULE_MAP:
        known = ", ".join(DETECTION_MODULE_MAP)
        raise config_util.ConfigValueError(f'input_type "{input_type}" is not one of {known}')
    model = INPUT_BUILDER_UTIL_MAP["model_build"](pipeline_config.model, is_training=False)
    checkpoint = tf.train.Checkpoint(model=model)
    status = checkpoint.restore(checkpoints.find(trained_checkpoint_dir)).expect_partial()
    module = DETECTION_MODULE_MAP[input_type](model)
    signature = vars(module)[
        "__call__"
    ].get_concrete_function()  # which makes variables that there were not yet
    status.assert_existing_objects_matched()
    tf.train.CheckpointManager(checkpoint, str(output_directory / "checkpoint"), 1).save(checkpoint_number=0)
    tf.saved_model.save(module, str(output_directory / "saved_model"), signatures=signature)
    config_util.save_pipeline_config(pipeline_config, output_directory)


def _refuse_side_inputs(are_used: bool) -> None:
    if are_used:
        raise ConfigError("use_side_inputs is not supported; leave it out")
