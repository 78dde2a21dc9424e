"""YOLO's labels, as Ultralytics and darknet lay them out: for each image a text file of its name.

A line is `class x y width height`, the centre and sides of a box normalized to the image, perhaps with a confidence
behind it; or `class x y x y x y ...`, a polygon, which becomes a box with a mask. Where the YAML file of the data set
has a `kpt_shape`, lines of that length hold a box and keypoints; where none has, all lines together tell these from
polygons, unless it says `task: segment`. An empty file stands for an image without objects.

Classes are numbers. Their names come from the nearest YAML file above the labels that has `names`, else from the
nearest classes.txt, _darknet.labels or file that ends in .names, else from the only such list of the data set; where
there is none, the numbers are the names. Paths in YAML files are not followed: they are often of another machine.

Sources: the data set pages of Ultralytics (detect, segment, pose), and darknet's README.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path, PurePosixPath

import yaml

from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation, AnnotationFile, Format, note_shared_names
from boxtune.data.files import read_text, writable_folder, write_text
from boxtune.data.findings import Findings, SkipError, skipped_as
from boxtune.data.formats import json_text, shapes, yolo_points
from boxtune.data.formats.text import fields_of_lines, first_line, first_text
from boxtune.data.image_record import ImageRecord, Keypoint
from boxtune.data.images import SUFFIXES
from boxtune.data.label_map import LabelMap
from boxtune.data.listing import Listing
from boxtune.errors import DataError

IMAGES_FOLDER = "images"
"""Where the writer wants the images; the labels are in a folder beside it."""

MAX_BYTES = 64 * 2**20
MAX_LIST_BYTES = 2**20
_SUFFIXES = frozenset({".txt"})
_LABELS_FOLDER = "labels"
_YAML_SUFFIXES = frozenset((".yaml", ".yml"))
_LIST_NAMES = ("classes.txt", "_darknet.labels")
_LIST_SUFFIXES = frozenset({".names"})


def _read(file: AnnotationFile, data_set: "_DataSet") -> Iterator[Annotation]:
    path = file.path
    has_image = _has_image(path)
    if path.name.lower() in _LIST_NAMES and not has_image:
        return  # read with the other lists
    with skipped_as(kinds.ANNOTATION_UNREADABLE if has_image else kinds.FOREIGN):
        lines = fields_of_lines(read_text(path, max_bytes=MAX_BYTES))
    # Without an image it may be any text.
    is_empty_label = not lines and _LABELS_FOLDER in path.parts[:-1]
    if not (has_image or is_empty_label or any(_is_label(fields) for _, fields in lines)):
        raise SkipError(kinds.FOREIGN, "no image has its name, and it holds no YOLO labels.")
    filename = file.findings.name(_among_images(path).with_suffix(""))
    read = partial(_object, classes=data_set.class_lists.of(path), data_set=data_set)
    yield file.annotation(filename, lines, read)


# Which text files are labels


def _is_label(fields: Sequence[str]) -> bool:
    """Say whether fields are a class and at least a box within, or just beyond, the image."""
    try:
        return (
            len(fields) >= 5
            and _class_number(fields[0]) >= 0
            and all(-1 <= number <= 2 for number in map(shapes.finite, fields[1:5]))
        )
    except SkipError:
        return False


def _has_image(path: Path) -> bool:
    """Say whether an image of the file's name lies beside it or in the parallel folder of images."""
    for folder in {path.parent, _among_images(path).parent}:
        with suppress(OSError):
            if path.stem in _image_names(folder, folder.stat().st_mtime_ns):
                return True
    return False


def _among_images(path: Path) -> Path:
    """Return where the images of a label file are: its last folder "labels" becomes "images"."""
    parts = list(path.parts)
    for position in reversed(range(len(parts) - 1)):
        if parts[position] == _LABELS_FOLDER:
            parts[position] = IMAGES_FOLDER
            break
    return Path(*parts)


@lru_cache(maxsize=16)
def _image_names(folder: Path, modified: int) -> frozenset[str]:
    """Return the names of the images in a folder, with and without their extensions."""
    split_names = (os.path.splitext(name) for name in os.listdir(folder))
    images = [(stem, suffix) for stem, suffix in split_names if suffix.lower() in SUFFIXES]
    return frozenset(name for stem, suffix in images for name in (stem, stem + suffix))


