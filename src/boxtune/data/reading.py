"""Any annotated folder as records: recognise the format, parse, find the images, look at them, repair.

Annotations are parsed here, one after another, while other processes look at the images of earlier ones.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from boxtune.data import conventions, images, recognition, split_lists
from boxtune.data import findings as kinds
from boxtune.data.annotations import Annotation, Format
from boxtune.data.conventions import Assumed, Convention, Fits
from boxtune.data.files import refuse_remote
from boxtune.data.findings import Action, Finding, Findings, SkipError, by_kind
from boxtune.data.image_lookup import ImageFiles
from boxtune.data.image_record import ImageRecord, ImageSource, class_names
from boxtune.data.joining import Entry, Joiner
from boxtune.data.listing import Listing, list_files
from boxtune.data.pixels import ImageTooLargeError
from boxtune.data.repair import image_record
from boxtune.data.split_lists import SplitLists
from boxtune.data.workers import map_in_processes
from boxtune.errors import DataError, many

_MOST_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """The usable images of a data set in byte order of their names, and findings.

    `formats` are those of the folders that were read. `digests` and `fingerprints` (uint8 [n, 256]) are the signatures
    of the images, `times` the seconds at which they were taken, as their EXIF says. `num_annotations` counts the images
    that are annotated, usable or not. `lists` are those by which the data set is divided.
    """

    root: Path
    formats: Mapping[Path, Format]
    images: tuple[ImageRecord, ...]
    digests: tuple[bytes, ...]
    fingerprints: np.ndarray
    times: tuple[float | None, ...]
    findings: tuple[Finding, ...]
    num_annotations: int
    lists: SplitLists = field(default_factory=SplitLists)

    @property
    def format_names(self) -> list[str]:
        """The names of the formats, each once."""
        return list(dict.fromkeys(one.name for one in self.formats.values()))

    @property
    def title(self) -> str:
        """The folders with their formats, for people."""
        return " and ".join(f"{one.title} of {folder}" for folder, one in self.formats.items())


def read(
    photos: Path,
    *,
    annotations: Path | None = None,
    format_name: str | None = None,
    assumed: Assumed | None = None,
    num_workers: int | None = None,
) -> Reading:
    """Read every annotation that has a usable image; everything that is wrong becomes a finding.

    Args:
        photos: the folder of the images, of any layout; or a file of annotations in it.
        annotations: a file or folder of annotations, if they are not in the same folder.
        format_name: the format of the annotations; if None, it is recognised.
        assumed: what the user says about the boxes; if None, what fits is not in doubt.
        num_workers: processes to use; by default one for each core.

    Raises:
        DataError: if a folder does not exist or cannot be read, or holds no annotation of the format.
    """
    if photos.is_file():
        photos, annotations = photos.parent, annotations or photos
    findings = Findings(photos)
    listing = _list(photos, findings)
    annotated = _list(annotations, findings) if annotations else listing
    everything = Listing(photos, listing.files + annotated.files) if annotations else listing
    assumed = assumed or Assumed()
    look_up = partial(ImageFiles, listing.ending(images.SUFFIXES | images.RARE_SUFFIXES), assumed.image_names)
    chosen = _choose(annotated, everything, look_up, format_name, findings)
    image_files = look_up()
    for path, reason in recognition.unopened(annotated, chosen):
        findings.add(kinds.UNOPENED, path, reason)

    lists = split_lists.find(everything, findings)
    paths = [path for path in annotated.ending(chosen.suffixes) if path not in lists.paths]
    given: list[Annotation] = []
    paired = _paired(chosen.annotations(paths, everything, findings), image_files, findings, given)
    written = Convention(chosen.form, chosen.normalized)
    inspect = partial(_inspect, photos, written, assumed)
    inspected = map_in_processes(inspect, paired, num_workers=num_workers, chunk_size=32)
    found, of_images, fits = _one_each(zip(inspected, given, strict=False), findings)
    if not assumed.boxes:
        if mixture := conventions.mixture(fits, written):
            findings.add(kinds.CONVENTIONS_MIXED, annotated.root, mixture)
        elif doubt := conventions.doubt(fits, written):
            findings.add(kinds.CONVENTION_UNSURE, annotated.root, doubt)
    _doubt_guessed_columns(found, of_images, findings)
    num_unused = _note_unused(image_files, given, findings)
    num_lost = sum(finding.kind.action is Action.SKIP_IMAGE for finding in findings.items)
    unreadable = [one for one in findings.items if one.kind == kinds.ANNOTATION_UNREADABLE and not one.image]
    if unreadable and any(annotation.location for annotation in given):
        # A file is about many images here: those that nothing else names are probably of one that is lost.
        num_lost += max(0, num_unused - len(unreadable))
    if not found and not num_lost:
        foreign = ((Path(item.file), item.message) for item in findings.items if item.kind == kinds.FOREIGN)
        examples = _examples(foreign, annotated.root)
        raise DataError(f"{_shown(annotated)} holds no annotations in {chosen.title}.{examples}")
    findings.items += of_images
    return replace(_reading(photos, chosen, found, len(found) + num_lost, findings), lists=lists)


def annotated_files(folder: Path) -> set[Path]:
    """Return the images below a folder that have annotations in any format, whether these can be used or not.

    Raises:
        DataError: if the folder does not exist or cannot be read.
    """
    listing = _list(folder, Findings(folder))
    paths = listing.ending(images.SUFFIXES | images.RARE_SUFFIXES)
    formats = recognition.recognise(listing)
    return {path for one in formats for path in _covered(one, listing, listing, ImageFiles(paths))[0]}


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
    """Return how many images and objects were skipped, by the kinds of findings, with an example of a cause."""
    losing = (Action.SKIP_IMAGE, Action.SKIP_OBJECT)
    groups = [group for kind, group in by_kind(reading.findings).items() if kind.action in losing]
    if not groups:
        return "Nothing was skipped."
    ranked = sorted(groups, key=lambda group: (group[0].kind == kinds.NO_USABLE_OBJECT, -len(group)))
    counts = ", ".join(f"{group[0].kind.name} {len(group)}" for group in ranked)
    example = ranked[0][0]
    return f"Skipped: {counts}. For example {example} {example.kind.advice}"


def _examples(complaints: Iterable[tuple[Path, str]], root: Path) -> str:
    """Return the first complaints about files as sentences."""
    some = list(islice(complaints, _MOST_SHOWN))
    return "".join(f" {Findings(root).name(path)}: {complaint}" for path, complaint in some)


def _list(folder: Path, findings: Findings) -> Listing:
    if folder.is_file():
        return Listing(folder.parent, (folder,))
    refuse_remote(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Give the folder that holds the images and annotations.")
    return list_files(folder, findings)


def _choose(
    annotated: Listing,
    everything: Listing,
    look_up: Callable[[], ImageFiles],
    name: str | None,
    findings: Findings,
) -> Format:
    """Return the format that was asked for, else that of the annotations of most images."""
    if name is not None:
        return recognition.by_name(name)
    found = recognition.recognise(annotated)
    if not found:
        unread = chain(recognition.unopened(annotated), recognition.complaints(annotated))
        complaints = _examples(unread, annotated.root)
        way_out = " Give the folder or file that holds them, or name their format with --format."
        more = "" if complaints else f" Known are {_known_formats()}.{_how_to_begin(annotated)}"
        raise DataError(
            f"{_shown(annotated)} holds no annotations that can be read.{complaints}{way_out}{more}"
        )
    if len(found) == 1:
        return found[0]
    covered = {one.name: _num_covered(one, annotated, everything, look_up()) for one in found}
    chosen = max(found, key=lambda one: covered[one.name])
    for other in found:
        # What is about no image only looks like annotations.
        if other is not chosen and any(covered[other.name]):
            for_other, for_chosen = sum(covered[other.name]), sum(covered[chosen.name])
            there_too = f"{other.title} is there too, for {many(for_other, 'image')}"
            message = f"{there_too}; {chosen.title} is read, for {for_chosen}."
            findings.add(kinds.OTHER_FORMAT, annotated.root, message)
    return chosen


def _known_formats() -> str:
    return ", ".join(one.title for one in recognition.FORMATS)


def _how_to_begin(listing: Listing) -> str:
    """Return how images get their annotations, as lines; nothing where there are no images."""
    paths = listing.ending(images.SUFFIXES)
    if not paths:
        return ""
    lines = [
        f"It holds {many(len(paths), 'image')}. If no boxes are drawn yet, draw them with a program such as LabelImg, "
        "Label Studio, CVAT or makesense.ai, and save them as Pascal VOC XML, YOLO or COCO JSON. With Pascal VOC XML "
        "there is a file of the same name beside each image:",
        *(f"{path.name}, {path.stem}.xml" for path in paths[:_MOST_SHOWN]),
    ]
    return "".join(f"\n  {line}" for line in lines)


def _num_covered(
    one: Format, annotated: Listing, everything: Listing, image_files: ImageFiles
) -> tuple[int, int]:
    """Return for how many images there are annotations in a format: of files, and of those that it holds itself."""
    files, num_held = _covered(one, annotated, everything, image_files)
    return len(files), num_held


def _covered(
    one: Format, annotated: Listing, everything: Listing, image_files: ImageFiles
) -> tuple[set[Path], int]:
    """Return the images for which there are annotations in a format, and how many it holds itself."""
    unused = Findings(everything.root)
    files: set[Path] = set()
    num_held = 0
    for annotation in one.annotations(annotated.ending(one.suffixes), everything, unused):
        with suppress(SkipError):
            if annotation.source:
                num_held += 1
            else:
                files.add(image_files.of(annotation, unused))
    return files, num_held


def _shown(listing: Listing) -> Path:
    return listing.files[0] if len(listing.files) == 1 else listing.root


def _note_unused(image_files: ImageFiles, given: Iterable[Annotation], findings: Findings) -> int:
    """Report the images without annotation, and return how many there are."""
    used = {annotation.source.path for annotation in given if annotation.source}
    common = [path for path in image_files.paths if path.suffix.lower() in images.SUFFIXES]
    unused = [path for path in common if path not in used]
    for path in unused:
        findings.add(kinds.IMAGE_WITHOUT_ANNOTATION, path, "nothing names it.")
    return len(unused)


def _doubt_guessed_columns(
    found: Sequence["_Inspected"], of_images: Iterable[Finding], findings: Findings
) -> None:
    """Report that columns were guessed wrong where the sizes in them are not those of most images."""
    guessed = [finding for finding in findings.items if finding.kind == kinds.COLUMNS_GUESSED]
    num_other_sizes = sum(finding.kind == kinds.SIZE_DIFFERS for finding in of_images)
    if guessed and 2 * num_other_sizes > len(found):
        message = f"{num_other_sizes} of {len(found)} images have another size than is written by that."
        findings.items += [replace(one, kind=kinds.COLUMNS_UNSURE, message=message) for one in guessed]


def _paired(
    annotations: Iterable[Annotation], files: ImageFiles, findings: Findings, given: list[Annotation]
) -> Iterator[Annotation]:
    """Yield annotations with their images, one after another, and put them into `given`, without their objects.

    `given` grows while this is iterated over, so it is never behind what was done with the annotations.
    """
    for annotation in annotations:
        with findings.skipping(annotation.path, location=annotation.location):
            source = annotation.source or ImageSource(files.of(annotation, findings))
            given.append(replace(annotation, objects=(), source=source))
            yield replace(annotation, source=source)


class _Inspected(NamedTuple):
    """A record, its image's digest, fingerprint and time, findings, and how many boxes fit by which conventions."""

    record: ImageRecord | None
    digest: bytes
    fingerprint: bytes
    taken: float | None
    findings: Sequence[Finding]
    fits: Fits


