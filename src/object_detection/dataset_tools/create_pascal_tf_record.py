"""Write one TFRecord file of a Pascal VOC data set, as the API's script of this name does, flag for flag.

    create_pascal_tf_record.py --data_dir=VOCdevkit --year=VOC2012 --set=train
        --label_map_path=label_map.pbtxt --output_path=train.record

Your own data need neither a folder of the year nor lists of images: without the one, --data_dir itself is
read, without the other, all of it.
"""

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from absl import flags

from boxtune.data.formats import voc
from boxtune.data.image_record import ImageRecord
from boxtune.errors import DataError
from object_detection.dataset_tools import examples, script

if TYPE_CHECKING:
    import tensorflow as tf

FLAGS = flags.FLAGS
SETS = ["train", "val", "trainval", "test"]
YEARS = ["VOC2007", "VOC2012", "merged"]


def _define_flags() -> None:
    flags.DEFINE_string("data_dir", None, "The folder of the data set.", required=True)
    flags.DEFINE_string("output_path", None, "The TFRecord file to write.", required=True)
    flags.DEFINE_enum("set", "train", SETS, "Which list of images to convert.")
    flags.DEFINE_string(
        "annotations_dir", "Annotations", "The folder of the XML files, within that of the year."
    )
    flags.DEFINE_enum("year", "VOC2007", YEARS, "The folder within --data_dir.")
    flags.DEFINE_string("label_map_path", "data/pascal_label_map.pbtxt", "The label map.")
    flags.DEFINE_bool("ignore_difficult_instances", False, "Leave out what is marked as difficult.")


def dict_to_tf_example(
    data: Mapping[str, Any],
    dataset_directory: str | os.PathLike[str],
    label_map_dict: Mapping[str, int],
    ignore_difficult_instances: bool = False,
    image_subdirectory: str = "JPEGImages",
) -> "tf.train.Example":
    """Return an example of the XML of an image, as `dataset_util.recursive_parse_xml_to_dict` gives it.

    The image is DATASET_DIRECTORY/FOLDER/IMAGE_SUBDIRECTORY/FILENAME, where `data` has folder and filename. Boxes are
    repaired as in the script. Raises DataError if the image cannot be read, a class is not in `label_map_dict`, or
    there are objects and none can be used.
    """
    image = examples.within(
        Path(dataset_directory), data.get("folder") or "", image_subdirectory, data["filename"]
    )
    listed = examples.voc_objects(data, ignore_difficult=ignore_difficult_instances)
    record = examples.image_record(image, data["filename"], listed, examples.voc_object)
    return examples.to_tf_example(record, label_map_dict)


def _create() -> None:
    images = [image for folder in _folders(Path(FLAGS.data_dir)) for image in _selected(folder)]
    if FLAGS.ignore_difficult_instances:
        images = script.keep_objects(images, lambda item: not item.difficult)
    label_map = script.label_map_of(Path(FLAGS.label_map_path), images)
    script.write(images, label_map, Path(FLAGS.output_path))


def _folders(data_dir: Path) -> list[Path]:
    years = ["VOC2007", "VOC2012"] if FLAGS.year == "merged" else [FLAGS.year]
    return [data_dir / year for year in years if (data_dir / year).is_dir()] or [data_dir]


def _selected(folder: Path) -> list[ImageRecord]:
    """Return the images of the list, reporting the images that were left out."""
    annotations = folder / FLAGS.annotations_dir
    images = script.read_usable(
        folder, annotations=annotations if annotations.is_dir() else None, format_name="voc"
    )
    listed = voc.image_set(folder, FLAGS.set)
    if listed is None:
        print(f"{folder} has no list of images {FLAGS.set}.txt: all of them are written.")
        return list(images)
    selected = [image for image in images if PurePosixPath(image.annotation).stem in listed]
    if not selected:
        raise DataError(f"{folder}: no image of the list {FLAGS.set}.txt has an annotation that can be used.")
    if len(selected) < len(listed):
        print(f"{len(listed) - len(selected)} of {len(listed)} images of {FLAGS.set}.txt cannot be used.")
    return selected


if __name__ == "__main__":
    _define_flags()
    script.run(_create)
