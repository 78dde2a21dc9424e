"""Which pictures are for training and which for validation."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from boxtune.data.files import read_lines
from boxtune.data.records import ImageRecord
from boxtune.errors import DataError, did_you_mean


@dataclass(frozen=True, slots=True)
class Split:
    """The two parts, each in the order of the pictures' names."""

    train: tuple[ImageRecord, ...]
    validation: tuple[ImageRecord, ...]


def split(images: Sequence[ImageRecord], *, validation_fraction: float, seed: int) -> Split:
    """Draw the share `validation_fraction` in (0, 1) of the pictures for validation, at least one.

    A class in two or more pictures is on both sides as far as their sizes allow; one in a single picture is
    for training. The same names, objects and seed give the same split on every machine.
    Raises DataError if there are fewer than two pictures.
    """
    if not 0 < validation_fraction < 1:
        raise DataError(f"The validation fraction is {validation_fraction}; it must lie between 0 and 1.")
    if len(images) < 2:
        raise DataError(
            f"There is {len(images)} usable picture, but training and validation need one each."
            " Annotate more pictures: two dozen are a start."
        )
    # Python promises the same numbers for a seed for ever, but not the same shuffle.
    rng = random.Random(seed)
    shuffled = sorted(sorted(images, key=_byte_order), key=lambda _: rng.random())
    num_validation = min(max(1, round(len(images) * validation_fraction)), len(images) - 1)
    num_train = len(images) - num_validation

    train: set[str] = set()
    validation: set[str] = set()
    for members in _pictures_by_class(shuffled):
        if len(train) < num_train:
            _reserve(members, side=train, other=validation)
        if len(validation) < num_validation and len(members) > 1:
            _reserve(members, side=validation, other=train)
    free = [image.name for image in shuffled if image.name not in train | validation]
    validation.update(free[: num_validation - len(validation)])
    return _divide(images, validation)


def split_by_list(images: Sequence[ImageRecord], list_file: Path) -> Split:
    """Take for validation the pictures that a text file names, one a line; the others are for training.

    A name may leave out the folders and the extension. Blank lines and lines that begin with # are ignored.
    Raises DataError if the file cannot be read, a name fits no picture or several, or a side would be empty.
    """
    named: dict[str, set[str]] = {}
    for image in images:
        for alias in _aliases(image.name):
            named.setdefault(alias, set()).add(image.name)
    validation = set()
    for number, line in enumerate(read_lines(list_file), start=1):
        name = line.strip().replace("\\", "/")
        if name and not name.startswith("#"):
            validation.add(_only(named.get(name, set()), f"{list_file}:{number}: {name}", name, named))
    if not 0 < len(validation) < len(images):
        raise DataError(
            f"{list_file} names {len(validation)} of {len(images)} usable pictures for validation;"
            " there must be at least one, and at least one left for training."
        )
    return _divide(images, validation)


def _byte_order(image: ImageRecord) -> bytes:
    return image.name.encode(errors="surrogateescape")


def _pictures_by_class(images: Iterable[ImageRecord]) -> list[list[str]]:
    """Return for each class the names of its pictures in the given order, rarest class first."""
    members: dict[str, list[str]] = {}
    for image in images:
        for class_name in {item.class_name for item in image.objects}:
            members.setdefault(class_name, []).append(image.name)
    return [members[name] for name in sorted(members, key=lambda name: (len(members[name]), name.encode()))]


def _reserve(members: list[str], *, side: set[str], other: set[str]) -> None:
    """Put one of the class's pictures on `side`, unless it has one there or none is free."""
    if side.isdisjoint(members):
        side.update([name for name in members if name not in other][:1])


def _divide(images: Iterable[ImageRecord], validation: set[str]) -> Split:
    ordered = sorted(images, key=_byte_order)
    return Split(
        train=tuple(image for image in ordered if image.name not in validation),
        validation=tuple(image for image in ordered if image.name in validation),
    )


def _aliases(name: str) -> set[str]:
    path = PurePosixPath(name)
    return {name, path.name, path.stem, path.with_suffix("").as_posix()}


def _only(matches: set[str], place: str, name: str, known: Iterable[str]) -> str:
    if not matches:
        raise DataError(f"{place} is none of the usable pictures.{did_you_mean(name, known)}")
    if len(matches) > 1:
        raise DataError(f"{place} could be any of {sorted(matches)}: write the path within the folder.")
    return next(iter(matches))
