"""Records that are sequences of images (tf.train.SequenceExample): each frame read as a record of one image.

Source of keys: the API's data_decoders.tf_sequence_example_decoder.
"""

from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

from boxtune.errors import DataError

_IMAGE = "image/encoded"
_SOURCE_ID = "image/source_id"
_IS_ANNOTATED = "region/is_annotated"
_NAME = "region/label/string"
_WEIGHT = "region/label/confidence"
# Lists of a frame with a value for each object, and their keys in a record of one image.
_OF_OBJECTS = {
    **{f"region/bbox/{side}": f"image/object/bbox/{side}" for side in ("ymin", "xmin", "ymax", "xmax")},
    _NAME: "image/object/class/text",
    _WEIGHT: "image/object/weight",
}


def is_sequence(record: bytes) -> bool:
    """Return whether a serialized record is a sequence of images."""
    try:
        return bool(_lists(record))
    except DataError:
        return False


def annotated_frames(record: bytes) -> list[int]:
    """Return the numbers of the frames of a sequence that are annotated: all of them, if it does not say.

    Raises:
        DataError: if a serialized record is not a sequence of images.
    """
    lists = _lists(record)
    marks = lists.get(_IS_ANNOTATED)
    if marks is None:
        return list(range(len(lists[_IMAGE])))
    return [frame for frame, mark in enumerate(marks) if any(mark.int64_list.value)]


def example_of_frame(record: bytes, frame: int) -> bytes:
    """Return a frame of a serialized sequence as a serialized tf.train.Example, as `decoder.parser` takes it.

    Raises:
        DataError: if it is not a sequence of images, or the lists of the frame disagree in length.
    """
    parts = {key: features[frame] for key, features in _lists(record).items()}
    nothing = tf.train.Feature()
    content = {_IMAGE: parts[_IMAGE], _SOURCE_ID: parts.get(_SOURCE_ID, nothing)}
    content |= {name: parts.get(key, nothing) for key, name in _OF_OBJECTS.items()}
    count = len(content["image/object/bbox/ymin"].float_list.value)
    for key, name in _OF_OBJECTS.items():
        values = content[name].bytes_list.value if key == _NAME else content[name].float_list.value
        if len(values) != count and (key in parts or key != _WEIGHT):
            raise DataError(f"{key} has {len(values)} values for {count} boxes.")
    return tf.train.Example(features=tf.train.Features(feature=content)).SerializeToString()


def _lists(record: bytes) -> dict[str, list[Any]]:
    """Return those lists of a serialized sequence that are read: a Feature for each frame, by key."""
    try:
        found = tf.train.SequenceExample.FromString(record).feature_lists.feature_list
    except DecodeError as error:
        raise DataError("it is not a tf.train.SequenceExample.") from error
    keys = (_IMAGE, _SOURCE_ID, _IS_ANNOTATED, *_OF_OBJECTS)
    lists = {key: list(found[key].feature) for key in keys if key in found}
    if not lists.get(_IMAGE):
        raise DataError(
            f"it has no {_IMAGE} of frames, so it is not a sequence of images; for single images remove input_type."
        )
    count = len(lists[_IMAGE])
    for key, parts in lists.items():
        if len(parts) != count:
            raise DataError(f"{key} has {len(parts)} entries for {count} frames.")
    return lists
