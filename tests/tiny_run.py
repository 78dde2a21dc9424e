"""Trainings of a detector of two layers, in processes that are there at once: to be killed, and compared.

Run as a script it reads lines of JSON, each the arguments of `boxtune.train.train`, trains in a fork of itself, and
answers with the number of that process and, when it is gone, with its status.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import boxtune  # noqa: F401 - before Keras: it switches oneDNN on

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
from keras import ops

from boxtune import models
from boxtune.detection import shares
from boxtune.models import Detector
from boxtune.models.layers import BatchNormalization
from boxtune.structures import Detections
from flags import train_by_flags

SIDE = 16


class TinyDetector(Detector):
    """Finds one object in every image."""

    loss_names = ("localization_loss", "classification_loss")

    def __init__(self):
        super().__init__(num_classes=4)
        images = keras.Input((SIDE, SIDE, 3))
        features = keras.layers.Conv2D(
            8,
            5,
            strides=4,
            activation="relu",
            kernel_regularizer=keras.regularizers.L2(1e-3),
            name="model--conv",
        )(images / 255.0)
        features = BatchNormalization(momentum=0.9, epsilon=1e-3, name="model--norm")(features)
        outputs = keras.layers.Dense(5, name="model--dense")(keras.layers.Flatten()(features))
        self.network = keras.Model(images, outputs)

    def call(self, inputs, training=None):
        return self.network(inputs["images"], training=training)

    def loss_terms(self, inputs, predictions):
        groundtruth = inputs["groundtruth"]
        expected = groundtruth["boxes"][:, 0]
        crowded = ops.sum(ops.cast(groundtruth["valid"], "float32"), axis=1) > 2
        terms = {
            "localization_loss": ops.mean(ops.square(predictions[:, :4] - expected)),
            "classification_loss": ops.mean(
                ops.binary_crossentropy(ops.cast(crowded, "float32"), predictions[:, 4], from_logits=True)
            ),
        }
        # What this share of a batch adds to the mean over all of it.
        return {name: value / shares.count() for name, value in terms.items()}

    def detect(self, inputs, predictions):
        boxes, scores = self.candidates(inputs, predictions)
        count = ops.shape(predictions)[0]
        return Detections(
            boxes=boxes,
            scores=scores[..., 0],
            classes=ops.zeros([count, 1], "int32"),
            count=ops.ones([count], "int32"),
        )

    def candidates(self, inputs, predictions):
        corners = ops.reshape(ops.clip(predictions[:, :4], 0, 1), [-1, 2, 2])
        corners = ops.concatenate([ops.min(corners, axis=1), ops.max(corners, axis=1)], axis=-1)
        return corners[:, None], ops.sigmoid(predictions[:, None, 4:])

    def restore_map(self, fine_tune_type):
        return self.parts({kind: ["model/"] for kind in ("full", "all_but_classes")}, fine_tune_type)


class Runner:
    """Starts tiny trainings from this process."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, *arguments, **options):
        """Begin to train; return the number of the process."""
        print(json.dumps([list(map(str, arguments)), options]), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def status(self):
        """Wait for the end of the training that was started last; return its status as `os.wait` gives it."""
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def serve():
    """Answer orders until there are no more."""
    models.build = lambda section, options=None: TinyDetector()
    for line in sys.stdin:
        arguments, options = json.loads(line)
        process = os.fork()
        if not process:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            train_by_flags(*arguments, **options)
            os._exit(0)
        print(process, flush=True)
        print(os.waitpid(process, 0)[1], flush=True)


if __name__ == "__main__":
    serve()
