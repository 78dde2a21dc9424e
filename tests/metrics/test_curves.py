import contextlib
import io

import numpy as np
import pytest

from boxtune.metrics.coco import THRESHOLDS
from boxtune.metrics.curves import best_threshold, coco_ranking, curve, curves, mean, thinned
from boxtune.metrics.matches import match, outcomes, overlaps, pool
from hand_drawn import FAR, A, B, image_result, random_results, rows


def ranking(pictures, num_classes, thresholds=THRESHOLDS):
    everything = pool(pictures, num_classes)
    crowd = everything.truth.crowd
    matched = match(everything, overlaps(everything), np.asarray(thresholds), crowd, crowd)
    return coco_ranking(everything, outcomes(matched, crowd), crowd)


def precisions(pictures, num_classes, weights=None, **kwargs):
    weights = np.ones(len(pictures), int) if weights is None else np.array(weights)
    return ranking(pictures, num_classes, **kwargs).average_precision(weights)


def by_pycocotools(pictures, num_classes):
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
        for number, one in enumerate(pictures)
        for box, cls, crowd in zip(one.true_boxes, one.true_classes, one.is_crowd, strict=True)
    ]
    truth = COCO()
    truth.dataset = {
        "images": [{"id": number} for number in range(len(pictures))],
        "categories": [{"id": number} for number in range(num_classes)],
        "annotations": [{"id": i, **annotation} for i, annotation in enumerate(annotations, start=1)],
    }
    found = [
        {"image_id": number, "category_id": int(cls), "bbox": xywh(box), "score": float(score)}
        for number, one in enumerate(pictures)
        for box, cls, score in zip(one.boxes, one.classes, one.scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, :, 0, 2].mean(axis=1), evaluation.eval["recall"][:, :, 0, 2]


@pytest.mark.parametrize("seed", range(12))
def test_average_precision_and_recall_are_those_of_pycocotools(seed):
    pictures = random_results(seed)
    expected_precision, expected_recall = by_pycocotools(pictures, 5)
    measured = ranking(pictures, 5)
    once = np.ones(len(pictures), int)
    precision, recall = measured.average_precision(once), measured.recall(once)
    assert np.nanmax(precision) > 0
    np.testing.assert_allclose(np.nan_to_num(precision, nan=-1), expected_precision, atol=1e-9)
    np.testing.assert_allclose(np.nan_to_num(recall, nan=-1), expected_recall, atol=1e-9)


def test_many_detections_of_few_classes_are_as_in_pycocotools():
    pictures = random_results(5, number=4, num_classes=1, most_found=400)
    assert max(len(one.classes) for one in pictures) > 200
    np.testing.assert_allclose(
        precisions(pictures, 2)[:, :1], by_pycocotools(pictures, 2)[0][:, :1], atol=1e-9
    )


def test_the_order_of_pictures_changes_nothing():
    pictures = random_results(1)
    np.testing.assert_array_equal(precisions(pictures, 5), precisions(pictures[::-1], 5))


def test_a_picture_that_is_drawn_twice_counts_as_if_it_were_there_twice():
    from dataclasses import replace

    pictures = random_results(2)
    weights = [2, 0, 1, 3, 1, 0, 0, 1, 2, 1, 1, 0]
    copies = [
        replace(one, name=f"{one.name} {i}")
        for one, weight in zip(pictures, weights, strict=True)
        for i in range(weight)
    ]
    np.testing.assert_allclose(precisions(pictures, 5, weights), precisions(copies, 5), atol=1e-12)


def test_recalls_are_compared_as_floats_as_coco_does():
    # 7 of 20 found: recall 0.35, and the 36th of COCO's recalls is 0.35000000000000003, which it does not reach.
    found = image_result([(A, 0)] * 1, [(A, 0, 0.9)])
    from dataclasses import replace

    pictures = [replace(found, name=str(i)) for i in range(7)]
    pictures += [image_result([(A, 0)], name=f"missed {i}") for i in range(13)]
    assert precisions(pictures, 1)[0, 0] == pytest.approx(35 / 101)


def test_a_class_without_objects_has_no_average_precision():
    measured = precisions([image_result([(A, 0)], [(A, 0, 0.9), (B, 1, 0.8)])], 2)
    assert measured[:, 0].tolist() == pytest.approx([1] * 10)
    assert np.isnan(measured[:, 1]).all()


def test_weights_can_leave_a_class_without_objects():
    pictures = [image_result([(A, 0)], [(A, 0, 0.9)], name="a"), image_result([(A, 1)], name="b")]
    measured = precisions(pictures, 2, [0, 2])
    assert np.isnan(measured[:, 0]).all()
    assert (measured[:, 1] == 0).all()


def test_no_detections():
    assert (precisions([image_result([(A, 0)])], 1) == 0).all()


def test_mean():
    assert mean(np.array([0.25, np.nan, 0.75])) == 0.5
    assert mean(np.array([np.nan])) is None
    assert mean(np.zeros(0)) is None


def test_curve():
    # Right, wrong, right of 4 objects.
    drawn = curve(np.array([0.3, 0.9, 0.6]), np.array([True, True, False]), 4)
    assert drawn.score.tolist() == [0.9, 0.6, 0.3]
    assert drawn.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert drawn.recall.tolist() == [0.25, 0.25, 0.5]
    # 2 p r / (p + r)
    assert drawn.f1.tolist() == pytest.approx([0.4, 1 / 3, 4 / 7])


def test_equal_scores_come_in_together():
    drawn = curve(np.array([0.5, 0.5, 0.5]), np.array([True, False, True]), 2)
    assert (drawn.score.tolist(), drawn.recall.tolist()) == ([0.5], [1])
    assert drawn.precision.tolist() == pytest.approx([2 / 3])


def test_best_threshold():
    best = best_threshold(curve(np.array([0.9, 0.6, 0.3]), np.array([True, False, True]), 4))
    assert (best.score, best.recall) == (0.3, 0.5)
    assert (best.precision, best.f1) == pytest.approx((2 / 3, 4 / 7))


def test_of_equal_f1_the_higher_threshold_is_best():
    # F1 is 2 hits / (found + objects): 2/3 after the first, 4/6 after the fourth.
    best = best_threshold(curve(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, False, True]), 2))
    assert best.score == 0.9


