"""A family without anchors: each cell of one map says whether an object's center lies in it, and how large it is."""

from collections.abc import Sequence

import keras
from google.protobuf import text_format
from keras import ops

from boxtune.config.families import Family
from boxtune.config.pipeline_pb2 import ImageResizer, TrainEvalPipelineConfig
from boxtune.detection.boxes import from_centers, take_rows
from boxtune.detection.kernels import highest
from boxtune.detection.losses import sigmoid_cross_entropy
from boxtune.errors import ConfigError
from boxtune.models.detector import Detector
from boxtune.structures import Detections

NUM_CLASSES = 4
STRIDE = 8
MOST_FOUND = 10

RECIPE = """
model { experimental_model { name: "center_points" } }
train_config { optimizer { adam_optimizer { learning_rate { constant_learning_rate {} } } } }
eval_config { metrics_set: "coco_detection_metrics" }
"""
RESIZER = "keep_aspect_ratio_resizer { min_dimension: 64 max_dimension: 64 pad_to_max_dimension: true }"


class CenterPoints(Family):
    """What its section says: nothing but its name."""

    name = "center_points"
    path = "model.experimental_model"
    builder = "families.center_points"
    recipe_field = "name"

    def section(self, model):
        return model.experimental_model

    def image_resizer(self, model) -> ImageResizer:
        return text_format.Parse(RESIZER, ImageResizer())

    def num_classes(self, model) -> int:
        return NUM_CLASSES

    def set_num_classes(self, model, num_classes: int) -> None:
        if num_classes != NUM_CLASSES:
            raise ConfigError(f"center_points tells {NUM_CLASSES} classes apart, not {num_classes}")

    def recipe_names(self) -> Sequence[str]:
        return [self.name]

    def recipe(self, name: str) -> TrainEvalPipelineConfig:
        return text_format.Parse(RECIPE, TrainEvalPipelineConfig())

    def complete(self, model) -> TrainEvalPipelineConfig:
        return self.recipe(self.name)


def build(section, options) -> Detector:
    return CenterPointDetector(add_regularization_loss=options.add_regularization_loss)


class CenterPointDetector(Detector):
    """Finds the cells of highest score; there is nothing to suppress."""

    loss_names = ("center_loss", "size_loss")

    def __init__(self, **kwargs):
        super().__init__(NUM_CLASSES, **kwargs)
        images = keras.Input((None, None, 3))
        x = keras.layers.Conv2D(8, 3, strides=4, padding="same", activation="relu")(images / 255.0)
        x = keras.layers.Conv2D(
            16,
            3,
            strides=2,
            padding="same",
            activation="relu",
            kernel_regularizer=keras.regularizers.L2(1e-4),
        )(x)
        heads = [
            keras.layers.Conv2D(depth, 1, name=name)(x)
            for name, depth in (("heat", NUM_CLASSES), ("size", 2))
        ]
        self.network = keras.Model(images, heads)

    def call(self, inputs, training=None):
        heat, size = self.network(inputs["images"], training=training)
        grid = ops.cast(ops.shape(heat)[1:3], "float32")
        return {
            "heat": ops.reshape(heat, (-1, heat.shape[1] * heat.shape[2], NUM_CLASSES)),
            "size": ops.sigmoid(ops.reshape(size, (-1, size.shape[1] * size.shape[2], 2))),
            "centers": _centers(heat.shape[1:3], grid)[None],
        }

    def loss_terms(self, inputs, predictions):
        groundtruth, centers = inputs["groundtruth"], predictions["centers"][0]
        boxes, valid = groundtruth["boxes"], ops.cast(groundtruth["valid"], "float32")
        middle = (boxes[..., :2] + boxes[..., 2:]) / 2
        distance = ops.sum(ops.square(middle[:, :, None] - centers), axis=-1)  # [b, n, cells]
        nearest = ops.argmin(distance, axis=-1)
        at = ops.one_hot(nearest, ops.shape(centers)[0]) * valid[..., None]
        expected = ops.max(
            at[..., None] * ops.one_hot(groundtruth["classes"], NUM_CLASSES)[:, :, None], axis=1
        )
        entropy = sigmoid_cross_entropy(predictions["heat"], expected)
        sizes = take_rows(predictions["size"], ops.cast(nearest, "int32"))
        off = ops.sum(ops.abs(sizes - (boxes[..., 2:] - boxes[..., :2])), axis=-1) * valid
        return {
            "center_loss": ops.mean(entropy),
            "size_loss": ops.sum(off) / ops.maximum(ops.sum(valid), 1.0),
        }

    def candidates(self, inputs, predictions):
        cells = ops.shape(predictions["size"])[0]
        centers = ops.tile(predictions["centers"], (cells, 1, 1))
        boxes = from_centers(
            *(centers[..., i] for i in (0, 1)), *(predictions["size"][..., i] for i in (0, 1))
        )
        return boxes, ops.sigmoid(predictions["heat"])

    def detect(self, inputs, predictions):
        boxes, scores = self.candidates(inputs, predictions)
        scores, order = highest(ops.reshape(scores, (-1, scores.shape[1] * NUM_CLASSES)), MOST_FOUND)
        extents = ops.cast(inputs["sizes"], "float32") / ops.cast(ops.shape(inputs["images"])[1:3], "float32")
        found = take_rows(boxes, order // NUM_CLASSES) / ops.tile(extents, (1, 2))[:, None]
        return Detections(
            boxes=ops.clip(found, 0.0, 1.0),
            scores=scores,
            classes=order % NUM_CLASSES,
            count=ops.full_like(order[:, 0], MOST_FOUND),
        )

    def restore_map(self, fine_tune_type):
        return self.parts({"full": ["model/"]}, fine_tune_type)


def _centers(grid, size):
    rows = (ops.arange(grid[0], dtype="float32") + 0.5) / size[0]
    columns = (ops.arange(grid[1], dtype="float32") + 0.5) / size[1]
    return ops.reshape(ops.stack(ops.meshgrid(rows, columns, indexing="ij"), axis=-1), (-1, 2))
