import contextlib
import io

import numpy as np
import pytest

from boxtune.metrics.coco import NAMES, coco_metrics
from boxtune.metrics.results import ImageResult

MAP, MAP50, MAP75, SMALL, MEDIUM, LARGE, AR1, AR10, AR100, AR_SMALL, AR_MEDIUM, AR_LARGE = NAMES


def result(true=(), found=(), *, crowd=None, side=200):
    """A picture; `true` are (box, class), `found` (box, class, score)."""
    return ImageResult(
        name="",
        height=side,
        width=side,
        true_boxes=np.float32([box for box, _ in true]).reshape(-1, 4),
        true_classes=np.array([cls for _, cls in true], int),
        is_crowd=np.array(crowd if crowd is not None else [False] * len(true), bool),
        boxes=np.float32([box for box, *_ in found]).reshape(-1, 4),
        classes=np.array([cls for _, cls, _ in found], int),
        scores=np.float32([score for *_, score in found]),
    )


# 100 x 100 pixels are large (over 96 x 96), 50 x 50 medium, 20 x 20 small (up to 32 x 32).
BIG, MIDDLE, LITTLE = [0, 0, 100, 100], [100, 100, 150, 150], [160, 0, 180, 20]


def test_everything_found():
    truth = [(BIG, 0), (MIDDLE, 1), (LITTLE, 1)]
    measured = coco_metrics([result(truth, [(box, cls, 0.9) for box, cls in truth])], 2)
    assert list(measured) == list(NAMES)
    expected = dict.fromkeys(NAMES, 1.0)
    # Of class 1 with its two objects one detection finds one: (1 + 1/2) / 2.
    assert measured == pytest.approx(expected | {AR1: 0.75}, abs=1e-6)


def test_nothing_found():
    measured = coco_metrics([result([(BIG, 0)])], 2)
    expected = dict.fromkeys(NAMES, 0.0) | dict.fromkeys([SMALL, MEDIUM, AR_SMALL, AR_MEDIUM], -1.0)
    assert measured == expected


def test_no_truth():
    assert coco_metrics([result(found=[(BIG, 0, 0.9)])], 2) == dict.fromkeys(NAMES, -1.0)


def test_neither():
    assert coco_metrics([result()], 2) == dict.fromkeys(NAMES, -1.0)


def test_the_wrong_class_is_not_found():
    measured = coco_metrics([result([(BIG, 0)], [(BIG, 1, 0.9)])], 2)
    assert (measured[MAP], measured[AR100]) == (0, 0)


def test_an_overlap_counts_up_to_its_own_threshold():
    # 70 of 100 rows: IoU 0.7 passes the thresholds 0.50, 0.55, ..., 0.70: 5 of 10.
    measured = coco_metrics([result([(BIG, 0)], [([0, 0, 70, 100], 0, 0.9)])], 1)
    assert measured[MAP] == pytest.approx(0.5, abs=1e-6)
    assert (measured[MAP50], measured[MAP75]) == (pytest.approx(1), 0)


def test_a_better_scored_mistake_halves_precision():
    measured = coco_metrics([result([(BIG, 0)], [(MIDDLE, 0, 0.9), (BIG, 0, 0.8)])], 1)
    assert measured[MAP] == pytest.approx(0.5, abs=1e-6)
    # The one detection that counts for AR@1 is the mistake.
    assert (measured[AR1], measured[AR10]) == (0, pytest.approx(1))


def test_finding_an_object_twice_is_a_mistake():
    twice = [(BIG, 0, 0.9), (BIG, 0, 0.95)]
    measured = coco_metrics([result([(BIG, 0)], twice), result([(BIG, 0)], [(BIG, 0, 0.5)])], 1)
    # Hit, miss, hit: precision 1 up to half of recall, then 2/3; of 101 points of recall 51 and 50.
    assert measured[MAP] == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-6)


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong():
    crowd = result(
        [(BIG, 0), (MIDDLE, 0)], [([10, 10, 40, 40], 0, 0.9), (MIDDLE, 0, 0.8)], crowd=[True, False]
    )
    assert coco_metrics([crowd], 1)[MAP] == pytest.approx(1, abs=1e-6)
    alone = result([(BIG, 0), (MIDDLE, 0)], [([10, 10, 40, 40], 0, 0.9), (MIDDLE, 0, 0.8)])
    assert coco_metrics([alone], 1)[MAP] == pytest.approx(0.5 * 51 / 101, abs=1e-6)


