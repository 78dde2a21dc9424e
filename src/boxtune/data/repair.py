"""From an annotation and its image to a record: what is certain is repaired, the rest is skipped."""

from dataclasses import dataclass, replace

from boxtune.data import conventions, images
from boxtune.data import findings as kinds
from boxtune.data.annotations import AnnotatedObject, Annotation
from boxtune.data.findings import Findings, Kind, SkipError
from boxtune.data.image_record import (
    Box,
    ImageRecord,
    ImageSource,
    Keypoint,
    ObjectRecord,
    clip,
    has_area,
    reorder,
    rounded,
)
from boxtune.data.images import ImageInfo
from boxtune.data.masks import Mask
from boxtune.data.tfrecord import MAX_OBJECTS

TINY_SIDE = 3  # pixels
_ROUNDED_PIXELS = 0.05  # by which an edge may miss the image's without a word


def image_record(
    annotation: Annotation,
    name: str,
    source: ImageSource,
    info: ImageInfo,
    findings: Findings,
    exif: str = "",
) -> ImageRecord:
    """Return the record of an image, which is `name` in the data set; repairs and skipped objects are findings.

    Where the annotation does not say which way the annotator saw the image, `exif` does: "upright" or "stored".

    Boxes are put in order and cut to the image, those without area and doubles are left out, and an image with
    an EXIF orientation is turned upright together with its boxes.

    Raises:
        SkipError: the annotation had objects, and none of them can be used.
    """
    case = _Case(annotation, name, findings)
    _note_format(case, source, info)
    frame = _frame(case, info, exif)
    return ImageRecord(
        name=name,
        source=source,
        annotation=findings.name(annotation.path),
        width=frame.width,
        height=frame.height,
        objects=_objects(case, frame),
        orientation=frame.orientation,
        subset=annotation.subset,
    )


@dataclass(frozen=True, slots=True)
class _Case:
    """The annotation and image that findings are about."""

    annotation: Annotation
    name: str
    findings: Findings

    def add(self, kind: Kind, message: str, item: AnnotatedObject | None = None) -> None:
        location = (item.location if item else "") or self.annotation.location
        self.findings.add(kind, self.annotation.path, message, location=location, image=self.name)


