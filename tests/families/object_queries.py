"""A family with attention: queries look at the image, in training also at noisy truth, and yield masks and keypoints.

Query i answers for object i. In training the truth, moved a little, is asked for beside the learned queries, as in
denoising transformers; so the forward pass needs sizes (padding is not looked at) and ground truth.
"""

import keras
from google.protobuf import text_format
from keras import ops

from boxtune.config.pipeline_pb2 import ImageResizer
from boxtune.detection.kernels import best_class
from boxtune.detection.losses import sigmoid_cross_entropy
from boxtune.models.detector import Detector
from boxtune.models.layers import Branches
from boxtune.structures import Detections
from families.center_points import NUM_CLASSES, CenterPoints

DEPTH, NUM_QUERIES, NUM_POINTS, MASK_SIDE, STRIDE = 16, 6, 2, 4, 8
RESIZER = "identity_resizer {}"


class ObjectQueries(CenterPoints):
    """What its section says: nothing but its name. Images keep their own sizes."""

    name = "object_queries"
    builder = "families.object_queries"

    def image_resizer(self, model) -> ImageResizer:
        return text_format.Parse(RESIZER, ImageResizer())

    def recipe(self, name):
        recipe = super().recipe(name)
        recipe.model.experimental_model.name = self.name
        return recipe


def build(section, options) -> Detector:
    return QueryDetector(add_regularization_loss=options.add_regularization_loss)


