import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from boxtune.errors import DataError
from boxtune.metrics import tables
from boxtune.metrics.analysis import analyse
from boxtune.report.evaluation_json import from_json, to_json
from hand_drawn import FAR, A, B, image, random_images, rows
from image_results import coco_metrics

CLASSES = ["cat", "dog"]
MAP, MAP50 = "DetectionBoxes_Precision/mAP", "DetectionBoxes_Precision/mAP@.50IOU"
NAMES_OF_RANDOM = ["a", "b", "c", "d", "e"]


def drawn():
    """Two cats and a dog: one cat found well, and again; the dog taken for a cat; something invented."""
    return [
        image(
            [(A, 0), (B, 1)],
            [(A, 0, 0.9), (rows(80), 0, 0.8), (B, 0, 0.7), (FAR, 1, 0.6)],
            name="b.jpg",
        ),
        image([(A, 0)], name="a.jpg"),
    ]


def text_of(analysis):
    return json.dumps(to_json(analysis), allow_nan=False)


def test_all_of_two_images():
    document = to_json(
        analyse(drawn(), CLASSES, title="pets", step=7, metrics={MAP: -1.0}, losses={"Loss": 0.5})
    )
    assert (document["version"], document["title"], document["step"]) == (2, "pets", 7)
    assert (document["num_images"], document["num_objects"], document["classes"]) == (2, 3, CLASSES)
    assert (document["metrics"], document["losses"]) == ({MAP: -1}, {"Loss": 0.5})
    assert set(document["intervals"]) == {MAP, MAP50}
    cat, dog = document["per_class"]
    # Of two cats one is found, first: recall 1/2, 51 of 101 points; F1 is 2/3.
    expected = {
        "name": "cat",
        "num_objects": 2,
        "num_detections": 3,
        "AP": 51 / 101,
        "AP50": 51 / 101,
        "AR100": 0.5,
    }
    expected |= {"best_threshold": 0.9, "precision": 1, "recall": 0.5, "f1": 2 / 3}
    assert {key: cat[key] for key in expected} == pytest.approx(expected, abs=1e-6)
    assert cat["AP_interval"] == [0, 1]
    expected = dict.fromkeys(["best_threshold", "precision", "recall", "f1", "AP_interval"])
    assert {key: dog[key] for key in expected} == expected  # in one image, and not found
    assert document["curves"] == [
        {"score": [0.9, 0.8, 0.7], "precision": [1, 0.5, 0.333333], "recall": [0.5, 0.5, 0.5]},
        {"score": [0.6], "precision": [0], "recall": [0]},
    ]
    assert {row["kind"]: row["count"] for row in document["error_kinds"]} == {
        "class": 1,
        "localization": 0,
        "class and localization": 0,
        "duplicate": 1,
        "background": 1,
        "missed": 1,
    }
    assert list(document["groups"]) == ["size", "aspect", "crowding"]
    assert document["calibration"]["error"] == pytest.approx((0.1 + 0.8 + 0.7 + 0.6) / 4)


def test_images_by_name_with_all_that_was_found():
    first, second = to_json(analyse(drawn(), CLASSES, previews={"b.jpg": "data:,"}))["images"]
    assert first == {
        "name": "a.jpg",
        "height": 500,
        "width": 500,
        "preview": None,
        "AP50": 0,
        "groundtruth": {"box": [A], "class": [0], "crowd": [0], "difficult": [0]},
        "detections": {key: [] for key in ("box", "class", "score", "match", "confusion", "kind", "iou")},
    }
    assert (second["name"], second["preview"], second["AP50"]) == ("b.jpg", "data:,", 0.5)
    assert second["detections"] == {
        "box": [A, rows(80), B, FAR],
        "class": [0, 0, 0, 1],
        "score": [0.9, 0.8, 0.7, 0.6],
        "match": [0, -1, -1, -1],
        "confusion": [0, -1, 1, -1],
        "kind": [0, 4, 1, 5],
        "iou": [1, 0.8, 1, 0],
    }


