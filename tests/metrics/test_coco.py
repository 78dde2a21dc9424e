import contextlib
import dataclasses
import io

import numpy as np
import pytest
from pycocotools.mask import encode

from boxtune.errors import ConfigError
from boxtune.metrics.coco import (
    KEYPOINT_NAMES,
    NAMES,
    KeypointClass,
    Options,
    box_metrics,
    keypoint_metrics,
    mask_metrics,
)
from boxtune.metrics.masks import area
from boxtune.metrics.results import ImageResult
from image_results import (
    coco_metrics,
    image_result,
    pixels,
    random_results,
    with_areas,
    with_keypoints,
    with_masks,
)

MAP, MAP50, MAP75, SMALL, MEDIUM, LARGE, AR1, AR10, AR100, AR_SMALL, AR_MEDIUM, AR_LARGE = NAMES


# 100 x 100 pixels are large (over 96 x 96), 50 x 50 medium, 20 x 20 small (up to 32 x 32).
BIG, MIDDLE, LITTLE = [0, 0, 100, 100], [100, 100, 150, 150], [160, 0, 180, 20]


def test_everything_found():
    groundtruth = [(BIG, 0), (MIDDLE, 1), (LITTLE, 1)]
    measured = coco_metrics([image_result(groundtruth, [(box, cls, 0.9) for box, cls in groundtruth])], 2)
    assert list(measured) == list(NAMES)
    expected = dict.fromkeys(NAMES, 1.0)
    # Of class 1 with its two objects one detection finds one: (1 + 1/2) / 2.
    assert measured == pytest.approx(expected | {AR1: 0.75}, abs=1e-6)


def test_nothing_found():
    measured = coco_metrics([image_result([(BIG, 0)])], 2)
    expected = dict.fromkeys(NAMES, 0.0) | dict.fromkeys([SMALL, MEDIUM, AR_SMALL, AR_MEDIUM], -1.0)
    assert measured == expected


def test_no_groundtruth():
    assert coco_metrics([image_result(found=[(BIG, 0, 0.9)])], 2) == dict.fromkeys(NAMES, -1.0)


def test_neither():
    assert coco_metrics([image_result()], 2) == dict.fromkeys(NAMES, -1.0)


def test_the_wrong_class_is_not_found():
    measured = coco_metrics([image_result([(BIG, 0)], [(BIG, 1, 0.9)])], 2)
    assert (measured[MAP], measured[AR100]) == (0, 0)


def test_an_overlap_counts_up_to_its_own_threshold():
    # 70 of 100 rows: IoU 0.7 passes the thresholds 0.50, 0.55, ..., 0.70: 5 of 10.
    measured = coco_metrics([image_result([(BIG, 0)], [([0, 0, 70, 100], 0, 0.9)])], 1)
    assert measured[MAP] == pytest.approx(0.5, abs=1e-6)
    assert (measured[MAP50], measured[MAP75]) == (pytest.approx(1), 0)


def test_a_better_scored_mistake_halves_precision():
    measured = coco_metrics([image_result([(BIG, 0)], [(MIDDLE, 0, 0.9), (BIG, 0, 0.8)])], 1)
    assert measured[MAP] == pytest.approx(0.5, abs=1e-6)
    # The one detection that counts for AR@1 is the mistake.
    assert (measured[AR1], measured[AR10]) == (0, pytest.approx(1))


def test_finding_an_object_twice_is_a_mistake():
    twice = [(BIG, 0, 0.9), (BIG, 0, 0.95)]
    measured = coco_metrics([image_result([(BIG, 0)], twice), image_result([(BIG, 0)], [(BIG, 0, 0.5)])], 1)
    # Hit, miss, hit: precision 1 up to half of recall, then 2/3; of 101 points of recall 51 and 50.
    assert measured[MAP] == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-6)


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong():
    crowd = image_result(
        [(BIG, 0), (MIDDLE, 0)], [([10, 10, 40, 40], 0, 0.9), (MIDDLE, 0, 0.8)], is_crowd=[True, False]
    )
    assert coco_metrics([crowd], 1)[MAP] == pytest.approx(1, abs=1e-6)
    alone = image_result([(BIG, 0), (MIDDLE, 0)], [([10, 10, 40, 40], 0, 0.9), (MIDDLE, 0, 0.8)])
    assert coco_metrics([alone], 1)[MAP] == pytest.approx(0.5 * 51 / 101, abs=1e-6)


