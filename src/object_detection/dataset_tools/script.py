"""Shared by the scripts of this folder: reading that reports what it finds, numbers of classes, writing, leaving."""

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from absl import app

from boxtune import cli
from boxtune.data import record_writer
from boxtune.data.files import whole_file, writable_folder
from boxtune.data.image_record import ImageRecord, ObjectRecord, class_names
from boxtune.data.label_map import LabelMap, read_label_map, write_label_map
from boxtune.data.reading import read, why_unusable
from boxtune.errors import DataError, many
from boxtune.report.data_set import finding_lines

LABEL_MAP_NAME = "label_map.pbtxt"
_MAX_UNUSABLE = 0.5


def run(verb: Callable[[], None]) -> None:
    """Parse absl's flags, call `verb`, and leave with the status of boxtune's own verbs."""
    # A lone "--", which the API's documentation has behind some scripts' names, would end the flags.
    app.run(lambda _: cli.run(verb, {}), [argument for argument in sys.argv if argument != "--"])


def read_usable(
    photos: Path, *, format_name: str, annotations: Path | None = None
) -> tuple[ImageRecord, ...]:
    """Return the usable images of a data set, printing findings.

    Raises DataError if there is nothing to read, or more than half of it is lost.
    """
    reading = read(photos, annotations=annotations, format_name=format_name)
    for line in finding_lines(reading.findings):
        print(line)
    if refusal := why_unusable(reading, _MAX_UNUSABLE):
        raise DataError(refusal)
    return reading.images


def keep_objects(images: Iterable[ImageRecord], keep: Callable[[ObjectRecord], bool]) -> list[ImageRecord]:
    """Return the images with those of their objects that `keep` selects, maybe none; print how many it does not."""
    before = list(images)
    after = [replace(image, objects=tuple(filter(keep, image.objects))) for image in before]
    left_out = _num_objects(before) - _num_objects(after)
    if left_out:
        print(f"{many(left_out, 'object')} left out, as the flags say.")
    return after


def label_map_of(path: Path, images: Iterable[ImageRecord]) -> LabelMap:
    """Read a label map; raise DataError if it lacks a class of the images, or cannot be read."""
    label_map = read_label_map(path)
    for name in class_names(images):
        try:
            label_map.label(name)
        except DataError as error:
            raise DataError(f"{path}: {error} Add it to the label map, or correct the annotations.") from None
    return label_map


def label_map_beside(records: Path, images: Sequence[ImageRecord], new: LabelMap) -> LabelMap:
    """Return the label map in the folder of a record file, and print it; `new` is written if there is none.

    So what is written to one folder in several calls, such as training and test records, has one numbering.
    Raises DataError if the one that is there lacks a class, or a file cannot be read or written.
    """
    path = writable_folder(records.parent) / LABEL_MAP_NAME
    if not path.is_file():
        write_label_map(new, path)
    label_map = label_map_of(path, images)
    classes = ", ".join(f"{label.id} {label.name}" for label in label_map.labels)
    print(f"The classes are numbered as in {path}: {classes}")
    return label_map


def write(images: Sequence[ImageRecord], label_map: LabelMap, path: Path) -> None:
    """Write one TFRecord file, and print what is in it; raise DataError if that fails."""
    _write({path: images}, label_map)
    print(f"Wrote {_counted(images)} to {path}")


def write_shards(images: Sequence[ImageRecord], label_map: LabelMap, base: Path, num_shards: int) -> None:
    """Deal images out to ``BASE-00000-of-0000N`` and so on, and print how many; raise DataError if that fails."""
    names = [f"{base.name}-{shard:05d}-of-{num_shards:05d}" for shard in range(num_shards)]
    _write({base.with_name(name): images[shard::num_shards] for shard, name in enumerate(names)}, label_map)
    print(f"Wrote {_counted(images)} to {base}-?????-of-{num_shards:05d}")


def _counted(images: Sequence[ImageRecord]) -> str:
    return f"{many(len(images), 'image')} with {many(_num_objects(images), 'object')}"


def _write(files: dict[Path, Sequence[ImageRecord]], label_map: LabelMap) -> None:
    """Write files that get their names once all of them are whole."""
    with ExitStack() as stack:
        for path, images in files.items():
            writable_folder(path.parent)
            record_writer.write_file(images, label_map, stack.enter_context(whole_file(path)))


def _num_objects(images: Iterable[ImageRecord]) -> int:
    return sum(len(image.objects) for image in images)
