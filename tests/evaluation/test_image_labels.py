"""Labels of whole images, and hierarchies of classes: from records and the label map to the numbers."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format

from boxtune.config import pipeline_pb2
from boxtune.data.input import Records
from boxtune.data.label_map import Label, LabelMap
from boxtune.errors import ConfigError, DataError
from boxtune.evaluation.evaluator import metric_options
from boxtune.evaluation.extras import Needs, needs_of
from boxtune.evaluation.groundtruth import read_groundtruth
from boxtune.metrics.metric_sets import Options, measure
from image_records import record_of_image, write_records
from image_results import image_result

WHOLE = (0, 0, 1, 1)
CLASSES = LabelMap((Label(1, "cat"), Label(2, "dog"), Label(3, "cow")))
# A cat is an animal; a dog is an animal and a pet.
TREE = LabelMap(
    (
        Label(1, "animal", descendants=(2, 3)),
        Label(2, "cat", ancestors=(1,)),
        Label(3, "dog", ancestors=(1, 4)),
        Label(4, "pet", descendants=(3,)),
    )
)
NUMBERS = itertools.count()


def record(*classes, **labels):
    """Return a record with an object of each of `classes`, and labels such as `class__text`."""
    example = tf.train.Example.FromString(
        record_of_image(f"{next(NUMBERS)}.png", objects=[(WHOLE, number) for number in classes])
    )
    for key, values in labels.items():
        feature = example.features.feature[f"image/{key.replace('__', '/')}"]
        kinds = {bytes: feature.bytes_list, float: feature.float_list, int: feature.int64_list}
        kinds[type(values[0])].value.extend(values)
    return example.SerializeToString()


@pytest.fixture
def read(tmp_path):
    """Return the groundtruth of records; `settings` are those of Needs, apart from label map and hierarchy."""

    def read_all(*serialized, label_map=CLASSES, expand_hierarchy=False, **settings):
        file = write_records(tmp_path / "a.record", serialized)
        records = Records([file], label_map, len(label_map.labels), expand_hierarchy=expand_hierarchy)
        return [
            groundtruth for groundtruth, _ in read_groundtruth(records, needs=Needs(labels=True, **settings))
        ]

    return read_all


def labels_of(groundtruth):
    parts = (groundtruth.present_classes, groundtruth.absent_classes, groundtruth.not_exhaustive_classes)
    return tuple(part if part is None else part.tolist() for part in parts)


class TestLabels:
    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            ({}, (None, None, [])),
            ({"class__label": [2, 3]}, ([1, 2], [], [])),
            ({"class__label": [2, 3], "class__confidence": [0.0, 1.0]}, ([2], [1], [])),
            # Names go before numbers; a zebra says nothing about cats, dogs and cows.
            ({"class__text": [b"dog", b"zebra"], "class__label": [3, 1]}, ([1], [], [])),
            ({"class__label": [0, 4, 1]}, ([0], [], [])),
            ({"neg_category_ids": [3, 9], "not_exhaustive_category_ids": [1]}, ([], [2], [0])),
            ({"not_exhaustive_category_ids": [2]}, (None, None, [1])),
        ],
    )
    def test_of_a_record(self, read, labels, expected):
        (groundtruth,) = read(record(1, **labels))
        assert labels_of(groundtruth) == expected

    def test_that_disagree_with_their_confidences_name_the_record(self, read):
        with pytest.raises(DataError, match=r"a\.record: record 0 .*confidence has 2 values for 1 label"):
            read(record(1, class__label=[1], class__confidence=[1.0, 0.0]))

    def test_an_image_without_labels_may_mean_that_nothing_is_known(self, read):
        (groundtruth,) = read(record(1), all_known=False)
        assert labels_of(groundtruth) == ([], [], [])

    def test_are_not_read_where_nobody_wants_them(self, tmp_path):
        records = Records([write_records(tmp_path / "a.record", [record(1, class__label=[2])])], CLASSES, 3)
        ((groundtruth, _),) = read_groundtruth(records)
        assert labels_of(groundtruth) == (None, None, [])


class TestHierarchy:
    def test_objects_are_of_all_classes_above_theirs(self, read):
        (groundtruth,) = read(record(3, 1), label_map=TREE, expand_hierarchy=True)
        assert groundtruth.groundtruth_classes.tolist() == [0, 2, 3, 0]
        np.testing.assert_array_equal(groundtruth.groundtruth_boxes, [[0, 0, 10, 20]] * 4)

    def test_what_is_seen_rises_and_what_is_not_seen_sinks(self, read):
        labels = {"class__label": [3, 2, 4], "class__confidence": [1.0, 0.0, 0.0]}
        (groundtruth,) = read(record(**labels), label_map=TREE, expand_hierarchy=True)
        # A dog is an animal and a pet, and no pet is no dog: people contradict themselves, and both stand.
        assert labels_of(groundtruth) == ([0, 2, 3], [1, 2, 3], [])

    def test_the_classes_that_are_balanced_are_the_expanded_ones(self, tmp_path):
        file = write_records(tmp_path / "a.record", [record(2), record()])
        records = Records([file], TREE, 4, expand_hierarchy=True)
        assert [classes.tolist() for classes in records.classes] == [[0, 1], []]

    @pytest.mark.parametrize(
        ("label_map", "said"),
        [
            (CLASSES, "the label map has no hierarchy"),
            (LabelMap((Label(1, "cat", ancestors=(7,)),)), "relates class 1 to class 7, which is not there"),
        ],
    )
    def test_a_label_map_without_one(self, read, label_map, said):
        with pytest.raises(DataError, match=said):
            read(record(1), label_map=label_map, expand_hierarchy=True)

    def test_masks_are_not_expanded(self, tmp_path):
        file = write_records(tmp_path / "a.record", [record(1)])
        section = text_format.Parse("metrics_set: 'lvis_mask_metrics'", pipeline_pb2.EvalConfig())
        with pytest.raises(ConfigError, match="masks and keypoints are not"):
            needs_of(section, Records([file], TREE, 4, expand_hierarchy=True))


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("metrics_set: 'coco_detection_metrics'", False),
        ("metrics_set: 'lvis_detection_metrics'", True),
        ("metrics_set: ['coco_detection_metrics', 'oid_challenge_detection_metrics']", True),
        ("skip_predictions_for_unlabeled_class: true", True),
    ],
)
def test_which_metrics_want_them(tmp_path, text, labels):
    records = Records([write_records(tmp_path / "a.record", [record(1)])], CLASSES, 3)
    assert needs_of(text_format.Parse(text, pipeline_pb2.EvalConfig()), records).labels == labels


def test_frequencies_are_those_of_the_label_map(tmp_path):
    label_map = LabelMap((Label(1, "cat", frequency="r"), Label(3, "cow", frequency="f")))
    records = Records([write_records(tmp_path / "a.record", [record(1)])], label_map, 3)
    assert metric_options(pipeline_pb2.EvalConfig(), records.label_map, 3).frequencies == ["r", "", "f"]


def test_lvis_takes_images_without_labels_as_unseen_where_others_have_labels():
    # The dog is found in an image of a cat, before the real one: half of the dogs are wrong, if that image counts.
    names, box = ["cat", "dog"], (0, 0, 10, 10)
    cat = image_result([(box, 0)], [(box, 1, 0.9)], name="cat")
    dog = image_result([(box, 1)], [(box, 1, 0.8)], name="dog")
    labelled = image_result([(box, 1)], [(box, 1, 0.8)], name="dog", absent_classes=np.array([0]))
    key = "DetectionBoxes_PerformanceByCategory/AP/dog"
    options = Options(per_category=True)
    assert measure(["lvis_detection_metrics"], [cat, dog], names, options)[key] == pytest.approx(0.5)
    assert measure(["lvis_detection_metrics"], [cat, labelled], names, options)[key] == pytest.approx(1)
