"""The numbers of the Open Images Challenge's visual relations, of tables, as the API's script of this name has them.

oid_vrd_challenge_evaluation.py --input_annotations_boxes=relations.csv --input_annotations_labels=labels.csv
    --input_class_labelmap=things.pbtxt --input_relationship_labelmap=relations.pbtxt
    --input_predictions=found.csv --output_metrics=metrics.csv
"""

import argparse
import sys
from typing import Any

from boxtune import cli
from object_detection.metrics import columns, oid_challenge_evaluation
from object_detection.metrics import oid_vrd_challenge_evaluation_utils as utils
from object_detection.utils import label_map_util, vrd_evaluation

_SIDES = tuple(f"{side}{thing}" for thing in (1, 2) for side in ("XMin", "XMax", "YMin", "YMax"))
_RELATION = ("ImageID", "LabelName1", "LabelName2", "RelationshipLabel", *_SIDES)


def main(parsed_args: Any) -> None:
    """Measure the files that `parsed_args` names, and write `output_metrics`.

    Raises:
        DataError: for a file that cannot be read.
        UnknownLabelError: for a name that its label map lacks.
    """
    things = label_map_util.get_label_map_dict(parsed_args.input_class_labelmap)
    relations = label_map_util.get_label_map_dict(parsed_args.input_relationship_labelmap)
    annotated, found = (
        oid_challenge_evaluation.read(path, names)
        for path, names in (
            (parsed_args.input_annotations_boxes, _RELATION),
            (parsed_args.input_predictions, (*_RELATION, "Score")),
        )
    )
    labels = oid_challenge_evaluation.read_labels(parsed_args.input_annotations_labels)
    found_in = columns.by_image(found)
    evaluators = [
        vrd_evaluation.VRDRelationDetectionEvaluator(),
        vrd_evaluation.VRDPhraseDetectionEvaluator(),
    ]
    for image, table in columns.by_image(columns.joined(annotated, labels)).items():
        true = utils.build_groundtruth_vrd_dictionary(table, things, relations)
        for evaluator in evaluators:
            evaluator.add_single_ground_truth_image_info(image, true)
            if image in found_in:
                predictions = utils.build_predictions_vrd_dictionary(found_in[image], things, relations)
                evaluator.add_single_detected_image_info(image, predictions)
    names = {number: name for name, number in relations.items()}
    oid_challenge_evaluation.write(
        parsed_args.output_metrics, *(evaluator.evaluate(names) for evaluator in evaluators)
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, what in (
        ("input_annotations_boxes", "The CSV file of relations."),
        ("input_annotations_labels", "The CSV file of labels of images."),
        ("input_predictions", "The CSV file of what was found."),
        ("input_class_labelmap", "The label map of things."),
        ("input_relationship_labelmap", "The label map of relations."),
        ("output_metrics", "The CSV file that is written."),
    ):
        parser.add_argument(f"--{name}", required=True, help=what)
    return parser


if __name__ == "__main__":
    arguments = _parser().parse_args()
    sys.exit(cli.run(lambda: main(arguments), {}))
