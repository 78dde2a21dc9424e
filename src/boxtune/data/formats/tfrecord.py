"""TFRecords of the API: each record holds an image, and its objects normalized to the image.

The name of a class is what `image/object/class/text` says. Where a record has only numbers, they are looked up in the
label map (.pbtxt) that lies in the same folder, else in a folder above it, else in the only one of the data set.

An image's name is its `image/source_id` if that is a path to `image/filename`, else `image/filename`. Keys are those
that the API's `tf_example_decoder` reads, and those of its tools that write; a record is in memory one at a time.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from math import inf, isfinite
from pathlib import Path
from typing import Any

import numpy as np

from boxtune.data import findings as kinds
from boxtune.data import masks, tfrecord
from boxtune.data.annotations import AnnotatedObject, Annotation, AnnotationFile, Format
from boxtune.data.example_pb2 import Feature
from boxtune.data.findings import Findings, SkipError, skipped_as
from boxtune.data.formats import shapes
from boxtune.data.image_record import ImageSource, Keypoint
from boxtune.data.label_map import LabelMap, read_label_map, renaming
from boxtune.data.listing import Listing
from boxtune.data.masks import Mask
from boxtune.data.tfrecord import RecordIndex
from boxtune.errors import DataError, many

MAX_LABEL_MAP_BYTES = 16 * 2**20

_SUFFIXES = frozenset((".record", ".records", ".tfrecord", ".tfrecords", ".tfrec", ""))
_SIDES = ("xmin", "ymin", "xmax", "ymax")
# Numbers of objects, with their defaults.
_NUMBERS = {"difficult": 0, "truncated": 0, "is_crowd": 0, "group_of": 0, "weight": 1.0, "area": 0.0}
_OF_IMAGES = ("encoded", "filename", "source_id", "height", "width", "format", "key/sha256")
_OF_OBJECTS = (*_NUMBERS, "class/text", "class/label", "view", "mask", "mask/weight")
_KEYS = {
    *(f"image/{key}" for key in _OF_IMAGES),
    *(f"image/object/{key}" for key in _OF_OBJECTS),
    *(f"image/object/bbox/{side}" for side in _SIDES),
    *(f"image/object/keypoint/{key}" for key in ("x", "y", "visibility", "text", "num")),
}
_MAX_KEYS_SHOWN = 20
_MAX_NAMED = 10
_NOTHING = Feature()

_Features = Mapping[str, Feature]
_Size = tuple[int, int]
"""Width and height."""


def _recognises(path: Path) -> bool:
    """Say whether a file starts with a record that holds an image."""
    try:
        return "image/encoded" in _first_features(path)
    except DataError:
        return False


def _complaint(path: Path) -> str:
    """Say why a file that is called a TFRecord is not read, "" if it is not called so."""
    try:
        with _opened(path):
            return ""
    except SkipError as error:
        return str(error) if path.suffix else ""


def _read(file: AnnotationFile, label_maps: Mapping[Path, LabelMap]) -> Iterator[Annotation]:
    """Read one file; `label_maps` are those of the data set by their folders."""
    near = [label_maps[folder] for folder in file.path.parents if folder in label_maps]
    if not near and len(label_maps) == 1:
        near = list(label_maps.values())
    names = {label.id: label.name for label in near[0].labels} if near else {}
    records = _Records(file.path, file.findings, names)
    with _opened(file.path) as index:
        for number in range(len(index)):
            with file.skipping(f"record {number}"):
                yield _annotation(file, records, index, number)
    records.report()


def _label_maps(listing: Listing, findings: Findings) -> dict[Path, LabelMap]:
    label_maps: dict[Path, LabelMap] = {}
    for path in listing.ending(frozenset({".pbtxt"})):
        try:
            if path.stat().st_size > MAX_LABEL_MAP_BYTES:
                raise DataError("it is too large for a label map.")
            label_map = read_label_map(path)
        except (DataError, OSError) as error:
            findings.add(kinds.FOREIGN, path, str(error))
            continue
        if label_maps.setdefault(path.parent, label_map) != label_map:
            findings.add(kinds.NOT_READ, path, "another label map in the same folder comes first.")
    return label_maps


FORMAT = Format(
    "tfrecord",
    "TFRecord",
    _SUFFIXES,
    _recognises,
    _read,
    normalized=True,
    context=_label_maps,
    complaint=_complaint,
)


def _first_features(path: Path) -> _Features:
    return tfrecord.parse_example(tfrecord.first_record(path)).features.feature


def _opened(path: Path) -> RecordIndex:
    """Find the records of a file; raise SkipError if it has none or is damaged."""
    try:
        if "image/encoded" not in _first_features(path):
            raise SkipError(kinds.FOREIGN, "its first record holds no image.")
        return RecordIndex([path])
    except DataError as error:
        # A file without extension may be anything.
        kind = kinds.ANNOTATION_UNREADABLE if path.suffix else kinds.FOREIGN
        raise SkipError(kind, str(error).replace(str(path), "it", 1)) from error


@dataclass(slots=True)
class _Records:
    """Findings that are reported once per file: classes without a name, and keys that are not read."""

    path: Path
    findings: Findings
    names: dict[int, str]
    _numbers: set[int] = field(default_factory=set)
    _unread: set[str] = field(default_factory=set)
    _retyped: dict[str, str] = field(default_factory=dict)

    def class_name(self, number: int) -> str:
        """Return the name of a class, "class 7" where nothing names it."""
        self._numbers.add(number)
        return self.names.get(number, f"class {number}")

    def see(self, features: _Features, corrected: Mapping[str, str], location: str) -> None:
        """Note the keys of a record that are not read, and those that are not empty and were of another type."""
        if len(self._unread) < _MAX_KEYS_SHOWN:
            self._unread.update(set(features) - _KEYS)
        for key, message in corrected.items():
            one = features[key]
            if one.bytes_list.value or one.float_list.value or one.int64_list.value:
                self._retyped.setdefault(message, location)

    def report(self) -> None:
        """Report classes without a name, keys of another type than the API's, and those that nothing reads."""
        for number in sorted(self._numbers - self.names.keys()):
            reason = self._why_unnamed(number)
            self.findings.add(kinds.CLASS_UNNAMED, self.path, reason, location=f"class {number}")
        for message, location in self._retyped.items():
            self.findings.add(kinds.RECORD_TYPES, self.path, f"{message}.", location=location)
        if self._unread:
            keys = ", ".join(sorted(self._unread)[:_MAX_KEYS_SHOWN])
            self.findings.add(kinds.NOT_READ, self.path, f"keys that are not read: {keys}.")

    def _why_unnamed(self, number: int) -> str:
        if not self.names:
            return "there is no label map (.pbtxt) in the same folder."
        if number == 0 < max(self.names) > max(self._numbers):
            names = [self.names.get(number, f"class {number}") for number in range(max(self.names) + 1)]
            flags = renaming(dict(islice(pairwise(names), _MAX_NAMED)))
            more = " and so on" if len(names) > _MAX_NAMED + 1 else ""
            return (
                "the labels of its objects count from 0 and those of the label map from 1: each is taken for the class"
                f" before its own. Write the records again with 1 added to each, or give {flags}{more}."
            )
        known = [f"{key} {name}" for key, name in islice(self.names.items(), _MAX_NAMED)]
        return f"the label map names {', '.join(known)}{', ...' * (len(self.names) > _MAX_NAMED)}."


