"""The content of an annotation file, before anything is looked up or checked.

A format (`boxtune.data.formats`) turns files into these; `boxtune.data.reading` finds the images, looks at them,
and makes records of what can be used.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from boxtune.data import findings as kinds
from boxtune.data.compact import Compact
from boxtune.data.findings import Findings
from boxtune.data.image_record import ImageSource, Keypoint
from boxtune.data.listing import Listing
from boxtune.data.masks import Mask
from boxtune.data.splits import part_of_folder

Edges = tuple[float, float, float, float]
Form = Literal["corners", "sides", "centres", "yxyx", "xxyy"]
"""What the numbers of a box are: two corners; a corner and sides; the centre and sides; edges in other orders."""


@dataclass(frozen=True, slots=True)
class AnnotatedObject(Compact):
    """An object as it is written: `edges` are xmin, ymin, xmax, ymax, finite but otherwise unchecked.

    Edges, mask polygons and keypoints are in pixels, or normalized to the image if the annotation says so
    (`Annotation.normalized`). `location` is where it stands in the file.
    """

    class_name: str
    edges: Edges
    location: str = ""
    difficult: bool = False
    truncated: bool = False
    is_crowd: bool = False
    group_of: bool = False
    view: str = ""
    weight: float = 1.0
    area: float | None = None
    mask: Mask | None = None
    keypoints: tuple[Keypoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Annotation(Compact):
    """The content of a file about one image.

    Attributes:
        path: the annotation file.
        filename: the image's name as written, with slashes; folders in it are a hint only, and so is its extension.
        objects: those that could be understood; for the others there are findings.
        size: (width, height) of the image as the annotator's program saw it, None if it is not written.
        location: where in the file the image is described.
        normalized: coordinates are fractions of width and height rather than pixels.
        complete: nothing of it was left out. An image that loses all its objects is not background.
        source: where the image is, for formats that hold it themselves.
        subset: the part of the data set that it belongs to, as the file calls it.
    """

    path: Path
    filename: str
    objects: tuple[AnnotatedObject, ...]
    size: tuple[int, int] | None = None
    location: str = ""
    normalized: bool = False
    complete: bool = True
    source: ImageSource | None = None
    subset: str = ""


class Row(NamedTuple):
    """A row of a table: its location, its image's name, size and subset, and its object, None if it has none."""

    location: str
    filename: str
    size: tuple[int, int] | None
    item: Any
    subset: str = ""


@dataclass(frozen=True, slots=True)
class AnnotationFile:
    """An annotation file that is being read; what is wrong with it becomes findings."""

    path: Path
    findings: Findings
    normalized: bool = False

    def skipping(self, location: str, image: str = "") -> AbstractContextManager[None]:
        """Turn a SkipError into a finding about a location in the file, and go on behind the block."""
        return self.findings.skipping(self.path, location=location, image=image)

    def annotation(
        self,
        filename: str,
        items: Iterable[tuple[str, Any]],
        read: Callable[[Any, str], AnnotatedObject],
        *,
        size: tuple[int, int] | None = None,
        location: str = "",
        source: ImageSource | None = None,
        subset: str = "",
    ) -> Annotation:
        """Return the annotation of one image; its objects are made of `items` with their locations.

        `read(item, location)` raises SkipError for an object that cannot be used, which becomes a finding.
        """
        filename = filename.replace("\\", "/")
        items, objects = list(items), []
        for item_location, item in items:
            with self.skipping(item_location, filename):
                objects.append(read(item, item_location))
        complete = len(objects) == len(items)
        return Annotation(
            self.path, filename, tuple(objects), size, location, self.normalized, complete, source, subset
        )

    def annotations_of_rows(
        self, rows: Iterable[Row], read: Callable[[Any, str], AnnotatedObject]
    ) -> Iterator[Annotation]:
        """Yield the annotation of each image of a table, by their first rows; `read` is that of `annotation`.

        Images of one name in two parts of the data set are two.
        """
        first: dict[tuple[str, int | None], Row] = {}
        objects: dict[tuple[str, int | None], list[AnnotatedObject]] = {}
        counts: Counter[tuple[str, int | None]] = Counter()
        for row in rows:
            image = row.filename, part_of_folder(row.subset)
            first.setdefault(image, row)
            found = objects.setdefault(image, [])
            if row.item is not None:
                counts[image] += 1
                with self.skipping(row.location, row.filename):
                    found.append(read(row.item, row.location))
        for image, row in first.items():
            yield Annotation(
                self.path,
                row.filename,
                tuple(objects[image]),
                row.size,
                row.location,
                self.normalized,
                complete=len(objects[image]) == counts[image],
                subset=row.subset,
            )


def note_shared_names(names: Iterable[tuple[object, str]], path: Path, findings: Findings) -> None:
    """Report the names of classes that a file gives to several numbers."""
    numbers: dict[str, list[str]] = {}
    for number, name in names:
        numbers.setdefault(name, []).append(str(number))
    for name, same in numbers.items():
        if len(same) > 1:
            findings.add(kinds.CLASS_NUMBERS, path, f'numbers {", ".join(same)} are all "{name}".')


@dataclass(frozen=True, slots=True)
class Format:
    """A format of annotations.

    Attributes:
        name: what `--format` takes.
        title: what people call it.
        suffixes: lower-case endings of its annotation files.
        recognises: says whether a file of those endings is one of its annotations; looks at as little as it can
            and answers False, never an error, for whatever it cannot read.
        read: yields the annotations of an AnnotationFile; raises SkipError if it cannot be read.
        normalized: its coordinates are fractions of width and height rather than pixels.
        form: what the four numbers of its boxes are.
        complaint: says why a file that looks like one of its annotations is not read; "" if it does not look so.
        context: given all files of the data set, returns what `read` takes as its second argument, if it takes one.
    """

    name: str
    title: str
    suffixes: frozenset[str]
    recognises: Callable[[Path], bool]
    read: Callable[..., Iterator[Annotation]]
    normalized: bool = False
    form: Form = "corners"
    context: Callable[[Listing, Findings], Any] | None = None
    complaint: Callable[[Path], str] | None = None

    def annotations(
        self, paths: Iterable[Path], data_set: Listing, findings: Findings
    ) -> Iterator[Annotation]:
        """Read annotation files one after another; what is wrong with them, and with the data set, becomes findings."""
        context = [self.context(data_set, findings)] if self.context else []
        for path in paths:
            with findings.skipping(path):
                yield from self.read(AnnotationFile(path, findings, self.normalized), *context)
