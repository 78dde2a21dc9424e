"""The lists of images that a data set comes with, by which it is divided into training, validation and testing.

These are text files with a name or path in each line: `ImageSets/Main/train.txt` of Pascal VOC, `train.txt` and
`val.txt` anywhere, and those that darknet's `.data` file or the YAML file of YOLO names.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

import yaml

from boxtune.data import findings as kinds
from boxtune.data import splits
from boxtune.data.files import read_text
from boxtune.data.findings import Findings
from boxtune.data.image_record import ImageRecord
from boxtune.data.images import SUFFIXES
from boxtune.data.listing import Listing
from boxtune.data.splits import TRAIN, VALIDATION, Split
from boxtune.errors import DataError, many

_MAX_BYTES = 64 * 2**20
_IMAGE_SETS = "ImageSets"
_MAIN = "Main"
_BOTH = "trainval"
_OF_A_CLASS = re.compile(r".+_(train|val|test)$")
_PART_OF_KEY = {"train": TRAIN, "val": VALIDATION, "valid": VALIDATION, "test": splits.TEST}
_MOST = 0.5  # of the lines of a list


@dataclass(frozen=True, slots=True)
class SplitList:
    """A list of a data set: its file, its part of the set, and its lines that are not blank, with their numbers."""

    path: Path
    part: int
    lines: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class SplitLists:
    """The lists of a data set, and the names of all its images by their last part."""

    lists: tuple[SplitList, ...] = ()
    known: Mapping[str, Sequence[str]] | None = None

    @property
    def paths(self) -> set[Path]:
        """The files of the lists."""
        return {one.path for one in self.lists}


def find(listing: Listing, findings: Findings) -> SplitLists:
    """Return the lists of a data set."""
    known = splits.by_last_part(map(findings.name, listing.ending(SUFFIXES)))
    named = _named_in_settings(listing)
    candidates = {}
    for path in listing.ending(frozenset({".txt"})):
        part = named.get(path, _part_of(path))
        if part is not None and (lines := _lines(path, known)):
            candidates[path] = SplitList(path, part, lines)
    return SplitLists(
        tuple(candidates[path] for path in candidates if _counts(path, candidates.keys())), known
    )


def by_lists(images: Sequence[ImageRecord], found: SplitLists, findings: Findings) -> Split | None:
    """Return the split that the lists of a data set say, None if they say none.

    Names of images that are not there, and images that are for training and for something else, are findings. If
    nothing is for validation, what is for testing becomes that. Images in no list are for training.
    """
    parts: dict[str, int] = {}
    num_twice = 0
    for one in sorted(found.lists, key=lambda one: one.part):
        for name in _resolved(one, found.known or {}, findings):
            num_twice += parts.setdefault(name, one.part) == TRAIN != one.part
    if num_twice:
        message = f"{many(num_twice, 'image')} listed for training and for something else."
        findings.add(kinds.LIST_WRONG, found.lists[0].path.parent, message)
    usable = {image.name for image in images}
    parts = {name: part for name, part in parts.items() if name in usable}
    if VALIDATION not in parts.values():
        parts = {name: min(part, VALIDATION) for name, part in parts.items()}
    if VALIDATION not in parts.values() or {*map(parts.get, usable)} == {VALIDATION}:
        if found.lists:
            first, *others = (one.path for one in found.lists)
            beside = f"with {', '.join(map(findings.name, others))} " if others else ""
            message = f"{beside}it names {len(parts)} of {len(usable)} images, all for one side."
            findings.add(kinds.LISTS_INCOMPLETE, first, message)
        return None
    return splits.divided(images, parts)


def _resolved(one: SplitList, known: Mapping[str, Sequence[str]], findings: Findings) -> Iterator[str]:
    """Yield the image of each line of a list; report lines that mean none, or one of several."""
    folder = findings.name(one.path).split("/")[:-1]
    unknown = []
    for number, text in one.lines:
        if name := _nearest(_candidates(text, known), folder):
            yield name
        else:
            unknown.append((number, text))
    if unknown:
        number, text = unknown[0]
        message = (
            f"{len(unknown)} of the {len(one.lines)} images that it names are not there, or could be several, such as"
            f' "{text}".'
        )
        findings.add(kinds.LIST_WRONG, one.path, message, location=f"line {number}")


def _candidates(text: str, known: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Return the images that a line can mean: by its folders, else by its last part alone."""
    for name in splits.readings(text):
        if found := splits.matches(name, known) or known.get(PurePosixPath(name).name):
            return found
    return ()


