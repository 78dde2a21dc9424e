"""Write training and validation TFRecords of KITTI, as the API's script of this name does, flag for flag.

    create_kitti_tf_record.py --data_dir=kitti --output_path=kitti --label_map_path=kitti_label_map.pbtxt

writes kitti_train.tfrecord and kitti_val.tfrecord. Classes are written in lower case. KITTI's boxes in space,
angles and occlusion have no place in boxtune's records.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from absl import flags

from boxtune.data.image_record import Box, ImageRecord, ObjectRecord
from boxtune.errors import DataError
from object_detection.dataset_tools import script

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Holds training/label_2 and the images.", required=True)
flags.DEFINE_string("output_path", None, "What the names of both files start with.", required=True)
flags.DEFINE_list(
    "classes_to_use",
    "car,pedestrian,dontcare",
    "The classes to write; with dontcare, what overlaps such a region is left out.",
)
flags.DEFINE_string("label_map_path", "data/kitti_label_map.pbtxt", "The label map.")
flags.DEFINE_integer("validation_set_size", 500, "Images of lower numbers are for validation.", lower_bound=0)

_REGION = "dontcare"


def _create() -> None:
    data_dir = Path(FLAGS.data_dir)
    read = script.read_usable(
        _image_folder(data_dir), annotations=data_dir / "training" / "label_2", format_name="kitti"
    )
    images = _selected(read, set(FLAGS.classes_to_use))
    label_map = script.label_map_of(Path(FLAGS.label_map_path), images)
    validation = [image for image in images if _number(image) < FLAGS.validation_set_size]
    train = [image for image in images if _number(image) >= FLAGS.validation_set_size]
    if not train:
        raise DataError(f"--validation_set_size={FLAGS.validation_set_size} leaves no image for training.")
    script.write(train, label_map, Path(f"{FLAGS.output_path}_train.tfrecord"))
    script.write(validation, label_map, Path(f"{FLAGS.output_path}_val.tfrecord"))


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
    script.run(_create)
