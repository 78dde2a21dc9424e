"""The verb `convert`: annotated photographs become TFRecords and a label map, or a data set in another format."""

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import dropwhile
from pathlib import Path

from boxtune.data import kept_split, recognition, record_writer
from boxtune.data.cutting import Counts, cut_parts
from boxtune.data.files import Paths, whole_file, writable_folder
from boxtune.data.findings import Findings
from boxtune.data.image_record import ImageRecord
from boxtune.data.image_writer import write_images
from boxtune.data.label_map import LabelMap
from boxtune.data.preparation import Options, Prepared, prepare
from boxtune.data.workers import kept_processes, map_in_processes
from boxtune.errors import DataError
from boxtune.report import data_set

LABEL_MAP_NAME = "label_map.pbtxt"
TFRECORD = "tfrecord"
_CAN_IGNORE = (TFRECORD, "coco")
"""What is written in them can say of an object that it counts neither as right nor as wrong."""
_OF_A_PART = re.compile(r"(train|validation|whole|test)(-\d{5}-of-\d{5}\.tfrecord|\.list)")
_NUM_IMAGES_FOR_ONE = 500  # below this, starting processes takes longer than what they save

_log = logging.getLogger("boxtune")


@dataclass(frozen=True, slots=True)
class ConvertResult:
    """What was written and found; printed, it is a page for people. `files` names what belongs to each part."""

    output_dir: Path
    prepared: Prepared
    files: Mapping[str, Sequence[str]]
    cut: Mapping[str, Counts] = field(default_factory=dict)
    """What became of the images of each part that was cut into tiles."""

    def __str__(self) -> str:
        folder, title = self.output_dir, f"{self.output_dir} now holds {self.prepared.reading.title}"
        return data_set.text(title, self.prepared, f"all of them are in {folder / data_set.JSON_NAME}")


@kept_processes()
def convert(
    photos: Paths, output_dir: str | Path, options: Options | None = None, *, to: str = TFRECORD
) -> ConvertResult:
    """Turn an annotated folder of any known format into TFRecords (or another format), a label map and a report.

    Writes ``train-?????-of-?????.tfrecord``, ``validation-...`` and ``test-...`` where there are such parts,
    ``label_map.pbtxt``, ``report.json``, and which image is in which part: ``train.list`` and so on, ``split.json``.
    Those of an earlier call in the same folder are replaced; images that they have stay in their part. Nothing gets its
    name before all of it is whole. In another format, each part is a folder of images and annotations (or
    `output_dir` itself, if there is only one part), and must not exist yet.

    With `options.cutting` the images for training and validation become tiles and the whole; those for validation are
    written as they are, too: ``whole-?????-of-?????.tfrecord``.

    Args:
        photos: the folder of the images, or several, whose classes are merged by name and whose formats may differ.
        output_dir: where to write; made if need be.
        options: how the data set is to be read and split.
        to: "tfrecord", "voc", "coco", "yolo" or "label_studio".

    Raises:
        DataError: there is nothing to convert or too much of it is unusable, a class is not in the label map,
            the split is not possible, or the folder cannot be written to.
    """
    options, output_dir = options or Options(), Path(output_dir)
    if to not in (TFRECORD, *recognition.WRITERS):
        raise DataError(f'"{to}" cannot be written; {", ".join((TFRECORD, *recognition.WRITERS))} can.')
    if options.kept_split is None and to == TFRECORD:
        options = replace(options, kept_split=output_dir)
    prepared = prepare(photos, options)
    if prepared.refusal:
        if prepared.findings:
            _log.warning("%s\n", "\n".join(data_set.finding_lines(prepared.findings)).lstrip())
        raise DataError(prepared.refusal)
    written, cut = _cut(prepared, options, can_ignore=to in _CAN_IGNORE)
    writable_folder(output_dir)
    with ExitStack() as stack:
        if to == TFRECORD:
            files = _write_records(written, output_dir, options.num_workers, stack)
        else:
            files = _write_folders(written, output_dir, to, options.num_workers)
        given = options.label_map
        label_text = given.read_bytes() if given else prepared.label_map.to_text().encode()
        stack.enter_context(whole_file(output_dir / LABEL_MAP_NAME)).write_bytes(label_text)
        if to == TFRECORD:
            _write_split(prepared, output_dir, options.validation_fraction, stack)
        tiles = data_set.tiles_json(options.cutting, cut) if options.cutting else None
        report = data_set.to_json(written, files, tiles=tiles)
        stack.enter_context(whole_file(output_dir / data_set.JSON_NAME)).write_text(report, encoding="utf-8")
    if to == TFRECORD:
        _remove_others(output_dir, files)
    return ConvertResult(output_dir, written, files, cut)