def _nearest(candidates: Sequence[str], folder: Sequence[str]) -> str:
    """Return the image that shares most folders with a list, "" if there is none or several."""

    def shared(name: str) -> int:
        pairs = zip(name.split("/")[:-1], folder, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    most = max(map(shared, candidates), default=0)
    nearest = [name for name in candidates if shared(name) == most]
    return nearest[0] if len(nearest) == 1 else ""


# Which files are lists


def _part_of(path: Path) -> int | None:
    """Return the part that a list is for by its name, None if it is not named like a list."""
    if path.parent.name == _MAIN and (of_a_class := _OF_A_CLASS.match(path.stem)):
        return _PART_OF_KEY[of_a_class[1]]
    return splits.part_of_list(path.stem)


def _counts(path: Path, candidates: Iterable[Path]) -> bool:
    """Say whether a list is used beside the others: Main counts before its siblings, and whole lists before others."""
    beside = [other for other in candidates if other.parent == path.parent]
    if path.parent.name == _MAIN and _OF_A_CLASS.match(path.stem):
        return all(_OF_A_CLASS.match(other.stem) for other in beside)
    if path.stem.casefold() == _BOTH:
        return not any(_part_of(other) == VALIDATION for other in beside)
    sets = path.parents[1] if len(path.parents) > 1 else path.parent
    return (
        sets.name != _IMAGE_SETS
        or path.parent.name == _MAIN
        or not any(other.parent == sets / _MAIN for other in candidates)
    )


def _lines(path: Path, known: Mapping[str, Sequence[str]]) -> tuple[tuple[int, str], ...]:
    """Return the lines of a list, none if a file does not hold names of images."""
    try:
        written = enumerate(read_text(path, max_bytes=_MAX_BYTES).splitlines(), start=1)
    except DataError:
        return ()
    stripped = ((number, line.strip()) for number, line in written)
    lines = tuple((number, line) for number, line in stripped if line and line[0] != "#")
    num_names = sum(
        PurePosixPath(text).suffix.lower() in SUFFIXES or bool(_candidates(text, known)) for _, text in lines
    )
    return lines if lines and (_IMAGE_SETS in path.parts or num_names > _MOST * len(lines)) else ()


def _named_in_settings(listing: Listing) -> dict[Path, int]:
    """Return the part of each list that darknet's or YOLO's settings name."""
    named: dict[Path, int] = {}
    for path in listing.ending(frozenset({".data", ".yaml", ".yml"})):
        for key, value in _settings(path):
            if key in _PART_OF_KEY and value.endswith(".txt"):
                last = PurePosixPath(value.replace("\\", "/")).name
                same = [other for other in listing.files if other.name == last]
                near = [other for other in same if path.parent in other.parents] or same
                if len(near) == 1:
                    named.setdefault(near[0], _PART_OF_KEY[key])
    return named


def _settings(path: Path) -> list[tuple[str, str]]:
    """Return keys and values of a file, of lists each; none if it cannot be read."""
    try:
        text = read_text(path, max_bytes=2**20)
        if path.suffix.lower() == ".data":
            pairs = (line.partition("=") for line in text.splitlines())
            return [(key.strip(), value.strip()) for key, _, value in pairs]
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (DataError, yaml.YAMLError, RecursionError):
        return []
    if not isinstance(root, yaml.MappingNode):
        return []
    return [
        (str(key.value), str(one.value))
        for key, value in root.value
        for one in (value.value if isinstance(value, yaml.SequenceNode) else [value])
        if isinstance(one, yaml.ScalarNode)
    ]
