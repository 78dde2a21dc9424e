"""Any annotated folder as records: recognise the format, parse, find the images, look at them, repair.

Annotations are parsed here, one after another, while other processes look at the images of earlier ones.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from boxtune.data import findings as kinds
from boxtune.data import images, recognition
from boxtune.data.annotations import Annotation, Format
from boxtune.data.findings import Action, Finding, Findings, SkipError, by_kind
from boxtune.data.image_lookup import ImageFiles
from boxtune.data.listing import Listing, list_files
from boxtune.data.pixels import ImageTooLargeError
from boxtune.data.records import ImageRecord, ImageSource, class_names
from boxtune.data.repair import image_record
from boxtune.data.workers import map_in_processes
from boxtune.errors import DataError

_MOST_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """The usable images of a data set in byte order of their names, and findings.

    `digests` and `fingerprints` (uint8 [n, 256]) are the signatures of the images. `num_annotations` counts the
    images that are annotated, usable or not.
    """

    root: Path
    format: Format
    images: tuple[ImageRecord, ...]
    digests: tuple[bytes, ...]
    fingerprints: np.ndarray
    findings: tuple[Finding, ...]
    num_annotations: int


def read(
    photos: Path,
    *,
    annotations: Path | None = None,
    format_name: str | None = None,
    num_workers: int | None = None,
) -> Reading:
    """Read every annotation that has a usable image; everything that is wrong becomes a finding.

    Args:
        photos: the folder of the images, of any layout; or a file of annotations in it.
        annotations: a file or folder of annotations, if they are not in the same folder.
        format_name: the format of the annotations; if None, it is recognised.
        num_workers: processes to use; by default one for each core.

    Raises:
        DataError: if a folder does not exist or cannot be read, or holds no annotation of the format.
    """
    if photos.is_file():
        photos, annotations = photos.parent, annotations or photos
    findings = Findings(photos)
    listing = _list(photos, findings)
    annotated = _list(annotations, findings) if annotations else listing
    chosen = _choose(annotated, format_name, findings)

    everything = Listing(photos, listing.files + annotated.files) if annotations else listing
    annotations_read = chosen.annotations(annotated.ending(chosen.suffixes), everything, findings)
    paired = _Paired(annotations_read, listing, findings)
    inspected = map_in_processes(partial(_inspect, photos), paired, num_workers=num_workers, chunk_size=32)
    found, of_images = _one_each(zip(inspected, paired.given, strict=False), findings)
    used = {annotation.source.path for annotation in paired.given if annotation.source}
    for path in listing.ending(images.SUFFIXES):
        if path not in used:
            findings.add(kinds.IMAGE_WITHOUT_ANNOTATION, path, "nothing names it.")

    unreadable = sum(finding.kind == kinds.ANNOTATION_UNREADABLE for finding in findings.items)
    if not paired.count and not unreadable:
        foreign = ((Path(item.file), item.message) for item in findings.items if item.kind == kinds.FOREIGN)
        examples = _examples(foreign, annotated.root)
        raise DataError(f"{_shown(annotated)} holds no annotations in {chosen.title}.{examples}")
    findings.items += of_images
    return _reading(photos, chosen, found, paired.count + unreadable, findings)


def why_unusable(reading: Reading, max_unusable: float) -> str:
    """Say why a data set cannot be used, "" if it can.

    Nothing is left of it, or more than the fraction `max_unusable` in [0, 1] of its images or objects is lost.
    """
    if not class_names(reading.images) and reading.images:
        return f"{reading.root}: no annotation has an object. Draw boxes and name them first."
    lost_objects = sum(finding.kind.action is Action.SKIP_OBJECT for finding in reading.findings)
    num_objects = lost_objects + sum(len(image.objects) for image in reading.images)
    for what, lost, total in (
        ("annotated images", reading.num_annotations - len(reading.images), reading.num_annotations),
        ("objects", lost_objects, num_objects),
    ):
        if not reading.images or lost > max_unusable * total:
            return (
                f"{reading.root}: {lost} of {total} {what} ({lost / max(1, total):.0%}) cannot be used, and at most"
                f" {max_unusable:.0%} may be lost. {what_was_skipped(reading)}"
            )
    return ""


def what_was_skipped(reading: Reading) -> str:
    """Return how many images and objects were skipped, by the kinds of findings, with an example."""
    losing = (Action.SKIP_IMAGE, Action.SKIP_OBJECT)
    groups = [group for kind, group in by_kind(reading.findings).items() if kind.action in losing]
    ranked = sorted(groups, key=len, reverse=True)
    counts = ", ".join(f"{group[0].kind.name} {len(group)}" for group in ranked)
    example = f" For example {groups[0][0].where}: {groups[0][0].message}" if groups else ""
    return f"Skipped: {counts}.{example}"


def _examples(complaints: Iterable[tuple[Path, str]], root: Path) -> str:
    """Return the first complaints about files as sentences."""
    some = list(islice(complaints, _MOST_SHOWN))
    return "".join(f" {Findings(root).name(path)}: {complaint}" for path, complaint in some)


def _list(folder: Path, findings: Findings) -> Listing:
    if folder.is_file():
        return Listing(folder.parent, (folder,))
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Give the folder that holds the images and annotations.")
    return list_files(folder, findings)


def _choose(listing: Listing, name: str | None, findings: Findings) -> Format:
    if name is not None:
        return recognition.by_name(name)
    found = recognition.recognise(listing)
    if not found:
        known = ", ".join(one.title for one in recognition.FORMATS)
        raise DataError(
            f"{_shown(listing)} holds no annotations that can be read."
            f"{_examples(recognition.complaints(listing), listing.root)} Give the folder or file that holds them, or"
            f" name their format. No file is in any format that is known: {known}."
        )
    for other in found[1:]:
        message = f"{other.title} is there too; {found[0].title} is read."
        findings.add(kinds.OTHER_FORMAT, listing.root, message)
    return found[0]


def _shown(listing: Listing) -> Path:
    return listing.files[0] if len(listing.files) == 1 else listing.root


class _Paired:
    """Gives annotations with their images, one after another, and keeps which were given, without their objects.

    `given` grows while this is iterated over, so it is never behind what was done with the annotations.
    """

    def __init__(self, annotations: Iterable[Annotation], listing: Listing, findings: Findings) -> None:
        self.given: list[Annotation] = []
        self.count = 0
        self._annotations, self._findings = annotations, findings
        self._images = ImageFiles(listing.ending(images.SUFFIXES - images.RARE_SUFFIXES))
        self._rare_images = ImageFiles(listing.ending(images.RARE_SUFFIXES))

    def __iter__(self) -> Iterator[Annotation]:
        for annotation in self._annotations:
            self.count += 1
            with self._findings.skipping(annotation.path, location=annotation.location):
                source = annotation.source or ImageSource(self._image_of(annotation))
                self.given.append(replace(annotation, objects=(), source=source))
                yield replace(annotation, source=source)

    def _image_of(self, annotation: Annotation) -> Path:
        try:
            return self._images.of(annotation, self._findings)
        except SkipError as missing:
            if missing.kind is not kinds.IMAGE_MISSING:
                raise
            try:
                return self._rare_images.of(annotation, self._findings)
            except SkipError as error:
                raise missing from error


_Inspected = tuple[ImageRecord | None, bytes, bytes, list[Finding]]
"""A record, its image's digest and fingerprint, and findings."""


