"""The types that data, detectors and their users exchange: their fields, shapes and coordinate frames.

There are two frames, and each is part of a type. In the *image's* frame coordinates are fractions of the image, [0, 1].
In the *input's* frame they are fractions of the input of the detector: the resized image with its padding, which is at
the bottom and at the right. `data.geometry` takes ground truth from the first to the second, `Detector.detect` takes
detections back.

Dimension letters: b batch, n ground-truth boxes, a candidates (anchors, queries), c classes, k detections, p keypoints,
h w d.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict


class GroundTruth(TypedDict):
    """The objects of a batch, in the input's frame; rows that are padding are not `valid`."""

    boxes: Any
    """Float32 [b, n, 4], `[ymin, xmin, ymax, xmax]`."""
    classes: Any
    """Int32 [b, n], 0-based."""
    weights: Any
    """Float32 [b, n], of each object in the losses."""
    valid: Any
    """Bool [b, n]."""
    class_scores: NotRequired[Any]
    """Float32 [b, n, c], the target of each class, in place of `classes`."""
    masks: NotRequired[Any]
    """Float32 [b, n, h, w] in {0, 1}, over the whole input."""
    keypoints: NotRequired[Any]
    """Float32 [b, n, p, 2], (y, x); NaN where there is none."""


class Inputs(TypedDict):
    """The inputs of a detector."""

    images: Any
    """Float32 [b, h, w, 3], pixel values in [0, 255]."""
    sizes: Any
    """Int32 [b, 2], the height and width in pixels of the part of each input that is image, not padding."""
    groundtruth: NotRequired[GroundTruth]
    """In training, and wherever losses are computed."""


@dataclass(frozen=True)
class Detections:
    """The k best detections of each image, best first, in the image's frame; past `count` everything is 0."""

    boxes: Any
    """Float [b, k, 4], `[ymin, xmin, ymax, xmax]`."""
    scores: Any
    """Float [b, k]."""
    classes: Any
    """Int32 [b, k], 0-based."""
    count: Any
    """Int32 [b]."""
    masks: Any = None
    """Float [b, k, h, w] in [0, 1], each over its own box; None from a detector without masks."""
    keypoints: Any = None
    """Float [b, k, p, 2], (y, x); None likewise."""
    keypoint_scores: Any = None
    """Float [b, k, p]."""
    extras: Mapping[str, Any] = field(default_factory=dict)
    """Further values of each detection that are specific to the family, [b, k, ...], by name."""
