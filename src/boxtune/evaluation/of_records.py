"""What a model finds in the images of records, whole or in tiles, beside their groundtruth."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from boxtune.data.input import Records
from boxtune.data.tiling import Tiling
from boxtune.errors import ConfigError
from boxtune.evaluation.exported import detect_in_image
from boxtune.evaluation.extras import Needs
from boxtune.evaluation.found import Source, pixels_of
from boxtune.evaluation.groundtruth import read_groundtruth, with_detections
from boxtune.evaluation.tiles import Find, find_in_tiles
from boxtune.metrics.results import Example, ImageResult


def detect_exported(
    detect: Callable[[Any], dict[str, Any]],
    records: Records,
    on_image: Callable[[Example], object] | None = None,
    needs: Needs | None = None,
) -> list[ImageResult]:
    """Return what a model finds in the image of every record; `on_image` is shown every image.

    Args:
        detect: from an image uint8 [1, h, w, 3] to detections by the API's names, classes from 1 on.
        records: of which the label map belongs to the model.
        on_image: called with every image and what was found in it.
        needs: what is read besides boxes, of detections `detection_masks` [1, k, gh, gw] within their boxes,
            and `detection_keypoints` [1, k, p, 2] as (y, x) in fractions of the image.

    Raises:
        DataError: naming the record that cannot be read.
        CheckpointError: naming the part that the model does not return, or the image for which a value is not
            finite.
    """
    results = []
    needs = needs or Needs()
    for groundtruth, image in read_groundtruth(records, needs=needs):
        result = with_detections(groundtruth, **detect_in_image(detect, image, groundtruth.name, needs))
        results.append(result)
        if on_image:
            on_image(Example(result, image))
    return results


def detect_in_tiles(
    find: Find,
    tiling: Tiling,
    records: Records,
    on_image: Callable[[Example], object] | None = None,
    needs: Needs | None = None,
) -> list[ImageResult]:
    """Return what is found in the image of every record, in its tiles and the whole; `on_image` is shown every image.

    Args:
        find, tiling: as `find_in_tiles` takes them.
        records: of which the label map belongs to the model.
        on_image: called with every image and what was found in it.
        needs: what is read besides boxes.

    Raises:
        DataError: naming the record that cannot be read.
        ConfigError: if masks or keypoints are measured, which are not merged; else as `find_in_tiles`.
    """
    needs = needs or Needs()
    if needs.masks or needs.keypoints:
        raise ConfigError(
            "--tile merges boxes, neither masks nor keypoints: leave out the metrics that are about them"
        )
    groundtruth: deque[ImageResult] = deque()

    def sources() -> Iterator[Source]:
        for one, image in read_groundtruth(records, needs=needs):
            groundtruth.append(one)
            yield Source(one.name, image, None)

    results = []
    for found in find_in_tiles(find, tiling, sources()):
        result = with_detections(groundtruth.popleft(), found.boxes, found.classes, found.scores)
        results.append(result)
        if on_image:
            on_image(Example(result, pixels_of(found.source)))
    return results
