"""Images of several sizes, and images with padding: trained, evaluated and exported in one frame."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image

from boxtune import cli, config, models
from boxtune.config import pipeline_pb2
from boxtune.data.batching import evaluation_batches, training_batches, training_samples
from boxtune.data.input import Records
from boxtune.data.label_map import LabelMap
from boxtune.data.resize import resizer
from boxtune.detection.nms import NonMaxSuppression
from boxtune.evaluation.evaluator import Evaluator
from boxtune.exporting.saved_model import Serving
from boxtune.training import checkpoints

SIZES = [(96, 128), (128, 80), (112, 112)]  # height and width of the three images
BOX = [0.25, 0.125, 0.75, 0.5]
EXTRACTOR = "ssd_mobilenet_v2_keras"


def write_records(path, count=6):
    """Noise with a bright rectangle, where the box is, in images of three sizes."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(count):
            writer.write(example(*SIZES[number % 3], f"{number}.png"))


def image_of(height, width):
    pixels = np.random.default_rng(height).integers(0, 80, [height, width, 3]).astype(np.uint8)
    top, left, bottom, right = _pixels(height, width)
    pixels[top:bottom, left:right] += 150
    return pixels


def _pixels(height, width):
    return [round(share * side) for share, side in zip(BOX, [height, width] * 2, strict=True)]


