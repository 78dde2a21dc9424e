"""A data set made ready: read, classes numbered, split, and everything that is wrong with it known.

`boxtune check` shows this and `boxtune convert` writes it, so that what the one says the other does.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from boxtune import config
from boxtune.data import duplicates, kept_split, spelling, split_lists, splits
from boxtune.data import findings as kinds
from boxtune.data.bursts import bursts
from boxtune.data.conventions import Assumed
from boxtune.data.cutting import WHOLE, Cutting
from boxtune.data.files import Paths, paths_of
from boxtune.data.findings import Action, Finding, Findings, by_kind
from boxtune.data.image_record import ImageRecord, ObjectRecord, class_names, rounded
from boxtune.data.label_map import LabelMap, renaming
from boxtune.data.merging import read_folders
from boxtune.data.reading import Reading, what_was_skipped, why_unusable
from boxtune.data.splits import Split
from boxtune.errors import DataError, did_you_mean, many, nearest, some

VALIDATION_FRACTION = 0.2
FEW_IMAGES, FEW_OF_A_CLASS = 30, 5
"""Fewer images to validate on, all or of a class, get a warning."""
_MOST_NAMED = 5
# Roboflow cuts and flips an image into several files, which differ in the number behind this.
_ROBOFLOW_SOURCE = re.compile(r"([^/]+)\.rf\.[0-9a-f]{32}\.[^/.]+$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How to read and split a data set. Its paths may be given as text.

    Attributes:
        annotations: a file or folder of annotations that is not in the folder of the images.
        format_name: the format of the annotations; if None, it is recognised.
        label_map: numbers of the classes; if None, they are numbered in the order of their names.
        boxes: what the four numbers of a box are, as `--boxes` takes it; if empty, what the format says, unless
            another convention fits the set better.
        exif: which way images with an EXIF orientation were seen, "upright" or "stored"; if empty, it must be known.
        image_names: which name counts where a file names another image than its own, "own" or "written"; if empty,
            neither.
        rename: names of classes to replace, old to new.
        drop: classes to leave out, by the names they have in the data set.
        validation_files: a text file that names the images for validation.
        validation_fraction: the fraction in [0, 1) to draw for validation; if None, the lists, subsets or folders of
            the data set decide (train, valid, test), and without such a random fifth is taken.
        folds: of a cross-validation.
        fold: of these, from 1 on, the one for validation.
        seed: of the draw.
        kept_split: a folder of records: images that it knows stay in the part that they had there, unless a list,
            folds or another fraction say otherwise; `convert` takes its own folder.
        new_split: whether to draw a split without regard to that.
        max_unusable: the fraction in [0, 1] of the annotated images, and of the objects, that may be unusable.
        num_workers: processes to use; by default one for each core.
        cutting: how `convert` cuts images into tiles, if it is to.
    """

    annotations: Path | None = None
    format_name: str | None = None
    label_map: Path | None = None
    boxes: str = ""
    exif: str = ""
    image_names: str = ""
    rename: Mapping[str, str] = field(default_factory=dict)
    drop: Sequence[str] = ()
    validation_files: Path | None = None
    validation_fraction: float | None = None
    folds: int | None = None
    fold: int | None = None
    seed: int = 0
    kept_split: Path | None = None
    new_split: bool = False
    max_unusable: float = 0.5
    num_workers: int | None = None
    cutting: Cutting | None = None

    def __post_init__(self) -> None:
        for name in ("annotations", "label_map", "validation_files", "kept_split"):
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, Path(getattr(self, name)))
        if self.fold is not None and self.folds is None:
            raise DataError("--fold is one of --folds: give their number, too.")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A data set that is read and split, everything found, and why it is refused, if it is."""

    reading: Reading
    label_map: LabelMap
    parts: Mapping[str, Sequence[ImageRecord]]
    findings: tuple[Finding, ...]
    refusal: str = ""

    @property
    def images(self) -> list[ImageRecord]:
        """The images of all parts, one part after another."""
        return [image for part in self.parts.values() for image in part]


def prepare(photos: Paths, options: Options) -> Prepared:
    """Read and split the data set of one folder, or of several, without writing anything.

    A split that is not possible is a refusal. Raises DataError where nothing can be said of the set: no annotations, or
    an unreadable label map.
    """
    reading = read_folders(
        paths_of(photos),
        annotations=options.annotations,
        format_name=options.format_name,
        assumed=Assumed(options.boxes, options.exif, options.image_names),
        num_workers=options.num_workers,
    )
    # The names of classes that are renamed or left out are known by then.
    named = (*options.rename, *options.drop)
    found = [one for one in reading.findings if one.kind != kinds.CLASS_UNNAMED or one.location not in named]
    findings = Findings(reading.root, found)
    images = _without(reading.images, options.drop, findings)
    reading = replace(reading, images=_renamed(images, options.rename, findings))
    label_map = _numbered(reading.images, options.label_map, findings)
    parts: dict[str, Sequence[ImageRecord]] = {"train": reading.images, "validation": ()}
    not_split = ""
    if reading.images:
        try:
            parts = _split(reading, options, findings)
            _note_classes(label_map, parts, findings)
        except DataError as error:
            lost = len(reading.images) < reading.num_annotations  # which is probably why
            not_split = f"{error} {what_was_skipped(reading)}" if lost else str(error)
    refused = (
        f"{reading.root}: {kind.name} ({len(group)}). {group[0]} {kind.advice}{_to_set_right(group)}"
        for kind, group in by_kind(findings.items).items()
        if kind.action is Action.REFUSE
    )
    refusal = next(refused, "") or why_unusable(reading, options.max_unusable) or not_split
    return Prepared(reading, label_map, parts, tuple(findings.items), refusal)


def _without(
    images: Sequence[ImageRecord], dropped: Sequence[str], findings: Findings
) -> Sequence[ImageRecord]:
    """Leave out the objects of some classes; an image that has no others is background."""
    if not dropped:
        return images
    _require_classes(images, dropped)
    for name in dropped:
        count = sum(item.class_name == name for image in images for item in image.objects)
        findings.add(kinds.CLASS_DROPPED, findings.root, f'{many(count, "object")} of the class "{name}".')
    return [
        replace(image, objects=tuple(item for item in image.objects if item.class_name not in dropped))
        for image in images
    ]


def _renamed(
    images: Sequence[ImageRecord], names: Mapping[str, str], findings: Findings
) -> tuple[ImageRecord, ...]:
    """Give classes their new names; of boxes that are equal by that, one is left out."""
    if not names:
        return tuple(images)
    _require_classes(images, names)
    renamed = []
    for image in images:
        kept: dict[tuple[str, tuple[float, ...]], ObjectRecord] = {}
        for item in image.objects:
            new = replace(item, class_name=names.get(item.class_name, item.class_name))
            if kept.setdefault((new.class_name, rounded(item.box)), new) is not new:
                message = f'"{item.class_name}" is there already as "{new.class_name}".'
                findings.add(kinds.BOX_TWICE, findings.root / image.annotation, message, image=image.name)
        renamed.append(replace(image, objects=tuple(kept.values())))
    return tuple(renamed)


def _require_classes(images: Sequence[ImageRecord], names: Iterable[str]) -> None:
    """Raise DataError for a class that does not occur."""
    known = class_names(images)
    for name in names:
        if name not in known:
            raise DataError(f'No object is of the class "{name}".{did_you_mean(name, known)}')


def _numbered(images: Sequence[ImageRecord], path: Path | None, findings: Findings) -> LabelMap:
    """Return the label map, and report classes that do not agree with it."""
    _note_spellings(images, findings)
    if path is None:
        return LabelMap.from_names(class_names(images))
    written = config.read_label_map(path)
    label_map = LabelMap.from_items(written.item, path)
    ids = [item.id for item in written.item if item.id > 0]
    if ids != list(range(1, len(ids) + 1)):
        findings.add(kinds.LABEL_IDS, path, f"the ids are {', '.join(map(str, ids))}.")
    for name in class_names(images):
        if name not in label_map.by_any_name:
            _note_unknown(name, images, label_map, findings)
    return label_map


def _note_unknown(name: str, images: Sequence[ImageRecord], label_map: LabelMap, findings: Findings) -> None:
    """Report a class that the label map lacks, once, with the flag that reads it as the class of the nearest name."""
    having = [image for image in images if any(item.class_name == name for item in image.objects)]
    count = sum(item.class_name == name for image in having for item in image.objects)
    known = label_map.by_any_name
    alike = [other for other in known if spelling.plain(other) == spelling.plain(name)]
    meant = next(iter(alike), "") or nearest(name, known)
    hint = f' Did you mean "{meant}"?' if meant else ""
    findings.add(
        kinds.CLASS_UNKNOWN,
        findings.root / having[0].annotation,
        f'The label map has no class "{name}".{hint} It is the class of '
        f"{many(count, 'object')} in {many(len(having), 'image')}, of which this is the first.",
        image=having[0].name,
        flags=renaming({name: meant}) if meant else "",
    )


def _to_set_right(group: Sequence[Finding]) -> str:
    """Return the flags that set findings of one kind right, as a sentence, or nothing."""
    flags = kinds.flags_of(group)
    return f" To copy: {flags}" if flags else ""


def _note_spellings(images: Sequence[ImageRecord], findings: Findings) -> None:
    """Report names of classes that differ in spelling only, with the flags that give all the most frequent one."""
    counts = Counter(item.class_name for image in images for item in image.objects)
    alike: dict[str, list[str]] = {}
    for name in class_names(images):
        alike.setdefault(spelling.plain(name), []).append(name)
    for spellings in alike.values():
        if len(spellings) > 1:
            written = " and ".join(f'"{name}"' for name in spellings)
            looks = Counter(map(spelling.look, spellings))
            if same := [name for name in spellings if looks[spelling.look(name)] > 1]:
                written += f"; these look alike and are not: {' and '.join(map(ascii, same))}"
            usual = max(spellings, key=lambda name: counts[name])
            flags = renaming({name: usual for name in spellings if name != usual})
            findings.add(kinds.CLASS_SPELLINGS, findings.root, f"there is {written}.", flags=flags)


def _split(reading: Reading, options: Options, findings: Findings) -> dict[str, Sequence[ImageRecord]]:
    copies = duplicates.groups(reading.fingerprints, reading.digests).tolist()
    names = [image.name for image in reading.images]
    for name, group in zip(names, copies, strict=True):
        if names[group] != name:
            message = f"{names[group]} is the same image."
            findings.add(kinds.IMAGE_TWICE, findings.root / name, message, image=name)
    # All versions that Roboflow made of an image stay together.
    sources = [version[1] if (version := _ROBOFLOW_SOURCE.search(name)) else name for name in names]
    groups = duplicates.joined(copies, sources)
    followers = bursts(names, reading.fingerprints, reading.times)
    _note_bursts(names, followers, findings)
    groups = duplicates.joined(groups, followers)
    split = _chosen_split(reading, options, dict(zip(names, groups, strict=True)), findings)
    for left, right in splits.leaks(split, dict(zip(names, copies, strict=True))):
        findings.add(kinds.LEAK, findings.root / right, f"{left} is the same image.", image=right)
    for image in split.unassigned:
        unknown = f'its part "{image.subset}" is none that is known.'
        reason = unknown if image.subset else "nothing names its part."
        findings.add(kinds.IMAGE_UNASSIGNED, findings.root / image.name, reason, image=image.name)
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    return {name: images for name, images in parts.items() if images or name == "train"}


def _chosen_split(reading: Reading, options: Options, groups: Mapping[str, int], findings: Findings) -> Split:
    images = reading.images
    if options.validation_files:
        return splits.by_list(images, options.validation_files)
    if options.folds is not None:
        if options.fold is None:
            raise DataError(
                f"--fold says which of the {options.folds} folds is for validation; `boxtune retrain` trains all of "
                "them without it."
            )
        return splits.fold(images, folds=options.folds, fold=options.fold, seed=options.seed, groups=groups)
    if options.validation_fraction is None:
        own = split_lists.by_lists(images, reading.lists, findings) or splits.by_folders(images)
        if own:
            return own
        subsets = (image.subset for image in images)
        counts = Counter(subset for subset in subsets if splits.part_of_folder(subset) is not None)
        if counts:
            parts = ", ".join(f"{part} {count}" for part, count in sorted(counts.items()))
            message = f"of {len(images)} images the annotations put into parts: {parts}."
            findings.add(kinds.LISTS_INCOMPLETE, findings.root, message)
    fraction = VALIDATION_FRACTION if options.validation_fraction is None else options.validation_fraction
    kept = _kept(reading, options, findings)
    return splits.by_ratio(images, validation_fraction=fraction, seed=options.seed, groups=groups, kept=kept)


def _kept(reading: Reading, options: Options, findings: Findings) -> dict[str, int]:
    """Return the parts of the images that were in a folder of records, and note it; none if another split is wanted."""
    folder = None if options.new_split else options.kept_split
    split = kept_split.read(folder) if folder else None
    if split is None or options.validation_fraction not in (None, split.validation_fraction):
        return {}
    kept = split.parts(reading.images, reading.digests)
    counts, num_new = Counter(kept.values()), len(reading.images) - len(kept)
    if kept and num_new:
        findings.add(
            kinds.SPLIT_KEPT,
            findings.root,
            f"{many(counts[splits.TRAIN], 'image')} for training and {counts[splits.VALIDATION]} for validation stay "
            f"there, as {folder} has them; new: {num_new}.",
        )
    return kept


def _note_bursts(names: Sequence[str], first: Sequence[int], findings: Findings) -> None:
    """Note how many images are followed closely by others."""
    sizes = {index: count for index, count in Counter(first).items() if count > 1}
    if sizes:
        largest = max(sizes, key=lambda index: (sizes[index], -index))
        message = (
            f"{sum(sizes.values())} images in {len(sizes)} series; {sizes[largest]} from {names[largest]} on."
        )
        findings.add(kinds.BURSTS, findings.root, message)


def _note_classes(
    label_map: LabelMap, parts: Mapping[str, Sequence[ImageRecord]], findings: Findings
) -> None:
    """Note the classes that cannot be learnt, measured, or that do not occur at all."""
    counts = {part: class_counts(images, label_map) for part, images in parts.items()}
    num_measured = counts.get("validation", counts["train"])
    known, measured = label_map.by_any_name, parts.get("validation", parts["train"])
    objects = [item for image in measured for item in image.objects if item.class_name in known]
    single = {known[item.class_name].name for item in objects if not item.is_crowd}
    for name in label_map.names:
        message = f'there is no "{name}".'
        if not any(count[name] for count in counts.values()):
            findings.add(kinds.CLASS_UNUSED, findings.root, message)
        elif not counts["train"][name]:
            findings.add(kinds.CLASS_NOT_IN_TRAINING, findings.root, message)
        elif not num_measured[name]:
            findings.add(kinds.CLASS_NOT_IN_VALIDATION, findings.root, message)
        elif name not in single:
            crowds = f'every object of "{name}" is a crowd ({num_measured[name]}).'
            findings.add(kinds.CLASS_ONLY_CROWDS, findings.root, crowds)


def too_few_to_validate(prepared: Prepared) -> str:
    """Say that there are few images to validate on, all or of a class; "" if there are enough, or none."""
    measured = prepared.parts.get(WHOLE, prepared.parts.get("validation", ()))
    if not measured:
        return ""
    counts = Counter(name for image in measured for name in class_counts([image], prepared.label_map))
    few = [f"{name} {counts[name]}" for name in prepared.label_map.names if 0 < counts[name] < FEW_OF_A_CLASS]
    reasons = [f"{len(measured)} images to validate on are few"] if len(measured) < FEW_IMAGES else []
    if few:
        shown = some(few, _MOST_NAMED)
        reasons.append(f"classes in fewer than {FEW_OF_A_CLASS} images to validate on: {shown}")
    return "; ".join(reasons)


def class_counts(images: Iterable[ImageRecord], label_map: LabelMap) -> Counter[str]:
    """Return how many objects of each class there are; those that the label map lacks are left out."""
    names = {name: label.name for name, label in label_map.by_any_name.items()}
    return Counter(
        names[item.class_name] for image in images for item in image.objects if item.class_name in names
    )
