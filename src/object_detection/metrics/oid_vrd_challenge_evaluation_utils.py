"""From the tables of the Open Images Challenge's visual relations to what its evaluators take.

Tables are data frames of pandas, which boxtune does not need itself, or dicts of columns.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from object_detection.core.standard_fields import DetectionResultFields, InputDataFields
from object_detection.metrics import columns
from object_detection.utils import vrd_evaluation

_THINGS = {"subject": "1", "object": "2"}
"""What the names of their columns end with."""


def build_groundtruth_vrd_dictionary(
    data: Any, class_label_map: Mapping[str, int], relationship_label_map: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Return boxes and classes of the relations in one image, and the classes that were looked for in it.

    Args:
        data: rows of relations, with LabelName1, XMin1, XMax1, YMin1, YMax1 of the subject, those with 2 of the object,
            and RelationshipLabel; and rows of classes that were looked for, with LabelName.
        class_label_map: ids of things by name.
        relationship_label_map: ids of relations by name.

    Raises:
        UnknownLabelError: for a name that its label map lacks.
    """
    looked_for = columns.known(data, "LabelName")
    boxes, classes = _relations(data, class_label_map, relationship_label_map, ~looked_for)
    return {
        InputDataFields.groundtruth_boxes: boxes,
        InputDataFields.groundtruth_classes: classes,
        InputDataFields.groundtruth_image_classes: columns.labels(
            data, "LabelName", class_label_map, looked_for
        ),
    }


def build_predictions_vrd_dictionary(
    data: Any, class_label_map: Mapping[str, int], relationship_label_map: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Return boxes, classes and scores of the relations found in one image: those columns, and Score.

    Raises:
        UnknownLabelError: for a name that its label map lacks.
    """
    boxes, classes = _relations(data, class_label_map, relationship_label_map, slice(None))
    return {
        DetectionResultFields.detection_boxes: boxes,
        DetectionResultFields.detection_classes: classes,
        DetectionResultFields.detection_scores: columns.column(data, "Score").astype(np.float64),
    }


def _relations(
    data: Any, class_label_map: Mapping[str, int], relationship_label_map: Mapping[str, int], rows: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes and classes of relations, as structured arrays [n]."""
    relations = columns.labels(data, "RelationshipLabel", relationship_label_map, rows)
    boxes = np.zeros(len(relations), vrd_evaluation.vrd_box_data_type)
    classes = np.zeros(len(relations), vrd_evaluation.label_data_type)
    classes["relation"] = relations
    for thing, end in _THINGS.items():
        sides = (f"YMin{end}", f"XMin{end}", f"YMax{end}", f"XMax{end}")
        boxes[thing] = columns.numbers(data, sides, rows)
        classes[thing] = columns.labels(data, f"LabelName{end}", class_label_map, rows)
    return boxes, classes