def example(height, width, name):
    stream = io.BytesIO()
    Image.fromarray(image_of(height, width)).save(stream, "PNG")

    def feature(values):
        if isinstance(values[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        if isinstance(values[0], float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    content = {
        "image/encoded": [stream.getvalue()],
        "image/filename": [name.encode()],
        "image/object/class/label": [1],
        **{
            f"image/object/bbox/{side}": [value]
            for side, value in zip(("ymin", "xmin", "ymax", "xmax"), BOX, strict=True)
        },
    }
    features = tf.train.Features(feature={key: feature(values) for key, values in content.items()})
    return tf.train.Example(features=features).SerializeToString()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sizes")
    write_records(folder / "some.tfrecord")
    (folder / "label_map.pbtxt").write_text('item { id: 1 name: "thing" }')
    return folder


def boxtune(*arguments):
    assert cli.main([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def trained(folder):
    """A model directory, of a training on images that keep their sizes."""
    reader = f'label_map_path: "{folder}/label_map.pbtxt" ' + (
        f'tf_record_input_reader {{ input_path: "{folder}/some.tfrecord" }}'
    )
    path = folder / "pipeline.config"
    path.write_text(
        f'model {{ ssd {{ num_classes: 1 feature_extractor {{ type: "{EXTRACTOR}" }} '
        "image_resizer { identity_resizer {} } } } "
        "train_config { batch_size: 3 num_steps: 4 optimizer { momentum_optimizer { learning_rate { "
        "constant_learning_rate { learning_rate: 0.01 } } } use_moving_average: false } } "
        f"train_input_reader {{ {reader} }} eval_input_reader {{ {reader} }} "
        'eval_config { metrics_set: "coco_detection_metrics" }'
    )
    small = ("--set", "model.feature_extractor.depth_multiplier=0.35")
    model_dir = folder / "model"
    boxtune("train", "--pipeline_config_path", path, "--model_dir", model_dir, *small)
    return model_dir


@pytest.mark.thorough
def test_it_trains_and_evaluates(trained):
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "learning_rate" in line] == [1, 2, 3, 4]
    evaluation = json.loads((trained / "evaluation.json").read_text())
    assert evaluation["num_images"] == 6


@pytest.mark.thorough
def test_the_exported_model_has_the_detections_of_the_checkpoint(trained):
    boxtune("export", "--model_dir", trained, "--output_dir", trained / "exported")
    detect = tf.saved_model.load(str(trained / "exported" / "saved_model"))
    pipeline = config.load(trained / "exported" / "pipeline.config")
    detector = models.build(pipeline.model)
    checkpoints.load(detector.checkpoint_variables(), checkpoints.find(trained))
    for height, width in SIZES:
        image = image_of(height, width)
        inputs = {"images": image[None].astype(np.float32), "sizes": np.int32([[height, width]])}
        predictions = detector(inputs, training=False)
        expected = detector.detect(inputs, predictions)
        found = detect(tf.constant(image[None]))
        np.testing.assert_allclose(found["detection_scores"], expected.scores, atol=1e-6)
        # Of near ties among the detections any may come first: every anchor is compared.
        for name, part in detector.raw_outputs(inputs, predictions, expected).items():
            if name.startswith("raw_"):
                np.testing.assert_allclose(found[name], part, atol=1e-5, err_msg=name)


RESIZERS = [
    "fixed_shape_resizer { height: 64 width: 96 }",
    "keep_aspect_ratio_resizer { min_dimension: 64 max_dimension: 96 }",
    "keep_aspect_ratio_resizer { min_dimension: 96 max_dimension: 96 pad_to_max_dimension: true }",
    "identity_resizer {}",
    "conditional_shape_resizer { condition: GREATER size_threshold: 100 }",
    "conditional_shape_resizer { condition: SMALLER size_threshold: 100 }",
    "pad_to_multiple_resizer { multiple: 32 }",
]


class Knowing(models.Detector):
    """Predicts BOX, which every image has, as it lies in the input."""

    loss_names = ("localization_loss",)

    def call(self, inputs, training=None):
        sizes = tf.cast(inputs["sizes"], tf.float32) / tf.cast(tf.shape(inputs["images"])[1:3], tf.float32)
        return (tf.constant([BOX]) * tf.tile(sizes, [1, 2]))[:, None]

    def loss_terms(self, inputs, predictions):
        return {
            "localization_loss": tf.reduce_max(tf.abs(predictions - inputs["groundtruth"]["boxes"][:, :1]))
        }

    def candidates(self, inputs, predictions):
        return predictions, tf.ones_like(predictions[..., :1])

    def detect(self, inputs, predictions):
        suppress = NonMaxSuppression(max_detections_per_class=1, max_total_detections=1)
        extents = tf.cast(inputs["sizes"], tf.float32) / tf.cast(tf.shape(inputs["images"])[1:3], tf.float32)
        window = tf.concat([tf.zeros_like(extents), extents], axis=-1)
        return suppress(*self.candidates(inputs, predictions), window)

    def restore_map(self, fine_tune_type):
        return {}


@pytest.mark.parametrize("text", RESIZERS)
def test_a_box_is_the_same_in_training_evaluation_and_export(folder, text):
    section = text_format.Parse(text, pipeline_pb2.ImageResizer())
    records = Records([folder / "some.tfrecord"], LabelMap.from_names(["thing"]), 1)
    detector = Knowing(num_classes=1)

    sample_at = training_samples(records, seed=0)
    for inputs in training_batches(sample_at, batch_size=3, image_resizer=section).take(2):
        assert float(detector.loss_terms(inputs, detector(inputs, training=True))["localization_loss"]) < 1e-6
        # The first of the input's pixels that belong to the object, and the first beyond it, are bright and dark.
        for image, size in zip(inputs["images"].numpy(), inputs["sizes"].numpy(), strict=True):
            top, left, bottom, right = np.round(np.array(BOX) * [*size, *size]).astype(int)
            assert image[top + 2 : bottom - 2, left + 2 : right - 2].min() > 120
            assert image[: top - 2, :].max() < 120
            assert image[bottom + 2 :, :].max() < 120

    evaluation = Evaluator(
        detector, records, pipeline_pb2.EvalConfig(), image_resizer=section, batch_size=3
    ).evaluate(0)
    assert evaluation.metrics["DetectionBoxes_Precision/mAP"] == pytest.approx(1)
    assert evaluation.losses["Loss/localization_loss"] < 1e-6
    for result in evaluation.results:
        np.testing.assert_allclose(result.boxes, result.groundtruth_boxes, atol=1e-4)

    serve = Serving(detector, resizer(section), "image_tensor").__call__
    for size in SIZES:
        np.testing.assert_allclose(
            serve(tf.constant(image_of(*size)[None]))["detection_boxes"], [[BOX]], atol=1e-6
        )


@pytest.mark.parametrize("text", RESIZERS)
def test_an_ssd_brings_boxes_back_from_the_inputs_frame(folder, text):
    """One that predicts the truth exactly finds it exactly."""
    section = config.recipe(EXTRACTOR).model
    section.ssd.num_classes = 1
    section.ssd.feature_extractor.depth_multiplier = 0.35
    section.ssd.image_resizer.CopyFrom(text_format.Parse(text, pipeline_pb2.ImageResizer()))
    detector = models.build(section)
    records = Records([folder / "some.tfrecord"], LabelMap.from_names(["thing"]), 1)
    batches = evaluation_batches(records, batch_size=3, image_resizer=section.ssd.image_resizer)
    inputs, _ = next(iter(batches))
    predictions = detector({name: inputs[name] for name in ("images", "sizes")}, training=False)
    anchors = predictions["anchors"][0]
    # Every anchor predicts the image's box; the first of them is certain.
    truth = inputs["groundtruth"]["boxes"][:, :1]
    encodings = detector.loss.box_coder.encode(tf.repeat(truth, len(anchors), axis=1), anchors)
    logits = tf.tile(tf.constant([[[9.0, -9.0]]]), [3, len(anchors), 1])
    logits = tf.concat([tf.constant([[[-9.0, 9.0]]] * 3), logits[:, 1:]], axis=1)
    perfect = predictions | {"box_encodings": encodings, "class_predictions_with_background": logits}
    found = detector.detect(inputs, perfect)
    np.testing.assert_allclose(found.boxes[:, 0], [BOX] * 3, atol=2e-5)
    losses = detector.loss_terms(inputs, perfect)
    assert float(losses["localization_loss"]) == pytest.approx(0, abs=1e-5)