def test_classes_without_objects_do_not_count():
    image = image_result([(BIG, 0)], [(BIG, 0, 0.9), (MIDDLE, 4, 0.95)])
    assert coco_metrics([image], 90)[MAP] == pytest.approx(1, abs=1e-6)


def test_no_more_than_a_hundred_detections_of_an_image_count():
    noise = [([150, 150, 160 + i % 7, 160], 0, 0.9) for i in range(100)]
    assert coco_metrics([image_result([(BIG, 0)], [*noise, (BIG, 0, 0.5)])], 1)[AR100] == 0
    assert coco_metrics([image_result([(BIG, 0)], [*noise[1:], (BIG, 0, 0.5)])], 1)[AR100] == pytest.approx(1)


def xywh(box):
    ymin, xmin, ymax, xmax = (float(side) for side in box)
    return [xmin, ymin, xmax - xmin, ymax - ymin]


def as_coco(mask):
    return encode(np.asfortranarray(pixels(mask)))


def points(keypoints, visibility):
    return [
        value
        for (y, x), v in zip(keypoints, visibility, strict=True)
        for value in (float(x), float(y), int(v))
    ]


def true_annotations(number, one: ImageResult):
    for row, box in enumerate(one.groundtruth_boxes):
        area = float(one.groundtruth_areas[row]) or float((box[2] - box[0]) * (box[3] - box[1]))
        item = {
            "image_id": number,
            "category_id": int(one.groundtruth_classes[row]),
            "bbox": xywh(box),
            "area": area,
        }
        item["iscrowd"] = int(one.is_crowd[row])
        if one.groundtruth_masks is not None:
            item["segmentation"] = as_coco(one.groundtruth_masks[row])
        if one.groundtruth_keypoints is not None:
            item["keypoints"] = points(one.groundtruth_keypoints[row], one.groundtruth_visibility[row])
            item["num_keypoints"] = int((one.groundtruth_visibility[row] > 0).sum())
        yield item


def found_annotations(number, one: ImageResult):
    for row, box in enumerate(one.boxes):
        item = {"image_id": number, "category_id": int(one.classes[row]), "score": float(one.scores[row])}
        item["bbox"] = xywh(box)
        item["area"] = item["bbox"][2] * item["bbox"][3]
        if one.masks is not None:
            item |= {"segmentation": as_coco(one.masks[row]), "area": area(one.masks[row])}
        if one.keypoints is not None:
            item["keypoints"] = points(one.keypoints[row], [1] * len(one.keypoints[row]))
        yield item | {"iscrowd": 0}