def _complaint(path: Path) -> str:
    """Say why the first line of an image's text file is no label, "" if it is one or the file is of no image."""
    fields = first_line(path).split()
    if not fields or not (_has_image(path) or _LABELS_FOLDER in path.parts[:-1]) or _is_label(fields):
        return ""
    try:
        _class_number(fields[0])
        numbers = list(map(shapes.finite, fields[1:]))
    except SkipError as error:
        return f"line 1: {error}"
    if len(numbers) < 4:
        return f"line 1: behind its class are {len(numbers)} numbers; a box has 4."
    return (
        f"line 1: {' '.join(fields[1:5])} are no fractions of the image. If they are pixels, give --format yolo --boxes"
        " pixels."
    )


# The lines of a label file


def _object(
    fields: Sequence[str], location: str, *, classes: "_Classes | None", data_set: "_DataSet"
) -> AnnotatedObject:
    number = _class_number(fields[0])
    name = _class_name(number, classes)
    values = [shapes.finite(field) for field in fields[1:]]
    if shape := _keypoint_shape_of(values, classes, data_set):
        names = classes.keypoint_names.get(number, ()) if classes else ()
        points = _keypoints(values[4:], shape, names)
        return AnnotatedObject(name, shapes.centred(*values[:4]), location, keypoints=points)
    if len(values) in (4, 5):
        return AnnotatedObject(name, shapes.centred(*values[:4]), location)
    if len(values) < 6 or len(values) % 2:
        message = f"behind its class are {len(values)} numbers; a box has 4, a polygon 3 or more pairs."
        raise SkipError(kinds.OBJECT_WITHOUT_BOX, message)
    edges, mask = shapes.polygon(list(zip(values[::2], values[1::2], strict=True)))
    return AnnotatedObject(name, edges, location, mask=mask)


def _keypoint_shape_of(
    values: Sequence[float], classes: "_Classes | None", data_set: "_DataSet"
) -> tuple[int, int] | None:
    """Return the shape of the keypoints behind a box, None if there are none; raise SkipError if it is unknown."""
    written = classes.keypoints if classes else None
    if written and len(values) == 4 + written[0] * written[1]:
        return written
    if len(values) < 6 or (classes and classes.are_polygons):
        return None
    reading, shape = data_set.long_lines
    if reading == "unsure":
        raise SkipError(kinds.KEYPOINTS_UNSURE, f"kpt_shape: {list(shape)} would fit, and so would polygons.")
    return shape if reading == "keypoints" else None


def _class_number(text: str) -> int:
    try:
        number = shapes.finite(text)
    except SkipError:
        number = -1.0
    if number < 0 or number != int(number):
        message = f'its class is "{text[:60]}", which is not a class number.'
        raise SkipError(kinds.OBJECT_WITHOUT_NAME, message)
    return int(number)


def _class_name(number: int, classes: "_Classes | None") -> str:
    if classes is None:
        return str(number)
    if name := classes.names.get(number):
        return name
    message = f"its class is {number}, and {classes.file} names {len(classes.names)}, counted from 0."
    raise SkipError(kinds.OBJECT_WITHOUT_NAME, message)


def _keypoints(values: Sequence[float], shape: tuple[int, int], names: Sequence[str]) -> tuple[Keypoint, ...]:
    """Return points from x, y and perhaps a visibility each; without one, a point at 0, 0 is absent."""
    count, width = shape
    known = dict(enumerate(names))
    points = []
    for index in range(count):
        x, y, *visibility = values[index * width : (index + 1) * width]
        seen = visibility[0] if visibility else 2 * (x > 0 or y > 0)
        points.append(Keypoint(known.get(index, str(index)), y, x, int(min(max(seen, 0), 2))))
    return tuple(points)


# The data set


@dataclass(frozen=True)
class _DataSet:
    """What holds for all files: the lists of classes, and what lines are that have more numbers than a box."""

    class_lists: "_ClassLists"
    listing: Listing
    findings: Findings

    @cached_property
    def long_lines(self) -> tuple[yolo_points.Reading, tuple[int, int]]:
        """As `yolo_points.told_apart`; keypoints that nothing announces are reported."""
        reading, shape = yolo_points.told_apart(self._numbers())
        if reading == "keypoints":
            message = f"they are taken for boxes with keypoints, as with kpt_shape: {list(shape)}."
            self.findings.add(kinds.KEYPOINTS_TOLD, self.findings.root, message)
        return reading, shape

    def _numbers(self) -> Iterator[list[float]]:
        """Return the numbers behind the class of each line of each label file; what cannot be read is left out."""
        for path in self.listing.ending(_SUFFIXES):
            with suppress(DataError):
                for _, fields in fields_of_lines(read_text(path, max_bytes=MAX_BYTES)):
                    if _is_label(fields) and all(map(shapes.is_finite, fields)):
                        yield list(map(float, fields[1:]))


