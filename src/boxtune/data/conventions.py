"""How boxes are written, and whether a whole set is written in another way than its format says.

One box that does not fit its image is a slip, which is repaired. What most boxes of a set or of a file share is none,
nor what a considerable part shares: then another convention is likely, and nothing is guessed, but the convention that
would fit is named.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from boxtune.data.annotations import AnnotatedObject, Annotation, Edges, Form
from boxtune.errors import DataError, did_you_mean

AS_WRITTEN = "as_written"
UNITS = ("pixels", "normalized")
FORMS: tuple[Form, ...] = ("corners", "sides", "centres", "yxyx", "xxyy")
ORIENTATIONS = ("upright", "stored")
NAMES = ("own", "written")

_MOST = 0.5  # of a set that cannot be slips
_SOME = 0.1  # of a set that cannot be slips where another convention fits
_MANY = 0.25  # of a small set that cannot be slips where another convention fits
_ALL = 0.98  # of a set
_FEWEST = 3  # boxes that can be called a set
_FEWEST_OF_UNIT = 2  # boxes that can be called a part of a set, by their unit
_FEWEST_OF_FORM = 10  # the same by their form, which numbers may fit by chance
_MOST_SHOWN = 3
_TOLERANCE = 0.02  # of a side, by which a box may miss the image
_EQUAL = 0.01  # of a value

_Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Convention:
    """What the four numbers of a box are: its form, and fractions of the image or pixels."""

    form: Form
    normalized: bool

    def __str__(self) -> str:
        return f"{UNITS[self.normalized]},{self.form}"

    def numbers(self, edges: Edges) -> tuple[float, float, float, float]:
        """Return the numbers that stand for edges."""
        xmin, ymin, xmax, ymax = edges
        match self.form:
            case "sides":
                return xmin, ymin, xmax - xmin, ymax - ymin
            case "centres":
                return (xmin + xmax) / 2, (ymin + ymax) / 2, xmax - xmin, ymax - ymin
            case "yxyx":
                return ymin, xmin, ymax, xmax
            case "xxyy":
                return xmin, xmax, ymin, ymax
        return edges

    def edges(self, numbers: tuple[float, float, float, float]) -> Edges:
        """Return the edges that numbers stand for."""
        a, b, c, d = numbers
        match self.form:
            case "sides":
                return a, b, a + c, b + d
            case "centres":
                return a - c / 2, b - d / 2, a + c / 2, b + d / 2
            case "yxyx":
                return b, a, d, c
            case "xxyy":
                return a, c, b, d
        return numbers


Fits = Counter[frozenset[Convention]]
"""How many boxes fit their images by which conventions."""


@dataclass(frozen=True, slots=True)
class Assumed:
    """What the user says about a set: how its boxes are written, how turned images were seen, which names count.

    `boxes` is "" where nothing is said, else as `--boxes` takes it; `exif` is "" or one of ORIENTATIONS, and
    `image_names` "" or one of NAMES, where a file names another image than that of its own name.
    """

    boxes: str = ""
    exif: str = ""
    image_names: str = ""

    def __post_init__(self) -> None:
        words = (AS_WRITTEN, *UNITS, *FORMS)
        for word in filter(None, self.boxes.split(",")):
            if word not in words:
                near = did_you_mean(word, words)
                raise DataError(f'--boxes knows no "{word}".{near} Known: {", ".join(words)}.')
        flags = ("exif", self.exif, ORIENTATIONS), ("image_names", self.image_names, NAMES)
        for flag, value, allowed in flags:
            if value and value not in allowed:
                raise DataError(f'--{flag} is "{value}"; it must be one of {", ".join(allowed)}.')

    def convention(self, written: Convention) -> Convention:
        """Return the convention to read by, where a format's own is `written`."""
        words = self.boxes.split(",")
        form = next((form for form in FORMS if form in words), written.form)
        unit = next((unit for unit in UNITS if unit in words), UNITS[written.normalized])
        return Convention(form, unit == UNITS[True])


def reread(annotation: Annotation, written: Convention, chosen: Convention) -> Annotation:
    """Return an annotation whose boxes were read by one convention, read by another."""
    if written == chosen:
        return annotation
    items = tuple(
        item if _is_outline(item) else replace(item, edges=chosen.edges(written.numbers(item.edges)))
        for item in annotation.objects
    )
    return replace(annotation, objects=items, normalized=chosen.normalized)


def fitting(annotation: Annotation, written: Convention, sizes: Sequence[_Size]) -> Fits:
    """Count the boxes of an annotation by the conventions by which they fit its image.

    `sizes` are the width and height that the image may have been seen with.
    """
    return Counter(
        frozenset(_conventions_of(item, written, sizes))
        for item in annotation.objects
        if item.edges[0] != item.edges[2] and item.edges[1] != item.edges[3]
    )


def doubt(fits: Mapping[str, Fits], written: Convention) -> str:
    """Return what is wrong with the convention that a set was read by, "" if nothing is.

    `fits` are those of each file, by its name.
    """
    whole = sum(fits.values(), Fits())
    total, wrong = whole.total(), whole.total() - _num_fitting(whole, written)
    message = f"{wrong} of {total} boxes do not fit their images as {written}."
    if others := better(whole, written):
        flags = " or ".join(f"--boxes {_words(one, written)}" for one in others)
        return f"{message} All would fit with {flags}."
    if _fitting_all(whole, written):
        return ""
    if total >= _FEWEST and wrong > _MOST * total:
        return f"{message} Nor do they in any other way that is known."
    return ""


