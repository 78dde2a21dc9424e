"""The time and memory of computing metrics, for synthetic results.

Prints for the twelve COCO numbers, the analysis, its JSON, and the comparison of two runs, one after another: seconds
by the clock and of a processor, and the peak of memory of the process so far. The made-up detector finds most objects,
some of them twice, some under another name, and fills up with guesses to `--detections` in each image.

    python benchmarks/evaluation_metrics.py [--images 5000] [--detections 100] [--objects 7] [--classes 80]
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from boxtune.metrics.analysis import analyse
from boxtune.metrics.coco import box_metrics
from boxtune.metrics.comparison import compare
from boxtune.metrics.results import ImageResult
from boxtune.report.evaluation_json import to_json

SIDE = 640


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100)
    parser.add_argument("--objects", type=int, default=7, help="per image, on average")
    parser.add_argument("--classes", type=int, default=80)
    options = parser.parse_args()
    names = [f"class {number}" for number in range(options.classes)]
    first, second = (
        made_up_results(options.images, options.detections, options.objects, options.classes, seed)
        for seed in (1, 2)
    )
    print(f"{options.images} images x {options.detections} detections, {options.classes} classes")
    show_peak("made-up results, twice")
    timed("the twelve COCO numbers", lambda: box_metrics(first, names))
    analysis = timed("analysis", lambda: analyse(first, names))
    timed("analysis to JSON text", lambda: json.dumps(to_json(analysis)))
    timed("comparison", lambda: compare(first, second, names))


def made_up_results(
    num_images: int, num_detections: int, num_objects: int, num_classes: int, seed: int
) -> list[ImageResult]:
    """Return results with the same groundtruth for every `seed`, and detections that depend on it."""
    truth, chance = np.random.default_rng(0), np.random.default_rng(seed)
    results = []
    for number in range(num_images):
        n = int(truth.poisson(num_objects))
        groundtruth_boxes, groundtruth_classes = random_boxes(truth, n), truth.integers(0, num_classes, n)
        boxes, classes, scores = made_up_detections(
            chance, groundtruth_boxes, groundtruth_classes, num_detections, num_classes
        )
        results.append(
            ImageResult(
                name=f"{number:06}.jpg",
                height=SIDE,
                width=SIDE,
                groundtruth_boxes=groundtruth_boxes,
                groundtruth_classes=groundtruth_classes,
                is_crowd=truth.random(n) < 0.02,
                boxes=boxes,
                classes=classes,
                scores=scores,
            )
        )
    return results


def made_up_detections(
    chance: np.random.Generator,
    groundtruth_boxes: np.ndarray,
    groundtruth_classes: np.ndarray,
    k: int,
    num_classes: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes [k, 4], classes [k] and scores [k]: about two near each object, the others anywhere."""
    near = chance.integers(0, max(len(groundtruth_boxes), 1), min(2 * len(groundtruth_boxes), k))
    sizes = np.tile(groundtruth_boxes[near, 2:] - groundtruth_boxes[near, :2], 2)
    around = groundtruth_boxes[near] + chance.normal(0, 0.08, [len(near), 4]) * sizes
    around[:, 2:] = np.maximum(around[:, 2:], around[:, :2] + 1)
    guesses = k - len(near)
    named = np.where(
        chance.random(len(near)) < 0.85, groundtruth_classes[near], chance.integers(0, num_classes, len(near))
    )
    return (
        np.concatenate([around, random_boxes(chance, guesses)]).astype(np.float32),
        np.concatenate([named, chance.integers(0, num_classes, guesses)]),
        np.concatenate([chance.beta(4, 2, len(near)), chance.beta(1, 8, guesses)]).astype(np.float32),
    )


def random_boxes(chance: np.random.Generator, n: int) -> np.ndarray:
    """Return float32 [n, 4]: boxes of all sizes in an image of SIDE x SIDE pixels."""
    sizes = np.exp(chance.uniform(np.log(10), np.log(400), [n, 2]))
    corners = chance.random([n, 2]) * (SIDE - sizes)
    return np.concatenate([corners, corners + sizes], axis=1).astype(np.float32)


def timed(what: str, work: Callable[[], Any]) -> Any:
    """Do `work`, print its time, and return its result."""
    started, worked = time.perf_counter(), time.process_time()
    result = work()
    seconds, of_processor = time.perf_counter() - started, time.process_time() - worked
    show_peak(f"{what}: {seconds:.2f} s ({of_processor:.2f} s of a processor)")
    return result


def show_peak(what: str) -> None:
    """Print `what` and the peak of memory so far."""
    print(f"{what:<64} peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
