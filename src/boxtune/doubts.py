"""The labels of a data set that models doubt: what they find in its images, compared with its labels."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from boxtune.data import kept_split
from boxtune.data.image_record import ImageRecord
from boxtune.data.label_map import LabelMap
from boxtune.data.preparation import Prepared
from boxtune.data.splits import TRAIN
from boxtune.errors import DataError, printable, some
from boxtune.evaluation.exported import LABEL_MAP
from boxtune.evaluation.found import Source
from boxtune.evaluation.groundtruth import with_detections
from boxtune.finder import Finder, load_finder
from boxtune.metrics.label_doubts import MIN_SCORE, Doubt, LabelDoubts, label_doubts
from boxtune.metrics.results import ImageResult


def find_doubts(prepared: Prepared, models: Sequence[Path]) -> LabelDoubts:
    """Return the labels of a data set that models doubt.

    Args:
        prepared: the data set.
        models: one or more, as `load_finder` takes them. Their classes are matched with those of the data set by their
            names; those that one of them does not know are left out. Of several, one looks at each image: the first
            that was not trained on it, or the first of all where there is none, or nothing says which images those are.

    Raises:
        BoxtuneError: if a model cannot be used, or they share no class with the data set.
    """
    images = prepared.images
    finders = [load_finder(model) for model in models]
    counts = Counter(
        _own_name(item.class_name, prepared.label_map) for image in images for item in image.objects
    )
    names = [name for name in sorted(counts, key=str.encode) if _known(name, prepared.label_map, finders)]
    if not names:
        raise _no_shared_class(prepared, models, counts, finders)
    trained_on = [_trained_on(prepared, finder) for finder in finders]
    looks_at = [_first_unseen(image.name, trained_on) for image in images]
    doubts: list[Doubt] = []
    for number, finder in enumerate(finders):
        own = [i for i, chosen in enumerate(looks_at) if chosen == number]
        results = _results([images[i] for i in own], names, prepared.label_map, finder)
        doubts += label_doubts(results, len(names), own)
    return LabelDoubts(
        models=list(map(str, models)),
        class_names=names,
        unknown={name: count for name, count in sorted(counts.items()) if name not in names},
        num_labels=sum(counts[name] for name in names),
        num_images=len(images),
        num_trained_on=sum(
            image.name in (trained_on[number] or ()) for image, number in zip(images, looks_at, strict=True)
        ),
        doubts=sorted(doubts, key=lambda doubt: (-doubt.score, doubt.image)),
    )


def _results(
    images: Sequence[ImageRecord], names: Sequence[str], label_map: LabelMap, finder: Finder
) -> list[ImageResult]:
    """Return the labels of images, and what a model finds there of the classes `names`, from MIN_SCORE on.

    Labels of other classes have the number behind the last.
    """
    numbers = {name: number for number, name in enumerate(names)}
    of_model = {_number(name, label_map, finder.label_map): number for name, number in numbers.items()}
    sources = (Source(image.name, image.source, image.orientation) for image in images)
    results = []
    for image, found in zip(images, finder.find(sources), strict=True):
        own_names = [_own_name(item.class_name, label_map) for item in image.objects]
        classes = np.array([numbers.get(name, len(names)) for name in own_names], np.int64)
        seen = np.array([of_model.get(int(number), -1) for number in found.classes], np.int64)
        kept = (seen >= 0) & (found.scores >= MIN_SCORE)
        detections = found.boxes[kept], seen[kept], found.scores[kept]
        results.append(with_detections(_labels(image, classes), *detections))
    return results


def _labels(image: ImageRecord, classes: npt.NDArray[np.int64]) -> ImageResult:
    """Return the labels of an image, with nothing found."""
    items = image.objects
    boxes = np.array([item.box for item in items], np.float32).reshape(-1, 4)
    return ImageResult(
        name=image.name,
        height=image.height,
        width=image.width,
        groundtruth_boxes=boxes * np.array([image.height, image.width] * 2, np.float32),
        groundtruth_classes=classes,
        is_crowd=np.array([item.is_crowd for item in items], bool),
        difficult=np.array([item.difficult for item in items], bool),
        group_of=np.array([item.group_of for item in items], bool),
    )


def _own_name(name: str, label_map: LabelMap) -> str:
    """Return the name in a data set's label map of the class that its objects call by this or its display name."""
    own = label_map.by_any_name.get(name)
    return own.name if own else name


def _number(name: str, label_map: LabelMap, of_model: LabelMap) -> int | None:
    """Return the 0-based number that a model has for a class of a data set, by its name or else its display name."""
    own = label_map.by_any_name.get(name)
    for known_as in (name, own.display_name if own else ""):
        if known_as in of_model.by_any_name:
            return of_model.by_any_name[known_as].id - 1
    return None


def _known(name: str, label_map: LabelMap, finders: Sequence[Finder]) -> bool:
    return all(_number(name, label_map, finder.label_map) is not None for finder in finders)


def _no_shared_class(
    prepared: Prepared, models: Sequence[Path], counts: Mapping[str, int], finders: Sequence[Finder]
) -> DataError:
    theirs = some(list(map(printable, sorted(counts))), 5) or "none"
    shown = chain(*(finder.label_map.shown_names.values() for finder in finders))
    own = some([printable(name) for name in shown], 5) or f"none, as there is no {LABEL_MAP} beside the model"
    return DataError(
        f"{', '.join(map(str, models))}: no class of {prepared.reading.root} is known here. The data have {theirs}; "
        f"known are {own}. Give a model of the classes of the data, or --rename OLD=NEW"
    )


def _trained_on(prepared: Prepared, finder: Finder) -> Collection[str] | None:
    """Return the names of the images that a model was trained on, by the records it names; None if nothing says it."""
    split = kept_split.read(finder.records) if finder.records else None
    if split is None:
        return None
    parts = split.parts(prepared.reading.images, prepared.reading.digests)
    return {name for name, part in parts.items() if part == TRAIN}


def _first_unseen(name: str, trained_on: Sequence[Collection[str] | None]) -> int:
    """Return the number of the first model that was not trained on an image, 0 if all were or nothing says it."""
    unseen = (i for i, names in enumerate(trained_on) if names is not None and name not in names)
    return next(unseen, 0)
