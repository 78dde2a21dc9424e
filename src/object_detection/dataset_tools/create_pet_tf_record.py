"""Write training and validation TFRecords of the Oxford pets, as the API's script of this name does, flag for flag.

    create_pet_tf_record.py --data_dir=pets --output_dir=records --label_map_path=pet_label_map.pbtxt

writes pet_faces_train.record-00000-of-00010 and so on: the boxes of faces. With --nofaces_only, the files are called
pets_fullbody_with_masks_... and hold the box and mask of what the trimap does not call background. The class is
the breed in the image's name. Seven tenths of annotations/trainval.txt, the same as in the API, are for training.
"""

import os
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from boxtune.data import images, masks
from boxtune.data.image_record import Box, ImageRecord, ImageSource
from boxtune.errors import ConfigError, DataError
from object_detection.dataset_tools import examples as tf_examples
from object_detection.dataset_tools import script
from object_detection.utils.dataset_util import read_examples_list

if TYPE_CHECKING:
    import tensorflow as tf

FLAGS = flags.FLAGS
_TRAIN_SHARE = 0.7
_SEED = 42
_BREED = re.compile(r"([A-Za-z_]+)_[0-9]+")
_TRIMAP_VALUES = {1, 2, 3}  # the animal, background, undecided between them
_BACKGROUND = 2


def _define_flags() -> None:
    flags.DEFINE_string("data_dir", None, "Holds images and annotations.", required=True)
    flags.DEFINE_string("output_dir", None, "Takes the files.", required=True)
    flags.DEFINE_string("label_map_path", "data/pet_label_map.pbtxt", "The label map.")
    flags.DEFINE_bool("faces_only", True, "Faces, rather than whole animals with masks.")
    flags.DEFINE_enum("mask_type", "png", ["png", "numerical"], "How masks are written: only png.")
    flags.DEFINE_integer(
        "num_shards", 10, "The number of files of each part.", lower_bound=1, upper_bound=99_999
    )


def get_class_name_from_filename(file_name: str) -> str:
    """Return the breed that the name of an image says; raise DataError if it is not called BREED_NUMBER."""
    found = _BREED.fullmatch(PurePosixPath(file_name).stem)
    if not found:
        raise DataError(f"{file_name} is not called BREED_NUMBER, which says the class.")
    return found[1]


def dict_to_tf_example(
    data: Mapping[str, Any],
    mask_path: str | os.PathLike[str],
    label_map_dict: Mapping[str, int],
    image_subdirectory: str | os.PathLike[str],
    ignore_difficult_instances: bool = False,
    faces_only: bool = True,
    mask_type: str = "png",
) -> "tf.train.Example":
    """Return an example of the XML of an image, as `dataset_util.recursive_parse_xml_to_dict` gives it.

    The image is IMAGE_SUBDIRECTORY/FILENAME, and its trimap `mask_path`, which is read for whole animals only. Raises
    ConfigError for masks that are not written as png, and DataError if a file cannot be used, or `label_map_dict` lacks
    the breed.
    """
    _require_png(mask_type)
    listed = tf_examples.voc_objects(data, ignore_difficult=ignore_difficult_instances)
    image = tf_examples.within(Path(image_subdirectory), data["filename"])
    record = _with_breed(tf_examples.image_record(image, data["filename"], listed, tf_examples.voc_object))
    animal = record if faces_only else _whole_animal(record, Path(mask_path))
    return tf_examples.to_tf_example(animal, label_map_dict)


def create_tf_record(
    output_filename: str | os.PathLike[str],
    num_shards: int,
    label_map_dict: Mapping[str, int],
    annotations_dir: str | os.PathLike[str],
    image_dir: str | os.PathLike[str],
    examples: Sequence[str],
    faces_only: bool = True,
    mask_type: str = "png",
) -> None:
    """Write the records of images, which are given by their names without extension; raise as `dict_to_tf_example`."""
    _require_png(mask_type)
    records = _records(Path(image_dir), Path(annotations_dir), set(examples), faces_only)
    of_part = [records[stem] for stem in examples if stem in records]
    script.write_shards(of_part, tf_examples.label_map_of(label_map_dict), Path(output_filename), num_shards)


