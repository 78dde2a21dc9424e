"""Which image an annotation is about.

The first rule that finds one decides:

1. the image that the annotation names, preferring one in the folders that it names, then in those of its subset, then
   the nearest to it, by folders and by the words in their names;
2. the same with letter case, extension (also one behind another) and Unicode form left aside;
3. the same with percent signs decoded, blanks as underscores, and without the eight digits that Label Studio puts
   before the name of an upload;
4. the image of the annotation file's own name, as loosely compared, where the file is about one image.

A name is first taken as it stands, then as a URL. Backslashes separate folders, also in names of files, which some
programs unpack so.

Where a file is about one image and an image of its own name is as near as the one that it names, it is unknown which
is meant. Names are only looked up among the files of the data set, so none can lead out of its folder.
"""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from boxtune.data import findings as kinds
from boxtune.data.annotations import Annotation
from boxtune.data.findings import Findings, SkipError
from boxtune.data.images import RARE_SUFFIXES, SUFFIXES
from boxtune.data.splits import part_of_file, part_of_folder
from boxtune.run_lengths import unprinted

_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")
_PARTS_NAMED = "part {}"  # stands for "val", "valid" and "validation" alike
_PARTS = frozenset(map(_PARTS_NAMED.format, range(3)))
_Nearness = tuple[int, bool, bool, int, int, int]


class ImageFiles:
    """The images of a data set by name, for one reading: of several names that are like an image's, the first has it.

    `trusted` says which name counts where a file names another image than its own: "written" or "own", or "" for none.
    """

    def __init__(self, paths: Iterable[Path], trusted: str = "") -> None:
        self.paths = _without_originals(paths)
        self._trusted = trusted
        self._taken_as: dict[Path, str] = {}
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_loose_name: dict[str, list[Path]] = defaultdict(list)
        self._by_looser_name: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            name = _with_slashes(path).name
            loose = _loose(name)
            self._by_name[name].append(path)
            self._by_loose_name[loose].append(path)
            self._by_looser_name[_looser(loose)].append(path)

    def of(self, annotation: Annotation, findings: Findings) -> Path:
        """Return the image of an annotation; raise SkipError if there is none, or it is unknown which."""
        own_name = "" if annotation.location else _with_slashes(annotation.path).stem
        own = self._alike(own_name)
        written, found = self._named(annotation.filename)
        if found and own and self._trusted != "own":
            self._require_agreement(found, own, annotation, findings)
        if own and (not found or (self._trusted == "own" and not set(own) & set(found))):
            found = own
        if not found:
            names = filter(None, dict.fromkeys((annotation.filename, own_name)))
            tried = " or ".join(f'"{name}"' for name in names)
            raise SkipError(kinds.IMAGE_MISSING, f"no image is named {tried or 'at all'}.")
        image = _nearest(found, written, annotation, findings)
        taken_as = self._taken_as.setdefault(image, written.name)
        # A name without extension is how some formats write it.
        if written.name in (_with_slashes(image).name, _with_slashes(image).stem):
            return image
        name = findings.name(image)
        # A file about one image may be about it by its own name, whatever it writes.
        if annotation.location and written.name and taken_as != written.name:
            message = f'there is no "{annotation.filename}"; {name}, which is like it, is the image of "{taken_as}".'
            raise SkipError(kinds.IMAGE_MISSING, message)
        is_there = written.name in self._by_name
        reason = f'it names "{written.name}"' if is_there else f'there is no "{annotation.filename}"'
        message = f"{reason}, {name} is taken for it."
        kind, location = kinds.IMAGE_SIMILAR_NAME, annotation.location
        findings.add(kind, annotation.path, message, location=location, image=name)
        return image

    def _named(self, filename: str) -> tuple[PurePosixPath, list[Path]]:
        """Return the first meaning of a name that is that of images, and these; else its first, and none."""
        for meaning in meanings(filename):
            if found := self._by_name.get(meaning.name) or self._alike(meaning.name):
                return meaning, found
        return PurePosixPath(filename), []

    def _alike(self, name: str) -> list[Path]:
        """Return the images of a name that is loosely compared, those that are most alike."""
        if not name:
            return []
        # The name itself may be what stands before an extension.
        spellings = [_folded(name), _loose(name), _loose(_loose(name))]
        for spelling in spellings:
            if found := self._by_loose_name.get(spelling):
                return found
        for spelling in spellings:
            found = self._by_looser_name.get(_looser(spelling), [])
            # Two uploads of one name are two images.
            if usable := [path for path in found if not (_UPLOAD.match(name) and _UPLOAD.match(path.name))]:
                return usable
        return []

    def _require_agreement(
        self, found: list[Path], own: list[Path], annotation: Annotation, findings: Findings
    ) -> None:
        """Raise SkipError if an image of the file's own name is as near as the one that is written in it."""
        if set(found) & set(own) or self._trusted:
            return
        nearest_found, nearest_own = (
            max(_nearness(path, None, annotation, findings) for path in paths) for paths in (found, own)
        )
        if nearest_own >= nearest_found:
            other = f"{findings.name(own[0])} of its own name"
            message = f'it names "{annotation.filename}", which is there, and so is {other}.'
            raise SkipError(kinds.NAME_CONTRADICTED, message)