# The names of classes


@dataclass(frozen=True, slots=True)
class _Classes:
    """The names of classes by number, as `file` says, and of the keypoints of each class by its number.

    `keypoints` is how many of those an object has, and of how many numbers each: 2, or 3 with its visibility.
    `are_polygons` says that objects have outlines.
    """

    file: str
    names: Mapping[int, str]
    keypoints: tuple[int, int] | None = None
    keypoint_names: Mapping[int, Sequence[str]] = field(default_factory=dict)
    are_polygons: bool = False


@dataclass(frozen=True, slots=True)
class _ClassLists:
    """The lists of classes by the folder they lie in, and the one for labels that are below none of these."""

    in_yaml: Mapping[Path, _Classes]
    in_text: Mapping[Path, _Classes]
    otherwise: _Classes | None

    def of(self, path: Path) -> _Classes | None:
        """Return the list that holds for a file, None if there is none."""
        for by_folder in (self.in_yaml, self.in_text):
            for folder in path.parents:
                if folder in by_folder:
                    return by_folder[folder]
        return self.otherwise


def _find_class_lists(listing: Listing, findings: Findings) -> _ClassLists:
    in_yaml = _read_each(listing.ending(_YAML_SUFFIXES), _yaml_classes, findings)
    lists = [path for path in listing.files if path.name.lower() in _LIST_NAMES]
    in_text = _read_each(lists + listing.ending(_LIST_SUFFIXES), _text_classes, findings)
    found = in_yaml | in_text
    same = len({tuple(classes.names.items()) for classes in found.values()}) == 1
    yaml_by_folder, text_by_folder = (
        {path.parent: lists[path] for path in sorted(lists, key=_preference, reverse=True)}
        for lists in (in_yaml, in_text)
    )
    otherwise = next(iter(found.values())) if same else None
    class_lists = _ClassLists(yaml_by_folder, text_by_folder, otherwise)
    for path, classes in found.items():
        used = class_lists.of(path)
        note_shared_names(classes.names.items(), path, findings)
        if used and used.names != classes.names:
            message = f"its names of classes differ from those of {used.file}, which are used."
            findings.add(kinds.NOT_READ, path, message)
    return class_lists


def _preference(path: Path) -> tuple[bool, bytes]:
    """Order the lists of one folder: the usual names first."""
    return path.stem.lower() != "data" and path.name.lower() not in _LIST_NAMES, os.fsencode(path)


def _read_each(
    paths: Iterable[Path], read: Callable[[str, str], _Classes | None], findings: Findings
) -> dict[Path, _Classes]:
    """Return the lists of those files that hold one; why another cannot be read is a finding."""
    found = {}
    for path in paths:
        try:
            classes = read(read_text(path, max_bytes=MAX_LIST_BYTES), findings.name(path))
        except DataError as error:
            findings.add(kinds.NOT_READ, path, f"it may name classes, but cannot be read: {error}")
            continue
        if classes and classes.names:
            found[path] = classes
    return found


def _text_classes(text: str, file: str) -> _Classes:
    lines = enumerate(text.rstrip().split("\n"))
    return _Classes(file, {number: line.strip() for number, line in lines if line.strip()})


def _yaml_classes(text: str, file: str) -> _Classes | None:
    """Return the classes of a YAML file, None if it names none; raise DataError if it is not YAML.

    Only the tree of nodes is made, no Python objects: nothing can be executed or blown up by references, and a class
    called "no" stays one.
    """
    if "names" not in text:
        return None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        fields = _children(root)
        names = {int(number): _scalar(node) for number, node in _children(fields.get("names")).items()}
        keypoint_names = {
            int(number): list(map(_scalar, _children(node).values()))
            for number, node in _children(fields.get("kpt_names")).items()
        }
        are_polygons = _scalar(fields.get("task")) == "segment"
        return _Classes(file, names, _keypoint_shape(fields), keypoint_names, are_polygons)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise DataError(" ".join(str(error).split())) from error