@pytest.mark.parametrize(("right", "objects"), [([False], 3), ([], 3), ([False], 0)])
def test_no_threshold_where_nothing_right_is_found(right, objects):
    drawn = curve(np.full(len(right), 0.5), np.array(right, bool), objects)
    assert best_threshold(drawn) is None


def test_curves_leave_out_the_ignored():
    one = image_result([(A, 0), (B, 1)], [(A, 0, 0.9), (B, 1, 0.8), (FAR, 0, 0.7)], difficult=[0])
    everything = pool([one], 3)
    unwanted = everything.truth.unwanted
    matched = match(everything, overlaps(everything), np.array([0.5]), unwanted, unwanted)
    first, second, third = curves(everything, outcomes(matched, unwanted)[0], unwanted)
    assert len(first.score) == 0  # its only object is difficult
    assert (second.score.tolist(), second.precision.tolist()) == (pytest.approx([0.8]), [1])
    assert len(third.score) == 0


def test_thinned_keeps_ends_and_best():
    chance = np.random.default_rng(0)
    score = np.sort(chance.random(5000))[::-1]
    whole = curve(score, chance.random(5000) < score**2, 2000)
    thin = thinned(whole)
    assert 100 < len(thin.score) <= 200
    assert (thin.score[0], thin.score[-1]) == (whole.score[0], whole.score[-1])
    assert best_threshold(thin) == best_threshold(whole)
    assert np.diff(thin.recall).max() < 0.02
    assert (np.diff(thin.score) < 0).all()


def test_short_curves_stay():
    short = curve(np.array([0.9, 0.6]), np.array([True, False]), 1)
    assert thinned(short) is short


def test_a_higher_threshold_needs_more_overlap():
    # 70 of 100 rows: 0.5, 0.55, ..., 0.7 are reached.
    assert precisions([image_result([(A, 0)], [(rows(70), 0, 0.9)])], 1)[:, 0].tolist() == pytest.approx(
        [1] * 5 + [0] * 5
    )