def meanings(name: str) -> Iterator[PurePosixPath]:
    """Yield the paths that a name can mean.

    These are the name itself, also as Python prints bytes; of a URL the d= of Label Studio's local files, and its path.
    """
    yield PurePosixPath(name)
    yield PurePosixPath(unprinted(name).decode(errors="replace"))
    with suppress(ValueError):
        url = urlsplit(name)
        yield from map(PurePosixPath, parse_qs(url.query).get("d", []))
        if url.scheme or url.query:
            yield PurePosixPath(unquote(url.path))


def _with_slashes(path: Path) -> PurePosixPath:
    return PurePosixPath(str(path).replace("\\", "/"))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _without_originals(paths: Iterable[Path]) -> list[Path]:
    """Leave out images of rare formats that lie beside one of a common format and the same name."""
    keys = {path: (path.parent, _loose(path.name)) for path in paths}
    rare = {path for path in keys if path.suffix.lower() in RARE_SUFFIXES}
    common = {key for path, key in keys.items() if path not in rare}
    return [path for path, key in keys.items() if path not in rare or key not in common]


def _loose(name: str) -> str:
    stem, extension = os.path.splitext(name)
    return _folded(stem if extension.lower() in SUFFIXES | RARE_SUFFIXES else name)


def _looser(name: str) -> str:
    """Return a loose name without percent signs, blanks and what programs put before the names of uploads."""
    return _UPLOAD.sub("", _loose(unquote(unquote(name))), count=1).replace(" ", "_")


def _nearest(
    candidates: list[Path], written: PurePosixPath, annotation: Annotation, findings: Findings
) -> Path:
    if len(candidates) == 1:
        return candidates[0]
    ranked = sorted((_nearness(path, written, annotation, findings), path) for path in candidates)
    (second, other), (best, image) = ranked[-2:]
    if best == second:
        names = f"{findings.name(other)} and {findings.name(image)}"
        raise SkipError(kinds.IMAGE_AMBIGUOUS, f"{names} could both be its image.")
    return image


def _nearness(
    image: Path, written: PurePosixPath | None, annotation: Annotation, findings: Findings
) -> _Nearness:
    """Return how near an image is: to the folders and subset that are written, then to the annotation file."""
    file, image = annotation.path, Path(_with_slashes(image))
    named = [folder.casefold() for folder in written.parts[:-1]] if written else []
    folders = zip(reversed([part.casefold() for part in image.parts[:-1]]), reversed(named), strict=False)
    same_folders = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], folders))
    its_words = _words(findings.name(image).rpartition("/")[0])
    subset = _words(annotation.subset)
    is_in_subset = bool(subset) and (subset <= its_words or bool(subset & its_words & _PARTS))
    num_shared = len(set(image.parts[:-1]) & set(file.parts[:-1]))
    num_words = len(its_words & _words(findings.name(file.with_suffix(""))))
    common = len(os.path.commonpath((image.absolute(), file.absolute())))
    return same_folders, is_in_subset, image.parent == file.parent, num_shared, num_words, common


def _words(path: str) -> set[str]:
    """Return the words and numbers in a path, and the parts of a data set that its names stand for."""
    folder, _, name = path.rpartition("/")
    parts = {part_of_folder(path), part_of_folder(folder), part_of_file(name)} - {None}
    return {*re.findall(r"[^\W\d_]+|\d+", _folded(path)), *(_PARTS_NAMED.format(part) for part in parts)}