def test_classes_without_objects_do_not_count():
    picture = result([(BIG, 0)], [(BIG, 0, 0.9), (MIDDLE, 4, 0.95)])
    assert coco_metrics([picture], 90)[MAP] == pytest.approx(1, abs=1e-6)


def test_no_more_than_a_hundred_detections_of_a_picture_count():
    noise = [([150, 150, 160 + i % 7, 160], 0, 0.9) for i in range(100)]
    assert coco_metrics([result([(BIG, 0)], [*noise, (BIG, 0, 0.5)])], 1)[AR100] == 0
    assert coco_metrics([result([(BIG, 0)], [*noise[1:], (BIG, 0, 0.5)])], 1)[AR100] == pytest.approx(1)


def random_results(seed):
    """Pictures with many near misses, equal scores, crowds, and now and then without objects or detections."""
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(12):
        n, k = int(rng.integers(0, 7)), int(rng.integers(0, 15))
        corners = rng.uniform(0, 100, [n, 2])
        true = np.concatenate(
            [corners, corners + rng.choice([8, 40, 99], [n, 1]) * rng.uniform(0.7, 1, [n, 2])], 1
        )
        if n:
            found = true[rng.integers(0, n, k)] + rng.normal(0, 4, [k, 4])
            found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        else:
            found = np.tile([10.0, 10, 60, 70], (k, 1))
        results.append(
            ImageResult(
                name="",
                height=200,
                width=200,
                true_boxes=true.astype(np.float32),
                true_classes=rng.integers(0, 3, n),
                is_crowd=rng.random(n) < 0.2,
                boxes=found.astype(np.float32),
                classes=rng.integers(0, 4, k),
                scores=np.float32(np.round(rng.random(k), 1)),
            )
        )
    return results


def by_pycocotools(results, num_classes):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def xywh(box):
        ymin, xmin, ymax, xmax = (float(side) for side in box)
        return [xmin, ymin, xmax - xmin, ymax - ymin]

    truth = COCO()
    truth.dataset = {
        "images": [{"id": number} for number in range(len(results))],
        "categories": [{"id": number} for number in range(num_classes)],
        "annotations": [
            {
                "image_id": number,
                "category_id": int(cls),
                "bbox": xywh(box),
                "area": float((box[2] - box[0]) * (box[3] - box[1])),
                "iscrowd": int(crowd),
            }
            for number, one in enumerate(results)
            for box, cls, crowd in zip(one.true_boxes, one.true_classes, one.is_crowd, strict=True)
        ],
    }
    for number, annotation in enumerate(truth.dataset["annotations"], start=1):
        annotation["id"] = number
    truth.createIndex()
    found = truth.loadRes(
        [
            {"image_id": number, "category_id": int(cls), "bbox": xywh(box), "score": float(score)}
            for number, one in enumerate(results)
            for box, cls, score in zip(one.boxes, one.classes, one.scores, strict=True)
        ]
    )
    evaluation = COCOeval(truth, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("seed", range(8))
def test_the_numbers_are_those_of_pycocotools(seed):
    results = random_results(seed)
    with contextlib.redirect_stdout(io.StringIO()):
        expected = by_pycocotools(results, 5)
    measured = coco_metrics(results, 5)
    assert measured[MAP] > 0
    np.testing.assert_allclose(list(measured.values()), expected, atol=1e-6)


def test_it_prints_nothing(capfd):
    coco_metrics(random_results(0), 5)
    assert capfd.readouterr().out == ""