@dataclass(frozen=True, slots=True)
class _Frame:
    """How coordinates as written become fractions of the upright image of `width` by `height` pixels.

    `orientation` is what the image is turned by, `boxes_too` whether the annotator saw it before that, and `unit`
    what x and y are divided by first.
    """

    width: int
    height: int
    orientation: int
    boxes_too: bool
    unit: tuple[float, float]

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Return x and y of a point as fractions."""
        fraction = x / self.unit[0], y / self.unit[1]
        return images.upright_point(*fraction, self.orientation) if self.boxes_too else fraction

    def box(self, edges: tuple[float, float, float, float]) -> Box:
        """Return a box as fractions; its corners keep their order unless they are turned."""
        (x1, y1), (x2, y2) = self.point(*edges[:2]), self.point(*edges[2:])
        return Box(y1, x1, y2, x2)

    def keypoint(self, point: Keypoint) -> Keypoint:
        """Return a keypoint with its location as fractions."""
        x, y = self.point(point.x, point.y)
        return point._replace(x=x, y=y)

    def mask(self, mask: Mask) -> Mask:
        """Return a mask with its polygons as fractions and its orientation noted."""
        polygons = tuple(
            tuple(v for x, y in zip(p[::2], p[1::2], strict=False) for v in self.point(x, y))
            for p in mask.polygons
        )
        return replace(mask, polygons=polygons, orientation=self.orientation if self.boxes_too else 1)


def _note_format(case: _Case, source: ImageSource, info: ImageInfo) -> None:
    def add(kind: Kind, message: str) -> None:
        location = case.annotation.location if source.span else ""
        case.findings.add(kind, source.path, message, location=location, image=case.name)

    if source.span is None and not images.fits_extension(info.format, source.path):
        add(kinds.IMAGE_WRONG_EXTENSION, f"its content is {info.format}.")
    if info.lacks_end:
        add(kinds.IMAGE_WITHOUT_END, "every pixel of it is there.")
    if info.recoding_reason:
        add(kinds.IMAGE_RECODED, f"{info.recoding_reason}.")
    elif info.mode == "L":
        add(kinds.IMAGE_GREY, "its pixels are 8 bit grey.")


def _frame(case: _Case, info: ImageInfo, exif: str) -> _Frame:
    """Find out which way the annotator saw the image: by the size that is written, where the sides differ."""
    stored, sideways = (info.width, info.height), (info.height, info.width)
    written = case.annotation.size
    is_known = info.orientation >= 5 and info.width != info.height and written in (stored, sideways)
    saw_upright = written == sideways if is_known else exif == "upright" and info.orientation != 1
    if is_known or (info.orientation != 1 and (exif or not case.annotation.objects)):
        way = "upright" if saw_upright else "as it is stored, so its boxes are turned with it"
        case.add(kinds.IMAGE_TURNED, f"EXIF orientation {info.orientation}: it was annotated {way}.")
    elif info.orientation != 1:
        message = f"EXIF orientation {info.orientation}, and it is unknown which way the annotator saw it."
        case.add(kinds.ORIENTATION_UNSURE, message)
    seen = sideways if saw_upright and info.orientation >= 5 else stored
    if written not in (None, seen):
        case.add(kinds.SIZE_DIFFERS, f"it says {_by(written)}, the image has {_by(seen)}.")
    return _Frame(
        *(sideways if info.orientation >= 5 else stored),
        orientation=info.orientation,
        boxes_too=not saw_upright,
        unit=(1, 1) if case.annotation.normalized else seen,
    )


def _objects(case: _Case, frame: _Frame) -> tuple[ObjectRecord, ...]:
    records: list[ObjectRecord] = []
    classes_at: dict[tuple[float, ...], set[str]] = {}
    for item in case.annotation.objects:
        location = item.location or case.annotation.location
        with case.findings.skipping(case.annotation.path, location=location, image=case.name):
            record = _object(case, item, frame)
            classes = classes_at.setdefault(rounded(record.box), set())
            if item.class_name in classes:
                raise SkipError(kinds.BOX_TWICE, f"{_shown(item)} is there already.")
            if classes:
                case.add(kinds.BOX_OF_TWO_CLASSES, f'{_shown(item)} is there as "{min(classes)}" too.', item)
            classes.add(item.class_name)
            records.append(record)
    if len(records) > MAX_OBJECTS:
        message = f"it has {len(records)}, and at most {MAX_OBJECTS} are possible."
        raise SkipError(kinds.OBJECTS_TOO_MANY, message)
    if records:
        return tuple(records)
    if case.annotation.objects or not case.annotation.complete:
        raise SkipError(kinds.NO_USABLE_OBJECT, "none of its objects can be used.")
    case.add(kinds.NO_OBJECT, "it has none.")
    return ()


def _object(case: _Case, item: AnnotatedObject, frame: _Frame) -> ObjectRecord:
    # JSON may hold halves of characters.
    if any("\ud800" <= character <= "\udfff" for character in item.class_name):
        raise SkipError(kinds.OBJECT_WITHOUT_NAME, f"{item.class_name!a} is not text.")
    if not case.annotation.normalized and conventions.are_fractions(item.edges):
        raise SkipError(kinds.BOX_IN_FRACTIONS, f"{_shown(item)} would be less than a pixel.")
    written = frame.box(item.edges)
    ordered = reorder(written)
    clipped = clip(ordered)
    size = frame.width, frame.height
    if not has_area(ordered):
        raise SkipError(kinds.BOX_WITHOUT_AREA, f"{_shown(item)} has none.")
    if not has_area(clipped):
        raise SkipError(kinds.BOX_OUTSIDE, f"{_shown(item)} lies outside of {_by(size)}.")
    xmin, ymin, xmax, ymax = item.edges
    if xmin > xmax or ymin > ymax:
        case.add(kinds.BOX_REORDERED, f"{_shown(item)} has them swapped.", item)
    scales = zip(clipped, ordered, (frame.height, frame.width) * 2, strict=True)
    if any(abs(a - b) * side > _ROUNDED_PIXELS for a, b, side in scales):
        case.add(kinds.BOX_CLIPPED, f"{_shown(item)} reaches out of {_by(size)}.", item)
    sides = (clipped.xmax - clipped.xmin) * frame.width, (clipped.ymax - clipped.ymin) * frame.height
    if min(sides) < TINY_SIDE - 0.001:  # fractions of an image do not give whole pixels back exactly
        case.add(kinds.BOX_TINY, f"{_shown(item)} is {sides[0]:.3g} x {sides[1]:.3g} pixels.", item)
    return ObjectRecord(
        item.class_name,
        clipped,
        difficult=item.difficult,
        truncated=item.truncated,
        is_crowd=item.is_crowd,
        group_of=item.group_of,
        view=item.view,
        weight=item.weight,
        area=item.area,
        mask=frame.mask(item.mask) if item.mask else None,
        keypoints=tuple(frame.keypoint(point) for point in item.keypoints),
    )


def _shown(item: AnnotatedObject) -> str:
    return f"{item.class_name} [xmin, ymin, xmax, ymax] = {[float(f'{edge:.6g}') for edge in item.edges]}"


def _by(size: tuple[int, int] | None) -> str:
    return "x".join(map(str, size or ()))
