"""What an annotation file says, before anything is looked up or believed.

A format (`boxtune.data.formats`) turns files into these; `boxtune.data.reading` finds the pictures, looks at them,
and makes records of what can be used.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from boxtune.data.compact import Compact
from boxtune.data.findings import Findings
from boxtune.data.listing import Listing
from boxtune.data.masks import Mask
from boxtune.data.records import Keypoint, Picture

Edges = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class AnnotatedObject(Compact):
    """An object as it is written: `edges` are xmin, ymin, xmax, ymax, finite but otherwise unchecked.

    Edges, mask polygons and keypoints are in pixels, or in shares of the picture if the annotation says so
    (`Annotation.in_shares`). `place` is where it stands in the file.
    """

    class_name: str
    edges: Edges
    place: str = ""
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
    """What a file says of one picture.

    Attributes:
        path: the annotation file.
        filename: the picture's name as written, with slashes; folders in it are a hint only, and so is its extension.
        objects: those that could be understood; for the others there are findings.
        size: (width, height) of the picture as the annotator's program saw it, None if it is not written.
        place: where in the file the picture is described.
        in_shares: coordinates are shares of width and height rather than pixels.
        complete: nothing of it was left out. A picture that loses all its objects is not background.
        picture: where the picture is, for formats that hold it themselves.
    """

    path: Path
    filename: str
    objects: tuple[AnnotatedObject, ...]
    size: tuple[int, int] | None = None
    place: str = ""
    in_shares: bool = False
    complete: bool = True
    picture: Picture | None = None


Parse = Callable[[Path, Findings], Iterable[Annotation]]
"""Reads one annotation file; what is wrong becomes findings. It is called once for each annotation file."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format of annotations.

    Attributes:
        name: what `--format` takes.
        title: what people call it.
        suffixes: lower-case endings of its annotation files.
        recognises: says whether a file of those endings is one of its annotations; looks at as little as it can
            and answers False, never an error, for whatever it cannot read.
        prepare: given all files of the data set, returns the function that reads each of its annotation files.
    """

    name: str
    title: str
    suffixes: frozenset[str]
    recognises: Callable[[Path], bool]
    prepare: Callable[[Listing, Findings], Parse]
