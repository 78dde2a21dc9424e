"""The sets of metrics that `eval_config.metrics_set` names."""

import importlib
import re
from collections.abc import Callable, Sequence

import numpy as np

from boxtune.errors import ConfigError, DataError, did_you_mean, many
from boxtune.metrics import coco
from boxtune.metrics.coco import Options
from boxtune.metrics.results import ImageResult, Numbers, Results, check_results, without_unknown_classes

DEFAULT = ("coco_detection_metrics",)
"""What an empty `metrics_set` means."""

KEYPOINTS = "coco_keypoint_metrics"
"""The set about keypoints."""

MASKS = frozenset(
    (
        "coco_mask_metrics",
        "pascal_voc_instance_segmentation_metrics",
        "weighted_pascal_voc_instance_segmentation_metrics",
        "oid_challenge_segmentation_metrics",
        "lvis_mask_metrics",
    )
)
"""The sets about masks."""

IMAGE_LABELS = frozenset(
    (
        "oid_challenge_detection_metrics",
        "oid_challenge_segmentation_metrics",
        "lvis_detection_metrics",
        "lvis_mask_metrics",
    )
)
"""The sets that use labels of whole images."""


NOT_MEASURED = -1.0
"""The number of a metric that no object counts for, as COCO writes it."""

MetricSet = Callable[[Results, Sequence[str], Options], Numbers]
"""From the results of all images and the names of the classes to numbers by the API's tags."""


def measure(
    metrics_set: Sequence[str], results: Results, class_names: Sequence[str], options: Options | None = None
) -> Numbers:
    """Return the numbers of all sets by the API's tags; -1 where no object counts, see `explain`.

    No number depends on the order of the images.

    Args:
        metrics_set: of METRIC_SETS; none for DEFAULT.
        results: of all images, each once.
        options: of `eval_config`.

    Raises:
        ConfigError: for a name that is unknown, or a set that cannot be computed.
        DataError: for results that `check_results` refuses, and where the numbers would be 0 because all objects, or
            all detections, lack the masks or keypoints that a set is about.
    """
    options = options or Options()
    check_names(metrics_set)
    check_results(results, len(class_names))
    numbers: Numbers = {}
    for name in metrics_set or DEFAULT:
        if name in MASKS:
            _check_masks(name, results)
        sets = _COCO
        if name in _OTHERS:
            sets = importlib.import_module(f"{__package__}.{_OTHERS[name]}").METRIC_SETS
        numbers |= sets[name](results, class_names, options)
    if KEYPOINTS not in metrics_set and options.keypoints:
        numbers |= _coco_keypoints(results, class_names, options)
    return numbers


def tags(metrics_set: Sequence[str], class_names: Sequence[str], options: Options | None = None) -> list[str]:
    """Return the tags of the numbers that `measure` returns, in their order. Raises ConfigError as it does."""
    nothing = ImageResult("", 1, 1, np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool))
    return list(measure(metrics_set, [nothing], class_names, options))


def check_names(metrics_set: Sequence[str]) -> None:
    """Raise ConfigError for the name of a set that is unknown or not computed, with the nearest one that is."""
    for name in metrics_set:
        if name == "coco_panoptic_metrics":
            raise ConfigError(
                "eval_config.metrics_set: coco_panoptic_metrics are about every pixel of an image, and boxtune's "
                "detectors find objects; use coco_detection_metrics or coco_mask_metrics."
            )
        if name not in METRIC_SETS:
            raise ConfigError(
                f'eval_config.metrics_set: there are no metrics "{name}".{did_you_mean(name, METRIC_SETS)} '
                f"Known are: {', '.join(METRIC_SETS)}."
            )


def explain(tag: str) -> str:
    """Return in words why the number of `tag` is -1: of which objects there are none."""
    size = next((words for part, words in _SIZES.items() if part in tag), "")
    kind = next((words for part, words in _KINDS.items() if part in tag), "")
    group = re.search(r" By(?:Super)?Category/(.+)$|BySuperCategory/(.+)$|ByCategory/[^/]+/(.+)$", tag)
    name = next(filter(None, group.groups()), "") if group else ""
    rarity = next((words for part, words in _FREQUENCIES.items() if tag.endswith(part)), "")
    what = " ".join(filter(None, (size, "objects", kind, rarity)))
    of_class = f' of "{name}"' if name else ""
    return f"there are no {what}{of_class} in these images that count"


