import contextlib
import io

import numpy as np
import pytest

from boxtune.metrics.average_precision import coco_ranking, coco_recall, mean
from boxtune.metrics.matching import THRESHOLDS, judge
from boxtune.metrics.tables import near_pairs, tabulate
from hand_drawn import A, B, image, random_images, rows


def judged(images, num_classes, thresholds=THRESHOLDS):
    everything = tabulate(images, num_classes)
    crowd = everything.groundtruth.crowd
    return everything, judge(everything, near_pairs(everything), np.asarray(thresholds), crowd, crowd), crowd


def precisions(images, num_classes, weights=None, **kwargs):
    weights = None if weights is None else np.array(weights)
    return coco_ranking(*judged(images, num_classes, **kwargs)).average_precision(weights)


def by_pycocotools(images, num_classes):
    """Average precision [10, c] and recall [10, c] of all sizes with a hundred detections, -1 of classes without."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def xywh(box):
        ymin, xmin, ymax, xmax = (float(side) for side in box)
        return [xmin, ymin, xmax - xmin, ymax - ymin]

    annotations = [
        {
            "image_id": number,
            "category_id": int(cls),
            "bbox": xywh(box),
            "area": float((box[2] - box[0]) * (box[3] - box[1])),
            "iscrowd": int(crowd),
        }
        for number, one in enumerate(images)
        for box, cls, crowd in zip(one.groundtruth_boxes, one.groundtruth_classes, one.is_crowd, strict=True)
    ]
    groundtruth = COCO()
    groundtruth.dataset = {
        "images": [{"id": number} for number in range(len(images))],
        "categories": [{"id": number} for number in range(num_classes)],
        "annotations": [{"id": i, **annotation} for i, annotation in enumerate(annotations, start=1)],
    }
    found = [
        {"image_id": number, "category_id": int(cls), "bbox": xywh(box), "score": float(score)}
        for number, one in enumerate(images)
        for box, cls, score in zip(one.boxes, one.classes, one.scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        groundtruth.createIndex()
        evaluation = COCOeval(groundtruth, groundtruth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, :, 0, 2].mean(axis=1), evaluation.eval["recall"][:, :, 0, 2]


@pytest.mark.parametrize("seed", range(12))
def test_average_precision_and_recall_are_those_of_pycocotools(seed):
    images = random_images(seed)
    expected_precision, expected_recall = by_pycocotools(images, 5)
    precision, recall = precisions(images, 5), coco_recall(*judged(images, 5))
    assert np.nanmax(precision) > 0
    np.testing.assert_allclose(np.nan_to_num(precision, nan=-1), expected_precision, atol=1e-9)
    np.testing.assert_allclose(np.nan_to_num(recall, nan=-1), expected_recall, atol=1e-9)


def test_many_detections_of_few_classes_are_as_in_pycocotools():
    images = random_images(5, number=4, num_classes=1, most_found=400)
    assert max(len(one.classes) for one in images) > 200
    np.testing.assert_allclose(precisions(images, 2)[:, :1], by_pycocotools(images, 2)[0][:, :1], atol=1e-9)


def test_the_order_of_images_changes_nothing():
    images = random_images(1)
    np.testing.assert_array_equal(precisions(images, 5), precisions(images[::-1], 5))


def test_an_image_that_is_drawn_twice_counts_as_if_it_were_there_twice():
    from dataclasses import replace

    images = random_images(2)
    weights = [2, 0, 1, 3, 1, 0, 0, 1, 2, 1, 1, 0]
    copies = [
        replace(one, name=f"{one.name} {i}")
        for one, weight in zip(images, weights, strict=True)
        for i in range(weight)
    ]
    np.testing.assert_allclose(precisions(images, 5, weights), precisions(copies, 5), atol=1e-12)


def test_recalls_are_compared_as_floats_as_coco_does():
    # 7 of 20 found: recall 0.35, and the 36th of COCO's recalls is 0.35000000000000003, which it does not reach.
    found = image([(A, 0)] * 1, [(A, 0, 0.9)])
    from dataclasses import replace

    images = [replace(found, name=str(i)) for i in range(7)]
    images += [image([(A, 0)], name=f"missed {i}") for i in range(13)]
    assert precisions(images, 1)[0, 0] == pytest.approx(35 / 101)


def test_a_class_without_objects_has_no_average_precision():
    measured = precisions([image([(A, 0)], [(A, 0, 0.9), (B, 1, 0.8)])], 2)
    assert measured[:, 0].tolist() == pytest.approx([1] * 10)
    assert np.isnan(measured[:, 1]).all()


def test_weights_can_leave_a_class_without_objects():
    images = [image([(A, 0)], [(A, 0, 0.9)], name="a"), image([(A, 1)], name="b")]
    measured = precisions(images, 2, [0, 2])
    assert np.isnan(measured[:, 0]).all()
    assert (measured[:, 1] == 0).all()


def test_no_detections():
    assert (precisions([image([(A, 0)])], 1) == 0).all()


def test_mean():
    assert mean(np.array([0.25, np.nan, 0.75])) == 0.5
    assert mean(np.array([np.nan])) is None
    assert mean(np.zeros(0)) is None


def test_a_higher_threshold_needs_more_overlap():
    # 70 of 100 rows: 0.5, 0.55, ..., 0.7 are reached.
    assert precisions([image([(A, 0)], [(rows(70), 0, 0.9)])], 1)[:, 0].tolist() == pytest.approx(
        [1] * 5 + [0] * 5
    )
