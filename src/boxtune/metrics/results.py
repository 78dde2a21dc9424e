"""What a detector found in each image, beside the groundtruth; and what an evaluation says of all."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from boxtune.errors import DataError, many
from boxtune.metrics.masks import Mask

Boxes = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]
Classes = npt.NDArray[np.integer]

_MANY = 5


@dataclass(frozen=True)
class ImageResult:
    """The groundtruth and detections of an image; boxes `[ymin, xmin, ymax, xmax]` in pixels, classes 0-based.

    Keypoints are `[y, x]` in pixels with COCO's visibility: 0 not labelled, 1 hidden, 2 visible. Masks cover the whole
    image; an object without one has a mask without pixels. `present_classes` and `absent_classes` are labels of the
    whole image: classes known to be in it and known not to be. With either, a class of neither and without an
    object is unknown; with neither, every class was looked for. Of `not_exhaustive_classes` some objects are marked
    and some may not be.
    """

    name: str
    height: int
    width: int
    groundtruth_boxes: Boxes  # [n, 4]
    groundtruth_classes: Classes  # [n]
    is_crowd: Flags  # [n]
    boxes: Boxes = field(default_factory=lambda: np.zeros((0, 4), np.float32))  # [k, 4]
    classes: Classes = field(default_factory=lambda: np.zeros(0, np.int32))  # [k]
    scores: npt.NDArray[np.floating] = field(default_factory=lambda: np.zeros(0, np.float32))  # [k]
    difficult: Flags = field(default_factory=lambda: np.zeros(0, bool))  # [n], or empty: none of them is
    group_of: Flags = field(default_factory=lambda: np.zeros(0, bool))  # [n], or empty: none of them is
    groundtruth_areas: npt.NDArray[np.floating] = field(default_factory=lambda: np.zeros(0))
    """[n] as annotated; 0, or empty: the box's."""
    groundtruth_masks: Sequence[Mask] | None = None  # n
    masks: Sequence[Mask] | None = None  # k
    groundtruth_keypoints: npt.NDArray[np.floating] | None = None  # [n, p, 2]
    groundtruth_visibility: npt.NDArray[np.integer] | None = None  # [n, p]; None: all visible
    keypoints: npt.NDArray[np.floating] | None = None  # [k, p, 2]
    present_classes: Classes | None = None
    absent_classes: Classes | None = None
    not_exhaustive_classes: Classes = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        for name in ("difficult", "group_of"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.zeros(len(self.groundtruth_classes), bool))
        if not len(self.groundtruth_areas):
            object.__setattr__(self, "groundtruth_areas", np.zeros(len(self.groundtruth_classes)))


Results = Sequence[ImageResult]
"""What was found in some images."""

Numbers = dict[str, float]
"""Metrics by the API's tags; -1 where no object counts."""


@dataclass(frozen=True)
class Example:
    """What was found in an image, and the image as the model took it."""

    result: ImageResult
    image: npt.NDArray[np.uint8]  # [h, w, 3]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The numbers of an evaluation by the API's names, what they were computed of, and some images to show."""

    metrics: Numbers
    losses: Numbers = field(default_factory=dict)
    results: Results = field(repr=False)
    class_names: Sequence[str]
    """By 0-based class."""
    step: int = 0
    """After how many steps of training; 0 where nobody knows."""
    seconds: float
    how: str = ""
    """The images were looked at, if not each as a whole."""
    examples: Sequence[Example] = field(default=(), repr=False)

    @property
    def values(self) -> Numbers:
        """Metrics and losses in one."""
        return self.metrics | self.losses

    @property
    def num_images(self) -> int:
        """How many images there are."""
        return len(self.results)

    @property
    def num_objects(self) -> int:
        """How many objects there are in them."""
        return sum(len(result.groundtruth_classes) for result in self.results)


def known_classes(result: ImageResult) -> Classes | None:
    """Return the classes whose presence in the image is known, sorted, or None if that is so for all."""
    if result.present_classes is None and result.absent_classes is None:
        return None
    labels = [part for part in (result.present_classes, result.absent_classes) if part is not None]
    return np.unique(np.concatenate([result.groundtruth_classes, *labels]).astype(np.int64))


def without_unknown_classes(result: ImageResult) -> ImageResult:
    """Return the result without detections of classes whose presence in the image is not known."""
    known = known_classes(result)
    return (
        result if known is None else select_detections(result, np.flatnonzero(np.isin(result.classes, known)))
    )


def select_detections(result: ImageResult, rows: npt.NDArray[np.integer]) -> ImageResult:
    """Return the result with the detections of `rows` only, in that order."""
    return replace(
        result,
        boxes=result.boxes[rows],
        classes=result.classes[rows],
        scores=result.scores[rows],
        masks=None if result.masks is None else [result.masks[row] for row in rows.tolist()],
        keypoints=None if result.keypoints is None else result.keypoints[rows],
    )


