"""Records as tensors; what the API returns for the same bytes is in tests/golden/test_records.py."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from boxtune.errors import ConfigError
from object_detection.data_decoders.tf_example_decoder import TfExampleDecoder
from object_detection.utils import dataset_util

HIERARCHY = """
item { id: 1 name: "animal" descendant_ids: [2, 3] }
item { id: 2 name: "cat" ancestor_ids: 1 }
item { id: 3 name: "dog" ancestor_ids: 1 }
"""


def png(value, width=4, height=2):
    output = io.BytesIO()
    Image.new("L", (width, height), value).save(output, "PNG")
    return output.getvalue()


def record(**more):
    """Return a record of two objects."""
    features = {"image/encoded": dataset_util.bytes_feature(png(9))}
    for side, values in {"ymin": [0, 0], "xmin": [0, 0], "ymax": [1, 0.5], "xmax": [1, 0.5]}.items():
        features[f"image/object/bbox/{side}"] = dataset_util.float_list_feature(values)
    features |= {name.replace("__", "/"): feature for name, feature in more.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def decode(serialized, **options):
    """Decode a record within tf.data."""
    decoder = TfExampleDecoder(**options)
    [tensors] = tf.data.Dataset.from_tensors(serialized).map(decoder.decode)
    return {name: value.numpy() for name, value in tensors.items()}


@pytest.fixture
def hierarchy(tmp_path):
    path = tmp_path / "map.pbtxt"
    path.write_text(HIERARCHY, encoding="utf-8")
    return path


def test_objects_are_repeated_for_the_classes_above_theirs(hierarchy):
    labels = dataset_util.int64_list_feature([2, 1])
    options = {"label_map_proto_file": hierarchy, "expand_hierarchy_labels": True}
    tensors = decode(record(image__object__class__label=labels), **options)
    assert tensors["groundtruth_classes"].tolist() == [1, 2, 1]
    assert tensors["groundtruth_boxes"][:, 2].tolist() == [1, 1, 0.5]
    assert tensors["groundtruth_weights"].tolist() == [1, 1, 1]
    assert tensors["groundtruth_area"].tolist() == []


def test_labels_of_images_are_expanded_up_and_denied_ones_down(hierarchy):
    options = {"label_map_proto_file": hierarchy, "expand_hierarchy_labels": True}
    labels = {
        "image__class__label": dataset_util.int64_list_feature([2, 1]),
        "image__class__confidence": dataset_util.float_list_feature([1, 0]),
        "image__object__class__label": dataset_util.int64_list_feature([1, 1]),
    }
    tensors = decode(record(**labels), **options)
    assert tensors["groundtruth_image_classes"].tolist() == [1, 2, 1, 2, 3]
    assert tensors["groundtruth_image_confidences"].tolist() == [1, 1, 0, 0, 0]


def test_what_is_read_besides():
    more = {
        "image__additional_channels__encoded": dataset_util.bytes_list_feature([png(3), png(7)]),
        "image__object__class__multiclass_scores": dataset_util.float_list_feature([0.1, 0.2, 0.3, 0.4]),
        "image__context_features": dataset_util.float_list_feature(range(6)),
        "image__context_feature_length": dataset_util.int64_feature(3),
        "image__object__track__label": dataset_util.int64_list_feature([5, 6]),
    }
    tensors = decode(
        record(**more),
        num_additional_channels=2,
        load_multiclass_scores=True,
        load_context_features=True,
        load_track_id=True,
    )
    channels = tensors["image_additional_channels"]
    assert (channels.shape, channels[0, 0].tolist()) == ((2, 4, 2), [3, 7])
    np.testing.assert_allclose(tensors["multiclass_scores"], [0.1, 0.2, 0.3, 0.4], rtol=1e-6)
    assert tensors["context_features"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensors["context_feature_length"] == 3
    assert tensors["groundtruth_track_ids"].tolist() == [5, 6]


def test_a_constant_in_a_graph():
    """A graph knows then how many values there are; boxes have any number nevertheless."""
    numbers = dataset_util.float_list_feature([0.1, 0.2, 0.3, 0.4])
    serialized = record(image__object__keypoint__x=numbers, image__object__keypoint__y=numbers)
    shapes = {}

    @tf.function
    def decoded():
        tensors = TfExampleDecoder(num_keypoints=2).decode(tf.constant(serialized))
        shapes.update({name: tensor.shape.as_list() for name, tensor in tensors.items()})
        return tensors["groundtruth_keypoints"]

    assert decoded().numpy()[1, 0].tolist() == pytest.approx([0.3, 0.3])
    assert shapes["groundtruth_boxes"] == [None, 4]


def test_masks_in_tf_data():
    masks = dataset_util.bytes_list_feature([png(0), png(255)])
    tensors = decode(record(image__object__mask=masks), load_instance_masks=True, instance_mask_type=2)
    assert tensors["groundtruth_instance_masks"].sum(axis=(1, 2)).tolist() == [0, 8]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"load_instance_masks": True, "instance_mask_type": 9}, ValueError),
        ({"expand_hierarchy_labels": True}, ValueError),
        ({"load_dense_pose": True}, ConfigError),
        ({"load_keypoint_depth_features": True}, ConfigError),
    ],
)
def test_what_is_refused(options, error):
    with pytest.raises(error) as raised:
        TfExampleDecoder(**options)
    assert isinstance(raised.value, ConfigError)
