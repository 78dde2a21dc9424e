"""Random changes of training images, each drawn from a seed that is an argument.

Every step draws its parameters from its seed and hands them to a pure function of image and boxes. The seed
comes from the run, the epoch and the example, so a run that is stopped and resumed sees the images that an
uninterrupted one sees. Images stay bytes from step to step. Source of steps, fields and defaults: the API's
core.preprocessor.
"""

from collections.abc import Callable, Sequence
from functools import partial

from boxtune import config
from boxtune.config import pipeline_pb2
from boxtune.data.augmentation import colors, crops, objects, policies, whole_image
from boxtune.data.augmentation.steps import Step, one_after_another
from boxtune.errors import ConfigError

STEPS: dict[str, Callable[..., Step]] = {
    field.name: getattr(module, field.name)
    for module in (whole_image, crops, colors, objects, policies)
    for field in pipeline_pb2.PreprocessingStep.DESCRIPTOR.fields
    if hasattr(module, field.name)
}
"""The functions that read the sections of steps, by the names of these, which are their own."""

_OF_CLASSES = ("drop_label_probabilistically", "remap_labels")
"""The steps that are read together with the number of classes."""


def augmentation(options: Sequence[pipeline_pb2.PreprocessingStep], num_classes: int) -> Step:
    """Read `data_augmentation_options`: a function of a sample and a seed int32 [2] that does every step.

    Raises:
        ConfigError: for a step that boxtune does not have, or a field that cannot be.
    """
    readers = STEPS | {of: partial(STEPS[of], num_classes=num_classes) for of in _OF_CLASSES}
    steps = []
    for option in options:
        name = option.WhichOneof("preprocessing_step")
        try:
            steps.append(config.oneof(option, readers))
        except ConfigError as error:
            if name not in readers:
                raise
            raise ConfigError(f"data_augmentation_options: {name}: {error}.") from error
    return one_after_another(steps)
