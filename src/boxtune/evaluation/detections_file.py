"""Detections that another program left in a file, as what was found in the images of records."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from boxtune.data import conventions
from boxtune.data.annotations import AnnotatedObject, Annotation, Edges
from boxtune.data.conventions import Convention
from boxtune.data.formats import coco
from boxtune.data.image_lookup import meanings
from boxtune.data.image_record import Box, overlap
from boxtune.data.input import Records
from boxtune.data.label_map import LabelMap
from boxtune.errors import DataError
from boxtune.evaluation.extras import Needs
from boxtune.evaluation.groundtruth import read_groundtruth
from boxtune.metrics.coco_results import ImageId, ids_of_names, read_detections
from boxtune.metrics.results import Example, ImageResult

_WRITTEN = Convention("sides", normalized=False)
_BOXES_TRIED = 2000
_HIT = 0.5  # overlap from which a box shows an object
_FEWEST_HITS = 3
_MORE_HITS = 4  # times as many by another convention


def detections_in_file(
    file: Path,
    data: Path | None,
    records: Records,
    on_image: Callable[[Example], object] | None = None,
    needs: Needs | None = None,
    *,
    renamed: Mapping[str, str] | None = None,
) -> list[ImageResult]:
    """Return what a file of COCO's results JSON, or of `boxtune predict`, says was found in the image of every record.

    Args:
        file: of detections; `metrics.coco_results.read_detections` says what it holds.
        data: the folder that the records were made of, or of its annotations. If it holds one file of COCO JSON, its
            ids are those of the detections; else images go by their names, and classes by the ids of the label map.
        records: the images and their groundtruth.
        on_image: is shown every image.
        needs: what is read of the groundtruth besides its boxes.
        renamed: classes of that file that have another name in the label map.

    Raises:
        DataError: naming the record that cannot be read, the images that have the same name, the first detection
            that cannot be used, or the way in which boxes seem to be written in place of COCO's.
    """
    groundtruth = []
    for result, image in read_groundtruth(records, distinct=True, needs=needs):
        groundtruth.append(result)
        if on_image:
            on_image(Example(result, image))
    images, classes = _identifiers(
        data, [result.name for result in groundtruth], records.label_map, renamed or {}
    )
    names = {name: label.id - 1 for name, label in records.label_map.by_any_name.items()}
    own = {old: names[new] for old, new in (renamed or {}).items() if new in names}
    found = read_detections(file, groundtruth, categories=names | own | classes, image_ids=images)
    _check_convention(file, found)
    return found


def _check_convention(file: Path, found: Sequence[ImageResult]) -> None:
    """Raise DataError if boxes fit their images, or objects, in another way than that of COCO's results only."""
    ends = accumulate(len(result.boxes) for result in found)
    tried = [result for result, end in zip(found, ends, strict=True) if end <= _BOXES_TRIED]
    fits = sum(map(_fits, tried), conventions.Fits())
    hits = sum((_hits(result, fits) for result in tried), Counter[Convention]())
    best = max(hits, key=lambda one: hits[one], default=_WRITTEN)
    others = [] if hits[_WRITTEN] else conventions.better(fits, _WRITTEN)
    if hits[best] >= _FEWEST_HITS and hits[best] > _MORE_HITS * hits[_WRITTEN]:
        others = [best]
    if others:
        raise DataError(
            f"{file}: its boxes seem to be {' or '.join(map(str, others))} in place of {_WRITTEN}: write each bbox as"
            " [x, y, width, height] in pixels."
        )


def _fits(result: ImageResult) -> conventions.Fits:
    one = Annotation(Path(), result.name, tuple(AnnotatedObject("", edges) for edges in _edges(result)))
    return conventions.fitting(one, _WRITTEN, [(result.width, result.height)])


def _hits(result: ImageResult, fits: conventions.Fits) -> Counter[Convention]:
    """Count the boxes that show an object by each convention that boxes fit by."""
    objects = [Box(*box) for box in result.groundtruth_boxes.tolist()]
    hits: Counter[Convention] = Counter()
    for one in {_WRITTEN}.union(*fits):
        width, height = (result.width, result.height) if one.normalized else (1, 1)
        for edges in _edges(result):
            xmin, ymin, xmax, ymax = one.edges(_WRITTEN.numbers(edges))
            box = Box(ymin * height, xmin * width, ymax * height, xmax * width)
            hits[one] += any(overlap(box, other) >= _HIT for other in objects)
    return hits


def _edges(result: ImageResult) -> list[Edges]:
    return [(xmin, ymin, xmax, ymax) for ymin, xmin, ymax, xmax in result.boxes.tolist()]


def _identifiers(
    data: Path | None, names: Sequence[str], label_map: LabelMap, renamed: Mapping[str, str]
) -> tuple[dict[ImageId, str], dict[int, int]]:
    """Return what a file of detections calls images and classes."""
    images = ids_of_names(names)
    files = _coco_files(data) if data else []
    if len(files) != 1:
        return images, {label.id: label.id - 1 for label in label_map.labels}
    known = coco.identifiers(files[0])
    # By the ends of their paths, as far as these belong to one name only: b/c.jpg and c.jpg for a/b/c.jpg.
    times = Counter(end for name in names for end in _ends(name))
    by_end = {end: name for name in names for end in _ends(name) if times[end] == 1}
    ends = {number: _end_in(name, by_end) for number, name in known.images.items()}
    own = {number: by_end[end] for number, end in ends.items() if end}
    named = {number: renamed.get(name, name) for number, name in known.classes.items()}
    classes = {
        number: label_map.by_any_name[name].id - 1
        for number, name in named.items()
        if name in label_map.by_any_name and isinstance(number, int)
    }
    return images | own, classes


def _end_in(name: str, by_end: Mapping[str, str]) -> str | None:
    """Return the longest end of a path, or of that in a URL, that is known."""
    paths = (str(meaning) for meaning in meanings(name))
    return next((end for path in paths for end in _ends(path) if end in by_end), None)


def _ends(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[i:]) for i in range(len(parts))]


def _coco_files(given: Path) -> list[Path]:
    """Return the files of COCO JSON that a path is or has."""
    paths = sorted(given.rglob("*.json")) if given.is_dir() else [given]
    return [path for path in paths if path.suffix == ".json" and coco.FORMAT.recognises(path)]
