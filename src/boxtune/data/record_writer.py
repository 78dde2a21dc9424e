"""Writing annotated images to TFRecord files, as the API's Examples.

None of it needs TensorFlow, which reads the same files.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from boxtune.data import images, masks
from boxtune.data.example_pb2 import BytesList, Example, Feature, Features, FloatList, Int64List
from boxtune.data.files import writing
from boxtune.data.image_record import Box, ImageRecord, Keypoint, ObjectRecord
from boxtune.data.label_map import LabelMap
from boxtune.data.masks import Mask
from boxtune.data.tfrecord import framed
from boxtune.errors import DataError

IMAGES_PER_SHARD = 250
_NO_MASK = Mask(counts=b"1", size=(1, 1))


def shards(records: Sequence[ImageRecord], base: Path) -> dict[Path, Sequence[ImageRecord]]:
    """Distribute records evenly over ``BASE-00000-of-00002.tfrecord`` and so on; at least one file."""
    count = max(1, -(-len(records) // IMAGES_PER_SHARD))
    edges = [len(records) * i // count for i in range(count + 1)]
    return {
        base.with_name(f"{base.name}-{i:05d}-of-{count:05d}.tfrecord"): records[edges[i] : edges[i + 1]]
        for i in range(count)
    }


def write_file(records: Iterable[ImageRecord], label_map: LabelMap, path: Path) -> None:
    """Write records to one TFRecord file, one image in memory at a time; equal records give equal bytes.

    Raises DataError if an image, a mask or a class is unusable by now, or the file cannot be written.
    """
    with writing(path), open(path, "wb") as file:
        for record, image in images.encode_records(records):
            example = to_example(record, label_map, image)
            file.writelines(framed(example.SerializeToString(deterministic=True)))


def to_example(record: ImageRecord, label_map: LabelMap, image: images.EncodedImage | None = None) -> Example:
    """Return an image and its objects under the API's keys.

    Source: its `create_pascal_tf_record`, and for areas, masks and keypoints `create_coco_tf_record`. Their keys, and
    those of weights and groups, are written for an image if one of its objects has such a thing. Then all have it:
    an object without area has that of its box, one without mask an empty one of `image/object/mask/weight` 0, and one
    without a keypoint that another has that point with visibility 0.

    `image` is that of the record; it is read where it is not given. Raises DataError if the image or a mask cannot be
    read, or a class is not in the label map.
    """
    try:
        image = image or images.encode(record.source, record.orientation)
        features = _image_features(record, image) | _object_features(record.objects, label_map)
        features |= _optional_features(record) | _mask_features(record) | _keypoint_features(record.objects)
    except DataError as error:
        raise DataError(f"{record.source.path}: {error}") from error
    return Example(features=Features(feature=features))


def _image_features(record: ImageRecord, image: images.EncodedImage) -> dict[str, Feature]:
    name = os.fsencode(record.name)
    return {
        "image/height": _integers([record.height]),
        "image/width": _integers([record.width]),
        # The API's tools expect the bare name; the id, by which metrics distinguish images, must be unique.
        "image/filename": _strings([name.rpartition(b"/")[2]]),
        "image/source_id": _strings([name]),
        "image/key/sha256": _strings([hashlib.sha256(image.data).hexdigest().encode()]),
        "image/encoded": _strings([image.data]),
        "image/format": _strings([image.format.encode()]),
    }


def _object_features(objects: Sequence[ObjectRecord], label_map: LabelMap) -> dict[str, Feature]:
    labels = [label_map.label(item.class_name) for item in objects]
    return {
        "image/object/bbox/ymin": _floats(item.box.ymin for item in objects),
        "image/object/bbox/xmin": _floats(item.box.xmin for item in objects),
        "image/object/bbox/ymax": _floats(item.box.ymax for item in objects),
        "image/object/bbox/xmax": _floats(item.box.xmax for item in objects),
        "image/object/class/label": _integers(label.id for label in labels),
        "image/object/class/text": _strings(label.name.encode() for label in labels),
        "image/object/difficult": _integers(item.difficult for item in objects),
        "image/object/truncated": _integers(item.truncated for item in objects),
        "image/object/is_crowd": _integers(item.is_crowd for item in objects),
        "image/object/view": _strings(item.view.encode() for item in objects),
    }


def _optional_features(record: ImageRecord) -> dict[str, Feature]:
    """Return areas, weights and groups, each only if an object has something to say there."""
    objects, features = record.objects, {}
    if any(item.area is not None for item in objects):
        sides = record.height, record.width
        features["image/object/area"] = _floats(
            _box_area(item.box, *sides) if item.area is None else item.area for item in objects
        )
    if any(item.weight != 1 for item in objects):
        features["image/object/weight"] = _floats(item.weight for item in objects)
    if any(item.group_of for item in objects):
        features["image/object/group_of"] = _integers(item.group_of for item in objects)
    return features


def _box_area(box: Box, height: int, width: int) -> float:
    return (box.ymax - box.ymin) * height * (box.xmax - box.xmin) * width


def _mask_features(record: ImageRecord) -> dict[str, Feature]:
    drawn = [item.mask is not None for item in record.objects]
    if not any(drawn):
        return {}
    pngs = (masks.to_png(item.mask or _NO_MASK, record.height, record.width) for item in record.objects)
    weights = {} if all(drawn) else {"image/object/mask/weight": _floats(drawn)}
    return {"image/object/mask": _strings(pngs)} | weights


def _keypoint_features(objects: Sequence[ObjectRecord]) -> dict[str, Feature]:
    names = dict.fromkeys(point.name for item in objects for point in item.keypoints)
    if not names:
        return {}
    absent = {name: Keypoint(name, 0.0, 0.0, visibility=0) for name in names}
    points = [
        point
        for item in objects
        for point in (absent | {point.name: point for point in item.keypoints}).values()
    ]
    return {
        "image/object/keypoint/y": _floats(point.y for point in points),
        "image/object/keypoint/x": _floats(point.x for point in points),
        "image/object/keypoint/visibility": _integers(point.visibility for point in points),
        "image/object/keypoint/text": _strings(point.name.encode() for point in points),
        "image/object/keypoint/num": _integers(
            sum(point.visibility > 0 for point in item.keypoints) for item in objects
        ),
    }


def _integers(values: Iterable[int]) -> Feature:
    return Feature(int64_list=Int64List(value=map(int, values)))


def _floats(values: Iterable[float]) -> Feature:
    return Feature(float_list=FloatList(value=values))


def _strings(values: Iterable[bytes]) -> Feature:
    return Feature(bytes_list=BytesList(value=values))
