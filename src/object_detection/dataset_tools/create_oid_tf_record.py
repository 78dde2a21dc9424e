"""Write TFRecords of Open Images, as the API's script of this name does, flag for flag.

    create_oid_tf_record.py --input_box_annotations_csv=boxes.csv --input_images_directory=images
        --input_label_map=oid_v4_label_map.pbtxt --output_tf_record_path_prefix=oid.tfrecord

writes oid.tfrecord-00000-of-00100 and so on. Boxes of classes that the label map lacks are left out. An image
without a row is not used, since nothing says that it shows none of the classes; the API took it for background.
"""

from pathlib import Path

from absl import flags

from boxtune.data.label_map import read_label_map
from boxtune.errors import ConfigError
from object_detection.dataset_tools import script

FLAGS = flags.FLAGS


def _define_flags() -> None:
    flags.DEFINE_string("input_box_annotations_csv", None, "The CSV file of the boxes.", required=True)
    flags.DEFINE_string("input_images_directory", None, "The folder of the images.", required=True)
    flags.DEFINE_string("input_image_label_annotations_csv", "", "Not available.")
    flags.DEFINE_string("input_label_map", None, "The label map.", required=True)
    flags.DEFINE_string(
        "output_tf_record_path_prefix", None, "What the names of the files start with.", required=True
    )
    flags.DEFINE_integer("num_shards", 100, "The number of files.", lower_bound=1, upper_bound=99_999)


def _create() -> None:
    if FLAGS.input_image_label_annotations_csv:
        raise ConfigError(
            "--input_image_label_annotations_csv is not supported: detectors learn from boxes. Leave it out"
        )
    label_map = read_label_map(Path(FLAGS.input_label_map))
    read = script.read_usable(
        Path(FLAGS.input_images_directory),
        annotations=Path(FLAGS.input_box_annotations_csv),
        format_name="open_images",
    )
    images = script.keep_objects(read, lambda item: item.class_name in label_map.by_any_name)
    script.write_shards(images, label_map, Path(FLAGS.output_tf_record_path_prefix), FLAGS.num_shards)


if __name__ == "__main__":
    _define_flags()
    script.run(_create)