class QueryDetector(Detector):
    """Every query is an object, or none of the classes."""

    loss_names = ("class_loss", "box_loss", "denoising_loss", "shape_loss")
    finds = ("masks", "keypoints")

    def __init__(self, **kwargs):
        super().__init__(NUM_CLASSES, **kwargs)
        self.stem = keras.layers.Conv2D(DEPTH, STRIDE, strides=STRIDE, padding="same", activation="relu")
        self.queries = keras.layers.Embedding(NUM_QUERIES, DEPTH)
        self.from_boxes = keras.layers.Dense(DEPTH)
        self.blocks = [
            {
                "attention": keras.layers.MultiHeadAttention(2, DEPTH // 2),
                "mix": keras.layers.Dense(DEPTH, "relu"),
            }
            for _ in range(2)
        ]
        self.tokens = Branches(2 * len(self.blocks) * 2)  # for keys and values, of queries and of hints
        self.order = keras.layers.GRU(DEPTH, return_sequences=True)
        depths = {"classes": NUM_CLASSES, "boxes": 4, "points": 2 * NUM_POINTS, "masks": MASK_SIDE**2}
        self.heads = {name: keras.layers.Dense(depth) for name, depth in depths.items()}
        self.noise = keras.random.SeedGenerator(0)
        self._look(ops.zeros((1, 2 * STRIDE, STRIDE, 3)), ops.ones((1, 2), "int32"), ops.zeros((1, 1, 4)))

    def call(self, inputs, training=None):
        images, sizes = inputs["images"], inputs["sizes"]
        if "groundtruth" not in inputs:
            return self._look(images, sizes, None)
        boxes = inputs["groundtruth"]["boxes"]
        noise = keras.random.normal(ops.shape(boxes), stddev=0.02, seed=self.noise)
        return self._look(images, sizes, boxes + noise, training)

    def _look(self, images, sizes, hints, training=False):
        """Return what the learned queries find, and in `denoised` what boxes [b, n, 4] that hint at objects do."""
        tokens = self.stem(images / 255.0)
        height, width = ops.shape(tokens)[1:3]
        rows, columns = (-(-sizes[:, i] // STRIDE) for i in (0, 1))
        seen = (ops.arange(height)[None, :, None] < rows[:, None, None]) & (
            ops.arange(width)[None, None] < columns[:, None, None]
        )
        seen = ops.reshape(seen, (-1, 1, height * width))
        tokens = self.tokens(ops.reshape(tokens, (-1, height * width, DEPTH)), training=training)
        queries = ops.broadcast_to(
            self.queries(ops.arange(NUM_QUERIES)), (ops.shape(images)[0], NUM_QUERIES, DEPTH)
        )
        found = self._heads(self.order(self._attend(queries, tokens[::2], seen)), self.heads)
        if hints is not None:
            boxes = {"boxes": self.heads["boxes"]}
            found["denoised"] = self._heads(self._attend(self.from_boxes(hints), tokens[1::2], seen), boxes)[
                "boxes"
            ]
        return found

    def _attend(self, queries, tokens, seen):
        for number, block in enumerate(self.blocks):
            values, keys = tokens[2 * number : 2 * number + 2]
            queries = queries + block["attention"](queries, values, keys, attention_mask=seen)
            queries = queries + block["mix"](queries)
        return queries

    def _heads(self, queries, heads):
        copies = Branches(len(heads))(queries, training=True)
        return {name: head(copy) for (name, head), copy in zip(heads.items(), copies, strict=True)}

    def loss_terms(self, inputs, predictions):
        groundtruth = inputs["groundtruth"]
        pad = [[0, 0], [0, NUM_QUERIES], [0, 0]]
        boxes = ops.pad(groundtruth["boxes"], pad)[:, :NUM_QUERIES]
        valid = ops.pad(ops.cast(groundtruth["valid"], "float32"), pad[:2])[:, :NUM_QUERIES]
        classes = ops.pad(groundtruth["classes"], pad[:2])[:, :NUM_QUERIES]
        expected = ops.one_hot(classes, NUM_CLASSES) * valid[..., None]
        off = ops.sum(ops.square(ops.sigmoid(predictions["boxes"]) - boxes), axis=-1) * valid
        denoising = 0.0 * ops.sum(predictions["boxes"])
        if "denoised" in predictions:
            missed = ops.square(ops.sigmoid(predictions["denoised"]) - groundtruth["boxes"])
            denoising = ops.mean(missed * ops.cast(groundtruth["valid"], "float32")[..., None])
        masks = predictions["masks"]
        shapes = ops.mean(ops.square(predictions["points"]))
        shapes += ops.mean(sigmoid_cross_entropy(masks, ops.ones_like(masks)))
        return {
            "class_loss": ops.mean(sigmoid_cross_entropy(predictions["classes"], expected)),
            "box_loss": ops.mean(off),
            "denoising_loss": denoising,
            "shape_loss": shapes,
        }

    def candidates(self, inputs, predictions):
        corners = ops.reshape(ops.sigmoid(predictions["boxes"]), (-1, NUM_QUERIES, 2, 2))
        boxes = ops.concatenate([ops.min(corners, axis=2), ops.max(corners, axis=2)], axis=-1)
        return boxes, ops.sigmoid(predictions["classes"])

    def detect(self, inputs, predictions):
        boxes, scores = self.candidates(inputs, predictions)
        best = ops.max(scores, axis=-1)
        order = ops.argsort(-best, axis=-1)
        extents = ops.cast(inputs["sizes"], "float32") / ops.cast(ops.shape(inputs["images"])[1:3], "float32")
        boxes = ops.clip(boxes / ops.tile(extents, (1, 2))[:, None], 0.0, 1.0)
        points = ops.tanh(ops.reshape(predictions["points"], (-1, NUM_QUERIES, NUM_POINTS, 2)))
        centers, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
        points = centers[:, :, None] + points * sides[:, :, None] / 2
        masks = ops.sigmoid(ops.reshape(predictions["masks"], (-1, NUM_QUERIES, MASK_SIDE, MASK_SIDE)))

        def sorted_(part):
            places = ops.reshape(order, (*ops.shape(order), *[1] * (len(part.shape) - 2)))
            return ops.take_along_axis(part, places, axis=1)

        return Detections(
            boxes=sorted_(boxes),
            scores=sorted_(best),
            classes=sorted_(best_class(scores)),
            count=ops.full_like(ops.cast(order[:, 0], "int32"), NUM_QUERIES),
            masks=sorted_(masks),
            keypoints=sorted_(points),
            keypoint_scores=sorted_(ops.mean(ops.ones_like(points), axis=-1)),
        )

    def restore_map(self, fine_tune_type):
        return self.parts({"full": ["model/"], "detection": ["model/stem/", "model/blocks/"]}, fine_tune_type)
