"""Fields that the API honours and boxtune does not yet: set, they are refused, never passed over."""

from typing import Any

from boxtune.config.pipeline_pb2 import TrainEvalPipelineConfig
from boxtune.errors import ConfigError

# Path, the values that mean "not used", and what the field would change.
_REFUSED: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("model.ssd.loss.random_example_sampler", (None,), "use hard_example_miner, which also limits negatives"),
    ("model.ssd.similarity_calculator", (None, "iou_similarity"), "use iou_similarity"),
    ("model.ssd.add_background_class", (True,), "leave it true"),
    (
        "model.ssd.post_processing.batch_non_max_suppression.use_class_agnostic_nms",
        (False,),
        "leave it false",
    ),
    ("model.ssd.post_processing.batch_non_max_suppression.max_classes_per_detection", (1,), "leave it 1"),
    ("model.ssd.box_predictor.convolutional_box_predictor.box_code_size", (4,), "leave it 4"),
    ("model.ssd.box_predictor.weight_shared_convolutional_box_predictor.box_code_size", (4,), "leave it 4"),
)


def refuse(config: TrainEvalPipelineConfig) -> None:
    """Raise ConfigError for a field that would change the model."""
    for path, unused, advice in _REFUSED:
        value = _value(config, path)
        if value not in unused:
            raise ConfigError(f"{path}: boxtune does not have this yet; {advice}.")


def _value(message: Any, path: str) -> Any:
    """Return a scalar, a tuple of a repeated field, the chosen member of a oneof message, or None if unset."""
    *folders, name = path.split(".")
    for folder in folders:
        message = getattr(message, folder)
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.is_repeated:
        return tuple(getattr(message, name))
    if field.message_type is None:
        return getattr(message, name)
    if not message.HasField(name):
        return None
    oneofs = field.message_type.oneofs
    return getattr(message, name).WhichOneof(oneofs[0].name) if oneofs else name
