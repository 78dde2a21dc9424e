"""Write one TFRecord file of a Pascal VOC data set, as the API's script of this name does, flag for flag.

    create_pascal_tf_record.py --data_dir=VOCdevkit --year=VOC2012 --set=train
        --label_map_path=label_map.pbtxt --output_path=train.record

Your own data need neither a folder of the year nor lists of images: without the one, --data_dir itself is
read, without the other, all of it.
"""

import sys
from dataclasses import replace
from pathlib import Path

from absl import app, flags

from boxtune import cli
from boxtune.data import tfrecord, voc
from boxtune.data.files import whole_file, writable_folder
from boxtune.data.label_map import read_label_map, require_classes
from boxtune.data.records import ImageRecord, require_usable
from boxtune.errors import DataError

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "The folder of the data set.", required=True)
flags.DEFINE_string("output_path", None, "The TFRecord file to write.", required=True)
flags.DEFINE_enum("set", "train", ["train", "val", "trainval", "test"], "Which list of images to convert.")
flags.DEFINE_string("annotations_dir", "Annotations", "The folder of the XML files, within that of the year.")
flags.DEFINE_enum("year", "VOC2007", ["VOC2007", "VOC2012", "merged"], "The folder within --data_dir.")
flags.DEFINE_string("label_map_path", "data/pascal_label_map.pbtxt", "The label map.")
flags.DEFINE_bool("ignore_difficult_instances", False, "Leave out what is marked as difficult.")


def main(_: list[str]) -> int:
    """Write the file that the flags ask for."""
    return cli.run(_create, {})


def _create() -> None:
    label_map = read_label_map(Path(FLAGS.label_map_path))
    records = [record for folder in _folders(Path(FLAGS.data_dir)) for record in _selected(folder)]
    if FLAGS.ignore_difficult_instances:
        records = [_without_difficult(record) for record in records]
    require_classes(label_map, records)

    output_path = Path(FLAGS.output_path)
    writable_folder(output_path.parent)
    with whole_file(output_path) as temporary:
        tfrecord.write_file(records, label_map, temporary)
    num_objects = sum(len(record.objects) for record in records)
    print(f"Wrote {len(records)} images with {num_objects} objects to {output_path}")


def _folders(data_dir: Path) -> list[Path]:
    years = ["VOC2007", "VOC2012"] if FLAGS.year == "merged" else [FLAGS.year]
    return [data_dir / year for year in years if (data_dir / year).is_dir()] or [data_dir]


def _selected(folder: Path) -> list[ImageRecord]:
    """Return the images of the wanted list, saying what was left out."""
    reading = voc.read_folder(folder)
    for finding in reading.findings:
        print(f"{finding.severity}: {finding.kind}: {finding.file}: {finding.message}")
    require_usable(reading, max_loss=0.5)

    wanted = voc.image_set(folder, FLAGS.set)
    if wanted is None:
        print(f"{folder} has no list of images {FLAGS.set}.txt: all of them are written.")
    annotations_dir = folder / FLAGS.annotations_dir
    records = [
        record
        for record in reading.images
        if record.annotation_path is not None
        and (wanted is None or record.annotation_path.stem in wanted)
        and (record.annotation_path.is_relative_to(annotations_dir) or not annotations_dir.is_dir())
    ]
    if not records:
        raise DataError(f"{folder}: no image of the list {FLAGS.set}.txt has an annotation that can be used.")
    if wanted and len(records) < len(wanted):
        print(f"{len(wanted) - len(records)} of {len(wanted)} images of {FLAGS.set}.txt cannot be used.")
    return records


def _without_difficult(record: ImageRecord) -> ImageRecord:
    return replace(record, objects=tuple(item for item in record.objects if not item.difficult))


if __name__ == "__main__":
    # A lone "--", which the API's documentation has behind some scripts' names, would end the flags.
    app.run(main, [argument for argument in sys.argv if argument != "--"])