def by_pycocotools(results, num_classes, kind="bbox", only=None, sigmas=None):
    """The numbers of the public evaluator; `only` these classes."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def data(annotations):
        coco, listed = COCO(), []
        for number, one in enumerate(results):
            listed += annotations(number, one)
        coco.dataset = {
            "images": [{"id": number, "height": 200, "width": 200} for number in range(len(results))],
            "categories": [{"id": number} for number in range(num_classes)],
            "annotations": [item | {"id": place} for place, item in enumerate(listed, start=1)],
        }
        coco.createIndex()
        return coco

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(data(true_annotations), data(found_annotations), kind)
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        if only is not None:
            evaluation.params.catIds = only
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("seed", range(8))
def test_the_numbers_are_those_of_pycocotools(seed):
    results = random_results(seed)
    if seed % 2:
        results = with_areas(results, seed)
    measured = coco_metrics(results, 5)
    assert measured[MAP] > 0
    np.testing.assert_allclose(list(measured.values()), by_pycocotools(results, 5), atol=1e-6)


CLASSES = ["ant", "bee", "cow", "dog", "eel"]


def test_each_class_as_pycocotools_has_it():
    results = random_results(1, 20)
    measured = box_metrics(results, CLASSES, Options(per_category=True, all_per_category=True))
    for index, name in enumerate(CLASSES):
        expected = by_pycocotools(results, 5, only=[index])
        numbers = [measured[f"{tag} ByCategory/{name}"] for tag in NAMES]
        np.testing.assert_allclose(numbers, expected, atol=1e-6)
        assert measured[f"DetectionBoxes_PerformanceByCategory/mAP/{name}"] == numbers[0]
    assert measured["DetectionBoxes_PerformanceByCategory/mAP/ant"] > 0
    assert measured["DetectionBoxes_PerformanceByCategory/mAP/eel"] == -1


def test_classes_are_added_as_asked():
    results = random_results(1)
    few = box_metrics(results, CLASSES)
    some = box_metrics(results, CLASSES, Options(per_category=True))
    assert list(few) == list(NAMES)
    assert list(some)[12:] == [f"DetectionBoxes_PerformanceByCategory/mAP/{name}" for name in CLASSES]


def test_super_categories():
    results = random_results(1)
    groups = {"insects": ["ant", "bee"], "fish": ["eel"]}
    measured = box_metrics(
        results, CLASSES, Options(per_category=True, all_per_category=True, super_categories=groups)
    )
    ant, bee = (measured[f"DetectionBoxes_PerformanceByCategory/mAP/{name}"] for name in CLASSES[:2])
    assert measured["DetectionBoxes_PerformanceBySuperCategory/insects"] == pytest.approx((ant + bee) / 2)
    assert measured["DetectionBoxes_Precision/mAP BySuperCategory/insects"] == pytest.approx((ant + bee) / 2)
    assert measured["DetectionBoxes_PerformanceBySuperCategory/fish"] == -1
    with pytest.raises(ConfigError, match='"insects" has the class "wasp"'):
        box_metrics(results, CLASSES, Options(per_category=True, super_categories={"insects": ["wasp"]}))


@pytest.mark.parametrize("seed", range(3))
def test_masks_as_pycocotools_has_them(seed):
    results = with_areas(with_masks(random_results(seed), seed), seed)
    measured = mask_metrics(results, CLASSES)
    assert list(measured) == [name.replace("Boxes", "Masks") for name in NAMES]
    assert measured["DetectionMasks_Precision/mAP"] > 0
    np.testing.assert_allclose(list(measured.values()), by_pycocotools(results, 5, "segm"), atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_keypoints_as_pycocotools_has_them(seed):
    sigmas = [0.1, 0.2, 0.4, 0.8]
    results = with_areas(with_keypoints(random_results(seed, 50), seed), seed)
    measured = keypoint_metrics(results, CLASSES, KeypointClass(1, sigmas))
    assert list(measured) == [f"Keypoints_{name} ByCategory/bee" for name in KEYPOINT_NAMES]
    expected = by_pycocotools(results, 5, "keypoints", [1], sigmas)
    assert max(expected) > 0
    np.testing.assert_allclose(list(measured.values()), expected, atol=1e-6)


def test_a_class_may_have_some_of_the_keypoints():
    results = with_keypoints(random_results(0, 20), 0)
    two = keypoint_metrics(results, CLASSES, KeypointClass(1, [0.2, 0.1], points=[2, 0]))
    cut = [
        dataclasses.replace(
            one,
            groundtruth_keypoints=one.groundtruth_keypoints[:, [2, 0]],
            groundtruth_visibility=one.groundtruth_visibility[:, [2, 0]],
            keypoints=one.keypoints[:, [2, 0]],
        )
        for one in results
    ]
    assert two == keypoint_metrics(cut, CLASSES, KeypointClass(1, [0.2, 0.1]))


def test_places_of_keypoints_that_are_not_labelled_do_not_matter():
    results = with_keypoints(random_results(0, 20), 0)
    person = KeypointClass(1, [0.1] * 4)
    expected = keypoint_metrics(results, CLASSES, person)
    for one in results:
        one.groundtruth_keypoints[one.groundtruth_visibility == 0] = np.nan
    assert keypoint_metrics(results, CLASSES, person) == expected


def test_the_annotated_area_decides_the_size():
    image = image_result([(BIG, 0)], [(BIG, 0, 0.9)], groundtruth_areas=np.array([900.0]))
    measured = coco_metrics([image], 1)
    assert (measured[SMALL], measured[LARGE]) == (pytest.approx(1), -1)


def test_the_order_of_images_does_not_matter():
    results = random_results(3)
    backwards = box_metrics(results[::-1], CLASSES, Options(per_category=True))
    assert backwards == box_metrics(results, CLASSES, Options(per_category=True))
    # It would, were it not for their names: of equal scores the first counts first.
    renamed = [dataclasses.replace(one, name=f"{99 - i}") for i, one in enumerate(results)]
    assert box_metrics(renamed, CLASSES, Options(per_category=True)) != backwards


def test_beyond_a_hundred_detections_of_an_image_nothing_is_wrong():
    noise = [([150, 150, 160 + i % 7, 160], 0, 0.8) for i in range(100)]
    crowded = image_result([(BIG, 0)], [(BIG, 0, 0.9), *noise], name="a")
    other = image_result([(BIG, 0)], [(BIG, 0, 0.1)], name="b")
    # Right, 99 times wrong, right: the hundredth mistake does not count.
    assert coco_metrics([crowded, other], 1)[MAP] == pytest.approx((51 + 50 * 2 / 101) / 101, abs=1e-9)
