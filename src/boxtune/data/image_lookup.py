"""Which image an annotation is about.

The first rule that finds one decides:

1. the image that the annotation names, preferring one in the folders that it names, else the nearest to it;
2. the same with letter case, extension and Unicode form left aside;
3. the image of the annotation file's own name, as loosely compared, where the file is about one image.

Names are only looked up among the files of the data set, so none can lead out of its folder.
"""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path, PurePosixPath

from boxtune.data import findings as kinds
from boxtune.data.annotations import Annotation
from boxtune.data.findings import Findings, SkipError
from boxtune.data.images import RARE_SUFFIXES, SUFFIXES


class ImageFiles:
    """The images of a data set by name."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = list(paths)
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_loose_name: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            self._by_name[path.name].append(path)
            self._by_loose_name[_loose(path.name)].append(path)

    def of(self, annotation: Annotation, findings: Findings) -> Path:
        """Return the image of an annotation; raise SkipError if there is none, or several are equally near."""
        written = PurePosixPath(annotation.filename)
        own_name = "" if annotation.location else annotation.path.stem
        if found := self._by_name.get(written.name):
            return _nearest(found, written, annotation.path)
        if written.name and (found := self._by_loose_name.get(_loose(written.name))):
            return self._similar(found, annotation, findings)
        if own_name and (found := self._by_loose_name.get(_loose(own_name))):
            return self._similar(found, annotation, findings)
        tried = " or ".join(f'"{name}"' for name in dict.fromkeys((annotation.filename, own_name)) if name)
        raise SkipError(kinds.IMAGE_MISSING, f"no image is named {tried or 'at all'}.")

    def _similar(self, found: list[Path], annotation: Annotation, findings: Findings) -> Path:
        image = _nearest(found, PurePosixPath(annotation.filename), annotation.path)
        # A name without extension is how some formats write it.
        if PurePosixPath(annotation.filename).name != image.stem:
            findings.add(
                kinds.IMAGE_SIMILAR_NAME,
                annotation.path,
                f'there is no "{annotation.filename}", {findings.name(image)} is taken for it.',
                location=annotation.location,
                image=findings.name(image),
            )
        return image


def _loose(name: str) -> str:
    stem, extension = os.path.splitext(name)
    known = stem if extension.lower() in SUFFIXES | RARE_SUFFIXES else name
    return unicodedata.normalize("NFC", known).casefold()


def _nearest(candidates: list[Path], written: PurePosixPath, annotation: Path) -> Path:
    if len(candidates) == 1:
        return candidates[0]
    ranked = sorted(((_nearness(path, written, annotation), path) for path in candidates), reverse=True)
    (best, image), (second, other) = ranked[:2]
    if best == second:
        raise SkipError(kinds.IMAGE_AMBIGUOUS, f"{other} and {image} could both be its image.")
    return image


def _nearness(image: Path, written: PurePosixPath, annotation: Path) -> tuple[int, bool, int, int]:
    """Return how near an image is: to the folders that are written, then to the annotation file."""
    shared_names = set(image.parts[:-1]) & set(annotation.parts[:-1])
    common = len(os.path.commonpath((image.absolute(), annotation.absolute())))
    folders = zip(reversed(image.parts[:-1]), reversed(written.parts[:-1]), strict=False)
    same_folders = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], folders))
    return same_folders, image.parent == annotation.parent, len(shared_names), common
