"""Detections as COCO's results JSON, or as `boxtune predict` writes them: what was found in images to be evaluated."""

import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TextIO

import numpy as np

from boxtune.errors import DataError, many
from boxtune.metrics import masks
from boxtune.metrics.masks import Mask
from boxtune.metrics.results import ImageResult
from boxtune.run_lengths import unprinted

ImageId = int | str

_CHUNK = 1 << 20
# One detection: a mask's run lengths are the longest that it can have.
_MAX_DETECTION = 1 << 26
_EXAMPLES = 3
_EDGES = ("ymin", "xmin", "ymax", "xmax")
_MAX_POINTS = 1000


class _Detection(NamedTuple):
    box: tuple[float, float, float, float]
    cls: int
    score: float
    mask: Mask | None
    keypoints: tuple[float, ...]  # y, x, y, x, ...


def read_detections(
    path: Path,
    groundtruth: Sequence[ImageResult],
    *,
    categories: Mapping[int | str, int],
    image_ids: Mapping[ImageId, str] | None = None,
) -> list[ImageResult]:
    """Return the images of `groundtruth` with the detections of a file in position of their own.

    The file is a JSON list of `{"image_id", "category_id", "bbox": [x, y, width, height], "score"}`, in pixels, with
    `segmentation` (run lengths) and `keypoints` (x, y, visibility, ...) for all or for none; without a `bbox` the box
    is that of the mask. Or it is the list of `{"image", "detections": [{"name", "score", "ymin", ...}]}` that `boxtune
    predict` writes, where `image` is a path that ends with the name of an image. It is read piece by piece.

    Args:
        path: of the file.
        groundtruth: images with their groundtruth, each with a name of its own.
        categories: from the `category_id` of the file, or the name of a class, to the class, as the label map has it.
        image_ids: from the `image_id` of the file to the name of an image; None for `ids_of_names`.

    Raises:
        DataError: naming file and number of the first, for a detection that cannot be used: of other images or
            classes, without a part, with a value that is not a number, a negative size, or the `id` of another one.
    """
    known = ids_of_names([result.name for result in groundtruth]) if image_ids is None else image_ids
    found: dict[str, list[_Detection]] = {result.name: [] for result in groundtruth}
    sizes = {result.name: (result.height, result.width) for result in groundtruth}
    faults: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    ids: set[ImageId] = set()
    for index, item in enumerate(chain.from_iterable(_results(item, known) for item in _items(path))):
        try:
            _take(item, found, sizes, known, categories, ids)
        except _Fault as fault:
            faults[fault.kind] += 1
            if len(listed := examples.setdefault(fault.kind, [])) < _EXAMPLES:
                listed.append(f"number {index}: {fault.what}")
    if faults:
        summaries = (
            f"{many(count, 'detection')} {_KINDS[kind]}, such as {', '.join(examples[kind])}"
            for kind, count in faults.items()
        )
        raise DataError(f"{path}: {'; '.join(summaries)}.")
    _check_parts(path, [one for of_image in found.values() for one in of_image])
    return [_with_detections(result, found[result.name]) for result in groundtruth]


def _results(item: Any, known: Mapping[ImageId, str]) -> Iterator[Any]:
    """Yield the detections of an image as `boxtune predict` writes it in COCO's form; anything else as it is."""
    if not (isinstance(item, dict) and isinstance(item.get("detections"), list)):
        yield item
        return
    image = item.get("image")
    parts = image.replace("\\", "/").split("/") if isinstance(image, str) else []
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    image = next((end for end in ends if end in known), image)
    for one in item["detections"]:
        if not isinstance(one, dict):
            yield one
            continue
        bbox: list[Any] = [one.get(edge) for edge in _EDGES]
        if all(type(edge) in (int, float) for edge in bbox):
            ymin, xmin, ymax, xmax = map(float, bbox)
            bbox = [xmin, ymin, xmax - xmin, ymax - ymin]
        yield {"image_id": image, "category_id": one.get("name"), "bbox": bbox, "score": one.get("score")}