def test_confusion_matrix():
    analysis = analyse(drawn(), CLASSES)
    assert analysis.confusion_matrix().tolist() == [[1, 0, 1], [1, 0, 0], [1, 1, 0]]
    assert analysis.confusion_matrix(0.9).tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 0]]
    assert analysis.confusion_matrix(0.75).tolist() == [[1, 0, 1], [0, 0, 1], [1, 0, 0]]


def test_difficult_objects_count_for_coco_and_ignored_elsewhere():
    one = image([(A, 0), (B, 0)], [(A, 0, 0.9), (B, 0, 0.8)], difficult=[1])
    cat = analyse([one], CLASSES).per_class[0]
    assert (cat.num_objects, cat.best_threshold) == (2, pytest.approx(0.9))
    one = image([(A, 0), (B, 0)], [(A, 0, 0.9)], difficult=[1])
    cat = analyse([one], CLASSES).per_class[0]
    assert (cat.AP50, cat.recall) == (pytest.approx(51 / 101), 1)


@pytest.mark.parametrize("seed", range(4))
def test_classes_average_to_the_headline_numbers(seed):
    images = random_images(seed, difficult=0.2)
    analysis = analyse(images, NAMES_OF_RANDOM)
    measured = coco_metrics(images, 5)
    for key, tag in (("AP", MAP), ("AP50", MAP50), ("AR100", "DetectionBoxes_Recall/AR@100")):
        known = [value for row in analysis.per_class if (value := getattr(row, key)) is not None]
        assert np.mean(known) == pytest.approx(measured[tag], abs=1e-6)
    for tag, (low, high) in analysis.intervals.items():
        assert low <= measured[tag] <= high


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_images_changes_nothing(seed):
    images = random_images(seed, difficult=0.2)
    shuffled = [images[i] for i in np.random.default_rng(seed).permutation(len(images))]
    assert text_of(analyse(images, NAMES_OF_RANDOM)) == text_of(analyse(shuffled, NAMES_OF_RANDOM))


@pytest.mark.parametrize(
    "images",
    [
        [image()],
        [image([(A, 0)])],
        [image(found=[(A, 0, 0.9)])],
        [image([(A, 0)], [(A, 0, 0.9)], crowd=[0])],
        [image([(A, 0)], [(A, 0, 0.9)], difficult=[0])],
        [image([(A, 0)], [(A, 0, 0.9)])],
        [image([([5, 5, 5, 5], 0)], [([5, 5, 5, 5], 0, 0.9)])],
        [image(name="a"), image([(A, 0)], name="b")],
    ],
)
@pytest.mark.parametrize("class_names", [["cat"], ["cat", "dog", "bird"]])
def test_little_or_nothing(images, class_names):
    analysis = analyse(images, class_names)
    read = from_json(json.loads(text_of(analysis)))
    assert [row.name for row in read.per_class] == class_names
    assert all(row.AP is None for row in read.per_class[1:])
    assert read.intervals == {}


def test_no_images_are_an_error():
    with pytest.raises(DataError, match="no images"):
        analyse([], CLASSES)


def test_an_unknown_class_is_an_error():
    with pytest.raises(DataError, match=r"a\.jpg"):
        analyse([image([(A, 2)])], CLASSES)


def test_two_images_of_one_name_are_an_error():
    with pytest.raises(DataError, match=r"a\.jpg"):
        analyse([image(), image()], CLASSES)


def test_a_score_that_is_no_number_is_an_error():
    one = image(found=[(A, 0, 0.5)])
    with pytest.raises(DataError, match=r"a\.jpg"):
        analyse([replace(one, scores=np.float32([np.nan]))], CLASSES)


def test_rows_go_into_a_data_frame_as_they_are():
    analysis = analyse(random_images(0), NAMES_OF_RANDOM)
    for rows_ in (analysis.per_class, analysis.error_kinds, analysis.groups["size"], analysis.images):
        for row in rows_:
            assert all(
                value is None or isinstance(value, str | int | float | tuple)
                for value in asdict(row).values()
            )
    for table in (analysis.groundtruth, analysis.detections):
        assert len({len(column) for column in vars(table).values()}) == 1


def test_memory_of_pairs_is_bounded():
    everything = tables.tabulate(random_images(0, number=2, most_found=400), 4)
    assert all(len(found) < tables._PAIRS_AT_ONCE + 7 for found, _ in tables._candidates(everything, True))
