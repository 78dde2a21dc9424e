"""Write TFRecords of a data set in COCO's format, as the API's script of this name does, flag for flag.

    create_coco_tf_record.py --train_image_dir=train2017 --train_annotations_file=instances_train2017.json
        --val_image_dir=val2017 --val_annotations_file=instances_val2017.json --output_dir=records

writes coco_train.record-00000-of-00100, coco_val.record-00000-of-00050 and coco_testdev.record-00000-of-00050, and
label_map.pbtxt with the numbers of the categories. Parts whose flags are left out are not written.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from absl import flags

from boxtune.data.findings import SkipError
from boxtune.data.formats.json_text import as_dict, as_list, as_text, load_json
from boxtune.data.image_record import Box, ImageRecord, Keypoint, ObjectRecord, class_names
from boxtune.data.label_map import Label, LabelMap
from boxtune.errors import ConfigError, DataError, many
from object_detection.dataset_tools import script

FLAGS = flags.FLAGS
flags.DEFINE_bool("include_masks", False, "Write masks too.")
flags.DEFINE_string("train_image_dir", "", "The images for training.")
flags.DEFINE_string("val_image_dir", "", "The images for validation.")
flags.DEFINE_string("test_image_dir", "", "The images for testing.")
flags.DEFINE_string("train_annotations_file", "", "The JSON file for training.")
flags.DEFINE_string("val_annotations_file", "", "The JSON file for validation.")
flags.DEFINE_string("testdev_annotations_file", "", "The JSON file for testing.")
flags.DEFINE_string("train_keypoint_annotations_file", "", "A second JSON file for training, with keypoints.")
flags.DEFINE_string("val_keypoint_annotations_file", "", "A second JSON file for validation, with keypoints.")
flags.DEFINE_string("train_densepose_annotations_file", "", "Not available.")
flags.DEFINE_string("val_densepose_annotations_file", "", "Not available.")
flags.DEFINE_string("output_dir", tempfile.gettempdir(), "Takes the files.")
flags.DEFINE_bool("remove_non_person_annotations", False, 'Leave out objects of other classes than "person".')
flags.DEFINE_bool("remove_non_person_images", False, 'Leave out images without a "person".')

_PERSON = "person"
_MAX_ID = 2**31 - 1  # of label maps


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of the data set: where it is and how it is written."""

    name: str
    photos: str
    annotations: str
    keypoints: str
    num_shards: int


def _create() -> None:
    if FLAGS.train_densepose_annotations_file or FLAGS.val_densepose_annotations_file:
        raise ConfigError(
            "--train_densepose_annotations_file and --val_densepose_annotations_file are not supported; leave them out"
        )
    parts = _parts()
    images = {part.name: _selected(_with_keypoints(_read(part), part)) for part in parts}
    everything = [image for of_part in images.values() for image in of_part]
    numbered = _numbered([Path(part.annotations) for part in parts], class_names(everything))
    label_map = script.label_map_beside(_base("train"), everything, numbered)
    for part in parts:
        script.write_shards(images[part.name], label_map, _base(part.name), part.num_shards)


def _parts() -> list[_Part]:
    """Return the parts that the flags name; raise ConfigError if there is none, or only half of one."""
    parts = [
        _Part(
            "train",
            FLAGS.train_image_dir,
            FLAGS.train_annotations_file,
            FLAGS.train_keypoint_annotations_file,
            num_shards=100,
        ),
        _Part(
            "val",
            FLAGS.val_image_dir,
            FLAGS.val_annotations_file,
            FLAGS.val_keypoint_annotations_file,
            num_shards=50,
        ),
        _Part("testdev", FLAGS.test_image_dir, FLAGS.testdev_annotations_file, "", num_shards=50),
    ]
    named = [part for part in parts if part.photos or part.annotations or part.keypoints]
    for part in named or parts[:1]:
        if not (part.photos and part.annotations):
            folder = "test" if part.name == "testdev" else part.name
            raise ConfigError(f"Give both --{folder}_image_dir and --{part.name}_annotations_file")
    return named


def _base(part: str) -> Path:
    return Path(FLAGS.output_dir) / f"coco_{part}.record"


def _read(part: _Part) -> tuple[ImageRecord, ...]:
    return script.read_usable(Path(part.photos), annotations=Path(part.annotations), format_name="coco")


def _with_keypoints(images: Sequence[ImageRecord], part: _Part) -> Sequence[ImageRecord]:
    """Give objects the keypoints of the same class and box of the same image in a second file, if there is one."""
    if not part.keypoints:
        return images
    of_points = script.read_usable(Path(part.photos), annotations=Path(part.keypoints), format_name="coco")
    points = {
        (image.name, item.class_name, item.box): item.keypoints
        for image in of_points
        for item in image.objects
    }
    return [
        replace(image, objects=tuple(_with_points(image.name, item, points) for item in image.objects))
        for image in images
    ]


_Points = Mapping[tuple[str, str, Box], tuple[Keypoint, ...]]
"""Keypoints by the name of the image, and the class and the box of the object."""


def _with_points(image_name: str, item: ObjectRecord, points: _Points) -> ObjectRecord:
    return replace(item, keypoints=points.get((image_name, item.class_name, item.box), item.keypoints))


def _selected(images: Iterable[ImageRecord]) -> list[ImageRecord]:
    """Leave out the objects and images that the flags exclude."""
    selected = list(images)
    if FLAGS.remove_non_person_annotations:
        selected = script.keep_objects(selected, lambda item: item.class_name == _PERSON)
    if FLAGS.remove_non_person_images:
        with_persons = [
            image for image in selected if any(item.class_name == _PERSON for item in image.objects)
        ]
        print(f"{many(len(selected) - len(with_persons), 'image')} left out, as the flags say.")
        selected = with_persons
    return selected if FLAGS.include_masks else list(map(_without_masks, selected))


def _without_masks(image: ImageRecord) -> ImageRecord:
    return replace(image, objects=tuple(replace(item, mask=None) for item in image.objects))


def _numbered(files: Iterable[Path], names: Sequence[str]) -> LabelMap:
    """Return the classes by the numbers of their categories if these can serve, else by the order of `names`."""
    categories = {category for path in files for category in _categories(path)}
    usable = sorted((number, name) for number, name in categories if 0 < number <= _MAX_ID and name)
    numbers, used = [number for number, _ in usable], [name for _, name in usable]
    if len(set(numbers)) == len(set(used)) == len(usable) and set(names) <= set(used):
        return LabelMap(tuple(Label(number, name) for number, name in usable))
    print("The categories' ids are not unique numbers from 1 on, so the classes are numbered by name.")
    return LabelMap.from_names(names)


def _categories(path: Path) -> list[tuple[int, str]]:
    """Return number and name of each category of a JSON file; raise DataError if it has none that can be read."""
    try:
        listed = as_list(as_dict(load_json(path), "the file").get("categories"), "categories")
        return [
            (category["id"], as_text(category.get("name")))
            for category in (as_dict(item, f"categories[{n}]") for n, item in enumerate(listed))
            if type(category.get("id")) is int
        ]
    except SkipError as error:
        raise DataError(f"{path}: {error}") from error


if __name__ == "__main__":
    script.run(_create)
