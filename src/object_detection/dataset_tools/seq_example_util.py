"""Records of videos: a tf.train.SequenceExample with what its frames have in common, and what each has."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from object_detection.utils import dataset_util

_SIDES = ("ymin", "xmin", "ymax", "xmax")


def context_float_feature(ndarray: Iterable[float]) -> tf.train.Feature:
    """Return a feature of numbers."""
    return dataset_util.float_list_feature(ndarray)


def context_int64_feature(ndarray: Iterable[int]) -> tf.train.Feature:
    """Return a feature of whole numbers."""
    return dataset_util.int64_list_feature(ndarray)


def context_bytes_feature(ndarray: Iterable[str | bytes]) -> tf.train.Feature:
    """Return a feature of texts."""
    return dataset_util.bytes_list_feature(map(_bytes, ndarray))


def sequence_float_feature(ndarray: Iterable[Any]) -> tf.train.FeatureList:
    """Return for each frame a feature of numbers, empty where it has none."""
    return _sequence(dataset_util.float_list_feature, ndarray)


def sequence_int64_feature(ndarray: Iterable[Sequence[int]]) -> tf.train.FeatureList:
    """Return for each frame a feature of whole numbers, empty where it has none."""
    return _sequence(dataset_util.int64_list_feature, ndarray)


def sequence_bytes_feature(ndarray: Iterable[Sequence[str | bytes]]) -> tf.train.FeatureList:
    """Return for each frame a feature of texts, empty where it has none."""
    return _sequence(context_bytes_feature, ndarray)


def sequence_strings_feature(strings: Iterable[str | bytes]) -> tf.train.FeatureList:
    """Return for each frame a feature of one text."""
    return sequence_bytes_feature([text] for text in strings)


def _sequence(feature: Callable[[Any], tf.train.Feature], rows: Iterable[Any]) -> tf.train.FeatureList:
    features = [feature(row) if len(row) else tf.train.Feature() for row in rows]
    return tf.train.FeatureList(feature=features)


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text)


def boxes_to_box_components(bboxes: Iterable[Any]) -> tuple[list[np.ndarray], ...]:
    """Return ymin, xmin, ymax and xmax, each a list of float32 [n], of boxes [n, 4] of each frame."""
    sides = [np.asarray(boxes, np.float32).reshape(-1, 4).T for boxes in bboxes]
    return tuple([of_frame[side] for of_frame in sides] for side in range(4))


def make_sequence_example(
    dataset_name: str | bytes,
    video_id: str | bytes,
    encoded_images: Sequence[bytes],
    image_height: int,
    image_width: int,
    image_format: str | bytes | None = None,
    image_source_ids: Sequence[str | bytes] | None = None,
    timestamps: Sequence[int] | None = None,
    is_annotated: Sequence[int] | None = None,
    bboxes: Sequence[Any] | None = None,
    label_strings: Sequence[Sequence[str | bytes]] | None = None,
    detection_bboxes: Sequence[Any] | None = None,
    detection_classes: Sequence[Sequence[int]] | None = None,
    detection_scores: Sequence[Sequence[float]] | None = None,
    use_strs_for_source_id: bool = False,
    context_features: Sequence[float] | None = None,
    context_feature_length: Sequence[int] | None = None,
    context_features_image_id_list: Sequence[str | bytes] | None = None,
) -> tf.train.SequenceExample:
    """Return the record of a video.

    Args:
        dataset_name, video_id: what it is called.
        encoded_images: the files of its t frames.
        image_height, image_width: of all frames, in pixels.
        image_format: such as "JPEG".
        image_source_ids: t; None: "0", "1" and so on.
        timestamps: int t, in milliseconds; None: 0, 1 and so on.
        is_annotated: int t, 1 where objects were marked; None: all, if there are `bboxes`.
        bboxes: t arrays [n, 4] of `[ymin, xmin, ymax, xmax]`.
        label_strings: t lists of the names of their classes.
        detection_bboxes, detection_classes, detection_scores: t arrays [k, 4], lists of whole numbers, of numbers.
        use_strs_for_source_id: without effect: ids are kept as bytes in either case.
        context_features: numbers of several images, one behind the other.
        context_feature_length: how many an image has, as a list of one.
        context_features_image_id_list: which images these are.
    """
    count = len(encoded_images)
    times = list(range(count)) if timestamps is None else list(map(int, timestamps))
    context = {
        "example/dataset_name": context_bytes_feature([dataset_name]),
        "clip/start/timestamp": context_int64_feature(times[:1]),
        "clip/end/timestamp": context_int64_feature(times[-1:]),
        "clip/frames": context_int64_feature([count]),
        "image/channels": context_int64_feature([3]),
        "image/height": context_int64_feature([image_height]),
        "image/width": context_int64_feature([image_width]),
        "clip/media_id": context_bytes_feature([video_id]),
    }
    frames = {
        "image/encoded": sequence_strings_feature(encoded_images),
        "image/timestamp": sequence_int64_feature([time] for time in times),
        "image/source_id": sequence_strings_feature(
            map(str, range(count)) if image_source_ids is None else image_source_ids
        ),
    }
    if image_format is not None:
        context["image/format"] = context_bytes_feature([image_format])
    if bboxes is not None:
        frames |= _box_features("region", bboxes)
        marked = [1] * count if is_annotated is None else is_annotated
        frames["region/is_annotated"] = sequence_int64_feature([int(one)] for one in marked)
    if label_strings is not None:
        frames["region/label/string"] = sequence_bytes_feature(label_strings)
    if detection_bboxes is not None:
        frames |= _box_features("predicted/region", detection_bboxes)
    if detection_classes is not None:
        frames["predicted/region/label/index"] = sequence_int64_feature(detection_classes)
    if detection_scores is not None:
        frames["predicted/region/label/confidence"] = sequence_float_feature(detection_scores)
    if context_features is not None:
        context["image/context_features"] = context_float_feature(context_features)
    if context_feature_length is not None:
        context["image/context_feature_length"] = context_int64_feature(context_feature_length)
    if context_features_image_id_list is not None:
        context["image/context_features_image_id_list"] = context_bytes_feature(
            context_features_image_id_list
        )
    return tf.train.SequenceExample(
        context=tf.train.Features(feature=context), feature_lists=tf.train.FeatureLists(feature_list=frames)
    )


def _box_features(prefix: str, boxes: Sequence[Any]) -> dict[str, tf.train.FeatureList]:
    sides = zip(_SIDES, boxes_to_box_components(boxes), strict=True)
    return {f"{prefix}/bbox/{name}": sequence_float_feature(values) for name, values in sides}