def ids_of_names(names: Sequence[str]) -> dict[ImageId, str]:
    """Return what a file of detections may call images: their names, and, where no two share it, the name without
    folders, that without its ending, and the number that this is (as in COCO, 000000000139.jpg is 139)."""
    known: dict[ImageId, str] = {name: name for name in names}
    for shorten in (lambda path: path.name, lambda path: path.stem, _number):
        shorter = [(shorten(PurePosixPath(name)), name) for name in names]
        times = Counter(short for short, _ in shorter)
        for short, name in shorter:
            if short is not None and times[short] == 1:
                known.setdefault(short, name)
    return known


class _Fault(Exception):
    """What is wrong with one detection: of a kind, to be counted, and what it is here."""

    def __init__(self, kind: str, what: str):
        super().__init__(kind, what)
        self.kind, self.what = kind, what


_KINDS = {
    "images": "of images that are not evaluated (give the data that the file is about)",
    "classes": "of classes that the label map lacks (give the label map that the file is about)",
    "ids": 'with an "id" that another one has, or that is none',
    "form": "that cannot be used",
}


def _take(
    item: Any,
    found: dict[str, list[_Detection]],
    sizes: dict[str, tuple[int, int]],
    known: Mapping[ImageId, str],
    categories: Mapping[int | str, int],
    ids: set[ImageId],
) -> None:
    """Add one detection to those of its image, or raise _Fault."""
    if not isinstance(item, dict):
        raise _Fault("form", f"{item!r:.60} is not an object")
    image_id, category = item.get("image_id"), item.get("category_id")
    name = known.get(image_id) if isinstance(image_id, int | str) else None
    if name is None and isinstance(image_id, str):
        name = known.get(unprinted(image_id).decode(errors="replace"))
    if name is None or name not in found:
        raise _Fault("images", f"image_id {image_id!r:.60}")
    if isinstance(category, bool) or not isinstance(category, int | str) or category not in categories:
        raise _Fault("classes", f"{'name' if isinstance(category, str) else 'category_id'} {category!r:.60}")
    own = item.get("id")
    if own is not None:
        if not isinstance(own, int | str) or own in ids:
            raise _Fault("ids", f"id {own!r:.60}")
        ids.add(own)
    mask = _mask(item["segmentation"], sizes[name]) if item.get("segmentation") else None
    box, score = _box(item.get("bbox"), mask), _numbers("score", [item.get("score")])[0]
    points = _points(item.get("keypoints") or [])
    found[name].append(_Detection(box, categories[category], score, mask, points))


def _numbers(what: str, values: list[Any]) -> list[float]:
    if not all(type(value) in (int, float) and abs(value) <= sys.float_info.max for value in values):
        raise _Fault("form", f"{what} {values if len(values) > 1 else values[0]!r:.60}")
    return [float(value) for value in values]


def _box(bbox: Any, mask: Mask | None) -> tuple[float, float, float, float]:
    if not bbox and mask is not None:
        return masks.box(mask)
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise _Fault("form", f"bbox {bbox!r:.60}, not [x, y, width, height]")
    x, y, width, height = _numbers("bbox", bbox)
    if width < 0 or height < 0 or not math.isfinite(x + width) or not math.isfinite(y + height):
        raise _Fault("form", f"bbox {bbox!r:.60}, whose width or height is negative or too large")
    return y, x, y + height, x + width


def _mask(segmentation: Any, size: tuple[int, int]) -> Mask:
    try:
        mask = masks.from_coco(segmentation)
    except DataError as error:
        raise _Fault("form", f"segmentation: {str(error).rstrip('.')}") from None
    if (mask.height, mask.width) != size:
        image = f"{size[0]} x {size[1]}"
        raise _Fault("form", f"segmentation of {mask.height} x {mask.width} in an image of {image} pixels")
    return mask