# Records


def _annotation(file: AnnotationFile, records: _Records, index: RecordIndex, number: int) -> Annotation:
    location = f"record {number}"
    try:
        example = tfrecord.parse_example(index.read_intact(number))
        corrected = tfrecord.correct_types(example)
    except DataError as error:
        raise SkipError(kinds.ANNOTATION_UNREADABLE, str(error).replace(str(file.path), "it", 1)) from error
    features = example.features.feature
    records.see(features, corrected, location)
    if not any(_strings(features, "encoded")):
        raise SkipError(kinds.IMAGE_UNREADABLE, "it holds no image.")
    width, height = (next(iter(_numbers(features, side)), None) for side in ("width", "height"))
    size = shapes.image_size(width, height)
    span = int(index.offsets[number]), int(index.lengths[number])
    return file.annotation(
        _filename(features) or f"{file.path.name}/{number}",
        [(item.location, item) for item in _objects(records, features, size, location)],
        _usable,
        size=size,
        location=location,
        source=ImageSource(file.path, span),
    )


def _filename(features: _Features) -> str:
    names = (os.fsdecode(b"".join(_strings(features, key)[:1])) for key in ("filename", "source_id"))
    filename, source_id = (name.replace("\\", "/") for name in names)
    return source_id if not filename or source_id.endswith(f"/{filename}") else filename


def _numbers(features: _Features, key: str) -> Sequence[float]:
    """Return the numbers under a key, whole or not; none if it is absent."""
    feature = features.get(f"image/{key}", _NOTHING)
    return feature.int64_list.value or feature.float_list.value


def _integers(features: _Features, key: str) -> Sequence[int]:
    return features.get(f"image/{key}", _NOTHING).int64_list.value


def _strings(features: _Features, key: str) -> Sequence[bytes]:
    return features.get(f"image/{key}", _NOTHING).bytes_list.value


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace").strip()


# Objects


