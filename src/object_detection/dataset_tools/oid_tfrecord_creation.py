"""Records of Open Images' tables.

Tables are data frames of pandas, which boxtune does not need itself, or dicts of columns.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from object_detection.core.standard_fields import TfExampleFields
from object_detection.metrics import columns
from object_detection.utils import dataset_util

_SIDES = {
    TfExampleFields.object_bbox_ymin: "YMin",
    TfExampleFields.object_bbox_xmin: "XMin",
    TfExampleFields.object_bbox_ymax: "YMax",
    TfExampleFields.object_bbox_xmax: "XMax",
}
_FLAGS = {
    TfExampleFields.object_group_of: "IsGroupOf",
    TfExampleFields.object_occluded: "IsOccluded",
    TfExampleFields.object_truncated: "IsTruncated",
    TfExampleFields.object_depiction: "IsDepiction",
}


def tf_example_from_annotations_data_frame(
    annotations_data_frame: Any, label_map: Mapping[str, int], encoded_image: bytes
) -> tf.train.Example:
    """Return the record of an image; rows of classes that the label map lacks are left out.

    Args:
        annotations_data_frame: rows of one image, with ImageID, LabelName, and of objects XMin, XMax, YMin, YMax as
            fractions; maybe IsGroupOf, IsOccluded, IsTruncated, IsDepiction. Where there is a ConfidenceImageLabel,
            rows without a box are labels of the whole image.
        label_map: ids by LabelName.
        encoded_image: the file of the image.
    """
    data = annotations_data_frame
    is_known = np.array([name in label_map for name in columns.column(data, "LabelName")], bool)
    has_box = columns.known(data, "YMin")
    objects, labels = is_known & has_box, is_known & ~has_box
    image_id = str(columns.column(data, "ImageID")[0])
    features = {
        TfExampleFields.filename: dataset_util.bytes_feature(f"{image_id}.jpg".encode()),
        TfExampleFields.source_id: dataset_util.bytes_feature(image_id.encode()),
        TfExampleFields.image_encoded: dataset_util.bytes_feature(encoded_image),
        **_class_features(
            data, label_map, objects, TfExampleFields.object_class_text, TfExampleFields.object_class_label
        ),
    }
    for key, name in _SIDES.items():
        features[key] = dataset_util.float_list_feature(columns.column(data, name, objects))
    for key, name in _FLAGS.items():
        if name in data:
            features[key] = dataset_util.int64_list_feature(columns.column(data, name, objects).astype(int))
    if "ConfidenceImageLabel" in data:
        features |= _class_features(
            data, label_map, labels, TfExampleFields.image_class_text, TfExampleFields.image_class_label
        )
    return tf.train.Example(features=tf.train.Features(feature=features))


def _class_features(
    data: Any, label_map: Mapping[str, int], rows: np.ndarray, text: str, label: str
) -> dict[str, tf.train.Feature]:
    names = columns.column(data, "LabelName", rows)
    return {
        text: dataset_util.bytes_list_feature([str(name).encode() for name in names]),
        label: dataset_util.int64_list_feature(columns.labels(data, "LabelName", label_map, rows)),
    }
