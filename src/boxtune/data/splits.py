"""Which images are for training, which for validation and which for testing."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path, PurePosixPath

from boxtune.data.files import read_lines
from boxtune.data.image_record import ImageRecord
from boxtune.data.stratification import BACKGROUND, Unit, stratify
from boxtune.errors import DataError, did_you_mean, many, printable

TRAIN, VALIDATION, TEST = range(3)

_PART_OF_WORD = {
    **dict.fromkeys(("train", "training", "trainset", "trainval"), TRAIN),
    **dict.fromkeys(
        ("val", "valid", "validate", "validation", "valset", "dev", "eval", "evaluation"), VALIDATION
    ),
    **dict.fromkeys(("test", "testing", "testset"), TEST),
}
# Words that may stand beside those in a folder's name: "train_images" is for training, "train_station" is not.
_FILLERS = frozenset(
    ("set", "data", "dataset", "image", "images", "img", "imgs", "photos", "pictures", "labels")
)
_LIST_FILLERS = frozenset(
    ("list", "lists", "file", "files", "filenames", "names", "ids", "split", "path", "paths")
)
VOC_FLAG = re.compile(r"\s+(-1|0|1)$")
"""In the lists of Pascal VOC, behind a name: whether a class is in the image."""

_ENDING = re.compile(r"\.(jpe?g|png|bmp|gif|tiff?|webp|xml|txt|json)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Split:
    """The parts, each in the byte order of the images' names.

    `unassigned` are those of `train` that are there only because nothing says where they belong.
    """

    train: tuple[ImageRecord, ...]
    validation: tuple[ImageRecord, ...]
    test: tuple[ImageRecord, ...] = ()
    unassigned: tuple[ImageRecord, ...] = ()


def by_ratio(
    images: Sequence[ImageRecord],
    *,
    validation_fraction: float,
    seed: int,
    groups: Mapping[str, int] | None = None,
    kept: Mapping[str, int] | None = None,
) -> Split:
    """Draw the fraction `validation_fraction` in [0, 1) of the images for validation; at least one unless it is 0.

    The number of images comes first, then every class on both sides, then the fraction of each class. A class that
    is in one group only is for training, unless another class needs that group for validation. Equal names, objects,
    groups and seed give the same split on every machine, in whatever order they come.

    Args:
        images: the images; their names differ.
        validation_fraction: as a fraction of the number of images.
        seed: of the draw.
        groups: numbers by the names of images; images of equal number stay together (copies, say: see
            `boxtune.data.duplicates`), one without number is on its own.
        kept: parts of images by their names: these stay there, and of their groups the others come to them; what is
            drawn of the rest brings the whole as near to the fraction as it can.

    Raises:
        DataError: the fraction is out of range, or there are fewer than two groups.
    """
    if not 0 <= validation_fraction < 1:
        raise DataError(
            f"The validation fraction is {validation_fraction}; it must be at least 0 and below 1."
        )
    if validation_fraction == 0:
        return _split(images, {})
    if kept:
        drawn = _drawn_beside(images, kept, validation_fraction, seed, groups or {})
        split = _split(images, {**kept, **drawn})
        if not (split.train and split.validation):
            raise DataError(
                f"The split of before leaves {many(len(split.train), 'image')} for training and "
                f"{len(split.validation)} for validation. Draw another with --new_split."
            )
        return split
    units = _units(images, groups or {}, at_least=2)
    num_validation = min(max(1, round(len(images) * validation_fraction)), len(images) - 1)
    sizes = (len(images) - num_validation, num_validation)
    return _split(images, _by_name(units, stratify(units, sizes, seed=seed, main=TRAIN)))


def _drawn_beside(
    images: Sequence[ImageRecord],
    kept: Mapping[str, int],
    validation_fraction: float,
    seed: int,
    groups: Mapping[str, int],
) -> dict[str, int]:
    """Return the parts of the images that are not among the `kept`, by their names; see `by_ratio`."""
    drawn: dict[str, int] = {}
    new = []
    for unit in _units(images, groups, at_least=1):
        parts = [kept[name] for name in unit.names if name in kept]
        if parts:
            drawn |= {name: min(parts) for name in unit.names if name not in kept}  # for training if any is
        else:
            new.append(unit)
    num_new = sum(len(unit.names) for unit in new)
    num_kept = Counter([*kept.values(), *drawn.values()])
    num_all = num_kept[TRAIN] + num_kept[VALIDATION] + num_new
    wanted = round(num_all * validation_fraction) - num_kept[VALIDATION]
    measured = {
        item.class_name for image in images if kept.get(image.name) == VALIDATION for item in image.objects
    }
    has_new_class = any(unit.classes.keys() - measured - {BACKGROUND} for unit in new)
    num_validation = min(max(wanted, int(has_new_class)), num_new - 1)
    if len(new) < 2 or num_validation < 1:
        part = VALIDATION if new and wanted >= num_new else TRAIN
        return drawn | {name: part for unit in new for name in unit.names}
    sizes = (num_new - num_validation, num_validation)
    return drawn | _by_name(new, stratify(new, sizes, seed=seed, main=TRAIN))


def fold(
    images: Sequence[ImageRecord],
    *,
    folds: int,
    fold: int,
    seed: int,
    groups: Mapping[str, int] | None = None,
) -> Split:
    """Return number `fold` in [1, folds] of a cross-validation: one part for validation, the others for training.

    Each image is in the validation part of exactly one of the folds; otherwise as `by_ratio`. Raises DataError if
    the numbers are out of range or there are fewer groups than folds.
    """
    if folds < 2 or not 1 <= fold <= folds:
        raise DataError(
            f"This is fold {fold} of {folds}; there must be at least 2 folds, and they count from 1."
        )
    units = _units(images, groups or {}, at_least=folds)
    sizes = [(len(images) + number) // folds for number in range(folds)]
    drawn = stratify(units, sizes, seed=seed)
    return _split(images, _by_name(units, [VALIDATION if part == fold - 1 else TRAIN for part in drawn]))


def by_list(images: Sequence[ImageRecord], list_file: Path) -> Split:
    """Take for validation the images that a text file names, one a line; the others are for training.

    A name may lack the extension and the first folders, or have more folders in front (as in the lists of YOLO); a
    flag behind it is ignored (as in those of Pascal VOC), and so are blank lines and those that start with #.
    Raises DataError if the file cannot be read, a name fits no image or several, or a side would be empty.
    """
    known = by_last_part(image.name for image in images)
    validation = set()
    for number, line in enumerate(read_lines(list_file), start=1):
        text = line.strip()
        if text and not text.startswith("#"):
            validation.add(_named(text, known, f"{list_file}:{number}: {printable(text)}"))
    if not 0 < len(validation) < len(images):
        raise DataError(
            f"{list_file} names {len(validation)} of {len(images)} usable images for validation;"
            " there must be at least one, and at least one left for training."
        )
    return _split(images, dict.fromkeys(validation, VALIDATION))


def by_folders(images: Sequence[ImageRecord]) -> Split | None:
    """Return the split that the data set comes with; None if it has none, or none for most of its images.

    What counts is the subset that the annotation says, else the innermost folder of an image that is named train,
    valid, test or similarly ("val2017", "test_images"), otherwise the name of its annotation file, if that is of
    several images ("train_labels.csv"), or a folder of it. If nothing is for validation, what is for testing becomes
    that. Images without a part are for training.
    """
    annotated = Counter(image.annotation for image in images)
    found = {image.name: _part_of(image, shared=annotated[image.annotation] > 1) for image in images}
    parts = {name: part for name, part in found.items() if part is not None}
    if VALIDATION not in parts.values():
        parts = {name: min(part, VALIDATION) for name, part in parts.items()}
    if not {TRAIN, VALIDATION} <= set(parts.values()) or 2 * len(parts) < len(images):
        return None
    return divided(images, parts)


def divided(images: Sequence[ImageRecord], parts: Mapping[str, int]) -> Split:
    """Divide the images by the parts of their names; those without one are for training.

    These are unassigned, unless nothing else is for training.
    """
    split = _split(images, parts)
    if TRAIN not in parts.values():
        return split
    return replace(split, unassigned=tuple(image for image in split.train if image.name not in parts))


def leaks(split: Split, groups: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return the images whose group is in an earlier part too, behind the first name of that group there.

    `groups` are as those of `by_ratio`; the parts are in the order training, validation, test.
    """
    first: dict[int, tuple[int, str]] = {}
    found = []
    for part, images in enumerate((split.train, split.validation, split.test)):
        for name in (image.name for image in images if image.name in groups):
            first_part, first_name = first.setdefault(groups[name], (part, name))
            if first_part != part:
                found.append((first_name, name))
    return found


