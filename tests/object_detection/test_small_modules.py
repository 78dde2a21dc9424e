"""Modules of few functions: records with detections, optimizers, and boxes drawn by hand."""

import base64
import io
import json
import logging
import re
import sys
from types import ModuleType

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image

from boxtune.errors import ConfigError
from object_detection.builders import optimizer_builder
from object_detection.metrics import tf_example_parser
from object_detection.protos import optimizer_pb2
from object_detection.utils import colab_utils, dataset_util

# Records with detections


def example(**features):
    names = {name.replace("__", "/"): feature for name, feature in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=names))


def test_values_of_one_kind():
    record = example(
        numbers=dataset_util.float_list_feature([0.5, 1]),
        ids=dataset_util.int64_list_feature([1, 2]),
        text=dataset_util.bytes_list_feature([b"a", b"b"]),
    )
    numbers = tf_example_parser.FloatParser("numbers").parse(record)
    assert (numbers.dtype, numbers.tolist()) == (np.float32, [0.5, 1])
    ids = tf_example_parser.Int64Parser("ids").parse(record)
    assert (ids.dtype, ids.tolist()) == (np.int64, [1, 2])
    assert tf_example_parser.StringParser("text").parse(record) == b"ab"
    for parser in (
        tf_example_parser.FloatParser,
        tf_example_parser.Int64Parser,
        tf_example_parser.StringParser,
    ):
        assert parser("nothing").parse(record) is None
    assert tf_example_parser.FloatParser("ids").parse(record) is None
    assert sorted(record.features.feature) == ["ids", "numbers", "text"]  # looking adds nothing


def sides(prefix, boxes):
    names = ("ymin", "xmin", "ymax", "xmax")
    return {
        f"image__{prefix}__bbox__{name}": dataset_util.float_list_feature(column)
        for name, column in zip(names, np.transpose(boxes), strict=True)
    }


def test_detections_beside_ground_truth():
    features = {
        "image__source_id": dataset_util.bytes_feature(b"7"),
        **sides("object", [[0.1, 0.2, 0.3, 0.4]]),
        **sides("detection", [[0, 0.25, 0.5, 1], [0, 0, 1, 1]]),
        "image__object__class__label": dataset_util.int64_feature(3),
        "image__detection__label": dataset_util.int64_list_feature([3, 4]),
        "image__detection__score": dataset_util.float_list_feature([0.5, 0.25]),
        "image__object__difficult": dataset_util.int64_feature(1),
    }
    parser = tf_example_parser.TfExampleDetectionAndGTParser()
    parsed = parser.parse(example(**features))
    assert parsed["key"] == b"7"
    np.testing.assert_allclose(parsed["groundtruth_boxes"], [[0.1, 0.2, 0.3, 0.4]], rtol=1e-6)
    np.testing.assert_array_equal(parsed["detection_boxes"], [[0, 0.25, 0.5, 1], [0, 0, 1, 1]])
    assert parsed["detection_classes"].tolist() == [3, 4]
    assert parsed["detection_scores"].tolist() == [0.5, 0.25]
    assert parsed["groundtruth_difficult"].tolist() == [1]
    assert parsed["groundtruth_group_of"] is None
    del features["image__detection__bbox__ymin"]
    assert parser.parse(example(**features)) is None


# Optimizers


def optimizer_of(text):
    return text_format.Parse(text, optimizer_pb2.Optimizer())


MOMENTUM = """
use_moving_average: false
momentum_optimizer { momentum_optimizer_value: 0.9
  learning_rate { manual_step_learning_rate {
    initial_learning_rate: 0.5 schedule { step: 2 learning_rate: 0.25 } } } }
"""


def test_an_optimizer_and_its_learning_rate(caplog):
    optimizer, (rate,) = optimizer_builder.build(optimizer_of(MOMENTUM))
    variable = tf.Variable(1.0)
    rates = []
    for _ in range(3):
        rates.append(float(rate()))
        optimizer.apply_gradients([(tf.constant(0.0), variable)])
    assert rates == [0.5, 0.5, 0.25]
    assert float(optimizer.momentum) == pytest.approx(0.9)
    resumed, (rate,) = optimizer_builder.build(
        optimizer_of(MOMENTUM), global_step=tf.Variable(2, dtype=tf.int64)
    )
    assert (int(resumed.iterations), float(rate())) == (2, 0.25)
    assert not caplog.text


def test_what_an_optimizer_does_not_do(caplog):
    with caplog.at_level(logging.WARNING, "boxtune"):
        optimizer_builder.build(optimizer_of(MOMENTUM.replace("false", "true")))
    assert "keeps no averages" in caplog.text
    with pytest.raises(ConfigError, match="is empty"):
        optimizer_builder.build(optimizer_of(""))
    with pytest.raises(ConfigError, match="TensorFlow 1"):
        optimizer_builder.build_optimizers_tf_v1(optimizer_of(MOMENTUM))


# Boxes drawn by hand


def test_images_as_text():
    image = np.full((4, 6, 3), 100, np.uint8)
    decoded = base64.b64decode(colab_utils.image_from_numpy(image))
    with Image.open(io.BytesIO(decoded)) as opened:
        assert (opened.format, opened.size) == ("JPEG", (6, 4))


@pytest.fixture
def colab(monkeypatch):
    """Google Colab's module, and what is shown in the output; return both."""
    registered, shown = {}, []
    output = ModuleType("google.colab.output")
    output.register_callback = registered.__setitem__
    package = ModuleType("google.colab")
    package.output = output
    monkeypatch.setitem(sys.modules, "google.colab", package)
    display = ModuleType("IPython.display")
    display.HTML, display.display = str, shown.append
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return registered, shown


def test_boxes_are_stored_when_the_user_submits(colab):
    registered, shown = colab
    stored = ["of an earlier call"]
    colab_utils.annotate([np.zeros((4, 4, 3), np.uint8)] * 2, box_storage_pointer=stored, callbackId="mine")
    [page] = shown
    content = json.loads(re.search(r"boxes-content\">(.*?)</script>", page)[1])
    assert (len(content["images"]), content["callback"]) == (2, "mine")
    registered["mine"]([[{"x": 0.25, "y": 0.5, "w": 0.5, "h": 0.25}], []])
    np.testing.assert_array_equal(stored[0], [[0.5, 0.25, 0.75, 0.75]])
    assert stored[1:] == [None]


def test_a_callback_ends_no_script(colab):
    _, [*before] = colab
    assert before == []
    colab_utils.draw_bbox([], "</script><b>")
    assert "</script><b>" not in colab[1][0]


def test_elsewhere_boxes_are_drawn_in_a_program(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", None)
    with pytest.raises(ConfigError, match="LabelImg"):
        colab_utils.annotate([], [])
