"""Images with boxes, drawn by hand or at random, for the arithmetic of evaluation."""

import numpy as np

from boxtune.metrics.results import ImageResult

# Boxes [ymin, xmin, ymax, xmax]. A is 100 x 100 pixels; `rows(h)` is its first h rows: their IoU is h / 100.
A, B, FAR = [0, 0, 100, 100], [200, 200, 300, 300], [400, 400, 450, 450]


def rows(height, box=A):
    ymin, xmin, _, xmax = box
    return [ymin, xmin, ymin + height, xmax]


def image(groundtruth=(), found=(), *, name="a.jpg", crowd=(), difficult=(), side=500):
    """An image; `groundtruth` are (box, class), `found` (box, class, score), `crowd`, `difficult` row numbers."""
    n = len(groundtruth)
    return ImageResult(
        name=name,
        height=side,
        width=side,
        groundtruth_boxes=np.array([box for box, _ in groundtruth], np.float32).reshape(-1, 4),
        groundtruth_classes=np.array([cls for _, cls in groundtruth], int),
        is_crowd=np.isin(np.arange(n), crowd),
        difficult=np.isin(np.arange(n), difficult),
        boxes=np.array([box for box, *_ in found], np.float32).reshape(-1, 4),
        classes=np.array([cls for _, cls, _ in found], int),
        scores=np.array([score for *_, score in found], np.float32),
    )


def random_images(seed, number=12, num_classes=3, *, difficult=0.0, most_found=15):
    """Images with near misses, equal scores, crowds, and now and then without objects or detections."""
    chance = np.random.default_rng(seed)
    images = []
    for i in range(number):
        n, k = int(chance.integers(0, 7)), int(chance.integers(0, most_found))
        corners = chance.uniform(0, 100, [n, 2])
        sizes = chance.choice([8, 40, 99], [n, 1]) * chance.uniform(0.7, 1, [n, 2])
        true = np.concatenate([corners, corners + sizes], axis=1)
        near = true[chance.integers(0, n, k)] if n else np.tile([10.0, 10, 60, 70], (k, 1))
        boxes = near + chance.normal(0, 4, [k, 4])
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        images.append(
            ImageResult(
                name=f"{i:03}.jpg",
                height=200,
                width=200,
                groundtruth_boxes=true.astype(np.float32),
                groundtruth_classes=chance.integers(0, num_classes, n),
                is_crowd=chance.random(n) < 0.2,
                difficult=chance.random(n) < difficult,
                boxes=boxes.astype(np.float32),
                classes=chance.integers(0, num_classes + 1, k),
                scores=np.float32(np.round(chance.random(k), 1)),
            )
        )
    return images