def _split(images: Iterable[ImageRecord], parts: Mapping[str, int]) -> Split:
    """Divide the images by the parts of their names; without one they are for training."""
    groups: list[list[ImageRecord]] = [[], [], []]
    for image in sorted(images, key=_byte_order):
        groups[parts.get(image.name, TRAIN)].append(image)
    return Split(*map(tuple, groups))


def _byte_order(image: ImageRecord) -> bytes:
    return image.name.encode(errors="surrogateescape")


def _units(images: Sequence[ImageRecord], groups: Mapping[str, int], *, at_least: int) -> list[Unit]:
    """Return images that stay together, in the byte order of the first names; raise DataError if there are too few."""
    together: dict[int | str, list[ImageRecord]] = {}
    for image in sorted(images, key=_byte_order):
        together.setdefault(groups.get(image.name, image.name), []).append(image)
    if len(together) < at_least:
        raise DataError(
            f"There are too few usable images: {len(images)}, or {len(together)} without copies. Training and"
            f" validation need at least {at_least}. Annotate more images: two dozen are a start."
        )
    units = []
    for group in together.values():
        classes = ({item.class_name for item in image.objects} or {BACKGROUND} for image in group)
        units.append(Unit(tuple(image.name for image in group), Counter(chain.from_iterable(classes))))
    return units


