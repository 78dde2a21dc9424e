"""Write TFRecords of a data set in COCO's format, as the API's script of this name does, flag for flag.

    create_coco_tf_record.py --train_image_dir=train2017 --train_annotations_file=instances_train2017.json
        --val_image_dir=val2017 --val_annotations_file=instances_val2017.json --output_dir=records

writes coco_train.record-00000-of-00100, coco_val.record-00000-of-00050 and coco_testdev.record-00000-of-00050, and
label_map.pbtxt with the numbers of the categories. Parts whose flags are left out are not written.
"""

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from boxtune.data.annotations import AnnotatedObject, AnnotationFile
from boxtune.data.findings import SkipError
from boxtune.data.formats import coco
from boxtune.data.formats.json_text import as_dict, as_list, as_text, load_json
from boxtune.data.image_record import Box, ImageRecord, Keypoint, ObjectRecord, class_names
from boxtune.data.label_map import Label, LabelMap
from boxtune.errors import ConfigError, DataError, many
from object_detection.dataset_tools import examples, script

if TYPE_CHECKING:
    import tensorflow as tf

FLAGS = flags.FLAGS
_PERSON = "person"
_POINTS_OF_PERSONS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
_MAX_ID = 2**31 - 1  # of label maps


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of the data set: where it is and how it is written."""

    name: str
    photos: str
    annotations: str
    keypoints: str
    num_shards: int


def _define_flags() -> None:
    flags.DEFINE_bool("include_masks", False, "Write masks too.")
    flags.DEFINE_string("train_image_dir", "", "The images for training.")
    flags.DEFINE_string("val_image_dir", "", "The images for validation.")
    flags.DEFINE_string("test_image_dir", "", "The images for testing.")
    flags.DEFINE_string("train_annotations_file", "", "The JSON file for training.")
    flags.DEFINE_string("val_annotations_file", "", "The JSON file for validation.")
    flags.DEFINE_string("testdev_annotations_file", "", "The JSON file for testing.")
    flags.DEFINE_string(
        "train_keypoint_annotations_file", "", "A second JSON file for training, with keypoints."
    )
    flags.DEFINE_string(
        "val_keypoint_annotations_file", "", "A second JSON file for validation, with keypoints."
    )
    flags.DEFINE_string("train_densepose_annotations_file", "", "Not available.")
    flags.DEFINE_string("val_densepose_annotations_file", "", "Not available.")
    flags.DEFINE_string("output_dir", tempfile.gettempdir(), "Takes the files.")
    flags.DEFINE_bool(
        "remove_non_person_annotations", False, 'Leave out objects of other classes than "person".'
    )
    flags.DEFINE_bool("remove_non_person_images", False, 'Leave out images without a "person".')


def clip_to_unit(x: float) -> float:
    """Return a number cut to [0, 1]."""
    return min(max(x, 0.0), 1.0)


def create_tf_example(
    image: Mapping[str, Any],
    annotations_list: Sequence[Mapping[str, Any]],
    image_dir: str | os.PathLike[str],
    category_index: Mapping[int, Mapping[str, Any]],
    include_masks: bool = False,
    keypoint_annotations_dict: Mapping[int, Mapping[str, Any]] | None = None,
    densepose_annotations_dict: Mapping[int, Mapping[str, Any]] | None = None,
    remove_non_person_annotations: bool = False,
    remove_non_person_images: bool = False,
) -> tuple[str, "tf.train.Example | None", int, int, int]:
    """Return an example of an image and its annotations, as COCO's JSON has them.

    Args:
        image: an entry of `images`.
        annotations_list: the entries of `annotations` about it.
        image_dir: the folder of the images.
        category_index: the categories by their ids.
        include_masks: write masks, too.
        keypoint_annotations_dict: annotations with keypoints by their ids, the same as in `annotations_list`.
        densepose_annotations_dict: refused.
        remove_non_person_annotations: leave out objects of other classes.
        remove_non_person_images: leave out the image if there is no person.

    Returns:
        The digest of the image; the example, None if it is left out; and how many annotations, keypoints of them
        and, always 0, DensePoses of them were left out.

    Raises:
        ConfigError: for DensePose.
        DataError: if the image or a mask cannot be read, or there are annotations and none can be used.
    """
    if densepose_annotations_dict:
        raise ConfigError("densepose_annotations_dict is not supported; leave it out.")
    points = keypoint_annotations_dict or {}
    categories = coco.categories_of(
        [{**category, "keypoints": list(_POINTS_OF_PERSONS)} for category in category_index.values()]
    )
    path = examples.within(Path(image_dir), image["file_name"])
    persons = {number for number, category in category_index.items() if category["name"] == _PERSON}
    kept = [
        one for one in annotations_list if not remove_non_person_annotations or one["category_id"] in persons
    ]

    def read(item: Mapping[str, Any], file: AnnotationFile) -> AnnotatedObject:
        keypoints = points.get(item["id"], {}).get("keypoints") if "id" in item else None
        merged = {name: value for name, value in item.items() if name != "keypoints"} | (
            {"keypoints": keypoints} if keypoints else {}
        )
        return coco.object_of(merged, "", categories=categories, note=file.skipping)

    record = examples.image_record(path, image["file_name"], kept, read)
    if not include_masks:
        record = _without_masks(record)
    names = {str(category["name"]): number for number, category in category_index.items()}
    example = examples.to_tf_example(record, names)
    features = example.features.feature
    features["image/source_id"].bytes_list.value[:] = [str(image["id"]).encode()]
    key = features["image/key/sha256"].bytes_list.value[0].decode()
    with_points = sum(bool(item.keypoints) for item in record.objects)
    is_left_out = remove_non_person_images and not any(item.class_name == _PERSON for item in record.objects)
    left_out = len(annotations_list) - len(record.objects)
    return key, None if is_left_out else example, left_out, len(points) - with_points if points else 0, 0


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
    _define_flags()
    script.run(_create)
