"""Write training and validation TFRecords of KITTI, as the API's script of this name does, flag for flag.

    create_kitti_tf_record.py --data_dir=kitti --output_path=kitti --label_map_path=kitti_label_map.pbtxt

writes kitti_train.tfrecord and kitti_val.tfrecord. Classes are written in lower case. KITTI's boxes in space,
angles and occlusion have no place in boxtune's records.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from boxtune.data.annotations import AnnotatedObject
from boxtune.data.files import read_lines
from boxtune.data.image_record import Box, ImageRecord, ObjectRecord
from boxtune.errors import DataError
from object_detection.dataset_tools import examples, script

if TYPE_CHECKING:
    import tensorflow as tf

FLAGS = flags.FLAGS
Annotations = dict[str, np.ndarray]
"""What a file says about n objects: an array [n] for each of the columns."""

_COLUMNS = (
    "type", "truncated", "occluded", "alpha", "2d_bbox_left", "2d_bbox_top", "2d_bbox_right", "2d_bbox_bottom",
    "3d_bbox_height", "3d_bbox_width", "3d_bbox_length", "3d_bbox_x", "3d_bbox_y", "3d_bbox_z", "3d_bbox_rot_y",
)  # fmt: skip
_EDGES = ("2d_bbox_left", "2d_bbox_top", "2d_bbox_right", "2d_bbox_bottom")
_REGION = "dontcare"


def _define_flags() -> None:
    flags.DEFINE_string("data_dir", None, "Holds training/label_2 and the images.", required=True)
    flags.DEFINE_string("output_path", None, "What the names of both files start with.", required=True)
    flags.DEFINE_list(
        "classes_to_use",
        "car,pedestrian,dontcare",
        "The classes to write; with dontcare, what overlaps such a region is left out.",
    )
    flags.DEFINE_string("label_map_path", "data/kitti_label_map.pbtxt", "The label map.")
    flags.DEFINE_integer(
        "validation_set_size", 500, "Images of lower numbers are for validation.", lower_bound=0
    )


def convert_kitti_to_tfrecords(
    data_dir: str | os.PathLike[str],
    output_path: str | os.PathLike[str],
    classes_to_use: Collection[str],
    label_map_path: str | os.PathLike[str],
    validation_set_size: int,
) -> None:
    """Write OUTPUT_PATH_train.tfrecord and OUTPUT_PATH_val.tfrecord; the arguments are the flags of the script.

    Raises DataError if the data cannot be read, none are left for training, or a file cannot be written.
    """
    read = script.read_usable(
        _image_folder(Path(data_dir)),
        annotations=Path(data_dir) / "training" / "label_2",
        format_name="kitti",
    )
    images = _selected(read, set(classes_to_use))
    label_map = script.label_map_of(Path(label_map_path), images)
    validation = [image for image in images if _number(image) < validation_set_size]
    train = [image for image in images if _number(image) >= validation_set_size]
    if not train:
        raise DataError(f"--validation_set_size={validation_set_size} leaves no image for training.")
    script.write(train, label_map, Path(f"{output_path}_train.tfrecord"))
    script.write(validation, label_map, Path(f"{output_path}_val.tfrecord"))


def read_annotation_file(filename: str | os.PathLike[str]) -> Annotations:
    """Return a file of labels: types in lower case and numbers; raise DataError if it cannot be read."""
    rows = [line.split() for line in read_lines(Path(filename)) if line.strip()]
    try:
        numbers = np.array([row[1 : len(_COLUMNS)] for row in rows], np.float64).reshape(
            -1, len(_COLUMNS) - 1
        )
    except ValueError as error:
        raise DataError(f"{filename} is not a file of KITTI's labels: {error}.") from error
    types = np.array([row[0].lower() for row in rows], dtype=str)
    return {"type": types, **dict(zip(_COLUMNS[1:], numbers.T, strict=True))}


def filter_annotations(img_all_annotations: Annotations, used_classes: Collection[str]) -> Annotations:
    """Return the objects of some classes; with dontcare among these, without what overlaps such a region."""
    is_used = np.isin(img_all_annotations["type"], list(used_classes))
    used = {name: column[is_used] for name, column in img_all_annotations.items()}
    if _REGION not in used_classes:
        return used
    boxes = [
        Box(*sides) for sides in np.stack([used[_EDGES[side]] for side in (1, 0, 3, 2)], axis=1).tolist()
    ]
    regions = [box for box, name in zip(boxes, used["type"], strict=True) if name == _REGION]
    is_kept = [not any(_overlap(box, region) for region in regions) for box in boxes]
    return {name: column[np.array(is_kept, bool)] for name, column in used.items()}


def prepare_example(
    image_path: str | os.PathLike[str], annotations: Annotations, label_map_dict: Mapping[str, int]
) -> "tf.train.Example":
    """Return an example of an image and its objects.

    Raises DataError if the image cannot be read, a class is not in `label_map_dict`, or there are objects and none can
    be used.
    """
    objects = [
        AnnotatedObject(str(name), (left, top, right, bottom), truncated=truncated > 0)
        for name, truncated, left, top, right, bottom in zip(
            annotations["type"], annotations["truncated"], *(annotations[edge].tolist() for edge in _EDGES),
            strict=True,
        )
    ]  # fmt: skip
    path = Path(image_path)
    record = examples.image_record(path, path.name, objects, lambda item, _: item)
    return examples.to_tf_example(record, label_map_dict)


def _create() -> None:
    convert_kitti_to_tfrecords(
        FLAGS.data_dir,
        FLAGS.output_path,
        FLAGS.classes_to_use,
        FLAGS.label_map_path,
        FLAGS.validation_set_size,
    )


def _image_folder(data_dir: Path) -> Path:
    """Return the folder that the API's script wants, or the one that KITTI's archive unpacks to."""
    folder = data_dir / "data_object_image_2" / "training" / "image_2"
    return folder if folder.is_dir() else data_dir / "training" / "image_2"


def _selected(images: Sequence[ImageRecord], classes: set[str]) -> list[ImageRecord]:
    lower = [
        replace(
            image, objects=tuple(replace(item, class_name=item.class_name.lower()) for item in image.objects)
        )
        for image in images
    ]
    if _REGION in classes:
        lower = [replace(image, objects=_outside_regions(image.objects)) for image in lower]
    return script.keep_objects(lower, lambda item: item.class_name in classes - {_REGION})


def _outside_regions(objects: Sequence[ObjectRecord]) -> tuple[ObjectRecord, ...]:
    regions = [item.box for item in objects if item.class_name == _REGION]
    return tuple(item for item in objects if not any(_overlap(item.box, region) for region in regions))


def _overlap(one: Box, other: Box) -> bool:
    return (
        max(one.ymin, other.ymin) < min(one.ymax, other.ymax)
        and max(one.xmin, other.xmin) < min(one.xmax, other.xmax)
    )  # fmt: skip


def _number(image: ImageRecord) -> int:
    stem = PurePosixPath(image.name).stem
    if not stem.isdecimal():
        raise DataError(
            f"{image.name} has no number for a name, which decides between training and validation."
            " `boxtune convert` takes images of any name."
        )
    return int(stem)


if __name__ == "__main__":
    _define_flags()
    script.run(_create)
