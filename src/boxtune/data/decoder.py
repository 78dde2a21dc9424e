"""Reading one record: from a serialized tf.train.Example to an image and its ground truth.

A record may be a sequence of images (tf.train.SequenceExample); a frame of it is read as a record of one image.

Source of keys and defaults: the API's data_decoders.tf_example_decoder and tf_sequence_example_decoder. Everything is
decoded by content, since tutorials write `image/format = jpg` for every file.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

from boxtune.data import pixels
from boxtune.data.label_map import LabelMap
from boxtune.data.tfrecord import MAX_OBJECTS
from boxtune.errors import DataError, many

Sample = dict[str, Any]
"""An image and its objects: `image` uint8 [h, w, 3], `boxes` float32 [n, 4], `classes` int32 [n] (0-based), `weights`
float32 [n], `is_crowd`, `difficult` and `group_of` bool [n], `areas` float32 [n] as annotated, in pixels of the file,
or 0, `filename` and `source_id` strings, `size` int32 [2], the height and width of the image in its file; where it is
asked for, `class_scores` float32 [n, c].
"""

PER_OBJECT = ("boxes", "classes", "weights", "areas", "is_crowd", "difficult", "group_of", "class_scores")
"""The parts of a Sample that have a row for each object; the last is there only if it is asked for."""

MAX_COORDINATE = 1.1
IN_PIXELS = (
    f"image/object/bbox: a coordinate above {MAX_COORDINATE}; boxes are fractions of the image, not pixels"
)
"""What is wrong with a box of such a coordinate; the API draws the line there, too."""

TOO_MANY = f"image/object/bbox: more than {MAX_OBJECTS} boxes take too much memory; cut the image into parts"

SIDES = [f"image/object/bbox/{side}" for side in ("ymin", "xmin", "ymax", "xmax")]
"""The keys of the sides of boxes."""
_CLASS_KEYS = ("image/object/class/text", "image/object/class/label")
_SCORES = "image/object/class/multiclass_scores"
_FLAGS = ("is_crowd", "difficult", "group_of")
_LISTS = {
    **dict.fromkeys(SIDES, tf.float32),
    **dict(zip(_CLASS_KEYS, (tf.string, tf.int64), strict=True)),
    "image/object/weight": tf.float32,
    **{f"image/object/{flag}": tf.int64 for flag in _FLAGS},
    "image/object/area": tf.float32,
}
_FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string, ""),
    "image/filename": tf.io.FixedLenFeature([], tf.string, ""),
    "image/source_id": tf.io.FixedLenFeature([], tf.string, ""),
    **{key: tf.io.VarLenFeature(dtype) for key, dtype in _LISTS.items()},
}


Cached = Callable[[Callable[[], Any]], Any]
"""Returns an image that was decoded before, else the result of the function it is given."""


def parser(
    label_map: LabelMap, num_classes: int, *, expand_hierarchy: bool = False, class_scores: bool = False
) -> Callable[..., Sample]:
    """Return a function from a serialized record (and a Cached, if given) to a Sample, for use in `tf.data`.

    The text of a class takes precedence over its number where the label map knows it. Keys that a record
    lacks get the API's defaults: weight 1, no annotated area, none of the flags. A record whose lists disagree in
    length, or with a class outside of [0, `num_classes`), raises `tf.errors.InvalidArgumentError` when it is read.
    With `expand_hierarchy` each object is there once more for every class above its own. With `class_scores` the scores
    of the c = `num_classes` classes are read, too; without any, a record has 1 for the class of an object, else 0.
    """
    features = _FEATURES | ({_SCORES: tf.io.VarLenFeature(tf.float32)} if class_scores else {})
    classes_of = _class_reader(label_map, num_classes)
    expand = _expander(label_map, num_classes) if expand_hierarchy else None

    def parse(serialized: Any, cached: Cached | None = None) -> Sample:
        fields = tf.io.parse_single_example(serialized, features)
        lists = {key: tf.sparse.to_dense(fields[key]) for key in _LISTS}
        count = tf.size(lists[SIDES[0]])
        tf.debugging.assert_less_equal(count, MAX_OBJECTS, TOO_MANY)
        boxes = tf.stack([_one_each(lists, side, count) for side in SIDES], axis=-1)
        is_box = tf.reduce_all(tf.math.is_finite(boxes)) & tf.reduce_all(boxes[:, :2] <= boxes[:, 2:])
        not_a_box = "image/object/bbox: a box without a number, or with min above max"
        tf.debugging.assert_equal(is_box, True, not_a_box)
        tf.debugging.assert_equal(tf.reduce_all(boxes <= MAX_COORDINATE), True, IN_PIXELS)
        classes = classes_of(lists)
        tf.debugging.assert_equal(tf.size(classes), count, "image/object: a class for every box is needed")

        decode = partial(decoded, fields["image/encoded"])
        image = cached(decode) if cached else decode()
        flags = {flag: _one_each(lists, f"image/object/{flag}", count, default=0) for flag in _FLAGS}
        objects = {
            "boxes": boxes,
            "classes": classes,
            "weights": _one_each(lists, "image/object/weight", count, default=1),
            "areas": _one_each(lists, "image/object/area", count, default=0),
            **{flag: tf.cast(values, tf.bool) for flag, values in flags.items()},
        }
        if class_scores:
            objects["class_scores"] = _class_scores(tf.sparse.to_dense(fields[_SCORES]), classes, num_classes)
        return {
            "image": image,
            **(expand(objects) if expand else objects),
            "filename": fields["image/filename"],
            "source_id": fields["image/source_id"],
            "size": tf.shape(image)[:2],
        }

    return parse


def decoded(encoded: Any) -> Any:
    """Return the pixels uint8 [h, w, 3] of an encoded image: those of `pixels.rgb`, whichever way is faster."""
    image = tf.cond(
        _by_pillow(pixels.is_plain, encoded, tf.bool),
        lambda: _plain(encoded),
        lambda: _by_pillow(pixels.rgb, encoded, tf.uint8),
    )
    return tf.ensure_shape(image, [None, None, 3])


def _by_pillow(function: Callable[[bytes], Any], encoded: Any, dtype: tf.DType) -> Any:
    def of_bytes(data: Any) -> Any:
        # Where TensorFlow is eager it is an array.
        return function(data if isinstance(data, bytes) else data.item())

    return tf.numpy_function(of_bytes, [encoded], dtype, stateful=False)


def decoded_anywhere(encoded: Any) -> Any:
    """Return the pixels uint8 [h, w, 3] of an encoded image by TensorFlow alone, for models that leave Python.

    They are those of `decoded` for JPEG and PNG, but for CMYK, which may be rounded otherwise, and for 16 bits of which
    not all are used.
    """
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: _plain(encoded),
        lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
    )
    return tf.ensure_shape(image, [None, None, 3])


def _plain(encoded: Any) -> Any:
    # What TensorFlow does otherwise is faster by a tenth, and differs by ten levels. This decodes PNG, too.
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE", fancy_upscaling=True)


def _class_scores(scores: Any, classes: Any, num_classes: int) -> Any:
    """Return float32 [n, c] of the `scores` [n * c] of a record, or of the `classes` [n] where it has none."""
    none = tf.size(scores) == 0
    right = none | (tf.size(scores) == tf.size(classes) * num_classes)
    finite = tf.reduce_all(tf.math.is_finite(scores))
    checked = [
        tf.debugging.assert_equal(right, True, f"{_SCORES}: num_classes scores for each box are needed"),
        tf.debugging.assert_equal(finite, True, f"{_SCORES}: a score is not finite"),
    ]
    with tf.control_dependencies([one for one in checked if one is not None]):
        scores = tf.identity(scores)  # so that nothing is made of scores that are too few
    read = tf.cond(
        none, lambda: tf.one_hot(classes, num_classes), lambda: tf.reshape(scores, [-1, num_classes])
    )
    return tf.ensure_shape(read, [None, num_classes])


def class_parser(
    label_map: LabelMap, num_classes: int, *, expand_hierarchy: bool = False
) -> Callable[[Any], Any]:
    """Return a function from a serialized record to the classes (int32 [n]) of its objects, and nothing else.

    Errors of classes, and `expand_hierarchy`, are those of `parser`.
    """
    classes_of = _class_reader(label_map, num_classes)
    expand = _expander(label_map, num_classes) if expand_hierarchy else None

    def parse(serialized: Any) -> Any:
        fields = tf.io.parse_single_example(serialized, {key: _FEATURES[key] for key in _CLASS_KEYS})
        classes = classes_of({key: tf.sparse.to_dense(values) for key, values in fields.items()})
        return expand({"classes": classes})["classes"] if expand else classes

    return parse


def _expander(label_map: LabelMap, num_classes: int) -> Callable[[Sample], Sample]:
    """Return a function that repeats objects, parts [n, ...], for the classes above theirs.

    Source: the API's data_decoders.tf_example_decoder, expand_labels_hierarchy.
    """
    ancestors = label_map.ancestors(num_classes)
    counts = tf.constant([len(own) for own in ancestors])
    flat = tf.constant([cls for own in ancestors for cls in own], tf.int32)

    def expand(objects: Sample) -> Sample:
        classes = tf.RaggedTensor.from_row_lengths(flat, counts)
        of_each = tf.gather(classes, objects["classes"])
        rows = of_each.value_rowids()
        return {name: tf.gather(part, rows) for name, part in objects.items()} | {"classes": of_each.values}

    return expand


def _class_reader(label_map: LabelMap, num_classes: int) -> Callable[[dict[str, Any]], Any]:
    """Return a function from the lists of a record to classes (int32 [n]), all of them in [0, `num_classes`)."""
    values = tf.lookup.KeyValueTensorInitializer(
        tf.constant(list(label_map.by_any_name), tf.string),
        tf.constant([label.id - 1 for label in label_map.by_any_name.values()], tf.int32),
    )
    class_of_name = tf.lookup.StaticHashTable(values, default_value=-1)

    def read(lists: dict[str, Any]) -> Any:
        texts, labels = (lists[key] for key in _CLASS_KEYS)
        by_label = tf.cast(tf.clip_by_value(labels, 0, tf.int32.max), tf.int32) - 1
        by_text = class_of_name.lookup(texts)
        if_both = tf.cond(
            tf.equal(tf.size(texts), tf.size(labels)),
            lambda: tf.where(by_text >= 0, by_text, by_label),
            lambda: by_text,
        )
        classes = tf.cond(tf.size(texts) > 0, lambda: if_both, lambda: by_label)
        tf.debugging.assert_non_negative(classes, "image/object/class: not in the label map")
        tf.debugging.assert_less(classes, num_classes, "image/object/class: a label id above num_classes")
        return classes

    return read


def _one_each(lists: dict[str, Any], key: str, count: Any, *, default: int | None = None) -> Any:
    """Return the `count` values of a list, or `default` for each where a record does not have the list."""
    values = lists[key]
    if default is not None:
        absent = tf.fill([count], tf.cast(default, values.dtype))
        values = tf.cond(tf.size(values) > 0, lambda: values, lambda: absent)
    checked = tf.debugging.assert_equal(tf.size(values), count, f"{key}: one value for every box is needed")
    with tf.control_dependencies([checked] if checked is not None else []):
        return tf.identity(values)  # so that nothing is made of values that do not agree


# Sequences of images

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
    """Return a frame of a serialized sequence as a serialized tf.train.Example, as `parser` takes it.

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
            raise DataError(f"{key} has {many(len(values), 'value')} for {many(count, 'box', 'boxes')}.")
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
            raise DataError(f"{key} has {many(len(parts), 'entry', 'entries')} for {many(count, 'frame')}.")
    return lists