def mixture(fits: Mapping[str, Fits], written: Convention) -> str:
    """Return which part of a set is written in another way than the rest, "" if none is; `fits` as for `doubt`."""
    whole = sum(fits.values(), Fits())
    if _fitting_all(whole, written):
        return ""
    misfits = {
        name: Fits({by: count for by, count in one.items() if written not in by})
        for name, one in fits.items()
    }
    all_misfits = sum(misfits.values(), Fits())
    other = max(_all_conventions(written)[1:], key=partial(_num_fitting, all_misfits))
    count = _num_fitting(all_misfits, other)
    if other.normalized != written.normalized:
        fewest = max(_FEWEST_OF_UNIT, _SOME * whole.total())
    else:
        fewest = max(_FEWEST_OF_FORM, _SOME * whole.total(), _ALL * all_misfits.total())
    if count >= fewest:
        files = [name for name, one in misfits.items() if _num_fitting(one, other)]
        return _told(count, other, written, files)
    for name, one in fits.items():
        if one.total() >= _FEWEST_OF_FORM and (others := better(one, written)):
            return _told(one.total(), others[0], written, [name])
    return ""


def better(fits: Fits, written: Convention) -> list[Convention]:
    """Return the other conventions by which all boxes fit, where too many for slips do not as they are written."""
    others = _fitting_all(fits, written)
    total, wrong = fits.total(), fits.total() - _num_fitting(fits, written)
    units_differ = any(one.normalized != written.normalized for one in others)
    are_no_slips = (
        (total >= _FEWEST and wrong > _MOST * total)
        or wrong >= max(_FEWEST, _SOME * total)
        or wrong >= max(2, _MANY * total)
        or (units_differ and wrong >= _SOME * total)
    )
    return others if are_no_slips else []


def _told(count: int, other: Convention, written: Convention, files: Sequence[str]) -> str:
    more = f" and {len(files) - _MOST_SHOWN} more" if len(files) > _MOST_SHOWN else ""
    shown = ", ".join(files[:_MOST_SHOWN]) + more
    return f"{count} boxes fit their images as {other}, those of the rest as {written}. They are in {shown}."


def _num_fitting(fits: Fits, one: Convention) -> int:
    return sum(count for by, count in fits.items() if one in by)


def _fitting_all(fits: Fits, written: Convention) -> list[Convention]:
    """Return the other conventions by which all boxes fit, those that differ in one respect where there are any."""
    others, fewest = _all_conventions(written)[1:], _ALL * fits.total()
    found = [one for one in others if _num_fitting(fits, one) >= fewest > 0]
    return [one for one in found if "," not in _words(one, written)] or found


def _words(one: Convention, written: Convention) -> str:
    """Return what has to be said for a convention in place of another."""
    words: list[str] = [one.form] * (one.form != written.form)
    words += [UNITS[one.normalized]] * (one.normalized != written.normalized)
    return ",".join(words)


@cache
def _all_conventions(written: Convention) -> list[Convention]:
    """Return the convention that is written, and behind it all others."""
    forms = [written.form, *(form for form in FORMS if form != written.form)]
    return [Convention(form, unit) for unit in (written.normalized, not written.normalized) for form in forms]


def are_fractions(numbers: Iterable[float]) -> bool:
    """Say whether numbers can only be fractions of an image: all from 0 to 1, and not all of them whole."""
    numbers = list(numbers)
    return all(0 <= number <= 1 for number in numbers) and any(number % 1 for number in numbers)


def _conventions_of(item: AnnotatedObject, written: Convention, sizes: Sequence[_Size]) -> list[Convention]:
    """Return the conventions by which a box fits its image."""
    numbers = written.numbers(item.edges)
    usable = [one for one in _all_conventions(written) if _fits(one, numbers, sizes)]
    if _is_outline(item):
        return [one for one in usable if one.form == written.form]
    proven = [one for one in usable if _is_proven(item.area, _bounds(item), one.edges(numbers))]
    return proven if proven and written not in proven else usable


def _fits(one: Convention, numbers: tuple[float, float, float, float], sizes: Sequence[_Size]) -> bool:
    """Say whether numbers are a box within an image of one of the sizes."""
    edges = one.edges(numbers)
    if not (edges[0] < edges[2] and edges[1] < edges[3]):
        return False
    if one.normalized:
        return _is_within(edges, (1.0, 1.0), 0.0)
    return not are_fractions(numbers) and any(_is_within(edges, size, 1.0) for size in sizes)


def _is_within(edges: Edges, size: tuple[float, float], pixel: float) -> bool:
    return all(
        -_TOLERANCE * side - pixel <= low and high <= (1 + _TOLERANCE) * side + pixel
        for low, high, side in zip(edges[:2], edges[2:], size, strict=True)
    )


def _is_outline(item: AnnotatedObject) -> bool:
    """Say whether a box is that around the polygons of its object, and not written itself."""
    bounds = _bounds(item)
    return bounds is not None and _are_equal(bounds, item.edges)


def _is_proven(area: float | None, bounds: Edges | None, edges: Edges) -> bool:
    """Say whether the bounds of an object's polygons, or its area, are those of a box."""
    if bounds:
        return _are_equal(bounds, edges)
    area_of_box = (edges[2] - edges[0]) * (edges[3] - edges[1])
    return area is not None and abs(area - area_of_box) <= _EQUAL * area_of_box


def _bounds(item: AnnotatedObject) -> Edges | None:
    polygons = item.mask.polygons if item.mask else ()
    xs = [x for polygon in polygons for x in polygon[::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return (min(xs), min(ys), max(xs), max(ys)) if xs and ys else None


def _are_equal(one: Edges, other: Edges) -> bool:
    scale = max(map(abs, one))
    return all(abs(a - b) <= _EQUAL * scale for a, b in zip(one, other, strict=True))