def _require_png(mask_type: str) -> None:
    if mask_type != "png":
        raise ConfigError(f"--mask_type={mask_type} is not supported: masks are written as png. Leave it out")


def _create() -> None:
    _require_png(FLAGS.mask_type)
    annotations = Path(FLAGS.data_dir) / "annotations"
    train, validation = _drawn(read_examples_list(annotations / "trainval.txt"))
    records = _records(Path(FLAGS.data_dir) / "images", annotations, {*train, *validation}, FLAGS.faces_only)
    label_map = script.label_map_of(Path(FLAGS.label_map_path), records.values())
    name = "pet_faces" if FLAGS.faces_only else "pets_fullbody_with_masks"
    for part, stems in (("train", train), ("val", validation)):
        of_part = [records[stem] for stem in stems if stem in records]
        base = Path(FLAGS.output_dir) / f"{name}_{part}.record"
        script.write_shards(of_part, label_map, base, FLAGS.num_shards)


def _drawn(stems: Sequence[str]) -> tuple[list[str], list[str]]:
    """Draw training and validation as the API's script does."""
    shuffled = list(stems)
    random.Random(_SEED).shuffle(shuffled)
    num_train = int(_TRAIN_SHARE * len(shuffled))
    return shuffled[:num_train], shuffled[num_train:]


def _records(
    image_folder: Path, annotations: Path, listed: set[str], faces_only: bool
) -> dict[str, ImageRecord]:
    """Return the usable ones of the images that are `listed`, by their names without extension."""
    read = script.read_usable(image_folder, annotations=annotations / "xmls", format_name="voc")
    by_stem = {PurePosixPath(record.name).stem: record for record in read}
    records = {stem: _with_breed(record) for stem, record in by_stem.items() if stem in listed}
    if not faces_only:
        records = _whole_animals(records, annotations / "trimaps")
    if missing := listed - records.keys():
        print(
            f"{len(missing):,} of {len(listed):,} images of trainval.txt cannot be used, such as {min(missing)}."
        )
    if not records:
        raise DataError(f"{image_folder}: no image of trainval.txt can be used.")
    return records


def _with_breed(record: ImageRecord) -> ImageRecord:
    breed = get_class_name_from_filename(record.name)
    return replace(record, objects=tuple(replace(item, class_name=breed) for item in record.objects))


def _whole_animals(records: Mapping[str, ImageRecord], trimaps: Path) -> dict[str, ImageRecord]:
    """Return the records with boxes and masks of whole animals; print why one is left out."""
    animals = {}
    for stem, record in records.items():
        try:
            animals[stem] = _whole_animal(record, trimaps / f"{stem}.png")
        except DataError as error:
            print(f"{record.name} is left out: {error}")
    return animals


def _whole_animal(record: ImageRecord, trimap_path: Path) -> ImageRecord:
    """Return the record with a single object, which is all that is not background."""
    if not record.objects:
        raise DataError(f"{record.annotation} has no object.")
    trimap = np.asarray(images.read_rgb(ImageSource(trimap_path), record.orientation))[..., 0]
    if trimap.shape != (record.height, record.width) or not set(np.unique(trimap)) <= _TRIMAP_VALUES:
        raise DataError(
            f"{trimap_path} is not a trimap of {record.width} x {record.height} pixels from 1 to 3."
        )
    mask = masks.from_array(trimap != _BACKGROUND)
    xmin, ymin, xmax, ymax = masks.edges(mask)
    box = Box(ymin / record.height, xmin / record.width, ymax / record.height, xmax / record.width)
    return replace(record, objects=(replace(record.objects[0], box=box, mask=mask, truncated=False),))


if __name__ == "__main__":
    _define_flags()
    script.run(_create)