def _inspect(root: Path, annotation: Annotation) -> _Inspected:
    findings = Findings(root)
    assert annotation.source
    source = annotation.source
    name = annotation.filename if source.span else findings.name(source.path)
    with findings.skipping(annotation.path, location=annotation.location, image=name):
        try:
            info = images.inspect(source)
        except ImageTooLargeError as error:
            raise SkipError(kinds.IMAGE_TOO_LARGE, f"{findings.name(source.path)}: {error}") from error
        except DataError as error:
            raise SkipError(kinds.IMAGE_UNREADABLE, f"{findings.name(source.path)}: {error}") from error
        record = image_record(annotation, name, source, info, findings)
        return record, info.digest, info.fingerprint, findings.items
    return None, b"", b"", findings.items


def _one_each(
    inspected: Iterable[tuple[_Inspected, Annotation]], findings: Findings
) -> tuple[list[_Inspected], list[Finding]]:
    """Leave each image one annotation, that of its own name or else the first; return their findings apart."""
    chosen: dict[ImageSource, tuple[Annotation, _Inspected]] = {}
    for found, annotation in inspected:
        source = annotation.source
        assert source
        other, _ = chosen.setdefault(source, (annotation, found))
        if other is annotation:
            continue
        own_name = source.path.stem
        loser, winner = annotation, other
        if other.path.stem != own_name == annotation.path.stem:
            loser, winner = other, annotation
            chosen[source] = (annotation, found)
        name = findings.name(source.path)
        message = f"{name} is already annotated by {findings.name(winner.path)}."
        findings.add(kinds.ANNOTATION_TWICE, loser.path, message, location=loser.location, image=name)
    kept = [found for _, found in chosen.values()]
    return kept, [finding for found in kept for finding in found[3]]


def _reading(
    root: Path, chosen: Format, inspected: Iterable[_Inspected], num_annotations: int, findings: Findings
) -> Reading:
    names: set[str] = set()
    found = []
    for record, digest, fingerprint, _ in inspected:
        if record is not None:
            if record.name in names and record.source.span:  # of a TFRecord; files differ in their paths
                name = f"{record.annotation}/{record.source.span[0]}/{record.name}"
                record = replace(record, name=name)
            names.add(record.name)
            found.append((record, digest, fingerprint))
    found.sort(key=lambda one: one[0].name.encode(errors="surrogateescape"))
    fingerprints = np.frombuffer(b"".join(one[2] for one in found), np.uint8)
    return Reading(
        root=root,
        format=chosen,
        images=tuple(one[0] for one in found),
        digests=tuple(one[1] for one in found),
        fingerprints=fingerprints.reshape(len(found), 256),
        findings=tuple(findings.items),
        num_annotations=num_annotations,
    )