def _objects(
    records: _Records, features: _Features, size: _Size | None, location: str
) -> list[AnnotatedObject]:
    """Return the objects of a record, unchecked; raise SkipError if its lists do not agree in length."""
    sides = [_numbers(features, f"object/bbox/{side}") for side in _SIDES]
    count = len(sides[0])
    if any(len(side) != count for side in sides):
        message = f"it has {', '.join(str(len(side)) for side in sides)} values of {', '.join(_SIDES)}."
        raise SkipError(kinds.ANNOTATION_UNREADABLE, message)
    locations = [f"{location}, object {number}" for number in range(count)]
    numbers = {
        key: _one_each(_numbers(features, f"object/{key}"), key, count, default)
        for key, default in _NUMBERS.items()
    }
    columns: dict[str, Sequence[Any]] = {
        "class_name": _class_names(records, features, count),
        "edges": list(zip(*sides, strict=True)),
        "location": locations,
        "view": [_text(view) for view in _one_each(_strings(features, "object/view"), "view", count, b"")],
        "weight": [value if 0 <= value < inf else 1.0 for value in numbers.pop("weight")],
        "area": [value if 0 < value < inf else None for value in numbers.pop("area")],
        **{key: [value > 0 for value in values] for key, values in numbers.items()},
        "mask": _masks(records, features, locations, size),
        "keypoints": _keypoints(features, count),
    }
    return [
        AnnotatedObject(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)
    ]


def _usable(item: AnnotatedObject, location: str) -> AnnotatedObject:
    shapes.require_name(item.class_name)
    shapes.corners(*item.edges)
    return item


def _one_each(values: Sequence[Any], key: str, count: int, default: Any) -> Sequence[Any]:
    """Return the values of a list, one for each of `count` objects, or as many defaults where it is absent."""
    if len(values) not in (0, count):
        message = f"it has {many(len(values), 'value')} of {key} for {many(count, 'box', 'boxes')}."
        raise SkipError(kinds.ANNOTATION_UNREADABLE, message)
    return values or [default] * count


def _class_names(records: _Records, features: _Features, count: int) -> list[str]:
    """Return the name of each object's class, "" where there is neither text nor number."""
    texts, numbers = _strings(features, "object/class/text"), _integers(features, "object/class/label")
    if count and count not in (len(texts), len(numbers)):
        message = f"it has {len(texts)} texts and {len(numbers)} numbers of classes for {count} boxes."
        raise SkipError(kinds.ANNOTATION_UNREADABLE, message)
    names = [_text(text) for text in texts] if len(texts) == count else [""] * count
    if len(numbers) != count:
        return names
    return [name or records.class_name(number) for name, number in zip(names, numbers, strict=True)]


def _masks(
    records: _Records, features: _Features, locations: Sequence[str], size: _Size | None
) -> list[Mask | None]:
    """Return the mask of each object, None where it has none or it cannot be drawn, which is reported."""
    count = len(locations)
    key = "object/mask"
    written: Sequence[Mask] = _one_each(
        [Mask(png=data) for data in _strings(features, key)] or _numerical_masks(features, count, size),
        "mask",
        count,
        None,
    )
    weights = _one_each(_numbers(features, "object/mask/weight"), "mask/weight", count, 1)
    found: list[Mask | None] = [None] * count
    for number, (mask, weight) in enumerate(zip(written, weights, strict=True)):
        with records.findings.skipping(records.path, location=locations[number]):
            if mask and weight:
                with skipped_as(kinds.MASK_UNREADABLE, "its mask is left out: "):
                    masks.check(mask)
                found[number] = mask
    return found


def _numerical_masks(features: _Features, count: int, size: _Size | None) -> list[Mask]:
    """Return the masks that are written as numbers [n, h, w], which was the API's default."""
    numbers = _numbers(features, "object/mask")
    if not numbers:
        return []
    width, height = size or (0, 0)
    if len(numbers) != count * height * width:
        message = f"its masks hold {len(numbers)} numbers for {count} boxes of {width} x {height} pixels."
        raise SkipError(kinds.ANNOTATION_UNREADABLE, message)
    return [masks.from_array(grid) for grid in np.array(numbers, np.float32).reshape(count, height, width)]


def _keypoints(features: _Features, count: int) -> list[tuple[Keypoint, ...]]:
    """Return the keypoints of each object, as many for each; without a visibility, a number is visible."""
    ys, xs = _numbers(features, "object/keypoint/y"), _numbers(features, "object/keypoint/x")
    seen = _integers(features, "object/keypoint/visibility")
    names = [_text(name) for name in _strings(features, "object/keypoint/text")]
    each = len(xs) // count if count else 0
    lengths = [len(xs), len(ys), len(seen) or len(xs), len(names) or len(xs)]
    if set(lengths) != {each * count}:
        message = f"its keypoints have {', '.join(map(str, lengths))} values of x, y, visibility and text"
        raise SkipError(kinds.ANNOTATION_UNREADABLE, f"{message} for {count} boxes.")
    points = []
    for i, (y, x) in enumerate(zip(ys, xs, strict=True)):
        name = names[i] if names else str(i % each)
        visibility = min(max(seen[i], 0), 2) if seen else 2
        is_there = isfinite(y) and isfinite(x)
        points.append(Keypoint(name, y, x, visibility) if is_there else Keypoint(name, 0.0, 0.0, 0))
    return [tuple(points[each * number : each * (number + 1)]) for number in range(count)]