def _by_name(units: Sequence[Unit], parts: Sequence[int]) -> dict[str, int]:
    return {name: part for unit, part in zip(units, parts, strict=True) for name in unit.names}


def by_last_part(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of images by their file names, with and without extension."""
    known: dict[str, list[str]] = {}
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        for last in {path.name, path.stem}:
            known.setdefault(last, []).append(name)
    return known


def _named(text: str, known: Mapping[str, Sequence[str]], location: str) -> str:
    """Return the one image that a line of a list means; raise DataError if there is none or several."""
    found = next(filter(None, (matches(name, known) for name in readings(text))), [])
    if not found:
        last = PurePosixPath(text.replace("\\", "/")).name
        raise DataError(f"{location} is not one of the usable images.{did_you_mean(last, known)}")
    if len(found) > 1:
        raise DataError(f"{location} could be any of {sorted(found)}: write the path within the folder.")
    return found[0]


def readings(text: str) -> Iterator[str]:
    """Yield the possible meanings of a line: all of it, without a flag, or without an extension."""
    name = text.replace("\\", "/")
    yield name
    yield VOC_FLAG.sub("", name)
    yield _ENDING.sub("", name)


def matches(name: str, known: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the images that a path can mean: those whose folders agree as far as both have folders.

    Those of as many folders are preferred.
    """
    *folders, last = [part for part in name.split("/") if part not in ("", ".", "..")] or [""]
    found = []
    for candidate in known.get(last, ()):
        its_folders = candidate.replace("\\", "/").split("/")[:-1]
        depth = min(len(folders), len(its_folders))
        if folders[len(folders) - depth :] == its_folders[len(its_folders) - depth :]:
            found.append(candidate)
    return [match for match in found if match.count("/") == len(folders)] or found


def _part_of(image: ImageRecord, *, shared: bool) -> int | None:
    """Return the part that its subset, the image's folders, its annotation's name (if shared) or its folders say."""
    folder, _, name = image.annotation.rpartition("/")
    parts = (
        part_of_folder(image.subset),
        part_of_folder(image.name.rpartition("/")[0]),
        part_of_file(name) if shared else None,
        part_of_folder(folder),
    )
    return next((part for part in parts if part is not None), None)


@cache
def part_of_file(name: str) -> int | None:
    """Return the one part that the words of a file's name stand for, None if there is none or several."""
    named = {_PART_OF_WORD[word] for word in _words(PurePosixPath(name).stem) if word in _PART_OF_WORD}
    return named.pop() if len(named) == 1 else None


@cache
def part_of_folder(folder: str) -> int | None:
    """Return the part that the innermost folder with such a name stands for, None if there is none."""
    for name in reversed(folder.split("/")):
        words = [word for word in _words(name) if word not in _FILLERS]
        if len(words) == 1 and words[0] in _PART_OF_WORD:
            return _PART_OF_WORD[words[0]]
    return None


def part_of_list(stem: str) -> int | None:
    """Return the part that the name of a list stands for, None if it has none or says more."""
    words = [word for word in _words(stem) if word not in _FILLERS | _LIST_FILLERS]
    return _PART_OF_WORD.get(words[0]) if len(words) == 1 else None


def _words(name: str) -> list[str]:
    """Return the words of a name in small letters, without numbers."""
    return re.findall(r"[a-z]+", name.lower())
