"""The numbers of the Open Images Challenge, of tables, as the API's script of this name has them, flag for flag.

    oid_challenge_evaluation.py --input_annotations_boxes=boxes.csv --input_annotations_labels=labels.csv
        --input_class_labelmap=challenge.pbtxt --input_predictions=found.csv --output_metrics=metrics.csv

With --input_annotations_segm masks are measured. Of images without annotations what was found does not count.
"""

from pathlib import Path
from typing import Any

from absl import flags

from boxtune.data.files import whole_file
from object_detection.dataset_tools import script
from object_detection.metrics import columns, io_utils
from object_detection.metrics import oid_challenge_evaluation_utils as utils
from object_detection.metrics.columns import Table
from object_detection.utils import label_map_util
from object_detection.utils.object_detection_evaluation import OpenImagesChallengeEvaluator

FLAGS = flags.FLAGS

_BOX = ("XMin", "XMax", "YMin", "YMax")
_OBJECT = ("ImageID", "LabelName", *_BOX, "IsGroupOf")
_MASK = ("ImageWidth", "ImageHeight", "Mask")
_LABEL = ("ImageID", "LabelName", "Confidence")


def _define_flags() -> None:
    flags.DEFINE_string("input_annotations_boxes", None, "The CSV file of objects.", required=True)
    flags.DEFINE_string("input_annotations_labels", None, "The CSV file of labels of images.", required=True)
    flags.DEFINE_string("input_predictions", None, "The CSV file of what was found.", required=True)
    flags.DEFINE_string("input_class_labelmap", None, "The label map.", required=True)
    flags.DEFINE_string("input_annotations_segm", None, "The CSV file of masks of objects.")
    flags.DEFINE_string("output_metrics", None, "The CSV file that is written.", required=True)


def _evaluate() -> None:
    of_masks = bool(FLAGS.input_annotations_segm)
    label_map = label_map_util.load_labelmap(FLAGS.input_class_labelmap)
    ids = label_map_util.get_label_map_dict(label_map)
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    objects = read(FLAGS.input_annotations_boxes, _OBJECT)
    if of_masks:
        objects = with_masks(objects, read(FLAGS.input_annotations_segm, (*_OBJECT, *_MASK)))
    annotations = columns.by_image(columns.joined(objects, read_labels(FLAGS.input_annotations_labels)))
    shape = _MASK if of_masks else _BOX
    found_in = columns.by_image(read(FLAGS.input_predictions, ("ImageID", "LabelName", "Score", *shape)))
    evaluator = OpenImagesChallengeEvaluator(categories, evaluate_masks=of_masks)
    for image, table in annotations.items():
        evaluator.add_single_ground_truth_image_info(image, utils.build_groundtruth_dictionary(table, ids))
        if image in found_in:
            predictions = utils.build_predictions_dictionary(found_in[image], ids)
            evaluator.add_single_detected_image_info(image, predictions)
    write(FLAGS.output_metrics, evaluator.evaluate())


def read(path: str, names: tuple[str, ...]) -> Table:
    """Return these columns of a CSV file; raise DataError if it cannot be read, or lacks one."""
    table = columns.read_csv(Path(path))
    columns.check_names(table, names, Path(path))
    return {name: table[name] for name in names}


def read_labels(path: str) -> Table:
    """Return a table of labels of images, whose confidence is in a column of its own."""
    table = read(path, _LABEL)
    return {"ConfidenceImageLabel" if name == "Confidence" else name: table[name] for name in _LABEL}


def with_masks(objects: Table, masks: Table) -> Table:
    """Return objects with the masks of the same image, class and box; masks of others are objects, too."""
    number_of = {key: number for number, key in enumerate(_keys(objects))}
    merged: Table = objects | {name: [None] * len(objects["ImageID"]) for name in _MASK}
    others = []
    for row, key in enumerate(_keys(masks)):
        if key not in number_of:
            others.append(row)
            continue
        for name in _MASK:
            merged[name][number_of[key]] = masks[name][row]
    return columns.joined(merged, {name: [cells[row] for row in others] for name, cells in masks.items()})


def _keys(table: Table) -> list[tuple[Any, ...]]:
    sides = columns.numbers(table, (*_BOX, "IsGroupOf")).tolist()
    return [
        (image, name, *numbers)
        for image, name, numbers in zip(table["ImageID"], table["LabelName"], sides, strict=True)
    ]


def write(path: str, *metrics: dict[str, Any]) -> None:
    """Write numbers as a CSV file."""
    with whole_file(Path(path)) as output, output.open("w", encoding="utf-8", newline="") as file:
        for numbers in metrics:
            io_utils.write_csv(file, numbers)


def main(unused_argv: Any) -> None:
    """Run as a script."""
    script.run(_evaluate)


if __name__ == "__main__":
    _define_flags()
    script.run(_evaluate)
