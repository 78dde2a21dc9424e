"""A detector as a configuration trains it, before its first step."""

import keras

from boxtune import models
from boxtune.config import pipeline_pb2
from boxtune.data.label_map import LabelMap
from boxtune.models import Detector
from boxtune.training.class_weights import class_weights
from boxtune.training.freezing import freeze
from boxtune.training.optimizer import optimizer
from boxtune.training.warm_start import warm_start


def detector_to_train(
    pipeline: pipeline_pb2.TrainEvalPipelineConfig, label_map: LabelMap, seed: int
) -> Detector:
    """Return the detector of a configuration, compiled with its optimizer; the weights are drawn from `seed`.

    Raises:
        ConfigError: for a component that boxtune does not have, or values that contradict one another.
    """
    settings, own = pipeline.train_config, pipeline.boxtune
    keras.utils.set_random_seed(seed)
    options = models.Options(
        add_regularization_loss=settings.add_regularization_loss,
        label_smoothing=own.label_smoothing,
        class_weights=class_weights(own.class_weights, label_map, models.num_classes(pipeline.model)),
        merge_multiple_label_boxes=settings.merge_multiple_label_boxes,
        use_bfloat16=settings.use_bfloat16,
    )
    detector = models.build(pipeline.model, options)
    freeze(
        detector,
        freeze_variables=settings.freeze_variables,
        update_trainable_variables=settings.update_trainable_variables,
    )
    detector.compile(
        optimizer(
            settings.optimizer,
            gradient_clipping_by_norm=settings.gradient_clipping_by_norm,
            accumulate_batches=own.accumulate_batches,
        ),
        # JAX knows nothing else; of TensorFlow, on the CPU, XLA is many times slower than its own kernels.
        jit_compile=keras.backend.backend() == "jax",
    )
    return detector


def take_first_weights(detector: Detector, settings: pipeline_pb2.TrainConfig) -> str:
    """Load the checkpoint that `train_config` names, if it does; return what became of it, as a sentence.

    Raises:
        CheckpointError: if it does not fit.
    """
    if settings.fine_tune_checkpoint:
        return str(warm_start(detector, settings.fine_tune_checkpoint, settings.fine_tune_checkpoint_type))
    return "Starting from random weights."
