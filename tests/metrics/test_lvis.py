from dataclasses import replace

import numpy as np
import pytest

from boxtune.errors import ConfigError
from boxtune.metrics import lvis
from boxtune.metrics.coco import Options
from boxtune.metrics.lvis import box_metrics, mask_metrics
from image_results import coco_metrics, image_result, random_results, with_masks

A, B = [0, 0, 100, 100], [100, 100, 150, 150]
NAMES = ["ant", "bee", "cow", "dog"]


def ap(*results, names=NAMES, **options):
    return box_metrics(results, names, **options)["DetectionBoxes_AP"]


def test_the_names():
    measured = box_metrics([image_result()], NAMES)
    assert list(measured) == [f"DetectionBoxes_{name}" for name in lvis.NAMES]
    assert set(measured.values()) == {-1}


def test_with_all_classes_known_it_is_coco():
    results = [replace(one, is_crowd=np.zeros(len(one.is_crowd), bool)) for one in random_results(0)]
    coco = list(coco_metrics(results, 4).values())
    measured = list(box_metrics(results, NAMES).values())
    # AP six times; AR of all, small, medium, large.
    np.testing.assert_allclose(measured[:6] + measured[9:], coco[:6] + coco[8:], atol=1e-12)


def test_a_class_counts_where_it_is_known_to_be_or_not_to_be():
    wrong = image_result([(A, 0)], [(A, 0, 0.5), (A, 1, 0.9)], name="a")
    right = image_result([(A, 1)], [(A, 1, 0.5)], name="b")
    known, unknown = (replace(wrong, absent_classes=np.array(classes, int)) for classes in ([1], []))
    assert ap(known, right) == pytest.approx((1 + 1 / 2) / 2)
    assert ap(unknown, right) == pytest.approx(1)


def test_where_a_class_is_not_exhaustive_nothing_is_wrong():
    found = [(B, 0, 0.9), (A, 0, 0.8)]
    exhaustive = image_result([(A, 0)], found)
    assert ap(exhaustive) == pytest.approx(1 / 2)
    assert ap(replace(exhaustive, not_exhaustive_classes=np.array([0]))) == pytest.approx(1)
    assert ap(replace(exhaustive, not_exhaustive_classes=np.array([1]))) == pytest.approx(1 / 2)


def test_three_hundred_detections_of_an_image_count():
    noise = [([150, 150, 160, 160 + i % 7], 1, 0.9) for i in range(300)]
    assert box_metrics([image_result([(A, 0)], [*noise, (A, 0, 0.5)])], NAMES)["DetectionBoxes_AR@300"] == 0
    assert (
        box_metrics([image_result([(A, 0)], [*noise[1:], (A, 0, 0.5)])], NAMES)["DetectionBoxes_AR@300"] == 1
    )


def test_what_has_no_area_is_not_there():
    nothing = [5, 5, 5, 9]
    assert ap(image_result([(A, 0), (nothing, 0)], [(nothing, 0, 0.9), (A, 0, 0.8)])) == pytest.approx(1)


def test_classes_by_their_frequency():
    image = image_result([(A, 0), (A, 1), (A, 2)], [(A, 0, 0.5), (A, 1, 0.5)])
    measured = box_metrics([image], NAMES, Options(frequencies="rrcf", per_category=True))
    assert [measured[f"DetectionBoxes_AP{letter}"] for letter in "rcf"] == pytest.approx([1, 0, -1])
    assert measured["DetectionBoxes_PerformanceByCategory/AP/cow"] == 0
    for bad in ("rrc", "rrcx"):
        with pytest.raises(ConfigError, match="one of r, c, f for each of 4 classes"):
            box_metrics([image], NAMES, Options(frequencies=bad))


def test_masks():
    measured = mask_metrics(with_masks(random_results(0), 0), NAMES)
    assert list(measured) == [f"DetectionMasks_{name}" for name in lvis.NAMES]
    assert 0 < measured["DetectionMasks_AP"] < 1


def test_the_order_of_images_does_not_matter():
    results = random_results(0)
    assert box_metrics(results[::-1], NAMES) == box_metrics(results, NAMES)
