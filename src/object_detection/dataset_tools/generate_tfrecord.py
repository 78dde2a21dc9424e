"""Write one TFRecord file, as the tutorials' scripts of this name do.

    generate_tfrecord.py -x images/train -l label_map.pbtxt -o train.record    from XML, with -c also as CSV
    generate_tfrecord.py --csv_input=train_labels.csv --image_dir=images/train --output_path=train.record

Without --labels_path the classes are numbered from 1 on in the order of their names. The label map is written
beside the output, and what is written there later follows it.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from boxtune import cli
from boxtune.data.image_record import ImageRecord, class_names
from boxtune.data.label_map import LabelMap
from boxtune.errors import DataError
from object_detection.dataset_tools import script
from object_detection.dataset_tools.xml_to_csv import write_csv


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file that the arguments ask for; return the exit status."""
    return cli.run(_generate, vars(_parser().parse_args(arguments)))


def _parser() -> cli.Parser:
    parser = cli.Parser("generate_tfrecord.py", description="Write one TFRecord file.")
    annotations = parser.add_mutually_exclusive_group()
    annotations.add_argument("-x", "--xml_dir", type=Path, help="the folder of Pascal VOC XML files")
    annotations.add_argument("--csv_input", type=Path, help="or the CSV file of xml_to_csv.py")
    parser.add_argument("-o", "--output_path", type=Path, required=True, help="the TFRecord file to write")
    parser.add_argument("-l", "--labels_path", type=Path, help="the label map (.pbtxt)")
    parser.add_argument("-i", "--image_dir", type=Path, help="the images (where the annotations are)")
    parser.add_argument("-c", "--csv_path", type=Path, help="with -x: a CSV file to write too")
    return parser


def _generate(
    xml_dir: Path | None,
    csv_input: Path | None,
    output_path: Path,
    labels_path: Path | None,
    image_dir: Path | None,
    csv_path: Path | None,
) -> None:
    if csv_path and not xml_dir:
        raise DataError("--csv_path is written from XML: give --xml_dir, or leave --csv_path out.")
    images = _read(xml_dir, csv_input, image_dir)
    if labels_path:
        label_map = script.label_map_of(labels_path, images)
    else:
        label_map = script.label_map_beside(output_path, images, LabelMap.from_names(class_names(images)))
    script.write(images, label_map, output_path)
    if xml_dir and csv_path:
        write_csv(xml_dir, csv_path)


def _read(xml_dir: Path | None, csv_input: Path | None, image_dir: Path | None) -> tuple[ImageRecord, ...]:
    if xml_dir:
        return script.read_usable(image_dir or xml_dir, annotations=xml_dir, format_name="voc")
    if csv_input:
        return script.read_usable(image_dir or csv_input.parent, annotations=csv_input, format_name="csv")
    raise DataError("Give --xml_dir or --csv_input, which says where the objects are.")


if __name__ == "__main__":
    sys.exit(main())
