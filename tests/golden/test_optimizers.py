"""Five steps of each optimizer against those recorded from the API."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format

from boxtune import config, models
from boxtune.config import pipeline_pb2
from boxtune.data.resize import resizer
from boxtune.training.averages import averages, key_of_average
from boxtune.training.optimizer import optimizer
from golden.recordings import FOLDER, recorded_batch, recorded_weights

pytestmark = pytest.mark.shared

MODEL = FOLDER / "ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8"
MOST_USED = "momentum_cosine_clip"
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


def recorded_optimizers():
    path = MODEL / "optimizers.json"
    recorded = json.loads(path.read_text()) if path.exists() else {}
    return [
        pytest.param(about, id=name, marks=() if name == MOST_USED else pytest.mark.thorough)
        for name, about in recorded.items()
    ]


@dataclass
class Training:
    """A detector, the weights that each training starts from, and a step's losses and gradients."""

    detector: models.Detector
    weights: dict[str, np.ndarray]
    gradients: tf.types.experimental.PolymorphicFunction

    @property
    def variables(self):
        return self.detector.checkpoint_variables()

    def restart(self):
        for key, variable in self.variables.items():
            variable.assign(self.weights[key])


@pytest.fixture(scope="module")
def training():
    pipeline = config.load(MODEL / "pipeline.config")
    detector = models.build(pipeline.model)
    inputs = recorded_batch(MODEL, resizer(models.image_resizer(pipeline.model)))

    @tf.function(jit_compile=False)
    def gradients():
        with tf.GradientTape() as tape:
            terms = detector.loss_terms(inputs, detector(inputs, training=True))
            terms["regularization_loss"] = detector.regularization_loss()
            total = sum(terms.values())
        return terms, tape.gradient(total, [variable.value for variable in detector.trainable_variables])

    return Training(detector, recorded_weights(MODEL), gradients)


@pytest.mark.parametrize("about", recorded_optimizers())
def test_optimizers(about, training):
    training.restart()
    section = text_format.Parse(about["proto"], pipeline_pb2.Optimizer())
    made = optimizer(section, gradient_clipping_by_norm=about["gradient_clipping_by_norm"] or 0.0)
    kept = averages(section, training.detector)
    # Recorded without what the decay of RMSProp makes of it.
    slowed = section.rms_prop_optimizer.decay if section.HasField("rms_prop_optimizer") else 0.0
    for number, step in enumerate(about["steps"]):
        rate = step["learning_rate"] / (1 + slowed * number)
        assert float(made.learning_rate) == pytest.approx(rate, rel=1e-6)
        terms, gradients = training.gradients()
        if number == 0:  # later, batch statistics have made more of the last digits
            for name, value in terms.items():
                assert float(value) == pytest.approx(step[f"Loss/{name}"], rel=2e-3), name
            assert float(tf.linalg.global_norm(gradients)) == pytest.approx(step["gradient_norm"], rel=5e-2)
        total = float(sum(terms.values()))
        assert total == pytest.approx(step["Loss/total_loss"], rel=2e-2), number
        made.apply(gradients, training.detector.trainable_variables)
        kept.update(number + 1)

    off = {}
    for key, after in about["after"].items():
        key = key.removesuffix(_SUFFIX)
        value = training.variables[key].numpy()
        change = np.linalg.norm(value - training.weights[key])
        off[key] = abs(change / after["change"] - 1)
        # A change may be a large part of a small norm, and is known no better than that.
        norm = pytest.approx(after["norm"], rel=1e-4, abs=0.1 * after["change"])
        assert np.linalg.norm(value) == norm, key
    # The batch statistics of two images make much of little: weights that differ in the seventh digit move the
    # changes by up to 0.08 for one variable and by 0.05 on average, and the losses by up to 0.013.
    assert max(off.values()) <= 0.15, off
    assert np.mean(list(off.values())) <= 0.08, off
    for key, average in about.get("average", {}).items():
        key = key.removesuffix(_SUFFIX)
        value = kept.variables[key_of_average(key)].numpy()
        # The change of the weights is known no better than above; of the 0 that it began with 0.002 are left.
        change = about["after"][f"{key}{_SUFFIX}"]["change"]
        assert np.linalg.norm(value) == pytest.approx(average["norm"], rel=1e-4, abs=0.1 * change), key