def _children(node: yaml.Node | None) -> dict[str, yaml.Node]:
    """Return the nodes of a mapping by their keys, and of a sequence by their numbers."""
    if isinstance(node, yaml.SequenceNode):
        return {str(number): child for number, child in enumerate(node.value)}
    return {_scalar(key): child for key, child in node.value} if isinstance(node, yaml.MappingNode) else {}


def _scalar(node: yaml.Node | None) -> str:
    return json_text.as_text(node.value) if isinstance(node, yaml.ScalarNode) else ""


def _keypoint_shape(fields: Mapping[str, yaml.Node]) -> tuple[int, int] | None:
    """Return `kpt_shape`; raise ValueError if it is not a number of points and 2 or 3."""
    if "kpt_shape" not in fields:
        return None
    count, width = (int(_scalar(node)) for node in _children(fields["kpt_shape"]).values())
    if count < 1 or width not in (2, 3):
        raise ValueError(f"kpt_shape is [{count}, {width}], not a number of points and 2 or 3.")
    return count, width


FORMAT = Format(
    "yolo",
    "YOLO labels",
    _SUFFIXES,
    lambda path: any(_is_label(fields) for _, fields in fields_of_lines(first_text(path))),
    _read,
    normalized=True,
    form="centres",
    context=lambda listing, findings: _DataSet(_find_class_lists(listing, findings), listing, findings),
    complaint=_complaint,
)


# Writing


def write(
    records: Sequence[ImageRecord], file_names: Sequence[str], folder: Path, label_map: LabelMap
) -> None:
    """Write labels/NAME.txt for each image, data.yaml for Ultralytics, and labels/classes.txt for LabelImg.

    Classes are numbered from 0 in the order of the label map. Boxes keep all digits. YOLO's labels have no place for
    difficult, truncated, crowd and group objects, views, weights and areas; masks and keypoints are left out too.

    Args:
        records: the annotated images [n].
        file_names: the path of each image within `folder`/images [n].
        folder: where `labels` and `data.yaml` are written, beside `images`.
        label_map: the classes; it must hold those of all objects.

    Raises:
        DataError: two images would share a label file, a class is not in the label map, or a file cannot be written.
    """
    labels = [folder / _LABELS_FOLDER / PurePosixPath(name).with_suffix(".txt") for name in file_names]
    first: dict[Path, str] = {}
    for path, name in zip(labels, file_names, strict=True):
        if (other := first.setdefault(path, name)) != name:
            raise DataError(f"{other} and {name} would share the labels {path.name}. Rename one of them.")
    for parent in sorted({path.parent for path in labels} | {folder / _LABELS_FOLDER}):
        writable_folder(parent)
    numbers = {label.id: number for number, label in enumerate(label_map.labels)}
    for record, path in zip(records, labels, strict=True):
        lines = []
        for item in record.objects:
            ymin, xmin, ymax, xmax = item.box
            values = (xmin + xmax) / 2, (ymin + ymax) / 2, xmax - xmin, ymax - ymin
            number = numbers[label_map.label(item.class_name).id]
            lines.append(f"{number} {' '.join(map(repr, map(float, values)))}\n")
        write_text(path, "".join(lines))
    if all([name] == name.strip().splitlines() for name in label_map.names):  # a list of lines can hold them
        write_text(folder / _LABELS_FOLDER / _LIST_NAMES[0], "".join(f"{name}\n" for name in label_map.names))
    write_text(folder / "data.yaml", _data_yaml(file_names, label_map))


def _data_yaml(file_names: Sequence[str], label_map: LabelMap) -> str:
    """Return the text of data.yaml; folders of images that are called like parts of the data set are these."""
    folders = {name.partition("/")[0] for name in file_names if "/" in name}

    def part(*names: str, otherwise: str) -> str:
        return next((f"{IMAGES_FOLDER}/{name}" for name in names if name in folders), otherwise)

    train = part("train", otherwise=IMAGES_FOLDER)
    content: dict[str, object] = {"train": train, "val": part("val", "valid", "validation", otherwise=train)}
    if "test" in folders:
        content["test"] = part("test", otherwise=train)
    content |= {"nc": len(label_map.labels), "names": label_map.names}
    # PyYAML writes Unicode's own ends of lines as they are, and reads them as blanks.
    is_plain = not any(end in name for name in label_map.names for end in "\x85\u2028\u2029")
    return yaml.safe_dump(content, allow_unicode=is_plain, sort_keys=False)