def _cut(prepared: Prepared, options: Options, *, can_ignore: bool) -> tuple[Prepared, dict[str, Counts]]:
    """Return a data set of tiles, if they are wanted, and what became of the images of each part."""
    if options.cutting is None:
        return prepared, {}
    findings = Findings(prepared.reading.root, list(prepared.findings))
    parts, counts = cut_parts(
        prepared.parts, options.cutting, findings, seed=options.seed, can_ignore=can_ignore
    )
    return replace(prepared, parts=parts, findings=tuple(findings.items)), counts


def _write_split(
    prepared: Prepared, output_dir: Path, validation_fraction: float | None, stack: ExitStack
) -> None:
    """Write which image is in which part, for people and for a later conversion."""
    digests = {
        image.name: digest
        for image, digest in zip(prepared.reading.images, prepared.reading.digests, strict=True)
    }
    texts = {kept_split.SPLIT_NAME: kept_split.to_json(prepared.parts, digests, validation_fraction)}
    for part, images in prepared.parts.items():
        texts[kept_split.LIST_NAME.format(part)] = "".join(f"{image.name}\n" for image in images)
    for name, text in texts.items():
        stack.enter_context(whole_file(output_dir / name)).write_text(
            text, encoding="utf-8", errors="surrogateescape"
        )


def move(converted: ConvertResult, output_dir: Path) -> None:
    """Move what was converted to TFRecords into another folder of the same file system, replacing what is there.

    Raises:
        DataError: if that folder cannot be written to.
    """
    writable_folder(output_dir)
    try:
        for path in sorted(converted.output_dir.iterdir()):
            path.replace(output_dir / path.name)
        _remove_others(output_dir, converted.files)
    except OSError as error:
        raise DataError(f"{output_dir} cannot be written to: {error.strerror}.") from error


def _remove_others(folder: Path, files: Mapping[str, Sequence[str]]) -> None:
    """Remove what an earlier conversion into other parts or another number of shards has left.

    Args:
        folder: of the records.
        files: the shards that stay, by their parts.
    """
    kept = {name for names in files.values() for name in names} | set(map(kept_split.LIST_NAME.format, files))
    for path in folder.iterdir():
        if _OF_A_PART.fullmatch(path.name) and path.name not in kept:
            path.unlink()


def _write_records(
    prepared: Prepared, output_dir: Path, num_workers: int | None, stack: ExitStack
) -> dict[str, list[str]]:
    """Write the shards of all parts under temporary names, which `stack` makes final; return the final ones."""
    parts = {name: record_writer.shards(images, output_dir / name) for name, images in prepared.parts.items()}
    work = [
        (records, stack.enter_context(whole_file(path)))
        for shards in parts.values()
        for path, records in shards.items()
    ]
    small = sum(len(records) for records, _ in work) < _NUM_IMAGES_FOR_ONE
    write = partial(_write_shard, prepared.label_map)
    for _ in map_in_processes(write, work, num_workers=1 if small else num_workers, chunk_size=1):
        pass
    return {name: [path.name for path in shards] for name, shards in parts.items()}


def _write_shard(label_map: LabelMap, shard: tuple[Sequence[ImageRecord], Path]) -> None:
    record_writer.write_file(shard[0], label_map, shard[1])


def _write_folders(
    prepared: Prepared, output_dir: Path, to: str, num_workers: int | None
) -> dict[str, list[str]]:
    """Write each part as a folder in another format; return the images of each."""
    writer = recognition.WRITERS[to]
    files = {}
    for part, records in prepared.parts.items():
        folder = output_dir / part if len(prepared.parts) > 1 else output_dir
        if folder.is_dir() and any(folder.iterdir()):
            raise DataError(
                f"{folder} is not empty. Choose another folder, so that nothing of it is overwritten."
            )
        shortened = [_without_folders(record, {part, writer.IMAGES_FOLDER}) for record in records]
        names = write_images(shortened, folder / writer.IMAGES_FOLDER, num_workers=num_workers)
        writer.write(records, names, folder, prepared.label_map)
        base = folder.relative_to(output_dir) / writer.IMAGES_FOLDER
        files[part] = [(base / name).as_posix() for name in names]
    return files


def _without_folders(record: ImageRecord, folders: Collection[str]) -> ImageRecord:
    """Leave out the first folders of an image's name that are going to stand before it anyway."""
    parts = record.name.split("/")
    kept = list(dropwhile(lambda part: part in folders, parts[:-1]))
    return replace(record, name="/".join([*kept, parts[-1]]))