def check_results(results: Results, num_classes: int) -> None:
    """Raise DataError, naming image and value, for results that no metric can be computed of.

    That is: no images, two of the same name, arrays whose lengths disagree, coordinates, areas or scores that are not
    finite, boxes with their minimum above their maximum, and classes outside of 0 to `num_classes` - 1.
    """
    if not results:
        raise DataError("there are no images to evaluate: check the input path of the evaluation.")
    times = Counter(result.name for result in results)
    if twice := [repr(name) for name, count in times.items() if count > 1]:
        raise DataError(
            f"{many(len(twice), 'image')} evaluated twice, such as {', '.join(twice[:_MANY])}: each needs a name of "
            "its own."
        )
    for result in results:
        _check_lengths(result)
        _check_boxes(result, "object", result.groundtruth_boxes)
        _check_boxes(result, "detection", result.boxes)
        _check_classes(result, num_classes)
        _check_numbers(result)


def _check_lengths(result: ImageResult) -> None:
    n, k = len(result.groundtruth_classes), len(result.classes)
    shapes: dict[str, tuple[int, ...]] = {"groundtruth_boxes": (n, 4)}
    of_objects = ("groundtruth_classes", "is_crowd", "difficult", "group_of", "groundtruth_areas")
    shapes |= dict.fromkeys(of_objects, (n,)) | {"boxes": (k, 4), "classes": (k,), "scores": (k,)}
    for name, shape in shapes.items():
        _check_shape(result, name, shape)
    for name, count in (("groundtruth_masks", n), ("masks", k)):
        masks = getattr(result, name)
        if masks is not None and len(masks) != count:
            raise DataError(f"{result.name}: there are {len(masks)} {name}, not {count}.")
        for mask in masks or ():
            if (mask.height, mask.width) != (result.height, result.width):
                raise DataError(
                    f"{result.name}: one of its {name} is {mask.height} x {mask.width} pixels, "
                    f"the image {result.height} x {result.width}."
                )
    given = [
        part for part in (result.groundtruth_keypoints, result.keypoints) if part is not None and len(part)
    ]
    points = len(given[0][0]) if given else 0
    for name, shape in (
        ("groundtruth_keypoints", (n, points, 2)),
        ("groundtruth_visibility", (n, points)),
        ("keypoints", (k, points, 2)),
    ):
        if getattr(result, name) is not None and len(getattr(result, name)):
            _check_shape(result, name, shape)


def _check_shape(result: ImageResult, name: str, shape: tuple[int, ...]) -> None:
    array = getattr(result, name)
    if array.shape != shape:
        raise DataError(f"{result.name}: {name} are of shape {array.shape}, not {shape}.")


def _check_boxes(result: ImageResult, what: str, boxes: Boxes) -> None:
    finite = np.asarray(np.isfinite(boxes).all(axis=1))
    ordered = (boxes[:, 0] <= boxes[:, 2]) & (boxes[:, 1] <= boxes[:, 3])
    bad = np.flatnonzero(~(finite & ordered))
    if not len(bad):
        return
    row = bad[0]
    fault = "its minimum above its maximum" if finite[row] else "coordinates that are not finite"
    raise DataError(
        f"{result.name}: {what} {row} has a box with {fault}, {boxes[row].tolist()} "
        f"(ymin, xmin, ymax, xmax); so have {len(bad) - 1} more of this image."
    )


def _check_classes(result: ImageResult, num_classes: int) -> None:
    unknown = [part for part in (result.present_classes, result.absent_classes) if part is not None]
    for what, classes in (
        ("an object", result.groundtruth_classes),
        ("a detection", result.classes),
        *(("a label", part) for part in (*unknown, result.not_exhaustive_classes)),
    ):
        bad = classes[(classes < 0) | (classes >= num_classes)]
        if len(bad):
            raise DataError(
                f"{result.name}: {what} is of class {bad[0] + 1}, but the highest is {num_classes}: "
                "do the label map and the detector belong together?"
            )


def _check_numbers(result: ImageResult) -> None:
    for what, numbers in (
        ("score", result.scores),
        ("annotated area", result.groundtruth_areas),
        ("keypoint", result.keypoints),
    ):
        if numbers is not None and not np.isfinite(numbers).all():
            bad = numbers[~np.isfinite(numbers)]
            raise DataError(f"{result.name}: {many(len(bad), what)} not finite, such as {bad[0]}.")
    if result.groundtruth_keypoints is not None and result.groundtruth_visibility is not None:
        shown = result.groundtruth_keypoints[result.groundtruth_visibility > 0]
        if not np.isfinite(shown).all():
            raise DataError(f"{result.name}: a visible keypoint is not finite.")
