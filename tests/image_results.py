"""Results of images for the tests of metrics: drawn by hand, or by chance."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from boxtune.metrics import masks
from boxtune.metrics.coco import box_metrics
from boxtune.metrics.results import ImageResult


def image_result(
    true: Sequence = (), found: Sequence = (), *, name: str = "", side: int = 200, **parts
) -> ImageResult:
    """An image; `true` are (box, class), `found` (box, class, score)."""
    parts.setdefault("is_crowd", [False] * len(true))
    flags = {
        key: np.array(parts.pop(key), bool) for key in ("is_crowd", "difficult", "group_of") if key in parts
    }
    return ImageResult(
        name=name,
        height=side,
        width=side,
        groundtruth_boxes=np.float32([box for box, _ in true]).reshape(-1, 4),
        groundtruth_classes=np.array([cls for _, cls in true], int),
        boxes=np.float32([box for box, *_ in found]).reshape(-1, 4),
        classes=np.array([cls for _, cls, _ in found], int),
        scores=np.float32([score for *_, score in found]),
        **flags,
        **parts,
    )


def coco_metrics(results: Sequence[ImageResult], num_classes: int) -> dict[str, float]:
    """The twelve numbers of boxes."""
    return box_metrics(results, [str(number) for number in range(num_classes)])


def pixels(mask: masks.Mask) -> np.ndarray:
    """The pixels of a mask, uint8 [h, w]."""
    inside = np.searchsorted(mask.edges, np.arange(mask.height * mask.width), side="right") % 2
    return inside.reshape(mask.width, mask.height).T.astype(np.uint8)


def random_results(seed: int, count: int = 12) -> list[ImageResult]:
    """Images with many near misses, equal scores, crowds, and now and then without objects or detections."""
    rng = np.random.default_rng(seed)
    results = []
    for number in range(count):
        n, k = int(rng.integers(0, 7)), int(rng.integers(0, 15))
        corners = rng.uniform(0, 100, [n, 2])
        sizes = rng.choice([8, 40, 99], [n, 1]) * rng.uniform(0.7, 1, [n, 2])
        true = np.concatenate([corners, corners + sizes], 1)
        if n:
            found = true[rng.integers(0, n, k)] + rng.normal(0, 4, [k, 4])
            found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        else:
            found = np.tile([10.0, 10, 60, 70], (k, 1))
        results.append(
            ImageResult(
                name=f"{number:03}.jpg",
                height=200,
                width=200,
                groundtruth_boxes=true.astype(np.float32),
                groundtruth_classes=rng.integers(0, 3, n),
                is_crowd=rng.random(n) < 0.2,
                difficult=rng.random(n) < 0.2,
                group_of=rng.random(n) < 0.2,
                boxes=found.astype(np.float32),
                classes=rng.integers(0, 4, k),
                scores=np.float32(np.round(rng.random(k), 1)),
            )
        )
    return results


def with_areas(results: list[ImageResult], seed: int) -> list[ImageResult]:
    """With annotated areas, smaller than the boxes; some unknown."""
    rng = np.random.default_rng(seed)
    return [
        replace(one, groundtruth_areas=rng.choice([0, 300, 2000], len(one.groundtruth_classes)))
        for one in results
    ]


def with_masks(results: list[ImageResult], seed: int) -> list[ImageResult]:
    """With a random half of each box's pixels as mask; a few masks without any."""
    rng = np.random.default_rng(seed)
    return [
        replace(one, groundtruth_masks=_blots(one.groundtruth_boxes, rng), masks=_blots(one.boxes, rng))
        for one in results
    ]


def _blots(boxes: np.ndarray, rng: np.random.Generator) -> list[masks.Mask]:
    drawn = []
    for ymin, xmin, ymax, xmax in np.clip(boxes, 0, 200).astype(int):
        array = np.zeros((200, 200), bool)
        array[ymin:ymax, xmin:xmax] = rng.random((ymax - ymin, xmax - xmin)) < rng.choice(
            [0.0, 0.9], p=[0.1, 0.9]
        )
        drawn.append(masks.from_array(array))
    return drawn


def with_keypoints(results: list[ImageResult], seed: int, count: int = 4) -> list[ImageResult]:
    """With points near the middle of each box; some objects have none that is labelled."""
    rng = np.random.default_rng(seed)

    def points(boxes: np.ndarray) -> np.ndarray:
        middles = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
        return middles + rng.normal(0, 3, (len(boxes), count, 2))

    return [
        replace(
            one,
            groundtruth_keypoints=points(one.groundtruth_boxes),
            groundtruth_visibility=rng.integers(0, 3, (len(one.groundtruth_boxes), count))
            * (rng.random((len(one.groundtruth_boxes), 1)) < 0.8),
            keypoints=points(one.boxes),
        )
        for one in results
    ]