def _inspect(root: Path, written: Convention, assumed: Assumed, annotation: Annotation) -> _Inspected:
    findings = Findings(root)
    assert annotation.source
    source = annotation.source
    name = annotation.filename if source.span else findings.name(source.path)
    digest, fingerprint, taken = b"", b"", None
    fits = Fits()
    record = None
    with findings.skipping(annotation.path, location=annotation.location, image=name):
        try:
            info = images.inspect(source)
        except ImageTooLargeError as error:
            raise SkipError(kinds.IMAGE_TOO_LARGE, f"{findings.name(source.path)}: {error}") from error
        except DataError as error:
            raise SkipError(kinds.IMAGE_UNREADABLE, f"{findings.name(source.path)}: {error}") from error
        digest, fingerprint, taken = info.digest, info.fingerprint, info.taken
        sizes = [(info.width, info.height), (info.height, info.width)][: 1 + (info.orientation >= 5)]
        fits = conventions.fitting(annotation, written, sizes)
        meant = conventions.reread(annotation, written, assumed.convention(written))
        record = image_record(meant, name, source, info, findings, assumed.exif)
    return _Inspected(record, digest, fingerprint, taken, findings.items, fits)


def _one_each(
    inspected: Iterable[tuple[_Inspected, Annotation]], findings: Findings
) -> tuple[list[_Inspected], list[Finding], dict[str, Fits]]:
    """Leave each image one entry, with the objects of all that can be joined.

    Return these, the findings about them, and how many boxes fit by which conventions in each file.
    """
    first: dict[ImageSource, _Inspected] = {}
    entries: dict[ImageSource, list[Entry]] = {}
    fits: dict[str, Fits] = {}
    for one, annotation in inspected:
        assert annotation.source
        fits.setdefault(findings.name(annotation.path), Fits()).update(one.fits)
        first.setdefault(annotation.source, one)
        entries.setdefault(annotation.source, []).append(Entry(annotation, one.record, one.findings))
    joiner = Joiner(findings)
    kept: list[_Inspected] = []
    for source, of_image in entries.items():
        _, record, found = joiner.joined(of_image)
        kept.append(first[source]._replace(record=record, findings=found))
    joiner.note_lost_classes(one.record for one in kept if one.record)
    return kept, [finding for one in kept for finding in one.findings], fits


def _reading(
    root: Path, chosen: Format, inspected: Iterable[_Inspected], num_annotations: int, findings: Findings
) -> Reading:
    names: set[str] = set()
    found: list[tuple[ImageRecord, _Inspected]] = []
    for one in inspected:
        record = one.record
        if record is not None:
            if record.name in names and record.source.span:  # of a TFRecord; files differ in their paths
                name = f"{record.annotation}/{record.source.span[0]}/{record.name}"
                record = replace(record, name=name)
            names.add(record.name)
            found.append((record, one))
    found.sort(key=lambda pair: pair[0].name.encode(errors="surrogateescape"))
    fingerprints = np.frombuffer(b"".join(one.fingerprint for _, one in found), np.uint8)
    return Reading(
        root=root,
        formats={root: chosen},
        images=tuple(record for record, _ in found),
        digests=tuple(one.digest for _, one in found),
        fingerprints=fingerprints.reshape(len(found), 256),
        times=tuple(one.taken for _, one in found),
        findings=tuple(findings.items),
        num_annotations=num_annotations,
    )