def _points(keypoints: Any) -> tuple[float, ...]:
    """Return y, x, y, x, ..."""
    if not isinstance(keypoints, list) or len(keypoints) % 3 or len(keypoints) > 3 * _MAX_POINTS:
        raise _Fault("form", f"keypoints {keypoints!r:.60}, not [x, y, visibility, ...]")
    numbers = _numbers("keypoints", keypoints) if keypoints else []
    return tuple(position for x, y in zip(numbers[0::3], numbers[1::3], strict=True) for position in (y, x))


def _check_parts(path: Path, found: Sequence[_Detection]) -> None:
    """Raise DataError unless all detections have masks or none, and all as many keypoints."""
    drawn = [one.mask is not None for one in found]
    if any(drawn) and not all(drawn):
        raise DataError(
            f"{path}: {drawn.count(False)} of {len(drawn)} detections have no segmentation: all or none may."
        )
    counts = {len(one.keypoints) // 2 for one in found}
    if len(counts) > 1:
        raise DataError(
            f"{path}: detections have different numbers of keypoints: {sorted(counts)[:_EXAMPLES]}."
        )


def _with_detections(result: ImageResult, found: Sequence[_Detection]) -> ImageResult:
    points = [one.keypoints for one in found]
    return replace(
        result,
        boxes=np.array([one.box for one in found], np.float64).reshape(-1, 4),
        classes=np.array([one.cls for one in found], np.int64),
        scores=np.array([one.score for one in found], np.float64),
        masks=[one.mask for one in found if one.mask is not None] or None,
        keypoints=np.array(points).reshape(len(found), -1, 2) if any(points) else None,
    )


def _items(path: Path) -> Iterator[Any]:
    """Yield the items of a JSON list of objects, one by one."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: not a file, which holds a JSON list of detections.")
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from _Reader(path, file).items()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not a JSON list of detections: {error}.") from error


@dataclass
class _Reader:
    """A file of JSON, read piece by piece."""

    path: Path
    file: TextIO
    text: str = ""
    position: int = 0

    def items(self) -> Iterator[Any]:
        """Yield the items of a list."""
        index = 0
        self.take("[", index)
        while index or self.character() != "]":
            yield self.item(index)
            index += 1
            if self.character() == "]":
                break
            self.take(",", index)
        self.take("]", index)
        if self.character():
            raise DataError(f"{self.path}: goes on behind its list of detections.")

    def character(self) -> str:
        """Return the next character that is not a space, without taking it; an empty text at the end."""
        while True:
            while self.position < len(self.text) and self.text[self.position] in " \t\r\n":
                self.position += 1
            if self.position < len(self.text):
                return self.text[self.position]
            self.text, self.position = self.file.read(_CHUNK), 0
            if not self.text:
                return ""

    def take(self, expected: str, index: int) -> None:
        """Take a character, or say that it is missing."""
        if (character := self.character()) != expected:
            found = f'"{character}"' if character else "the end of the file"
            raise DataError(
                f'{self.path}: not a JSON list of detections: at number {index} "{expected}" should be, not {found}.'
            )
        self.position += 1

    def item(self, index: int) -> Any:
        """Take a value, reading on until it is whole."""
        self.character()
        decoder, size = json.JSONDecoder(), _CHUNK
        while True:
            try:
                item, self.position = decoder.raw_decode(self.text, self.position)
                return item
            except ValueError as error:
                more = self.file.read(size)
                if not more or len(self.text) - self.position > _MAX_DETECTION:
                    raise DataError(f"{self.path}: detection number {index} is not JSON: {error}.") from error
                # Twice as much each time: what is not whole yet is looked at a few times only.
                self.text, self.position, size = self.text[self.position :] + more, 0, 2 * size


def _number(path: PurePosixPath) -> int | None:
    return int(path.stem) if path.stem.isascii() and path.stem.isdigit() and len(path.stem) < 20 else None