_SIZES = {
    "(small)": "small (up to 32 x 32 pixels)",
    "(medium)": "medium (32 x 32 to 96 x 96 pixels)",
    "(large)": "large (from 96 x 96 pixels)",
    "_APs": "small (up to 32 x 32 pixels)",
    "_APm": "medium (32 x 32 to 96 x 96 pixels)",
    "_APl": "large (from 96 x 96 pixels)",
    "_ARs@": "small (up to 32 x 32 pixels)",
    "_ARm@": "medium (32 x 32 to 96 x 96 pixels)",
    "_ARl@": "large (from 96 x 96 pixels)",
}
_KINDS = {"Keypoints_": "with labelled keypoints", "PascalMasks": "with masks"}
_FREQUENCIES = {
    "_APr": "of rare classes (of known frequency)",
    "_APc": "of common classes (of known frequency)",
    "_APf": "of frequent classes (of known frequency)",
}


def _coco_boxes(results: Results, class_names: Sequence[str], options: Options) -> Numbers:
    if options.skip_unlabeled:
        results = [without_unknown_classes(result) for result in results]
    return coco.box_metrics(results, class_names, options)


def _check_masks(name: str, results: Results) -> None:
    if _lack(results, "masks"):
        raise DataError(f"eval_config.metrics_set: {name}: the detections have no masks: leave it out.")
    objects = sum(len(result.groundtruth_classes) for result in results)
    if objects and not any(len(mask.edges) for result in results for mask in result.groundtruth_masks or ()):
        raise DataError(
            f"eval_config.metrics_set: {name}: none of {many(objects, 'object')} has a mask (image/object/mask of the "
            "records): leave it out, or measure on images with masks."
        )


def _lack(results: Results, part: str) -> bool:
    """Say whether there are detections, and none has that part."""
    found = [result for result in results if len(result.classes)]
    return bool(found) and all(getattr(result, part) is None for result in found)


def _coco_keypoints(results: Results, class_names: Sequence[str], options: Options) -> Numbers:
    if not options.keypoints:
        raise ConfigError(
            "eval_config.metrics_set: coco_keypoint_metrics need the class whose keypoints are measured and how "
            "exactly each can be placed: eval_config.parameterized_metric { coco_keypoint_metrics { class_label: "
            "... } }. A detector of boxes has none: leave them out."
        )
    if _lack(results, "keypoints"):
        raise DataError(f"{KEYPOINTS}: the detections have no keypoints: leave them out.")
    numbers: Numbers = {}
    for keypoints in options.keypoints:
        numbers |= coco.keypoint_metrics(results, class_names, keypoints)
    return numbers


_COCO: dict[str, MetricSet] = {
    "coco_detection_metrics": _coco_boxes,
    "coco_mask_metrics": coco.mask_metrics,
    "coco_keypoint_metrics": _coco_keypoints,
}

_OTHERS = {
    "pascal_voc_detection_metrics": "pascal_voc",
    "weighted_pascal_voc_detection_metrics": "pascal_voc",
    "pascal_voc_instance_segmentation_metrics": "pascal_voc",
    "weighted_pascal_voc_instance_segmentation_metrics": "pascal_voc",
    "precision_at_recall_detection_metrics": "pascal_voc",
    "oid_V2_detection_metrics": "open_images",
    "oid_challenge_detection_metrics": "open_images",
    "oid_challenge_segmentation_metrics": "open_images",
    "lvis_mask_metrics": "lvis",
    # Those below are boxtune's own names: the API has the numbers, or the field does, but no set of them.
    "lvis_detection_metrics": "lvis",
    "pascal_voc_2007_detection_metrics": "pascal_voc",
    "pascal_voc_corloc_metrics": "pascal_voc",
    "open_images_V2_detection_metrics": "open_images",
}
"""The module of this package that has each of the other sets in its own METRIC_SETS, imported when it is asked for."""

METRIC_SETS = (*_COCO, *_OTHERS)
"""The names of the sets in the API, where it has them. Those of Open Images V2 go by two names."""
